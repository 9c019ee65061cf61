//! Answers while shards are away: last known figures, breakers, sealed days, and positions that are never reached.

use daybook_contracts::ask::{Answer, AsOf, AskErrorCode, DayAccount};
use daybook_domain::ids::Partition;
use daybook_tests::asking::{ask, refused, tenant};
use daybook_tests::backfilling::advance;
use daybook_tests::processes::{PARTITIONS, Processes, Service, wait_until_ready};
use daybook_tests::reading::{ORDERS, define_shops, order, orders, publish, sum};
use daybook_tests::{Daybook, PATIENCE, eventually};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// The value of the gauge that tells of a tenant's breaker.
async fn breaker_is_open(daybook: &mut Processes, id: &str) -> bool {
    let series = format!("daybook_breaker_open{{partition=\"{}\"}}", Partition::of(id, PARTITIONS));
    daybook.process(Service::Query).metric(&series).await == 1.0
}

/// How often breakers have become `to`.
async fn transitions(daybook: &mut Processes, to: &str) -> f64 {
    let series = format!("daybook_breaker_transitions_total{{to=\"{to}\"}}");
    daybook.process(Service::Query).metric(&series).await
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// How the shard is away: its connection is gone, or it says nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Killed,
    HeldStill,
}

#[tokio::test(flavor = "multi_thread")]
async fn without_shards_last_known_figures_grow_old_until_a_probe_finds_one() {
    last_known_figures(Away::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_shards_are_done_without_until_a_probe_is_answered() {
    last_known_figures(Away::HeldStill).await;
}

async fn last_known_figures(away: Away) {
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::Query {
            process.set("--shard-timeout-ms", "500");
        }
    })
    .await;
    let client = daybook.client.clone();
    assert_ne!(Partition::of("acme", PARTITIONS), Partition::of("bloom", PARTITIONS));
    define_shops(&client, &["acme", "bloom"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", orders(1)).await;
    daybook.settle().await;
    let before = Instant::now();
    let known = ask(&client, "acme", "orders", json!({})).await;
    let after = Instant::now();
    assert!(!known.stale && sum(&known.rows, "n") == ORDERS, "{known:?}");
    assert_eq!(transitions(&mut daybook, "open").await, 0.0);

    match away {
        Away::Killed => daybook.process(Service::AggregatorShard).kill(),
        Away::HeldStill => daybook.process(Service::AggregatorShard).pause(),
    }
    let missed = publish(&client, "acme", "order", order("new", 1, "web", "Aarau", 1)).await;
    // The last known figures, as old as it is since they came.
    let ages = RefCell::new(Vec::new());
    eventually("figures of 300 ms ago", async || {
        let asked = after.elapsed();
        let answer = ask(&client, "acme", "orders", json!({})).await;
        if !answer.stale {
            // Query gives an answer again that is a few milliseconds old.
            assert_eq!(answer, known);
            return None;
        }
        let age = answer.freshness_ms;
        assert!(age >= milliseconds(asked), "{age} ms is too young after {asked:?}");
        assert!(age <= known.freshness_ms + milliseconds(before.elapsed()), "{age} ms is too old");
        assert_eq!(answer, Answer { stale: true, freshness_ms: age, ..known.clone() });
        let mut ages = ages.borrow_mut();
        ages.push(age);
        (age > ages[0] + 300).then_some(())
    })
    .await;
    let ages = ages.into_inner();
    assert!(ages.is_sorted(), "{ages:?}");

    // Who will not have them, or wants later ones, is refused; so is what was never asked for before.
    for (id, question, hint) in [
        ("acme", json!({"accept_stale": false}), "accept_stale"),
        ("acme", json!({"at_least": missed}), "sealed days"),
        ("bloom", json!({}), "sealed days"),
    ] {
        let error = refused(&client, id, "orders", question.clone()).await;
        assert_eq!(error.code, AskErrorCode::Unavailable, "{question}: {error}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{question}: {error:?}");
    }

    // Three questions without a reply have opened the breaker of that partition alone. It lets nothing through but a
    // probe now and then, which finds nobody.
    eventually("an answer without asking", async || {
        let error = refused(&client, "acme", "orders", json!({"accept_stale": false})).await;
        error.message.contains("none did lately").then_some(())
    })
    .await;
    assert!(breaker_is_open(&mut daybook, "acme").await && !breaker_is_open(&mut daybook, "bloom").await);
    let probed = tokio::time::timeout(PATIENCE, async {
        while transitions(&mut daybook, "half_open").await < 1.0 || transitions(&mut daybook, "open").await < 2.0 {
            assert!(ask(&client, "acme", "orders", json!({})).await.stale);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    probed.await.expect("there is a probe");
    assert!(breaker_is_open(&mut daybook, "acme").await);
    assert_eq!(transitions(&mut daybook, "closed").await, 0.0);

    if away == Away::HeldStill {
        daybook.process(Service::AggregatorShard).resume();
    }
    daybook.start_missing().await;
    eventually("live figures", async || {
        let answer = ask(&client, "acme", "orders", json!({})).await;
        (!answer.stale).then_some(())
    })
    .await;
    let probes = transitions(&mut daybook, "half_open").await;
    assert!(probes >= 2.0, "{probes} probes, the last of which found it");
    assert_eq!(transitions(&mut daybook, "closed").await, 1.0);
    assert!(!breaker_is_open(&mut daybook, "acme").await);
    daybook.settle().await;
    let current = ask(&client, "acme", "orders", json!({"accept_stale": false, "at_least": missed})).await;
    assert_eq!((current.stale, sum(&current.rows, "n")), (false, ORDERS + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_closes_when_the_shard_is_back_though_nobody_asks() {
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::Query {
            process.set("--shard-timeout-ms", "500");
        }
    })
    .await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    daybook.settle().await;
    daybook.process(Service::AggregatorShard).kill();
    // Three questions without a reply.
    while !breaker_is_open(&mut daybook, "acme").await {
        refused(&client, "acme", "orders", json!({"accept_stale": false})).await;
    }
    daybook.start_missing().await;
    let open = format!("daybook_breaker_open{{partition=\"{}\"}}", Partition::of("acme", PARTITIONS));
    daybook.process(Service::Query).shows(&open, 0.0).await;
    assert_eq!(transitions(&mut daybook, "closed").await, 1.0);
}

/// Questions about sealed days, of one and of several, as they stand and rolled up.
pub(super) fn about_sealed_days() -> Vec<(&'static str, Value)> {
    let (second, all) = ("2024-03-02", "2024-03-01..2024-03-03");
    vec![
        ("orders", json!({"days": second})),
        ("orders", json!({"days": "yesterday"})),
        ("orders", json!({"days": second, "where": "channel = 'web' and city != 'Bern'"})),
        ("orders", json!({"days": second, "dimensions": ["city"], "metrics": ["median", "cities", "amount"]})),
        ("orders", json!({"days": all})),
        ("orders", json!({"days": all, "dimensions": []})),
        ("orders", json!({"days": all, "dimensions": ["city"], "where": "channel in ('web', 'phone')"})),
        ("orders", json!({"days": all, "grain": "day", "dimensions": ["channel"], "order": ["amount desc"]})),
        (
            "orders",
            json!({"days": all, "dimensions": ["city"], "rank": {"by": [{"metric": "amount"}], "member": ["Chur"], "around": 1}}),
        ),
        ("hourly", json!({"days": second})),
        ("hourly", json!({"days": all, "grain": "hour"})),
        ("hourly", json!({"days": all, "dimensions": [], "where": "channel = 'shop'"})),
        ("ranked", json!({"days": all})),
        // Only the first of the days has any.
        ("clicks", json!({"days": second})),
        ("clicks", json!({"days": all})),
        ("clicks", json!({"days": "2024-03-01"})),
    ]
}

/// Without how current it is: sealed days do not change, however far the shard has come since.
fn undated(answer: Answer) -> Answer {
    let as_of = AsOf { log: Default::default(), inbox: Default::default() };
    Answer { as_of, freshness_ms: 0, ..answer }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_days_are_answered_without_a_shard_as_the_shard_did() {
    let mut daybook = Processes::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    publish(&client, "acme", "click", json!({"at": "2024-03-01T08:00:00Z", "dims": {"page": "start"}})).await;
    for day in 1..=4 {
        publish(&client, "acme", "order", orders(day)).await;
    }
    advance(&client, 4).await;
    // A late order makes a second version of a report.
    publish(&client, "acme", "order", order("late", 2, "web", "Olten", 11)).await;
    daybook.settle().await;

    let questions = about_sealed_days();
    let mut by_shard = Vec::new();
    for (view, question) in &questions {
        let answer = ask(&client, "acme", view, question.clone()).await;
        by_shard.push(answer);
    }
    let second = &by_shard[0];
    assert_eq!((second.report, sum(&second.rows, "n")), (Some(2), ORDERS + 1));
    assert_eq!(sum(&by_shard[5].rows, "n"), 3 * ORDERS + 1);
    assert!(by_shard[13].rows.is_empty() && by_shard[14].rows.len() == 1, "clicks of one day only");
    let paged = json!({"days": "2024-03-01..2024-03-03", "limit": 4});
    let first_page = ask(&client, "acme", "orders", paged.clone()).await;
    let days = client.days(&tenant("acme")).await.unwrap();

    daybook.process(Service::AggregatorShard).kill();
    for restarted in [false, true] {
        if restarted {
            // It has nothing left of what the shard said.
            let query = daybook.process(Service::Query);
            query.kill();
            query.start();
            wait_until_ready(query, Service::Query).await;
        }
        for ((view, question), by_shard) in questions.iter().zip(&by_shard) {
            let mut asked = question.clone();
            asked["accept_stale"] = restarted.into();
            let answer = ask(&client, "acme", view, asked).await;
            assert!(!answer.stale && answer.as_of.inbox <= by_shard.as_of.inbox, "{view} {question}: {answer:?}");
            assert_eq!(undated(answer), undated(by_shard.clone()), "{view} {question}");
        }
    }
    let query = daybook.process(Service::Query);
    assert_eq!(query.metric("daybook_query_source_total{source=\"figures\"}").await, questions.len() as f64);
    assert_eq!(query.metric("daybook_query_source_total{source=\"shard\"}").await, 0.0);

    // Pages that the shard began go on.
    let mut question = paged;
    let mut rows = first_page.rows;
    let mut cursor = first_page.next;
    while let Some(next) = cursor {
        question["cursor"] = next.into();
        let page = ask(&client, "acme", "orders", question.clone()).await;
        rows.extend(page.rows);
        cursor = page.next;
    }
    assert_eq!(rows, by_shard[4].rows);

    // The days are those that have reports, and what is not sealed is not made up.
    let sealed = client.days(&tenant("acme")).await.unwrap().days;
    assert_eq!(sealed.len(), 3);
    assert!(sealed.iter().all(|day| day.as_reported) && days.days.iter().all(|day| !day.as_reported));
    let of_shard: Vec<DayAccount> = sealed.into_iter().map(|day| DayAccount { as_reported: false, ..day }).collect();
    assert_eq!(of_shard, days.days[..3]);
    for days in ["today", "2024-03-04", "last_3_days", "2024-03-03..2024-03-04"] {
        let error = refused(&client, "acme", "orders", json!({"days": days})).await;
        assert_eq!(error.code, AskErrorCode::Unavailable, "{days}: {error}");
    }
    let newer = json!({"days": "2024-03-02", "at_least": days.as_of.inbox.0 + 1});
    assert_eq!(refused(&client, "acme", "orders", newer).await.code, AskErrorCode::Unavailable);
    let wrong = json!({"days": "2024-03-02", "metrics": ["turnover"]});
    assert_eq!(refused(&client, "acme", "orders", wrong).await.code, AskErrorCode::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_the_figures_never_reach_is_told_at_once() {
    let daybook = Daybook::start().await;
    daybook_tests::orders::define(&daybook, &["acme", "bloom"]).await;
    let partition = |id| Partition::of(id, daybook.options().broker.partitions);
    assert_ne!(partition("acme"), partition("bloom"));
    let of_bloom = daybook.publish("bloom", "order", daybook_tests::orders::order("o-1").to_string()).await;
    // Also when it has left INBOX for the log.
    for _ in 0..2 {
        for sequence in [of_bloom.0, of_bloom.0 + 1_000_000] {
            let error = refused(&daybook.client, "acme", "orders", json!({"at_least": sequence})).await;
            assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some("at_least")), "{error}");
            assert!(error.hint.unwrap().contains("PubAck"));
        }
        let own = ask(&daybook.client, "bloom", "orders", json!({"at_least": of_bloom})).await;
        assert!(own.as_of.inbox >= of_bloom);
        eventually("INBOX is trimmed", || async {
            let inbox = daybook.client.connection.subjects.inbox_stream();
            let stream = daybook_runtime::append::stream_handle(&daybook.client.connection, &inbox).await.unwrap();
            (stream.get_info().await.unwrap().state.first_sequence > of_bloom.0).then_some(())
        })
        .await;
    }
}
