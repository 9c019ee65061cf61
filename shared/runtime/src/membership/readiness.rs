//! Whether a partition is ready, as it is told on the board and to those who ask for health.

use super::Board;
use super::served::Run;
use crate::http::Health;
use daybook_domain::ids::Partition;

/// Belongs to one run of a partition's actor, which says when it serves and when it no longer does. Dropping it ends that,
/// also when the actor fails. A partition is ready while this process owns it and its actor serves it.
pub struct Readiness {
    health: Health,
    board: Board,
    partition: Partition,
    run: Run,
}

impl Readiness {
    /// Of an actor that begins.
    pub(crate) fn begin(health: Health, board: Board, partition: Partition) -> Self {
        let run = board.change(&health, partition, |notes| {
            notes.parts.entry(partition).or_default();
            notes.served.begin(partition)
        });
        Self { health, board, partition, run }
    }

    /// The actor serves the partition.
    pub fn reached(&self) {
        self.tell(true);
    }

    /// The actor does not serve it, or not any more.
    pub fn lost(&self) {
        self.tell(false);
    }

    fn tell(&self, serves: bool) {
        self.board.change(&self.health, self.partition, |notes| notes.served.serve(self.partition, self.run, serves));
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.board.change(&self.health, self.partition, |notes| notes.served.end(self.partition, self.run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn owned() -> (Health, Board, Partition) {
        let (health, board, partition) = (Health::default(), Board::default(), Partition(1));
        board.own(&health, partition, "shard 1");
        (health, board, partition)
    }

    #[test]
    fn what_ends_in_any_way_is_not_ready_any_more() {
        let (health, board, partition) = owned();
        let begin = || Readiness::begin(health.clone(), board.clone(), partition);
        let is_ready = || (health.is_ready(), board.parts()[&partition].ready);
        let readiness = begin();
        assert_eq!(is_ready(), (false, false));
        readiness.reached();
        assert_eq!(is_ready(), (true, true));
        assert!(board.news.notified().now_or_never().is_some());
        drop(readiness);
        assert_eq!(is_ready(), (false, false));
        assert!(board.news.notified().now_or_never().is_some(), "others may count on it");
        // The next one.
        let readiness = begin();
        assert_eq!(is_ready(), (false, false));
        readiness.reached();
        readiness.lost();
        assert_eq!(is_ready(), (false, false));
    }

    #[test]
    fn what_was_handed_over_leaves_no_mark() {
        let (health, board, partition) = owned();
        let readiness = Readiness::begin(health.clone(), board.clone(), partition);
        readiness.reached();
        health.set("broker", true);
        board.disown(&health, partition);
        drop(readiness);
        assert!(health.is_ready() && board.parts().is_empty());
    }
}
