//! The core of the trimmer: how far INBOX may be trimmed. No clock and no I/O.

use daybook_contracts::log::Marks;
use daybook_domain::ids::Partition;

/// A look at INBOX and then at every partition.
#[derive(Clone, Debug)]
pub struct Round {
    floor: u64,
    next: u16,
    partitions: u16,
}

impl Round {
    /// A round that begins with the last sequence of INBOX. That is read first: a partition of which INBOX has nothing newer than
    /// its log has recorded everything up to there.
    pub fn new(last: u64, partitions: u16) -> Self {
        Self { floor: last, next: 0, partitions }
    }

    /// The partition to look at next; `None` when all were looked at.
    pub fn next(&self) -> Option<Partition> {
        (self.next < self.partitions).then_some(Partition(self.next))
    }

    /// Takes note of that partition: how far its log reaches, and then the newest sequence that INBOX has of it.
    pub fn note(&mut self, marks: Marks, newest: Option<u64>) {
        let recorded = marks.through.whole().0;
        if newest.is_some_and(|newest| newest > recorded) {
            self.floor = self.floor.min(recorded);
        }
        self.next += 1;
    }
}

/// The rounds of one trimmer.
#[derive(Debug, Default)]
pub struct Trimming {
    /// What the last round found to be recorded.
    last_floor: u64,
}

impl Trimming {
    /// Ends a round and returns the sequence up to which INBOX may be trimmed: where the round before found everything recorded, too.
    /// A broker that is going down may say for a moment that a partition has no message, and what is trimmed on its word would be
    /// lost.
    pub fn settle(&mut self, round: Round) -> u64 {
        assert_eq!(round.next(), None, "a partition was left out");
        round.floor.min(std::mem::replace(&mut self.last_floor, round.floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::log::Through;
    use daybook_domain::ids::InboxSeq;

    fn marks(inbox: u64, events: u32) -> Marks {
        Marks { through: Through { inbox: InboxSeq(inbox), events }, ..Marks::default() }
    }

    #[test]
    fn one_round_alone_trims_nothing() {
        let mut trimming = Trimming::default();
        // A message of one partition waits at 6; one of the rounds is not told of it.
        let trimmed = [(5, 6), (9, 0), (5, 6), (5, 6), (8, 0)].map(|(recorded, newest)| {
            let mut round = Round::new(recorded.max(8), 2);
            round.note(marks(recorded, 0), Some(newest).filter(|newest| *newest > 0));
            round.note(marks(3, 0), None);
            trimming.settle(round)
        });
        assert_eq!(trimmed, [0, 5, 5, 5, 5]);
    }

    #[test]
    fn a_message_that_is_recorded_in_part_stays() {
        let mut trimming = Trimming::default();
        let trimmed = [0, 1].map(|_| {
            let mut round = Round::new(9, 1);
            assert_eq!(round.next(), Some(Partition(0)));
            round.note(marks(4, 2), Some(4));
            trimming.settle(round)
        });
        assert_eq!(trimmed, [0, 3]);
    }
}
