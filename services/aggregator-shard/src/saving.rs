//! When the actor of a partition saves its state, and what is left when that fails: one checkpoint at a time, each behind the
//! outputs up to it, and now and then a snapshot of it for the broker.

use crate::checkpoints::{chain, commit, rebuild_if_bloated};
use crate::partition::{Intervals, Message};
use crate::snapshots::{self, SnapshotError};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_runtime::connection::Connection;
use daybook_runtime::memory::{self, Reservation};
use daybook_runtime::outbox::Outbox;
use daybook_runtime::store::{Changes, Store, StoreError};
use ractor::ActorRef;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long the last checkpoint of a stopping partition may take.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);
/// Longest pause before a checkpoint that failed is tried again, unless the interval is longer: a disk that was full is
/// found free within a minute.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks whether a store is bloated, and so between two rebuilds: one that bloats in less has no use for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// Most checkpoints made at once by a process, and at most one per processor, unless one has waited for an interval.
const MAX_AT_ONCE: usize = 4;
/// Bytes of memory that a checkpoint takes for each byte that it writes: its rows, the batch, and what the store makes of it.
const MEMORY_PER_BYTE: u64 = 6;
/// How long memory may postpone a checkpoint. The estimate may be wrong, so after that it is made once memory is ample and nothing
/// else is reserved.
const MAX_POSTPONED: Duration = Duration::from_secs(60);
/// Bytes of a row until a checkpoint of [`TELLING_ROWS`] shows them: those of an order in a small view.
const USUAL_ROW_BYTES: u64 = 256;
/// Fewer rows do not tell the size of others.
const TELLING_ROWS: u64 = 1_000;
/// Between two looks whether one more may be made.
const SLOT_POLL: Duration = Duration::from_millis(50);

static SLOTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    Arc::new(Semaphore::new(processors.min(MAX_AT_ONCE)))
});

/// That a checkpoint may be made now.
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// `None` while others make theirs.
    pub fn take() -> Option<Self> {
        Some(Self { _permit: SLOTS.clone().try_acquire_owned().ok()? })
    }
}

/// When a checkpoint that is due may be made.
pub enum Turn {
    /// Now; without a slot when it has waited for as long as an interval, for one that hangs must not hold up the others.
    Now(Option<Slot>),
    /// To be asked again after so long.
    In(Duration),
}

/// Where the state of a partition is saved, and how far it is.
pub struct Saving {
    partition: Partition,
    store: Store,
    /// On disk, as of the last checkpoint interval: to ask takes a look at the folder.
    disk_bytes: u64,
    /// The position of the last committed checkpoint.
    position: LogSeq,
    is_under_way: bool,
    /// What the one under way changes is on disk; a snapshot may still be made of it.
    is_committed: bool,
    /// Since when a checkpoint that is due waits for those of others.
    waits_since: Option<Instant>,
    unsaved: Unsaved,
    row_bytes: RowBytes,
    /// Since when checkpoints are postponed for want of memory.
    postponed_since: Option<Instant>,
    snapshot_at: Instant,
    /// The position of the newest snapshot on the broker, as far as is known.
    snapshotted: LogSeq,
    intervals: Intervals,
}

/// How a checkpoint went.
pub struct Saved {
    position: LogSeq,
    changes: Arc<Changes>,
    outcome: Result<(), StoreError>,
    /// The position of the snapshot on the broker, where that was seen to.
    snapshot: Option<LogSeq>,
}

impl Saving {
    /// With a store that holds `state`.
    pub fn new(partition: Partition, store: Store, state: &PartitionState, intervals: Intervals) -> Self {
        let now = Instant::now();
        let mut row_bytes = RowBytes::default();
        row_bytes.learn(state.sizes().rows(), store.live_bytes().unwrap_or_default());
        Self {
            partition,
            disk_bytes: store.disk_bytes(),
            store,
            position: state.position(),
            is_under_way: false,
            is_committed: false,
            waits_since: None,
            unsaved: Unsaved::new(now),
            row_bytes,
            postponed_since: None,
            snapshot_at: now,
            snapshotted: LogSeq::default(),
            intervals,
        }
    }

    /// The position of the last committed checkpoint.
    pub fn position(&self) -> LogSeq {
        self.position
    }

    /// Where everything is stored.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether everything that the state has handed out to be stored is on disk.
    pub fn is_settled(&self) -> bool {
        (!self.is_under_way || self.is_committed) && self.unsaved.changes.rows() == 0
    }

