//! A replica that reads a log, with jobs under way, checkpoints and crashes.

use super::fixtures::*;
use crate::state::backfill::Found;
use crate::state::{Effect, PartitionState};
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_domain::ids::{InboxSeq, LogSeq};
use daybook_runtime::store::Changes;
use std::collections::BTreeMap;

/// Most steps that the jobs of any history here can take: far more than there are views, tenants and stages.
const MAX_JOB_STEPS: usize = 2_000;

/// Every third position is this partition's.
pub(super) fn position(batch: usize) -> LogSeq {
    LogSeq(batch as u64 * 3 + 1)
}

/// The batch with that number.
fn batch(number: usize, records: &[Record]) -> Batch {
    let through = Through { inbox: InboxSeq(number as u64 * 1_000), events: 0 };
    Batch { format: FORMAT, through, records: records.to_vec() }
}

/// A store as sled is: removals first, then puts.
pub(super) fn commit(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Changes) {
    for key in changes.remove {
        rows.remove(&key);
    }
    rows.extend(changes.put);
}

pub(super) fn restore(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> PartitionState {
    let restored = PartitionState::restore(PARTITION, rows).expect("what was stored can be read");
    restored.unwrap_or_else(|| PartitionState::new(PARTITION))
}

/// Where a job stands.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Reading(Box<PartitionState>),
    Adding,
}

/// The replica.
#[derive(Debug)]
pub(super) struct Replica<'l> {
    pub(super) state: PartitionState,
    log: &'l [Vec<Record>],
    /// How many batches were applied.
    pub(super) applied: usize,
    stage: Stage,
    /// What is stored, and how many batches that covers.
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    stored: usize,
}

impl<'l> Replica<'l> {
    pub(super) fn new(log: &'l [Vec<Record>]) -> Self {
        let state = PartitionState::new(PARTITION);
        Self { state, log, applied: 0, stage: Stage::Idle, rows: BTreeMap::new(), stored: 0 }
    }

    /// Applies the next batch, after what it waits for has been made.
    pub(super) fn apply(&mut self) -> Vec<Effect> {
        let batch = batch(self.applied, &self.log[self.applied]);
        let mut steps = 0;
        while self.state.awaits_backfill(&batch) {
            assert!(self.step_job() && steps < MAX_JOB_STEPS, "batch {} waits for what nobody makes", self.applied);
            steps += 1;
        }
        self.applied += 1;
        self.state.apply(position(self.applied - 1), batch)
    }

    /// Does one step of a job; false when there is nothing to do.
    pub(super) fn step_job(&mut self) -> bool {
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Idle if !self.state.wants_backfill() => return false,
            Stage::Idle => {
                let mut scratch = self.state.begin_backfill();
                for number in 0..self.applied {
                    scratch.apply(position(number), batch(number, &self.log[number]));
                }
                Stage::Reading(Box::new(scratch))
            }
            Stage::Reading(scratch) => {
                self.state.finish_backfill(Found::of(*scratch, None));
                Stage::Adding
            }
            Stage::Adding if self.state.add_backfill() => Stage::Adding,
            Stage::Adding => Stage::Idle,
        };
        true
    }

    /// Whether nothing is left to be made.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Idle) && !self.state.wants_backfill()
    }

    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while self.step_job() {
            steps += 1;
            assert!(steps < MAX_JOB_STEPS, "jobs without end");
        }
        assert!(self.is_settled());
    }

    pub(super) fn store(&mut self) {
        commit(&mut self.rows, self.state.checkpoint());
        self.stored = self.applied;
    }

    /// Begins again from what is stored. Returns the effects of the batches that are applied once more, by number.
    pub(super) fn crash(&mut self) -> Vec<(usize, Vec<Effect>)> {
        let applied = self.applied;
        self.state = restore(&self.rows);
        self.state.keep_digests();
        self.stage = Stage::Idle;
        self.applied = self.stored;
        (self.stored..applied).map(|number| (number, self.apply())).collect()
    }
}
