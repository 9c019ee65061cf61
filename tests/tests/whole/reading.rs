//! The reading side: answers while shards are away, what reaches them while they are there, and what is pushed.

use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{Answer, AsOf, AskError, AskErrorCode, DayAccount, Days};
use daybook_contracts::headers;
use daybook_contracts::live::view::Followed;
use daybook_contracts::live::{LEASE, LiveUpdate, RENEW_AFTER};
use daybook_contracts::report::Figure;
use daybook_domain::ids::{Name, Partition};
use daybook_tests::asking::{ask, query, refused, shown, tenant};
use daybook_tests::backfilling::advance;
use daybook_tests::processes::{PARTITIONS, Processes, Service, wait_until_ready};
use daybook_tests::reading::{Listener, ORDERS, Questions, define_shops, order, orders, publish, sum, watch};
use daybook_tests::{Daybook, PATIENCE, eventually};
use futures::StreamExt;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

// --- shards away ------------------------------------------------------------------------------------------------------

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
fn about_sealed_days() -> Vec<(&'static str, Value)> {
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

// --- what reaches the shard -------------------------------------------------------------------------------------------

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
    let daybook = Daybook::start_with(|options| options.query.max_staleness_ms = milliseconds(STALENESS)).await;
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
        assert!(again.freshness_ms >= milliseconds(asked) && !again.stale, "{again:?}");
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

// --- encodings --------------------------------------------------------------------------------------------------------

/// What a question in MessagePack is answered with, and whether that is an error.
async fn in_messagepack(daybook: &Daybook, id: &str, view: &str, question: &Value) -> (Vec<u8>, bool) {
    let connection = &daybook.client.connection;
    let mut header = async_nats::HeaderMap::new();
    header.insert(headers::CONTENT_TYPE, headers::MSGPACK);
    let body = rmp_serde::to_vec_named(question).unwrap();
    let subject = connection.subjects.query(id, view);
    let reply = connection.client.request_with_headers(subject, header, body.into()).await.unwrap();
    let answered = reply.headers.unwrap();
    assert_eq!(answered.get(headers::CONTENT_TYPE).unwrap().as_str(), headers::MSGPACK);
    (reply.payload.to_vec(), answered.get(async_nats::service::NATS_SERVICE_ERROR_CODE).is_some())
}

/// A figure as docs/CLIENTS.md says that it is in MessagePack: integers as such, decimals as texts.
fn packed(figure: &Figure) -> Value {
    match figure {
        Figure::Null => Value::Null,
        Figure::Text(text) => text.as_str().into(),
        Figure::Number(number) => match number.to_string() {
            text if text.contains('.') => text.into(),
            text => text.parse::<i64>().unwrap().into(),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_says_what_json_says() {
    let daybook = Daybook::start().await;
    let client = &daybook.client;
    define_shops(client, &["acme"]).await;
    for day in 1..=4 {
        publish(client, "acme", "order", orders(day)).await;
    }
    publish(client, "acme", "click", json!({"at": "2024-03-01T08:00:00Z", "dims": {"page": "Größe ✓"}})).await;
    advance(client, 4).await;
    daybook.settle().await;

    let mut questions = about_sealed_days();
    questions.extend([
        ("orders", json!({})),
        ("orders", json!({"days": "last_2_days", "limit": 3, "accept_stale": false, "at_least": 1})),
        ("ranked", json!({"rank": {"ties": "dense"}})),
        ("hourly", json!({"grain": "day", "days": "week_to_date"})),
    ]);
    let (mut nulls, mut decimals) = (0, 0);
    for (view, question) in &questions {
        let by_json = ask(client, "acme", view, question.clone()).await;
        let (body, is_error) = in_messagepack(&daybook, "acme", view, question).await;
        let by_messagepack: Value = rmp_serde::from_slice(&body).unwrap();
        assert!(!is_error, "{view} {question}: {by_messagepack}");
        // All that is said besides the rows, but for the dates, which are numbers here.
        let mut expected = serde_json::to_value(&by_json).unwrap();
        for (field, date) in [("from", by_json.from), ("to", by_json.to)] {
            expected[field] = date.as_days().into();
        }
        expected["rows"] = by_json
            .rows
            .iter()
            .map(|row| row.0.iter().map(|(name, figure)| (name.to_string(), packed(figure))).collect::<Value>())
            .collect();
        expected["freshness_ms"] = by_messagepack["freshness_ms"].clone();
        assert_eq!(by_messagepack, expected, "{view} {question}");
        let cells = || by_json.rows.iter().flat_map(|row| row.0.iter()).map(|(_, figure)| figure);
        nulls += cells().filter(|figure| matches!(figure, Figure::Null)).count();
        decimals += cells().filter(|figure| packed(figure).is_string() && matches!(figure, Figure::Number(_))).count();
    }
    assert!(nulls > 0 && decimals > 0, "{nulls} nulls and {decimals} decimals were compared");

    // A page in one encoding, the next in the other.
    let page = ask(client, "acme", "orders", json!({"limit": 2})).await;
    let (body, _) = in_messagepack(&daybook, "acme", "orders", &json!({"limit": 2})).await;
    let packed_page: Value = rmp_serde::from_slice(&body).unwrap();
    assert_eq!(packed_page["next"].as_str(), page.next.as_deref());
    let next = json!({"limit": 2, "cursor": packed_page["next"]});
    assert_ne!(ask(client, "acme", "orders", next).await.rows, page.rows);

    for (view, question) in [
        ("orders", json!({"days": "tomorow"})),
        ("orders", json!({"metrics": ["turnover"]})),
        ("orders", json!({"metrisc": []})),
        ("orders", json!({"where": "channel = "})),
        ("nothing", json!({})),
        ("orders", json!({"at_least": 1_000_000})),
        ("ranked", json!({"rank": {"member": ["Nowhere"]}})),
        ("~nothing", json!({})),
    ] {
        let subject = client.connection.subjects.query("acme", view);
        let by_json = client.connection.client.request(subject, question.to_string().into()).await.unwrap();
        let by_json: AskError = serde_json::from_slice(&by_json.payload).unwrap();
        let (body, is_error) = in_messagepack(&daybook, "acme", view, &question).await;
        assert!(is_error, "{view} {question}");
        let by_messagepack: AskError = rmp_serde::from_slice(&body).unwrap();
        // Places are bytes of a body that has another form: only those in a field are the same.
        assert_eq!((by_messagepack.code, &by_messagepack.field), (by_json.code, &by_json.field), "{view} {question}");
        assert_eq!(by_messagepack.hint, by_json.hint, "{view} {question}");
    }
    let (body, is_error) = in_messagepack(&daybook, "acme", "~days", &Value::Null).await;
    let by_messagepack: Value = rmp_serde::from_slice(&body).unwrap();
    let Days { days, as_of, .. } = client.days(&tenant("acme")).await.unwrap();
    assert!(!is_error && days.len() == 4);
    assert_eq!(by_messagepack["as_of"], serde_json::to_value(as_of).unwrap());
    for (packed, day) in by_messagepack["days"].as_array().unwrap().iter().zip(&days) {
        assert_eq!(packed["date"], json!(day.date.as_days()));
        assert_eq!(packed["account"], serde_json::to_value(day.account).unwrap());
    }
}

// --- live feeds -------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_its_updates_are_what_a_question_says() {
    let daybook = Daybook::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", orders(1)).await;
    publish(&client, "acme", "order", order("quiet", 1, "post", "Visp", 1)).await;
    daybook.settle().await;

    let mut listeners = BTreeMap::new();
    for view in ["orders", "hourly", "ranked"] {
        listeners.insert(view, Listener::begin(&client, "acme", view).await);
    }
    let mut updates: Vec<LiveUpdate> = Vec::new();
    let quantity_of = |round: i64, number: i64| round * 10 + number;
    for round in 1..=4_i64 {
        // New groups, old ones that change, and an order that leaves its group for another: the last one there.
        let mut changed: Vec<Value> = (0..3)
            .map(|number| {
                let city = format!("City {number}");
                order(&format!("round-{round}-{number}"), 1, "web", &city, quantity_of(round, number))
            })
            .collect();
        let mut moving = order("moving", 1, "web", &format!("Stop {round}"), 100 * round);
        moving["version"] = round.into();
        let mut void = order(&format!("round-{}-2", round - 1), 1, "web", "City 2", 0);
        void["version"] = 2.into();
        void["status"] = "void".into();
        changed.extend([void, moving]);
        let sequence = publish(&client, "acme", "order", changed.into()).await;
        for (view, listener) in &mut listeners {
            let followed = listener.reach(sequence).await;
            let asked = ask(&client, "acme", view, json!({"at_least": sequence, "grain": grain(view)})).await;
            assert_eq!(listener.rows(), asked.rows, "{view} in round {round}");
            assert_eq!((listener.answer().to, listener.answer().day), (asked.to, asked.day));
            if *view == "orders" {
                updates.extend(followed);
            }
        }
    }
    // Only what changed is told: groups that go, and nothing of those that stay as they are.
    let removed: BTreeSet<String> = updates.iter().flat_map(|update| shown(&update.removed, "channel city")).collect();
    assert_eq!(removed.into_iter().collect::<Vec<_>>(), ["web Stop 1", "web Stop 2", "web Stop 3"]);
    let told: BTreeSet<String> = updates.iter().flat_map(|update| shown(&update.rows, "channel city")).collect();
    let expected: BTreeSet<String> = (0..3)
        .map(|number| format!("web City {number}"))
        .chain((1..=4).map(|stop| format!("web Stop {stop}")))
        .collect();
    assert_eq!(told, expected);

    // Another day begins: its rows are all there is.
    advance(&client, 2).await;
    let sequence = publish(&client, "acme", "order", orders(2)).await;
    for (view, listener) in &mut listeners {
        let followed = listener.reach(sequence).await;
        assert!(followed.iter().any(|update| update.date.to_string() == "2024-03-02"), "{view}: {followed:?}");
        let asked = ask(&client, "acme", view, json!({"at_least": sequence, "grain": grain(view)})).await;
        assert_eq!((listener.answer().to, listener.rows()), (asked.to, asked.rows), "{view}");
    }
}

/// The grain by which a feed has the rows of a view.
fn grain(view: &str) -> &'static str {
    if view == "hourly" { "hour" } else { "total" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_notices_what_it_missed_and_goes_on_from_a_new_snapshot() {
    let mut daybook = Daybook::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", orders(1)).await;
    daybook.settle().await;
    let mut listener = Listener::begin(&client, "acme", "orders").await;
    let change =
        async |id: &str, quantity| publish(&client, "acme", "order", order(id, 1, "web", "Zug", quantity)).await;
    let is_level = async |listener: &Listener, sequence| {
        let asked = ask(&client, "acme", "orders", json!({"at_least": sequence})).await;
        assert_eq!(listener.rows(), asked.rows);
    };

    // One message is lost on its way.
    change("lost", 1).await;
    let lost = listener.next().await;
    let sequence = change("seen", 2).await;
    let seen = listener.next().await;
    assert_eq!((seen.sequence, seen.as_of.inbox), (lost.sequence + 1, sequence));
    assert_eq!(listener.follow(seen), Followed::Missed);
    assert!(listener.renew().await, "the feed goes on");
    is_level(&listener, sequence).await;
    let sequence = change("next", 3).await;
    listener.reach(sequence).await;
    is_level(&listener, sequence).await;

    // With the shard its feeds are gone: the next one has another name, and the snapshot what came meanwhile.
    let feed = listener.feed().to_owned();
    daybook.stop_services().await;
    let meanwhile = change("meanwhile", 4).await;
    daybook.start_services().await;
    daybook.settle().await;
    assert!(!listener.renew().await, "the feed is another one");
    assert_ne!(listener.feed(), feed);
    assert!(listener.answer().as_of.inbox >= meanwhile);
    is_level(&listener, meanwhile).await;
    let sequence = change("after", 5).await;
    let updates = listener.reach(sequence).await;
    assert!(updates.iter().all(|update| update.feed != feed) && updates[0].sequence == 1, "{updates:?}");
    is_level(&listener, sequence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_pushed_while_somebody_asks_for_it_and_ends_with_its_lease() {
    let daybook = Daybook::start().await;
    let client = daybook.client.clone();
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    let prefix = client.connection.subjects.prefix();
    let mut pushed = client.connection.client.subscribe(format!("{prefix}.live.>")).await.unwrap();
    let mut next = async || {
        let message = tokio::time::timeout(PATIENCE, pushed.next()).await.expect("nothing is pushed").unwrap();
        serde_json::from_slice::<LiveUpdate>(&message.payload).unwrap()
    };
    let mut number = 0;
    let mut change = async || {
        number += 1;
        publish(&client, "acme", "order", order(&format!("o-{number}"), 1, "web", "Zug", 1)).await
    };

    // While nobody watches nothing is pushed: the first update is of the first view that is watched, and of nothing before.
    for _ in 0..20 {
        change().await;
        daybook.settle().await;
    }
    let feed = watch(&client, "acme", "ranked").await.feed.unwrap();
    let mut renewed = Instant::now();
    let sequence = change().await;
    let first = next().await;
    assert_eq!((first.view.as_str(), first.sequence, first.as_of.inbox), ("ranked", 1, sequence));

    // Two views of the same orders are watched; only the feed of the second is renewed. It is pushed behind the first
    // one's, so it tells that there was nothing to tell of that.
    let before = Instant::now();
    let ending = watch(&client, "acme", "orders").await.feed.unwrap();
    let after = Instant::now();
    let mut silent_for = 0;
    while silent_for < 5 {
        if renewed.elapsed() > RENEW_AFTER {
            let renewed_feed = watch(&client, "acme", "ranked").await.feed.unwrap();
            assert_eq!(renewed_feed.feed, feed.feed, "it goes on");
            renewed = Instant::now();
        }
        let published = after.elapsed();
        let sequence = change().await;
        let mut is_told = false;
        loop {
            let update = next().await;
            match update.view.as_str() {
                "orders" => {
                    assert_eq!(update.feed, ending.feed);
                    is_told |= update.as_of.inbox >= sequence;
                }
                _ if update.as_of.inbox >= sequence => break,
                _ => {}
            }
        }
        if is_told {
            assert!(published < LEASE && silent_for == 0, "pushed {published:?} after it was asked for");
        } else {
            assert!(before.elapsed() >= LEASE, "it ended {:?} after it was asked for", before.elapsed());
            silent_for += 1;
        }
    }

    // Who asks again begins another one.
    let again = watch(&client, "acme", "orders").await.feed.unwrap();
    assert!(again.feed != ending.feed && again.sequence == 0, "{again:?}");
    change().await;
    let update = next().await;
    assert_eq!((update.view.as_str(), &update.feed, update.sequence), ("orders", &again.feed, 1));
}
