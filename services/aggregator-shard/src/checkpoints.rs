//! Opening a partition's store and committing to it. Whatever is wrong with the store, the answer is to put the newest
//! snapshot on the broker in its place, or else to wipe it and begin with the beginning of the log. A log that is trimmed has
//! no beginning to begin with: then there must be a snapshot, or the partition is refused.

use crate::snapshots::{self, Snapshot, SnapshotError};
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::{PartitionState, checkpoint};
use daybook_runtime::append::last_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::log::{Beginning, beginning, through_at};
use daybook_runtime::memory;
use daybook_runtime::store::{Backend, Changes, Reading, Row, Store, StoreError, wipe};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many messages of the log a snapshot must be ahead of the local store to be worth fetching.
const WORTH_FETCHING: u64 = 20_000;

/// How long to wait before a folder that the log does not seem to go on from is believed to be of another log: a leader that
/// is cut off takes as long to notice.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// How often a snapshot to backfill from is fetched before a newer one has to do, which tells less of what was: a broker that
/// changes its leader is back by then.
const FETCHES: u32 = 3;
/// Between two of these.
const FETCH_AGAIN: Duration = Duration::from_secs(5);

/// Stores that are read at once at most: so many as there are processors to do it, for each must say that it is alive now and
/// then, and takes the memory of its rows beside that of the state.
const MAX_OPENING: usize = 4;

/// Rows after which it is looked whether there is memory for more.
const ROWS_PER_LOOK: usize = 100;

static OPENING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    Arc::new(Semaphore::new(processors.min(MAX_OPENING)))
});

/// Where a partition's store is, and whose code keeps it.
#[derive(Clone, Debug)]
pub struct Place {
    pub backend: Backend,
    pub folder: PathBuf,
}

/// A partition cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the log of partition {partition} is trimmed, and its snapshots on the broker cannot be used: {reason}")]
    Snapshots { partition: Partition, reason: String },
    /// Going on would give wrong figures: entities of before would be counted twice, reports sealed anew.
    #[error(
        "the log of partition {partition} begins at {}, behind {}, and no state that reaches so far is left, neither in the \
         folder (at {local}) nor on the broker: put back CHECKPOINTS, the folder of a shard that ran the partition, or \
         EVENTS from a backup",
        beginning.position, beginning.follows
    )]
    Unreachable { partition: Partition, beginning: Beginning, local: LogSeq },
}

/// The part of the log that is there.
#[derive(Clone, Copy)]
struct Reach {
    beginning: Option<Beginning>,
    end: LogSeq,
}

impl Reach {
    async fn of(connection: &Connection, partition: Partition) -> Self {
        let subjects = &connection.subjects;
        let beginning = beginning(connection, partition).await;
        // What someone else wrote behind the last batch takes nothing from the log.
        let end = last_message(connection, &subjects.events_stream(), &subjects.events(partition)).await;
        Self { beginning, end: LogSeq(end.map_or(0, |message| message.sequence)) }
    }

    /// Whether it is there from that position on, of which is known that it is this log's.
    fn reaches(&self, position: LogSeq) -> bool {
        self.beginning.is_none_or(|beginning| beginning.follows <= position) && position <= self.end
    }

    /// Whether a state can go on with this log: the batch that it has applied last stands there, or did right before the
    /// first that is left. Otherwise it is another log: the stream was made anew.
    async fn continues(
        &self,
        connection: &Connection,
        partition: Partition,
        position: LogSeq,
        through: Through,
    ) -> bool {
        position == self.beginning.map_or(LogSeq(0), |beginning| beginning.follows)
            || through_at(connection, partition, position).await == Some(through)
    }

    /// Where it begins, if that is not where it once began.
    fn trimmed(&self) -> Option<Beginning> {
        self.beginning.filter(Beginning::is_trimmed)
    }
}

