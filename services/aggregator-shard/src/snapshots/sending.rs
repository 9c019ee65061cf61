//! Putting a snapshot on the broker: what the one before has not.

use super::{
    CHUNK_BYTES, PIECES_AHEAD, PIECES_AT_ONCE, SnapshotError, THROUGH, WHOLE, broker, bucket, list, manifest, object_name,
    pieces_there, remove,
};
use crate::pieces::{Manifest, Piece, PieceId, Sizes, cut};
use async_nats::HeaderMap;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::object_store::ObjectMetadata;
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::connection::Connection;
use daybook_runtime::store::Store;
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
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
    metrics::counter!("daybook_snapshots_total").increment(1);
    // Who was held up for long may have counted on pieces that are gone since.
    let there = pieces_there(connection, partition).await?;
    if !manifest.pieces.iter().all(|piece| there.contains(&piece.id)) {
        remove(connection, partition, position).await?;
        return Err(broker("pieces of the snapshot are gone"));
    }
    Ok(position)
}

/// Sends the pieces that the snapshot at `newest` does not have, and then the manifest.
async fn send(
    connection: &Connection,
    of: Of,
    store: Store,
    newest: Option<LogSeq>,
) -> Result<Manifest, SnapshotError> {
    let Of { partition, position, through, is_whole } = of;
    let known = reusable(connection, partition, newest).await?;
    let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let cutting = tokio::task::spawn_blocking(move || cut_store(&store, &known, &sender));
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let sent = pieces.map(|(id, packed)| send_piece(connection, partition, id, packed)).buffer_unordered(PIECES_AT_ONCE);
    sent.try_collect::<()>().await?;
    let manifest = cutting.await??;
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

/// The pieces that need not be sent again, with how many bytes they take: those of the newest snapshot that are there. Others that
/// are there may go before this one is told of.
async fn reusable(
    connection: &Connection,
    partition: Partition,
    newest: Option<LogSeq>,
) -> Result<BTreeMap<PieceId, u32>, SnapshotError> {
    let Some(newest) = newest else { return Ok(BTreeMap::new()) };
    let named = manifest(connection, partition, newest).await.unwrap_or_else(|error| {
        tracing::debug!(%partition, position = %newest, %error, "nothing of the newest snapshot can be used again");
        None
    });
    let Some(named) = named else { return Ok(BTreeMap::new()) };
    let there = pieces_there(connection, partition).await?;
    let named = named.pieces.into_iter().filter(|piece| there.contains(&piece.id));
    Ok(named.map(|piece| (piece.id, piece.stored)).collect())
}

/// Cuts the rows of the store into pieces, and hands over those that are not `known`. Blocking.
pub(super) fn cut_store(
    store: &Store,
    known: &BTreeMap<PieceId, u32>,
    sender: &mpsc::Sender<(PieceId, Vec<u8>)>,
) -> Result<Manifest, SnapshotError> {
    let (mut manifest, mut reused) = (Manifest::default(), 0);
    cut(store.scan()?.map(|row| row.map_err(SnapshotError::from)), Sizes::STORED, |bytes| {
        let id = PieceId::of(bytes);
        if let Some(stored) = known.get(&id) {
            reused += u64::from(*stored);
            manifest.pieces.push(Piece { id, bytes: bytes.len() as u32, stored: *stored });
            return Ok(());
        }
        let (piece, packed) = Piece::pack(bytes)?;
        manifest.pieces.push(piece);
        // Who sends them has failed, and says so.
        sender.blocking_send((id, packed)).map_err(|_| broker("pieces are not sent any more"))
    })?;
    metrics::counter!("daybook_snapshot_bytes_reused_total").increment(reused);
    Ok(manifest)
}

/// Stores a piece in the place of whatever its subject has.
async fn send_piece(
    connection: &Connection,
    partition: Partition,
    id: PieceId,
    packed: Vec<u8>,
) -> Result<(), SnapshotError> {
    let subject = connection.subjects.checkpoint_piece(partition, id);
    let mut headers = HeaderMap::new();
    headers.insert(NATS_ROLLUP, "sub");
    let bytes = packed.len() as u64;
    let sent = connection.jetstream.publish_with_headers(subject, headers, packed.into()).await.map_err(broker)?;
    sent.await.map_err(broker)?;
    metrics::counter!("daybook_snapshot_bytes_total").increment(bytes);
    Ok(())
}
