//! What operators see of webhooks, in `daybook status` and in the console.

use super::HASTE;
use crate::options;
use daybook_domain::ids::LogSeq;
use daybook_tests::installation::daybook as command;
use daybook_tests::web::Web;
use daybook_tests::webhooks::{Receiver, Reply, SECRET, target, waiting, write_alert, write_webhooks};
use daybook_tests::{Daybook, PrivateBroker, eventually};
use serde_json::{Value, json};
use std::process::Output;

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_waits_and_why_and_no_secret() {
    let receiver = Receiver::start(|_, got| Reply::status(if got.path == "/well" { 200 } else { 500 })).await;
    let broker = PrivateBroker::start().await;
    let at = |path: &str| format!("{}/{path}", receiver.url);
    let targets = [target("well", &at("well"), ""), target("ill", &at("hush?key=hush"), "tenants: [acme, zeta]")];
    let file = write_webhooks(broker.folder.path(), &targets);
    let daybook = Daybook::start_on(broker, |all| {
        let mut options = options();
        options.door.webhooks = Some(file);
        options.door.webhook_haste = HASTE;
        all.gateway = Some(options);
    })
    .await;
    let connection = daybook.client.connection.clone();
    for name in ["well", "ill"] {
        eventually("the consumer", || waiting(&connection, name)).await;
    }
    let before = daybook_runtime::clock::now();
    // The first one is of a tenant that only the well target has.
    for (log, tenant) in [(7, "other"), (8, "zeta"), (9, "zeta")] {
        write_alert(&connection, tenant, "low", LogSeq(log)).await;
    }
    let url = daybook.broker.broker.client_url().to_owned();
    let status = |more: &'static [&'static str]| {
        let url = url.clone();
        let run = move || command(&[&["status", "--nats", &url], more].concat());
        async { tokio::task::spawn_blocking(run).await.unwrap() }
    };
    let told = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let json: Value = eventually("the target is held off", || async {
        let status: Value = serde_json::from_str(&told(&status(&["--json"]).await)).unwrap();
        let is_well = status["webhooks"][1]["waiting"] == 0;
        (status["webhooks"][0]["held_off"] == true && is_well).then_some(status)
    })
    .await;
    let ill = &json["webhooks"][0];
    assert_eq!((&ill["name"], &ill["waiting"]), (&json!("ill"), &json!(2)));
    assert_eq!(ill["refusal"]["why"], "the receiver answered 500 Internal Server Error");
    let instant = |value: &Value| value.as_str().unwrap().parse::<daybook_domain::time::Instant>().unwrap();
    assert!(before <= instant(&ill["oldest"]) && instant(&ill["oldest"]) <= instant(&ill["refusal"]["at"]), "{ill}");
    let well = &json["webhooks"][1];
    let nothing = (&json!("well"), &json!(0), &json!(null), &json!(false));
    assert_eq!((&well["name"], &well["waiting"], &well["oldest"], &well["held_off"]), nothing);
    assert_eq!(json["refused"], json!([]));

    let output = status(&[]).await;
    let shown = told(&output);
    assert!(output.status.success(), "it is refused for less than an hour: {shown}");
    let row = shown.lines().find(|line| line.starts_with("ill ")).unwrap();
    assert!(row.contains("held off for") && row.contains("ago: the receiver answered 500"), "{row}");
    let page = Web::at(daybook.http().unwrap()).get("/cluster").await.text();
    assert!(page.contains("held off for") && page.contains("ago: the receiver answered 500"), "{page}");
    for text in [shown, page, json.to_string()] {
        assert!(!text.contains("hush") && !text.contains(SECRET), "{text}");
    }
}
