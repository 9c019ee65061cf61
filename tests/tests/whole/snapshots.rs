//! Snapshots share their pieces: what has not changed is not stored again, what no snapshot names goes, and the log is trimmed
//! only to a snapshot that is there as a whole.

use crate::retention::{end_of_log, partition};
use crate::sweeping::connect_with;
use aggregator_shard::checkpoints::{Place, open};
use aggregator_shard::pieces::{PieceName, Sizes, cut};
use aggregator_shard::reclaim::{Patience, Reclaiming};
use aggregator_shard::sweep::sweep_older;
use aggregator_shard::{retention, snapshots};
use async_nats::jetstream::object_store::{Config, ObjectMetadata};
use daybook_contracts::log::{Batch, FORMAT};
use daybook_domain::ids::LogSeq;
use daybook_domain::time::Instant;
use daybook_machine::PartitionState;
use daybook_runtime::connection::{BrokerOptions, Connection, NatsOptions, connect};
use daybook_runtime::log::beginning;
use daybook_runtime::store::{Backend, Changes, Row, Store};
use daybook_tests::orders::{self, order};
use daybook_tests::route::{Frame, Route, Way};
use daybook_tests::{Daybook, eventually};
use futures::TryStreamExt;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Rows of three kilobytes, and those that change: a hundredth.
const ROWS: u32 = 4_000;
const CHANGED: u32 = ROWS / 100;

/// A Daybook that puts no snapshots itself, and the store of one of its partitions.
struct Shelf {
    daybook: Daybook,
    store: Store,
    folder: TempDir,
    events: usize,
}

impl Shelf {
    async fn start() -> Self {
        let daybook = Daybook::start_with(|options| options.shard.snapshot_interval_ms = 86_400_000).await;
        orders::define(&daybook, &["acme"]).await;
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(Backend::default(), &folder.path().join("store")).unwrap();
        let shelf = Self { daybook, store, folder, events: 0 };
        shelf.change(0..ROWS, 0);
        shelf
    }

    fn connection(&self) -> &Connection {
        &self.daybook.client.connection
    }

    /// Writes these rows, with other bytes for each version.
    fn change(&self, rows: std::ops::Range<u32>, version: u32) {
        let put = rows.map(|row| (row.to_be_bytes().to_vec(), noise(row, version))).collect();
        self.store.commit(Arc::new(Changes { put, remove: vec![] })).unwrap();
    }

    /// Puts a snapshot of the store over a connection, at the next position of the log.
    async fn put_over(&mut self, connection: &Connection) -> Result<LogSeq, snapshots::SnapshotError> {
        self.events += 1;
        self.daybook.publish("acme", "order", order(&format!("order-{}", self.events)).to_string()).await;
        self.daybook.settle().await;
        let (position, through) = end_of_log(&self.daybook).await;
        let of = snapshots::Of { partition: partition(&self.daybook), position, through, is_whole: true };
        snapshots::put(connection, of, self.store.clone(), Duration::ZERO).await
    }

    async fn put(&mut self) -> LogSeq {
        let connection = self.connection().clone();
        self.put_over(&connection).await.unwrap()
    }

    /// The rows of a snapshot, as another machine gets them.
    async fn fetch(&self, position: LogSeq) -> Result<Vec<Row>, snapshots::SnapshotError> {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(Backend::default(), &folder.path().join("store")).unwrap();
        let scratch = folder.path().join("scratch");
        snapshots::fetch(self.connection(), partition(&self.daybook), position, store.clone(), scratch).await?;
        Ok(rows(&store))
    }

    async fn positions(&self) -> Vec<LogSeq> {
        let there = snapshots::list(self.connection(), partition(&self.daybook)).await.unwrap();
        there.iter().map(|snapshot| snapshot.position).collect()
    }

    /// The pieces that a snapshot names.
    async fn named(&self, position: LogSeq) -> BTreeSet<PieceName> {
        let manifest = snapshots::manifest(self.connection(), partition(&self.daybook), position).await.unwrap();
        manifest.unwrap().names().collect()
    }

    /// The pieces that are there.
    async fn pieces(&self) -> BTreeSet<PieceName> {
        let subjects = &self.connection().subjects;
        let stream = self.connection().jetstream.get_stream(subjects.checkpoints_stream()).await.unwrap();
        let subject = subjects.checkpoint_piece(partition(&self.daybook), "*");
        let there: Vec<(String, usize)> =
            stream.info_with_subjects(subject).await.unwrap().try_collect().await.unwrap();
        assert!(there.iter().all(|(_, count)| *count == 1), "{there:?}");
        there.iter().map(|(subject, _)| subjects.parse_checkpoint_piece(subject).unwrap().1.parse().unwrap()).collect()
    }

