//! What no service wrote, in every stream: readers pass over it, writers go on behind it, and it is counted and named. Here
//! someone who may write anywhere puts it there; with the permissions of `docs/SECURITY.md` no client can.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook::commands::replay::progress;
use daybook::verification::verify::{Scope, verify};
use daybook_contracts::ask::Query;
use daybook_contracts::headers;
use daybook_domain::ids::{Partition, TenantId};
use daybook_runtime::append::{Stored, last_message};
use daybook_tests::orders::{self, FIRST_DAY, order, orders_counted, rejects_of};
use daybook_tests::{Daybook, eventually};

const PUBACK: &[u8] = br#"{"stream":"DAYBOOK_INBOX","seq":7}"#;
const SECOND_NOON: &str = "2024-03-02T12:00:00Z";

/// Puts a message onto a subject, as it is; the broker stores it unconditionally.
async fn put(daybook: &Daybook, subject: &str, headers: HeaderMap, payload: &[u8]) {
    let jetstream = &daybook.client.connection.jetstream;
    let sent = jetstream.publish_with_headers(subject.to_owned(), headers, payload.to_vec().into()).await.unwrap();
    sent.await.unwrap_or_else(|error| panic!("{subject}: {error}"));
}

/// A message with all its headers but the condition, which would not hold.
fn copied(message: &Stored) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().filter(|(name, _)| **name != NATS_EXPECTED_LAST_SUBJECT_SEQUENCE) {
        headers.append(name.clone(), values[0].clone());
    }
    headers
}

/// Fills every stream: answers of the broker's, and copies of what stands elsewhere.
async fn intrude(daybook: &Daybook) {
    let subjects = daybook.client.connection.subjects.clone();
    let (acme, partitions) = (TenantId::new("acme").unwrap(), daybook.client.connection.partitions);
    let (first, second) = (FIRST_DAY.parse().unwrap(), "2024-03-02".parse().unwrap());
    let mut places = vec![
        subjects.day_opened("acme"),
        subjects.day_closed("acme"),
        subjects.clock("test"),
        subjects.report(&acme, first),
        subjects.report(&acme, second),
        subjects.figures(&acme, first, "orders"),
        subjects.rejects("acme"),
        subjects.alerts("acme"),
        format!("$O.{}.M.cGFydGl0aW9u", subjects.checkpoints_bucket()),
        format!("$O.{}.C.piece", subjects.checkpoints_bucket()),
    ];
    for partition in Partition::all(partitions) {
        places.push(subjects.events(partition));
        places.push(subjects.catalog(partition, "kind", "order"));
        places.push(subjects.catalog(partition, "tenant", "acme"));
    }
    for place in places {
        put(daybook, &place, HeaderMap::new(), PUBACK).await;
        put(daybook, &place, HeaderMap::new(), b"").await;
    }
    // A batch of another partition, a report of another day, a marker of another tenant, headers and all.
    let own = Partition::of("acme", partitions);
    let other = Partition::of("globex", partitions);
    assert_ne!(own, other);
    for (stream, from, to) in [
        (subjects.events_stream(), subjects.events(other), subjects.events(own)),
        (subjects.events_stream(), subjects.events(own), subjects.events(other)),
        (subjects.days_stream(), subjects.day_closed("globex"), subjects.day_closed("acme")),
        (subjects.rejects_stream(), subjects.rejects("globex"), subjects.rejects("acme")),
        (
            subjects.reports_stream(),
            subjects.report(&TenantId::new("globex").unwrap(), first),
            subjects.report(&acme, second),
        ),
    ] {
        let mut message = last_message(&daybook.client.connection, &stream, &from).await;
        // Whoever has intruded before stands at the end.
        let mut before = message.as_ref().map_or(0, |message| message.sequence);
        while let Some(there) = &message
            && there.headers.get(headers::SUBJECT).is_none()
            && before > 1
        {
            before -= 1;
            message = daybook_runtime::append::next_message(&daybook.client.connection, &stream, &from, before).await;
        }
        let Some(message) = message else { continue };
        put(daybook, &to, copied(&message), &message.payload).await;
    }
}

