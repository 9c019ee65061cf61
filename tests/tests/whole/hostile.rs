//! What only a publisher with a client of its own making can send. Whatever the broker acknowledges becomes one reject,
//! and no partition stops.

use daybook_contracts::subjects::INVALID_TENANT;
use daybook_domain::ids::Partition;
use daybook_runtime::joining::connect_service;
use daybook_runtime::reader::Reader;
use daybook_tests::orders::{self, order, orders_counted, rejects_of};
use daybook_tests::raw::{RawPublisher, Said};
use daybook_tests::{Daybook, PATIENCE, PrivateBroker};
use futures::FutureExt;
use std::time::Duration;

/// Subjects that no well-behaved client publishes to.
const SUBJECTS: [&[u8]; 12] = [
    b"daybook.in.*.order",
    b"daybook.in.>.order",
    b"daybook.in.nobody.>",
    b"daybook.in.nobody.*",
    b"daybook.in.a>b.order",
    "daybook.in.ä.k".as_bytes(),
    b"daybook.in.a\xff.order",
    b"daybook.in.nobody.\xff",
    b"daybook.in..order",
    b"daybook.in.a\x00b.order",
    b"daybook.in.a\x0cb.order",
    "daybook.in.a\u{a0}b.order".as_bytes(),
];

/// Headers that are malformed, or that a client library takes for the broker's own words.
const HEADERS: [&[u8]; 9] = [
    b"NATS/1.0\r\nnonsense\r\n\r\n",
    b"NATS/1.0\r\nA: \xff\r\n\r\n",
    b"NATS/1.0\r\nA b\x01: c\r\n\r\n",
    b"hello\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: zz-\x01\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_acknowledged_is_rejected_once_and_stops_nothing() {
    let mut daybook = Daybook::start().await;
    let partitions = daybook.client.connection.partitions;
    let in_partition =
        |p: Partition| (0..).map(|n| format!("t{n}")).find(|t| Partition::of(t, partitions) == p).unwrap();
    let tenants: Vec<String> = Partition::all(partitions).map(in_partition).collect();
    orders::define(&daybook, &tenants.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut raw = RawPublisher::connect(daybook.broker.broker.client_url()).await;
    let mut stored = Vec::new();
    for subject in SUBJECTS {
        if let Said::Stored(sequence) = raw.publish(subject, b"x").await {
            stored.push(sequence);
        }
        let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
        if let Said::Stored(sequence) = raw.publish_with_headers(subject, headers, b"x").await {
            stored.push(sequence);
        }
    }
    for headers in HEADERS {
        if let Said::Stored(sequence) = raw.publish_with_headers(b"daybook.in.nobody.order", headers, b"x").await {
            stored.push(sequence);
        }
    }
    assert!(stored.len() >= 15, "the broker took {} of them", stored.len());

    for round in 0..2 {
        for tenant in &tenants {
            daybook.publish(tenant, "order", order(&format!("o-{round}")).to_string()).await;
        }
        daybook.settle().await;
        for tenant in &tenants {
            assert_eq!(orders_counted(&daybook, tenant).await, round + 1, "{tenant}");
        }
        let mut told: Vec<u64> = Vec::new();
        for token in [INVALID_TENANT, "nobody"] {
            told.extend(rejects_of(&daybook, token).await.iter().map(|reject| reject.inbox.0));
        }
        told.sort_unstable();
        assert_eq!(told, stored, "round {round}");
        daybook.restart_without_checkpoints().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_of_tenants_that_are_no_ids_are_complete_over_all_partitions() {
    let daybook = Daybook::start().await;
    let jetstream = &daybook.client.connection.jetstream;
    let mut acks = Vec::new();
    for number in 0..2_000 {
        acks.push(jetstream.publish(format!("daybook.in.a@{number}.order"), "x".into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    daybook.settle().await;
    assert_eq!(rejects_of(&daybook, INVALID_TENANT).await.len(), 2_000);
}

/// Waiting for the next message is given up again and again, before an answer of the broker can be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_patience_gets_over_them_too() {
    let broker = PrivateBroker::start().await;
    let connection = connect_service(&broker.options(), "reader").await.unwrap();
    let mut raw = RawPublisher::connect(broker.broker.client_url()).await;
    let headers = b"NATS/1.0\r\nA: \xff\r\n\r\n";
    let said = raw.publish_with_headers(b"daybook.in.nobody.order", headers, b"first").await;
    assert_eq!(said, Said::Stored(1));
    assert_eq!(raw.publish(b"daybook.in.nobody.order", b"second").await, Said::Stored(2));

    let mut reader = Reader::new(&connection, connection.subjects.inbox_stream(), "daybook.inbox.>".to_owned(), 1);
    let began = std::time::Instant::now();
    let mut payloads = Vec::new();
    while payloads.len() < 2 {
        match reader.next().now_or_never() {
            Some(message) => payloads.push(message.payload),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        assert!(began.elapsed() < PATIENCE, "{payloads:?}");
    }
    assert_eq!(payloads, ["first", "second"]);
}
