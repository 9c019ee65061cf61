//! A client of one tenant with nothing but its own account: commands and requests that need no JetStream, and requests that
//! are hostile, too large or for another tenant.

use async_nats::HeaderMap;
use async_nats::client::RequestErrorKind;
use daybook::asker::Asker;
use daybook::client::Client;
use daybook_contracts::ask::{AskError, AskErrorCode, DayAccount, Days};
use daybook_contracts::lists::{RejectList, ReportList, ViewList};
use daybook_contracts::reject::Reject;
use daybook_contracts::report::Report;
use daybook_domain::time::Date;
use daybook_tests::accounts::{SecuredDaybook, TENANT_PAYLOAD};
use daybook_tests::asking::{ask, tenant};
use daybook_tests::orders::{FIRST_DAY, NOON, advance_by, definitions, order};
use daybook_tests::reading::{define_shops, order as shop_order, publish};
use daybook_tests::{define, eventually, processes};
use futures::StreamExt;
use futures::future::join_all;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::process::Output;
use std::time::{Duration, Instant};

const TENANTS: [&str; 2] = ["acme", "evil"];

/// A shop whose tenants have opened their first day.
async fn shop() -> SecuredDaybook {
    let daybook = SecuredDaybook::start(&TENANTS, |_| {}).await;
    define(&daybook.client, &definitions(&TENANTS)).await;
    advance_by(&daybook.client, NOON).await;
    daybook
}

/// An event that is rejected for its time.
fn untimely(number: usize) -> Value {
    json!({"id": format!("bad-{number}"), "at": format!("not {number}"), "dims": {"channel": "web"}})
}

/// The answer or error of the query service to a request of acme's own client.
async fn request<T: DeserializeOwned>(client: &async_nats::Client, view: &str, body: Value) -> Result<T, AskError> {
    let subject = format!("daybook.query.acme.{view}");
    let reply = client.request(subject, body.to_string().into()).await.unwrap();
    match reply.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error-Code")) {
        Some(_) => Err(serde_json::from_slice(&reply.payload).unwrap()),
        None => Ok(serde_json::from_slice(&reply.payload).unwrap()),
    }
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(processes::command(&processes::binary("daybook")));
    command.args(arguments).args(["--nats", url]).kill_on_drop(true);
    tokio::time::timeout(daybook_tests::PATIENCE, command.output()).await.expect("the command ends").unwrap()
}