    /// Bytes on disk, as of the last checkpoint interval.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Whether it is the turn of a checkpoint that is due, among all partitions of the process.
    pub fn turn(&mut self) -> Turn {
        let interval = self.intervals.checkpoint;
        let waits_since = *self.waits_since.get_or_insert_with(Instant::now);
        let slot = Slot::take();
        if slot.is_none() && waits_since.elapsed() < interval {
            return Turn::In(SLOT_POLL.min(interval));
        }
        self.waits_since = None;
        Turn::Now(slot)
    }

    /// The work of a checkpoint, if one is due. It says [`Message::Committed`] when the changes are on disk, and ends with
    /// [`Message::CheckpointDone`], unless the outbox has ended.
    pub fn begin(
        &mut self,
        slot: Option<Slot>,
        state: &mut PartitionState,
        outbox: &Outbox,
        connection: &Connection,
        actor: ActorRef<Message>,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let partition = self.partition;
        self.disk_bytes = self.store.disk_bytes();
        metrics::gauge!("daybook_checkpoint_disk_bytes", "partition" => partition.to_string())
            .set(self.disk_bytes as f64);
        let position = state.position();
        // Also when nothing comes any more: the last of it would be missing there for as long as the log is quiet.
        let is_snapshot_due = self.snapshot_at.elapsed() >= self.intervals.snapshot && position > self.snapshotted;
        let is_due = position != self.position || is_snapshot_due;
        if self.is_under_way || !is_due || !self.unsaved.is_due(Instant::now()) {
            return None;
        }
        let rows = state.unsaved_rows();
        let reservation = self.reserve(rows)?;
        (self.is_under_way, self.is_committed) = (true, false);
        let (store, outbox) = (self.store.clone(), outbox.clone());
        let snapshot = is_snapshot_due.then(|| {
            self.snapshot_at = Instant::now();
            let of = snapshots::Of { partition, position, through: state.through(), is_whole: !state.needs_history() };
            (connection.clone(), of, self.intervals.snapshot)
        });
        let changes = state.checkpoint();
        self.row_bytes.learn(rows, changes.bytes() as u64);
        let (count, changes) = (outbox.accepted(), self.unsaved.with(changes));
        let look = self.unsaved.is_time_to_look(Instant::now());
        Some(async move {
            if !outbox.wait_for_written(count).await {
                return;
            }
            let started = Instant::now();
            let mut outcome = commit(store.clone(), changes.clone()).await;
            metrics::histogram!("daybook_checkpoint_seconds").record(started.elapsed().as_secs_f64());
            if outcome.is_ok() {
                let _ = actor.cast(Message::Committed);
            }
            if outcome.is_ok() && look {
                rebuild_if_bloated(partition, store.clone()).await;
            }
            // A snapshot takes long and little memory.
            drop((slot, reservation));
            // Before the next commit, so that the rows are those of one position.
            let mut there = None;
            if let (Ok(()), Some((connection, of, interval))) = (&outcome, snapshot) {
                match snapshots::put(&connection, of, store, interval).await {
                    Ok(newest) => there = Some(newest),
                    // No snapshot can be made of it any more: what is in the folder is looked at when the actor begins again.
                    Err(SnapshotError::Store(error @ StoreError::Damaged { .. })) => outcome = Err(error),
                    Err(error) => tracing::warn!(%partition, %error, "no snapshot was put on the broker"),
                }
            }
            let _ = actor.cast(Message::CheckpointDone(Saved { position, changes, outcome, snapshot: there }));
        })
    }

    /// Sets aside the memory for a checkpoint of so many rows. `None` postpones it: the log is there to be read again.
    fn reserve(&mut self, rows: u64) -> Option<Reservation> {
        let bytes = self.row_bytes.of(rows).saturating_add(self.unsaved.changes.bytes() as u64);
        let needed = bytes.saturating_mul(MEMORY_PER_BYTE);
        let since = self.postponed_since;
        let is_overdue = since.is_some_and(|since| since.elapsed() >= MAX_POSTPONED);
        let reservation = memory::reserve(needed);
        // What is needed is an estimate: a wrong one must not end checkpoints for good.
        let reservation = reservation.or_else(|| is_overdue.then(|| memory::reserve_alone(needed)).flatten());
        if reservation.is_none() && since.is_none() {
            let (partition, needed) = (self.partition, memory::mebibytes(needed));
            tracing::warn!(%partition, rows, needed, "no memory for a checkpoint; it is postponed");
        }
        self.postponed_since = if reservation.is_none() { since.or_else(|| Some(Instant::now())) } else { None };
        reservation
    }

