//! When the state of a partition is saved, and what is left when that fails: one checkpoint at a time, each behind the outputs up to
//! it, and now and then a snapshot of it for the broker. No clock and no I/O: [`crate::storing`] carries it out.

use crate::checkpoints::chain;
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_runtime::backoff::Backoff;
use daybook_runtime::store::{Changes, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Longest pause before a checkpoint that failed is tried again, unless the interval is longer: a disk that was full is
/// found free within a minute.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks whether a store is bloated, and so between two rebuilds: one that bloats in less has no use for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// Bytes of memory that a checkpoint takes for each byte that it writes: its rows, the batch, and what the store makes of it.
const MEMORY_PER_BYTE: u64 = 6;
/// Bytes of a row until a checkpoint of [`TELLING_ROWS`] shows them: those of an order in a small view.
const USUAL_ROW_BYTES: u64 = 256;
/// Fewer rows do not tell the size of others.
const TELLING_ROWS: u64 = 1_000;

/// How often a state is saved.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub checkpoint: Duration,
    pub snapshot: Duration,
}

/// A checkpoint that is begun.
#[derive(Debug)]
pub struct Checkpoint {
    pub position: LogSeq,
    /// How many outputs there are up to it: all of them are written before it is committed.
    pub outputs: u64,
    pub changes: Arc<Changes>,
    /// The snapshot that is to be put on the broker once it is committed.
    pub snapshot: Option<SnapshotDue>,
    /// Whether to check, after the commit, if the store is bloated.
    pub looks_for_bloat: bool,
}

/// A snapshot of what a checkpoint leaves in the store.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotDue {
    pub through: Through,
    /// Nothing waits for a backfill in it.
    pub is_whole: bool,
}

/// How a checkpoint went.
#[derive(Debug)]
pub struct Saved {
    pub position: LogSeq,
    pub changes: Arc<Changes>,
    pub outcome: Result<(), StoreError>,
    /// The position of the snapshot on the broker, where that was seen to.
    pub snapshot: Option<LogSeq>,
}

/// How far the state of a partition is saved.
#[derive(Debug)]
pub struct Saving {
    partition: Partition,
    pace: Pace,
    /// The position of the last committed checkpoint.
    position: LogSeq,
    is_under_way: bool,
    /// What the one under way changes is on disk; a snapshot may still be made of it.
    is_committed: bool,
    unsaved: Unsaved,
    row_bytes: RowBytes,
    /// When the last snapshot was due.
    snapshot_at: Duration,
    /// The position of the newest snapshot on the broker, as far as is known.
    snapshotted: LogSeq,
}

impl Saving {
    /// Of a state that is stored in so many bytes.
    pub fn new(partition: Partition, state: &PartitionState, bytes: u64, pace: Pace, now: Duration) -> Self {
        let mut row_bytes = RowBytes::default();
        row_bytes.learn(state.sizes().rows(), bytes);
        Self {
            partition,
            pace,
            position: state.position(),
            is_under_way: false,
            is_committed: false,
            unsaved: Unsaved::new(pace.checkpoint, now),
            row_bytes,
            snapshot_at: now,
            snapshotted: LogSeq::default(),
        }
    }

    /// The position of the last committed checkpoint.
    pub fn position(&self) -> LogSeq {
        self.position
    }

    /// Whether everything that the state has handed out to be stored is on disk.
    pub fn is_settled(&self) -> bool {
        (!self.is_under_way || self.is_committed) && self.unsaved.changes.rows() == 0
    }

    /// Whether there is something to be saved, and nothing is being saved.
    pub fn has_unsaved(&self, state: &PartitionState) -> bool {
        !self.is_under_way && state.position() != self.position
    }

    /// Whether a checkpoint may begin.
    pub fn is_due(&self, state: &PartitionState, now: Duration) -> bool {
        let is_due = state.position() != self.position || self.is_snapshot_due(state, now);
        !self.is_under_way && is_due && self.unsaved.is_due(now)
    }

