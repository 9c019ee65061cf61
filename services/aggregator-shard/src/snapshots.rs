//! Checkpoints on the broker: the rows of a partition's store, for a process on another machine to begin with instead of the
//! beginning of the log. As disposable as the store itself.
//!
//! A snapshot is an object, its [`Manifest`], and the [`pieces`](crate::pieces) that this names. Pieces are shared: what the snapshot
//! before has is not stored again, and of what has changed a little only the difference. A manifest is told of only when all of its pieces are
//! there, and the pieces are looked for again afterwards: [`uploading`] says in which order. Which snapshots are kept is said by [`crate::retention`], and which pieces by [`crate::reclaim`].

pub(crate) mod error;
mod fetching;
mod sending;
pub mod uploading;

pub use error::SnapshotError;
pub(crate) use error::broker;
pub use fetching::fetch;
pub use sending::{Of, PUT_DEADLINE, confirm, put};

use crate::pieces::{MAX_MANIFEST_BYTES, Manifest, PieceName};
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{Config, DeleteErrorKind, GetErrorKind, ObjectInfo, ObjectStore};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::append::{Found, last_written, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::kept::Kept;
use daybook_runtime::log::{beginning, through_at};
use daybook_runtime::written::{Message, NotWritten};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;

/// Key in the metadata of an object whose state waits for no backfill.
const WHOLE: &str = "daybook-whole";
/// Key in the metadata of an object under which stands how far into INBOX its state reaches, in JSON.
const THROUGH: &str = "daybook-through";
/// How long the next part of a snapshot, or a list, may take to come.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Size of an object's parts on the broker.
const CHUNK_BYTES: usize = 128 * 1024;
/// Pieces that are sent or asked for at a time.
pub(crate) const PIECES_AT_ONCE: usize = 8;
/// Pieces that wait to be sent, or to be put into the store.
const PIECES_AHEAD: usize = 4;

/// The bucket that holds them, made when it is not there.
async fn bucket(connection: &Connection) -> Result<ObjectStore, SnapshotError> {
    let name = connection.subjects.checkpoints_bucket();
    if let Ok(bucket) = connection.jetstream.get_object_store(&name).await {
        return Ok(bucket);
    }
    let replicas = connection.stream_replicas;
    let config = Config { bucket: name, num_replicas: replicas, ..Config::default() };
    connection.jetstream.create_object_store(config).await.map_err(broker)
}

/// Each snapshot is an object of its own: one that takes long to be sent never takes the place of a newer one.
fn object_name(partition: Partition, position: LogSeq) -> String {
    format!("manifest-{partition}-{position}")
}

/// The object that holds all of a snapshot's rows, as earlier builds put it: they pass over manifests.
fn earlier_name(partition: Partition, position: LogSeq) -> String {
    format!("partition-{partition}-{position}")
}

/// The partition and the position of the snapshot whose manifest has that name.
pub(crate) fn manifest_of(name: &str) -> Option<(Partition, LogSeq)> {
    let (partition, position) = name.strip_prefix("manifest-")?.split_once('-')?;
    Some((Partition(partition.parse().ok()?), LogSeq(position.parse().ok()?)))
}

fn position_of(partition: Partition, name: &str) -> Option<LogSeq> {
    let of = |form| name.strip_prefix(form)?.strip_prefix(&format!("-{partition}-"))?.parse().ok().map(LogSeq);
    of("manifest").or_else(|| of("partition"))
}

/// A snapshot on the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub position: LogSeq,
    /// Since it was put there, by the broker's clock.
    pub age: Duration,
    /// No view and no season waits for a backfill: what goes on from here never needs the log before.
    pub is_whole: bool,
}