    /// Takes note that what the checkpoint under way changes is on disk.
    pub fn committed(&mut self) {
        self.is_committed = true;
    }

    /// Takes note of how a checkpoint went.
    ///
    /// # Errors
    /// That of the store when another try would be in vain.
    pub fn done(&mut self, saved: Saved) -> Result<(), StoreError> {
        let Saved { position, changes, outcome, snapshot } = saved;
        self.is_under_way = false;
        self.snapshotted = self.snapshotted.max(snapshot.unwrap_or_default());
        match outcome {
            Ok(()) => {
                self.position = position;
                self.unsaved.stored(self.partition);
                Ok(())
            }
            Err(error) => {
                self.unsaved.failed(self.partition, changes, error, self.intervals.checkpoint, Instant::now())
            }
        }
    }

    /// A last checkpoint of what is not saved, unless one is under way, it takes too long, or there is no memory for it.
    ///
    /// # Errors
    /// That of the store.
    pub async fn last(&mut self, state: &mut PartitionState, outbox: &Outbox) -> Result<(), StoreError> {
        if self.is_under_way || state.position() == self.position {
            return Ok(());
        }
        let Some(_reservation) = self.reserve(state.unsaved_rows()) else { return Ok(()) };
        let count = outbox.accepted();
        let work = async {
            if outbox.wait_for_written(count).await {
                let changes = self.unsaved.with(state.checkpoint());
                commit(self.store.clone(), changes).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(LAST_CHECKPOINT, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::info!(partition = %self.partition, "stopped without a last checkpoint; the log will be replayed");
                Ok(())
            }
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
    retry_at: Instant,
    look_at: Instant,
}

impl Unsaved {
    fn new(now: Instant) -> Self {
        Self { changes: Changes::default(), failures: 0, retry_at: now, look_at: now }
    }

    /// Whether the next checkpoint may be tried.
    fn is_due(&self, now: Instant) -> bool {
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
        interval: Duration,
        now: Instant,
    ) -> Result<(), StoreError> {
        metrics::counter!("daybook_checkpoint_failures_total").increment(1);
        if !error.may_pass() {
            return Err(error);
        }
        let doubled = interval.saturating_mul(2_u32.saturating_pow(self.failures.min(16)));
        let pause = doubled.min(MAX_RETRY_PAUSE.max(interval));
        self.failures += 1;
        self.retry_at = now + pause;
        self.changes = Arc::unwrap_or_clone(changes);
        let failures = self.failures;
        tracing::warn!(%partition, error = chain(&error), failures, ?pause, "a checkpoint failed; going on from memory");
        metrics::gauge!("daybook_checkpoint_failures", "partition" => partition.to_string()).set(f64::from(failures));
        Ok(())
    }

    /// Whether it is time to see if the store is bloated; from then on, not for a while.
    fn is_time_to_look(&mut self, now: Instant) -> bool {
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
        let mut now = Instant::now();
        let mut unsaved = Unsaved::new(now);
        assert!(unsaved.is_due(now));
        let mut pauses = Vec::new();
        let mut changes = unsaved.with(put(b"a", b"1"));
        for value in [b"2", b"3", b"4", b"5", b"6", b"7"] {
            let failed = now;
            unsaved.failed(Partition(0), changes, locked(), INTERVAL, now).unwrap();
            while !unsaved.is_due(now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - failed).as_secs());
            changes = unsaved.with(put(b"b", value));
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(changes.put, [put(b"a", b"1").put, put(b"b", b"7").put].concat());
        unsaved.stored(Partition(0));
        unsaved.failed(Partition(0), changes, locked(), INTERVAL, now).unwrap();
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
        let now = Instant::now();
        assert!(Unsaved::new(now).failed(Partition(0), Arc::default(), damaged, INTERVAL, now).is_err());
    }

    #[test]
    fn a_store_is_looked_at_now_and_then() {
        let now = Instant::now();
        let mut unsaved = Unsaved::new(now);
        assert!(unsaved.is_time_to_look(now) && !unsaved.is_time_to_look(now));
        assert!(unsaved.is_time_to_look(now + LOOK_INTERVAL));
    }
}
