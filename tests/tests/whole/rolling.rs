//! Every process is stopped in good order and started again, one after the other, under load: nothing is lost, no
//! question goes without a live answer, and no day closes late.

use daybook::client::Client;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::members::{HEARTBEAT, Heartbeat};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::reader::read_all;
use daybook_tests::asking::tenant;
use daybook_tests::processes::{PARTITIONS, Process, Processes, Service, wait_until_ready_with};
use daybook_tests::{define, eventually};
use futures::StreamExt;
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Those that events are published for; their day stays open. Two in each partition, more or less.
const SHOPS: [&str; 8] = ["acme", "bloom", "cobalt", "delta", "ember", "fjord", "grove", "heath"];
/// Those whose days are closed meanwhile, by a clock that the test drives.
const NIGHTLY: [&str; 4] = ["iris", "jade", "kite", "lark"];
const DAY: &str = "2024-03-01";
const NOON: &str = "2024-03-01T12:00:00Z";
/// Between two events, and between two questions.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(4);
const ASK_INTERVAL: Duration = Duration::from_millis(8);
/// How often each process is restarted.
const ROUNDS: usize = 2;
/// How long a client waits for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// A process that hands over is given 15 s for it by default; it should need a fraction.
const END: Duration = Duration::from_secs(8);
/// How late a marker may be at most, as day-manager itself sees it: it looks at its clock ten times a second.
const OVERDUE: Duration = Duration::from_millis(1_500);

const MODELS: &str = "
kinds:
  - { name: order, mode: entity, measures: [quantity] }
views:
  - { name: orders, kind: order, metrics: [n: count, quantity: sum(quantity)] }
";

#[tokio::test(flavor = "multi_thread")]
async fn every_process_is_restarted_under_load_and_nobody_notices() {
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::AggregatorShard {
            process.set("--replicas", "1");
        }
    })
    .await;
    let mut seconds = Vec::new();
    for service in Service::ALL {
        let mut process = daybook.another(service, &format!("{}-2", service.name()));
        if service == Service::AggregatorShard {
            process.set("--replicas", "1");
        }
        process.start();
        wait_until_ready_with(&mut process, parts(service)).await;
        seconds.push(process);
    }
    let client = daybook.client.clone();
    define(&client, &definitions()).await;
    let clock = Clocks::begin(&client).await;

    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publish(client.clone(), stop.clone()));
    let asking = tokio::spawn(ask(daybook.client.clone(), stop.clone()));
    let watching = tokio::spawn(watch_deadlines(client.clone(), stop.clone()));
    for _ in 0..ROUNDS {
        for (service, second) in Service::ALL.into_iter().zip(&mut seconds) {
            restart(service, daybook.process(service)).await;
            clock.close_a_day(&client).await;
            restart(service, second).await;
            clock.close_a_day(&client).await;
        }
    }
    stop.cancel();
    let published = publishing.await.unwrap();
    let asked = asking.await.unwrap();
    let overdue = watching.await.unwrap();
    daybook.settle().await;
    println!("{} events; {asked:?}; at most {overdue:?} overdue", published.values().sum::<u64>());

    assert!(asked.unanswered.is_empty(), "{} questions have no answer: {:?}", asked.unanswered.len(), asked.unanswered);
    assert_eq!(asked.stale, 0, "of {} answers", asked.live);
    assert!(asked.live > 500, "{asked:?}");
    assert!(overdue < OVERDUE, "{overdue:?}");
    for (shop, published) in &published {
        assert_eq!(counted(&client, shop).await, *published, "{shop}");
        let days = client.days(&tenant(shop)).await.unwrap().days;
        assert!(days.iter().all(|day| day.account.balances()), "{days:?}");
        assert_eq!(days.iter().map(|day| day.account.published).sum::<u64>(), *published, "{shop}");
    }
    clock.check(&client).await;
}

/// The broker, and what a process runs that shares with another one.
fn parts(service: Service) -> usize {
    match service {
        Service::Ingest | Service::AggregatorShard => 1 + usize::from(PARTITIONS) / 2,
        Service::DayManager | Service::Query => 2,
    }
}

/// Ends a process in good order and starts it again.
async fn restart(service: Service, process: &mut Process) {
    let logged = process.log().len();
    let (status, took) = process.terminate().await;
    println!("{service:?} ended after {took:?}");
    assert!(status.success() && took < END, "{service:?} ended with {status} after {took:?}");
    let log = process.log();
    assert!(!log[logged..].contains("started again"), "{service:?} was started again while it stopped:\n{log}");
    process.start();
    wait_until_ready_with(process, parts(service)).await;
}

fn definitions() -> String {
    let mut yaml = format!("{MODELS}tenants:\n");
    for (clock, tenants) in [("shop", &SHOPS[..]), ("night", &NIGHTLY[..])] {
        for id in tenants {
            yaml.push_str(&format!(
                "  - {{ id: {id}, zone: Etc/UTC, cutoff: '00:00', first_day: {DAY}, clock: {clock}, restate_after: 0s, max_ahead: 8784h }}\n"
            ));
        }
    }
    yaml
}