/// The streams of which `daybook status` tells that something stands in them that no service wrote.
async fn told(daybook: &Daybook) -> Vec<String> {
    let binary = daybook_tests::processes::binary("daybook");
    let mut command = daybook_tests::processes::command(&binary);
    command.args(["status", "--json", "--nats", daybook.broker.broker.client_url()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let foreign = status["foreign"].as_array().unwrap().iter();
    foreign.map(|foreign| foreign["stream"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_the_streams_stops_and_changes_nothing() {
    let mut daybook = Daybook::start_with(|options| options.shard.snapshot_interval_ms = 1_000).await;
    orders::define(&daybook, &["acme", "globex"]).await;
    let both = ["acme", "globex"];
    for tenant in both {
        daybook.publish(tenant, "order", order("before").to_string()).await;
        daybook.publish(tenant, "order", "no event").await;
    }
    daybook.settle().await;
    intrude(&daybook).await;
    for tenant in both {
        daybook.publish(tenant, "order", order("between").to_string()).await;
    }
    daybook.settle().await;
    for tenant in both {
        assert_eq!(orders_counted(&daybook, tenant).await, 2, "{tenant}");
    }

    // Days close and open, clocks move, definitions change behind it.
    orders::advance(&daybook, SECOND_NOON).await;
    daybook.settle().await;
    intrude(&daybook).await;
    daybook
        .define("views: [{ name: later, kind: order, group_by: [channel], metrics: [{ name: n, value: count }] }]")
        .await;
    for tenant in both {
        daybook.publish(tenant, "order", order("late").to_string()).await;
    }
    daybook.settle().await;
    let stands = async |daybook: &Daybook| {
        for tenant in both {
            let tenant = TenantId::new(tenant).unwrap();
            let report = daybook.client.report(&tenant, FIRST_DAY.parse().unwrap()).await.unwrap().unwrap().report;
            assert_eq!((report.tenant.as_str(), report.version), (tenant.as_str(), 2));
            assert_eq!(report.views["orders"].rows[0].get("orders").unwrap().to_string(), "3");
            let query: Query = serde_json::from_value(serde_json::json!({ "days": FIRST_DAY })).unwrap();
            let answer = daybook.client.query(&tenant, "orders", &query).await.unwrap();
            assert_eq!(answer.rows[0].get("orders").unwrap().to_string(), "3");
            assert_eq!(
                daybook.client.report(&tenant, "2024-03-02".parse().unwrap()).await.unwrap().map(|r| r.hash),
                None
            );
        }
        assert_eq!(rejects_of(daybook, "acme").await.len(), 1);
        let outcome = verify(&daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap();
        assert!(outcome.is_sound(), "{:?} {:?}", outcome.differences, outcome.partitions);
        assert!(outcome.verified.count == 4 && outcome.foreign.count >= 5, "{:?}", outcome.foreign);
    };
    stands(&daybook).await;
    let told = told(&daybook).await;
    for stream in ["CATALOG", "CLOCKS", "DAYS", "EVENTS", "INBOX", "REPORTS"] {
        assert!(told.contains(&format!("DAYBOOK_{stream}")), "{stream}: {told:?}");
    }

    // So it is after a restart, with and without what was kept.
    daybook.restart_services().await;
    daybook.settle().await;
    stands(&daybook).await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    stands(&daybook).await;
    for tenant in both {
        daybook.publish(tenant, "order", order("last").to_string()).await;
    }
    // INBOX is trimmed past it.
    let inbox = daybook.client.connection.subjects.inbox_stream();
    eventually("INBOX is empty", async || {
        let stream = daybook.client.connection.jetstream.get_stream(&inbox).await.ok()?;
        (stream.cached_info().state.messages == 0).then_some(())
    })
    .await;
}
