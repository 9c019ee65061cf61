//! Advice that works: each reject and error below says what to do. The test does that, and it helps.

use daybook::definitions;
use daybook_domain::ids::TenantId;
use daybook_domain::time::{Date, Instant};
use daybook_tests::asking::{ask, refused};
use daybook_tests::orders::{self, NOON, account, order, rejects_of};
use daybook_tests::{Daybook, eventually};
use serde_json::{Value, json};
use std::path::PathBuf;

/// An event that is a reject, the words of the reason that say what to do, and the event after doing it.
struct Event {
    kind: &'static str,
    wrong: Value,
    advice: &'static str,
    mended: Value,
}

fn event(kind: &'static str, wrong: Value, advice: &'static str, mended: Value) -> Event {
    Event { kind, wrong, advice, mended }
}

fn click(id: &str, ms: i64) -> Value {
    json!({"id": id, "at": NOON, "dims": {"page": "/"}, "measures": {"ms": ms}})
}

/// The order or click with other values, by JSON pointer.
fn with(mut event: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        match event.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => drop(event.as_object_mut().unwrap().insert(pointer[1..].to_owned(), value.clone())),
        }
    }
    event
}

fn without(mut event: Value, field: &str) -> Value {
    event.as_object_mut().unwrap().remove(field).unwrap();
    event
}

