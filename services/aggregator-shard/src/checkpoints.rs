//! Opening a partition's store and committing to it. Whatever is wrong with the store, the answer is to wipe it, and to
//! begin with the newest snapshot on the broker, or else with the beginning of the log.

use crate::snapshots;
use crate::state::PartitionState;
use daybook_domain::ids::Partition;
use daybook_runtime::append::last_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::store::{Changes, Store, StoreError, wipe};
use std::path::{Path, PathBuf};

/// How many messages of the log a snapshot must be ahead of the local store to be worth fetching.
const WORTH_FETCHING: u64 = 20_000;

/// The store of `partition` in `folder` and the state it holds.
///
/// # Errors
/// When not even an empty store can be made there.
pub async fn open(
    connection: &Connection,
    partition: Partition,
    folder: &Path,
) -> Result<(Store, PartitionState), StoreError> {
    let path = folder.to_owned();
    let (store, state) = blocking(move || open_blocking(partition, &path)).await?;
    let (store, state) = newer(connection, partition, folder, store, state).await?;
    // A log that ends before the checkpoint is another log: the stream was made anew.
    let subjects = &connection.subjects;
    let end = last_message(connection, &subjects.events_stream(), &subjects.events(partition)).await;
    let end = end.map_or(0, |message| message.sequence);
    if state.position().0 <= end {
        return Ok((store, state));
    }
    tracing::warn!(%partition, position = %state.position(), end, "the checkpoint is ahead of the log; beginning again");
    drop((store, state));
    let path = folder.to_owned();
    blocking(move || Ok((fresh(&path)?, beginning(partition)))).await
}

/// The state of the newest snapshot on the broker where that is far ahead, else what was given.
async fn newer(
    connection: &Connection,
    partition: Partition,
    folder: &Path,
    store: Store,
    state: PartitionState,
) -> Result<(Store, PartitionState), StoreError> {
    let local = state.position().0;
    let there = match snapshots::newest(connection, partition).await {
        Ok(there) => there.map_or(0, |(position, _)| position.0),
        Err(error) => {
            tracing::warn!(%partition, %error, "the broker does not tell of snapshots; going on without");
            return Ok((store, state));
        }
    };
    let is_worth_it = there > local && (local == 0 || there - local > WORTH_FETCHING);
    if !is_worth_it {
        return Ok((store, state));
    }
    drop((store, state));
    let path = folder.to_owned();
    let empty = blocking(move || fresh(&path)).await?;
    let scratch = folder.with_extension("snapshot");
    let fetched = match snapshots::fetch(connection, partition, empty.clone(), scratch).await {
        Ok(()) => blocking(move || Ok(restore(partition, &empty).map(|state| (empty, state)))).await?,
        Err(error) => {
            drop(empty);
            Err(error.to_string())
        }
    };
    match fetched {
        Ok((store, state)) => {
            tracing::info!(%partition, position = %state.position(), local, "took over the snapshot on the broker");
            metrics::counter!("daybook_snapshots_fetched_total").increment(1);
            Ok((store, state))
        }
        Err(why) => {
            tracing::warn!(%partition, why, "the snapshot on the broker cannot be used; reading the log from the beginning");
            let path = folder.to_owned();
            blocking(move || Ok((fresh(&path)?, beginning(partition)))).await
        }
    }
}

fn open_blocking(partition: Partition, folder: &Path) -> Result<(Store, PartitionState), StoreError> {
    let why = match Store::open(folder) {
        Ok(store) => match restore(partition, &store) {
            Ok(state) => return Ok((store, state)),
            Err(why) => why,
        },
        // An earlier actor of this process has not let go of it yet; the next start will find it free.
        Err(error) if error.is_locked() => return Err(error),
        Err(error) => error.to_string(),
    };
    tracing::warn!(%partition, ?folder, why, "the checkpoint cannot be used; wiping it and reading the log from the beginning");
    metrics::counter!("daybook_checkpoints_wiped_total").increment(1);
    Ok((fresh(folder)?, beginning(partition)))
}

fn restore(partition: Partition, store: &Store) -> Result<PartitionState, String> {
    let rows = store.scan().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let restored = PartitionState::restore(partition, rows).map_err(|error| error.to_string())?;
    let mut state = restored.unwrap_or_else(|| beginning(partition));
    // Here, and not in the actor: all of the state is looked at.
    state.keep_digests();
    Ok(state)
}

/// The state before the first batch, of which digests are kept.
fn beginning(partition: Partition) -> PartitionState {
    let mut state = PartitionState::new(partition);
    state.keep_digests();
    state
}

fn fresh(folder: &Path) -> Result<Store, StoreError> {
    wipe(folder).map_err(|source| StoreError::Open { path: PathBuf::from(folder), source: source.into() })?;
    Store::open(folder)
}

/// Commits on a thread of its own.
///
/// # Errors
/// When the store is damaged or the disk is full.
pub async fn commit(store: Store, changes: Changes) -> Result<(), StoreError> {
    metrics::histogram!("daybook_checkpoint_rows").record(changes.rows() as f64);
    metrics::counter!("daybook_checkpoint_bytes_total").increment(changes.bytes() as u64);
    blocking(move || store.commit(changes)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(_) => Err(StoreError::Hung(PathBuf::new())),
            // The runtime is going down.
            Err(_) => std::future::pending().await,
        },
    }
}
