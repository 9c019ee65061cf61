//! A tenant that takes more than its share is refused, and told so; the others of its partition do not notice.

use daybook::commands::replay::progress;
use daybook::verification::verify::{Scope, verify};
use daybook_contracts::ask::{AskErrorCode, DaySelector, Query};
use daybook_contracts::reject::{Code, Reject};
use daybook_contracts::report::Coverage;
use daybook_domain::ids::Partition;
use daybook_tests::asking::{ask, day, hashes, query, refused, sealed, tenant};
use daybook_tests::orders::{self, CLOCK, FIRST_DAY, account, order, orders_counted, rejects_of};
use daybook_tests::{Daybook, PATIENCE, eventually};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What the greedy tenant may publish a second.
const EVENTS_PER_SECOND: u64 = 500;
/// What it may publish at once: as many as the largest message has, for ten seconds' worth are less.
const BURST: u64 = 10_000;
/// What it does publish at once.
const MESSAGES: usize = 60;
const EVENTS: usize = 1_000;

/// Redefines a tenant with these quotas, in the words of YAML.
async fn limit(daybook: &Daybook, id: &str, quotas: &str) {
    let yaml = format!(
        "tenants:\n  - id: {id}\n    zone: Etc/UTC\n    cutoff: \"00:00\"\n    first_day: {FIRST_DAY}\n    clock: {CLOCK}\n    \
         restate_after: 0s\n    max_ahead: 8784h\n    quotas: {{ {quotas} }}\n"
    );
    daybook.define(&yaml).await;
}

/// A tenant other than `greedy` in the same partition.
fn neighbour(daybook: &Daybook) -> String {
    let partitions = daybook.client.connection.partitions;
    let shared = Partition::of("greedy", partitions);
    (0..).map(|number| format!("modest-{number}")).find(|id| Partition::of(id, partitions) == shared).unwrap()
}

/// A batch of orders that nobody else has.
fn batch(number: usize) -> String {
    let orders: Vec<Value> = (0..EVENTS).map(|index| order(&format!("{number}-{index}"))).collect();
    Value::from(orders).to_string()
}