    /// What all snapshots take on the broker.
    async fn bytes(&self) -> u64 {
        let stream = self.connection().subjects.checkpoints_stream();
        self.connection().jetstream.get_stream(stream).await.unwrap().cached_info().state.bytes
    }

    async fn reclaim(&self, patience: Patience) -> usize {
        Reclaiming::default().reclaim(self.connection(), partition(&self.daybook), patience).await.unwrap()
    }
}

fn noise(row: u32, version: u32) -> Vec<u8> {
    let mut bytes = vec![0; 3_000];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&row.to_be_bytes()).update(&version.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn rows(store: &Store) -> Vec<Row> {
    store.scan().unwrap().map(Result::unwrap).collect()
}

async fn purge(connection: &Connection, subject: String) {
    let stream = connection.jetstream.get_stream(connection.subjects.checkpoints_stream()).await.unwrap();
    assert_eq!(stream.purge().filter(subject).await.unwrap().purged, 1);
}

/// Whether it tells of an object.
fn tells(frame: &Frame) -> bool {
    frame.words().nth(1).is_some_and(|subject| subject.starts_with("$O.DAYBOOK_CHECKPOINTS.M."))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_is_not_stored_again_and_what_nothing_names_goes() {
    let mut shelf = Shelf::start().await;
    let first = shelf.put().await;
    let all = shelf.bytes().await;
    assert!(all > 3_000 * u64::from(ROWS), "{all}");
    let before = rows(&shelf.store);

    shelf.change(1_234..1_234 + CHANGED, 1);
    let second = shelf.put().await;
    let more = shelf.bytes().await - all;
    println!("{ROWS} rows: {all} bytes; {CHANGED} of them changed: {more} bytes");
    assert!(more < all / 25, "{more} of {all}");
    assert_eq!(shelf.positions().await, [first, second]);
    assert_eq!(shelf.fetch(first).await.unwrap(), before);
    assert_eq!(shelf.fetch(second).await.unwrap(), rows(&shelf.store));

    // Nothing goes that either names. What the first has alone stays for a while after it, and the second loses nothing.
    assert_eq!(shelf.reclaim(Patience::NONE).await, 0);
    let mut reclaiming = Reclaiming::default();
    let (connection, partition) = (shelf.connection().clone(), partition(&shelf.daybook));
    assert_eq!(reclaiming.reclaim(&connection, partition, Patience::USUAL).await.unwrap(), 0);
    snapshots::remove(&connection, partition, first).await.unwrap();
    assert_eq!(reclaiming.reclaim(&connection, partition, Patience::USUAL).await.unwrap(), 0);
    let released = Patience { released: Duration::ZERO, ..Patience::USUAL };
    let gone = reclaiming.reclaim(&connection, partition, released).await.unwrap();
    assert!((1..10).contains(&gone), "{gone}");
    assert_eq!(shelf.pieces().await, shelf.named(second).await);
    assert_eq!(shelf.fetch(second).await.unwrap(), rows(&shelf.store));
    assert!(shelf.fetch(first).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_broken_off_is_none_and_leaves_nothing() {
    let mut shelf = Shelf::start().await;
    let broker = &shelf.daybook.broker;
    let route = Route::new(broker.broker.client_url(), |way, frame| way == Way::ToClient || !tells(frame)).await;
    let options = BrokerOptions { nats: NatsOptions::at(&route.url()), ..broker.options() };
    let connection = connect(&options, "other").await.unwrap();
    shelf.put_over(&connection).await.unwrap_err();
    assert_eq!(shelf.positions().await, []);
    let sent = shelf.pieces().await.len();
    assert!(sent > 100, "{sent}");
    // It might still become one.
    assert_eq!(shelf.reclaim(Patience { released: Duration::ZERO, ..Patience::USUAL }).await, 0);
    assert_eq!(shelf.reclaim(Patience::NONE).await, sent);
    // The contents of the manifest, of which nobody was told.
    assert_eq!(sweep_older(shelf.connection(), Instant::MAX).await.unwrap(), 1);
    assert_eq!(shelf.bytes().await, 0);
    let position = shelf.put().await;
    assert_eq!(shelf.fetch(position).await.unwrap(), rows(&shelf.store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_back_when_pieces_went_while_it_was_put() {
    let mut shelf = Shelf::start().await;
    let first = shelf.put().await;
    shelf.change(0..CHANGED, 1);
    // The last one is of rows that do not change, and is counted on.
    let shared = shelf.named(first).await;
    let (direct, partition) = (shelf.connection().clone(), partition(&shelf.daybook));
    let manifest = snapshots::manifest(&direct, partition, first).await.unwrap().unwrap();
    let counted_on = manifest.pieces[manifest.pieces.len() / 2].name;
    let subject = direct.subjects.checkpoint_piece(partition, counted_on);
    let meanwhile = {
        let direct = direct.clone();
        async move || purge(&direct, subject.clone()).await
    };
    let (other, _route) = connect_with(&shelf.daybook.broker, tells, meanwhile).await;
    let error = shelf.put_over(&other).await.unwrap_err();
    assert!(error.to_string().contains("pieces of the snapshot are gone"), "{error}");
    assert_eq!(shelf.positions().await, [first]);
    assert!(shared.contains(&counted_on) && shelf.fetch(first).await.is_err());
    // The next one has it again, and so has the one before.
    let next = shelf.put().await;
    assert_eq!(shelf.fetch(next).await.unwrap(), rows(&shelf.store));
    assert!(shelf.fetch(first).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_not_trimmed_to_a_snapshot_that_lacks_a_piece() {
    let mut shelf = Shelf::start().await;
    let (connection, partition) = (shelf.connection().clone(), partition(&shelf.daybook));
    let begins = async || beginning(&connection, partition).await.unwrap().position;
    let (retention, before) = ("1s".parse().unwrap(), begins().await);
    let old_enough = async |position| {
        eventually("a snapshot that is old enough", || async {
            let there = snapshots::list(&connection, partition).await.ok()?;
            let snapshot = there.into_iter().find(|snapshot| snapshot.position == position)?;
            (snapshot.age >= Duration::from_secs(1)).then_some(())
        })
        .await;
    };
    let first = shelf.put().await;
    let lacked = snapshots::manifest(&connection, partition, first).await.unwrap().unwrap().pieces[0].name;
    purge(&connection, connection.subjects.checkpoint_piece(partition, lacked)).await;
    old_enough(first).await;
    let error = retention::apply(&connection, partition, retention).await.unwrap_err();
    assert!(error.to_string().contains("not there"), "{error}");
    assert_eq!((begins().await, shelf.positions().await), (before, vec![first]));

    shelf.change(0..1, 1);
    let second = shelf.put().await;
    assert!(!shelf.named(second).await.contains(&lacked));
    old_enough(second).await;
    retention::apply(&connection, partition, retention).await.unwrap();
    assert_eq!((begins().await, shelf.positions().await), (second, vec![second]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_someone_else_wrote_behind_a_piece_is_passed_over() {
    let mut shelf = Shelf::start().await;
    let position = shelf.put().await;
    let connection = shelf.connection();
    let manifest = snapshots::manifest(connection, partition(&shelf.daybook), position).await.unwrap().unwrap();
    let subject = connection.subjects.checkpoint_piece(partition(&shelf.daybook), manifest.pieces[3].name);
    connection.jetstream.publish(subject, "no piece".into()).await.unwrap().await.unwrap();
    assert_eq!(shelf.fetch(position).await.unwrap(), rows(&shelf.store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_an_earlier_build_is_taken_over() {
    let shelf = Shelf::start().await;
    let (connection, partition) = (shelf.connection(), partition(&shelf.daybook));
    let (end, through) = end_of_log(&shelf.daybook).await;
    let mut state = PartitionState::new(partition);
    state.apply(end, Batch { format: FORMAT, through, records: vec![] });
    let rows: std::collections::BTreeMap<_, _> = state.checkpoint().put.into_iter().collect();
    let mut bytes = Vec::new();
    let Ok(()) = cut(rows.iter().map(Ok::<_, Infallible>), Sizes::STORED, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    let bucket = connection.subjects.checkpoints_bucket();
    let bucket = connection.jetstream.create_object_store(Config { bucket, ..Config::default() }).await.unwrap();
    let reached = serde_json::to_string(&through).unwrap();
    let metadata = ObjectMetadata {
        name: format!("partition-{partition}-{end}"),
        metadata: [("daybook-whole".to_owned(), String::new()), ("daybook-through".to_owned(), reached)].into(),
        ..ObjectMetadata::default()
    };
    bucket.put(metadata, &mut zstd::encode_all(bytes.as_slice(), 1).unwrap().as_slice()).await.unwrap();
    assert_eq!(shelf.positions().await, [end]);
    assert!(snapshots::is_complete(connection, partition, end).await.unwrap());
    let place = Place { backend: Backend::default(), folder: shelf.folder.path().join("bare") };
    let (_, opened) = open(connection, partition, &place, None).await.unwrap();
    assert_eq!((opened.position(), opened.through()), (end, through));
    // It goes as it did.
    snapshots::remove(connection, partition, end).await.unwrap();
    assert_eq!((shelf.positions().await, shelf.bytes().await), (vec![], 0));
}