/// The snapshots of a partition, in order of their positions. Those whose batch does not stand in its log are of another log,
/// for the stream was made anew: they are passed over, so that nothing is trimmed to them. They are not removed: the log
/// that they are of may be put back.
///
/// # Errors
/// When the broker does not tell.
pub async fn list(connection: &Connection, partition: Partition) -> Result<Vec<Snapshot>, SnapshotError> {
    let listing = async {
        bucket(connection).await?;
        let objects = objects(connection, |name| position_of(partition, name).is_some()).await?;
        let now = Kept::ask(connection, &connection.subjects.checkpoints_stream()).await.map_err(broker)?.now;
        let mut snapshots = BTreeMap::new();
        for Object { info, stored_at, .. } in objects.into_iter().flatten() {
            let Some(position) = position_of(partition, &info.name).filter(|_| !info.deleted) else { continue };
            let age = now.since(stored_at);
            let through = info.metadata.get(THROUGH).and_then(|through| serde_json::from_str(through).ok());
            if is_of_this_log(connection, partition, position, through).await {
                let snapshot = Snapshot { position, age, is_whole: info.metadata.contains_key(WHOLE) };
                // Where shards of two builds put both forms, the manifest is read.
                match manifest_of(&info.name) {
                    Some(_) => drop(snapshots.insert(position, snapshot)),
                    None => drop(snapshots.entry(position).or_insert(snapshot)),
                }
            }
        }
        Ok(snapshots.into_values().collect())
    };
    // A listing whose connection goes never ends.
    tokio::time::timeout(READ_DEADLINE, listing).await.map_err(|_| broker("the list of snapshots does not come"))?
}

/// An object of the bucket, as the broker tells of it.
pub(crate) struct Object {
    pub info: ObjectInfo,
    /// Of the message that tells of it.
    pub subject: String,
    pub sequence: u64,
    pub stored_at: Instant,
}

/// The objects whose names are wanted, also deleted ones of which word is left, as the leader of the bucket's stream has
/// them. A listing of the client's is read by a consumer, which the broker may put where not all of them are yet. `None` for
/// one that is gone since it was listed; a broker that is going down may say so of one that is not.
///
/// # Errors
/// When the broker does not answer.
pub(crate) async fn objects(
    connection: &Connection,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Option<Object>>, SnapshotError> {
    let subjects = &connection.subjects;
    let (name, told) = (subjects.checkpoints_stream(), subjects.checkpoint_object(""));
    let stream = stream_handle(connection, &name).await.map_err(broker)?;
    let words = stream.info_with_subjects(format!("{told}>")).await.map_err(broker)?;
    let words: Vec<(String, usize)> = words.try_collect().await.map_err(broker)?;
    let mut objects = Vec::new();
    for (subject, _) in words {
        let object = subject.strip_prefix(&told).and_then(|object| URL_SAFE.decode(object).ok());
        if !object.is_some_and(|object| std::str::from_utf8(&object).is_ok_and(&is_wanted)) {
            continue;
        }
        let newest = last_written(connection, &name, &subject, |word| read_word(&told, word)).await.map_err(broker)?;
        match newest.found {
            Some(Found { sequence, stored_at, value: ObjectWord { info, payload } }) => {
                if newest.end > sequence {
                    tell_again(connection, &subject, payload).await?;
                }
                objects.push(Some(Object { info, subject, sequence, stored_at }));
            }
            None if newest.end == 0 => objects.push(None),
            // Nobody of ours wrote there.
            None => {}
        }
    }
    Ok(objects)
}

/// What a message says of an object.
struct ObjectWord {
    info: ObjectInfo,
    payload: Bytes,
}

/// Reads what a message says of the object that its subject names.
fn read_word(told: &str, word: Message<'_>) -> Result<ObjectWord, NotWritten> {
    let foreign = |why: String| NotWritten::Foreign(why.into());
    let info: ObjectInfo =
        serde_json::from_slice(word.payload).map_err(|error| foreign(format!("it tells of no object: {error}")))?;
    if word.subject.strip_prefix(told) != Some(URL_SAFE.encode(&info.name).as_str()) {
        return Err(foreign("it tells of another object".to_owned()));
    }
    Ok(ObjectWord { info, payload: Bytes::copy_from_slice(word.payload) })
}

/// Puts the word of an object behind what someone else wrote there: the client library reads the last message only.
async fn tell_again(connection: &Connection, subject: &str, payload: Bytes) -> Result<(), SnapshotError> {
    let message = PublishMessage::build().header(NATS_ROLLUP, "sub").payload(payload);
    let sent = connection.jetstream.send_publish(subject.to_owned(), message).await.map_err(broker)?;
    sent.await.map_err(broker)?;
    Ok(())
}

/// Whether the batch that a snapshot has applied last stands in the partition's log, or in the part of it that is trimmed.
/// One of an earlier build does not say how far it reaches: then any batch will do.
async fn is_of_this_log(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    through: Option<Through>,
) -> bool {
    match through_at(connection, partition, position).await {
        Some(there) => through.is_none_or(|through| through == there),
        None => beginning(connection, partition).await.is_some_and(|beginning| position <= beginning.follows),
    }
}

/// Removes a snapshot; no harm if it is gone already. Its pieces go [later](crate::reclaim).
///
/// # Errors
/// When the broker does not answer.
pub async fn remove(connection: &Connection, partition: Partition, position: LogSeq) -> Result<(), SnapshotError> {
    for name in [object_name(partition, position), earlier_name(partition, position)] {
        match bucket(connection).await?.delete(&name).await {
            Ok(()) => {}
            Err(error) if error.kind() == DeleteErrorKind::NotFound => continue,
            Err(error) => return Err(broker(error)),
        }
        // A deleted object leaves a word that it was there; each has a name of its own, so these would become ever more.
        let subjects = &connection.subjects;
        let stream = stream_handle(connection, &subjects.checkpoints_stream()).await.map_err(broker)?;
        let subject = subjects.checkpoint_object(&URL_SAFE.encode(&name));
        stream.purge().filter(subject).await.map_err(broker)?;
    }
    Ok(())
}

/// The manifest of a snapshot; `None` when there is none of it.
///
/// # Errors
/// When the broker does not give it, or it is none.
pub async fn manifest(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
) -> Result<Option<Manifest>, SnapshotError> {
    Ok(numbered_manifest(connection, partition, position).await?.map(|(_, manifest)| manifest))
}

/// As [`manifest`], with the number of the object that it was read from. Where two processes put the snapshot of one position, that
/// need not be the number which the leader told before.
///
/// # Errors
/// As [`manifest`].
pub(crate) async fn numbered_manifest(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
) -> Result<Option<(String, Manifest)>, SnapshotError> {
    let mut object = match bucket(connection).await?.get(object_name(partition, position)).await {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broker(error)),
    };
    let number = object.info().nuid.clone();
    let mut bytes = Vec::new();
    // An object that is removed while it is read never ends.
    loop {
        let reading = tokio::time::timeout(READ_DEADLINE, object.read_buf(&mut bytes)).await;
        let read = reading.map_err(|_| broker("the manifest does not come any more"))?.map_err(broker)?;
        if read == 0 {
            break;
        }
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(broker("its manifest is too long"));
        }
    }
    let manifest = spawn_blocking(move || Manifest::decode(&bytes)).await?;
    manifest.map(|manifest| Some((number, manifest))).ok_or_else(|| broker("its manifest cannot be read"))
}

