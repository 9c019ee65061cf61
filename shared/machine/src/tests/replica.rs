//! A replica that reads a log, with jobs under way, checkpoints and crashes.

use super::fixtures::*;
use crate::backfill::Found;
use crate::checkpoint::{RestoreError, pass};
use crate::remembered::upkeep::{Kept, Upkeep};
use crate::residency::PageId;
use crate::{Effect, PartitionState};
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_contracts::rows::{Changes, Passed, Row, RowSum};
use daybook_domain::ids::{InboxSeq, LogSeq};
use std::collections::{BTreeMap, BTreeSet};

/// Most steps that the jobs of any history here can take: far more than there are views, tenants and stages.
const MAX_JOB_STEPS: usize = 2_000;

/// What happens around a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) job_steps: usize,
    pub(super) stores: bool,
    /// All that can leave memory does, behind a checkpoint.
    pub(super) evicts: bool,
    pub(super) crashes: bool,
    /// So many steps of the upkeep of remembered ids.
    pub(super) upkeep: usize,
}

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

/// The rows that a store reads when it passes those that others speak for, and these.
pub(super) fn passing(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> (Vec<Row>, Vec<(Vec<u8>, RowSum)>) {
    let (mut read, mut passed) = (Vec::new(), Vec::new());
    let mut from = Vec::new();
    while let Some((key, value)) = rows.range(from.clone()..).next() {
        let row = (key.clone(), value.clone());
        from = [key.as_slice(), b"\0"].concat();
        if let Some(Passed { rows, next }) = pass(&row) {
            passed.extend(rows);
            from = next;
        }
        read.push(row);
    }
    (read, passed)
}

/// Has the pages come back that the batch needs, and returns which, but for rows of hashes.
pub(super) fn bring_back(
    state: &mut PartitionState,
    rows: &BTreeMap<Vec<u8>, Vec<u8>>,
    batch: &Batch,
) -> BTreeSet<PageId> {
    let mut pages = BTreeSet::new();
    loop {
        let needs = state.needs(batch);
        if needs.is_empty() {
            return pages;
        }
        for page in &needs {
            let stored = rows.get(&page.key()).expect("a page that is out is stored");
            state.supply(page, stored).expect("it is the one that went");
        }
        assert!(pages.is_disjoint(&needs), "a page that has come is needed again");
        pages.extend(needs.into_iter().filter(|page| !matches!(page, PageId::Hashes { .. })));
    }
}

/// Does a piece of upkeep, with what is stored.
pub(super) fn run(upkeep: Upkeep, rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Kept {
    let read = |keys: Vec<Vec<u8>>| -> Result<Vec<Vec<u8>>, RestoreError> {
        Ok(keys.iter().map(|key| rows.get(key).expect("a row that is read is stored").clone()).collect())
    };
    upkeep.run(read).expect("rows as they were stored")
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
    /// What came of a piece of upkeep, and is not in place yet.
    kept: Option<Kept>,
}

impl<'l> Replica<'l> {
    pub(super) fn new(log: &'l [Vec<Record>]) -> Self {
        let state = PartitionState::new(PARTITION);
        Self { state, log, applied: 0, stage: Stage::Idle, rows: BTreeMap::new(), stored: 0, kept: None }
    }

    /// What happens before a batch: steps of jobs, and a crash behind a checkpoint if there is to be one.
    pub(super) fn prepare(&mut self, timing: Timing) {
        for _ in 0..timing.job_steps {
            self.step_job();
        }
        if timing.evicts {
            self.evict();
        }
        self.keep_up(timing.upkeep);
        if timing.crashes {
            self.store();
            self.crash();
        }
    }

    /// Some steps of upkeep: a piece is begun at one, and ends at a later one.
    pub(super) fn keep_up(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.kept.take() {
                Some(kept) => self.state.end_upkeep(kept),
                None => self.kept = self.state.begin_upkeep().map(|upkeep| run(upkeep, &self.rows)),
            }
        }
    }

    /// Applies the next batch, after what it waits for has been made.
    pub(super) fn apply(&mut self) -> Vec<Effect> {
        let batch = batch(self.applied, &self.log[self.applied]);
        let mut steps = 0;
        while self.state.awaits_backfill(&batch) {
            assert!(self.step_job() && steps < MAX_JOB_STEPS, "batch {} waits for what nobody makes", self.applied);
            steps += 1;
        }
        bring_back(&mut self.state, &self.rows, &batch);
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
        self.state.stored();
        self.stored = self.applied;
    }

    /// Has everything leave memory that can, behind a checkpoint.
    pub(super) fn evict(&mut self) {
        self.state.limit_closed(Some(0));
        self.store();
        self.state.evict(usize::MAX);
    }

    /// Begins again from what is stored. Returns the effects of the batches that are applied once more, by number.
    pub(super) fn crash(&mut self) -> Vec<(usize, Vec<Effect>)> {
        let applied = self.applied;
        let limit = (!self.applied.is_multiple_of(2)).then_some(0);
        let restored = match limit {
            Some(bytes) if self.applied % 4 == 1 => {
                PartitionState::restore_passing(PARTITION, passing(&self.rows).0, bytes)
            }
            limit => PartitionState::restore_limited(PARTITION, &self.rows, limit),
        };
        let restored = restored.expect("what was stored can be read");
        self.state = restored.unwrap_or_else(|| PartitionState::new(PARTITION));
        self.state.keep_digests();
        self.stage = Stage::Idle;
        self.kept = None;
        self.applied = self.stored;
        (self.stored..applied).map(|number| (number, self.apply())).collect()
    }
}
