//! The bucket of snapshots is swept of what belongs to no object, and of nothing else, whoever puts what meanwhile.

use aggregator_shard::sweep::{sweep, sweep_older};
use async_nats::HeaderMap;
use async_nats::jetstream::object_store::{Config, ObjectInfo, ObjectStore};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use daybook_domain::time::Instant;
use daybook_runtime::append::last_message;
use daybook_runtime::connection::{BrokerOptions, Connection, NatsOptions, connect};
use daybook_runtime::joining::connect_service;
use daybook_tests::route::{Frame, Route, Way};
use daybook_tests::{PrivateBroker, eventually};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;

/// A bucket of snapshots, with one of three pieces in it.
struct Bucket {
    connection: Connection,
    store: ObjectStore,
    living: ObjectInfo,
    broker: PrivateBroker,
}

/// More than two pieces of an object.
const ROWS: usize = 300_000;

impl Bucket {
    async fn start() -> Self {
        let broker = PrivateBroker::start().await;
        let connection = connect_service(&broker.options(), "test").await.unwrap();
        let bucket = connection.subjects.checkpoints_bucket();
        let store = connection.jetstream.create_object_store(Config { bucket, ..Config::default() }).await.unwrap();
        let living = put(&store, "living").await;
        Self { connection, store, living, broker }
    }

    /// The subject of an object's pieces.
    fn pieces(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.connection.subjects.checkpoints_bucket())
    }

    /// The subject on which is told of an object.
    fn word(&self, name: &str) -> String {
        self.connection.subjects.checkpoint_object(&URL_SAFE.encode(name))
    }

    /// When the last message on a subject was stored; `None` when there is none.
    async fn stored_at(&self, subject: &str) -> Option<Instant> {
        let stream = self.connection.subjects.checkpoints_stream();
        Some(last_message(&self.connection, &stream, subject).await?.stored_at)
    }

    /// Pieces of no object; when the last of them was stored.
    async fn orphan(&self, nuid: &str) -> Instant {
        for _ in 0..3 {
            self.publish(self.pieces(nuid), HeaderMap::new(), b"piece".to_vec()).await;
        }
        self.stored_at(&self.pieces(nuid)).await.unwrap()
    }

    /// Puts an object and says that it is deleted, but leaves its pieces: a removal that was broken off.
    async fn half_removed(&self, name: &str) -> (ObjectInfo, Instant) {
        let mut info = put(&self.store, name).await;
        info.deleted = true;
        let mut rollup = HeaderMap::new();
        rollup.insert("Nats-Rollup", "sub");
        self.publish(self.word(name), rollup, serde_json::to_vec(&info).unwrap()).await;
        (info, self.stored_at(&self.word(name)).await.unwrap())
    }

    async fn publish(&self, subject: String, headers: HeaderMap, payload: Vec<u8>) {
        let published = self.connection.jetstream.publish_with_headers(subject, headers, payload.into()).await;
        published.unwrap().await.unwrap();
    }

    /// Which of these subjects have messages.
    async fn there(&self, subjects: &[String]) -> Vec<bool> {
        let mut there = Vec::new();
        for subject in subjects {
            there.push(self.stored_at(subject).await.is_some());
        }
        there
    }

    /// Reads an object to its end; the client checks its digest.
    async fn check_whole(&self, name: &str) {
        let mut bytes = Vec::new();
        self.store.get(name).await.unwrap().read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), ROWS, "{name}");
    }

    /// A connection on which `meanwhile` happens once, right before the first request that `is_it`.
    async fn connect_with(
        &self,
        is_it: impl Fn(&Frame) -> bool + Send + Sync + 'static,
        meanwhile: impl AsyncFn() + Send + Sync + 'static,
    ) -> (Connection, Route) {
        let (is_done, handle) = (AtomicBool::new(false), Handle::current());
        let route = Route::new(self.broker.broker.client_url(), move |way, frame| {
            if way == Way::ToBroker && is_it(frame) && !is_done.swap(true, Ordering::SeqCst) {
                tokio::task::block_in_place(|| handle.block_on(meanwhile()));
            }
            true
        })
        .await;
        let options = BrokerOptions { nats: NatsOptions::at(&route.url()), ..self.broker.options() };
        (connect(&options, "sweeper").await.unwrap(), route)
    }
}

