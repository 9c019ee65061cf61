//! Overload has an order: live updates go first, then the freshness of answers; never an event, never a seal. And a
//! tenant that takes more than its quotas is refused and told so, while its neighbour notices nothing.

use daybook::client::Client;
use daybook::commands::replay::progress;
use daybook::verification::verify::{Scope, verify};
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{Answer, AskErrorCode};
use daybook_contracts::reject::{Code, Reject};
use daybook_contracts::report::{Account, Coverage};
use daybook_domain::ids::{InboxSeq, Name, Partition};
use daybook_runtime::append::last_message;
use daybook_tests::asking::{ask, query, refused, sealed, tenant};
use daybook_tests::gate::Gate;
use daybook_tests::processes::{PARTITIONS, Processes, Service};
use daybook_tests::reading::{Listener, define_shops, order, publish, sum, watch};
use daybook_tests::{PATIENCE, define, eventually};
use futures::TryStreamExt;
use futures::future::join_all;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DAY: &str = "2024-03-01";
/// Orders of each shop that the shard is driven behind: each is a batch of the log, or two together.
const BACKLOG: usize = 120;
/// Batches that the shard is left behind by when it is to be behind a little.
const LEFT: u64 = 40;
/// For how long query gives an answer again; while a shard is strained, 25 times as long.
const STALENESS: Duration = Duration::from_millis(80);

/// A tenant other than `id` in the same partition.
fn neighbour(id: &str) -> String {
    let shared = Partition::of(id, PARTITIONS);
    (0..).map(|number| format!("modest-{number}")).find(|id| Partition::of(id, PARTITIONS) == shared).unwrap()
}

/// Defines a tenant of the shop on a clock of its own, with quotas in the words of YAML.
async fn define_tenant(client: &Client, id: &str, clock: &str, quotas: &str) {
    let yaml = format!(
        "tenants:\n  - {{ id: {id}, zone: Etc/UTC, cutoff: '00:00', first_day: {DAY}, clock: {clock}, quotas: {{ {quotas} }} }}\n"
    );
    define(client, &yaml).await;
}

async fn advance(client: &Client, clock: &str, to: &str) {
    let advance = ClockAdvance { clock: Name::new(clock).unwrap(), advance_to: to.parse().unwrap() };
    client.advance(&advance).await.unwrap();
}

/// The account of the first day, which must balance.
async fn account(client: &Client, id: &str) -> Account {
    let days = client.days(&tenant(id)).await.unwrap().days;
    let day = days.iter().find(|day| day.date.to_string() == DAY).unwrap();
    assert!(day.account.balances(), "{id}: {day:?}");
    day.account
}

/// A shop that stays open and one that closes, in one partition, whose shard reads the log through a gate.
struct Driven {
    daybook: Processes,
    gate: Gate,
    open: &'static str,
    closing: String,
    /// Where each order of the open shop stands in INBOX; the `n`th is of the quantity `n`.
    published: Vec<InboxSeq>,
    listener: Listener,
}

impl Driven {
    async fn start() -> Self {
        let mut daybook = Processes::start_with(|service, process| {
            if service == Service::Query {
                process.set("--max-staleness-ms", &STALENESS.as_millis().to_string());
            }
        })
        .await;
        let client = daybook.client.clone();
        let gate = Gate::new(daybook.broker.broker.client_url(), &client.connection.subjects.events_stream()).await;
        let shard = daybook.process(Service::AggregatorShard);
        shard.terminate().await;
        shard.set("--nats", &gate.url());
        daybook.start_missing().await;
        let (open, closing) = ("busy", neighbour("busy"));
        define_shops(&client, &[open]).await;
        define_tenant(&client, &closing, "night", "").await;
        for clock in ["shop", "night"] {
            advance(&client, clock, "2024-03-01T12:00:00Z").await;
        }
        daybook.settle().await;
        let listener = Listener::begin(&client, open, "orders").await;
        Self { daybook, gate, open, closing, published: Vec::new(), listener }
    }

    /// An order of each shop.
    async fn publish(&mut self) {
        let (number, client) = (self.published.len(), &self.daybook.client);
        let order = order(&number.to_string(), 1, "web", "Bern", number as i64);
        publish(client, &self.closing, "order", order.clone()).await;
        self.published.push(publish(client, self.open, "order", order).await);
    }