/// The store of `partition` at `place` and the state it holds, from which the log can be read on. Of entities of closed days
/// about so many bytes are in memory at most.
///
/// # Errors
/// When it is in use, there is no room, or not even an empty store can be made there; or the log is trimmed and nothing
/// reaches to its beginning.
pub async fn open(
    connection: &Connection,
    partition: Partition,
    place: &Place,
    closed_bytes: Option<u64>,
) -> Result<(Store, PartitionState), OpenError> {
    let at = place.clone();
    let found = reading(move |given_up| open_blocking(partition, &at, closed_bytes, given_up)).await?;
    let held = found.as_ref().map(|(_, state)| (state.position(), state.through()));
    let (local, local_through) = held.unwrap_or_default();
    let needs_history = found.as_ref().is_some_and(|(_, state)| state.needs_history());
    let mut reach = Reach::of(connection, partition).await;
    let mut goes_on = reach.continues(connection, partition, local, local_through).await;
    if !goes_on && local > LogSeq(0) {
        // A broker that is going down, or was cut off, may tell of less than there is.
        tokio::time::sleep(SECOND_LOOK).await;
        reach = Reach::of(connection, partition).await;
        goes_on = reach.continues(connection, partition, local, local_through).await;
    }
    // Those that can be gone on from, the newest first.
    let there = snapshots::list(connection, partition)
        .await
        .map(|there| there.into_iter().rev().filter(|snapshot| reach.reaches(snapshot.position)).collect::<Vec<_>>());
    let was_usable = found.is_some();
    let mut found = found.filter(|_| goes_on);
    let there = match (there, &found) {
        (Ok(there), None) if there.is_empty() && reach.trimmed().is_some() => {
            let beginning = reach.trimmed().expect("it is trimmed");
            // The folder stays as it is: it may be of use with the other backend, or with a log that is put back.
            return Err(OpenError::Unreachable { partition, beginning, local });
        }
        (Ok(there), _) => there,
        (Err(error), Some(_)) => {
            tracing::warn!(%partition, %error, "the broker does not tell of snapshots; going on without");
            Vec::new()
        }
        (Err(error), None) if reach.trimmed().is_some() => {
            return Err(OpenError::Snapshots { partition, reason: error.to_string() });
        }
        (Err(_), None) => Vec::new(),
    };
    match found {
        Some(found) if !is_worth_it(local, needs_history, there.first(), reach.trimmed().is_some()) => {
            return Ok(found);
        }
        Some(_) => {}
        None if was_usable => {
            tracing::warn!(%partition, position = %local, end = %reach.end, "the log does not go on from the checkpoint");
        }
        None => metrics::counter!("daybook_checkpoints_wiped_total").increment(1),
    }
    let mut unusable = None;
    for Snapshot { position, .. } in there {
        let at = place.clone();
        let beside = blocking(move || Store::beside(at.backend, &at.folder)).await?;
        let scratch = place.folder.with_extension("snapshot");
        let taken = match take_over(connection, partition, position, beside, scratch, closed_bytes).await {
            // There is no room for both.
            Err(error) if found.is_some() => Err(chain(&error)),
            taken => taken?,
        };
        match taken {
            Ok((store, state)) => {
                // What is in the folder goes only now that there is something better.
                drop(found.take());
                let folder = place.folder.clone();
                let store = blocking(move || store.take_place(&folder)).await?;
                tracing::info!(%partition, %position, %local, "took over a snapshot on the broker");
                metrics::counter!("daybook_snapshots_fetched_total").increment(1);
                return Ok((store, state));
            }
            // An older one will do.
            Err(why) => {
                tracing::warn!(%partition, %position, why, "a snapshot on the broker cannot be used");
                unusable = Some(why);
            }
        }
    }
    match (found, unusable.filter(|_| reach.trimmed().is_some())) {
        (Some(found), _) => Ok(found),
        // The folder stays as it is here too.
        (None, Some(reason)) => Err(OpenError::Snapshots { partition, reason }),
        (None, None) => {
            let at = place.clone();
            Ok((blocking(move || fresh(&at)).await?, empty(partition)))
        }
    }
}

/// Whether a state in the folder that can go on is to be given up for the newest snapshot. Where the log is trimmed, only for
/// one that waits for no backfill if the state does: what is left of the log might make other figures than it has.
pub fn is_worth_it(local: LogSeq, needs_history: bool, newest: Option<&Snapshot>, is_trimmed: bool) -> bool {
    let Some(newest) = newest.filter(|newest| newest.position > local) else { return false };
    match is_trimmed {
        true => needs_history && newest.is_whole,
        false => local == LogSeq(0) || newest.position.0 - local.0 > WORTH_FETCHING,
    }
}

/// The state of a snapshot, put into the empty store; or why the snapshot cannot be used.
///
/// # Errors
/// When there is no room for it, which is no fault of the snapshot.
async fn take_over(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    empty: Store,
    scratch: PathBuf,
    closed_bytes: Option<u64>,
) -> Result<Result<(Store, PartitionState), String>, StoreError> {
    if let Err(error) = snapshots::fetch(connection, partition, position, empty.clone(), scratch.clone()).await {
        let error = match error {
            SnapshotError::File(source) => StoreError::Folder { path: scratch, source },
            SnapshotError::Store(error) => error,
            error => return Ok(Err(error.to_string())),
        };
        return if error.is_full() { Err(error) } else { Ok(Err(chain(&error))) };
    }
    let restored = reading(move |given_up| {
        // As they come: those of a snapshot are read once, and need not be there together.
        let mut failure = None;
        let rows = empty.scan()?.map_while(|row| row.map_err(|error| failure = Some(error)).ok());
        let state = restore(partition, rows, Reading::Whole, closed_bytes, given_up);
        failure.map_or(Ok(state.map(|state| (empty, state))), Err)
    });
    Ok(restored.await?.and_then(|(store, state)| match state.position() == position {
        true => Ok((store, state)),
        false => Err(format!("its state is at {}", state.position())),
    }))
}

