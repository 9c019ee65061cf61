//! INBOX is a buffer: it refuses when it is full, is trimmed when it is recorded, and what was trimmed out of it counts
//! once even if the broker, after a crash, sources it again.

use async_nats::jetstream::stream::{Config, State};
use bytes::Bytes;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::DayState;
use daybook_contracts::report::Report;
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::joining::connect_service;
use daybook_runtime::process::Context;
use daybook_runtime::reader::{read_all, read_through};
use daybook_tests::orders::{self, FIRST_DAY, account, order, orders_counted, rejects_of};
use daybook_tests::{Daybook, eventually};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The smallest INBOX that can be configured, in bytes.
const SMALL: i64 = 1 << 20;
/// JetStream's number for a stream that cannot store a message.
const STREAM_STORE_FAILED: u64 = 10_077;

/// A sound order of ten kilobytes.
fn large_order(id: &str) -> Bytes {
    let mut event = order(id);
    event["note"] = json!("x".repeat(10_000));
    event.to_string().into()
}

/// How a stream stands.
async fn state(daybook: &Daybook, stream: String) -> State {
    daybook.client.connection.jetstream.get_stream(stream).await.unwrap().cached_info().state.clone()
}

async fn inbox(daybook: &Daybook) -> State {
    state(daybook, daybook.client.connection.subjects.inbox_stream()).await
}

/// Waits until everything recorded is taken out of INBOX.
async fn trimmed(daybook: &Daybook) {
    eventually("the trim of INBOX", || async { (inbox(daybook).await.messages == 0).then_some(()) }).await;
}

/// Publishes until INBOX has no room even for a small order; returns how many it took.
async fn fill(daybook: &Daybook, tenant: &str) -> u64 {
    let large = fill_with(daybook, tenant, |number| large_order(&format!("large-{number}"))).await;
    large + fill_with(daybook, tenant, |number| order(&format!("small-{number}")).to_string().into()).await
}

/// Publishes until INBOX refuses; returns how many it took.
async fn fill_with(daybook: &Daybook, tenant: &str, order: impl Fn(u64) -> Bytes) -> u64 {
    let connection = &daybook.client.connection;
    let subject = connection.subjects.input(tenant, "order");
    for number in 0.. {
        let published = connection.jetstream.publish(subject.clone(), order(number)).await.unwrap();
        let Err(error) = published.await else { continue };
        let refusal = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
        let refusal = refusal.unwrap_or_else(|| panic!("not JetStream's own error: {error:?}"));
        assert_eq!((refusal.code(), refusal.error_code().0), (503, STREAM_STORE_FAILED), "{refusal}");
        return number;
    }
    unreachable!("INBOX is never full")
}

