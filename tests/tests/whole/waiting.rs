//! A replica waits at an activation until its own backfill is complete, and the log is trimmed beneath that backfill: it begins
//! again with a state that has what it lacks, and says what the other replica says.

use aggregator_shard::{retention, snapshots};
use daybook_contracts::log::{Batch, Record};
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::connection::Connection;
use daybook_runtime::log::beginning;
use daybook_runtime::reader::read_all;
use daybook_tests::asking::{hashes, tenant};
use daybook_tests::backfilling::{TENANTS, advance, check_twins, define_twins, define_views};
use daybook_tests::processes::{Processes, Service, wait_until_ready};
use daybook_tests::route::{Frame, Route, Way};
use daybook_tests::{PATIENCE, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Batches of the tenant's partition before the view is defined: many more than a starved backfill reads in the time.
const BATCHES: u64 = 60;
const TENANT: &str = "acme";

/// A way to the broker on which whoever begins to read the log below a position is brought one batch, and no more. A reader
/// that hears nothing for four seconds asks for the next one by another way, so it reads on, but slowly.
#[derive(Default)]
struct Starving {
    /// 0 while nobody is starved.
    below: AtomicU64,
    /// Where the broker's answers are awaited to requests for a consumer that is to be starved.
    requests: Mutex<BTreeSet<String>>,
    /// The consumers that are.
    consumers: Mutex<BTreeSet<String>>,
}

impl Starving {
    fn pass(&self, stream: &str, way: Way, frame: &Frame) -> bool {
        match way {
            Way::ToBroker => {
                self.note_request(stream, frame);
                true
            }
            Way::ToClient => {
                self.note_answer(frame);
                !self.is_more_than_one(stream, frame)
            }
        }
    }

    fn note_request(&self, stream: &str, frame: &Frame) {
        let mut words = frame.words().skip(1);
        let (Some(subject), Some(answer_to)) = (words.next(), words.next()) else { return };
        if subject.starts_with(&format!("$JS.API.CONSUMER.CREATE.{stream}"))
            && number_in(frame, "\"opt_start_seq\":") < self.below.load(Ordering::SeqCst)
        {
            self.requests.lock().unwrap().insert(answer_to.to_owned());
        }
    }

    fn note_answer(&self, frame: &Frame) {
        if frame.words().nth(1).is_some_and(|subject| self.requests.lock().unwrap().remove(subject)) {
            let answer = String::from_utf8_lossy(frame.payload());
            let name = answer.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next());
            self.consumers.lock().unwrap().insert(name.expect("the consumer has a name").to_owned());
        }
    }

    /// Whether it is a batch for one that is starved, behind its first one.
    fn is_more_than_one(&self, stream: &str, frame: &Frame) -> bool {
        // `$JS.ACK.<stream>.<consumer>.<times>.<stream sequence>.<consumer sequence>.…`
        let reply: Vec<&str> = frame.words().nth(3).unwrap_or_default().split('.').collect();
        let is_batch = reply.len() > 6 && reply[..3] == ["$JS", "ACK", stream];
        is_batch && reply[6] != "1" && self.consumers.lock().unwrap().contains(reply[3])
    }
}