// --- nobody takes over ---

/// A shard that never becomes ready, as far as the others are told. It is known to them, and ends with the value.
async fn ghost(client: &Client) -> JoinSet<()> {
    let heartbeat = Heartbeat::of("aggregator-shard", "ghost");
    let subject = client.connection.subjects.members("aggregator-shard");
    let mut heard = client.connection.client.subscribe(subject.clone()).await.unwrap();
    let (client, payload) = (client.clone(), serde_json::to_vec(&heartbeat).unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut tick = tokio::time::interval(HEARTBEAT);
        loop {
            tick.tick().await;
            client.connection.client.publish(subject.clone(), payload.clone().into()).await.unwrap();
        }
    });
    // A member that has told of itself three times since has heard of it.
    let mut told = 0;
    while told < 3 {
        let message = tokio::time::timeout(daybook_tests::PATIENCE, heard.next()).await.unwrap().unwrap();
        let heartbeat: Heartbeat = serde_json::from_slice(&message.payload).unwrap();
        told += usize::from(heartbeat.instance != "ghost");
    }
    task
}

/// Asks the only shard to end, with a ghost to take over from it, and waits until it tells so while it serves.
async fn leaves_to_a_ghost(daybook: &mut Processes) -> JoinSet<()> {
    let client = daybook.client.clone();
    define(&client, &definitions()).await;
    let _clocks = Clocks::begin(&client).await;
    let mut heard = client.connection.client.subscribe(client.connection.subjects.members("*")).await.unwrap();
    let ghost = ghost(&client).await;
    daybook.process(Service::AggregatorShard).signal(Signal::TERM);
    let told = async {
        while let Some(message) = heard.next().await {
            let heartbeat: Heartbeat = serde_json::from_slice(&message.payload).unwrap();
            if heartbeat.service == "aggregator-shard" && heartbeat.leaving {
                return heartbeat;
            }
        }
        unreachable!("the subscription does not end")
    };
    let told = tokio::time::timeout(daybook_tests::PATIENCE, told).await.unwrap();
    assert!(!told.gone && told.parts.len() == usize::from(PARTITIONS), "{told:?}");
    assert!(told.parts.values().all(|part| part.ready), "{told:?}");
    for shop in SHOPS {
        let query = Query::days(DaySelector::Date(DAY.parse().unwrap()));
        assert!(!client.query(&tenant(shop), "orders", &query).await.unwrap().stale, "{shop}");
    }
    ghost
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hands_over_to_nobody_ends_at_a_second_signal() {
    let mut daybook = sharing("60000").await;
    let _ghost = leaves_to_a_ghost(&mut daybook).await;
    let (status, took) = daybook.process(Service::AggregatorShard).terminate().await;
    assert!(status.success() && took < END, "{status} after {took:?}");
    assert!(daybook.process(Service::AggregatorShard).log().contains("asked to end once more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hands_over_to_nobody_ends_when_its_time_is_over() {
    let mut daybook = sharing("3000").await;
    let _ghost = leaves_to_a_ghost(&mut daybook).await;
    let status = daybook.process(Service::AggregatorShard).ended().await;
    assert!(status.success(), "{status}");
    assert!(daybook.process(Service::AggregatorShard).log().contains("not everything was taken over in time"));
}

/// A Daybook whose shards share the partitions, with so much time to hand over.
async fn sharing(drain_timeout_ms: &'static str) -> Processes {
    Processes::start_with(move |service, process| {
        if service == Service::AggregatorShard {
            process.set("--replicas", "1");
            process.set("--drain-timeout-ms", drain_timeout_ms);
        }
    })
    .await
}

// --- load ---

/// Publishes orders until `stop`; how many of each shop are in INBOX.
async fn publish(client: Client, stop: CancellationToken) -> BTreeMap<&'static str, u64> {
    let mut published = BTreeMap::new();
    let mut tick = tokio::time::interval(PUBLISH_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let shop = SHOPS[number % SHOPS.len()];
        let event = json!({"id": format!("{number}"), "at": NOON, "measures": {"quantity": 1}}).to_string();
        let subject = client.connection.subjects.input(shop, "order");
        client.connection.jetstream.publish(subject, event.into()).await.unwrap().await.unwrap();
        *published.entry(shop).or_default() += 1;
    }
    published
}

/// What became of the questions.
#[derive(Debug, Default)]
struct Asked {
    live: u64,
    stale: u64,
    /// When, and why.
    unanswered: Vec<(Duration, String)>,
    longest: Duration,
}

/// Asks until `stop`, at a pace that no answer changes.
async fn ask(client: Client, stop: CancellationToken) -> Asked {
    let began = Instant::now();
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut questions = JoinSet::new();
    let mut tick = tokio::time::interval(ASK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let (client, asked) = (client.clone(), asked.clone());
        questions.spawn(async move {
            let query = Query::days(DaySelector::Date(DAY.parse().unwrap()));
            let (at, shop) = (Instant::now(), tenant(SHOPS[number % SHOPS.len()]));
            let answer = tokio::time::timeout(ANSWER_DEADLINE, client.query(&shop, "orders", &query)).await;
            let mut asked = asked.lock().await;
            asked.longest = asked.longest.max(at.elapsed());
            match answer {
                Ok(Ok(answer)) if answer.stale => asked.stale += 1,
                Ok(Ok(_)) => asked.live += 1,
                Ok(Err(error)) => asked.unanswered.push((at - began, format!("{shop}: {error}"))),
                Err(_) => asked.unanswered.push((at - began, format!("{shop}: nothing came"))),
            }
        });
        while questions.try_join_next().is_some() {}
    }
    while questions.join_next().await.is_some() {}
    Arc::into_inner(asked).unwrap().into_inner()
}

/// How many orders of a shop the figures count.
async fn counted(client: &Client, shop: &str) -> u64 {
    let query = Query::days(DaySelector::Date(DAY.parse().unwrap()));
    let answer = client.query(&tenant(shop), "orders", &query).await.unwrap();
    answer.rows[0].get("n").unwrap().to_string().parse().unwrap()
}

// --- days ---

/// The longest that day-manager has said a marker to be overdue by.
async fn watch_deadlines(client: Client, stop: CancellationToken) -> Duration {
    let mut longest = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while !stop.is_cancelled() {
        tick.tick().await;
        // Between the end of one and the next request there may be nobody for a moment.
        if let Ok(standing) = client.days_standing().await {
            longest = longest.max(standing.overdue_ms);
        }
    }
    Duration::from_millis(longest)
}

/// Days that end while the processes are restarted: by a clock that is driven, and by the system's.
struct Clocks {
    /// How often the driven clock was moved on by a day.
    closed: AtomicU64,
    /// Tenants whose day ends at the next full minutes.
    minutes: Vec<TenantId>,
}

impl Clocks {
    async fn begin(client: &Client) -> Self {
        let now = daybook_runtime::clock::now().as_millis() / 60_000;
        let mut yaml = "tenants:\n".to_owned();
        let mut minutes = Vec::new();
        for minute in now + 1..=now + 3 {
            let (hour, minute) = (minute / 60 % 24, minute % 60);
            let id = format!("minute-{minute}");
            let cutoff = format!("{hour:02}:{minute:02}");
            yaml.push_str(&format!("  - {{ id: {id}, zone: Etc/UTC, cutoff: '{cutoff}' }}\n"));
            minutes.push(tenant(&id));
        }
        define(client, &yaml).await;
        for clock in ["shop", "night"] {
            let advance = ClockAdvance { clock: Name::new(clock).unwrap(), advance_to: NOON.parse().unwrap() };
            client.advance(&advance).await.unwrap();
        }
        // Their present day began before they were defined.
        eventually("the first days", || async { (client.days_standing().await.ok()?.overdue_ms == 0).then_some(()) })
            .await;
        Self { closed: AtomicU64::new(0), minutes }
    }

    /// Moves the driven clock on by a day.
    async fn close_a_day(&self, client: &Client) {
        let closed = self.closed.fetch_add(1, Ordering::SeqCst) + 1;
        let advance_to = format!("2024-03-{:02}T12:00:00Z", 1 + closed).parse().unwrap();
        let advance = ClockAdvance { clock: Name::new("night").unwrap(), advance_to };
        client.advance(&advance).await.unwrap();
    }

    /// Checks that every day that was to close did, once, with a report.
    async fn check(&self, client: &Client) {
        let closed = self.closed.load(Ordering::SeqCst);
        for id in NIGHTLY {
            let dates = closes_of(client, &tenant(id)).await;
            let expected: Vec<Date> = (1..=closed).map(|day| format!("2024-03-{day:02}").parse().unwrap()).collect();
            assert_eq!(dates, expected, "{id}");
            for date in dates {
                eventually("the report", || async { client.report(&tenant(id), date).await.unwrap() }).await;
            }
        }
        for id in &self.minutes {
            let twice = closes_of(client, id).await;
            assert!(twice.len() <= 1, "{id}: {twice:?}");
        }
        assert_eq!(client.days_standing().await.unwrap().overdue_ms, 0);
    }
}

/// The dates of a tenant's close markers, in order.
async fn closes_of(client: &Client, tenant: &TenantId) -> Vec<Date> {
    let subjects = &client.connection.subjects;
    let markers = read_all(&client.connection, subjects.days_stream(), subjects.every_day(), 1).await;
    let markers = markers.into_iter().map(|message| serde_json::from_slice::<DayMarker>(&message.payload).unwrap());
    markers.filter(|m| m.tenant == *tenant && m.edge == Edge::Closed).map(|m| m.day.date).collect()
}
