//! Groups of tenants: asked like one, each tenant by its own business day.

use async_nats::service::NATS_SERVICE_ERROR_CODE;
use daybook::client::Client;
use daybook_contracts::admin::{ApplyReply, Remove, Target};
use daybook_contracts::ask::{Answer, AskErrorCode, Asked, DayState, Query};
use daybook_contracts::report::Coverage;
use daybook_domain::ids::TenantId;
use daybook_tests::asking::{ask, refused, shown, tenant};
use daybook_tests::orders::{advance, figures};
use daybook_tests::processes::{Processes, Service};
use daybook_tests::web::Web;
use daybook_tests::{Daybook, define, eventually};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const STORES: &str = r#"
kinds:
  - { name: sale, mode: entity, dimensions: [customer, shelf], measures: [{ name: total, type: decimal, scale: 2 }] }
views:
  - name: takings
    kind: sale
    grain: hour
    metrics: [sales: count, revenue: sum(total), customers: distinct(customer), { name: median, value: "quantile(total, 0.5)" }]
  - { name: shelves, kind: sale, group_by: [shelf], metrics: [sales: count] }
  - { name: of_one, kind: sale, metrics: [sales: count], tenants: [tokyo] }
tenants:
  - { id: zurich, zone: Europe/Zurich, cutoff: "00:00", first_day: 2024-03-01, clock: shop, max_ahead: 8784h }
  - { id: austin, zone: America/Chicago, cutoff: "04:00", first_day: 2024-03-01, clock: shop, max_ahead: 8784h }
  - { id: tokyo, zone: Asia/Tokyo, cutoff: "00:00", first_day: 2024-03-01, clock: shop, max_ahead: 8784h }
groups:
  - { id: north, name: The north, tenants: [zurich, austin] }
  - { id: world, tenants: [zurich, austin, tokyo] }
"#;

fn sale(id: &str, at: &str, customer: &str, total: &str) -> Value {
    json!({"id": id, "at": at, "dims": {"customer": customer, "shelf": "bread"}, "measures": {"total": total}})
}

/// Three stores on the second of March: it is the third in Tokyo, and in Austin still the second.
async fn stores() -> Daybook {
    let daybook = Daybook::start_with(|all| {
        let door = gateway::DoorOptions::default();
        all.gateway = Some(gateway::Options { listen: "127.0.0.1:0".to_owned(), door });
    })
    .await;
    daybook.define(STORES).await;
    advance(&daybook, "2024-03-02T18:00:00Z").await;
    for (store, sales) in [
        ("zurich", [("2024-03-02T11:00:00Z", "ann", "1.00"), ("2024-03-01T11:00:00Z", "eve", "50.00")]),
        ("austin", [("2024-03-02T11:30:00Z", "ann", "2.00"), ("2024-03-02T12:00:00Z", "bob", "9.00")]),
        ("tokyo", [("2024-03-02T17:00:00Z", "cid", "4.50"), ("2024-03-02T11:00:00Z", "dan", "70.00")]),
    ] {
        for (number, (at, customer, total)) in sales.into_iter().enumerate() {
            daybook.publish(store, "sale", sale(&number.to_string(), at, customer, total).to_string()).await;
        }
    }
    daybook.settle().await;
    daybook
}

const ALL: &str = "sales revenue customers median";

fn figures_of(answer: &Answer) -> Vec<String> {
    shown(&answer.rows, ALL)
}

