//! Snapshots on a real broker: what has not changed is not stored again, what no snapshot names goes, and the log is trimmed
//! only to a snapshot that is there as a whole.
#![allow(clippy::unwrap_used)]

use aggregator_shard::checkpoints::{Place, open};
use aggregator_shard::pieces::{PieceName, Sizes, cut};
use aggregator_shard::reclaim::{Patience, Reclaiming};
use aggregator_shard::snapshots::{self, SnapshotError};
use aggregator_shard::{retention, sweep};
use async_nats::jetstream::object_store::ObjectMetadata;
use daybook_broker::{Broker, Options};
use daybook_contracts::log::{Batch, FORMAT, Marks, Through};
use daybook_domain::ids::{InboxSeq, LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_machine::PartitionState;
use daybook_runtime::append::{Appended, append};
use daybook_runtime::connection::{BrokerOptions, Connection};
use daybook_runtime::joining::connect_service;
use daybook_runtime::log::{beginning, headers_of};
use daybook_runtime::retention::Retention;
use daybook_runtime::store::{Backend, Changes, Row, Store};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const PARTITION: Partition = Partition(1);
/// Pages of entities, as many as a small month has.
const PAGES: u64 = 800;
/// Entities in a page.
const ENTITIES: u64 = 256;
/// Bytes of an entity that do not repeat.
const ENTITY_BYTES: usize = 40;
/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker, the log of a partition, and its store.
struct Shelf {
    connection: Connection,
    store: Store,
    /// By page and entity.
    versions: BTreeMap<(u64, u64), u64>,
    end: LogSeq,
    batches: u64,
    _broker: Broker,
    folder: TempDir,
}

impl Shelf {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binary = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|_| {})).await.unwrap().unwrap();
        let broker = Broker::start(Options::new(binary, folder.path().join("broker"))).await.unwrap();
        let options = BrokerOptions { partitions: 4, ..BrokerOptions::at(broker.client_url()) };
        let connection = connect_service(&options, "test").await.unwrap();
        let store = empty_store(&folder.path().join("store"));
        let versions = BTreeMap::new();
        let mut shelf = Self { connection, store, versions, end: LogSeq(0), batches: 0, _broker: broker, folder };
        shelf.change((0..PAGES).map(|page| (page, 0)));
        shelf
    }

    /// Gives these entities, by page and number, other bytes, and writes their pages.
    fn change(&mut self, entities: impl Iterator<Item = (u64, u64)>) {
        let mut pages = BTreeSet::new();
        for entity in entities {
            *self.versions.entry(entity).or_default() += 1;
            pages.insert(entity.0);
        }
        let version = |page, entity| self.versions.get(&(page, entity)).copied().unwrap_or_default();
        let bytes = |page: u64| (0..ENTITIES).flat_map(|entity| noise([page, entity, version(page, entity)])).collect();
        let put = pages.iter().map(|page| (page.to_be_bytes().to_vec(), bytes(*page))).collect();
        self.store.commit(Arc::new(Changes { put, remove: vec![] })).unwrap();
    }

    /// Appends an empty batch to the log.
    async fn append(&mut self) -> (LogSeq, Through) {
        self.batches += 1;
        let through = Through { inbox: InboxSeq(self.batches), events: 0 };
        let marks = Marks { through, catalog: 0, days: 0, restating: false };
        let batch = Batch { format: FORMAT, through, records: vec![] };
        let subject = self.connection.subjects.events(PARTITION);
        let headers = headers_of(self.end, marks);
        let appended = append(&self.connection, &subject, self.end.0, headers, batch.encode().into()).await;
        let Appended::At(sequence) = appended else { panic!("{appended:?}") };
        self.end = LogSeq(sequence);
        (self.end, through)
    }

    /// A snapshot of the store at the next position of the log.
    async fn try_put(&mut self) -> Result<LogSeq, SnapshotError> {
        let (position, through) = self.append().await;
        let of = snapshots::Of { partition: PARTITION, position, through, is_whole: true };
        snapshots::put(&self.connection, of, self.store.clone(), Duration::ZERO).await
    }

    async fn put(&mut self) -> LogSeq {
        self.try_put().await.unwrap()
    }

    /// The rows of a snapshot, as another machine gets them.
    async fn fetch(&self, position: LogSeq) -> Result<Vec<Row>, SnapshotError> {
        let folder = tempfile::tempdir().unwrap();
        let store = empty_store(&folder.path().join("store"));
        let scratch = folder.path().join("scratch");
        snapshots::fetch(&self.connection, PARTITION, position, store.clone(), scratch).await?;
        Ok(rows(&store))
    }

    async fn positions(&self) -> Vec<LogSeq> {
        let there = snapshots::list(&self.connection, PARTITION).await.unwrap();
        there.iter().map(|snapshot| snapshot.position).collect()
    }

    /// What a snapshot needs, in the order of its rows.
    async fn named(&self, position: LogSeq) -> Vec<PieceName> {
        let manifest = snapshots::manifest(&self.connection, PARTITION, position).await.unwrap();
        manifest.unwrap().names().collect()
    }

    /// The pieces that are there.
    async fn pieces(&self) -> BTreeSet<PieceName> {
        let subjects = &self.connection.subjects;
        let Ok(stream) = self.connection.jetstream.get_stream(subjects.checkpoints_stream()).await else {
            return BTreeSet::new();
        };
        let there = stream.info_with_subjects(subjects.checkpoint_piece(PARTITION, "*")).await.unwrap();
        let there: Vec<(String, usize)> = there.try_collect().await.unwrap();
        there.iter().map(|(subject, _)| subjects.parse_checkpoint_piece(subject).unwrap().1.parse().unwrap()).collect()
    }

    /// What all snapshots take on the broker.
    async fn bytes(&self) -> u64 {
        let stream = self.connection.subjects.checkpoints_stream();
        self.connection.jetstream.get_stream(stream).await.unwrap().cached_info().state.bytes
    }

    async fn purge(&self, piece: PieceName) {
        let subjects = &self.connection.subjects;
        let stream = self.connection.jetstream.get_stream(subjects.checkpoints_stream()).await.unwrap();
        let purged = stream.purge().filter(subjects.checkpoint_piece(PARTITION, piece)).await.unwrap();
        assert_eq!(purged.purged, 1);
    }

    async fn reclaim(&self, patience: Patience) -> usize {
        Reclaiming::default().reclaim(&self.connection, PARTITION, patience).await.unwrap()
    }

    /// Waits until the snapshot has been there for a second.
    async fn wait_for_age(&self, position: LogSeq) {
        let began = std::time::Instant::now();
        loop {
            let there = snapshots::list(&self.connection, PARTITION).await.unwrap();
            let age = there.iter().find(|snapshot| snapshot.position == position).unwrap().age;
            if age >= Duration::from_secs(1) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{age:?}");
        }
    }
}

