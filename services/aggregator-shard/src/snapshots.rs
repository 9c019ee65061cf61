//! Checkpoints on the broker: the rows of a partition's store as one object, for a process on another machine to begin
//! with instead of the beginning of the log. As disposable as the store itself.
//!
//! An object is there as a whole or not at all, and the broker's client checks its digest. Which of them are kept is
//! said by [`crate::retention`].

use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{Config, DeleteErrorKind, ObjectInfo, ObjectMetadata, ObjectStore};
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
use daybook_runtime::store::{Changes, Store, StoreError};
use daybook_runtime::written::{Message, NotWritten};
use futures::TryStreamExt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Key in the metadata of an object whose state waits for no backfill.
const WHOLE: &str = "daybook-whole";
/// Key in the metadata of an object under which stands how far into INBOX its state reaches, in JSON.
const THROUGH: &str = "daybook-through";
/// Zstandard's level: a snapshot is made beside the live work.
const LEVEL: i32 = 1;
/// Rows that are put into the store at once when a snapshot is taken over.
const ROWS_AT_ONCE: usize = 2_000;
/// Longest key of a snapshot, in bytes: the longest of a store, with three names, has some two hundred.
const MAX_KEY_BYTES: u32 = 1 << 10;
/// Largest row of a snapshot, in bytes: a page of a store is far below.
const MAX_ROW_BYTES: u32 = 1 << 30;
/// How long the next piece of a snapshot may take to come.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Stands in place of a key's length behind the last row; the number of rows follows.
const END: u32 = u32::MAX;
/// Size of an object's pieces on the broker.
const CHUNK_BYTES: usize = 128 * 1024;

/// A snapshot could not be made, sent, fetched or read. What it was for goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the broker: {0}")]
    Broker(String),
    #[error(
        "the broker refuses to trim the log: {0}; a log that was made to be kept for ever, by an earlier build, cannot be \
         trimmed (--log-retention)"
    )]
    Trim(String),
    #[error("a file")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the work was given up")]
    GivenUp(#[from] tokio::task::JoinError),
}

pub(crate) fn broker(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Broker(error.to_string())
}

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
    format!("partition-{partition}-{position}")
}