/// The state of a snapshot on the broker that the present log goes on from, the oldest that can be used. Nothing is
/// kept of it on this machine but in the folder `scratch`. `None` when there is none.
///
/// # Errors
/// When the broker does not tell of snapshots, or there is no room in the folder.
pub async fn oldest_on_the_broker(
    connection: &Connection,
    partition: Partition,
    scratch: &Path,
) -> Result<Option<PartitionState>, SnapshotError> {
    let reach = Reach::of(connection, partition).await;
    let there = snapshots::list(connection, partition).await?;
    for position in there.iter().map(|snapshot| snapshot.position).filter(|position| reach.reaches(*position)) {
        // Rows are the same whatever keeps them.
        let place = Place { backend: Backend::default(), folder: scratch.join(format!("at-{position}")) };
        for attempt in 1..=FETCHES {
            let (place, scratch) = (place.clone(), place.folder.with_extension("snapshot"));
            let empty = blocking(move || fresh(&place)).await?;
            match take_over(connection, partition, position, empty, scratch, None).await? {
                Ok((_, state)) => return Ok(Some(state)),
                Err(why) => tracing::warn!(%partition, %position, why, "a snapshot on the broker cannot be used"),
            }
            if attempt < FETCHES {
                tokio::time::sleep(FETCH_AGAIN).await;
            }
        }
    }
    Ok(None)
}

/// What the folder holds, an empty state if it is new; `None` when it cannot be used.
fn open_blocking(
    partition: Partition,
    place: &Place,
    closed_bytes: Option<u64>,
    given_up: &CancellationToken,
) -> Result<Option<(Store, PartitionState)>, StoreError> {
    let read = |rows: &mut dyn Iterator<Item = Row>, reading| restore(partition, rows, reading, closed_bytes, given_up);
    let opened = match closed_bytes {
        Some(_) => Store::open_passing(place.backend, &place.folder, checkpoint::pass, read),
        // Nothing leaves memory, so everything is read.
        None => Store::open_with(place.backend, &place.folder, |rows| read(rows, Reading::Whole)),
    };
    let why = match opened {
        Ok(found) => return Ok(Some(found)),
        // An earlier actor of this process has not let go of it yet, or it cannot be opened for want of room: the next
        // start may find that changed.
        Err(error) if error.is_locked() || error.is_full() => return Err(error),
        Err(error) => chain(&error),
    };
    let folder = &place.folder;
    if given_up.is_cancelled() {
        return Err(StoreError::GivenUp { path: folder.clone() });
    }
    tracing::warn!(%partition, ?folder, why, "the checkpoint cannot be used; a snapshot or the log is to take its place");
    Ok(None)
}

fn restore(
    partition: Partition,
    rows: impl IntoIterator<Item = Row>,
    reading: Reading,
    closed_bytes: Option<u64>,
    given_up: &CancellationToken,
) -> Result<PartitionState, String> {
    let rows = rows.into_iter().enumerate().map(|(index, row)| {
        if index.is_multiple_of(ROWS_PER_LOOK) && memory::is_full() {
            tracing::warn!(%partition, rows = index, "the checkpoint does not fit into memory; waiting with this many rows of it");
            memory::wait_for_room(|| given_up.is_cancelled());
        }
        row
    });
    let rows = rows.take_while(|_| !given_up.is_cancelled());
    let restored = match (reading, closed_bytes) {
        (Reading::Passing, Some(bytes)) => PartitionState::restore_passing(partition, rows, bytes),
        _ => PartitionState::restore_limited(partition, rows, closed_bytes),
    };
    let mut state = restored.map_err(|error| error.to_string())?.unwrap_or_else(|| empty(partition));
    // Here, and not in the actor: all of the state is looked at.
    state.keep_digests();
    Ok(state)
}

/// The state before the first batch, of which digests are kept.
fn empty(partition: Partition) -> PartitionState {
    let mut state = PartitionState::new(partition);
    state.keep_digests();
    state
}

fn fresh(place: &Place) -> Result<Store, StoreError> {
    let folder = &place.folder;
    wipe(folder).map_err(|source| StoreError::Folder { path: folder.clone(), source })?;
    Ok(Store::open(place.backend, folder)?.0)
}

