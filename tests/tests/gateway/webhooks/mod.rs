//! Alerts on their way to receivers: each arrives, whatever fails in between.

mod changing;
mod refused;
mod seen;
mod trying;

use crate::options;
use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_tests::orders::{self, NOON};
use daybook_tests::processes::wait_until_ready_with;
use daybook_tests::web::Web;
use daybook_tests::webhooks::{AlertsBroker, Got, Receiver, Reply, SECRET, target, waiting, write_webhooks};
use daybook_tests::{Daybook, PATIENCE, PrivateBroker, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Parts of a gateway's health: the broker and itself.
const PARTS: usize = 2;
/// So much faster than in earnest are the tries of a gateway in this process: pauses of milliseconds can be told apart.
const HASTE: u32 = 100;

fn all_of(ids: &[String]) -> BTreeSet<String> {
    ids.iter().cloned().collect()
}

/// A gateway in this process for which time goes faster.
async fn hasty_gateway(broker: &AlertsBroker, haste: u32) -> Embedded {
    let mut all = EmbeddedOptions::new(broker.broker.options(), broker.folder().join("shard"));
    let mut options = options();
    options.door.webhooks = Some(broker.folder().join("webhooks.yaml"));
    options.door.webhook_haste = haste;
    all.gateway = Some(options);
    Embedded::start(all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_three_times_takes_the_alert_then() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::start(|number, _| match number {
        0 => Reply::Close,
        1 => Reply::status(500),
        2 => Reply::Status(503, "Retry-After: 100\r\n".to_owned()),
        _ => Reply::status(202),
    })
    .await;
    broker.webhooks(&[target("pager", &format!("{}/hooks/daybook?team=a", receiver.url), "")]);
    let gateway = hasty_gateway(&broker, HASTE).await;
    broker.has_consumer("pager").await;
    let (id, payload) = broker.alert("acme", "low_revenue").await;
    let got = receiver.requests(4).await;
    for got in &got {
        assert_eq!((got.id(), got.path.as_str()), (id.as_str(), "/hooks/daybook?team=a"));
        assert_eq!(got.body, payload, "as it is on the stream");
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("host"), receiver.url.strip_prefix("http://").unwrap());
        assert!(got.is_signed_with(SECRET), "{got:?}");
        assert!(!got.is_signed_with("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
    }
    // 5 s, 30 s, and the 120 s that count for more than the 100 s that the receiver asked for.
    for (pair, least) in got.windows(2).zip([5_000, 30_000, 120_000]) {
        let pause = pair[1].at - pair[0].at;
        assert!((least..least + 150_000).contains(&(pause * i64::from(HASTE))), "{pause} ms for {least} ms");
    }
    broker.settled("pager").await;
    gateway.stop().await;
    assert_eq!(receiver.got().len(), 4);
}

/// Three days of tries in a quarter of a minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_given_up_after_its_last_try() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::start(|_, got| Reply::status(if got.path == "/well" { 200 } else { 500 })).await;
    let at = |path: &str| format!("{}/{path}", receiver.url);
    broker.webhooks(&[target("exhausting", &at("ill"), ""), target("enduring", &at("well"), "")]);
    let gateway = hasty_gateway(&broker, 20_000).await;
    for name in ["exhausting", "enduring"] {
        broker.has_consumer(name).await;
    }
    broker.alert("acme", "low_revenue").await;
    broker.settled("enduring").await;
    let web = Web::at(gateway.http.as_deref().unwrap());
    eventually("the alert is given up", || async {
        let metrics = web.get("/metrics").await.text();
        let series = "daybook_webhook_given_up_total{target=\"exhausting\",why=\"exhausted\"} 1\n";
        metrics.contains(series).then_some(())
    })
    .await;
    broker.settled("exhausting").await;
    let tries = receiver.got().iter().filter(|got| got.path == "/ill").count();
    assert!((6..=76).contains(&tries), "{tries}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_and_broker_are_killed_between_tries_and_nothing_is_forgotten() {
    let mut broker = AlertsBroker::start().await;
    let receiver = Receiver::start(|number, _| Reply::status(if number == 0 { 500 } else { 200 })).await;
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    let (id, _) = broker.alert("acme", "low_revenue").await;
    receiver.requests(1).await;
    gateway.shows("daybook_webhook_tries_total{target=\"pager\",outcome=\"refused\"}", 1.0).await;
    // The word to the broker comes behind that.
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.kill();
    broker.broker.broker.kill().await.unwrap();
    broker.broker.broker.restart().await.unwrap();
    gateway.start();
    let got = receiver.requests(2).await;
    assert!(got.iter().all(|got| got.id() == id));
    let pause = got[1].at - got[0].at;
    assert!(pause >= 4_000, "the pause of 5 s counts across restarts, to a second: {pause} ms");
    broker.settled("pager").await;
    assert_eq!(receiver.got().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_alerts_out_and_one_that_is_killed_loses_none() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateways = ["gateway-1", "gateway-2"].map(|label| broker.gateway(label));
    for gateway in &mut gateways {
        gateway.start();
        wait_until_ready_with(gateway, PARTS).await;
    }
    broker.has_consumer("pager").await;
    let ids = broker.alerts("acme", "low_revenue", 60).await;
    receiver.requests(60).await;
    broker.settled("pager").await;
    let counts = receiver.counts();
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), all_of(&ids));
    assert!(counts.values().all(|count| *count == 1), "while nothing fails, each is sent once: {counts:?}");
    let series = "daybook_webhook_tries_total{target=\"pager\",outcome=\"delivered\"}";
    let tries = [gateways[0].metric(series).await, gateways[1].metric(series).await];
    assert_eq!(tries[0] + tries[1], 60.0, "{tries:?}");
    let mut more = broker.alerts("acme", "low_revenue", 30).await;
    gateways[0].kill();
    more.extend(broker.alerts("acme", "low_revenue", 30).await);
    eventually("all arrive", || async { (receiver.counts().len() == 120).then_some(()) }).await;
    broker.settled("pager").await;
    assert!(all_of(&more).iter().all(|id| receiver.counts().contains_key(id)));
    let (status, _) = gateways[1].terminate().await;
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let broker = AlertsBroker::start().await;
    let (willing, hanging) = (Receiver::willing().await, Receiver::start(|_, _| Reply::Hang).await);
    // Nobody listens there.
    let dead = "http://127.0.0.1:1";
    broker.webhooks(&[
        target("a-hangs", &hanging.url, ""),
        target("b-dead", dead, ""),
        target("c-well", &willing.url, ""),
    ]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    for name in ["a-hangs", "b-dead", "c-well"] {
        broker.has_consumer(name).await;
    }
    let began = Instant::now();
    let ids = broker.alerts("acme", "low_revenue", 100).await;
    willing.requests(100).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(all_of(&ids), willing.counts().into_keys().collect());
    assert!((1..=4).contains(&hanging.got().len()), "it gets a few at a time: {}", hanging.got().len());
    gateway.shows("daybook_webhook_failing{target=\"b-dead\"}", 1.0).await;
    gateway.shows("daybook_webhook_failing{target=\"c-well\"}", 0.0).await;
    let tries = "daybook_webhook_tries_total{target=\"b-dead\",outcome=\"unanswered\"}";
    while gateway.metric(tries).await < 10.0 {
        assert!(began.elapsed() < PATIENCE, "the dead target is tried");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failing =
        |log: &str| log.lines().filter(|line| line.contains("a webhook fails") && line.contains("b-dead")).count();
    assert_eq!(failing(&gateway.log()), 1, "a change is logged, not each try");
    // What is under way does not keep the process.
    let (_, took) = gateway.terminate().await;
    assert!(took < PATIENCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_gets_the_alerts_that_it_names() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    let at = |path: &str| format!("{}/{path}", receiver.url);
    broker.webhooks(&[
        target("all", &at("all"), ""),
        target("acme", &at("acme"), "tenants: [acme, beta]"),
        target("sealed", &at("sealed"), "alerts: [day_sealed]"),
        target("both", &at("both"), "tenants: [acme], alerts: [day_sealed, report_restated]"),
    ]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    for name in ["all", "acme", "sealed", "both"] {
        broker.has_consumer(name).await;
    }
    let mut expected = BTreeSet::new();
    for tenant in ["acme", "zeta"] {
        for alert in ["low_revenue", "day_sealed"] {
            let (id, _) = broker.alert(tenant, alert).await;
            let is_sealed = alert == "day_sealed";
            let paths = [("/all", true), ("/acme", tenant == "acme"), ("/sealed", is_sealed)];
            let paths = paths.into_iter().chain([("/both", is_sealed && tenant == "acme")]);
            expected.extend(paths.filter(|(_, wanted)| *wanted).map(|(path, _)| (path.to_owned(), id.clone())));
        }
    }
    for name in ["all", "acme", "sealed", "both"] {
        broker.settled(name).await;
    }
    let got: BTreeSet<_> = receiver.got().iter().map(|got| (got.path.clone(), got.id().to_owned())).collect();
    assert_eq!(got, expected);
    assert_eq!(receiver.got().len(), expected.len());
}

const SHOP: &str = "
kinds: [{ name: order, mode: entity, dimensions: [store], measures: [amount] }]
views:
  - name: stores
    kind: order
    group_by: [store]
    metrics: [revenue: sum(amount)]
    alerts: [{ name: low, when: revenue < 0 }, { name: high, when: revenue > 0 }]
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: \"00:00\", first_day: 2024-03-01, clock: shop, max_ahead: 8784h, alerts: [day_sealed] }
";

/// From the event to the receiver. What reads the log once more writes no alert twice, so nothing is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_shard_writes_is_sent_once_however_often_the_log_is_read() {
    let receiver = Receiver::willing().await;
    let broker = PrivateBroker::start().await;
    let targets = [target("pager", &receiver.url, "tenants: [acme], alerts: [low, day_sealed]")];
    let file = write_webhooks(broker.folder.path(), &targets);
    let mut daybook = Daybook::start_on(broker, |all| {
        let mut options = options();
        options.door.webhooks = Some(file);
        all.gateway = Some(options);
    })
    .await;
    let connection = daybook.client.connection.clone();
    eventually("the consumer", || waiting(&connection, "pager")).await;
    daybook.define(SHOP).await;
    orders::advance(&daybook, NOON).await;
    let order = |store: &str, amount: i64| {
        json!({"id": store, "at": NOON, "dims": {"store": store}, "measures": {"amount": amount}}).to_string()
    };
    for (store, amount) in [("bern", -3), ("basel", 5), ("chur", -7)] {
        daybook.publish("acme", "order", order(store, amount)).await;
        daybook.settle().await;
    }
    receiver.requests(2).await;
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    receiver.requests(3).await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    // Late, so the day is sealed again; and one alert that is wanted.
    daybook.publish("acme", "order", order("genf", -1)).await;
    daybook.settle().await;
    let got = receiver.requests(4).await;
    eventually("nothing waits", || async { (waiting(&connection, "pager").await? == (0, 0)).then_some(()) }).await;
    let told = |got: &Got| {
        let alert: Value = serde_json::from_slice(&got.body).unwrap();
        assert!(got.is_signed_with(SECRET) && got.id() == alert["id"], "{alert}");
        format!("{} {}", alert["alert"].as_str().unwrap(), alert["group"]["store"].as_str().unwrap_or("-"))
    };
    let mut told: Vec<String> = got.iter().map(told).collect();
    told.sort();
    assert_eq!(told, ["day_sealed -", "low bern", "low chur", "low genf"]);
    assert_eq!(receiver.got().len(), 4);
}