    /// Publishes [`BACKLOG`] orders of each shop into the log, of which the shard knows nothing.
    async fn pile_up(&mut self) {
        self.gate.shut();
        let client = self.daybook.client.clone();
        let (subjects, partition) = (&client.connection.subjects, Partition::of(self.open, PARTITIONS));
        let (stream, subject) = (subjects.events_stream(), subjects.events(partition));
        let log = client.connection.jetstream.get_stream(&stream).await.unwrap();
        let consumers: Vec<_> = log.consumers().try_collect().await.unwrap();
        for reader in consumers.iter().filter(|consumer| consumer.config.filter_subjects.contains(&subject)) {
            log.delete_consumer(&reader.name).await.unwrap();
        }
        let end = async || last_message(&client.connection, &stream, &subject).await.map_or(0, |last| last.sequence);
        let mut last = end().await;
        for _ in 0..BACKLOG {
            self.publish().await;
            // What comes together would become one batch.
            let began = Instant::now();
            while end().await == last {
                assert!(began.elapsed() < PATIENCE, "nothing is appended");
            }
            last = end().await;
        }
    }

    async fn shed(&mut self, service: Service, what: &str) -> f64 {
        self.daybook.process(service).metric(&format!("daybook_shed_total{{what=\"{what}\"}}")).await
    }

    async fn live_shed(&mut self) -> f64 {
        self.shed(Service::AggregatorShard, "live").await
    }

    async fn freshness_shed(&mut self) -> f64 {
        self.shed(Service::Query, "freshness").await
    }

    /// How many batches the shard knows to be behind.
    async fn lag(&mut self) -> f64 {
        let partition = Partition::of(self.open, PARTITIONS);
        let series = format!("daybook_shard_lag_batches{{partition=\"{partition}\"}}");
        self.daybook.process(Service::AggregatorShard).metric(&series).await
    }

    /// Asks for the open shop's figures, and again when the answer is older than usual. Whether it was given again.
    async fn is_given_again(&mut self) -> bool {
        let before = self.freshness_shed().await;
        self.ask(json!({ "days": DAY })).await;
        tokio::time::sleep(STALENESS + Duration::from_millis(20)).await;
        let answer = self.ask(json!({ "days": DAY })).await;
        let is_given_again = self.freshness_shed().await > before;
        assert!(
            !is_given_again || answer.freshness_ms > STALENESS.as_millis() as u64,
            "it says how old it is: {answer:?}"
        );
        is_given_again
    }

