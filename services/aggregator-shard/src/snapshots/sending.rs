//! Putting a snapshot on the broker: what the one before has not.

use super::fetching::read_whole;
use super::{
    CHUNK_BYTES, PIECES_AHEAD, PIECES_AT_ONCE, SnapshotError, THROUGH, WHOLE, broker, bucket, list, manifest,
    object_name, pieces_there, remove,
};
use crate::pieces::{Found, Known, Manifest, Piece, PieceId, PieceName, Sizes, cut};
use async_nats::HeaderMap;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::object_store::ObjectMetadata;
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::connection::Connection;
use daybook_runtime::store::Store;
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a snapshot may take to be put: long enough for a gigabyte, and well below the [time](crate::sweep::ORPHANED) after
/// which pieces that nothing names are removed.
pub const PUT_DEADLINE: Duration = Duration::from_secs(1_800);

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
/// position of the newest one then. All rows are read, but only pieces that the newest snapshot does not have are sent.
///
/// # Errors
/// When anything fails; the next try may succeed.
pub async fn put(connection: &Connection, of: Of, store: Store, interval: Duration) -> Result<LogSeq, SnapshotError> {
    let Of { partition, position, .. } = of;
    let known = list(connection, partition).await?;
    if let Some(newest) = known.last().filter(|newest| newest.position >= position || newest.age < interval) {
        return Ok(newest.position);
    }
    let newest = known.last().map(|newest| newest.position);
    let sending = tokio::time::timeout(PUT_DEADLINE, send(connection, of, store, newest));
    let manifest = sending.await.map_err(|_| broker("it takes too long to put the snapshot"))??;
    confirm(connection, partition, position, &manifest).await?;
    metrics::counter!("daybook_snapshots_total").increment(1);
    Ok(position)
}

/// Makes sure that all pieces of a snapshot are there, once it has been told of. Whoever was held up for long may have counted on
/// pieces that are gone since.
///
/// # Errors
/// When the broker does not answer, or pieces are gone: then the snapshot is taken back.
pub async fn confirm(
    connection: &Connection,
    partition: Partition,
    position: LogSeq,
    manifest: &Manifest,
) -> Result<(), SnapshotError> {
    let there = pieces_there(connection, partition).await?;
    if manifest.names().all(|name| there.contains(&name)) {
        return Ok(());
    }
    remove(connection, partition, position).await?;
    Err(broker("pieces of the snapshot are gone"))
}

/// Sends the pieces that the snapshot at `newest` does not have, and then the manifest.
async fn send(
    connection: &Connection,
    of: Of,
    store: Store,
    newest: Option<LogSeq>,
) -> Result<Manifest, SnapshotError> {
    let Of { partition, position, through, is_whole } = of;
    let known = known(connection, partition, newest).await?;
    let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let cutting = tokio::task::spawn_blocking(move || cut_store(&store, known, &sender));
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let pieces = pieces.map(|cut| store_piece(connection, partition, cut)).buffered(PIECES_AT_ONCE);
    let manifest = Manifest { pieces: pieces.try_collect().await? };
    cutting.await??;
    let whole = is_whole.then(|| (WHOLE.to_owned(), String::new()));
    let through = serde_json::to_string(&through).expect("two numbers");
    let metadata = ObjectMetadata {
        name: object_name(partition, position),
        chunk_size: Some(CHUNK_BYTES),
        metadata: [(THROUGH.to_owned(), through)].into_iter().chain(whole).collect(),
        ..ObjectMetadata::default()
    };
    let encoded = manifest.encode();
    bucket(connection).await?.put(metadata, &mut encoded.as_slice()).await.map_err(broker)?;
    metrics::counter!("daybook_snapshot_bytes_total").increment(encoded.len() as u64);
    Ok(manifest)
}

/// The pieces that need not be sent again: those of the newest snapshot that are there. Others that are there may go before this
/// snapshot is told of.
async fn known(connection: &Connection, partition: Partition, newest: Option<LogSeq>) -> Result<Known, SnapshotError> {
    let Some(newest) = newest else { return Ok(Known::default()) };
    let named = manifest(connection, partition, newest).await.unwrap_or_else(|error| {
        tracing::debug!(%partition, position = %newest, %error, "nothing of the newest snapshot can be used again");
        None
    });
    let Some(named) = named else { return Ok(Known::default()) };
    Ok(Known::new(named, pieces_there(connection, partition).await?))
}

/// A piece of the rows.
#[derive(Debug)]
pub(super) enum Cut {
    There(Piece),
    New {
        piece: Piece,
        bytes: Vec<u8>,
        packed: Vec<u8>,
        /// It may be like this one.
        like: Option<PieceId>,
    },
}

/// Cuts the rows of the store into pieces, and hands them over. Blocking.
pub(super) fn cut_store(store: &Store, mut known: Known, sender: &mpsc::Sender<Cut>) -> Result<(), SnapshotError> {
    cut(store.scan()?.map(|row| row.map_err(SnapshotError::from)), Sizes::STORED, |bytes| {
        let cut = match known.find(PieceId::of(bytes)) {
            Found::There(piece) => Cut::There(piece),
            Found::New { like } => {
                let (piece, packed) = Piece::pack(bytes)?;
                Cut::New { piece, bytes: bytes.to_vec(), packed, like }
            }
        };
        // Who stores them has failed, and says so.
        sender.blocking_send(cut).map_err(|_| broker("pieces are not stored any more"))
    })
}

/// Stores a piece if it is new: what differs from the one that it is like, or else all of it.
async fn store_piece(connection: &Connection, partition: Partition, cut: Cut) -> Result<Piece, SnapshotError> {
    let (piece, bytes, packed, like) = match cut {
        Cut::There(piece) => {
            metrics::counter!("daybook_snapshot_bytes_reused_total").increment(piece.stored.into());
            return Ok(piece);
        }
        Cut::New { piece, bytes, packed, like } => (piece, bytes, packed, like),
    };
    let mut sent = (piece, packed);
    if let Some(like) = like
        && let Ok(of_base) = read_whole(connection, partition, like).await
    {
        sent = piece.pack_against(&bytes, like, &of_base).unwrap_or(sent);
    }
    let (piece, packed) = sent;
    send_piece(connection, partition, piece.name, packed).await?;
    Ok(piece)
}

/// Stores a piece in the place of whatever its subject has.
async fn send_piece(
    connection: &Connection,
    partition: Partition,
    name: PieceName,
    packed: Vec<u8>,
) -> Result<(), SnapshotError> {
    let subject = connection.subjects.checkpoint_piece(partition, name);
    let mut headers = HeaderMap::new();
    headers.insert(NATS_ROLLUP, "sub");
    let bytes = packed.len() as u64;
    let sent = connection.jetstream.publish_with_headers(subject, headers, packed.into()).await.map_err(broker)?;
    sent.await.map_err(broker)?;
    metrics::counter!("daybook_snapshot_bytes_total").increment(bytes);
    Ok(())
}
