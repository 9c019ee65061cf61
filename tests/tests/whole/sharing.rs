//! What reaches the shard: many who ask the same are one question, and an answer is given again.

use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::Answer;
use daybook_domain::ids::Name;
use daybook_tests::asking::{ask, query, shown, tenant};
use daybook_tests::backfilling::advance;
use daybook_tests::processes::{Processes, Service};
use daybook_tests::reading::{ORDERS, Questions, define_shops, order, orders, publish, sum};
use daybook_tests::{Daybook, eventually};
use futures::StreamExt;
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_the_same_at_once_are_one_question_to_the_shard() {
    const SAME: usize = 48;
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::Query {
            process.set("--shard-timeout-ms", "30000");
            // Who comes after the answer must not ask again.
            process.set("--max-staleness-ms", "60000");
        }
    })
    .await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme", "bloom"]).await;
    advance(&client, 1).await;
    let reached = publish(&client, "acme", "order", orders(1)).await;
    publish(&client, "bloom", "order", order("one", 1, "shop", "Zug", 5)).await;
    daybook.settle().await;

    // The same in four spellings, then others. Nothing can be answered while the shard is held still.
    let spellings = [json!({}), json!({"days": "today"}), json!({"at_least": reached}), json!({"accept_stale": false})];
    let others = [
        ("acme", "orders", json!({"limit": 1})),
        ("acme", "orders", json!({"where": "channel = 'web'"})),
        ("acme", "orders", json!({"dimensions": ["channel"]})),
        ("acme", "ranked", json!({})),
        ("bloom", "orders", json!({})),
    ];
    let mut questions = Questions::listen(&client).await;
    daybook.process(Service::AggregatorShard).pause();
    let same = futures::future::join_all((0..SAME).map(|index| {
        let question = spellings[index % spellings.len()].clone();
        ask(&client, "acme", "orders", question)
    }));
    let different =
        futures::future::join_all(others.iter().map(|(id, view, question)| ask(&client, id, view, question.clone())));
    let mut heard = Vec::new();
    let hear = async {
        // The others were asked last: when they are under way, all are.
        let mut waited_for: BTreeSet<String> =
            others.iter().map(|(id, view, question)| format!("{id} {view} {:?}", query(question.clone()))).collect();
        while !waited_for.is_empty() {
            let (id, view, query) = questions.next().await;
            waited_for.remove(&format!("{id} {view} {query:?}"));
            heard.push((id, view, query));
        }
        daybook.process(Service::AggregatorShard).resume();
    };
    let (same, different, ()) = tokio::join!(same, different, hear);

    heard.extend(questions.take().await);
    assert_eq!(heard.len(), 1 + others.len(), "each question once: {heard:?}");
    assert_eq!(sum(&same[0].rows, "n"), ORDERS);
    for answer in &same {
        assert_eq!(Answer { freshness_ms: 0, ..answer.clone() }, Answer { freshness_ms: 0, ..same[0].clone() });
    }
    let [one, web, by_channel, ranked, bloom] = &different[..] else { panic!("{} answers", different.len()) };
    assert_eq!((one.rows.len(), one.total), (1, 15));
    assert_eq!((sum(&web.rows, "n"), web.rows.len()), (ORDERS / 3, 5));
    assert_eq!(shown(&by_channel.rows, "channel n"), ["phone 20", "shop 20", "web 20"]);
    assert_eq!(ranked.rows.len(), 5);
    assert_eq!(shown(&bloom.rows, "channel city quantity"), ["shop Zug 5"]);

    let query = daybook.process(Service::Query);
    let mut count = async |source| query.metric(&format!("daybook_query_source_total{{source=\"{source}\"}}")).await;
    assert_eq!(count("shard").await, 1.0 + others.len() as f64);
    let shared = count("shared").await;
    assert!(shared >= 1.0);
    assert_eq!(shared + count("cache").await, SAME as f64 - 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_the_days_at_once_share_the_reading_of_reports() {
    const ASKERS: usize = 64;
    let daybook = Daybook::start().await;
    let client = &daybook.client;
    define_shops(client, &["acme"]).await;
    // Farther than the shard keeps days.
    advance(client, 1).await;
    let (clock, advance_to) = (Name::new("shop").unwrap(), "2024-04-14T12:00:00Z".parse().unwrap());
    client.advance(&ClockAdvance { clock, advance_to }).await.unwrap();
    daybook.settle().await;
    let nats = &client.connection.client;
    let reports = client.connection.subjects.reports_stream();
    let mut readings = nats.subscribe(format!("$JS.API.STREAM.INFO.{reports}")).await.unwrap();
    let mut consumers = nats.subscribe(format!("$JS.API.CONSUMER.CREATE.{reports}.>")).await.unwrap();
    let mut messages = nats.subscribe(format!("$JS.API.STREAM.MSG.GET.{reports}")).await.unwrap();
    nats.flush().await.unwrap();
    let askers = (0..ASKERS).map(|_| async { client.days(&tenant("acme")).await.unwrap() });
    let answers = futures::future::join_all(askers).await;
    let whole = client.days(&tenant("acme")).await.unwrap();
    assert!(whole.days.len() > 44 && whole.days.is_sorted_by_key(|day| day.date), "{whole:?}");
    assert_eq!(whole.days.iter().filter(|day| day.report == Some(1)).count(), 44);
    assert!(answers.iter().all(|answer| answer.days == whole.days));

    nats.flush().await.unwrap();
    for subscription in [&mut readings, &mut consumers, &mut messages] {
        subscription.unsubscribe().await.unwrap();
    }
    let readings = readings.count().await;
    assert!((2..=ASKERS / 2).contains(&readings), "{readings} readings for {ASKERS} askers and one more");
    assert_eq!(consumers.count().await, 0, "no consumer is made");
    // The shard keeps 35 closed days; the reports of the nine before them are read once.
    let messages = messages.count().await;
    assert!((9..=9 + readings).contains(&messages), "{messages} messages are read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_again_until_it_is_stale_or_too_old_for_the_asker() {
    const STALENESS: Duration = Duration::from_secs(5);
    let daybook = Daybook::start_with(|options| options.query.max_staleness_ms = STALENESS.as_millis() as u64).await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", orders(1)).await;
    daybook.settle().await;
    let mut questions = Questions::listen(&client).await;
    let n = |answer: &Answer| sum(&answer.rows, "n");
    let web = json!({"where": "channel = 'web'"});

    // The first asker's answer serves the next ones, who see it grow older; another question has one of its own.
    let before = Instant::now();
    let first = ask(&client, "acme", "orders", json!({})).await;
    let after = Instant::now();
    let reached = first.as_of.inbox;
    for question in [json!({}), json!({"days": "today"}), json!({"at_least": reached})] {
        let asked = after.elapsed();
        let again = ask(&client, "acme", "orders", question).await;
        assert!(before.elapsed() < STALENESS, "this machine is too slow for the test");
        assert!(again.freshness_ms >= asked.as_millis() as u64 && !again.stale, "{again:?}");
        assert_eq!(Answer { freshness_ms: first.freshness_ms, ..again }, first);
    }
    assert_eq!(questions.take().await.len(), 1);
    assert_eq!(n(&ask(&client, "acme", "orders", web.clone()).await), ORDERS / 3);
    assert_eq!(questions.take().await.len(), 1);

    // Who has published sees it; who has not may be given the old answer, and then the new one.
    let sequence = publish(&client, "acme", "order", order("own", 1, "web", "Zug", 1)).await;
    daybook.settle().await;
    assert!(sequence > reached);
    let old = ask(&client, "acme", "orders", json!({})).await;
    assert!(before.elapsed() < STALENESS, "this machine is too slow for the test");
    assert_eq!((n(&old), questions.take().await.len()), (ORDERS, 0));
    let own = ask(&client, "acme", "orders", json!({"at_least": sequence})).await;
    let own_came = Instant::now();
    assert!(own.as_of.inbox >= sequence);
    assert_eq!((n(&own), questions.take().await.len()), (ORDERS + 1, 1));
    assert_eq!(n(&ask(&client, "acme", "orders", json!({})).await), ORDERS + 1, "it took the other's place");

    // One more event: nobody is given an answer without it that is older than the bound.
    publish(&client, "acme", "order", order("next", 1, "web", "Zug", 1)).await;
    daybook.settle().await;
    questions.take().await;
    let given_again = Cell::new(0);
    let seen = eventually("the new event", async || {
        let asked = own_came.elapsed();
        let answer = ask(&client, "acme", "orders", json!({})).await;
        if n(&answer) == ORDERS + 2 {
            return Some(asked);
        }
        assert_eq!(n(&answer), ORDERS + 1);
        assert!(asked < STALENESS, "an answer of more than {STALENESS:?} ago was given again: {asked:?}");
        given_again.set(given_again.get() + 1);
        None
    })
    .await;
    assert!(given_again.get() > 0, "it was there after {seen:?}");
    assert_eq!(questions.take().await.len(), 1);
    // Nothing stays behind for ever in other questions either.
    assert_eq!(n(&ask(&client, "acme", "orders", web).await), ORDERS / 3 + 2);
}
