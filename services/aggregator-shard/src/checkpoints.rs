//! Opening a partition's store and committing to it. Whatever is wrong with the store, the answer is to wipe it, and to
//! begin with the newest snapshot on the broker, or else with the beginning of the log. A log that is trimmed has no
//! beginning to begin with: then there must be a snapshot, or the partition is refused.

use crate::snapshots;
use crate::state::PartitionState;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::append::last_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::log::{Beginning, beginning};
use daybook_runtime::store::{Changes, Store, StoreError, wipe};
use std::path::{Path, PathBuf};

/// How many messages of the log a snapshot must be ahead of the local store to be worth fetching.
const WORTH_FETCHING: u64 = 20_000;

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

    fn is_trimmed(&self) -> bool {
        self.beginning.is_some_and(|beginning| beginning.is_trimmed())
    }
}

/// The store of `partition` in `folder` and the state it holds, from which the log can be read on.
///
/// # Errors
/// When not even an empty store can be made there, or the log is trimmed and nothing reaches to its beginning.
pub async fn open(
    connection: &Connection,
    partition: Partition,
    folder: &Path,
) -> Result<(Store, PartitionState), OpenError> {
    let path = folder.to_owned();
    let (store, state) = blocking(move || open_blocking(partition, &path)).await?;
    let reach = Reach::of(connection, partition).await;
    let (local, continues) = (state.position(), reach.continues(state.position()));
    let there = match snapshots::list(connection, partition).await {
        Ok(there) => there,
        Err(error) if continues => {
            tracing::warn!(%partition, %error, "the broker does not tell of snapshots; going on without");
            return Ok((store, state));
        }
        Err(error) if reach.is_trimmed() => {
            return Err(OpenError::Snapshots { partition, reason: error.to_string() });
        }
        Err(_) => Vec::new(),
    };
    let usable = there.iter().rev().map(|snapshot| snapshot.position).find(|position| reach.continues(*position));
    // A state that can go on is not given up for one that may turn out to be damaged, where the log could not replace it.
    let is_far = local == LogSeq(0) || usable.is_some_and(|there| there.0.saturating_sub(local.0) > WORTH_FETCHING);
    let is_worth_it = usable.is_some_and(|there| there > local) && !reach.is_trimmed() && is_far;
    if continues && !is_worth_it {
        return Ok((store, state));
    }
    drop((store, state));
    if !continues {
        tracing::warn!(%partition, position = %local, end = %reach.end, "the log does not go on from the checkpoint");
    }
    let mut reason = None;
    // The newest first; an older one will do when that is damaged.
    for position in there.iter().rev().map(|snapshot| snapshot.position).filter(|position| reach.continues(*position)) {
        match take_over(connection, partition, position, folder).await {
            Ok((store, state)) => {
                tracing::info!(%partition, %position, %local, "took over a snapshot on the broker");
                metrics::counter!("daybook_snapshots_fetched_total").increment(1);
                return Ok((store, state));
            }
            Err(why) => {
                tracing::warn!(%partition, %position, why, "a snapshot on the broker cannot be used");
                reason = Some(why);
            }
        }
    }
    let path = folder.to_owned();
    let begun = (blocking(move || fresh(&path)).await?, PartitionState::new(partition));
    match (reach.beginning.filter(Beginning::is_trimmed), reason) {
        (None, _) => Ok(begun),
        (Some(_), Some(reason)) => Err(OpenError::Snapshots { partition, reason }),
        (Some(beginning), None) => Err(OpenError::Unreachable { partition, beginning, local }),
    }
}

/// The state of a snapshot, in a store of its own making.
async fn take_over(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    folder: &Path,
) -> Result<(Store, PartitionState), String> {
    let path = folder.to_owned();
    let empty = blocking(move || fresh(&path)).await.map_err(|error| error.to_string())?;
    let scratch = folder.with_extension("snapshot");
    let fetched = snapshots::fetch(connection, partition, position, empty.clone(), scratch).await;
    fetched.map_err(|error| error.to_string())?;
    let restored = blocking(move || Ok(restore(partition, &empty).map(|state| (empty, state)))).await;
    let (store, state) = restored.map_err(|error| error.to_string())??;
    match state.position() == position {
        true => Ok((store, state)),
        false => Err(format!("its state is at {}", state.position())),
    }
}

/// The state of a snapshot on the broker that the present log goes on from, the oldest that can be used. Nothing is
/// kept of it on this machine. `None` when there is none.
///
/// # Errors
/// When the broker does not tell of snapshots, or there is no room for a folder.
pub async fn oldest_on_the_broker(
    connection: &Connection,
    partition: Partition,
    scratch: &Path,
) -> Result<Option<PartitionState>, snapshots::SnapshotError> {
    let reach = Reach::of(connection, partition).await;
    let there = snapshots::list(connection, partition).await?;
    for position in there.iter().map(|snapshot| snapshot.position).filter(|position| reach.continues(*position)) {
        match take_over(connection, partition, position, &scratch.join(format!("at-{position}"))).await {
            Ok((_, state)) => return Ok(Some(state)),
            Err(why) => tracing::warn!(%partition, %position, why, "a snapshot on the broker cannot be used"),
        }
    }
    Ok(None)
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
    tracing::warn!(%partition, ?folder, why, "the checkpoint cannot be used; wiping it");
    metrics::counter!("daybook_checkpoints_wiped_total").increment(1);
    Ok((fresh(folder)?, PartitionState::new(partition)))
}

fn restore(partition: Partition, store: &Store) -> Result<PartitionState, String> {
    let rows = store.scan().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    match PartitionState::restore(partition, rows) {
        Ok(state) => Ok(state.unwrap_or_else(|| PartitionState::new(partition))),
        Err(error) => Err(error.to_string()),
    }
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
