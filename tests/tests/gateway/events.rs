//! Events: durable once answered, told one by one when they are wrong.

use crate::{JSON, NDJSON, ORDERS, VIEW, options, orders_of, shop};
use daybook_contracts::admin::{Remove, Target};
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::process::Context;
use daybook_tests::orders::{self, order};
use daybook_tests::web::Web;
use daybook_tests::{Daybook, PrivateBroker, eventually};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn events_are_durable_once_answered_and_read_back_at_their_position() {
    let (_daybook, web) = shop().await;
    let one = web.post(ORDERS, JSON, order("a").to_string()).await;
    assert_eq!((one.status, &one.json()["durable"]), (200, &json!(1)), "{one:?}");
    let many = web.post(ORDERS, "application/json; charset=utf-8", json!([order("b"), order("a")]).to_string()).await;
    let answer = many.json();
    assert_eq!(
        (many.status, &answer["events"], &answer["durable"], &answer["problems"]),
        (200, &json!(2), &json!(2), &json!([]))
    );
    let stream = web.post(ORDERS, NDJSON, orders_of(2_500)).await.json();
    assert_eq!((&stream["events"], &stream["durable"], &stream["refused"]), (&json!(2_500), &json!(2_500), &json!(0)));
    assert!(stream["inbox"].as_u64() > answer["inbox"].as_u64());
    let figures = web.get(&format!("{VIEW}?at_least={}", stream["inbox"])).await;
    assert_eq!(figures.json()["rows"][0]["orders"], 2_502, "a repeated event counts once: {figures:?}");
    // The whole request once more.
    let again = web.post(ORDERS, NDJSON, orders_of(2_500)).await.json();
    let figures = web.get(&format!("{VIEW}?at_least={}", again["inbox"])).await;
    assert_eq!(figures.json()["rows"][0]["orders"], 2_502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_tenant_is_unknown_until_it_is_defined_again() {
    let (daybook, web) = shop().await;
    let status = || async { web.post(ORDERS, JSON, order("a").to_string()).await };
    assert_eq!(status().await.status, 200);
    let target = Target::Tenant { id: "acme".parse().unwrap(), purge: false };
    daybook.client.remove(&Remove { target, dry_run: false, catalog_seen: None }).await.unwrap();
    let refused = eventually("the removal", || async { Some(status().await).filter(|it| it.status != 200) }).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "unknown_tenant"));
    orders::define(&daybook, &["acme"]).await;
    eventually("the new tenant", || async { (status().await.status == 200).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_events_are_told_each_with_the_code_of_a_reject_and_do_not_hold_up_the_others() {
    let (_daybook, web) = shop().await;
    let mut far = order("far");
    far["measures"]["amount"] = json!("1.005");
    let body = format!("{}\n\n{{\"id\": 7}}\nno json\n{far}\n[{}]\n", order("good"), order("x"));
    let some = web.post(ORDERS, NDJSON, &body).await;
    let told = some.json();
    assert_eq!(
        (some.status, &told["events"], &told["durable"], &told["refused"]),
        (207, &json!(5), &json!(1), &json!(4))
    );
    let codes: Vec<_> =
        told["problems"].as_array().unwrap().iter().map(|p| (p["line"].clone(), p["code"].clone())).collect();
    let expected = [(3, "missing_field"), (4, "malformed"), (5, "too_many_digits"), (6, "malformed")];
    assert_eq!(codes, expected.map(|(line, code)| (json!(line), json!(code))), "{told}");
    let none = web.post(ORDERS, JSON, "[{}]").await;
    assert_eq!((none.status, none.code().as_str()), (422, "refused"));
    assert_eq!(none.json()["problems"][0]["code"], "missing_field");
    // What only ingest can know comes as a reject.
    let mut early = order("early");
    early["at"] = json!("2020-01-01T00:00:00Z");
    let late = web.post(ORDERS, JSON, early.to_string()).await.json();
    assert_eq!(late["durable"], 1);
    eventually("the reject", || async {
        let rejects = web.get("/v1/tenants/acme/rejects?limit=10").await.json();
        let first = &rejects["rejects"][0];
        (first["code"] == "before_first_day" && first["inbox"] == late["inbox"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_records_go_through_a_mapping() {
    let (daybook, web) = shop().await;
    let yaml = r#"
kinds:
  - name: order
    mode: entity
    dimensions: [channel]
    measures: [quantity, { name: amount, type: decimal, scale: 2 }]
    mappings:
      - name: web
        id: /number
        at: { path: /created, as: epoch_s }
        when: type = 'sale'
        measures: { amount: { path: /cents, shift: -2 } }
"#;
    daybook.define(yaml).await;
    let created = 1_709_294_400;
    let records = format!(
        "{}\n{}\n{}\n",
        json!({"type": "sale", "number": 1, "created": created, "cents": 1_999}),
        json!({"type": "visit", "number": 2}),
        json!({"type": "sale", "number": 3, "created": "soon"})
    );
    let path = format!("{ORDERS}?mapping=web");
    let made = eventually("the mapping", || async {
        let made = web.post(&path, NDJSON, &records).await;
        (made.status != 404).then_some(made)
    })
    .await;
    let told = made.json();
    assert_eq!(
        (made.status, &told["durable"], &told["skipped"], &told["refused"]),
        (207, &json!(1), &json!(1), &json!(1)),
        "{told}"
    );
    assert_eq!(told["problems"][0]["index"], 2);
    let figures = web.get(&format!("{VIEW}?at_least={}", told["inbox"])).await.json();
    assert_eq!(figures["rows"][0]["amount"].to_string(), "19.99");
    let unknown = web.post(&format!("{ORDERS}?mapping=wep"), NDJSON, "").await;
    assert_eq!(unknown.code(), "unknown_mapping");
    assert!(unknown.json()["hint"].as_str().unwrap().contains("web"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_is_told_with_when_to_come_back_and_what_is_durable() {
    let mut daybook = Daybook::start_on(PrivateBroker::start().await, |all| {
        all.broker.inbox_max_messages_per_kind = 16;
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.stop_services().await;
    // Without ingest, nothing makes room.
    let connection = connect_service(&daybook.options().broker, "gateway").await.unwrap();
    let (health, stop) = (Health::default(), CancellationToken::new());
    let bound = gateway::Bound::bind(options(), gateway::Openness::Loopback).await.unwrap();
    let web = Web::at(&format!("http://{}", bound.address().unwrap()));
    let serving = tokio::spawn(bound.serve(Context::new(connection, health, stop.clone())));
    let body = orders_of(40_000);
    let full = web.post(ORDERS, NDJSON, &body).await;
    assert_eq!((full.status, full.code().as_str(), full.header("retry-after")), (503, "full", "1"), "{full:?}");
    let at_once = web.post(ORDERS, JSON, order("o-1").to_string()).await;
    assert_eq!((at_once.status, at_once.code().as_str()), (503, "full"), "{at_once:?}");
    let durable = full.json()["durable"].as_u64().unwrap();
    assert!((16..40_000).contains(&durable), "{full:?}");
    stop.cancel();
    serving.await.unwrap().unwrap();
    daybook.start_services().await;
    // The same request, as the answer says, until it is done: every event counts once.
    let done = {
        let web = {
            let connection = connect_service(&daybook.options().broker, "gateway").await.unwrap();
            let bound = gateway::Bound::bind(options(), gateway::Openness::Loopback).await.unwrap();
            let web = Web::at(&format!("http://{}", bound.address().unwrap()));
            tokio::spawn(bound.serve(Context::new(connection, Health::default(), CancellationToken::new())));
            web
        };
        let done = eventually("the request", || async {
            let answer = web.post(ORDERS, NDJSON, &body).await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        web.get(&format!("{VIEW}?at_least={}", done.json()["inbox"])).await
    };
    assert_eq!(done.json()["rows"][0]["orders"], 40_000, "{done:?}");
}