/// An error and its sources, in a line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Commits on a thread of its own.
///
/// # Errors
/// When the store is damaged or the disk is full.
pub async fn commit(store: Store, changes: Arc<Changes>) -> Result<(), StoreError> {
    metrics::histogram!("daybook_checkpoint_rows").record(changes.rows() as f64);
    metrics::counter!("daybook_checkpoint_bytes_total").increment(changes.bytes() as u64);
    blocking(move || store.commit(changes)).await
}

/// Memory that a second store takes beside the first at most, while rows go from one to the other.
const REBUILD_BYTES: u64 = 64 << 20;

/// Rebuilds the store if its files have become much larger than what they hold. That it fails is no harm.
pub async fn rebuild_if_bloated(partition: Partition, store: Store) {
    let outcome = blocking(move || {
        let (disk, live) = (store.disk_bytes(), store.live_bytes());
        if !store.is_bloated() {
            return Ok(None);
        }
        let Some(_reservation) = memory::reserve(live.unwrap_or_default().min(REBUILD_BYTES)) else { return Ok(None) };
        store.rebuild()?;
        Ok(Some((disk, live, store.disk_bytes())))
    });
    match outcome.await {
        Ok(None) => {}
        Ok(Some((before, live, after))) => {
            tracing::info!(%partition, before, live, after, "rebuilt the checkpoint store");
            metrics::counter!("daybook_checkpoint_rebuilds_total").increment(1);
        }
        Err(error) => tracing::warn!(%partition, error = chain(&error), "the checkpoint store could not be rebuilt"),
    }
}

/// As [`blocking`], for work that reads a whole store, of which only a few are read at once. Whoever is not waited for any more
/// counts until it has ended.
async fn reading<T: Send + 'static>(
    work: impl FnOnce(&CancellationToken) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let permit = OPENING.clone().acquire_owned().await.expect("it is never closed");
    memory::room().await;
    // Cancelled when this is no longer waited for.
    let given_up = CancellationToken::new();
    let token = given_up.clone();
    let _guard = given_up.drop_guard();
    blocking(move || {
        let _permit = permit;
        work(&token)
    })
    .await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            // Not the engine's, which is run behind a watch.
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// What [`open`] makes of a folder where the broker has no snapshots.
    fn open_or_begin(place: &Place) -> Result<(Store, PartitionState), StoreError> {
        match open_blocking(Partition(0), place, None, &CancellationToken::new())? {
            Some(found) => Ok(found),
            None => Ok((fresh(place)?, PartitionState::new(Partition(0)))),
        }
    }

    #[test]
    fn a_state_that_waits_for_a_backfill_gives_way_to_a_snapshot_that_does_not() {
        let (trimmed, whole) = (true, false);
        let snapshot = |position, is_whole| Snapshot { position: LogSeq(position), age: Duration::ZERO, is_whole };
        let is_worth = |needs_history, position, is_whole, is_trimmed| {
            is_worth_it(LogSeq(20), needs_history, Some(&snapshot(position, is_whole)), is_trimmed)
        };
        assert!(is_worth(true, 21, true, trimmed));
        assert!(!is_worth(true, 20, true, trimmed) && !is_worth(true, 21, false, trimmed));
        assert!(!is_worth(false, 80_000, true, trimmed), "it may be damaged");
        assert!(is_worth(false, 80_000, true, whole) && !is_worth(true, 21, true, whole));
    }

    #[test]
    fn a_folder_of_the_other_backend_is_wiped_and_used() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("partition-0");
        for backend in [Backend::Sled, Backend::Fjall, Backend::Sled] {
            let place = Place { backend, folder: folder.clone() };
            let (store, mut state) = open_or_begin(&place).unwrap();
            assert_eq!(state.position().0, 0);
            assert_eq!(store.scan().unwrap().count(), 0, "what was there is gone");
            store.commit(Arc::new(state.checkpoint())).unwrap();
            assert_eq!(store.scan().unwrap().count(), 1);
        }
    }

    #[test]
    fn a_state_of_an_unknown_format_is_wiped() {
        for backend in Backend::ALL {
            let folder = tempfile::tempdir().unwrap();
            let place = Place { backend, folder: folder.path().join("partition-0") };
            let (store, mut state) = open_or_begin(&place).unwrap();
            let mut changes = state.checkpoint();
            // A list of ten, the first of which is the format.
            changes.put.iter_mut().for_each(|(_, value)| value[1] = 99);
            store.commit(Arc::new(changes)).unwrap();
            drop(store);
            let deadline = Instant::now() + Duration::from_secs(30);
            // The engine's threads let go of it after it was dropped.
            let store = loop {
                match open_or_begin(&place) {
                    Ok((store, _)) => break store,
                    Err(error) => assert!(error.is_locked() && Instant::now() < deadline, "{error}"),
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            assert_eq!(store.scan().unwrap().count(), 0, "what was there is gone");
        }
    }
}