fn events_of(rejects: &[Reject]) -> u64 {
    rejects.iter().map(Reject::events).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_and_its_neighbour_loses_nothing() {
    let daybook = Daybook::start().await;
    let modest = neighbour(&daybook);
    orders::define(&daybook, &["greedy", &modest]).await;
    limit(&daybook, "greedy", &format!("events_per_second: {EVENTS_PER_SECOND}")).await;

    let began = Instant::now();
    let flood = join_all((0..MESSAGES).map(|number| daybook.publish("greedy", "order", batch(number))));
    let orders_of_modest = async {
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let published = Instant::now();
            let sequence = daybook.publish(&modest, "order", order(&number.to_string()).to_string()).await;
            let question =
                Query { at_least: Some(sequence), ..Query::days(DaySelector::Date(FIRST_DAY.parse().unwrap())) };
            eventually("the neighbour's own write", || async {
                daybook.client.query(&tenant(&modest), "orders", &question).await.ok()
            })
            .await;
            slowest = slowest.max(published.elapsed());
        }
        slowest
    };
    let (_, slowest) = tokio::join!(flood, orders_of_modest);
    // The broker's stamps lie in between.
    let most = BURST + EVENTS_PER_SECOND * (began.elapsed().as_millis() as u64 / 1_000 + 1);
    println!("the neighbour's slowest write was read after {slowest:?}");
    assert!(slowest < PATIENCE / 4, "{slowest:?}");
    daybook.settle().await;

    let of_modest = account(&daybook, &modest).await;
    assert_eq!((of_modest.published, of_modest.counted), (20, 20));
    assert_eq!(orders_counted(&daybook, &modest).await, 20);
    assert_eq!(rejects_of(&daybook, &modest).await, []);
    let answer = ask(&daybook.client, &modest, "orders", json!({})).await;
    assert!(answer.freshness_ms < 1_000 && !answer.stale, "{answer:?}");

    let of_greedy = account(&daybook, "greedy").await;
    let rejects = rejects_of(&daybook, "greedy").await;
    assert_eq!(of_greedy.published, (MESSAGES * EVENTS) as u64);
    assert_eq!(of_greedy.counted + of_greedy.rejected, of_greedy.published);
    assert_eq!(
        (of_greedy.rejected, of_greedy.counted),
        (events_of(&rejects), orders_counted(&daybook, "greedy").await)
    );
    assert!((BURST..=most).contains(&of_greedy.counted), "{} of at most {most}", of_greedy.counted);
    // Whole messages, and no more of them than there were.
    assert_eq!(of_greedy.rejected % EVENTS as u64, 0);
    assert!(rejects.len() <= (of_greedy.rejected as usize) / EVENTS, "{}", rejects.len());
    for reject in &rejects {
        assert_eq!((reject.code, reject.original.total()), (Code::QuotaEvents, 0));
        assert!(
            reject.reason.contains(&format!("the quota of {EVENTS_PER_SECOND} events a second")),
            "{}",
            reject.reason
        );
    }

    // What was decided stands in the log: a shard that reads it again comes to the same.
    let mut daybook = daybook;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(account(&daybook, "greedy").await, of_greedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bytes_are_refused_until_the_quota_is_raised() {
    // The tenant has none of its own; the cluster has.
    let daybook = Daybook::start_with(|options| options.ingest.tenant_bytes_per_second = Some(1_000)).await;
    orders::define(&daybook, &["greedy"]).await;
    // More than half of the mebibyte that may be saved up.
    let large = |number: usize| {
        let noted = |index| {
            let mut event = order(&format!("{number}-{index}"));
            event["note"] = json!("x".repeat(60_000));
            event
        };
        Value::from((0..10).map(noted).collect::<Vec<_>>()).to_string()
    };
    daybook.publish("greedy", "order", large(0)).await;
    daybook.publish("greedy", "order", large(1)).await;
    daybook.settle().await;
    let rejects = rejects_of(&daybook, "greedy").await;
    assert_eq!(
        rejects.iter().map(|reject| (reject.code, reject.events())).collect::<Vec<_>>(),
        [(Code::QuotaBytes, 10)]
    );
    assert!(rejects[0].reason.contains("1000 bytes a second"), "{}", rejects[0].reason);
    limit(&daybook, "greedy", "bytes_per_second: 1000000").await;
    daybook.publish("greedy", "order", large(1)).await;
    daybook.settle().await;
    let account = account(&daybook, "greedy").await;
    assert_eq!((account.published, account.counted, account.rejected), (30, 20, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_and_groups_have_bounds_that_every_reading_of_the_log_agrees_on() {
    let mut daybook = Daybook::start().await;
    orders::define(&daybook, &["greedy"]).await;
    daybook
        .define(
            "views:\n  - { name: channels, kind: order, group_by: [channel], metrics: [{ name: n, value: count }] }\n",
        )
        .await;
    limit(&daybook, "greedy", "entities: 3, groups: 2").await;
    let by = |id: &str, channel: &str| {
        let mut event = order(id);
        event["dims"]["channel"] = json!(channel);
        event
    };
    let all = json!([by("a", "web"), by("b", "phone"), by("c", "shop"), by("d", "web"), by("b", "web")]);
    daybook.publish("greedy", "order", all.to_string()).await;
    daybook.settle().await;
    let rejects = rejects_of(&daybook, "greedy").await;
    assert_eq!(
        rejects.iter().map(|reject| (reject.index, reject.code)).collect::<Vec<_>>(),
        [(3, Code::QuotaEntities)]
    );
    assert!(rejects[0].reason.contains("3 entities of order"), "{}", rejects[0].reason);
    // The shop is left out, and the channel of it tells so; the others are whole. The total has room.
    assert_eq!(day(&daybook.client, "greedy", "channels", FIRST_DAY, "channel n").await, ["web 2"]);
    let answer = ask(&daybook.client, "greedy", "channels", json!({"days": FIRST_DAY})).await;
    assert!(matches!(&answer.coverage, Coverage::Capped { reason, .. } if reason.contains("2 groups")), "{answer:?}");
    assert_eq!(orders_counted(&daybook, "greedy").await, 3);
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    daybook.settle().await;
    let report = sealed(&daybook.client, "greedy", FIRST_DAY).await.report;
    assert!(matches!(&report.coverage, Coverage::Capped { .. }), "{report:?}");
    assert_eq!((report.dispositions.counted, report.dispositions.rejected), (4, 1));

    // A view that comes later does not count the entity that was refused, and has every group of those that were not.
    daybook
        .define("views:\n  - { name: later, kind: order, group_by: [channel], metrics: [{ name: n, value: count }] }\n")
        .await;
    eventually("the view is in force", || async {
        let question = query(json!({"days": FIRST_DAY}));
        daybook.client.query(&tenant("greedy"), "later", &question).await.ok()
    })
    .await;
    assert_eq!(day(&daybook.client, "greedy", "later", FIRST_DAY, "channel n").await, ["shop 1", "web 2"]);

    // Corrections go on, also late ones; and a replay of the log makes what was sealed.
    daybook.publish("greedy", "order", by("a", "phone").to_string()).await;
    daybook.settle().await;
    let outcome = verify(&daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap();
    assert!(outcome.is_sound() && outcome.verified.count == 2, "{:?} {}", outcome.differences, outcome.verified.count);
    let before = hashes(&daybook.client).await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(hashes(&daybook.client).await, before);
    let outcome = verify(&daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap();
    assert!(outcome.is_sound(), "{:?}", outcome.differences);
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_beyond_the_quota_are_refused() {
    let daybook = Daybook::start().await;
    let modest = neighbour(&daybook);
    orders::define(&daybook, &["greedy", &modest]).await;
    limit(&daybook, "greedy", "feeds: 1").await;
    daybook.publish("greedy", "order", order("a").to_string()).await;
    daybook.settle().await;
    let watch = json!({"watch": true});
    let feed = ask(&daybook.client, "greedy", "orders", watch.clone()).await.feed.unwrap();
    let error = refused(&daybook.client, "greedy", "clicks", watch.clone()).await;
    assert_eq!((error.code, error.code.number()), (AskErrorCode::Quota, 429));
    assert!(error.message.contains("1 live feeds") && error.hint.is_some(), "{error}");
    // The one there is goes on, and the figures can be asked for; others have their feeds.
    assert_eq!(ask(&daybook.client, "greedy", "orders", watch.clone()).await.feed.unwrap().feed, feed.feed);
    ask(&daybook.client, "greedy", "clicks", json!({})).await;
    for view in ["orders", "clicks"] {
        assert!(ask(&daybook.client, &modest, view, watch.clone()).await.feed.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_asks_too_much_is_told_at_once_and_others_are_answered() {
    let daybook = Daybook::start_with(|options| options.query.max_questions_per_tenant = 1).await;
    let modest = neighbour(&daybook);
    orders::define(&daybook, &["greedy", &modest]).await;
    daybook.settle().await;
    let greedy = join_all((0..300).map(|limit| {
        let question = query(json!({"days": FIRST_DAY, "limit": limit + 1}));
        let client = &daybook.client;
        async move { client.query(&tenant("greedy"), "orders", &question).await }
    }));
    let patient = async {
        let mut answered = 0;
        for _ in 0..20 {
            ask(&daybook.client, &modest, "orders", json!({"days": FIRST_DAY})).await;
            answered += 1;
        }
        answered
    };
    let (greedy, answered) = tokio::join!(greedy, patient);
    assert_eq!(answered, 20);
    let busy: Vec<_> = greedy.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(!busy.is_empty() && busy.len() < greedy.len(), "{} of {}", busy.len(), greedy.len());
    for error in busy {
        assert_eq!(error.code, AskErrorCode::Busy);
        assert!(error.hint.is_some());
    }
    // It is as good as new once it waits for its answers.
    ask(&daybook.client, "greedy", "orders", json!({"days": FIRST_DAY, "at_least": 1})).await;
}