fn noise(of: [u64; 3]) -> [u8; ENTITY_BYTES] {
    let mut bytes = [0; ENTITY_BYTES];
    let of = of.map(u64::to_be_bytes).concat();
    blake3::Hasher::new().update(&of).finalize_xof().fill(&mut bytes);
    bytes
}

fn empty_store(path: &Path) -> Store {
    Store::open(Backend::default(), path).unwrap().0
}

fn rows(store: &Store) -> Vec<Row> {
    store.scan().unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_is_not_stored_again() {
    let mut shelf = Shelf::start().await;
    let first = shelf.put().await;
    let all = shelf.bytes().await;
    let mut before = rows(&shelf.store);
    let entities = PAGES * ENTITIES;
    assert!(all > entities * ENTITY_BYTES as u64, "{all}");
    println!("{entities} entities in {PAGES} pages: {all} bytes");

    // A hundredth of the entities, in eight pages that lie together; and then here and there, in each page two or three.
    let together = (300..308).flat_map(|page| (0..ENTITIES).map(move |entity| (page, entity))).collect::<Vec<_>>();
    let scattered = (0..entities).step_by(100).map(|at| (at / ENTITIES, at % ENTITIES)).collect::<Vec<_>>();
    let mut last = first;
    for (what, changed, most) in [("together", together, all / 25), ("here and there", scattered, all / 25)] {
        let (count, there) = (changed.len(), shelf.bytes().await);
        shelf.change(changed.into_iter());
        let next = shelf.put().await;
        let more = shelf.bytes().await - there;
        println!("{count} entities changed {what}: {more} bytes, {:.2} %", more as f64 * 100.0 / all as f64);
        assert!(more < most, "{more} of {all}");
        assert_eq!(shelf.fetch(last).await.unwrap(), before);
        before = rows(&shelf.store);
        assert_eq!(shelf.fetch(next).await.unwrap(), before);
        last = next;
    }
    // Nothing has changed but the position.
    let there = shelf.bytes().await;
    let next = shelf.put().await;
    println!("no entity changed: {} bytes", shelf.bytes().await - there);
    assert!(shelf.bytes().await - there < all / 250);
    assert_eq!(shelf.fetch(next).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_go_when_no_snapshot_names_them_and_not_before() {
    let mut shelf = Shelf::start().await;
    let first = shelf.put().await;
    shelf.change((100..110).map(|page| (page, 7)));
    let second = shelf.put().await;
    shelf.change((100..103).flat_map(|page| (0..ENTITIES).map(move |entity| (page, entity))));
    let third = shelf.put().await;
    let named = async |positions: &[LogSeq]| {
        let mut named = BTreeSet::new();
        for position in positions {
            named.extend(shelf.named(*position).await);
        }
        named
    };
    let three = named(&[first, second, third]).await;
    assert!(named(&[second]).await.iter().any(|name| name.base.is_some()), "what differs is stored");
    assert_eq!(shelf.pieces().await, three);
    assert_eq!(shelf.reclaim(Patience::NONE).await, 0);
    let mut reclaiming = Reclaiming::default();
    assert_eq!(reclaiming.reclaim(&shelf.connection, PARTITION, Patience::USUAL).await.unwrap(), 0);

    // What is read with a piece of the first one keeps that; the rest goes, but not at once.
    snapshots::remove(&shelf.connection, PARTITION, first).await.unwrap();
    assert_eq!(reclaiming.reclaim(&shelf.connection, PARTITION, Patience::USUAL).await.unwrap(), 0);
    assert_eq!(shelf.pieces().await, three);
    let released = Patience { released: Duration::ZERO, ..Patience::USUAL };
    reclaiming.reclaim(&shelf.connection, PARTITION, released).await.unwrap();
    assert_eq!(shelf.pieces().await, named(&[second, third]).await);
    shelf.fetch(second).await.unwrap();

    snapshots::remove(&shelf.connection, PARTITION, second).await.unwrap();
    let gone = reclaiming.reclaim(&shelf.connection, PARTITION, released).await.unwrap();
    assert!(gone > 0);
    assert_eq!(shelf.pieces().await, named(&[third]).await);
    assert_eq!(shelf.fetch(third).await.unwrap(), rows(&shelf.store));
    assert!(shelf.fetch(first).await.is_err() && shelf.fetch(second).await.is_err());
    // Without the pieces of a manifest that cannot be read nothing goes.
    snapshots::remove(&shelf.connection, PARTITION, third).await.unwrap();
    let bucket = shelf.connection.subjects.checkpoints_bucket();
    let bucket = shelf.connection.jetstream.get_object_store(bucket).await.unwrap();
    let odd = format!("manifest-{PARTITION}-1000");
    bucket.put(odd.as_str(), &mut &b"of another version"[..]).await.unwrap();
    reclaiming.reclaim(&shelf.connection, PARTITION, Patience::NONE).await.unwrap_err();
    bucket.delete(&odd).await.unwrap();
    assert!(reclaiming.reclaim(&shelf.connection, PARTITION, Patience::NONE).await.unwrap() > 0);
    assert_eq!(sweep::sweep_older(&shelf.connection, Instant::MAX).await.unwrap(), 1);
    assert_eq!(shelf.bytes().await, 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_broken_off_is_none_and_leaves_nothing() {
    let mut shelf = Shelf::start().await;
    let (position, through) = shelf.append().await;
    let of = snapshots::Of { partition: PARTITION, position, through, is_whole: true };
    let (connection, store) = (shelf.connection.clone(), shelf.store.clone());
    let putting = tokio::spawn(async move { snapshots::put(&connection, of, store, Duration::ZERO).await });
    while shelf.pieces().await.is_empty() {
        tokio::task::yield_now().await;
    }
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled(), "it was done already");
    assert_eq!(shelf.positions().await, []);
    // They might still become one.
    assert_eq!(shelf.reclaim(Patience { released: Duration::ZERO, ..Patience::USUAL }).await, 0);
    let began = std::time::Instant::now();
    while !shelf.pieces().await.is_empty() {
        shelf.reclaim(Patience::NONE).await;
        assert!(began.elapsed() < PATIENCE);
    }
    let position = shelf.put().await;
    assert_eq!(shelf.fetch(position).await.unwrap(), rows(&shelf.store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_lacks_a_piece_is_taken_back_and_the_next_one_mends_those_before() {
    let mut shelf = Shelf::start().await;
    let first = shelf.put().await;
    shelf.change((0..10).map(|page| (page, 7)));
    let second = shelf.put().await;
    let manifest = snapshots::manifest(&shelf.connection, PARTITION, second).await.unwrap().unwrap();
    let of = snapshots::Of { partition: PARTITION, position: second, through: Through::default(), is_whole: true };
    let confirm = || snapshots::confirm(&shelf.connection, of, shelf.store.clone(), manifest.clone());
    confirm().await.unwrap();
    let shared = shelf.named(first).await[PAGES as usize / 20];
    assert!(shelf.named(second).await.contains(&shared));
    // Others may have removed it while the snapshot was put.
    shelf.purge(shared).await;
    let error = confirm().await.unwrap_err();
    assert!(error.to_string().contains("pieces of the snapshot are gone"), "{error}");
    assert_eq!(shelf.positions().await, [first]);
    assert!(shelf.fetch(first).await.is_err());
    let third = shelf.put().await;
    assert_eq!(shelf.fetch(third).await.unwrap(), rows(&shelf.store));
    shelf.fetch(first).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_not_trimmed_to_a_snapshot_that_lacks_a_piece() {
    let mut shelf = Shelf::start().await;
    let (before, _) = shelf.append().await;
    let begins = async |shelf: &Shelf| beginning(&shelf.connection, PARTITION).await.unwrap().position;
    let retention = "1s".parse().unwrap();
    let first = shelf.put().await;
    let lacked = shelf.named(first).await[0];
    shelf.purge(lacked).await;
    shelf.wait_for_age(first).await;
    retention::apply(&shelf.connection, PARTITION, retention).await.unwrap();
    assert_eq!((begins(&shelf).await, shelf.positions().await), (before, vec![first]));

    shelf.change((0..8).flat_map(|page| (0..ENTITIES).map(move |entity| (page, entity))));
    let second = shelf.put().await;
    assert!(!shelf.named(second).await.contains(&lacked));
    shelf.wait_for_age(second).await;
    retention::apply(&shelf.connection, PARTITION, retention).await.unwrap();
    assert_eq!((begins(&shelf).await, shelf.positions().await), (second, vec![second]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_snapshot_goes_in_favour_of_one_that_lacks_a_piece() {
    let mut shelf = Shelf::start().await;
    let for_ever = Retention::FOR_EVER;
    let first = shelf.put().await;
    shelf.change((0..8).flat_map(|page| (0..ENTITIES).map(move |entity| (page, entity))));
    let second = shelf.put().await;
    let earlier = shelf.named(first).await;
    let lacked = *shelf.named(second).await.iter().find(|piece| !earlier.contains(piece)).unwrap();
    shelf.purge(lacked).await;
    retention::apply(&shelf.connection, PARTITION, for_ever).await.unwrap();
    assert_eq!(shelf.positions().await, [first, second]);
    shelf.fetch(first).await.unwrap();

    shelf.change((0..9).flat_map(|page| (0..ENTITIES).map(move |entity| (page, entity))));
    let third = shelf.put().await;
    shelf.fetch(third).await.unwrap();
    retention::apply(&shelf.connection, PARTITION, for_ever).await.unwrap();
    assert_eq!(shelf.positions().await, [third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_someone_else_wrote_behind_a_piece_is_passed_over() {
    let mut shelf = Shelf::start().await;
    let position = shelf.put().await;
    let subject = shelf.connection.subjects.checkpoint_piece(PARTITION, shelf.named(position).await[3]);
    shelf.connection.jetstream.publish(subject, "no piece".into()).await.unwrap().await.unwrap();
    assert_eq!(shelf.fetch(position).await.unwrap(), rows(&shelf.store));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_nothing_is_swept() {
    let mut shelf = Shelf::start().await;
    let position = shelf.put().await;
    let (pieces, bytes) = (shelf.pieces().await, shelf.bytes().await);
    let some = shelf.named(position).await[0];
    let upper = some.to_string().to_uppercase();
    let contents = shelf.connection.subjects.checkpoint_contents();
    let beyond = Partition(shelf.connection.partitions);
    let odd = [
        "a.b".to_owned(),
        "a.b.c.d".to_owned(),
        "nobody".to_owned(),
        format!("pieces.{PARTITION}.{upper}"),
        format!("pieces.{PARTITION}.odd"),
        format!("pieces.{beyond}.{some}"),
    ];
    let store = async |rest: &str| {
        let sent = shelf.connection.jetstream.publish(format!("{contents}{rest}"), "remains".into()).await.unwrap();
        sent.await.unwrap();
    };
    for rest in &odd {
        store(rest).await;
    }
    // It may be on its way to becoming something.
    assert_eq!(sweep::sweep(&shelf.connection).await.unwrap(), 0);
    // While a manifest of that partition is there, its pieces stay.
    let bucket = shelf.connection.jetstream.get_object_store(shelf.connection.subjects.checkpoints_bucket()).await;
    let bucket = bucket.unwrap();
    let name = format!("manifest-{beyond}-7");
    bucket.put(name.as_str(), &mut &b"of another log"[..]).await.unwrap();
    assert_eq!(sweep::sweep_older(&shelf.connection, Instant::MAX).await.unwrap(), odd.len() - 1);
    bucket.delete(&name).await.unwrap();
    // The piece, and the word of the manifest.
    assert_eq!(sweep::sweep_older(&shelf.connection, Instant::MAX).await.unwrap(), 2);
    assert_eq!((shelf.pieces().await, shelf.bytes().await), (pieces, bytes));
    assert_eq!(shelf.fetch(position).await.unwrap(), rows(&shelf.store));
    // A subject that stands for others as a filter is left alone.
    store("*").await;
    assert_eq!(sweep::sweep_older(&shelf.connection, Instant::MAX).await.unwrap(), 0);
    assert_eq!(shelf.fetch(position).await.unwrap(), rows(&shelf.store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_machine_begins_with_a_snapshot_whichever_build_put_it() {
    let mut shelf = Shelf::start().await;
    let (end, through) = shelf.append().await;
    let mut state = PartitionState::new(PARTITION);
    state.apply(end, Batch { format: FORMAT, through, records: vec![] });
    let rows: BTreeMap<_, _> = state.checkpoint().put.into_iter().collect();
    let mut bytes = Vec::new();
    let Ok(()) = cut(rows.iter().map(Ok::<_, Infallible>), Sizes::STORED, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    // Makes the bucket.
    snapshots::list(&shelf.connection, PARTITION).await.unwrap();
    let bucket = shelf.connection.subjects.checkpoints_bucket();
    let bucket = shelf.connection.jetstream.get_object_store(bucket).await.unwrap();
    let reached = serde_json::to_string(&through).unwrap();
    let metadata = ObjectMetadata {
        name: format!("partition-{PARTITION}-{end}"),
        metadata: [("daybook-whole".to_owned(), String::new()), ("daybook-through".to_owned(), reached)].into(),
        ..ObjectMetadata::default()
    };
    bucket.put(metadata, &mut zstd::encode_all(bytes.as_slice(), 1).unwrap().as_slice()).await.unwrap();
    assert_eq!(shelf.positions().await, [end]);
    assert!(snapshots::is_complete(&shelf.connection, PARTITION, end).await.unwrap());
    let place = |name: &str| Place { backend: Backend::default(), folder: shelf.folder.path().join(name) };
    let (_, opened) = open(&shelf.connection, PARTITION, &place("earlier"), None).await.unwrap();
    assert_eq!((opened.position(), opened.through()), (end, through));
    snapshots::remove(&shelf.connection, PARTITION, end).await.unwrap();
    assert_eq!((shelf.positions().await, shelf.bytes().await), (vec![], 0));

    // The same state in pieces.
    let (store, _) = Store::open(Backend::default(), &shelf.folder.path().join("state")).unwrap();
    store.commit(Arc::new(Changes { put: rows.into_iter().collect(), remove: vec![] })).unwrap();
    let of = snapshots::Of { partition: PARTITION, position: end, through, is_whole: true };
    assert_eq!(snapshots::put(&shelf.connection, of, store, Duration::ZERO).await.unwrap(), end);
    let (_, opened) = open(&shelf.connection, PARTITION, &place("pieces"), None).await.unwrap();
    assert_eq!((opened.position(), opened.through()), (end, through));
}