    /// Is true for a quiet log, too: otherwise the newest snapshot would lack the last batches for as long as the log stays quiet.
    fn is_snapshot_due(&self, state: &PartitionState, now: Duration) -> bool {
        now.saturating_sub(self.snapshot_at) >= self.pace.snapshot && state.position() > self.snapshotted
    }

    /// About how many bytes of memory a checkpoint of so many rows takes.
    pub fn memory(&self, rows: u64) -> u64 {
        let bytes = self.row_bytes.of(rows).saturating_add(self.unsaved.changes.bytes() as u64);
        bytes.saturating_mul(MEMORY_PER_BYTE)
    }

    /// Begins a checkpoint, behind so many outputs.
    pub fn begin(&mut self, state: &mut PartitionState, outputs: u64, now: Duration) -> Checkpoint {
        assert!(!self.is_under_way, "one checkpoint at a time");
        (self.is_under_way, self.is_committed) = (true, false);
        let snapshot = self.is_snapshot_due(state, now).then(|| {
            self.snapshot_at = now;
            SnapshotDue { through: state.through(), is_whole: !state.needs_history() }
        });
        let (position, rows, changes) = (state.position(), state.unsaved_rows(), state.checkpoint());
        self.row_bytes.learn(rows, changes.bytes() as u64);
        let changes = self.unsaved.with(changes);
        Checkpoint { position, outputs, changes, snapshot, looks_for_bloat: self.unsaved.is_time_to_look(now) }
    }

    /// Takes note that what the checkpoint under way changes is on disk.
    pub fn committed(&mut self) {
        self.is_committed = true;
    }

    /// Takes note of how a checkpoint went.
    ///
    /// # Errors
    /// That of the store when another try would be in vain.
    pub fn saved(&mut self, saved: Saved, now: Duration) -> Result<(), StoreError> {
        let Saved { position, changes, outcome, snapshot } = saved;
        self.is_under_way = false;
        self.snapshotted = self.snapshotted.max(snapshot.unwrap_or_default());
        match outcome {
            Ok(()) => {
                self.position = position;
                self.unsaved.stored(self.partition);
                Ok(())
            }
            Err(error) => self.unsaved.failed(self.partition, changes, error, now),
        }
    }
}

/// The bytes that a row takes in a checkpoint, on average.
#[derive(Debug)]
struct RowBytes(u64);

impl Default for RowBytes {
    fn default() -> Self {
        Self(USUAL_ROW_BYTES)
    }
}

impl RowBytes {
    /// Takes note that so many rows took so many bytes.
    fn learn(&mut self, rows: u64, bytes: u64) {
        if rows >= TELLING_ROWS {
            self.0 = bytes.div_ceil(rows);
        }
    }

    fn of(&self, rows: u64) -> u64 {
        self.0.saturating_mul(rows)
    }
}

/// What a checkpoint that failed would have changed, and when to try again. The state counts those changes as stored, so
/// they are kept until they are; they cannot become larger than the state.
#[derive(Debug)]
struct Unsaved {
    changes: Changes,
    failures: u32,
    backoff: Backoff,
    retry_at: Duration,
    look_at: Duration,
}

impl Unsaved {
    /// With this interval between checkpoints.
    fn new(interval: Duration, now: Duration) -> Self {
        let backoff = Backoff::new(interval, MAX_RETRY_PAUSE.max(interval));
        Self { changes: Changes::default(), failures: 0, backoff, retry_at: now, look_at: now }
    }

    /// Whether the next checkpoint may be tried.
    fn is_due(&self, now: Duration) -> bool {
        now >= self.retry_at
    }

    /// These changes behind those that are not stored yet.
    fn with(&mut self, changes: Changes) -> Arc<Changes> {
        let mut all = std::mem::take(&mut self.changes);
        all.then(changes);
        Arc::new(all)
    }

    fn stored(&mut self, partition: Partition) {
        if self.failures > 0 {
            tracing::info!(%partition, failures = self.failures, "checkpoints are stored again");
        }
        self.failures = 0;
        self.backoff.reset();
        metrics::gauge!("daybook_checkpoint_failures", "partition" => partition.to_string()).set(0.0);
    }

