//! Opening a partition's store and committing to it. Whatever is wrong with the store, the answer is to wipe it, and to
//! begin with the newest snapshot on the broker, or else with the beginning of the log. A log that is trimmed has no
//! beginning to begin with: then there must be a snapshot, or the partition is refused.

use crate::snapshots::{self, SnapshotError};
use crate::state::PartitionState;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::append::last_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::log::{Beginning, beginning};
use daybook_runtime::store::{Backend, Changes, Row, Store, StoreError, wipe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many messages of the log a snapshot must be ahead of the local store to be worth fetching.
const WORTH_FETCHING: u64 = 20_000;

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
        let end = last_message(connection, &subjects.events_stream(), &subjects.events(partition)).await;
        Self { beginning, end: LogSeq(end.map_or(0, |message| message.sequence)) }
    }

    /// Whether a state at that position can go on with this log. One that ends before it is another log: the stream was
    /// made anew.
    fn continues(&self, position: LogSeq) -> bool {
        self.beginning.is_none_or(|beginning| beginning.follows <= position) && position <= self.end
    }

    /// Where it begins, if that is not where it once began.
    fn trimmed(&self) -> Option<Beginning> {
        self.beginning.filter(Beginning::is_trimmed)
    }
}

/// The store of `partition` at `place` and the state it holds, from which the log can be read on.
///
/// # Errors
/// When it is in use, there is no room, or not even an empty store can be made there; or the log is trimmed and nothing
/// reaches to its beginning.
pub async fn open(
    connection: &Connection,
    partition: Partition,
    place: &Place,
) -> Result<(Store, PartitionState), OpenError> {
    let at = place.clone();
    let found = blocking(move || open_blocking(partition, &at)).await?;
    let local = found.as_ref().map_or(LogSeq(0), |(_, state)| state.position());
    let reach = Reach::of(connection, partition).await;
    // Those that can be gone on from, the newest first.
    let there = snapshots::list(connection, partition).await.map(|there| {
        let positions = there.iter().rev().map(|snapshot| snapshot.position);
        positions.filter(|position| reach.continues(*position)).collect::<Vec<_>>()
    });
    let was_usable = found.is_some();
    let found = found.filter(|_| reach.continues(local));
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
        Some(found) if !is_worth_it(local, there.first().copied(), reach) => return Ok(found),
        Some(_) => {}
        None if was_usable => {
            tracing::warn!(%partition, position = %local, end = %reach.end, "the log does not go on from the checkpoint");
        }
        None => metrics::counter!("daybook_checkpoints_wiped_total").increment(1),
    }
    let mut unusable = None;
    for position in there {
        match take_over(connection, partition, position, place).await? {
            Ok((store, state)) => {
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
    let at = place.clone();
    let begun = (blocking(move || fresh(&at)).await?, empty(partition));
    match unusable.filter(|_| reach.trimmed().is_some()) {
        Some(reason) => Err(OpenError::Snapshots { partition, reason }),
        None => Ok(begun),
    }
}

/// Whether a state in the folder that can go on is to be given up for the newest snapshot: not for one that may turn out to
/// be damaged where the log could not replace it.
fn is_worth_it(local: LogSeq, newest: Option<LogSeq>, reach: Reach) -> bool {
    let Some(newest) = newest.filter(|_| reach.trimmed().is_none()) else { return false };
    newest > local && (local == LogSeq(0) || newest.0 - local.0 > WORTH_FETCHING)
}

/// The state of a snapshot, in a store of its own making; or why the snapshot cannot be used.
///
/// # Errors
/// When the store cannot be made or there is no room, which is no fault of the snapshot.
async fn take_over(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    place: &Place,
) -> Result<Result<(Store, PartitionState), String>, StoreError> {
    let at = place.clone();
    let empty = blocking(move || fresh(&at)).await?;
    let scratch = place.folder.with_extension("snapshot");
    if let Err(error) = snapshots::fetch(connection, partition, position, empty.clone(), scratch.clone()).await {
        let error = match error {
            SnapshotError::File(source) => StoreError::Folder { path: scratch, source },
            SnapshotError::Store(error) => error,
            error => return Ok(Err(error.to_string())),
        };
        return if error.is_full() { Err(error) } else { Ok(Err(chain(&error))) };
    }
    let restored = blocking(move || {
        let rows = empty.scan()?.collect::<Result<_, _>>()?;
        Ok(restore(partition, rows).map(|state| (empty, state)))
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
    for position in there.iter().map(|snapshot| snapshot.position).filter(|position| reach.continues(*position)) {
        // Rows are the same whatever keeps them.
        let place = Place { backend: Backend::default(), folder: scratch.join(format!("at-{position}")) };
        match take_over(connection, partition, position, &place).await? {
            Ok((_, state)) => return Ok(Some(state)),
            Err(why) => tracing::warn!(%partition, %position, why, "a snapshot on the broker cannot be used"),
        }
    }
    Ok(None)
}

/// What the folder holds, an empty state if it is new; `None` when it cannot be used.
fn open_blocking(partition: Partition, place: &Place) -> Result<Option<(Store, PartitionState)>, StoreError> {
    let why = match Store::open(place.backend, &place.folder) {
        Ok((store, rows)) => match restore(partition, rows) {
            Ok(state) => return Ok(Some((store, state))),
            Err(why) => why,
        },
        // An earlier actor of this process has not let go of it yet, or it cannot be opened for want of room: the next
        // start may find that changed.
        Err(error) if error.is_locked() || error.is_full() => return Err(error),
        Err(error) => chain(&error),
    };
    let folder = &place.folder;
    tracing::warn!(%partition, ?folder, why, "the checkpoint cannot be used; a snapshot or the log is to take its place");
    Ok(None)
}

fn restore(partition: Partition, rows: Vec<Row>) -> Result<PartitionState, String> {
    let restored = PartitionState::restore(partition, rows).map_err(|error| error.to_string())?;
    let mut state = restored.unwrap_or_else(|| empty(partition));
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

/// Rebuilds the store if its files have become much larger than what they hold. That it fails is no harm.
pub async fn rebuild_if_bloated(partition: Partition, store: Store) {
    let outcome = blocking(move || {
        let (disk, live) = (store.disk_bytes(), store.live_bytes());
        if !store.is_bloated() {
            return Ok(None);
        }
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

async fn blocking<T: Send + 'static>(
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
    use std::time::{Duration, Instant};

    /// What [`open`] makes of a folder where the broker has no snapshots.
    fn open_or_begin(place: &Place) -> Result<(Store, PartitionState), StoreError> {
        match open_blocking(Partition(0), place)? {
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
