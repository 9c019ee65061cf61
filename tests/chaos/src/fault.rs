//! Which faults there are, and in which sequence they come: from the seed alone.

use daybook_random::Random;
use daybook_tests::processes::Service;
use std::fmt;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a service's process.
    Kill,
    /// SIGTERM, and a new start.
    Restart,
    /// SIGSTOP for longer than a process that is not heard of is taken for alive, then SIGCONT.
    Pause,
    /// `kill -9` of a broker.
    BrokerKill,
    /// All brokers are restarted, one after the other.
    BrokerRoll,
    /// A broker is cut off from the other two.
    BrokerCut,
    /// A shard's data folder is deleted while it does not run.
    DataDeleted,
    /// A shard's data folder is deleted under it.
    DataDeletedRunning,
    /// Bytes of a shard's files are changed while it does not run.
    DataCorrupted,
    /// A shard cannot write to its disk for a while.
    DiskFull,
    /// A broker is killed while a shard hands its partitions over.
    HandOver,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::Restart,
        Self::Pause,
        Self::BrokerKill,
        Self::BrokerRoll,
        Self::BrokerCut,
        Self::DataDeleted,
        Self::DataDeletedRunning,
        Self::DataCorrupted,
        Self::DiskFull,
        Self::HandOver,
    ];

    /// How it is called in the summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "service killed",
            Self::Restart => "service restarted",
            Self::Pause => "service paused",
            Self::BrokerKill => "broker killed",
            Self::BrokerRoll => "brokers restarted in turn",
            Self::BrokerCut => "broker cut off",
            Self::DataDeleted => "shard data deleted, stopped",
            Self::DataDeletedRunning => "shard data deleted, running",
            Self::DataCorrupted => "shard data corrupted",
            Self::DiskFull => "shard disk full",
            Self::HandOver => "broker killed in a hand-over",
        }
    }

    /// Whether brokers go: only one may be away at a time, or there is no majority.
    pub fn is_of_brokers(self) -> bool {
        matches!(self, Self::BrokerKill | Self::BrokerRoll | Self::BrokerCut | Self::HandOver)
    }

    /// For how long it lasts, in milliseconds.
    fn hold_ms(self) -> (i64, i64) {
        match self {
            Self::Kill | Self::DataDeleted | Self::DataCorrupted => (0, 1_500),
            // Until the process itself has ended.
            Self::Restart | Self::HandOver => (0, 0),
            // More than members::LOSS.
            Self::Pause => (4_000, 7_000),
            Self::BrokerKill => (200, 3_000),
            Self::BrokerRoll => (0, 300),
            Self::BrokerCut => (2_000, 6_000),
            // Several checkpoints fall into it.
            Self::DataDeletedRunning => (500, 1_500),
            Self::DiskFull => (2_000, 4_000),
        }
    }

    fn is_of_shards(self) -> bool {
        use Kind::{DataCorrupted, DataDeleted, DataDeletedRunning, DiskFull, HandOver};
        matches!(self, DataDeleted | DataDeletedRunning | DataCorrupted | DiskFull | HandOver)
    }
}

/// One fault of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub service: Service,
    /// Which of the two processes of the service.
    pub instance: usize,
    /// Which of the three brokers; the first of a turn.
    pub node: usize,
    pub hold: Duration,
    /// Whether the next one comes only when this one is overcome, rather than into the recovery.
    pub is_awaited: bool,
    /// Between this one and the next.
    pub rest: Duration,
    /// Which bytes are changed.
    pub seed: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, number) = (self.kind.name(), self.instance + 1);
        match self.kind {
            Kind::BrokerKill | Kind::BrokerRoll | Kind::BrokerCut => write!(f, "{kind}: broker {}", self.node + 1)?,
            Kind::HandOver => write!(f, "{kind}: shard {number}, broker {}", self.node + 1)?,
            _ => write!(f, "{kind}: {} {number}", self.service.name())?,
        }
        write!(f, ", {} ms", self.hold.as_millis())
    }
}

/// The endless sequence of a seed: every kind once in an order of the seed's, then again in another one.
pub struct FaultPlan {
    random: Random,
    deck: Vec<Kind>,
}

impl FaultPlan {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), deck: Vec::new() }
    }
}

impl Iterator for FaultPlan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.deck.is_empty() {
            self.deck.extend(Kind::ALL);
            self.random.shuffle(&mut self.deck);
        }
        let kind = self.deck.pop()?;
        let random = &mut self.random;
        let service = *random.pick(&Service::ALL);
        let (least, most) = kind.hold_ms();
        let mut milliseconds = |from, to| Duration::from_millis(random.between(from, to).unsigned_abs());
        let (hold, rest) = (milliseconds(least, most), milliseconds(100, 1_500));
        Some(Fault {
            kind,
            service: if kind.is_of_shards() { Service::AggregatorShard } else { service },
            instance: random.below(2) as usize,
            node: random.below(3) as usize,
            hold,
            is_awaited: random.percent(50),
            rest,
            seed: random.below(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_says_it_all_and_every_kind_comes_in_each_round() {
        let plan = |seed| FaultPlan::new(seed).take(5 * Kind::ALL.len()).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        for round in plan(3).chunks(Kind::ALL.len()) {
            assert_eq!(round.iter().map(|fault| fault.kind).collect::<BTreeSet<_>>().len(), Kind::ALL.len());
        }
    }

    #[test]
    fn a_pause_is_longer_than_the_patience_of_the_others() {
        let pauses = FaultPlan::new(1).take(200).filter(|fault| fault.kind == Kind::Pause);
        assert!(pauses.into_iter().all(|fault| fault.hold > daybook_contracts::members::LOSS));
    }
}