    /// Keeps `changes` for the next try.
    ///
    /// # Errors
    /// The error itself when another try would be in vain: the actor has to begin again, with what is stored somewhere.
    fn failed(
        &mut self,
        partition: Partition,
        changes: Arc<Changes>,
        error: StoreError,
        now: Duration,
    ) -> Result<(), StoreError> {
        metrics::counter!("daybook_checkpoint_failures_total").increment(1);
        if !error.may_pass() {
            return Err(error);
        }
        let pause = self.backoff.next_pause();
        self.failures += 1;
        self.retry_at = now + pause;
        self.changes = Arc::unwrap_or_clone(changes);
        let failures = self.failures;
        tracing::warn!(%partition, error = chain(&error), failures, ?pause, "a checkpoint failed; going on from memory");
        metrics::gauge!("daybook_checkpoint_failures", "partition" => partition.to_string()).set(f64::from(failures));
        Ok(())
    }

    /// Whether it is time to see if the store is bloated; from then on, not for a while.
    fn is_time_to_look(&mut self, now: Duration) -> bool {
        let is_time = now >= self.look_at;
        if is_time {
            self.look_at = now + LOOK_INTERVAL;
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn locked() -> StoreError {
        StoreError::Locked(PathBuf::new())
    }

    fn put(key: &[u8], value: &[u8]) -> Changes {
        Changes { put: vec![(key.to_vec(), value.to_vec())], remove: vec![] }
    }

    #[test]
    fn a_checkpoint_that_failed_is_tried_again_with_what_came_later() {
        let mut now = Duration::ZERO;
        let mut unsaved = Unsaved::new(INTERVAL, now);
        assert!(unsaved.is_due(now));
        let mut pauses = Vec::new();
        let mut changes = unsaved.with(put(b"a", b"1"));
        for value in [b"2", b"3", b"4", b"5", b"6", b"7"] {
            let failed = now;
            unsaved.failed(Partition(0), changes, locked(), now).unwrap();
            while !unsaved.is_due(now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - failed).as_secs());
            changes = unsaved.with(put(b"b", value));
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(changes.put, [put(b"a", b"1").put, put(b"b", b"7").put].concat());
        unsaved.stored(Partition(0));
        unsaved.failed(Partition(0), changes, locked(), now).unwrap();
        assert!(unsaved.is_due(now + INTERVAL), "the first failure in a row again");
    }

    #[test]
    fn a_checkpoint_needs_memory_for_the_rows_that_changed() {
        let mut row_bytes = RowBytes::default();
        assert_eq!(row_bytes.of(10), 10 * USUAL_ROW_BYTES);
        // A restart with a store of ten million rows, of which a few have changed since.
        row_bytes.learn(10_000_000, 1 << 30);
        assert_eq!(row_bytes.of(100), 108 * 100);
        // The definitions of a small checkpoint are larger than its rows.
        row_bytes.learn(2, 1 << 20);
        assert_eq!(row_bytes.of(100), 108 * 100);
        row_bytes.learn(1_000, 90_001);
        assert_eq!((row_bytes.of(100), row_bytes.of(u64::MAX)), (9_100, u64::MAX));
    }

    #[test]
    fn damage_is_not_tried_again() {
        let damaged = StoreError::Damaged { path: PathBuf::new(), why: String::new() };
        let now = Duration::ZERO;
        assert!(Unsaved::new(INTERVAL, now).failed(Partition(0), Arc::default(), damaged, now).is_err());
    }

    #[test]
    fn a_store_is_looked_at_now_and_then() {
        let now = Duration::ZERO;
        let mut unsaved = Unsaved::new(INTERVAL, now);
        assert!(unsaved.is_time_to_look(now) && !unsaved.is_time_to_look(now));
        assert!(unsaved.is_time_to_look(now + LOOK_INTERVAL));
    }
}