/// day-manager without the other services.
struct DayManager {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl DayManager {
    async fn start(daybook: &Daybook) -> Self {
        let options = daybook.options().clone();
        let connection = connect_service(&options.broker, "day-manager").await.unwrap();
        let stop = CancellationToken::new();
        let context = Context::new(connection, Default::default(), stop.clone());
        let task = tokio::spawn(async move { day_manager::run(options.day_manager, context).await.unwrap() });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_refuses_and_loses_nothing() {
    let mut daybook = Daybook::start_with(|options| options.broker.inbox_max_bytes = SMALL).await;
    orders::define(&daybook, &["acme", "idle"]).await;
    for round in 1..=2 {
        daybook.stop_services().await;
        let taken = fill(&daybook, "acme").await;
        assert!(taken > 50, "{taken}");
        let full = inbox(&daybook).await;
        // Nobody else is taken from either (a message as long as those that were refused), and nothing is dropped to make room.
        assert_eq!(fill_with(&daybook, "idle", |_| order("small-1000").to_string().into()).await, 0);
        let after = inbox(&daybook).await;
        assert_eq!((after.messages, after.first_sequence), (full.messages, full.first_sequence));

        daybook.start_services().await;
        daybook.settle().await;
        trimmed(&daybook).await;
        // The same ids in every round: said again, but counted once.
        daybook.publish("acme", "order", order(&format!("round-{round}")).to_string()).await;
        daybook.publish("idle", "order", order(&format!("round-{round}")).to_string()).await;
        daybook.settle().await;
        let account = account(&daybook, "acme").await;
        assert_eq!(account.rejected, 0);
        assert_eq!(account.counted, orders_counted(&daybook, "acme").await);
        if round == 1 {
            assert_eq!((account.published, account.counted, account.duplicate), (taken + 1, taken + 1, 0));
        } else {
            assert!(account.duplicate >= 50 && account.counted >= taken + 2, "{account:?}");
        }
        assert_eq!(orders_counted(&daybook, "idle").await, round);
    }
    assert!(rejects_of(&daybook, "acme").await.is_empty());
    trimmed(&daybook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_closes_while_inbox_is_full_is_sealed_once_it_drains() {
    let mut daybook = Daybook::start_with(|options| options.broker.inbox_max_bytes = SMALL).await;
    orders::define(&daybook, &["acme"]).await;
    daybook.stop_services().await;
    let taken = fill(&daybook, "acme").await;
    // day-manager closes the day: the marker stands in DAYS, and cannot come through to INBOX.
    let manager = DayManager::start(&daybook).await;
    let client = daybook.client.clone();
    let advance = tokio::spawn(async move {
        let advance_to = "2024-03-02T12:00:00Z".parse().unwrap();
        client.advance(&ClockAdvance { clock: Name::new(orders::CLOCK).unwrap(), advance_to }).await.unwrap()
    });
    let days = daybook.client.connection.subjects.days_stream();
    eventually("the markers", || async { (state(&daybook, days.clone()).await.last_sequence == 3).then_some(()) })
        .await;
    assert!(!advance.is_finished(), "nobody is told that the day is closed before it is in INBOX");
    advance.abort();
    manager.stop().await;
    daybook.start_services().await;
    eventually("the report", || async { (!versions(&daybook, "acme").await.is_empty()).then_some(()) }).await;
    let day_after = orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    assert_eq!(day_after.markers, 0, "they were published before");
    daybook.settle().await;
    let reports = versions(&daybook, "acme").await;
    assert_eq!(reports.keys().collect::<Vec<_>>(), [&(FIRST_DAY.to_owned(), 1)]);
    let report = &reports[&(FIRST_DAY.to_owned(), 1)];
    assert_eq!((report.dispositions.published, report.dispositions.counted), (taken, taken));
    let late = daybook.publish("acme", "order", json!({"id": "next", "at": "2024-03-02T12:00:00Z"}).to_string()).await;
    daybook.settle().await;
    assert!(late.0 > report.log.inbox_through.0);
    assert_eq!(orders::figures(&daybook, "acme", "orders", "2024-03-02").await["orders"], "1");
}

/// Every version of a tenant's reports that was ever written, by date and version; none is there twice.
async fn versions(daybook: &Daybook, tenant: &str) -> BTreeMap<(String, u32), Report> {
    let connection = &daybook.client.connection;
    let (stream, subject) = (connection.subjects.reports_stream(), connection.subjects.reports_of(tenant));
    let mut versions = BTreeMap::new();
    for message in read_all(connection, stream, subject, 1).await {
        let report: Report = serde_json::from_slice(&message.payload).unwrap();
        let twice = versions.insert((report.date.to_string(), report.version), report);
        assert!(twice.is_none(), "written twice: {twice:?}");
    }
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_and_days_that_were_trimmed_count_once_after_a_crash() {
    let tenants = ["acme", "beta", "gamma", "delta"];
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &tenants).await;
    let mut published = 0;
    let days = ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"];
    for (round, day) in days.iter().enumerate() {
        for tenant in tenants {
            let event =
                json!({"id": format!("{day}-a"), "at": format!("{day}T10:00:00Z"), "measures": {"quantity": 2}});
            daybook.publish(tenant, "order", event.to_string()).await;
        }
        published += 1;
        // Everything so far is recorded and gone from INBOX, definitions and markers too.
        daybook.settle().await;
        trimmed(&daybook).await;
        daybook.broker.broker.kill().await.unwrap();
        daybook.broker.broker.restart().await.unwrap();
        // Publish, close and define on top of whatever the broker sources again.
        for tenant in tenants {
            let event =
                json!({"id": format!("{day}-b"), "at": format!("{day}T11:00:00Z"), "measures": {"quantity": 3}});
            eventually("an acknowledgement", || async { try_publish(&daybook, tenant, event.to_string()).await }).await;
        }
        published += 1;
        match round {
            0 => orders::define_tenants(&daybook, &["late"]).await,
            2 => daybook.restart_services().await,
            _ => {}
        }
        if round + 1 < days.len() {
            orders::advance(&daybook, &format!("{}T12:00:00Z", days[round + 1])).await;
        }
        daybook.settle().await;
        for tenant in tenants {
            check(&daybook, tenant, &days[..=round], published).await;
        }
    }
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    for tenant in tenants {
        check(&daybook, tenant, &days, published).await;
    }
    // A tenant that was defined right after a crash: three sealed days, one of them corrected now.
    daybook.publish("late", "order", order("a").to_string()).await;
    daybook.settle().await;
    let late: Vec<(String, u32)> = versions(&daybook, "late").await.into_keys().collect();
    let expected = [(days[0], 1), (days[0], 2), (days[1], 1), (days[2], 1)];
    assert_eq!(late, expected.map(|(day, version)| (day.to_owned(), version)));
    trimmed(&daybook).await;
}

/// Publishes with a message id, so that it can be repeated.
async fn try_publish(daybook: &Daybook, tenant: &str, payload: String) -> Option<()> {
    let connection = &daybook.client.connection;
    let message = async_nats::jetstream::message::PublishMessage::build()
        .message_id(format!("{tenant} {payload}"))
        .payload(payload.into());
    let subject = connection.subjects.input(tenant, "order");
    connection.jetstream.send_publish(subject, message).await.ok()?.await.ok().map(drop)
}

/// Two orders on each day, in figures and accounts; each day but the last one sealed, once.
async fn check(daybook: &Daybook, tenant: &str, days: &[&str], published: u64) {
    let account = account(daybook, tenant).await;
    assert_eq!((account.published, account.counted), (published, published), "{tenant}: {account:?}");
    for day in days {
        let figures = orders::figures(daybook, tenant, "orders", day).await;
        assert_eq!((figures["orders"].as_str(), figures["quantity"].as_str()), ("2", "5"), "{tenant} {day}");
    }
    let known = daybook.client.days(&TenantId::new(tenant).unwrap()).await.unwrap().days;
    let closed: Vec<String> =
        known.iter().filter(|day| day.day == DayState::Closed).map(|day| day.date.to_string()).collect();
    let open = known.iter().filter(|day| day.day == DayState::Open).count();
    assert_eq!((closed.len() + open, open), (known.len(), 1), "{tenant}: {known:?}");
    let versions = versions(daybook, tenant).await;
    let sealed: Vec<(String, u32)> = closed.into_iter().map(|date| (date, 1)).collect();
    assert_eq!(versions.keys().cloned().collect::<Vec<_>>(), sealed);
    assert!(versions.values().all(|report| report.dispositions.counted == 2));
    assert!(rejects_of(daybook, tenant).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_says_is_in_the_catalogue_is_waited_for() {
    let daybook = Daybook::start().await;
    let connection = daybook.client.connection.clone();
    let config = Config { name: "ASIDE".to_owned(), subjects: vec!["aside.*".to_owned()], ..Config::default() };
    connection.jetstream.create_stream(config).await.unwrap();
    let publish = async |subject: &str| {
        connection.jetstream.publish(subject.to_owned(), Bytes::new()).await.unwrap().await.unwrap();
    };
    publish("aside.a").await;
    publish("aside.b").await;
    let reading = read_through(&connection, "ASIDE".to_owned(), "aside.a".to_owned(), 3);
    tokio::pin!(reading);
    // A broker that does not tell of the third message does not make the list shorter.
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut reading).await.is_err());
    publish("aside.a").await;
    publish("aside.a").await;
    let read: Vec<u64> = reading.await.iter().map(|message| message.sequence).collect();
    assert_eq!(read, [1, 3]);
    let nothing = read_through(&connection, "ASIDE".to_owned(), "aside.a".to_owned(), 0).await;
    assert!(nothing.is_empty());
}
