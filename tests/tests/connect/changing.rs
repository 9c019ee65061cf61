//! The file of sources changes while connect runs: sources that are gone end, new ones begin, changed ones go on where they were, and a
//! file with a mistake changes nothing.

use super::{PLACED, connect, connect_to, define, rows, shop, sources};
use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, stream};
use daybook_tests::sources::all_taken;
use daybook_tests::{Daybook, eventually, installation};
use rustix::process::Signal;
use serde_json::{Value, json};

const CLICKS: &str = "  - { name: clicks, stream: SHOP, subjects: [shop.*.clicks], mapping: click/web, from: all }\n";
const BASKETS: &str =
    "  - { name: baskets, stream: SHOP, subjects: [shop.*.baskets.*], mapping: basket/web, from: all }\n";

/// One click, and one more basket.
async fn visit(context: &jetstream::Context, basket: u64) {
    let click = json!({"shop": "acme", "page": "tea", "placed": PLACED, "ms": 1});
    let content = json!({"shop": "acme", "basket": basket, "placed": PLACED, "items": 1});
    for (subject, payload) in [("clicks".to_owned(), click), (format!("baskets.{basket}"), content)] {
        let subject = format!("shop.acme.{subject}");
        context.publish(subject, payload.to_string().into()).await.unwrap().await.unwrap();
    }
}

async fn settled(daybook: &Daybook, stream: &stream::Stream, names: &[&str]) -> (Value, Value) {
    all_taken(stream, names).await;
    daybook.settle().await;
    (rows(daybook, "clicks").await, rows(daybook, "baskets").await)
}

fn clicks(count: u64) -> Value {
    json!([{"page": "tea", "clicks": count, "ms": count}])
}

