//! Putting a snapshot on the broker: what the one before has not.

use super::fetching::read_whole;
use super::uploading::{Pace, Upload, UploadAction, UploadHeard};
use super::{
    CHUNK_BYTES, PIECES_AHEAD, PIECES_AT_ONCE, SnapshotError, THROUGH, WHOLE, broker, bucket, list, manifest,
    object_name, pieces_there, remove,
};
use crate::pieces::{Cut, Known, Listing, Manifest, Piece, PieceName, Sizes, cut};
use async_nats::HeaderMap;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::object_store::ObjectMetadata;
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::connection::Connection;
use daybook_runtime::store::Store;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

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
    let pace = Pace { interval, deadline: PUT_DEADLINE };
    let begun = Upload::begin(of.position, pace, Duration::ZERO);
    let newest = drive(connection, of, store, begun).await;
    if newest.is_err() {
        metrics::counter!("daybook_snapshot_failures_total", "partition" => of.partition.to_string()).increment(1);
    }
    newest
}

/// Makes sure that all pieces of a snapshot are there which was just told of.
///
/// # Errors
/// When the broker does not answer, or pieces are gone: then the snapshot is taken back.
pub async fn confirm(connection: &Connection, of: Of, store: Store, manifest: Manifest) -> Result<(), SnapshotError> {
    let pace = Pace { interval: Duration::ZERO, deadline: PUT_DEADLINE };
    drive(connection, of, store, Upload::told(of.position, manifest, pace, Duration::ZERO)).await.map(drop)
}

/// Carries out what an upload asks for.
async fn drive(
    connection: &Connection,
    of: Of,
    store: Store,
    (mut upload, mut action): (Upload, UploadAction),
) -> Result<LogSeq, SnapshotError> {
    let Of { partition, position, .. } = of;
    let began = Instant::now();
    let deadline = began + PUT_DEADLINE;
    let late = |_| broker("it takes too long to put the snapshot");
    let mut is_told = false;
    loop {
        let heard = match action {
            UploadAction::ListSnapshots => UploadHeard::Snapshots(list(connection, partition).await?),
            UploadAction::ReadManifest(newest) => {
                let read = manifest(connection, partition, newest).await;
                UploadHeard::Manifest(read.unwrap_or_else(|error| {
                    tracing::debug!(%partition, position = %newest, %error, "nothing of the newest snapshot can be used again");
                    None
                }))
            }
            UploadAction::ListPieces => UploadHeard::Pieces(pieces_there(connection, partition).await?),
            UploadAction::Send(known) => {
                let sending = send(connection, partition, store.clone(), known);
                UploadHeard::Sent(timeout_at(deadline, sending).await.map_err(late)??)
            }
            UploadAction::Tell(manifest) => {
                timeout_at(deadline, tell(connection, of, manifest)).await.map_err(late)??;
                is_told = true;
                UploadHeard::Told
            }
            UploadAction::TakeBack => {
                remove(connection, partition, position).await?;
                UploadHeard::TakenBack
            }
            UploadAction::Done(newest) => {
                metrics::counter!("daybook_snapshots_total").increment(is_told.into());
                return Ok(newest);
            }
            UploadAction::GiveUp(why) => return Err(broker(why)),
        };
        // Sets of many names take long.
        let work = move || {
            let action = upload.heard(heard, began.elapsed());
            (upload, action)
        };
        (upload, action) = spawn_blocking(work).await?;
    }
}

/// Sends the pieces that are not known to be there.
async fn send(
    connection: &Connection,
    partition: Partition,
    store: Store,
    known: Known,
) -> Result<Manifest, SnapshotError> {
    let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let cutting = spawn_blocking(move || cut_store(&store, known, &sender));
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let pieces = pieces.map(|cut| store_piece(connection, partition, cut)).buffered(PIECES_AT_ONCE);
    let list = |mut listing: Listing, piece| std::future::ready(listing.add(piece).map(|()| listing));
    let listing = pieces.try_fold(Listing::default(), list).await?;
    cutting.await??;
    Ok(listing.finish())
}

/// Tells that the snapshot is there.
async fn tell(connection: &Connection, of: Of, manifest: Arc<Manifest>) -> Result<(), SnapshotError> {
    let Of { partition, position, through, is_whole } = of;
    let whole = is_whole.then(|| (WHOLE.to_owned(), String::new()));
    let through = serde_json::to_string(&through).expect("two numbers");
    let metadata = ObjectMetadata {
        name: object_name(partition, position),
        chunk_size: Some(CHUNK_BYTES),
        metadata: [(THROUGH.to_owned(), through)].into_iter().chain(whole).collect(),
        ..ObjectMetadata::default()
    };
    let encoded = spawn_blocking(move || manifest.encode()).await?;
    bucket(connection).await?.put(metadata, &mut encoded.as_slice()).await.map_err(broker)?;
    metrics::counter!("daybook_snapshot_bytes_total").increment(encoded.len() as u64);
    Ok(())
}

/// Cuts the rows of the store into pieces, and hands them over. Blocking.
pub(super) fn cut_store(store: &Store, mut known: Known, sender: &mpsc::Sender<Cut>) -> Result<(), SnapshotError> {
    cut(store.scan()?.map(|row| row.map_err(SnapshotError::from)), Sizes::STORED, |bytes| {
        // Who stores them has failed, and says so.
        sender.blocking_send(Cut::of(bytes, &mut known)?).map_err(|_| broker("pieces are not stored any more"))
    })
}

/// Stores a piece if it is new.
async fn store_piece(connection: &Connection, partition: Partition, cut: Cut) -> Result<Piece, SnapshotError> {
    let new = match cut {
        Cut::There(piece) => {
            metrics::counter!("daybook_snapshot_bytes_reused_total").increment(piece.stored.into());
            return Ok(piece);
        }
        Cut::New(new) => new,
    };
    let of_like = match new.like {
        Some(like) => read_whole(connection, partition, like).await.ok(),
        None => None,
    };
    // To compare two large pieces takes milliseconds.
    let (piece, packed) = match of_like {
        Some(of_like) => spawn_blocking(move || new.settle(Some(&of_like))).await?,
        None => new.settle(None),
    };
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
