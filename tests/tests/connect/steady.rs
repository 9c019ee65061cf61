//! Sources that a rate or a broker holds up: nothing is repeated in vain, nothing is lost, and what is wrong is told.

use super::{FOREIGN_USERS, PLACED, connect_to, define, rows, shop};
use async_nats::{ConnectOptions, HeaderMap};
use daybook_broker::ServerSettings;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::Partition;
use daybook_domain::mapping::Pick;
use daybook_runtime::append::{Appended, append, last_message};
use daybook_tests::sources::{all_taken, source_of_reader};
use daybook_tests::{Daybook, PrivateBroker, eventually};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn click(page: &str) -> String {
    json!({"shop": "acme", "page": page, "placed": PLACED, "ms": 1}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_rate_gets_each_message_once() {
    let daybook = Daybook::start().await;
    define(&daybook).await;
    let (context, stream) = shop(daybook.broker.broker.client_url(), ConnectOptions::new()).await;
    // The first message alone takes 12 s, longer than the broker waits for an acknowledgement; the others are more than wait in the
    // process at a time.
    let array = format!("[{}]", vec![click("cup"); 480].join(","));
    context.publish("shop.acme.clicks", array.into()).await.unwrap().await.unwrap();
    for _ in 0..320 {
        context.publish("shop.acme.clicks", click("tea").into()).await.unwrap().await.unwrap();
    }
    let text = "sources: [{ name: clicks, stream: SHOP, subjects: [shop.*.clicks], mapping: click/web, from: all, \
                events_per_second: 40 }]";
    let mut process = connect_to(&daybook, "connect-1", text);
    let began = Instant::now();
    process.start();
    all_taken(&stream, &["clicks"]).await;
    assert!(began.elapsed() > Duration::from_secs(18), "{:?}", began.elapsed());
    assert_eq!(process.metric("daybook_connect_events_total{source=\"clicks\"}").await, 800.0);
    assert_eq!(process.metric("daybook_connect_redelivered_total{source=\"clicks\"}").await, 0.0);
    daybook.settle().await;
    let expected = json!([{"page": "cup", "clicks": 480, "ms": 480}, {"page": "tea", "clicks": 320, "ms": 320}]);
    assert_eq!(rows(&daybook, "clicks").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_publishes_what_it_has_heard() {
    let daybook = Daybook::start().await;
    define(&daybook).await;
    let text = "sources: [{ name: clicks, subjects: [web.clicks.*], mapping: click/web, events_per_second: 20 }]";
    let mut process = connect_to(&daybook, "connect-1", text);
    process.start();
    eventually("it listens", || async { process.log().contains("listening on core subjects").then_some(()) }).await;
    let client = daybook.client.connection.client.clone();
    // The subscription is the broker's by now, or else these are lost.
    eventually("a click counts", || async {
        client.publish("web.clicks.probe", click("probe").into()).await.unwrap();
        daybook.settle().await;
        (rows(&daybook, "clicks").await != json!([])).then_some(())
    })
    .await;
    for _ in 0..600 {
        client.publish("web.clicks.tea", click("tea").into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let (status, took) = process.terminate().await;
    assert!(status.success() && took < Duration::from_secs(8), "{status} after {took:?}");
    daybook.settle().await;
    let counted = rows(&daybook, "clicks").await;
    let expected = json!({"page": "tea", "clicks": 600, "ms": 600});
    assert!(counted.as_array().unwrap().contains(&expected), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_must_not_acknowledge_is_told() {
    let users = FOREIGN_USERS.replace("\"$JS.ACK.SHOP.daybook-connect-orders.>\"", "");
    let change = |options: &mut daybook_broker::Options| options.settings = ServerSettings(users);
    let foreign = PrivateBroker::start_with(tempfile::tempdir().unwrap(), change).await;
    let url = foreign.broker.client_url();
    let (context, _) = shop(url, ConnectOptions::with_user_and_password("owner".into(), "owner".into())).await;
    for number in 0..20 {
        let lines = json!([{"line": 1, "sku": "tea", "cents": 5}]);
        let order = json!({"number": number, "revision": 1, "placed": PLACED, "state": "settled", "lines": lines});
        context.publish("shop.acme.orders", order.to_string().into()).await.unwrap().await.unwrap();
    }
    let daybook = Daybook::start().await;
    define(&daybook).await;
    std::fs::write(daybook.broker.folder.path().join("password"), "reader").unwrap();
    let mut process = connect_to(&daybook, "connect-1", &source_of_reader(url));
    process.start();
    let stuck = "daybook_connect_stuck{source=\"orders\"}";
    process.shows(stuck, 1.0).await;
    eventually("it says why", || async {
        process.log().contains("the stream confirms no acknowledgement").then_some(())
    })
    .await;
    // While messages come again, and while none is there, it is not well.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        assert_eq!(process.metric(stuck).await, 1.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!process.log().contains("the source goes on"));
}

/// Writes a revision of the kind `click` for one partition: all its events are of the page `new`.
async fn revise(daybook: &Daybook, partition: u16) {
    let connection = &daybook.client.connection;
    let subject = connection.subjects.catalog(Partition(partition), "kind", "click");
    let known = last_message(connection, &connection.subjects.catalog_stream(), &subject).await.unwrap();
    let Definition::Kind(mut kind) = serde_json::from_slice(&known.payload).unwrap() else { panic!("{known:?}") };
    kind.revision += 1;
    for pick in kind.mappings[0].dims.values_mut() {
        *pick = Pick { constant: Some("new".into()), ..Pick::default() };
    }
    let payload = serde_json::to_vec(&Definition::Kind(kind)).unwrap();
    let appended = append(connection, &subject, known.sequence, HeaderMap::new(), payload.into()).await;
    assert!(matches!(appended, Appended::At(_)), "{appended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_used_once_every_partition_has_it() {
    let mut daybook = Daybook::start().await;
    define(&daybook).await;
    let (context, _) = shop(daybook.broker.broker.client_url(), ConnectOptions::new()).await;
    let client = daybook.client.connection.client.clone();
    let mut published = client.subscribe("daybook.in.acme.click").await.unwrap();
    client.flush().await.unwrap();
    // The one that writes definitions stops in the middle.
    daybook.stop_services().await;
    revise(&daybook, 0).await;
    let text = "sources: [{ name: clicks, stream: SHOP, subjects: [shop.*.clicks], mapping: click/web, from: all }]";
    let mut process = connect_to(&daybook, "connect-1", text);
    process.start();
    let mut page_of_next = async || {
        context.publish("shop.acme.clicks", click("tea").into()).await.unwrap().await.unwrap();
        let event: Value = serde_json::from_slice(&published.next().await.unwrap().payload).unwrap();
        event["dims"]["page"].as_str().unwrap().to_owned()
    };
    assert_eq!(page_of_next().await, "tea");
    revise(&daybook, 3).await;
    let began = Instant::now();
    while page_of_next().await != "new" {
        assert!(began.elapsed() < Duration::from_secs(20), "the revision is not used");
    }
}