/// `known` is an order of version 3 and a click, both counted.
fn events() -> Vec<Event> {
    let changed =
        |version: u64| with(order("known"), &[("/version", json!(version)), ("/measures/quantity", json!(2))]);
    vec![
        event("order", changed(3), "publish a correction with a higher version", changed(4)),
        event("click", click("known", 2), "publish another fact under an id of its own", click("other", 2)),
        event(
            "click",
            with(click("a", 1), &[("/status", json!("draft"))]),
            "a fact, which is always final",
            with(click("a", 1), &[("/status", json!("final"))]),
        ),
        event(
            "order",
            with(order("b"), &[("/at", json!("2024-02-28T12:00:00Z"))]),
            "publish events from that day on",
            with(order("b"), &[("/at", json!("2024-03-01T00:00:00Z"))]),
        ),
        event("order", without(order("c"), "at"), "at is missing", order("c")),
        event(
            "order",
            with(without(order("d"), "measures"), &[("/quantity", json!(1))]),
            r#"put it inside, as in {"measures": {"quantity": …}}"#,
            with(order("d"), &[("/measures", json!({"quantity": 1}))]),
        ),
        event(
            "order",
            with(order("e"), &[("/measures", json!({"weight": 1}))]),
            "leave it out",
            with(order("e"), &[("/measures", json!({}))]),
        ),
        event(
            "order",
            with(order("f"), &[("/measures/quantity", json!("many"))]),
            "number",
            with(order("f"), &[("/measures/quantity", json!("3"))]),
        ),
        event(
            "order",
            with(order("g"), &[("/id", json!(""))]),
            "use 1 to 256",
            with(order("g"), &[("/id", json!("g"))]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reject_says_helps() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    daybook.publish("acme", "order", with(order("known"), &[("/version", json!(3))]).to_string()).await;
    daybook.publish("acme", "click", click("known", 1).to_string()).await;
    for Event { kind, wrong, advice, mended } in events() {
        daybook.publish("acme", kind, wrong.to_string()).await;
        daybook.settle().await;
        let reason = rejects_of(&daybook, "acme").await.last().unwrap().reason.clone();
        assert!(reason.contains(advice), "{wrong}: {reason}");
        let before = account(&daybook, "acme").await;
        daybook.publish("acme", kind, mended.to_string()).await;
        daybook.settle().await;
        let after = account(&daybook, "acme").await;
        assert_eq!((after.counted, after.rejected), (before.counted + 1, before.rejected), "{reason}: {mended}");
    }
}

/// A tenant without days that have opened: only that makes the advice about its first day possible.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_day_moves_as_the_reject_says() {
    let daybook = Daybook::start().await;
    orders::define_tenants(&daybook, &["acme"]).await;
    let early = with(order("early"), &[("/at", json!("2024-02-28T12:00:00Z"))]);
    daybook.publish("acme", "order", early.to_string()).await;
    daybook.settle().await;
    let reason = rejects_of(&daybook, "acme").await[0].reason.clone();
    assert!(
        reason.contains("move first_day with `daybook apply`, which is possible until a day of acme opens"),
        "{reason}"
    );
    daybook.define(&orders::definitions(&["acme"]).replace(orders::FIRST_DAY, "2024-02-28")).await;
    daybook.publish("acme", "order", early.to_string()).await;
    daybook.settle().await;
    assert_eq!(account(&daybook, "acme").await.counted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_far_ahead_counts_after_the_clock_is_driven() {
    let daybook = Daybook::start().await;
    daybook.define(&orders::definitions(&["acme"]).replace("max_ahead: 8784h", "max_ahead: 24h")).await;
    orders::advance(&daybook, NOON).await;
    let ahead = with(order("ahead"), &[("/at", json!("2024-03-04T12:00:00Z"))]);
    daybook.publish("acme", "order", ahead.to_string()).await;
    daybook.settle().await;
    let reason = rejects_of(&daybook, "acme").await[0].reason.clone();
    assert!(reason.contains("drive the clock shop on first"), "{reason}");
    orders::advance(&daybook, "2024-03-04T00:00:00Z").await;
    daybook.publish("acme", "order", ahead.to_string()).await;
    daybook.settle().await;
    assert_eq!(account(&daybook, "acme").await.counted, 1);
}

/// An event of a day that is over or closed, and the difference as an event of its own on the open day.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_for_its_day_counts_on_the_open_one() {
    let daybook = Daybook::start().await;
    let firm = "views: [{ name: firm, kind: click, late: reject, metrics: [clicks: count] }]";
    daybook
        .define(
            &orders::definitions(&["acme"])
                .replace("  - name: clicks\n    kind: click", "  - name: clicks\n    kind: order"),
        )
        .await;
    daybook.define(firm).await;
    orders::advance(&daybook, NOON).await;
    orders::advance(&daybook, "2024-04-20T12:00:00Z").await;
    let on = |event: Value, at: &str| with(event, &[("/at", json!(at))]);
    for (kind, code, wrong, mended) in [
        ("order", "day_expired", order("old"), on(order("difference"), "2024-04-20T12:00:00Z")),
        ("click", "late", on(click("late", 1), "2024-04-19T12:00:00Z"), on(click("other", 1), "2024-04-20T12:00:00Z")),
    ] {
        daybook.publish("acme", kind, wrong.to_string()).await;
        daybook.settle().await;
        let reject = rejects_of(&daybook, "acme").await.pop().unwrap();
        assert_eq!((reject.code.as_str(), reject.field.as_deref()), (code, Some("at")), "{}", reject.reason);
        let advice =
            "publish the difference as an event of its own, with another id and a time of the open day 2024-04-20";
        assert!(reject.reason.contains(advice), "{}", reject.reason);
        let before = account(&daybook, "acme").await;
        daybook.publish("acme", kind, mended.to_string()).await;
        daybook.settle().await;
        let after = account(&daybook, "acme").await;
        assert_eq!((after.counted, after.rejected), (before.counted + 1, before.rejected), "{}", reject.reason);
    }
}

/// A later version of an order whose day is over for good, and the difference as an order of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_id_of_an_expired_day_counts_under_another_id() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    daybook.publish("acme", "order", order("old").to_string()).await;
    orders::advance(&daybook, "2024-04-20T12:00:00Z").await;
    let today = ("/at", json!("2024-04-20T12:00:00Z"));
    daybook.publish("acme", "order", with(order("old"), &[today.clone(), ("/version", json!(2))]).to_string()).await;
    daybook.settle().await;
    let reject = rejects_of(&daybook, "acme").await.pop().unwrap();
    assert_eq!((reject.code.as_str(), reject.field.as_deref()), ("day_expired", Some("id")), "{}", reject.reason);
    let advice = "publish the difference as an event of its own, with another id and a time of the open day 2024-04-20";
    assert!(reject.reason.contains("business day 2024-03-01") && reject.reason.contains(advice), "{}", reject.reason);
    daybook.publish("acme", "order", with(order("difference"), &[today]).to_string()).await;
    daybook.settle().await;
    let account = account(&daybook, "acme").await;
    assert_eq!((account.counted, account.rejected), (2, 1));
}

/// The days of the past hundred days by the system clock are over for good; a clock of the tenant's own takes them in.
#[tokio::test(flavor = "multi_thread")]
async fn history_goes_in_by_a_clock_of_its_own_as_the_reject_says() {
    let daybook = Daybook::start().await;
    let day_ms = 86_400_000;
    let now = daybook_runtime::clock::now();
    let days_ago = |days: i64| Instant::from_millis(now.as_millis() - days * day_ms);
    let first_day = Date::from_days(days_ago(100).as_millis().div_euclid(day_ms) as i32).to_string();
    let tenant = |id: &str, clock: &str| {
        let definitions = orders::definitions(&[id]).replace(orders::FIRST_DAY, &first_day);
        definitions.replace("clock: shop", &format!("clock: {clock}"))
    };
    daybook.define(&tenant("live", "system")).await;
    let old = with(order("old"), &[("/at", json!(days_ago(90).to_string()))]);
    eventually("the days up to today", || async {
        let days = daybook.client.days(&TenantId::new("live").unwrap()).await.ok()?.days;
        days.iter().any(|day| day.opens_at > Some(days_ago(2))).then_some(())
    })
    .await;
    daybook.publish("live", "order", old.to_string()).await;
    daybook.settle().await;
    let reject = rejects_of(&daybook, "live").await.pop().unwrap();
    let advice =
        "define a tenant with a clock of its own, replay the history by that clock, then change to `clock: system`";
    assert!(reject.reason.contains(advice), "{}", reject.reason);

    daybook.define(&tenant("shop", "shop")).await;
    orders::advance(&daybook, &days_ago(90).to_string()).await;
    daybook.publish("shop", "order", old.to_string()).await;
    daybook.settle().await;
    orders::advance(&daybook, &days_ago(2).to_string()).await;
    daybook.define(&tenant("shop", "system")).await;
    daybook.publish("shop", "order", with(order("new"), &[("/at", json!(now.to_string()))]).to_string()).await;
    daybook.settle().await;
    let account = account(&daybook, "shop").await;
    assert_eq!((account.counted, account.rejected), (2, 0));
}

const VIEW: &str = "
views:
  - name: channels
    kind: order
    group_by: [channel]
    metrics: [{ name: orders, value: count }, { name: quantity, value: sum(quantity) }]
    ranking: quantity desc
";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_of_a_question_says_helps() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    daybook.define(VIEW).await;
    for (channel, quantity) in [("web", 3), ("shop", 2), ("phone", 1)] {
        let changes = [("/dims/channel", json!(channel)), ("/measures/quantity", json!(quantity))];
        daybook.publish("acme", "order", with(order(channel), &changes).to_string()).await;
    }
    daybook.settle().await;
    // The question, what the hint says, the question after doing that, and how many rows that brings.
    for (wrong, advice, mended, rows) in [
        (json!({"where": "rank <= 2"}), "limit gives the first members", json!({"rank": {}, "limit": 2}), 2),
        (
            json!({"rank": {}, "where": "position = 1"}),
            "rank.member one of them",
            json!({"rank": {"member": ["web"]}}),
            1,
        ),
        (
            json!({"where": "quantity > 1"}),
            "order by it and give a limit",
            json!({"order": ["quantity desc"], "limit": 2}),
            2,
        ),
        (json!({"where": "day = '2024-03-01'"}), "choose days with the field days", json!({"days": "2024-03-01"}), 3),
        (json!({"where": "channel = web"}), "'web'", json!({"where": "channel = 'web'"}), 1),
        (json!({"where": "chanel = 'web'"}), r#"did you mean "channel"?"#, json!({"where": "channel = 'web'"}), 1),
        (
            json!({"rank": {}, "limit": 0}),
            "use 1 to 10000; the rest is on further pages",
            json!({"rank": {}, "limit": 1}),
            1,
        ),
        (json!({"rank": {}, "order": ["quantity"]}), "leave out either order or rank", json!({"rank": {}}), 3),
        (json!({"rank": {}, "grain": "day"}), "use grain total, or leave out rank", json!({"grain": "day"}), 3),
        (json!({"rank": {"around": 1}}), "name the member", json!({"rank": {"around": 1, "member": ["shop"]}}), 3),
        (
            json!({"rank": {}, "dimensions": []}),
            "the dimension is channel",
            json!({"rank": {}, "dimensions": ["channel"]}),
            3,
        ),
        (json!({"metrics": []}), "leave the field out", json!({}), 3),
        (json!({"grain": "hour"}), "use day or total", json!({"grain": "total"}), 3),
    ] {
        let error = refused(&daybook.client, "acme", "channels", wrong.clone()).await;
        assert!(error.hint.as_deref().unwrap_or_default().contains(advice), "{wrong}: {error}");
        let answer = ask(&daybook.client, "acme", "channels", mended.clone()).await;
        assert_eq!(answer.rows.len(), rows, "{error}: {mended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_of_a_definition_says_helps() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let known = daybook.client.catalogue().await.unwrap().kinds;
    let file = |yaml: &str| vec![(PathBuf::from("views.yaml"), yaml.to_owned())];
    let value = |text: &str| VIEW.replace("value: sum(quantity)", &format!("value: '{text}'"));
    // The text, what the hint says, and the text after doing that.
    for (wrong, advice, mended) in [
        (value("sum(3 * quantity)"), "publish the product as a measure of its own", value("sum(amount)")),
        (value("3 * quantity"), "publish the product as a measure of its own", value("sum(amount)")),
        (value("sum(quantity) + sum(amount)"), "publish the sum as a measure of its own", value("sum(amount)")),
        (value("count(*)"), "entities are counted by count, without *", value("count")),
        (value("quantity"), "such as sum(quantity)", value("sum(quantity)")),
        (value("sum(quantty)"), r#"did you mean "quantity"?"#, value("sum(quantity)")),
        (value("quantile(quantity, 95)"), "the 95th percentile is 0.95", value("quantile(quantity, 0.95)")),
        (
            VIEW.replace("ranking: quantity desc", "ranking: { by: quantity desc, limit: 10 }"),
            "give the limit in the question",
            VIEW.replace("ranking: quantity desc", "ranking: { by: quantity desc }"),
        ),
        (
            VIEW.replace("ranking: quantity desc", "ranking: quantity desc orders asc"),
            "several as a list",
            VIEW.replace("ranking: quantity desc", "ranking: [quantity desc, orders asc]"),
        ),
    ] {
        let mistakes = definitions::load(&file(&wrong), &known).unwrap_err();
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|mistake| mistake.contains(advice)), "{told:?}");
        definitions::load(&file(&mended), &known).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    }
}
