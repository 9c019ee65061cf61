//! Sweeps the bucket of snapshots. The contents of an object stay for ever where the process that was putting it ended before, or
//! where two put the same object at a time and each took away only the contents that it had seen. Of an object that was being
//! removed, contents stay and the word that it was there, for nobody puts another of that name. What lies on a subject that
//! is neither that of an object's contents nor that of a piece belongs to nothing. Pieces of partitions that are run are not looked at
//! here, but by [`crate::reclaim`].

use crate::pieces::PieceName;
use crate::snapshots::{SnapshotError, broker, manifest_of, objects};
use async_nats::jetstream::stream::Stream;
use daybook_contracts::subjects::Subjects;
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

/// Subjects that are neither of contents nor of pieces and are looked at by one sweep: nobody of Daybook's writes such.
const MAX_ODD: usize = 10_000;

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

/// Removes what belongs to no object and to no snapshot, and the words of objects that are no more, where they have been there for
/// [`ORPHANED`]; how many of all.
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
    let name = connection.subjects.checkpoints_stream();
    let stream = connection.jetstream.get_stream_no_info(&name).await.map_err(broker)?;
    // First what there is, then whose it is: what becomes an object in between is seen to be one.
    let remains = remains(connection, &stream).await?;
    let objects = objects(connection, |_| true).await?;
    let (mut used, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut swept = 0;
    for object in objects {
        let Some(object) = object else { return Err(broker("an object is not told of, whose contents may be there")) };
        if !object.info.deleted {
            named.extend(manifest_of(&object.info.name).map(|(partition, _)| partition));
            used.insert(object.info.nuid);
        } else if object.stored_at <= until {
            // Not beyond it: an object may have been put again in its place.
            stream.purge().filter(&object.subject).sequence(object.sequence + 1).await.map_err(broker)?;
            swept += 1;
        }
    }
    for (subject, remains) in remains {
        let is_used = match remains {
            Remains::Contents(nuid) => used.contains(&nuid),
            // Its log may be put back, and with it whoever runs it.
            Remains::Piece(partition) => named.contains(&partition),
            Remains::Odd => false,
        };
        if is_used {
            continue;
        }
        let last = last_message(connection, &name, &subject).await;
        if let Some(last) = last.filter(|last| last.stored_at <= until) {
            stream.purge().filter(&subject).sequence(last.sequence + 1).await.map_err(broker)?;
            swept += 1;
        }
    }
    if swept > 0 {
        tracing::info!(swept, "removed what broken-off snapshots and removals left");
    }
    Ok(swept)
}

/// What lies on a subject.
#[derive(Debug, PartialEq, Eq)]
enum Remains {
    /// The contents of the object with this number, if there is such an object.
    Contents(String),
    /// A piece of a partition that nobody runs.
    Piece(Partition),
    Odd,
}

impl Remains {
    /// `None` for a piece of a partition that is run, and for what cannot be removed by itself.
    fn on(subjects: &Subjects, partitions: u16, subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix(&subjects.checkpoint_contents())?;
        // As a filter, such a subject would stand for others as well.
        if rest.split('.').any(|token| matches!(token, "*" | ">")) {
            return None;
        }
        if !rest.contains('.') {
            return Some(Self::Contents(rest.to_owned()));
        }
        let piece = subjects.parse_checkpoint_piece(subject).and_then(|(partition, name)| {
            let name: PieceName = name.parse().ok()?;
            (subjects.checkpoint_piece(partition, name) == subject).then_some(partition)
        });
        match piece {
            Some(partition) if partition.0 < partitions => None,
            Some(partition) => Some(Self::Piece(partition)),
            None => Some(Self::Odd),
        }
    }
}

/// What may have to be removed, by subject. Pieces that [`crate::reclaim`] sees to may be many, and are not kept in memory.
async fn remains(connection: &Connection, stream: &Stream<()>) -> Result<Vec<(String, Remains)>, SnapshotError> {
    let subjects = &connection.subjects;
    let mut there = stream.info_with_subjects(format!("{}>", subjects.checkpoint_contents())).await.map_err(broker)?;
    let (mut remains, mut odd) = (Vec::new(), 0);
    while let Some((subject, _)) = there.try_next().await.map_err(broker)? {
        let Some(found) = Remains::on(subjects, connection.partitions, &subject) else { continue };
        let is_odd = !matches!(found, Remains::Contents(_));
        odd += usize::from(is_odd);
        // The rest has its turn when these are gone.
        if !is_odd || odd <= MAX_ODD {
            remains.push((subject, found));
        }
    }
    Ok(remains)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::PieceId;

    #[test]
    fn only_what_belongs_to_something_is_told_from_what_is_odd() {
        let subjects = Subjects::new("d").unwrap();
        let on = |subject: &str| Remains::on(&subjects, 4, subject);
        let contents = |rest: &str| on(&format!("$O.D_CHECKPOINTS.C.{rest}"));
        let (id, other) = (PieceId::of(b"1"), PieceId::of(b"2"));
        assert_eq!(contents("nuid"), Some(Remains::Contents("nuid".to_owned())));
        for piece in [format!("pieces.3.{id}"), format!("pieces.0.{id}-{other}"), "*".to_owned(), "a.>".to_owned()] {
            assert_eq!(contents(&piece), None, "{piece}");
        }
        assert_eq!(contents(&format!("pieces.4.{id}")), Some(Remains::Piece(Partition(4))));
        let upper = id.to_string().to_uppercase();
        let odd = ["a.b", "pieces.3", "pieces.3.x", "pieces.70000.x", "a.b.c.d", &format!("pieces.3.{upper}")]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("pieces.03.{id}"), format!("pieces.3.{id}.{id}"), format!("pieces.3.{id}-{upper}")]);
        for odd in odd {
            assert_eq!(contents(&odd), Some(Remains::Odd), "{odd}");
        }
        assert_eq!(on("$O.D_CHECKPOINTS.M.a"), None);
    }
}
