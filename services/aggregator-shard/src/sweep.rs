//! Sweeps the bucket of snapshots. The contents of an object stay for ever where the process that was putting it ended before, or
//! where two put the same object at a time and each took away only the contents that it had seen. Of an object that was being
//! removed, contents stay and the word that it was there, for nobody puts another of that name. Pieces of snapshots are not
//! looked at here, but by [`crate::reclaim`].

use crate::snapshots::{SnapshotError, broker, objects};
use daybook_domain::ids::Partition;
use daybook_domain::time::Instant;
use daybook_runtime::append::last_message;
use daybook_runtime::connection::Connection;
use daybook_runtime::kept::Kept;
use futures::TryStreamExt;
use std::collections::BTreeSet;
use std::time::Duration;

/// Contents may be on their way to becoming an object, or an object on its way out, for so long after the last sign of it:
/// both take seconds.
pub const ORPHANED: Duration = Duration::from_secs(3_600);

/// How often the bucket is swept, by each who does: a look at every object, for the sake of what nobody waits for.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// How long a sweep may take: trimming waits for it, and the next one may succeed.
pub(crate) const SWEEP_DEADLINE: Duration = Duration::from_secs(60);
/// The bucket is of all partitions, and who runs this one sweeps it.
pub const SWEEPER: Partition = Partition(0);

/// Sweeps unless it takes too long, and takes note when that fails: nobody waits for it.
pub(crate) async fn sweep_in_time(connection: &Connection) {
    match tokio::time::timeout(SWEEP_DEADLINE, sweep(connection)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the bucket of snapshots was not swept"),
        Err(_) => tracing::debug!("the bucket of snapshots was not swept in time"),
    }
}

/// Removes the contents that belong to no object, and the words of objects that are no more, where they have been there for
/// [`ORPHANED`]; how many of both.
///
/// # Errors
/// When the broker does not do its part; the next sweep may succeed.
pub async fn sweep(connection: &Connection) -> Result<usize, SnapshotError> {
    // By the clock that stamped them.
    let now = Kept::ask(connection, &connection.subjects.checkpoints_stream()).await.map_err(broker)?.now;
    let until = Instant::from_millis(now.as_millis() - ORPHANED.as_millis() as i64);
    sweep_older(connection, until).await
}

/// As [`sweep`], of what was stored at `until` or before.
///
/// # Errors
/// When the broker does not do its part.
pub async fn sweep_older(connection: &Connection, until: Instant) -> Result<usize, SnapshotError> {
    let subjects = &connection.subjects;
    let (name, contents) = (subjects.checkpoints_stream(), subjects.checkpoint_contents());
    let stream = connection.jetstream.get_stream_no_info(&name).await.map_err(broker)?;
    // First the contents, then whose they are: what becomes an object in between is seen to be one.
    let there = stream.info_with_subjects(format!("{contents}*")).await.map_err(broker)?;
    let there: Vec<(String, usize)> = there.try_collect().await.map_err(broker)?;
    let objects = objects(connection, |_| true).await?;
    let mut used = BTreeSet::new();
    let mut swept = 0;
    for object in objects {
        let Some(object) = object else { return Err(broker("an object is not told of, whose contents may be there")) };
        if !object.info.deleted {
            used.insert(object.info.nuid);
        } else if object.stored_at <= until {
            // Not beyond it: an object may have been put again in its place.
            stream.purge().filter(&object.subject).sequence(object.sequence + 1).await.map_err(broker)?;
            swept += 1;
        }
    }
    for (subject, _) in there {
        if subject.strip_prefix(&contents).is_none_or(|nuid| used.contains(nuid)) {
            continue;
        }
        let last = last_message(connection, &name, &subject).await;
        if last.is_some_and(|last| last.stored_at <= until) {
            stream.purge().filter(&subject).await.map_err(broker)?;
            swept += 1;
        }
    }
    if swept > 0 {
        tracing::info!(swept, "removed what broken-off snapshots and removals left");
    }
    Ok(swept)
}
