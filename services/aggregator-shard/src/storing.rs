//! Carries out the checkpoints of a partition that [`crate::saving`] begins: among those of the whole process, with memory set aside,
//! behind their outputs.

use crate::checkpoints::{commit, rebuild_if_bloated};
use crate::messages::Message;
use crate::replica::{Input, Replica};
use crate::saving::{Checkpoint, Pace, Saved};
use crate::snapshots::{self, SnapshotError};
use daybook_domain::ids::Partition;
use daybook_runtime::connection::Connection;
use daybook_runtime::memory::{self, Reservation};
use daybook_runtime::outbox::Outbox;
use daybook_runtime::store::{Store, StoreError};
use ractor::ActorRef;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long the last checkpoint of a stopping partition may take.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);
/// Most checkpoints made at once by a process, and at most one per processor, unless one has waited for an interval.
const MAX_AT_ONCE: usize = 4;
/// How long memory may postpone a checkpoint. The estimate may be wrong, so after that it is made once memory is ample and nothing
/// else is reserved.
const MAX_POSTPONED: Duration = Duration::from_secs(60);
/// Pause between two tries to take a [`Slot`].
const SLOT_POLL: Duration = Duration::from_millis(50);

static SLOTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    Arc::new(Semaphore::new(processors.min(MAX_AT_ONCE)))
});

/// Permission to make a checkpoint now.
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

/// The store of a partition, and its turn to be written.
pub struct Storing {
    partition: Partition,
    store: Store,
    pace: Pace,
    /// On disk, as of the last checkpoint interval: to ask takes a look at the folder.
    disk_bytes: u64,
    /// Since when a checkpoint that is due waits for those of others.
    waits_since: Option<Instant>,
    /// Since when checkpoints are postponed for want of memory.
    postponed_since: Option<Instant>,
}

impl Storing {
    pub fn new(partition: Partition, store: Store, pace: Pace) -> Self {
        let disk_bytes = store.disk_bytes();
        Self { partition, store, pace, disk_bytes, waits_since: None, postponed_since: None }
    }

    /// Where everything is stored.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Bytes on disk, as of the last checkpoint interval.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Looks how many bytes there are on disk.
    pub fn look(&mut self) {
        self.disk_bytes = self.store.disk_bytes();
        metrics::gauge!("daybook_checkpoint_disk_bytes", "partition" => self.partition.to_string())
            .set(self.disk_bytes as f64);
    }

    /// Whether it is the turn of a checkpoint that is due, among all partitions of the process.
    pub fn turn(&mut self) -> Turn {
        let interval = self.pace.checkpoint;
        let waits_since = *self.waits_since.get_or_insert_with(Instant::now);
        let slot = Slot::take();
        if slot.is_none() && waits_since.elapsed() < interval {
            return Turn::In(SLOT_POLL.min(interval));
        }
        self.waits_since = None;
        Turn::Now(slot)
    }

    /// Begins a checkpoint of the replica. Returns `None` when there is no memory for it: nothing is lost, as the log can be read
    /// again. The work sends [`Input::Committed`] once the changes are on disk. It ends with [`Input::Saved`], also when the commit
    /// fails. It sends neither when the outbox has ended.
    pub fn begin(
        &mut self,
        slot: Option<Slot>,
        replica: &mut Replica,
        now: Duration,
        outbox: &Outbox,
        connection: &Connection,
        actor: ActorRef<Message>,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let reservation = self.reserve(replica)?;
        let Checkpoint { position, outputs, changes, snapshot, looks_for_bloat } = replica.begin_checkpoint(now);
        let (partition, store, interval) = (self.partition, self.store.clone(), self.pace.snapshot);
        let (outbox, connection) = (outbox.clone(), connection.clone());
        Some(async move {
            if !outbox.wait_for_written(outputs).await {
                return;
            }
            let started = Instant::now();
            let mut outcome = commit(store.clone(), changes.clone()).await;
            metrics::histogram!("daybook_checkpoint_seconds").record(started.elapsed().as_secs_f64());
            if outcome.is_ok() {
                let _ = actor.cast(Message::Heard(Input::Committed));
            }
            if outcome.is_ok() && looks_for_bloat {
                rebuild_if_bloated(partition, store.clone()).await;
            }
            // A snapshot takes long and little memory.
            drop((slot, reservation));
            // Before the next commit, so that the rows are those of one position.
            let mut there = None;
            if let (Ok(()), Some(due)) = (&outcome, snapshot) {
                let of = snapshots::Of { partition, position, through: due.through, is_whole: due.is_whole };
                match snapshots::put(&connection, of, store, interval).await {
                    Ok(newest) => there = Some(newest),
                    // No snapshot can be made of it any more: what is in the folder is looked at when the actor begins again.
                    Err(SnapshotError::Store(error @ StoreError::Damaged { .. })) => outcome = Err(error),
                    Err(error) => tracing::warn!(%partition, %error, "no snapshot was put on the broker"),
                }
            }
            let saved = Saved { position, changes, outcome, snapshot: there };
            let _ = actor.cast(Message::Heard(Input::Saved(saved)));
        })
    }

    /// Sets aside the memory for a checkpoint of the replica.
    fn reserve(&mut self, replica: &Replica) -> Option<Reservation> {
        let (rows, needed) = replica.checkpoint_needs();
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

    /// Makes a last checkpoint of what is not saved, unless one is under way, it takes too long, or there is no memory for it.
    ///
    /// # Errors
    /// That of the store.
    pub async fn last(&mut self, replica: &mut Replica, now: Duration, outbox: &Outbox) -> Result<(), StoreError> {
        if !replica.has_unsaved() {
            return Ok(());
        }
        let Some(_reservation) = self.reserve(replica) else { return Ok(()) };
        let Checkpoint { outputs, changes, .. } = replica.begin_checkpoint(now);
        let work = async {
            if outbox.wait_for_written(outputs).await {
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