fn position_of(partition: Partition, name: &str) -> Option<LogSeq> {
    name.strip_prefix(&format!("partition-{partition}-"))?.parse().ok().map(LogSeq)
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
        let mut snapshots = Vec::new();
        for Object { info, stored_at, .. } in objects.into_iter().flatten() {
            let Some(position) = position_of(partition, &info.name).filter(|_| !info.deleted) else { continue };
            let age = now.since(stored_at);
            let through = info.metadata.get(THROUGH).and_then(|through| serde_json::from_str(through).ok());
            if is_of_this_log(connection, partition, position, through).await {
                snapshots.push(Snapshot { position, age, is_whole: info.metadata.contains_key(WHOLE) });
            }
        }
        snapshots.sort_by_key(|snapshot| snapshot.position);
        Ok(snapshots)
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

/// Removes a snapshot, and every trace of it; no harm if it is gone already.
///
/// # Errors
/// When the broker does not answer.
pub async fn remove(connection: &Connection, partition: Partition, position: LogSeq) -> Result<(), SnapshotError> {
    let name = object_name(partition, position);
    match bucket(connection).await?.delete(&name).await {
        Ok(()) => {}
        Err(error) if error.kind() == DeleteErrorKind::NotFound => {}
        Err(error) => return Err(broker(error)),
    }
    // A deleted object leaves a word that it was there; each has a name of its own, so these would become ever more.
    let subjects = &connection.subjects;
    let stream = stream_handle(connection, &subjects.checkpoints_stream()).await.map_err(broker)?;
    let subject = subjects.checkpoint_object(&URL_SAFE.encode(&name));
    stream.purge().filter(subject).await.map_err(broker)?;
    Ok(())
}

/// What a snapshot is of.
#[derive(Clone, Copy, Debug)]
pub struct Of {
    pub partition: Partition,
    pub position: LogSeq,
    pub through: Through,
    /// Nothing waits for a backfill.
    pub is_whole: bool,
}

/// Sends the rows of `store`, which are those of `of`, unless a snapshot that is younger than `interval` is there; the
/// position of the newest one then. `scratch` is a file that may be overwritten.
///
/// # Errors
/// When anything fails; the next try may succeed.
pub async fn put(
    connection: &Connection,
    of: Of,
    store: Store,
    interval: Duration,
    scratch: PathBuf,
) -> Result<LogSeq, SnapshotError> {
    let Of { partition, position, through, is_whole } = of;
    let known = list(connection, partition).await?;
    if let Some(newest) = known.last().filter(|newest| newest.position >= position || newest.age < interval) {
        return Ok(newest.position);
    }
    let path = scratch.clone();
    tokio::task::spawn_blocking(move || write_file(&store, &path)).await??;
    let mut file = tokio::fs::File::open(&scratch).await?;
    let whole = is_whole.then(|| (WHOLE.to_owned(), String::new()));
    let through = serde_json::to_string(&through).expect("two numbers");
    let metadata = ObjectMetadata {
        name: object_name(partition, position),
        chunk_size: Some(CHUNK_BYTES),
        metadata: [(THROUGH.to_owned(), through)].into_iter().chain(whole).collect(),
        ..ObjectMetadata::default()
    };
    let info = bucket(connection).await?.put(metadata, &mut file).await.map_err(broker)?;
    metrics::counter!("daybook_snapshots_total").increment(1);
    metrics::counter!("daybook_snapshot_bytes_total").increment(info.size as u64);
    let _ = tokio::fs::remove_file(&scratch).await;
    Ok(position)
}

/// Puts the rows of the snapshot at `position` into `store`, which must be empty.
///
/// # Errors
/// When anything fails; the store may hold some of the rows then, and must be wiped.
pub async fn fetch(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    store: Store,
    scratch: PathBuf,
) -> Result<(), SnapshotError> {
    let mut object = bucket(connection).await?.get(object_name(partition, position)).await.map_err(broker)?;
    let mut file = tokio::fs::File::create(&scratch).await?;
    // An object that is removed while it is read never ends.
    let mut piece = bytes::BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        piece.clear();
        let reading = tokio::time::timeout(READ_DEADLINE, object.read_buf(&mut piece)).await;
        if reading.map_err(|_| broker("the snapshot does not come any more"))?? == 0 {
            break;
        }
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    drop(file);
    let path = scratch.clone();
    tokio::task::spawn_blocking(move || fill(&store, &path)).await??;
    let _ = tokio::fs::remove_file(&scratch).await;
    Ok(())
}

/// What takes the rows of a snapshot, one after the other.
pub type Take<'t> = &'t mut dyn FnMut((Vec<u8>, Vec<u8>)) -> Result<(), SnapshotError>;

fn write_file(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let mut writer = zstd::stream::write::Encoder::new(BufWriter::new(File::create(path)?), LEVEL)?;
    write_rows(store.scan()?.map(|row| row.map_err(SnapshotError::from)), &mut writer)?;
    writer.finish()?.flush()?;
    Ok(())
}

/// Every row: the lengths of key and value in four bytes each, then both; at the end how many there are. A snapshot is
/// this, compressed.
///
/// # Errors
/// When a row cannot be read, or `writer` fails.
pub fn write_rows<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    rows: impl Iterator<Item = Result<(K, V), SnapshotError>>,
    writer: &mut impl Write,
) -> Result<(), SnapshotError> {
    let mut count: u32 = 0;
    for row in rows {
        let (key, value) = row?;
        let (key, value) = (key.as_ref(), value.as_ref());
        count += 1;
        writer.write_all(&(key.len() as u32).to_be_bytes())?;
        writer.write_all(&(value.len() as u32).to_be_bytes())?;
        writer.write_all(key)?;
        writer.write_all(value)?;
    }
    writer.write_all(&END.to_be_bytes())?;
    writer.write_all(&count.to_be_bytes())?;
    Ok(())
}

