//! Taking a snapshot over from the broker.

use super::{
    CHUNK_BYTES, PIECES_AHEAD, PIECES_AT_ONCE, READ_DEADLINE, SnapshotError, broker, bucket, earlier_name, manifest,
};
use crate::pieces::{Manifest, Piece, PieceId, PieceName, Sizes, Take, read_file, read_rows};
use bytes::{Bytes, BytesMut};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::append::last_written;
use daybook_runtime::connection::Connection;
use daybook_runtime::store::{Changes, Store};
use daybook_runtime::written::{Message, NotWritten};
use futures::{StreamExt, TryStreamExt};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Rows that are put into the store at once when a snapshot is taken over, and their bytes: the row that reaches either is the last one.
const ROWS_AT_ONCE: usize = 2_000;
const BYTES_AT_ONCE: usize = 8 << 20;

/// Puts the rows of the snapshot at `position` into `store`, which must be empty. `scratch` is a file that may be overwritten: what
/// an earlier build put is written to it first.
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
    match manifest(connection, partition, position).await? {
        Some(manifest) => fetch_pieces(connection, partition, manifest, store).await,
        None => fetch_earlier(connection, partition, position, store, scratch).await,
    }
}

/// As [`fetch`], of a snapshot in pieces. A few of them are in memory at a time.
async fn fetch_pieces(
    connection: &Connection,
    partition: Partition,
    manifest: Manifest,
    store: Store,
) -> Result<(), SnapshotError> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let filling = tokio::task::spawn_blocking(move || fill(&store, Arriving { receiver, piece: Bytes::new() }));
    let reading = async move {
        let pieces = manifest.pieces.into_iter().map(|piece| read_piece(connection, partition, piece));
        let mut pieces = futures::stream::iter(pieces).buffered(PIECES_AT_ONCE);
        while let Some(piece) = pieces.try_next().await? {
            // The store has failed, and says so.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok::<_, SnapshotError>(())
    };
    let read = reading.await;
    let filled = filling.await?;
    // Rows end too early where pieces do.
    read.and(filled)
}

/// The bytes of a piece.
async fn read_piece(connection: &Connection, partition: Partition, piece: Piece) -> Result<Bytes, SnapshotError> {
    let of_base = match piece.name.base {
        Some(base) => read_whole(connection, partition, base).await?,
        None => Vec::new(),
    };
    let unpack = |packed: &[u8]| piece.unpack(packed, &of_base);
    Ok(read_stored(connection, partition, piece.name, unpack).await?.into())
}

/// The bytes of a piece that is stored as a whole.
pub(super) async fn read_whole(
    connection: &Connection,
    partition: Partition,
    id: PieceId,
) -> Result<Vec<u8>, SnapshotError> {
    let name = PieceName::whole(id);
    // How many there are is not known.
    let piece = Piece { name, bytes: Sizes::STORED.most as u32, stored: 0 };
    read_stored(connection, partition, name, |packed| piece.unpack(packed, b"")).await
}

/// What is stored under a name, as far as it can be unpacked. What else stands on its subject is passed over.
async fn read_stored(
    connection: &Connection,
    partition: Partition,
    name: PieceName,
    unpack: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, SnapshotError> {
    let subjects = &connection.subjects;
    let (stream, subject) = (subjects.checkpoints_stream(), subjects.checkpoint_piece(partition, name));
    let read = |message: Message<'_>| {
        unpack(message.payload).ok_or_else(|| NotWritten::Foreign("it is not that piece of a snapshot".into()))
    };
    let reading = tokio::time::timeout(READ_DEADLINE, last_written(connection, &stream, &subject, read));
    let newest = reading.await.map_err(|_| broker("a piece of the snapshot does not come"))?.map_err(broker)?;
    Ok(newest.found.ok_or_else(|| broker(format!("piece {name} of the snapshot is not there")))?.value)
}

/// Pieces that arrive, as one stream of bytes. Reading blocks.
pub(super) struct Arriving {
    pub(super) receiver: mpsc::Receiver<Bytes>,
    pub(super) piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            let Some(piece) = self.receiver.blocking_recv() else { return Ok(0) };
            self.piece = piece;
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// As [`fetch`], of a snapshot that an earlier build put.
async fn fetch_earlier(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    store: Store,
    scratch: PathBuf,
) -> Result<(), SnapshotError> {
    let mut object = bucket(connection).await?.get(earlier_name(partition, position)).await.map_err(broker)?;
    let mut file = tokio::fs::File::create(&scratch).await?;
    // An object that is removed while it is read never ends.
    let mut part = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        part.clear();
        let reading = tokio::time::timeout(READ_DEADLINE, object.read_buf(&mut part)).await;
        if reading.map_err(|_| broker("the snapshot does not come any more"))?? == 0 {
            break;
        }
        file.write_all(&part).await?;
    }
    file.flush().await?;
    drop(file);
    let path = scratch.clone();
    tokio::task::spawn_blocking(move || fill_from_file(&store, &path)).await??;
    let _ = tokio::fs::remove_file(&scratch).await;
    Ok(())
}

/// Puts rows into the store as they are read.
pub(super) fn fill(store: &Store, reader: impl Read) -> Result<(), SnapshotError> {
    gather(|take| read_rows(reader, take), |changes| Ok(store.commit(Arc::new(changes))?))
}

/// Puts the rows of a file into the store.
pub(super) fn fill_from_file(store: &Store, path: &Path) -> Result<(), SnapshotError> {
    let file = BufReader::new(File::open(path)?);
    gather(|take| read_file(file, take), |changes| Ok(store.commit(Arc::new(changes))?))
}

/// Commits rows as they are read, many at once.
pub(super) fn gather(
    read: impl FnOnce(Take<'_>) -> Result<(), SnapshotError>,
    mut commit: impl FnMut(Changes) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let (mut changes, mut bytes) = (Changes::default(), 0);
    read(&mut |row| {
        bytes += row.0.len() + row.1.len();
        changes.put.push(row);
        if changes.put.len() == ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
            bytes = 0;
            commit(std::mem::take(&mut changes))?;
        }
        Ok(())
    })?;
    commit(changes)
}