async fn put(store: &ObjectStore, name: &str) -> ObjectInfo {
    store.put(name, &mut &vec![7; ROWS][..]).await.unwrap()
}

/// Waits until what is stored from now on is later than that, as the broker counts.
async fn later_than(then: Instant) {
    let now = || async { (daybook_runtime::clock::now() > then).then_some(()) };
    eventually("a millisecond", now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_and_belongs_to_no_object_goes_and_nothing_else() {
    let bucket = Bucket::start().await;
    bucket.orphan("old").await;
    let (removed, _) = bucket.half_removed("removed").await;
    // Deleted, and put again since: what is told of it now is that it is there.
    bucket.half_removed("again").await;
    let again = put(&bucket.store, "again").await;
    let until = bucket.stored_at(&bucket.word("again")).await.unwrap();
    later_than(until).await;
    let young = bucket.orphan("young").await;
    let (_, removed_later) = bucket.half_removed("removed-later").await;
    assert!(until < young && until < removed_later);

    let (old, young) = (bucket.pieces("old"), bucket.pieces("young"));
    let gone = [old, bucket.pieces(&removed.nuid), bucket.word("removed")];
    let kept = [
        young,
        bucket.word("removed-later"),
        bucket.word("living"),
        bucket.pieces(&bucket.living.nuid),
        bucket.word("again"),
        bucket.pieces(&again.nuid),
    ];
    // All of it is too young for a sweep as shards do it.
    assert_eq!(sweep(&bucket.connection).await.unwrap(), 0);
    assert_eq!((bucket.there(&gone).await, bucket.there(&kept).await), (vec![true; 3], vec![true; 6]));

    sweep_older(&bucket.connection, until).await.unwrap();
    assert_eq!((bucket.there(&gone).await, bucket.there(&kept).await), (vec![false; 3], vec![true; 6]));
    for name in ["living", "again"] {
        bucket.check_whole(name).await;
    }
    // The pieces that the object had before it was put again are gone like those of the other one.
    sweep_older(&bucket.connection, Instant::MAX).await.unwrap();
    assert_eq!(bucket.there(&kept).await, [false, false, true, true, true, true]);
    assert_eq!(sweep_older(&bucket.connection, Instant::MAX).await.unwrap(), 0);
    for name in ["living", "again"] {
        bucket.check_whole(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_put_while_the_pieces_are_listed_is_not_taken_for_none() {
    let bucket = Bucket::start().await;
    let store = bucket.store.clone();
    let pieces = bucket.pieces(">");
    let lists = move |frame: &Frame| String::from_utf8_lossy(frame.payload()).contains(&pieces);
    let (sweeper, _route) = bucket.connect_with(lists, async move || drop(put(&store, "new").await)).await;
    assert_eq!(sweep_older(&sweeper, Instant::MAX).await.unwrap(), 0);
    bucket.check_whole("new").await;
    bucket.check_whole("living").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_put_again_while_its_word_is_removed_stays() {
    let bucket = Bucket::start().await;
    bucket.half_removed("again").await;
    let store = bucket.store.clone();
    let purges =
        |frame: &Frame| frame.words().nth(1).is_some_and(|subject| subject.starts_with("$JS.API.STREAM.PURGE."));
    let (sweeper, _route) = bucket.connect_with(purges, async move || drop(put(&store, "again").await)).await;
    sweep_older(&sweeper, Instant::MAX).await.unwrap();
    bucket.check_whole("again").await;
    bucket.check_whole("living").await;
}