/// Puts the rows of a file into the store.
fn fill(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let mut changes = Changes::default();
    let file = BufReader::new(File::open(path)?);
    read_file(file, &mut |row| {
        changes.put.push(row);
        if changes.put.len() == ROWS_AT_ONCE {
            store.commit(Arc::new(std::mem::take(&mut changes)))?;
        }
        Ok(())
    })?;
    store.commit(Arc::new(changes))?;
    Ok(())
}

/// Hands the rows of a snapshot to `take`. Some may have been taken when it fails.
///
/// # Errors
/// When the bytes are not compressed rows, or too few or too many of them, and those of `take`.
pub fn read_file(file: impl BufRead, take: Take<'_>) -> Result<(), SnapshotError> {
    read_rows(zstd::stream::read::Decoder::with_buffer(file)?, take)
}

/// As [`read_file`], of rows that are not compressed.
///
/// # Errors
/// When they are not such as [`write_rows`] makes, and those of `take`.
pub fn read_rows(mut reader: impl Read, take: Take<'_>) -> Result<(), SnapshotError> {
    let invalid = || SnapshotError::File(std::io::ErrorKind::InvalidData.into());
    let mut head = [0; 8];
    let mut rows: u32 = 0;
    loop {
        reader.read_exact(&mut head)?;
        let length = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes of eight"));
        let (key, value) = (length(&head[..4]), length(&head[4..]));
        if key == END {
            return if value == rows { Ok(()) } else { Err(invalid()) };
        }
        rows += 1;
        if key > MAX_KEY_BYTES || value > MAX_ROW_BYTES {
            return Err(invalid());
        }
        // Memory is taken for what is there, not for what the lengths say.
        let mut piece = |length: u32| {
            let mut bytes = Vec::new();
            match reader.by_ref().take(length.into()).read_to_end(&mut bytes)? {
                read if read == length as usize => Ok(bytes),
                _ => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            }
        };
        take((piece(key)?, piece(value)?))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_runtime::store::{Backend, Row};

    fn store(path: &Path, put: Vec<Row>) -> Store {
        let (store, _) = Store::open(Backend::default(), path).unwrap();
        store.commit(Arc::new(Changes { put, remove: vec![] })).unwrap();
        store
    }

    #[test]
    fn snapshots_are_told_apart_by_partition() {
        assert_eq!(position_of(Partition(1), &object_name(Partition(1), LogSeq(7))), Some(LogSeq(7)));
        assert_eq!(position_of(Partition(1), &object_name(Partition(11), LogSeq(7))), None);
        assert_eq!(position_of(Partition(1), "partition-1"), None, "of an earlier build");
    }

    #[test]
    fn rows_come_back_as_they_were_whatever_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let put: Vec<_> = (0..5_000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; n as usize % 50])).collect();
        let file = folder.path().join("snapshot");
        write_file(&store(&folder.path().join("one"), put.clone()), &file).unwrap();
        for backend in Backend::ALL {
            let (other, _) = Store::open(backend, &folder.path().join(backend.name())).unwrap();
            fill(&other, &file).unwrap();
            let rows: Vec<_> = other.scan().unwrap().map(Result::unwrap).collect();
            assert_eq!(rows, put);
        }
    }

    #[test]
    fn a_damaged_snapshot_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("snapshot");
        write_file(&store(&folder.path().join("one"), vec![(vec![1; 100], vec![2; 10_000])]), &file).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&file, bytes).unwrap();
        assert!(fill(&store(&folder.path().join("two"), vec![]), &file).is_err());
    }
}