/// The number that stands behind a text.
fn number_in(frame: &Frame, text: &str) -> u64 {
    let payload = String::from_utf8_lossy(frame.payload());
    let digits = payload.split(text).nth(1).and_then(|rest| rest.split(|other: char| !other.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {text} in {payload}"))
}

/// Where the view is taken into force in the log of a partition, if it is.
async fn activation(connection: &Connection, partition: Partition) -> Option<LogSeq> {
    let subjects = &connection.subjects;
    let batches = read_all(connection, subjects.events_stream(), subjects.events(partition), 1).await;
    let is_activation = |record: &Record| match record {
        Record::Define(Definition::Activation(activation)) => activation.view.as_str() == "clicks",
        _ => false,
    };
    let found = batches.iter().find(|batch| Batch::decode(&batch.payload).unwrap().records.iter().any(is_activation));
    found.map(|batch| LogSeq(batch.sequence))
}

/// Trims the log as a shard does whose retention is over, behind the view's coming into force.
async fn trim_behind(connection: &Connection, partition: Partition, position: LogSeq) {
    eventually("the log is trimmed", async || {
        let there = snapshots::list(connection, partition).await.ok()?;
        // The waiting replica's are of before.
        if there.last().is_some_and(|newest| newest.is_whole && newest.position >= position) {
            retention::apply(connection, partition, "1s".parse().unwrap()).await.unwrap();
        }
        (beginning(connection, partition).await.unwrap().position >= position).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_waits_for_a_backfill_begins_again_when_the_log_is_trimmed_beneath_it() {
    let mut processes = Processes::start_with(|service, process| {
        if service == Service::AggregatorShard {
            process.set("--snapshot-interval-ms", "1000");
        }
    })
    .await;
    let client = processes.client.clone();
    let (connection, partition) = (&client.connection, Partition::of(TENANT, client.connection.partitions));
    let stream = connection.subjects.events_stream();
    let starving = Arc::new(Starving::default());
    let (of_route, log) = (starving.clone(), stream.clone());
    let route =
        Route::new(processes.broker.broker.client_url(), move |way, frame| of_route.pass(&log, way, frame)).await;
    let mut second = processes.another(Service::AggregatorShard, "second-shard");
    second.set("--nats", &route.url());
    // It puts no snapshots: those that are there are the other's.
    second.set("--snapshot-interval-ms", "86400000");
    second.start();
    wait_until_ready(&mut second, Service::AggregatorShard).await;

    define_twins(&client).await;
    for number in 0..BATCHES {
        let click = json!({"at": "2024-03-01T10:00:00Z", "dims": {"page": "a"}, "measures": {"ms": number}});
        let subject = connection.subjects.input(TENANT, "click");
        connection.jetstream.publish(subject, click.to_string().into()).await.unwrap().await.unwrap();
        client.settle().await.unwrap();
    }
    // From here on whoever reads the log from its beginning starves on that way: the second shard's backfills.
    let end = connection.jetstream.get_stream(&stream).await.unwrap().cached_info().state.last_sequence;
    starving.below.store(end, Ordering::SeqCst);
    define_views(&client, &["clicks"], &[]).await;
    let position = eventually("the view comes into force", async || activation(connection, partition).await).await;
    trim_behind(connection, partition, position).await;

    let began = Instant::now();
    while second.metric("daybook_snapshots_fetched_total").await == 0.0 {
        assert!(began.elapsed() < PATIENCE, "the replica that waits takes no snapshot over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = second.log();
    assert!(log.contains("the log was trimmed meanwhile; backfilling again"), "{log}");
    assert!(log.contains("another's snapshot has what it lacks"), "{log}");
    starving.below.store(0, Ordering::SeqCst);

    let click = json!({"at": "2024-03-01T11:00:00Z", "dims": {"page": "b"}, "measures": {"ms": 1}});
    let subject = connection.subjects.input(TENANT, "click");
    connection.jetstream.publish(subject, click.to_string().into()).await.unwrap().await.unwrap();
    advance(&client, 2).await;
    client.settle().await.unwrap();
    let before = hashes(&client).await;
    for shard in [&mut second, processes.process(Service::AggregatorShard)] {
        assert_eq!(shard.metric("daybook_replica_divergence_total").await, 0.0);
        assert_eq!(shard.metric("daybook_divergence_total").await, 0.0);
    }
    processes.process(Service::AggregatorShard).kill();
    wait_until_ready(&mut second, Service::AggregatorShard).await;
    let rows = eventually("the second shard answers for all", async || {
        client.days(&tenant(TENANT)).await.ok()?;
        Some(check_twins(&client, &["clicks"], &TENANTS[..1]).await)
    })
    .await;
    assert!(rows > 0);
    assert_eq!(hashes(&client).await, before);
}