async fn printed(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn failed(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments).await;
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_tenant_need_no_jetstream() {
    let daybook = shop().await;
    let client = &daybook.client;
    publish(client, "acme", "order", json!([order("o-1"), order("o-2"), untimely(1)])).await;
    publish(client, "evil", "order", json!([order("e-1")])).await;
    advance_by(client, "2024-03-02T12:00:00Z").await;
    client.settle().await.unwrap();
    // A correction makes a second version.
    publish(client, "acme", "order", json!({"id": "o-1", "version": 2, "status": "void", "at": NOON})).await;
    client.settle().await.unwrap();

    let url = daybook.broker.tenant_url("acme");
    let answer: Value =
        serde_json::from_str(&printed(&url, &["query", "acme", "orders", "--days", FIRST_DAY, "--json"]).await)
            .unwrap();
    assert_eq!((&answer["rows"][0]["orders"], &answer["report"]), (&json!(1), &json!(2)));
    let days: Days = serde_json::from_str(&printed(&url, &["days", "acme", "--json"]).await).unwrap();
    assert_eq!(days.days.iter().map(|day| day.report).collect::<Vec<_>>(), [Some(2), None]);

    // The very bytes that were sealed.
    let newest = client.report(&tenant("acme"), FIRST_DAY.parse().unwrap()).await.unwrap().unwrap();
    let report = printed(&url, &["report", "acme", FIRST_DAY, "--json"]).await;
    assert_eq!(report.trim_end().as_bytes(), newest.payload);
    let first: Report =
        serde_json::from_str(&printed(&url, &["report", "acme", FIRST_DAY, "--version", "1", "--json"]).await).unwrap();
    assert_eq!((first.version, newest.report.version), (1, 2));
    assert!(printed(&url, &["report", "acme", FIRST_DAY]).await.contains(&newest.hash));
    let reports = printed(&url, &["reports", "--tenant", "acme", "--format", "ndjson"]).await;
    assert_eq!(reports.trim_end().as_bytes(), newest.payload);
    assert!(printed(&url, &["reports", "--tenant", "acme"]).await.contains(FIRST_DAY));
    let rejects: Vec<Reject> = serde_json::from_str(&printed(&url, &["rejects", "acme", "--json"]).await).unwrap();
    assert_eq!(rejects.iter().map(|reject| reject.field.as_deref()).collect::<Vec<_>>(), [Some("at")]);

    let watching = run(&url, &["watch", "acme", "orders", "--updates", "1", "--json"]);
    let publishing = async {
        for number in 0.. {
            let order = json!({"id": format!("w-{number}"), "at": "2024-03-02T11:00:00Z"});
            publish(client, "acme", "order", order).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let watched = tokio::select! {
        watched = watching => watched,
        () = publishing => unreachable!("it has no end"),
    };
    assert!(watched.status.success(), "{}", String::from_utf8_lossy(&watched.stderr));
    assert_eq!(daybook.broker.violations(), Vec::<String>::new(), "nothing else was tried");

    for (arguments, expected) in [
        (&["report", "acme", "2024-03-02"][..], "no sealed report of 2024-03-02"),
        (&["report", "acme", FIRST_DAY, "--version", "9"], "the newest is 2"),
        (&["query", "acme", "clics"], "clicks"),
        (&["watch", "acme", "nothing"], "there are clicks, orders"),
        (&["reports"], "name a tenant with --tenant"),
        (&["rejects"], "name a tenant to see its own"),
        // The broker drops what a user may not ask.
        (&["days", "evil"], "credentials for tenant evil"),
    ] {
        let error = failed(&url, arguments).await;
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_another_tenant_are_refused_by_the_broker() {
    let daybook = shop().await;
    publish(&daybook.client, "evil", "order", untimely(1)).await;
    daybook.client.settle().await.unwrap();
    let acme = daybook.broker.connect("acme").await;
    for subject in
        ["daybook.query.evil.~rejects", "daybook.query.evil.orders", "daybook.admin.catalogue", "$JS.API.INFO"]
    {
        let request = async_nats::Request::new().timeout(Some(Duration::from_millis(500)));
        let error = acme.send_request(subject, request).await.unwrap_err();
        assert_eq!(error.kind(), RequestErrorKind::TimedOut, "{subject}");
        assert!(daybook.broker.violations().iter().any(|line| line.contains(subject)), "{subject}");
    }
    let own = daybook.asker("evil").await.rejects(&tenant("evil"), 10).await.unwrap();
    assert_eq!((own.0.len(), own.1), (1, false));
    let views: ViewList = request(&acme, "~views", Value::Null).await.unwrap();
    let columns = |index: usize| {
        let view = &views.views[index];
        (view.name.to_string(), view.dimensions.len(), view.metrics.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(columns(0), ("clicks".to_owned(), 0, vec!["clicks".to_owned()]));
    assert_eq!(columns(1).2, ["orders", "drafts", "quantity", "amount"]);
    daybook.stop().await;
}

/// The numbers of the rejects that [`untimely`] events have made.
fn numbers(rejects: &[Reject]) -> Vec<usize> {
    let number = |reject: &Reject| {
        let original: Value = serde_json::from_slice(reject.original.bytes()).unwrap();
        original["id"].as_str().unwrap().strip_prefix("bad-").unwrap().parse().unwrap()
    };
    rejects.iter().map(number).collect()
}

async fn reject_page(client: &async_nats::Client, limit: u32, cursor: Option<&str>) -> RejectList {
    request(client, "~rejects", json!({"limit": limit, "cursor": cursor})).await.unwrap()
}

/// All rejects, page by page back from the newest; `before_page` runs before each request.
async fn all_rejects(client: &async_nats::Client, limit: u32, mut before_page: impl AsyncFnMut()) -> Vec<usize> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        before_page().await;
        let page = reject_page(client, limit, cursor.as_deref()).await;
        assert!(page.rejects.len() <= limit as usize && !page.missed);
        found.splice(0..0, numbers(&page.rejects));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_paged_in_both_directions_while_new_ones_come() {
    const OLD: usize = 40;
    let daybook = shop().await;
    let client = &daybook.client;
    let acme = daybook.broker.connect("acme").await;
    let empty = reject_page(&acme, 10, None).await;
    assert!(empty.rejects.is_empty() && empty.next.is_none());
    let add = async |numbers: std::ops::Range<usize>, size: usize| {
        let bad: Vec<Value> = numbers.map(untimely).collect();
        for batch in bad.chunks(size) {
            publish(client, "acme", "order", batch.into()).await;
            publish(client, "evil", "order", batch.into()).await;
        }
        client.settle().await.unwrap();
    };
    // Messages of several rejects, and of one.
    add(0..25, 7).await;
    add(25..OLD, 1).await;
    let mut next = OLD;
    for limit in [1, 3, 7, 1_000] {
        let mut published = next;
        let found = all_rejects(&acme, limit, async || {
            if published < next + 5 {
                add(published..published + 1, 1).await;
                published += 1;
            }
        })
        .await;
        // What came before the first page, once each and in order; what came later is not mixed in.
        assert_eq!(found, (0..next + 1).collect::<Vec<_>>(), "limit {limit}");
        next = published;
    }

    // On from the beginning, and from there whenever something new may have come.
    let (mut found, mut cursor) = (Vec::new(), empty.newer);
    loop {
        let page = reject_page(&acme, 6, Some(&cursor)).await;
        assert!(!page.missed);
        found.extend(numbers(&page.rejects));
        cursor = page.newer;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(found, (0..next).collect::<Vec<_>>());
    assert!(reject_page(&acme, 6, Some(&cursor)).await.rejects.is_empty());
    add(next..next + 2, 2).await;
    assert_eq!(numbers(&reject_page(&acme, 6, Some(&cursor)).await.rejects), [next, next + 1]);
    let newest = reject_page(&acme, 1, None).await;
    assert_eq!(numbers(&newest.rejects), [next + 1]);
    assert!(reject_page(&acme, 1, Some(&newest.newer)).await.rejects.is_empty());
    let two = daybook.asker("acme").await.rejects(&tenant("acme"), 2).await.unwrap();
    assert_eq!((numbers(&two.0), two.1), (vec![next, next + 1], true));
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_that_were_dropped_are_told_from_those_that_are_left() {
    let daybook = shop().await;
    let client = &daybook.client;
    let acme = daybook.broker.connect("acme").await;
    for number in 0..6 {
        publish(client, "acme", "order", untimely(number)).await;
        client.settle().await.unwrap();
    }
    let middle = reject_page(&acme, 3, None).await;
    let older = middle.next.clone().unwrap();
    let behind_second = reject_page(&acme, 2, Some(&older)).await.next.unwrap();
    let stream = client.connection.jetstream.get_stream("DAYBOOK_REJECTS").await.unwrap();
    // As a stream that is full does.
    stream.purge().keep(2).await.unwrap();
    assert_eq!(all_rejects(&acme, 1, async || {}).await, [4, 5]);
    assert_eq!(numbers(&reject_page(&acme, 9, Some(&middle.newer)).await.rejects), [0; 0]);
    for dropped in [&older, &behind_second] {
        let page = reject_page(&acme, 9, Some(dropped)).await;
        assert!(page.rejects.is_empty() && page.next.is_none());
        let page = reject_page(&acme, 9, Some(&page.newer)).await;
        assert_eq!((numbers(&page.rejects), page.missed), (vec![4, 5], true), "the reader has missed some");
    }
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_refused_and_show_nothing_of_others() {
    let daybook = shop().await;
    let client = &daybook.client;
    for number in 0..4 {
        publish(client, "acme", "order", untimely(number)).await;
        publish(client, "evil", "order", untimely(100 + number)).await;
    }
    advance_by(client, "2024-03-04T12:00:00Z").await;
    client.settle().await.unwrap();
    let (acme, evil) = (daybook.broker.connect("acme").await, daybook.broker.connect("evil").await);
    let of_evil: Value = {
        let reply = evil.request("daybook.query.evil.~rejects", r#"{"limit":1}"#.into()).await.unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    };
    let own = reject_page(&acme, 1, None).await.next.unwrap();
    let days: Days = request(&acme, "~days", json!({"limit": 1})).await.unwrap();
    for (view, body, field) in [
        ("~rejects", json!({"cursor": of_evil["next"]}), "cursor"),
        ("~rejects", json!({"cursor": of_evil["newer"]}), "cursor"),
        ("~rejects", json!({"cursor": "e30"}), "cursor"),
        ("~rejects", json!({"cursor": "A".repeat(60_000)}), "cursor"),
        ("~rejects", json!({"cursor": days.next}), "cursor"),
        ("~rejects", json!({"limit": 0}), "limit"),
        ("~rejects", json!({"limit": 4_000_000_000_u32}), "limit"),
        ("~rejects", json!({"limit": 1e30}), "limit"),
        ("~rejects", json!({"from": 1}), "from"),
        ("~days", json!({"limit": 1_001}), "limit"),
        ("~days", json!({"cursor": own}), "cursor"),
        ("~days", json!({"cursor": days.next, "to": "2024-03-03"}), "cursor"),
        ("~days", json!({"from": "2024-03-03", "to": "2024-03-01"}), "to"),
        ("~reports", json!({"cursor": days.next}), "cursor"),
        ("~reports", json!({"from": "yesterday"}), "from"),
        ("~report", json!({}), "date"),
        ("~report", json!({"date": "2024-02-30"}), "date"),
        ("~report", json!({"date": FIRST_DAY, "version": -1}), "version"),
    ] {
        let error = request::<Value>(&acme, view, body.clone()).await.unwrap_err();
        assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some(field)), "{view} {body}");
    }
    let error = request::<Value>(&acme, "~reject", Value::Null).await.unwrap_err();
    assert_eq!((error.code, error.hint.as_deref()), (AskErrorCode::UnknownView, Some("did you mean ~rejects?")));

    // A forged place in the stream, with the right hash: nothing but its own rejects, whoever's message is there.
    let mut token: Value = serde_json::from_slice(&decode(&own)).unwrap();
    for place in ["before", "behind"] {
        for sequence in [0, 1, 2, 3, 4, 5, 6, 7, 8, u64::MAX - 1, u64::MAX] {
            for count in [0_u32, 1, 7, u32::MAX - 1, u32::MAX] {
                token["at"] = json!({ place: [sequence, count] });
                let page = reject_page(&acme, 9, Some(&encode(&token))).await;
                assert!(page.rejects.iter().all(|reject| reject.tenant == "acme"), "{token}");
                assert!(numbers(&page.rejects).is_sorted(), "{token}");
            }
        }
    }
    // In MessagePack the same, with the same errors.
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/msgpack");
    let packed = |value: Value| rmp_serde::to_vec_named(&value).unwrap();
    let ask = async |view: &str, body: Value| {
        let subject = format!("daybook.query.acme.{view}");
        acme.request_with_headers(subject, headers.clone(), packed(body).into()).await.unwrap()
    };
    let reply = ask("~reports", json!({"from": FIRST_DAY, "limit": 2})).await;
    let list: Value = rmp_serde::from_slice(&reply.payload).unwrap();
    let by_json: Value = request(&acme, "~reports", json!({"from": FIRST_DAY, "limit": 2})).await.unwrap();
    assert_eq!((&list["next"], &list["reports"][1]["hash"]), (&by_json["next"], &by_json["reports"][1]["hash"]));
    assert_eq!(list["reports"][1]["date"], json!("2024-03-03".parse::<Date>().unwrap().as_days()));
    let error: AskError = rmp_serde::from_slice(&ask("~reports", json!({"limit": 0})).await.payload).unwrap();
    assert_eq!(error.field.as_deref(), Some("limit"));
    let reply = ask("~report", json!({"date": FIRST_DAY})).await;
    assert_eq!(reply.headers.unwrap().get("Content-Type").unwrap().as_str(), "application/json");
    let report: Report = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(report.version, 1);
    let packed = ask("~rejects", json!({"limit": 1})).await.payload;
    assert_eq!(rmp_serde::from_slice::<RejectList>(&packed).unwrap(), reject_page(&acme, 1, None).await);
    daybook.stop().await;
}

fn decode(cursor: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).unwrap()
}

fn encode(token: &Value) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string())
}

/// All rows of a list by date, page by page back from the newest.
async fn all_dates<T>(
    client: &async_nats::Client,
    view: &str,
    limit: u32,
    rows: impl Fn(Value) -> (Vec<T>, Option<String>),
) -> Vec<T> {
    let (mut found, mut cursor): (Vec<T>, Option<String>) = (Vec::new(), None);
    loop {
        let (page, next) = rows(request(client, view, json!({"limit": limit, "cursor": cursor})).await.unwrap());
        assert!(page.len() <= limit as usize);
        found.splice(0..0, page);
        match next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_and_reports_are_paged_over_what_the_shard_keeps_and_what_it_does_not() {
    let daybook = shop().await;
    let client = &daybook.client;
    publish(client, "acme", "order", json!([order("o-1")])).await;
    // Farther than the shard keeps days.
    advance_by(client, "2024-04-20T12:00:00Z").await;
    client.settle().await.unwrap();
    let acme = daybook.broker.connect("acme").await;
    let days = |page: Value| {
        let page: Days = serde_json::from_value(page).unwrap();
        (page.days, page.next)
    };
    let entries = |page: Value| {
        let page: ReportList = serde_json::from_value(page).unwrap();
        (page.reports, page.next)
    };
    let whole: Vec<DayAccount> = all_dates(&acme, "~days", 1_000, days).await;
    let sealed = whole.iter().filter(|day| day.report.is_some()).count();
    assert!(whole.is_sorted_by_key(|day| day.date) && sealed == 50 && whole.len() > sealed, "{sealed}");
    assert!(whole[0].as_reported && whole[0].account.counted == 1 && !whole[sealed - 1].as_reported);
    let reports = all_dates(&acme, "~reports", 1_000, entries).await;
    assert_eq!(reports.len(), sealed);
    for limit in [1, 7, 36, 50, 51] {
        assert_eq!(all_dates(&acme, "~days", limit, days).await, whole, "limit {limit}");
        assert_eq!(all_dates(&acme, "~reports", limit, entries).await, reports, "limit {limit}");
    }
    let range = json!({"from": "2024-03-02", "to": "2024-04-01", "limit": 5});
    let page: Days = request(&acme, "~days", range.clone()).await.unwrap();
    assert_eq!(page.days, whole[27..32], "the newest of the range");
    let page: ReportList = request(&acme, "~reports", range).await.unwrap();
    assert_eq!(page.reports, reports[27..32]);
    for entry in &reports {
        let sealed = daybook.asker("acme").await.report(&tenant("acme"), entry.date, None).await.unwrap();
        assert_eq!((&sealed.hash, sealed.payload.len() as u64), (&entry.hash, entry.bytes));
        let stored = client.report(&tenant("acme"), entry.date).await.unwrap().unwrap();
        assert_eq!(stored.payload, sealed.payload);
    }
    assert!(request::<Days>(&acme, "~days", json!({"to": "2024-02-01"})).await.unwrap().days.is_empty());
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_a_report_is_found() {
    const VERSIONS: u32 = 12;
    let daybook = shop().await;
    let client = &daybook.client;
    for id in TENANTS {
        publish(client, id, "order", json!([order("o-1")])).await;
    }
    advance_by(client, "2024-03-02T12:00:00Z").await;
    client.settle().await.unwrap();
    let list = async |asker: &Asker| {
        asker.reports(&tenant("acme"), Date::MIN, Date::MAX).await.unwrap().pop().map(|entry| entry.version)
    };
    let (acme, day) = (daybook.asker("acme").await, FIRST_DAY.parse().unwrap());
    for version in 2..=VERSIONS {
        assert_eq!(list(&acme).await, Some(version - 1), "the list knows at once");
        for id in TENANTS {
            let order = json!([{"id": "o-1", "version": version, "at": NOON, "measures": {"quantity": version}}]);
            publish(client, id, "order", order).await;
        }
        client.settle().await.unwrap();
    }
    assert_eq!(list(&acme).await, Some(VERSIONS));
    let mut before = None;
    for version in 1..=VERSIONS {
        let sealed = acme.report(&tenant("acme"), day, Some(version)).await.unwrap();
        assert_eq!((sealed.report.version, sealed.report.supersedes.map(|old| old.hash)), (version, before));
        before = Some(sealed.hash);
    }
    let refused = async |version| acme.report(&tenant("acme"), day, Some(version)).await.err().unwrap();
    for version in [0, VERSIONS + 1, u32::MAX] {
        let error = refused(version).await;
        assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::UnknownDay, Some("version")), "{error}");
    }
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_retention_has_deleted_is_told_from_one_that_never_was() {
    let daybook =
        SecuredDaybook::start(&TENANTS, |options| options.shard.report_retention = "2s".parse().unwrap()).await;
    let client = &daybook.client;
    define(client, &definitions(&TENANTS)).await;
    advance_by(client, NOON).await;
    publish(client, "acme", "order", json!([order("o-1")])).await;
    advance_by(client, "2024-03-03T12:00:00Z").await;
    client.settle().await.unwrap();
    let (acme, id) = (daybook.asker("acme").await, tenant("acme"));
    let day: Date = FIRST_DAY.parse().unwrap();
    let error = eventually("the deletion", || async { acme.report(&id, day, None).await.err() }).await;
    assert_eq!((error.code, error.code.number()), (AskErrorCode::PastRetention, 410), "{error}");
    let code = async |date: &str| acme.report(&id, date.parse().unwrap(), None).await.err().map(|error| error.code);
    // Asked for again it is known from before, and a later day that has closed since is known as well.
    assert_eq!(code(FIRST_DAY).await, Some(AskErrorCode::PastRetention));
    advance_by(client, "2024-03-04T12:00:00Z").await;
    client.settle().await.unwrap();
    eventually("the next deletion", || async {
        (code("2024-03-03").await == Some(AskErrorCode::PastRetention)).then_some(())
    })
    .await;
    for never in ["2024-02-20", "2024-03-04", "2030-01-01"] {
        assert_eq!(code(never).await, Some(AskErrorCode::UnknownDay), "{never}");
    }
    eventually("an empty list", || async {
        acme.reports(&id, Date::MIN, Date::MAX).await.unwrap().is_empty().then_some(())
    })
    .await;
    // The shard still has the figures.
    assert_eq!(ask(client, "acme", "orders", json!({"days": FIRST_DAY})).await.rows.len(), 1);
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_longer_than_a_message_may_be_gets_a_clear_answer() {
    let mut daybook = SecuredDaybook::start(&TENANTS, |_| {}).await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance_by(&client, NOON).await;
    let cities: Vec<Value> =
        (0..1_500).map(|n| shop_order(&format!("o-{n}"), 1, "web", &format!("{n:0>250}"), n)).collect();
    for batch in cities.chunks(250) {
        publish(&client, "acme", "order", batch.into()).await;
    }
    advance_by(&client, "2024-03-02T12:00:00Z").await;
    client.settle().await.unwrap();
    let (acme, id) = (daybook.asker("acme").await, tenant("acme"));
    let day: Date = FIRST_DAY.parse().unwrap();
    let entry = acme.reports(&id, day, day).await.unwrap().pop().unwrap();
    assert!(entry.bytes > 8 * u64::from(TENANT_PAYLOAD), "{} bytes", entry.bytes);
    // The limit of the tenant's account binds what it publishes, not what it is sent.
    let sealed = acme.report(&id, day, None).await.unwrap();
    assert_eq!((sealed.payload.len() as u64, &sealed.hash), (entry.bytes, &entry.hash));

    daybook.broker.restart(4 * TENANT_PAYLOAD).await;
    let error = eventually("an answer of the other broker", || async {
        let error = acme.report(&id, day, None).await.err()?;
        (error.code != AskErrorCode::Unavailable).then_some(error)
    })
    .await;
    assert_eq!((error.code, error.code.number()), (AskErrorCode::TooLarge, 413), "{error}");
    let limit = (4 * TENANT_PAYLOAD).to_string();
    assert!(error.message.contains(&limit) && error.hint.as_ref().unwrap().contains("max_payload"), "{error}");
    assert_eq!(acme.reports(&id, day, day).await.unwrap(), [entry], "the list is short enough");
    daybook.stop().await;
}

/// Publishes a message that no service writes, on a subject that only the services' account may use.
async fn forge(client: &Client, subject: &str, headers: HeaderMap, payload: impl Into<bytes::Bytes>) {
    let sent = client.connection.jetstream.publish_with_headers(subject.to_owned(), headers, payload.into()).await;
    sent.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_service_wrote_is_skipped() {
    let daybook = shop().await;
    let client = &daybook.client;
    let acme = daybook.asker("acme").await;
    let bad = async |number| {
        publish(client, "acme", "order", untimely(number)).await;
        client.settle().await.unwrap();
    };
    let rejects = async || numbers(&acme.rejects(&tenant("acme"), 100).await.unwrap().0);
    let of_evil = {
        publish(client, "evil", "order", untimely(99)).await;
        client.settle().await.unwrap();
        let stored = client.connection.jetstream.get_stream("DAYBOOK_REJECTS").await.unwrap();
        stored.direct_get_last_for_subject("daybook.rejects.evil").await.unwrap().payload
    };
    forge(client, "daybook.rejects.acme", HeaderMap::new(), "no rejects").await;
    assert_eq!(rejects().await, [0; 0]);
    bad(1).await;
    forge(client, "daybook.rejects.acme", HeaderMap::new(), of_evil).await;
    let mut lying = HeaderMap::new();
    lying.insert("Nats-Expected-Last-Subject-Sequence", "0");
    lying.insert("Nats-Expected-Last-Subject-Sequence-Subject", "daybook.rejects.nobody");
    forge(client, "daybook.rejects.acme", lying, "{}").await;
    bad(2).await;
    forge(client, "daybook.rejects.acme", HeaderMap::new(), r#"{"log":1,"rejects":[]}"#).await;
    assert_eq!(rejects().await, [1, 2]);
    let client_of_acme = daybook.broker.connect("acme").await;
    assert_eq!(all_rejects(&client_of_acme, 1, async || {}).await, [1, 2]);

    publish(client, "acme", "order", json!([order("o-1")])).await;
    advance_by(client, "2024-03-02T12:00:00Z").await;
    client.settle().await.unwrap();
    let (id, day) = (tenant("acme"), FIRST_DAY.parse().unwrap());
    let reports = client.connection.jetstream.get_stream("DAYBOOK_REPORTS").await.unwrap();
    let true_report = reports.direct_get_last_for_subject(format!("daybook.reports.acme.{FIRST_DAY}")).await.unwrap();
    let of_evil = reports.direct_get_last_for_subject(format!("daybook.reports.evil.{FIRST_DAY}")).await.unwrap();
    let subject = format!("daybook.reports.acme.{FIRST_DAY}");
    let copied = |headers: &HeaderMap| {
        let mut copied = HeaderMap::new();
        for name in ["Daybook-Hash", "Daybook-Position"] {
            copied.insert(name, headers.get(name).unwrap().clone());
        }
        copied
    };
    let list = async || {
        let reports = acme.reports(&id, Date::MIN, Date::MAX).await.unwrap();
        reports.iter().map(|entry| (entry.date.to_string(), entry.version)).collect::<Vec<_>>()
    };
    for round in 0..2 {
        forge(client, &subject, HeaderMap::new(), "{}").await;
        forge(client, &subject, copied(&of_evil.headers), of_evil.payload.clone()).await;
        forge(client, &subject, copied(&true_report.headers), "{\"changed\":true}").await;
        // The report of a day under the next one, with headers and all.
        forge(client, "daybook.reports.acme.2024-03-02", copied(&true_report.headers), true_report.payload.clone())
            .await;
        forge(client, "daybook.reports.acme.no-day", HeaderMap::new(), "{}").await;
        assert_eq!(list().await, [(FIRST_DAY.to_owned(), 1)], "round {round}");
        for version in [None, Some(1)] {
            assert_eq!(acme.report(&id, day, version).await.unwrap().payload, true_report.payload);
        }
        let error = acme.report(&id, "2024-03-02".parse().unwrap(), None).await.err().unwrap();
        assert_eq!(error.code, AskErrorCode::UnknownDay);
    }
    let days = acme.days(&id).await.unwrap().days;
    assert_eq!(days.iter().map(|day| day.report).collect::<Vec<_>>(), [Some(1), None]);
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_tenant_holds_up_no_other() {
    const FLOOD: usize = 400;
    let daybook = shop().await;
    let client = &daybook.client;
    for number in 0..300 {
        publish(client, "acme", "order", untimely(number)).await;
    }
    publish(client, "evil", "order", untimely(0)).await;
    advance_by(client, "2024-03-04T12:00:00Z").await;
    client.settle().await.unwrap();
    let acme = daybook.broker.connect("acme").await;
    let flood = join_all((0..FLOOD).map(|number| {
        let limit = 1_000 - number as u32;
        let acme = acme.clone();
        async move {
            let reply = request::<RejectList>(&acme, "~rejects", json!({ "limit": limit })).await;
            reply.map(|page| page.rejects.len())
        }
    }));
    let others = async {
        let evil = daybook.asker("evil").await;
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(evil.rejects(&tenant("evil"), 10).await.unwrap().0.len(), 1);
            assert_eq!(evil.reports(&tenant("evil"), Date::MIN, Date::MAX).await.unwrap().len(), 3);
            assert_eq!(evil.days(&tenant("evil")).await.unwrap().days.len(), 4);
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (flood, slowest) = tokio::join!(flood, others);
    let codes: Vec<AskErrorCode> = flood.iter().filter_map(|outcome| Some(outcome.as_ref().err()?.code)).collect();
    assert!(codes.contains(&AskErrorCode::Busy), "some are refused at once");
    // On a busy machine those that wait may wait for too long.
    let is_expected = |code: &AskErrorCode| matches!(code, AskErrorCode::Busy | AskErrorCode::Unavailable);
    assert!(codes.iter().all(is_expected), "{codes:?}");
    let answered = flood.iter().flatten().collect::<Vec<_>>();
    assert!(!answered.is_empty() && answered.iter().all(|rows| **rows > 0), "{answered:?}");
    // 128 may wait. Without that bound all 256 questions of the tenant would, and read at the same time: the other tenant
    // waited more than a second then, and 26 ms with it.
    assert!(answered.len() < 200, "{} were answered", answered.len());
    assert!(slowest < Duration::from_secs(1), "another tenant waited {slowest:?}");
    daybook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broadcast_comes_to_its_tenant_only() {
    let daybook = shop().await;
    let client = &daybook.client;
    let acme = daybook.broker.connect("acme").await;
    let mut heard = acme.subscribe("daybook.days.acme.*").await.unwrap();
    let mut reports = acme.subscribe("daybook.reports.acme.*").await.unwrap();
    let mut rejects = acme.subscribe("daybook.rejects.acme").await.unwrap();
    acme.flush().await.unwrap();
    let payload = json!([order("o-1"), untimely(1)]).to_string();
    let jetstream = async_nats::jetstream::new(acme.clone());
    let ack = jetstream.publish("daybook.in.acme.order", payload.into()).await.unwrap().await.unwrap();
    let rejected: Value = serde_json::from_slice(&rejects.next().await.unwrap().payload).unwrap();
    assert_eq!(rejected["rejects"][0]["inbox"], ack.sequence);
    advance_by(client, "2024-03-02T12:00:00Z").await;
    assert!(heard.next().await.unwrap().subject.starts_with("daybook.days.acme."));
    assert_eq!(reports.next().await.unwrap().subject.as_str(), format!("daybook.reports.acme.{FIRST_DAY}"));
    assert_eq!(daybook.broker.violations(), Vec::<String>::new());
    daybook.stop().await;
}
