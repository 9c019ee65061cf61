//! Whether a partition is ready, as it is told on the board and to those who ask for health.

use super::Board;
use crate::http::Health;
use crate::process::Context;
use daybook_domain::ids::Partition;

/// Belongs to the actor of a partition: that is not ready before it says so, and not any more when this is dropped, also
/// because it failed.
pub struct Readiness {
    health: Health,
    board: Board,
    partition: Partition,
    label: String,
}

impl Readiness {
    /// Of an actor that begins; `label` is its part of health.
    pub fn begin(context: &Context, partition: Partition, label: String) -> Self {
        Self::of(context.health.clone(), context.board.clone(), partition, label)
    }

    fn of(health: Health, board: Board, partition: Partition, label: String) -> Self {
        let readiness = Self { health, board, partition, label };
        readiness.tell(false);
        readiness
    }

    /// The partition can be served.
    pub fn reached(&self) {
        self.tell(true);
    }

    /// It cannot, or not any more.
    pub fn lost(&self) {
        self.tell(false);
    }

    fn tell(&self, ready: bool) {
        // One that was handed over is no part of this process any more.
        if !self.board.is_withdrawn(self.partition) {
            self.health.set(&self.label, ready);
            self.board.update(self.partition, |part| part.ready = ready);
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn what_ends_in_any_way_is_not_ready_any_more() {
        let (health, board, partition) = (Health::default(), Board::default(), Partition(1));
        let begin = || Readiness::of(health.clone(), board.clone(), partition, "shard 1".to_owned());
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
        let (health, board, partition) = (Health::default(), Board::default(), Partition(1));
        let readiness = Readiness::of(health.clone(), board.clone(), partition, "shard 1".to_owned());
        readiness.reached();
        health.set("broker", true);
        health.remove("shard 1");
        board.withdraw(partition);
        drop(readiness);
        assert!(health.is_ready() && board.parts().is_empty());
    }
}
