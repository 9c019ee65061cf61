//! What determines a run, and what is watched in it.

use crate::fault::{Fault, Faults, named};
use crate::mutation::Mutation;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// When runs begin: the days in which Europe's clocks change.
pub const BEGIN: &str = "2026-03-27T08:00:00Z";
/// Steps of a run unless told otherwise: long enough for a few days of a few tenants, short enough for a thousand runs
/// in a minute.
pub const STEPS: usize = 1_000;

/// What determines a run: the same settings give the same run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub seed: u64,
    /// How many steps are taken before the faults end and everything is brought to rest.
    pub steps: usize,
    pub faults: Faults,
    pub mutation: Option<Mutation>,
}

impl Settings {
    /// Every fault and the usual number of steps.
    pub fn new(seed: u64) -> Self {
        Self { seed, steps: STEPS, faults: Faults::all(), mutation: None }
    }

    pub fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The command that repeats the run.
    pub fn command(&self) -> String {
        let mut command = format!("simulate --seed {} --steps {}", self.seed, self.steps);
        let missing: Vec<&str> = self.faults.missing().map(Fault::as_str).collect();
        if !missing.is_empty() {
            command += &format!(" --without {}", missing.join(","));
        }
        if let Some(mutation) = self.mutation {
            command += &format!(" --mutation {mutation}");
        }
        command
    }
}

named! {
    /// What happens rarely, so that it has to be seen whether it does at all.
    Place {
        /// Batches were removed from the log.
        Trimmed = "log trimmed",
        /// A replica began with summaries in the place of pages.
        Passed = "pages passed",
        /// A row of hashes was read.
        Hashes = "hashes read",
        /// A row that was passed was damaged.
        Doubted = "store doubted",
        /// A replica began with a snapshot.
        TookOver = "snapshot taken over",
        /// A snapshot that was read could not be used.
        Unusable = "snapshot refused",
        /// A replica began with a snapshot though its store had a state.
        Replaced = "store given up for a snapshot",
        /// A replica was refused the partition.
        Refused = "partition refused",
        /// A feed met a gap.
        Gap = "gap in a feed",
        /// A backfill met a gap, or had nothing to begin with.
        Lost = "backfill lost",
        /// A piece of a snapshot was not sent, for the newest one had it.
        Reused = "piece not sent again",
        /// What differed from a piece of the newest snapshot was sent.
        Compared = "difference of a piece",
        /// Pieces were to go that no snapshot named.
        Reclaimed = "pieces removed",
        /// A backfill began with a snapshot.
        Seeded = "backfill of a trimmed log",
        /// An answer of a view that was made of a trimmed log was compared, and has partial coverage.
        Partial = "partial answer",
        /// The same, of a day that is whole all the same.
        WholeAllTheSame = "whole answer of a partial view",
        /// A replica waited for another's snapshot, for its view was made of another part of the log.
        Waited = "wait for a snapshot",
        /// Nobody of Daybook's wrote a message that was stored.
        Foreign = "foreign message",
        /// A tenant was defined whose id another one had before.
        Reborn = "id used again",
        /// A late policy was put into force from a day on.
        Turned = "late policy from a day on",
        /// A day was ended by hand.
        Ended = "day ended by hand",
        /// An alert was told.
        Alerted = "alert",
        /// Pages of a closed day left the memory of a replica.
        Evicted = "pages out",
        /// Remembered ids were arranged anew, with rows of the store.
        KeptUp = "ids kept up",
        /// A batch needed some of them, which came back.
        Fetched = "pages fetched",
        /// It could not wait any more; the run ends there.
        Apart = "run ended apart",
    }
}

/// How often each of them happened.
pub type Reached = BTreeMap<Place, u64>;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Every message of INBOX is in the log once, in INBOX's order, and no other.
    ExactlyOnce,
    /// The dispositions of a tenant-day add up, and are those of the naive model.
    Dispositions,
    /// Nothing of a removed tenant is there, and nothing of it is sealed.
    Removals,
    /// Figures are those of the naive model.
    Figures,
    /// Replicas at one position say the same, and what a replay makes is what was made.
    Replicas,
    /// Days follow each other without a gap; a published interval stays; no day before its tenant.
    Days,
    /// What is defined for everyone is the same in every partition.
    Definitions,
    /// A report has one version after the other, each naming the one it supersedes.
    Reports,
    /// Every rejected event is told once.
    Rejects,
    /// Every alert is told once, in the order of the log.
    Alerts,
    /// A store whose rows are not those of one commit is refused.
    Checkpoints,
    /// What is left of the log can be read from a snapshot on the broker, and its last batch stays.
    Snapshots,
    /// When faults end, everything comes to rest.
    Progress,
    /// The core asserts what it relies on.
    Panic,
}

/// Fails with `invariant` and the text, unless the condition holds.
pub(crate) fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}