/// The group's figures, once the query service knows it.
async fn known(client: &Client, group: &str, view: &str) -> Answer {
    let id = tenant(group);
    eventually("the group", || async { client.query(&id, view, &Query::default()).await.ok() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_asked_like_a_tenant_and_its_tenants_by_their_own_days() {
    let daybook = stores().await;
    let client = &daybook.client;
    let today = known(client, "world", "takings").await;
    // Of today: Zurich's one sale, both of Austin, and the one of Tokyo's third of March. Ann is one customer.
    assert_eq!(figures_of(&today), ["4 16.50 3 2.00"], "{today:?}");
    assert_eq!(
        (today.tenant.as_str(), today.from.to_string(), today.to.to_string()),
        ("world", "2024-03-02".into(), "2024-03-03".into())
    );
    assert_eq!((today.day, today.coverage), (DayState::Open, Coverage::Complete));
    // By date: the second of March of each.
    let second = ask(client, "world", "takings", json!({"days": "2024-03-02"})).await;
    assert_eq!(figures_of(&second), ["4 82.00 3 2.00"], "{second:?}");
    let by_day = ask(client, "world", "takings", json!({"days": "2024-03-01..2024-03-03", "grain": "day"})).await;
    assert_eq!(shown(&by_day.rows, "day sales"), ["2024-03-01 1", "2024-03-02 4", "2024-03-03 1"]);
    let by_hour = ask(client, "north", "takings", json!({"grain": "hour", "metrics": ["sales"]})).await;
    assert_eq!(shown(&by_hour.rows, "time sales"), ["2024-03-02T11:00:00Z 2", "2024-03-02T12:00:00Z 1"]);
    let shelves = ask(client, "north", "shelves", json!({"days": "last_7_days"})).await;
    assert_eq!(shown(&shelves.rows, "shelf sales"), ["bread 4"]);
    // The same as its tenants alone say, where figures add up.
    assert_eq!(figures(&daybook, "zurich", "takings", "2024-03-02").await["sales"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_without_figures_are_named_and_what_a_group_has_not_is_refused() {
    let daybook = stores().await;
    let client = &daybook.client;
    known(client, "world", "takings").await;
    let of_one = ask(client, "world", "of_one", json!({})).await;
    assert_eq!(shown(&of_one.rows, "sales"), ["1"]);
    let Coverage::Missing { tenants } = of_one.coverage else { panic!("{:?}", of_one.coverage) };
    assert_eq!(tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["austin", "zurich"]);
    for (question, field) in [
        (json!({"watch": true}), "watch"),
        (json!({"at_least": 1}), "at_least"),
        (json!({"days": "season:hunt"}), "days"),
        (json!({"where": "shop = 'x'"}), "where"),
    ] {
        let error = refused(client, "world", "takings", question.clone()).await;
        assert_eq!(
            (error.code, error.field.as_deref()),
            (AskErrorCode::BadRequest, Some(field)),
            "{question}: {error}"
        );
    }
    assert_eq!(refused(client, "world", "nothing", json!({})).await.code, AskErrorCode::UnknownView);
    assert_eq!(refused(client, "world", "takings", json!({"days": "2020-01-01"})).await.code, AskErrorCode::UnknownDay);
    assert_eq!(refused(client, "nobody", "takings", json!({})).await.code, AskErrorCode::UnknownTenant);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_by_http_too_and_with_its_tenants() {
    let daybook = stores().await;
    let client = &daybook.client;
    known(client, "north", "takings").await;
    let web = Web::at(daybook.http().unwrap());
    let answer = web.get("/v1/tenants/north/views/takings?metrics=sales,customers").await;
    assert_eq!(answer.json()["rows"], json!([{"sales": 3, "customers": 2}]), "{answer:?}");
    // The position of a group is the least of its tenants', and its figures change with each of them.
    let mut tag = answer.header("etag").to_owned();
    for store in ["zurich", "austin"] {
        daybook.publish(store, "sale", sale("more", "2024-03-02T11:00:00Z", "zoe", "3.00").to_string()).await;
        let known = [("If-None-Match", tag.clone())];
        let known: Vec<_> = known.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = "/v1/tenants/north/views/takings?metrics=sales,customers";
        let look = || async { Some(web.request("GET", path, &known, b"").await).filter(|answer| answer.status == 200) };
        tag = eventually("other figures", look).await.header("etag").to_owned();
    }
    let views = web.get("/v1/tenants/north/views").await.json();
    assert_eq!((&views["tenant"], views["views"].as_array().map(Vec::len)), (&json!("north"), Some(2)), "{views}");
    for list in ["days", "reports", "reports/2024-03-01", "rejects", "position"] {
        let refused = web.get(&format!("/v1/tenants/north/{list}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad_request"), "{list}: {refused:?}");
    }
    let publishing = web.post("/v1/tenants/north/kinds/sale/events", "application/json", "{}").await;
    assert_eq!(publishing.code(), "unknown_tenant");

    let remove = |target: Target| Remove { target, dry_run: false, catalog_seen: None };
    let removed = client.remove(&remove(Target::Tenant { id: tenant("austin"), purge: false })).await.unwrap();
    assert_eq!(removed.groups, [tenant("north"), tenant("world")]);
    daybook.settle().await;
    let alone = || async {
        let answer = web.get("/v1/tenants/north/views/takings?metrics=sales").await.json();
        (answer["rows"] == json!([{"sales": 2}]) && answer["coverage"] == "complete").then_some(())
    };
    eventually("the group without the tenant", alone).await;
    let last = client.remove(&remove(Target::Tenant { id: tenant("zurich"), purge: false })).await;
    assert!(last.unwrap_err().to_string().contains("would have no tenant"));
    client.remove(&remove(Target::Group { id: tenant("north") })).await.unwrap();
    let gone = || async { (web.get("/v1/tenants/north/views/takings").await.status == 404).then_some(()) };
    eventually("the end of the group", gone).await;
}

/// What a reserved view says, in JSON.
async fn reserved(client: &Client, id: &str, view: &str) -> Asked<Value> {
    let subject = client.connection.subjects.query(id, view);
    let body = json!({"date": "2024-03-01"});
    let body = if view == "~report" { body.to_string() } else { String::new() };
    let reply = client.connection.client.request(subject, body.into()).await.unwrap();
    match reply.headers.is_some_and(|headers| headers.get(NATS_SERVICE_ERROR_CODE).is_some()) {
        true => Err(serde_json::from_slice(&reply.payload).unwrap()),
        false => Ok(serde_json::from_slice(&reply.payload).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_no_lists_whether_its_shards_are_there_or_not() {
    let mut daybook = Processes::start().await;
    let client = daybook.client.clone();
    define(&client, STORES).await;
    // It has been asked for nothing yet, and no shard knows its id.
    let waits = refused(&client, "world", "takings", json!({"at_least": 999_999_999})).await;
    assert_eq!((waits.code, waits.field.as_deref()), (AskErrorCode::BadRequest, Some("at_least")), "{waits}");
    for are_away in [false, true] {
        if are_away {
            daybook.process(Service::AggregatorShard).kill();
        }
        for view in ["~days", "~reports", "~report", "~rejects", "~position"] {
            let error = reserved(&client, "north", view).await.unwrap_err();
            assert_eq!(error.code, AskErrorCode::BadRequest, "{view}: {error}");
            assert!(error.message.contains("north is a group of tenants") && error.hint.is_some(), "{view}: {error:?}");
        }
        // A tenant's lists are there, also without its shard.
        for view in ["~reports", "~rejects"] {
            assert_eq!(reserved(&client, "zurich", view).await.unwrap()["tenant"], "zurich", "{view}");
        }
        let (views, position) =
            (reserved(&client, "north", "~views").await, reserved(&client, "zurich", "~position").await);
        assert_eq!((views.is_err(), position.is_err()), (are_away, are_away), "{views:?} {position:?}");
    }
    assert_eq!(refused(&client, "north", "takings", json!({})).await.code, AskErrorCode::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_found_soon_after_somebody_asked_for_it_in_vain() {
    let daybook = stores().await;
    let client = &daybook.client;
    for view in ["takings", "~views"] {
        assert_eq!(refused(client, "south", view, json!({})).await.code, AskErrorCode::UnknownTenant, "{view}");
    }
    daybook.define("groups: [{ id: south, tenants: [tokyo] }]").await;
    let defined = Instant::now();
    assert_eq!(shown(&known(client, "south", "takings").await.rows, "sales"), ["1"]);
    // It may be unknown for a second.
    assert!(defined.elapsed() < Duration::from_secs(10), "{:?}", defined.elapsed());
    // Nobody has to ask for it: it is not taken for what it was.
    daybook.define("groups: [{ id: south, tenants: [tokyo, zurich] }]").await;
    let both = || async {
        Some(known(client, "south", "takings").await).filter(|answer| shown(&answer.rows, "sales") == ["2"])
    };
    eventually("the group as it is now", both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_fails_alike_before_and_after_the_group_is_known() {
    let daybook = stores().await;
    let client = &daybook.client;
    for _ in 0..2 {
        for (question, field) in [
            (json!({"where": "shop = 'x'"}), "where"),
            (json!({"metrics": ["profit"]}), "metrics[0]"),
            (json!({"grain": "quarter_hour"}), "grain"),
        ] {
            let error = refused(client, "world", "takings", question.clone()).await;
            assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some(field)), "{question}");
        }
        // No question that was given up has counted against a shard.
        assert_eq!(figures(&daybook, "zurich", "takings", "2024-03-02").await["sales"], "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_means_one_thing() {
    let daybook = stores().await;
    for (yaml, why) in [
        ("groups: [{ id: zurich, tenants: [austin] }]", "is or was the id of a tenant"),
        ("groups: [{ id: south, tenants: [austin, nowhere] }]", "tenants that do not exist: nowhere"),
        ("groups: [{ id: south, tenants: [north] }]", "names the group north"),
        ("tenants: [{ id: north, zone: Etc/UTC, cutoff: \"00:00\" }]", "is or was the id of a group"),
    ] {
        let files = [("groups.yaml".into(), yaml.to_owned())];
        let definitions = daybook::definitions::load(&files, &[]).unwrap();
        let reply = daybook.client.apply(&definitions.apply).await.unwrap();
        let ApplyReply::Refused(refusals) = reply else { panic!("{yaml}") };
        assert!(refusals[0].reason.contains(why), "{yaml}: {refusals:?}");
    }
}

/// As many as a chain of restaurants has.
const CHAIN: usize = 457;

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_457_stores_is_one_question() {
    let daybook = Daybook::start().await;
    let ids: Vec<String> = (0..CHAIN).map(|number| format!("store-{number:03}")).collect();
    let tenants: String = ids
        .iter()
        .map(|id| {
            format!("  - {{ id: {id}, zone: Europe/Zurich, cutoff: '05:00', first_day: 2024-03-02, clock: shop }}\n")
        })
        .collect();
    let (definitions, _) = STORES.split_once("  - { name: of_one").unwrap();
    daybook.define(&format!("{definitions}tenants:\n{tenants}groups:\n  - {{ id: chain, tenants: {ids:?} }}\n")).await;
    advance(&daybook, "2024-03-02T18:00:00Z").await;
    for (number, id) in ids.iter().enumerate() {
        let sales: Value = (0..4)
            .map(|sold| sale(&sold.to_string(), "2024-03-02T11:00:00Z", &format!("c{}", number + sold), "2.50"))
            .collect();
        daybook.publish(id, "sale", sales.to_string()).await;
    }
    daybook.settle().await;
    let all = known(&daybook.client, "chain", "takings").await;
    let sales = 4 * CHAIN;
    assert_eq!(figures_of(&all), [format!("{sales} {}.00 {} 2.50", sales * 5 / 2, CHAIN + 3)]);
    assert_eq!(all.coverage, Coverage::Complete);
    let mut took = Vec::new();
    for limit in 1..=20 {
        let began = Instant::now();
        ask(&daybook.client, "chain", "takings", json!({ "limit": limit })).await;
        took.push(began.elapsed());
    }
    took.sort();
    println!("457 stores: {:?} in the middle, {:?} at most", took[took.len() / 2], took[took.len() - 1]);
    // Unoptimised and with nothing beside it: 5 ms in the middle, 10 ms at most. Here other tests run, too.
    assert!(took[0] < Duration::from_millis(500), "{took:?}");
}