fn baskets(count: u64) -> Value {
    json!([{"baskets": count, "items": count}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_file_takes_effect_without_a_restart() {
    let daybook = Daybook::start().await;
    define(&daybook).await;
    let (context, stream) = shop(daybook.broker.broker.client_url(), ConnectOptions::new()).await;
    let folder = daybook.broker.folder.path();
    let text = |parts: &[&str]| format!("sources:\n{}", parts.concat());
    let mut process = connect_to(&daybook, "connect-1", &text(&[CLICKS]));
    process.start();
    visit(&context, 0).await;
    assert_eq!(settled(&daybook, &stream, &["clicks"]).await, (clicks(1), baskets(0)));

    // A new one begins, as `from` says.
    sources(folder, &text(&[CLICKS, BASKETS]));
    visit(&context, 1).await;
    assert_eq!(settled(&daybook, &stream, &["clicks", "baskets"]).await, (clicks(2), baskets(2)));

    // One is gone; the other one changes, and goes on where it was: `from` does not count any more.
    sources(folder, &text(&[&CLICKS.replace("shop.*.clicks", "shop.acme.clicks").replace("all", "new")]));
    eventually("the source has other subjects", || async {
        let consumer = stream.get_consumer::<pull::Config>("daybook-connect-clicks").await.ok()?;
        (consumer.cached_info().config.filter_subjects == ["shop.acme.clicks"]).then_some(())
    })
    .await;
    eventually("nobody waits for baskets", || async {
        let mut consumer = stream.get_consumer::<pull::Config>("daybook-connect-baskets").await.ok()?;
        (consumer.info().await.ok()?.num_waiting == 0).then_some(())
    })
    .await;
    visit(&context, 2).await;
    assert_eq!(settled(&daybook, &stream, &["clicks"]).await, (clicks(3), baskets(2)));

    // A file with a mistake is refused as a whole, and the operator is told.
    let refused = "daybook_connect_sources_refused";
    sources(folder, &text(&[CLICKS, BASKETS, CLICKS]));
    process.shows(refused, 1.0).await;
    visit(&context, 3).await;
    assert_eq!(settled(&daybook, &stream, &["clicks"]).await, (clicks(4), baskets(2)));
    let status = installation::daybook(&["status", "--nats", daybook.broker.broker.client_url()]);
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("REFUSED") && status.contains("source clicks: it is there twice"), "{status}");
    assert!(!status.contains("baskets"), "{status}");

    // Baskets go on where they were when they come back.
    sources(folder, &text(&[BASKETS, CLICKS]));
    process.signal(Signal::HUP);
    process.shows(refused, 0.0).await;
    visit(&context, 4).await;
    assert_eq!(settled(&daybook, &stream, &["clicks", "baskets"]).await, (clicks(5), baskets(5)));
    assert_eq!(process.metric("daybook_connect_events_total{source=\"clicks\"}").await, 5.0, "none came twice");
    let (status, _) = process.terminate().await;
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_out_what_a_changed_file_has() {
    let daybook = Daybook::start().await;
    define(&daybook).await;
    let (context, stream) = shop(daybook.broker.broker.client_url(), ConnectOptions::new()).await;
    let mut processes = ["connect-1", "connect-2"].map(|label| connect(&daybook, label));
    let many = |range: std::ops::Range<u64>| {
        let source = |n| CLICKS.replace("name: clicks", &format!("name: clicks{n}"));
        format!("sources:\n{}", range.map(source).collect::<String>())
    };
    sources(daybook.broker.folder.path(), &many(0..8));
    processes.iter_mut().for_each(|process| process.start());
    for range in [0..8, 4..12, 4..5] {
        sources(daybook.broker.folder.path(), &many(range.clone()));
        visit(&context, 0).await;
        let names: Vec<String> = range.map(|n| format!("clicks{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        eventually("each source is read by one process", || async {
            let status = ["status", "--json", "--nats", daybook.broker.broker.client_url()];
            let status: Value = serde_json::from_slice(&installation::daybook(&status).stdout).ok()?;
            let members = status["members"].as_array()?.iter().filter(|member| member["service"] == "connect");
            let told: Vec<&Value> = members.flat_map(|member| member["sources"].as_array().unwrap()).collect();
            let readers = |name: &str| told.iter().filter(|it| it["name"] == name && it["running"] == true).count();
            (told.len() == 2 * names.len() && names.iter().all(|name| readers(name) == 1)).then_some(())
        })
        .await;
        all_taken(&stream, &names).await;
    }
    daybook.settle().await;
    // All of them read one stream through one mapping: their facts have the same ids.
    assert_eq!(rows(&daybook, "clicks").await, clicks(3));
    for process in &mut processes {
        let (status, _) = process.terminate().await;
        assert!(status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_must_not_publish_is_not_sent_again_for_it() {
    let daybook = Daybook::start().await;
    define(&daybook).await;
    let url = daybook.broker.broker.client_url();
    let (context, stream) = shop(url, ConnectOptions::new()).await;
    let limited = |tenants: &str| {
        format!("sources:\n{}", BASKETS.replace("from: all", &format!("from: all, tenants: {tenants}")))
    };
    let mut process = connect_to(&daybook, "connect-1", &limited("[acme]"));
    process.start();
    for (basket, shop) in [(1, "acme"), (2, "zeta")] {
        let content = json!({"shop": shop, "basket": basket, "placed": PLACED, "items": 1});
        let subject = format!("shop.{shop}.baskets.{basket}");
        context.publish(subject, content.to_string().into()).await.unwrap().await.unwrap();
    }
    all_taken(&stream, &["baskets"]).await;
    daybook.settle().await;
    let file = daybook.broker.folder.path().join("sources.yaml");
    let resend = |how: &[&str]| {
        let fixed = ["rejects", "resend", "--replace", "--nats", url, "--json"];
        let output = installation::daybook(&[&fixed[..], how].concat());
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (told["rejects"].as_u64().unwrap(), told["sent"].as_u64().unwrap())
    };
    assert_eq!(resend(&["--mapping", "basket/web"]), (1, 0), "nobody knows what its source may publish");
    let by_source = ["--source", "baskets", "--sources", file.to_str().unwrap()];
    assert_eq!(resend(&by_source), (1, 0));
    sources(daybook.broker.folder.path(), &limited("[acme, zeta]"));
    assert_eq!(resend(&by_source), (1, 1), "zeta is one of its tenants now");
    daybook.settle().await;
    assert_eq!(rows(&daybook, "baskets").await, baskets(1));
}
