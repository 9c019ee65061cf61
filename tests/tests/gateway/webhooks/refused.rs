//! What is not delivered: foreign messages, redirects, what a receiver is done with; and files that cannot be used.

use super::{HASTE, PARTS, hasty_gateway};
use daybook_domain::ids::LogSeq;
use daybook_runtime::connection::BrokerOptions;
use daybook_runtime::joining::connect_service;
use daybook_tests::eventually;
use daybook_tests::installation::Installation;
use daybook_tests::processes::{PARTITIONS, Process, binary, wait_until_ready_with};
use daybook_tests::web::Web;
use daybook_tests::webhooks::{
    AlertsBroker, Receiver, Reply, gateway_arguments, target, waiting, write_alert, write_webhooks,
};

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let broker = AlertsBroker::start().await;
    let elsewhere = Receiver::willing().await;
    let place = format!("Location: {}/\r\n", elsewhere.url);
    let receiver =
        Receiver::start(move |number, _| Reply::Status([301, 302, 307, 308][number % 4], place.clone())).await;
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    broker.alerts("acme", "low_revenue", 4).await;
    receiver.requests(4).await;
    gateway.shows("daybook_webhook_tries_total{target=\"pager\",outcome=\"refused\"}", 4.0).await;
    assert!(gateway.log().contains("redirects are not followed"), "{}", gateway.log());
    assert!(elsewhere.got().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_gets_the_alert_no_more() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::start(|_, got| Reply::status(if got.path == "/gone" { 410 } else { 200 })).await;
    broker.webhooks(&[target("gone", &format!("{}/gone", receiver.url), ""), target("well", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    for name in ["gone", "well"] {
        broker.has_consumer(name).await;
    }
    let (id, _) = broker.alert("acme", "low_revenue").await;
    broker.settled("gone").await;
    gateway.shows("daybook_webhook_given_up_total{target=\"gone\",why=\"gone\"}", 1.0).await;
    let log = gateway.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("an alert is given up")).collect();
    assert!(told.len() == 1 && told[0].contains(&id) && told[0].contains("410"), "{told:?}");
    // The next one is tried: only the operator takes a target away.
    broker.alert("acme", "low_revenue").await;
    broker.settled("gone").await;
    broker.settled("well").await;
    assert_eq!(receiver.got().iter().filter(|got| got.path == "/gone").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_end_takes_nothing_back() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::start(|_, _| Reply::Endless).await;
    broker.webhooks(&[target("pager", &receiver.url, "timeout: 1s")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    broker.alert("acme", "low_revenue").await;
    broker.settled("pager").await;
    gateway.shows("daybook_webhook_tries_total{target=\"pager\",outcome=\"delivered\"}", 1.0).await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_messages_are_passed_over_and_counted() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    let subject = broker.connection.subjects.alerts("acme");
    let (first, payload) = broker.alert("acme", "low_revenue").await;
    receiver.requests(1).await;
    // As a hostile request has the broker or a service write it: without a condition, as a copy, and as anything.
    for forged in [payload.clone(), b"{}".to_vec(), b"\xff".to_vec()] {
        broker.connection.jetstream.publish(subject.clone(), forged.into()).await.unwrap().await.unwrap();
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Daybook-Subject", "daybook.alerts.zeta");
    headers.insert("Nats-Expected-Last-Subject-Sequence", "4");
    let jetstream = &broker.connection.jetstream;
    jetstream.publish_with_headers(subject.clone(), headers, payload.into()).await.unwrap().await.unwrap();
    let (second, _) = broker.alert("acme", "low_revenue").await;
    broker.settled("pager").await;
    let ids: Vec<String> = receiver.got().iter().map(|got| got.id().to_owned()).collect();
    assert_eq!(ids, [first, second]);
    gateway.shows("daybook_foreign_messages_total{stream=\"DAYBOOK_ALERTS\"}", 4.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_cannot_be_read_waits_and_says_nothing_of_its_target() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    broker.webhooks(&[target("unread", &receiver.url, "")]);
    let gateway = hasty_gateway(&broker, HASTE).await;
    broker.has_consumer("unread").await;
    broker.unreadable_alert("acme").await;
    let web = Web::at(gateway.http.as_deref().unwrap());
    let metrics = eventually("it is looked at four times", || async {
        let metrics = web.get("/metrics").await.text();
        let looks =
            metrics.lines().find_map(|line| line.strip_prefix("daybook_webhook_unreadable_total{target=\"unread\"} "));
        looks.and_then(|looks| looks.parse::<f64>().ok()).filter(|looks| *looks >= 4.0).map(|_| metrics)
    })
    .await;
    assert!(metrics.contains("daybook_webhook_failing{target=\"unread\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("daybook_webhook_tries_total{target=\"unread\""), "{metrics}");
    let (id, _) = broker.alert("acme", "low_revenue").await;
    assert_eq!(receiver.requests(1).await[0].id(), id, "others pass it");
    eventually("it waits alone", || async { (broker.waiting("unread").await? == (0, 1)).then_some(()) }).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_of_secrets_is_refused_and_not_shown() {
    let broker = AlertsBroker::start().await;
    broker.webhooks(&[target("pager", "https://hooks.example", "")]);
    let refused = |secret: Option<&str>| {
        let file = broker.folder().join("webhooks.secret");
        match secret {
            Some(secret) => std::fs::write(&file, secret).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let mut gateway = broker.gateway("gateway-1");
        async move {
            gateway.start();
            assert!(!gateway.ended().await.success());
            gateway.log()
        }
    };
    for secret in [Some("hunter2"), Some("whsec_hunter2"), Some(""), None] {
        let log = refused(secret).await;
        assert!(log.contains("target pager") && log.contains("webhooks.secret"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    let mut gateway = broker.gateway("gateway-1");
    broker.webhooks(&[target("pager", "https://hooks.example", "")]);
    gateway.start();
    wait_until_ready_with(&mut gateway, PARTS).await;
}

/// In a secured installation, where the broker says what it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_sends_alerts_needs_no_more_than_its_permissions() {
    let daybook = Installation::start("cache").await;
    let folder = daybook.access.folder.path();
    let connected = async |name: &'static str| {
        let nats = daybook.access.identity(name, &daybook.server.url);
        connect_service(&BrokerOptions { nats, partitions: PARTITIONS, ..BrokerOptions::default() }, name)
            .await
            .unwrap()
    };
    let (operator, shard) = (daybook.client.connection.clone(), connected("aggregator-shard").await);
    let receiver = Receiver::willing().await;
    let one = target("one", &receiver.url, "");
    write_webhooks(folder, &[one.clone(), target("two", &receiver.url, "tenants: [acme]")]);
    let mut arguments = daybook.access.flags("gateway", &daybook.server.url);
    arguments.extend(["--partitions".to_owned(), PARTITIONS.to_string()]);
    arguments.extend(gateway_arguments(folder));
    let mut gateway = Process::new("gateway-1", binary("gateway"), arguments, folder);
    gateway.start();
    for name in ["one", "two"] {
        eventually(name, || waiting(&operator, name)).await;
    }
    write_alert(&shard, "acme", "low", LogSeq(7)).await;
    receiver.requests(2).await;
    write_webhooks(folder, &[one]);
    eventually("the consumer is removed", || async { waiting(&operator, "two").await.is_none().then_some(()) }).await;
    let (status, _) = gateway.terminate().await;
    assert!(status.success());
    let log = gateway.log().to_lowercase();
    assert!(!log.contains("violation") && !log.contains("warn"), "{log}");
    assert_eq!(daybook.server.violations_of_services(), [""; 0]);
}
