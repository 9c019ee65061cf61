//! A tenant's flood of questions waits behind itself: another tenant of its partition is answered almost as before. And
//! identical questions count once, however many ask them.
#![allow(clippy::unwrap_used)]

use daybook::client::Client;
use daybook_contracts::ask::{AskErrorCode, Query};
use daybook_domain::ids::Partition;
use daybook_tests::asking::{ask, query, tenant};
use daybook_tests::orders;
use daybook_tests::reading::{Questions, define_shops, order, orders as shop_orders, publish, sum};
use daybook_tests::{Daybook, eventually};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const GREEDY: &str = "greedy";
/// Questions that the flood has under way at any time: as many as a tenant may.
const FLOOD: usize = 250;
/// Groups of the flood's view: an answer takes the shard some milliseconds in a debug build.
const GROUPS: usize = 400;
/// Questions by which the other tenant's waiting is measured.
const SAMPLES: usize = 150;
/// What a machine that is busy with other things may add to any measurement.
const SLACK: Duration = Duration::from_millis(50);

/// Another tenant of the flood's partition.
fn neighbour(daybook: &Daybook) -> String {
    let of = |id: &str| Partition::of(id, daybook.client.connection.partitions);
    (0..).map(|number| format!("modest-{number}")).find(|id| of(id) == of(GREEDY)).unwrap()
}

/// A shop each, one of them with [`GROUPS`] groups.
async fn shops() -> (Daybook, String) {
    let daybook = Daybook::start().await;
    let modest = neighbour(&daybook);
    define_shops(&daybook.client, &[GREEDY, &modest]).await;
    orders::advance(&daybook, orders::NOON).await;
    let many: Value = (0..GROUPS).map(|n| order(&n.to_string(), 1, "web", &format!("city-{n}"), n as i64)).collect();
    publish(&daybook.client, GREEDY, "order", many).await;
    publish(&daybook.client, &modest, "order", shop_orders(1)).await;
    daybook.settle().await;
    (daybook, modest)
}

/// A question like no other: nothing is shared, nothing is given again. It costs the shard more than anybody else.
fn distinct(number: usize) -> Query {
    query(json!({ "days": "2024-03-01", "limit": 1 + number % 3, "where": format!("city != 'nowhere-{number}'") }))
}

/// How long each answer to the other tenant takes. It must never be refused.
async fn measure(client: &Client, id: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..SAMPLES {
        let began = Instant::now();
        let answer = client.query(&tenant(id), "orders", &distinct(number)).await;
        times.push(began.elapsed());
        answer.unwrap_or_else(|error| panic!("question {number}: {error}"));
    }
    times.sort_unstable();
    times
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

/// Keeps [`FLOOD`] questions under way until `is_over`. Returns how long each answer took; refusals must say that it is busy.
async fn flood(client: Client, is_over: Arc<AtomicBool>) -> Vec<Duration> {
    let (mut under_way, mut times, mut number) = (FuturesUnordered::new(), Vec::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        while under_way.len() < FLOOD {
            let (question, client) = (distinct(number), client.clone());
            under_way.push(async move {
                let began = Instant::now();
                let answer = client.query(&tenant(GREEDY), "orders", &question).await;
                (began.elapsed(), answer)
            });
            number += 1;
        }
        let (took, answer) = under_way.next().await.unwrap();
        match answer {
            Ok(_) => times.push(took),
            Err(error) => assert_eq!(error.code, AskErrorCode::Busy, "{error}"),
        }
    }
    while under_way.next().await.is_some() {}
    times.sort_unstable();
    times
}

// More threads than processors: services, the flood and whoever measures share this process, and the system shares it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_flood_of_questions_waits_behind_itself() {
    let (daybook, modest) = shops().await;
    let client = &daybook.client;
    measure(client, &modest).await;
    let quiet = measure(client, &modest).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let flooding = tokio::spawn(flood(Client::connect(&daybook.options().broker).await.unwrap(), is_over.clone()));
    let strained = eventually("the flood", async || {
        let began = Instant::now();
        let answer = client.query(&tenant(GREEDY), "orders", &distinct(999_999)).await;
        (answer.is_err() || began.elapsed() > 2 * percentile(&quiet, 50) + Duration::from_millis(20)).then_some(())
    });
    strained.await;
    let beside = measure(client, &modest).await;
    // The log goes on: what is published meanwhile is counted.
    let before = sum(&ask(client, &modest, "orders", json!({ "days": "2024-03-01" })).await.rows, "n");
    let written = publish(client, &modest, "order", order("more", 1, "web", "Bern", 1)).await;
    let fresh = query(json!({ "days": "2024-03-01", "at_least": written.0 }));
    let answer = eventually("the order", async || client.query(&tenant(&modest), "orders", &fresh).await.ok()).await;
    assert_eq!(sum(&answer.rows, "n"), before + 1);
    is_over.store(true, Ordering::Relaxed);
    let flooded = flooding.await.unwrap();

    let shown = |name: &str, times: &[Duration]| {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| percentile(times, percent));
        format!("{name}: p50 {p50:?}, p90 {p90:?}, p99 {p99:?} of {}", times.len())
    };
    let told = [shown("quiet", &quiet), shown("beside", &beside), shown("flood", &flooded)].join("; ");
    eprintln!("{told}");
    assert!(flooded.len() > SAMPLES, "the flood is answered, too: {told}");
    assert!(percentile(&beside, 50) * 4 < percentile(&flooded, 50), "the flood waits, and nobody else: {told}");
    // What the slowest few take hangs on who else uses the machine: `bench fairness` measures that.
    assert!(percentile(&beside, 90) < 4 * percentile(&quiet, 90) + SLACK, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_questions_count_once() {
    const LISTENERS: usize = 600;
    let daybook = Daybook::start_with(|options| options.query.max_questions_per_tenant = 1).await;
    orders::define(&daybook, &[GREEDY]).await;
    orders::advance(&daybook, orders::NOON).await;
    daybook.publish(GREEDY, "order", orders::order("one").to_string()).await;
    daybook.settle().await;
    let client = &daybook.client;
    let mut questions = Questions::listen(client).await;
    for question in [json!({ "watch": true }), json!({ "days": orders::FIRST_DAY })] {
        let question = query(question);
        let greedy = tenant(GREEDY);
        let answers = join_all((0..LISTENERS).map(|_| client.query(&greedy, "orders", &question))).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
        assert!(answers.iter().all(|answer| answer.rows == answers[0].rows));
        let feeds = answers.iter().map(|answer| answer.feed.as_ref().map(|feed| &feed.feed));
        assert!(feeds.clone().all(|feed| feed == feeds.clone().next().unwrap()), "all have one feed");
        assert_eq!(feeds.flatten().count(), if question.watch { LISTENERS } else { 0 });
        let asked = questions.take().await.len();
        assert!((1..LISTENERS / 4).contains(&asked), "{asked} questions for {LISTENERS} askers");
    }
}
