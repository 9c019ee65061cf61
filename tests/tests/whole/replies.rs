//! Requests that want their answer in a stream or on a subject of the broker's: no service answers them, and each counts them.
//! NATS does not check the reply subject of a request, and a service publishes its answer with its own rights.

use daybook_contracts::members::Heartbeat;
use daybook_domain::ids::Partition;
use daybook_runtime::append::last_message;
use daybook_tests::orders::{self, order, orders_counted};
use daybook_tests::{Daybook, PATIENCE};
use futures::{FutureExt, StreamExt};
use std::collections::BTreeMap;

/// A stream that answers would delete, were they sent to the subject for that.
const VICTIM: &str = "VICTIM";
const TENANT: &str = "acme";

/// Where answers must not go. No service writes there by itself.
const HOSTILE: [&str; 8] = [
    "daybook.events.7",
    "daybook.reports.acme.2031-01-01",
    "daybook.figures.acme.2031-01-01.orders",
    "daybook.live.acme.nothing",
    "daybook.rejects.other",
    "daybook.clocks.forged",
    "$JS.API.STREAM.DELETE.VICTIM",
    "$O.DAYBOOK_CHECKPOINTS.M.forged",
];

/// The requests of each door: some that succeed and some that fail.
fn requests(daybook: &Daybook) -> Vec<(&'static str, String, &'static str)> {
    let connection = &daybook.client.connection;
    let subjects = &connection.subjects;
    let shard = subjects.shard(Partition::of(TENANT, connection.partitions));
    vec![
        ("requests to query", subjects.query(TENANT, "orders"), ""),
        ("requests to query", subjects.query(TENANT, "~days"), ""),
        ("requests to query", subjects.query(TENANT, "nothing"), "no json"),
        ("requests to admin", subjects.admin("catalogue"), ""),
        ("requests to admin", subjects.admin("views"), ""),
        ("requests to admin", subjects.admin("apply"), "no json"),
        ("requests to shard", shard.clone(), "\"Position\""),
        ("requests to shard", shard.clone(), "no json"),
        // Bundles of questions, of which the second is cut off.
        ("requests to shard", shard.clone(), "\u{1}\u{a}\0\0\0\"Position\""),
        ("requests to shard", shard, "\u{1}\u{b}\0\0\0\"Position\""),
    ]
}

/// Waits until heartbeats tell of so many refused requests at each door.
async fn wait_for(daybook: &Daybook, expected: &BTreeMap<&str, u64>) {
    let subject = daybook.client.connection.subjects.members("*");
    let mut heartbeats = daybook.client.connection.client.subscribe(subject).await.unwrap();
    let mut told = BTreeMap::new();
    let reached = tokio::time::timeout(PATIENCE, async {
        while let Some(message) = heartbeats.next().await {
            let Some(heartbeat) = Heartbeat::decode(&message.payload) else { continue };
            told.extend(heartbeat.foreign.into_iter().map(|foreign| (foreign.stream.to_string(), foreign.messages)));
            if expected.iter().all(|(door, count)| told.get(*door) == Some(count)) {
                return;
            }
        }
    });
    if reached.await.is_err() {
        panic!("expected {expected:?}, told {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_answers_into_a_stream_or_to_the_broker() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &[TENANT]).await;
    daybook.publish(TENANT, "order", order("one").to_string()).await;
    daybook.settle().await;
    let connection = &daybook.client.connection;
    let victim = async_nats::jetstream::stream::Config {
        name: VICTIM.to_owned(),
        subjects: vec!["victim.>".to_owned()],
        ..Default::default()
    };
    connection.jetstream.create_stream(victim).await.unwrap();
    // The answers to a reply subject that is no inbox, but nobody's either, are heard here.
    let mut heard = connection.client.subscribe("acme.answers").await.unwrap();

    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (door, subject, body) in requests(&daybook) {
        for hostile in HOSTILE {
            connection.client.publish_with_reply(subject.clone(), hostile, body.into()).await.unwrap();
            *expected.entry(door).or_default() += 1;
        }
        connection.client.publish_with_reply(subject, "acme.answers", body.into()).await.unwrap();
    }
    for _ in requests(&daybook) {
        tokio::time::timeout(PATIENCE, heard.next()).await.expect("an allowed subject has its answer").unwrap();
    }
    wait_for(&daybook, &expected).await;

    let subjects = &connection.subjects;
    for (stream, subject) in [
        (subjects.events_stream(), HOSTILE[0]),
        (subjects.reports_stream(), HOSTILE[1]),
        (subjects.figures_stream(), HOSTILE[2]),
        (subjects.rejects_stream(), HOSTILE[4]),
        (subjects.clocks_stream(), HOSTILE[5]),
    ] {
        assert!(last_message(connection, &stream, subject).await.is_none(), "an answer stands on {subject}");
    }
    connection.jetstream.get_stream(VICTIM).await.expect("no answer deleted the stream");
    // Everything goes on.
    daybook.publish(TENANT, "order", order("two").to_string()).await;
    daybook.settle().await;
    assert_eq!(orders_counted(&daybook, TENANT).await, 2);
    assert!(heard.next().now_or_never().is_none(), "each request has one answer");
}