    /// An answer, which must be exact for the position that it names.
    async fn ask(&self, question: Value) -> Answer {
        let answer = ask(&self.daybook.client, self.open, "orders", question).await;
        let known = self.published.partition_point(|sequence| *sequence <= answer.as_of.inbox);
        assert_eq!((sum(&answer.rows, "n"), sum(&answer.rows, "quantity")), (known, (0..known).sum()), "{answer:?}");
        assert!(!answer.stale && answer.coverage == Coverage::Complete, "{answer:?}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_behind_the_log_sheds_live_updates_then_freshness_and_loses_nothing() {
    let mut driven = Driven::start().await;
    driven.publish().await;
    driven.listener.reach(driven.published[0]).await;
    assert!(!driven.is_given_again().await, "the shard is level");
    assert_eq!((driven.live_shed().await, driven.freshness_shed().await), (0.0, 0.0));

    driven.pile_up().await;
    assert_eq!((driven.live_shed().await, driven.lag().await), (0.0, 0.0), "it does not know yet");
    driven.gate.let_through(1);
    // Nothing has to be asked for live updates to go; answers are given again once query has heard of it.
    let began = Instant::now();
    while driven.live_shed().await == 0.0 {
        assert!(began.elapsed() < PATIENCE, "nothing is shed");
        assert_eq!(driven.freshness_shed().await, 0.0, "live updates go first");
    }
    while !driven.is_given_again().await {
        assert!(began.elapsed() < PATIENCE, "freshness is not shed");
    }
    let lag = driven.lag().await as u64;
    assert!(lag > 64, "{lag}");
    // Whoever does not accept that is answered by the shard, far behind as it is.
    let before = driven.freshness_shed().await;
    let answer = driven.ask(json!({ "days": DAY, "accept_stale": false })).await;
    assert!(answer.as_of.inbox < driven.published[BACKLOG], "{answer:?}");
    assert!(answer.freshness_ms > 0, "{answer:?}");
    assert_eq!(driven.freshness_shed().await, before);

    // A day closes meanwhile. Its marker stands behind everything in the log, so nothing can be sealed yet.
    let client = driven.daybook.client.clone();
    advance(&client, "night", "2024-03-02T12:00:00Z").await;
    let closing = driven.closing.clone();
    assert!(client.report(&tenant(&closing), DAY.parse().unwrap()).await.unwrap().is_none());

    // Less far behind, it answers afresh; nothing is pushed until it has caught up.
    driven.gate.let_through(lag - LEFT);
    let began = Instant::now();
    while driven.is_given_again().await {
        assert!(began.elapsed() < PATIENCE, "freshness is still shed");
    }
    let (lag, live, freshness) = (driven.lag().await, driven.live_shed().await, driven.freshness_shed().await);
    assert!((5.0..=64.0).contains(&lag), "{lag}");
    while driven.live_shed().await == live {
        assert!(began.elapsed() < PATIENCE, "live updates are not shed any more");
    }
    assert!(!driven.is_given_again().await);
    assert_eq!(driven.freshness_shed().await, freshness);

    driven.gate.open();
    driven.daybook.settle().await;
    let last = *driven.published.last().unwrap();
    let updates = driven.listener.reach(last).await;
    // The first update behind the last that was pushed before is of when it had caught up: all changes, put together.
    assert!(updates[0].as_of.inbox >= driven.published[BACKLOG - 4], "{:?}", updates[0].as_of);
    let answer = driven.ask(json!({ "at_least": last.0 })).await;
    assert_eq!(driven.listener.rows(), answer.rows);

    // Every event that was acknowledged is counted, and the day is sealed with all of them.
    let count = driven.published.len();
    assert_eq!(count, BACKLOG + 1);
    for id in [driven.open, &closing] {
        let account = account(&client, id).await;
        assert_eq!((account.published, account.counted), (count as u64, count as u64), "{id}");
    }
    let report = sealed(&client, &closing, DAY).await.report;
    assert_eq!((report.version, report.dispositions.counted), (1, count as u64));
    let orders = &report.views[&Name::new("orders").unwrap()].rows;
    assert_eq!((sum(orders, "n"), sum(orders, "quantity")), (count, (0..count).sum()));
    let outcome = verify(&client.connection, Scope::All, &progress(None, true)).await.unwrap();
    assert!(outcome.is_sound() && outcome.verified.count == 1, "{:?}", outcome.differences);
}

// --- a tenant over its quotas -----------------------------------------------------------------------------------------

/// Events of one message, and how many such messages are published at once. A bucket holds ten thousand events.
const EVENTS: usize = 1_000;
const MESSAGES: usize = 15;
/// Orders of a message that is large by their notes. A bucket holds a mebibyte.
const LARGE: usize = 500;
/// Writes of the neighbour, at least.
const WRITES: usize = 10;

/// Clicks in one message, as short as they can be.
fn clicks() -> Value {
    (0..EVENTS).map(|_| json!({ "at": "2024-03-01T12:00:00Z" })).collect()
}

/// Orders in one message, each with a note of so many bytes.
fn large(note: usize) -> Value {
    let noted = |number: usize| {
        let mut order = order(&format!("{number}-{note}"), 1, "web", "Bern", 1);
        order["note"] = "x".repeat(note).into();
        order
    };
    (0..LARGE).map(noted).collect()
}

/// The first day's figures, once they rest on that sequence of INBOX.
async fn ask_at_least(client: &Client, id: &str, sequence: InboxSeq) -> Answer {
    let question = query(json!({ "days": DAY, "at_least": sequence.0 }));
    eventually("a write that is read", async || client.query(&tenant(id), "orders", &question).await.ok()).await
}

/// Publishes orders of the tenant one by one until `is_over`, each of which must soon be seen by who asks and who listens.
async fn go_on(client: &Client, id: &str, listener: &mut Listener, is_over: &AtomicBool) -> usize {
    let mut written = 0;
    while written < WRITES || !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let order = order(&written.to_string(), 1, "shop", "Chur", 3);
        let sequence = publish(client, id, "order", order).await;
        written += 1;
        let answer = ask_at_least(client, id, sequence).await;
        assert!(answer.freshness_ms < 1_000 && !answer.stale, "{answer:?}");
        assert_eq!((sum(&answer.rows, "n"), sum(&answer.rows, "quantity")), (written, 3 * written));
        listener.reach(sequence).await;
        assert_eq!(listener.rows(), answer.rows);
        assert!(began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_all_its_quotas_is_refused_loudly_and_its_neighbour_notices_nothing() {
    let mut daybook = Processes::start().await;
    let client = daybook.client.clone();
    let modest = neighbour("greedy");
    define_shops(&client, &[&modest]).await;
    define_tenant(&client, "greedy", "shop", "events_per_second: 1, bytes_per_second: 1000, feeds: 1").await;
    advance(&client, "shop", "2024-03-01T12:00:00Z").await;
    daybook.settle().await;
    let mut listener = Listener::begin(&client, &modest, "orders").await;

    let is_over = AtomicBool::new(false);
    let flood = async {
        watch(&client, "greedy", "orders").await;
        let error = refused(&client, "greedy", "clicks", json!({ "watch": true })).await;
        assert_eq!(error.code, AskErrorCode::Quota);
        assert!(error.message.contains("1 live feeds") && error.hint.is_some(), "{error}");
        // A quarter of the bytes; then events up to the brim of the bucket; then more bytes than are left.
        publish(&client, "greedy", "order", large(400)).await;
        let stored = join_all((0..MESSAGES).map(|_| publish(&client, "greedy", "click", clicks()))).await;
        // What is refused in one batch is one reject, whatever quota it was over.
        ask_at_least(&client, "greedy", stored.into_iter().max().unwrap()).await;
        let last = publish(&client, "greedy", "order", large(1_500)).await;
        ask_at_least(&client, "greedy", last).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (_, written) = tokio::join!(flood, go_on(&client, &modest, &mut listener, &is_over));
    // What was refused cost nothing: what is still left can be used.
    publish(&client, "greedy", "click", json!({ "at": "2024-03-01T12:00:00Z" })).await;
    daybook.settle().await;

    let taken = (10_000 - LARGE) / EVENTS;
    let (counted, over) = ((LARGE + taken * EVENTS + 1) as u64, ((MESSAGES - taken) * EVENTS) as u64);
    let of_greedy = account(&client, "greedy").await;
    assert_eq!((of_greedy.counted, of_greedy.rejected), (counted, over + LARGE as u64));
    let (told, _) = client.asker.rejects(&tenant("greedy"), usize::MAX).await.unwrap();
    let events = |code| told.iter().filter(|reject| reject.code == code).map(Reject::events).sum::<u64>();
    assert_eq!((events(Code::QuotaEvents), events(Code::QuotaBytes)), (over, LARGE as u64));
    assert_eq!(told.iter().map(Reject::events).sum::<u64>(), of_greedy.rejected);
    for (code, reason) in
        [(Code::QuotaEvents, "quota of 1 events a second"), (Code::QuotaBytes, "quota of 1000 bytes a second")]
    {
        assert!(told.iter().all(|reject| reject.code != code || reject.reason.contains(reason)), "{told:?}");
        let series = format!("daybook_ingest_rejects_total{{code=\"{}\"}}", code.as_str());
        assert_eq!(daybook.process(Service::Ingest).metric(&series).await, events(code) as f64, "{series}");
    }

    assert!(client.asker.rejects(&tenant(&modest), usize::MAX).await.unwrap().0.is_empty());
    advance(&client, "shop", "2024-03-02T12:00:00Z").await;
    daybook.settle().await;
    for (id, counted, rejected) in [("greedy", counted, of_greedy.rejected), (&modest, written as u64, 0)] {
        let dispositions = sealed(&client, id, DAY).await.report.dispositions;
        assert_eq!((dispositions.counted, dispositions.rejected), (counted, rejected), "{id}");
        assert_eq!(dispositions.published, counted + rejected, "{id}");
    }
}
