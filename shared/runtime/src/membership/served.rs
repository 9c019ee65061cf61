//! Decides which partitions of this process are ready: those that it owns and serves.
//!
//! Ownership and serving change independently, in any order. Readiness is a function of both, so no order of changes can
//! leave an old answer behind. Nothing here does I/O or reads a clock.

use daybook_domain::ids::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// What this process owns, and what its actors serve.
#[derive(Debug, Default)]
pub(super) struct Served {
    owned: BTreeSet<Partition>,
    /// The newest run of each partition's actor that has not ended. An actor that lingers may outlive its ownership.
    runs: BTreeMap<Partition, (Run, bool)>,
    newest: u64,
}

/// Names one run of a partition's actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(u64);

impl Served {
    /// Whether the partition is ready; `None` when this process does not own it.
    pub(super) fn ready(&self, partition: Partition) -> Option<bool> {
        let is_served = self.runs.get(&partition).is_some_and(|(_, serves)| *serves);
        self.owned.contains(&partition).then_some(is_served)
    }

    /// Whether an actor of the partition runs, owned or not.
    pub(super) fn runs(&self, partition: Partition) -> bool {
        self.runs.contains_key(&partition)
    }

    pub(super) fn own(&mut self, partition: Partition) {
        self.owned.insert(partition);
    }

    pub(super) fn disown(&mut self, partition: Partition) {
        self.owned.remove(&partition);
    }

    /// An actor begins; it does not serve yet.
    pub(super) fn begin(&mut self, partition: Partition) -> Run {
        self.newest += 1;
        let run = Run(self.newest);
        self.runs.insert(partition, (run, false));
        run
    }

    /// The actor serves now, or stops serving. A run that a newer one replaced has no say.
    pub(super) fn serve(&mut self, partition: Partition, run: Run, serves: bool) {
        if let Some((newest, is_served)) = self.runs.get_mut(&partition)
            && *newest == run
        {
            *is_served = serves;
        }
    }

    /// The actor has ended.
    pub(super) fn end(&mut self, partition: Partition, run: Run) {
        if self.runs.get(&partition).is_some_and(|(newest, _)| *newest == run) {
            self.runs.remove(&partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_lost_and_won_again_while_it_is_served_is_ready() {
        let (mut served, partition) = (Served::default(), Partition(0));
        served.own(partition);
        let run = served.begin(partition);
        assert_eq!(served.ready(partition), Some(false));
        served.serve(partition, run, true);
        assert_eq!(served.ready(partition), Some(true));
        served.disown(partition);
        assert_eq!(served.ready(partition), None);
        served.own(partition);
        assert_eq!(served.ready(partition), Some(true));
    }

    #[test]
    fn an_old_run_that_ends_late_leaves_the_new_one_ready() {
        let (mut served, partition) = (Served::default(), Partition(0));
        served.own(partition);
        let old = served.begin(partition);
        served.serve(partition, old, true);
        let new = served.begin(partition);
        assert_eq!(served.ready(partition), Some(false));
        served.serve(partition, new, true);
        served.serve(partition, old, false);
        served.end(partition, old);
        assert_eq!(served.ready(partition), Some(true));
        served.end(partition, new);
        assert_eq!((served.ready(partition), served.runs(partition)), (Some(false), false));
    }
}
