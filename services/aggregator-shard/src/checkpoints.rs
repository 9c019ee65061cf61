//! Opening a partition's store and committing to it. Whatever is wrong with the store, the answer is to put the newest
//! snapshot on the broker in its place, or else to wipe it and begin with the beginning of the log. A log that is trimmed has
//! no beginning to begin with: then there must be a snapshot, or the partition is refused. [`crate::opening`] decides.

use crate::opening::{Held, Opening, Otherwise, Reach, Refusal};
use crate::snapshots::{self, SnapshotError};
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
    let mut found = reading(move |given_up| open_blocking(partition, &at, closed_bytes, given_up)).await?;
    let in_folder = found.as_ref().map(|(_, state)| Held::of(state));
    let local = in_folder.map_or(LogSeq(0), |held| held.position);
    let (reach, goes_on) = look(connection, partition, in_folder).await;
    let there = snapshots::list(connection, partition).await;
    if let (Err(error), true) = (&there, goes_on) {
        tracing::warn!(%partition, %error, "the broker does not tell of snapshots; going on without");
    }
    let Opening { snapshots, otherwise } = Opening::of(in_folder.filter(|_| goes_on), reach, there.as_deref().ok());
    let refused = |reason| match (reach.trimmed(), reason) {
        (Some(beginning), None) => OpenError::Unreachable { partition, beginning, local },
        (_, reason) => OpenError::Snapshots { partition, reason: reason.unwrap_or_default() },
    };
    match otherwise {
        Otherwise::Refuse(Refusal::Unreachable) => return Err(refused(None)),
        Otherwise::Refuse(Refusal::Untold) => return Err(refused(there.err().map(|error| error.to_string()))),
        _ if goes_on => {}
        _ if found.is_some() => {
            tracing::warn!(%partition, position = %local, end = %reach.end, "the log does not go on from the checkpoint");
        }
        _ => metrics::counter!("daybook_checkpoints_wiped_total").increment(1),
    }
    found = found.filter(|_| goes_on);
    let mut unusable = None;
    for position in snapshots {
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
    match (found, otherwise) {
        (Some(found), _) => Ok(found),
        (None, Otherwise::Refuse(_)) => Err(refused(unusable)),
        (None, _) => {
            let at = place.clone();
            Ok((blocking(move || fresh(&at)).await?, empty(partition)))
        }
    }
}

/// The part of the log that is there, and whether the state in the folder can go on with it.
async fn look(connection: &Connection, partition: Partition, held: Option<Held>) -> (Reach, bool) {
    let reach = reach_of(connection, partition).await;
    let Some(held) = held else { return (reach, false) };
    let goes_on_at_once = goes_on(connection, partition, reach, held).await;
    if goes_on_at_once || held.position == LogSeq(0) {
        return (reach, goes_on_at_once);
    }
    // A broker that is going down, or was cut off, may tell of less than there is.
    tokio::time::sleep(SECOND_LOOK).await;
    let reach = reach_of(connection, partition).await;
    (reach, goes_on(connection, partition, reach, held).await)
}

async fn reach_of(connection: &Connection, partition: Partition) -> Reach {
    let subjects = &connection.subjects;
    let beginning = beginning(connection, partition).await;
    // What someone else wrote behind the last batch takes nothing from the log.
    let end = last_message(connection, &subjects.events_stream(), &subjects.events(partition)).await;
    Reach { beginning, end: LogSeq(end.map_or(0, |message| message.sequence)) }
}

/// Whether a state can go on with this log: the batch that it has applied last stands there, or did right before the first that is left.
/// Otherwise it is another log: the stream was made anew.
async fn goes_on(connection: &Connection, partition: Partition, reach: Reach, held: Held) -> bool {
    let Held { position, through, .. } = held;
    reach.begins_behind(position) || through_at(connection, partition, position).await == Some(through)
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
    let reach = reach_of(connection, partition).await;
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