/// The pieces of a partition that are there, as the leader of the bucket's stream has them.
pub(crate) async fn pieces_there(
    connection: &Connection,
    partition: Partition,
) -> Result<BTreeSet<PieceName>, SnapshotError> {
    let subjects = &connection.subjects;
    let listing = async {
        let stream = stream_handle(connection, &subjects.checkpoints_stream()).await.map_err(broker)?;
        let there = stream.info_with_subjects(subjects.checkpoint_piece(partition, "*")).await.map_err(broker)?;
        let there: Vec<(String, usize)> = there.try_collect().await.map_err(broker)?;
        let subjects = subjects.clone();
        let name = move |(subject, _): &(String, usize)| subjects.parse_checkpoint_piece(subject)?.1.parse().ok();
        Ok(spawn_blocking(move || there.iter().filter_map(name).collect()).await?)
    };
    // A listing whose connection goes never ends.
    tokio::time::timeout(READ_DEADLINE, listing).await.map_err(|_| broker("the list of pieces does not come"))?
}

/// Whether a snapshot can be read: all of its pieces are there. One in the form of an earlier build is there as a whole or not at
/// all.
///
/// # Errors
/// When the broker does not answer.
pub async fn is_complete(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
) -> Result<bool, SnapshotError> {
    let Some(manifest) = manifest(connection, partition, position).await? else {
        let earlier = bucket(connection).await?.info(earlier_name(partition, position)).await;
        return Ok(earlier.is_ok_and(|object| !object.deleted));
    };
    let there = pieces_there(connection, partition).await?;
    Ok(spawn_blocking(move || manifest.is_complete(&there)).await?)
}

#[cfg(test)]
mod tests;
