//! The four services as separate processes: killed, stopped, doubled and damaged, the reports come out the same.

use daybook::client::Client;
use daybook::replayer::{Replayer, Tally};
use daybook::source::EventSource;
use daybook_contracts::admin::{ClockAdvance, ClockReply};
use daybook_contracts::ask::{DaySelector, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Record};
use daybook_contracts::report::{Account, Figure, Report, Row, ViewRows};
use daybook_domain::ids::{InboxSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_random::Random;
use daybook_runtime::reader::read_all;
use daybook_tests::processes::{Process, Processes, Service, wait_until_ready, wait_until_ready_among};
use daybook_tests::{eventually, flights};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// The day in which the first flights of the March slice are announced, and its first and last expected one.
const FIRST_DAY: &str = "2013-03-07";
const FROM: &str = "2013-03-08";
const TO: &str = "2013-03-12";
/// How far the clock runs on after the last event.
const RUN_ON: Duration = Duration::from_secs(48 * 3600);
/// Within what a process that was asked to end must have ended.
const END: Duration = Duration::from_secs(5);

// --- what is replayed ---

/// A replay of the March slice under way.
struct March {
    task: JoinHandle<Tally>,
    /// Lines published so far.
    line: Arc<AtomicU64>,
}

impl March {
    fn begin(client: &Client) -> Self {
        let line = Arc::new(AtomicU64::new(0));
        let (progress, client) = (line.clone(), client.clone());
        let task = tokio::spawn(async move {
            let mut replayer = Replayer::new(client, flights::replay_options());
            let mut source = march();
            while let Some((number, line)) = source.next_line().unwrap() {
                assert!(replayer.publish(number, line, None).await.unwrap());
                progress.store(number, Ordering::SeqCst);
            }
            let last = replayer.last_time().unwrap();
            replayer.advance(last.after(RUN_ON)).await.unwrap();
            replayer.tally
        });
        Self { task, line }
    }

    /// Waits until so many lines are published.
    async fn reaches(&self, line: u64) {
        eventually(&format!("line {line}"), || async {
            (self.line.load(Ordering::SeqCst) >= line || self.task.is_finished()).then_some(())
        })
        .await;
    }

    async fn end(self) -> Tally {
        self.task.await.unwrap()
    }
}

fn march() -> EventSource {
    EventSource::open(&flights::file("data/march.ndjson.zst")).unwrap()
}

/// Everything of the March slice, one after the other.
async fn replay_march(daybook: &Processes) -> Tally {
    flights::define(&daybook.client, FIRST_DAY).await;
    let tally = March::begin(&daybook.client).end().await;
    daybook.settle().await;
    tally
}

/// How often the slice holds each version of each flight.
fn recorded_versions() -> BTreeMap<(String, String, u64), u64> {
    let mut versions = BTreeMap::new();
    let mut source = march();
    while let Some((_, line)) = source.next_line().unwrap() {
        let event: Value = serde_json::from_slice(&line).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        *versions.entry((text("tenant"), text("id"), event["version"].as_u64().unwrap())).or_default() += 1;
    }
    versions
}

// --- what must hold ---

type Figures = BTreeMap<(TenantId, Date), (u32, BTreeMap<Name, ViewRows>)>;

/// Checks everything that must hold after the March slice, whatever happened to the processes, and that the reports are
/// those of a run in which nothing did.
async fn check_march(daybook: &Processes, tally: &Tally) {
    let figures = check_figures(&daybook.client).await;
    assert!(figures == *undisturbed().await, "the reports differ from those of an undisturbed run");
    let events = check_log(&daybook.client, tally).await;
    let published = check_accounts(&daybook.client).await;
    assert_eq!(published, events, "the accounts do not hold what the log does");
    check_markers(&daybook.client).await;
    check_versions(&daybook.client).await;
}

/// The reports of a run in which nothing happens to the processes.
async fn undisturbed() -> &'static Figures {
    static UNDISTURBED: OnceCell<Figures> = OnceCell::const_new();
    UNDISTURBED
        .get_or_init(|| async {
            let daybook = Processes::start().await;
            let tally = replay_march(&daybook).await;
            assert_eq!((tally.published, tally.repeated), (13_543, 0));
            check_figures(&daybook.client).await
        })
        .await
}

/// Checks every expected row of the slice; the figures of all reports.
async fn check_figures(client: &Client) -> Figures {
    let expected = std::fs::read_to_string(flights::file("expected/march/daily.csv")).unwrap();
    flights::check(client, &expected, FROM, TO).await;
    let reports = flights::reports(client, Date::MIN, Date::MAX).await;
    reports.into_iter().map(|r: Report| ((r.tenant, r.date), (r.version, r.views))).collect()
}

/// Checks that the log holds every event of the slice, takes every INBOX message once and in order, and no more events
/// than were published; how many it holds.
async fn check_log(client: &Client, tally: &Tally) -> u64 {
    let mut missing = recorded_versions();
    let in_file: u64 = missing.values().sum();
    let mut count = 0;
    for partition in Partition::all(client.connection.partitions) {
        let subjects = &client.connection.subjects;
        let mut last = (InboxSeq(0), 0);
        for message in read_all(&client.connection, subjects.events_stream(), subjects.events(partition), 1).await {
            for record in Batch::decode(&message.payload).unwrap().records {
                let events = match record {
                    Record::Events(events) => events,
                    Record::Rejected(reject) => panic!("an event was rejected: {reject:?}"),
                    Record::Day(_) | Record::Define(_) | Record::Restate(_) => continue,
                };
                for event in events.events {
                    let place = (events.inbox, event.index + 1);
                    assert!(place > last, "partition {partition} takes {place:?} after {last:?}");
                    last = place;
                    count += 1;
                    let id = event.id.unwrap().to_string();
                    let key = (events.tenant.to_string(), id, event.version.unwrap());
                    if let Some(times) = missing.get_mut(&key) {
                        *times = times.saturating_sub(1);
                    } else {
                        panic!("{key:?} was never published");
                    }
                }
            }
        }
    }
    missing.retain(|_, times| *times > 0);
    let lost: Vec<_> = missing.keys().take(10).collect();
    assert!(missing.is_empty(), "{} of {in_file} events are lost, such as {lost:?}", missing.len());
    // What the replayer published again may stand there twice.
    let most = in_file + tally.repeated;
    assert!((in_file..=most).contains(&count), "{count} events in the log; published were {in_file} to {most}");
    count
}

/// Checks that every day's account balances; how many events were published by all of them together.
async fn check_accounts(client: &Client) -> u64 {
    let mut total = Account::default();
    for tenant in client.tenants().await.unwrap() {
        let days = eventually("the days", || async { client.days(&tenant.id).await.ok() }).await;
        for day in days.days {
            assert!(day.account.balances(), "{} {}: {:?}", tenant.id, day.date, day.account);
            total.add(&day.account);
        }
    }
    assert_eq!((total.rejected, total.carried), (0, 0), "{total:?}");
    total.published
}

/// Checks that every tenant's days were opened and closed in order, each once.
async fn check_markers(client: &Client) {
    let subjects = &client.connection.subjects;
    let mut ends: BTreeMap<(TenantId, &str), Date> = BTreeMap::new();
    for message in read_all(&client.connection, subjects.days_stream(), subjects.every_day(), 1).await {
        let marker: DayMarker = serde_json::from_slice(&message.payload).unwrap();
        let (tenant, date) = (marker.tenant, marker.day.date);
        let before = ends.insert((tenant.clone(), marker.edge.as_str()), date);
        let due = before.map_or(FIRST_DAY.parse().unwrap(), Date::next);
        assert_eq!(date, due, "{tenant} {}", marker.edge.as_str());
        if marker.edge == Edge::Closed {
            let opened = ends[&(tenant.clone(), Edge::Opened.as_str())];
            assert!(opened > date, "{tenant} {date} was closed before its successor was opened");
        }
    }
}

/// Checks that of every report each version was written once, in order.
async fn check_versions(client: &Client) {
    let subjects = &client.connection.subjects;
    let mut versions: BTreeMap<String, u32> = BTreeMap::new();
    for message in read_all(&client.connection, subjects.reports_stream(), subjects.reports_of("*"), 1).await {
        let report: Report = serde_json::from_slice(&message.payload).unwrap();
        let version = versions.entry(message.subject.to_string()).or_default();
        *version += 1;
        assert_eq!(report.version, *version, "{}", message.subject);
    }
}

// --- undisturbed ---

#[tokio::test(flavor = "multi_thread")]
async fn separate_processes_give_every_expected_report_and_tell_how_they_are() {
    let mut daybook = Processes::start().await;
    let tally = replay_march(&daybook).await;
    assert_eq!((tally.published, tally.repeated), (13_543, 0));
    check_march(&daybook, &tally).await;
    for service in Service::ALL {
        let process = daybook.process(service);
        let (status, body) = process.get("/healthz").await.unwrap();
        let health: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &health["ready"], &health["live"]), (200, &true.into(), &true.into()), "{service:?}");
        assert_eq!(process.get("/healthz/live").await.unwrap().0, 200);
        let (status, metrics) = process.get("/metrics").await.unwrap();
        assert_eq!(status, 200);
        check_metrics(service, &metrics);
    }
}

/// Checks the text format of Prometheus, and that the service says something about itself.
fn check_metrics(service: Service, text: &str) {
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(comment.starts_with("TYPE ") || comment.starts_with("HELP "), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
        names.insert(series.split('{').next().unwrap());
    }
    let wanted = match service {
        Service::DayManager => "daybook_day_markers_total",
        Service::Ingest => "daybook_ingest_records_total",
        Service::AggregatorShard => "daybook_shard_records_total",
        Service::Query => "daybook_queries_total",
    };
    assert!(names.contains(wanted), "{service:?}: no {wanted} in {names:?}");
    assert!(names.iter().all(|name| name.starts_with("daybook_")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_is_ready_without_its_broker() {
    let mut daybook = Processes::start().await;
    let mut later: Vec<Process> =
        Service::ALL.map(|service| daybook.another(service, &format!("later-{}", service.name()))).into();
    daybook.broker.broker.kill().await.unwrap();
    later.iter_mut().for_each(Process::start);
    for process in &mut later {
        let (status, body) = process.get("/healthz").await.unwrap();
        assert_eq!(status, 503, "{body}");
        assert_eq!(process.get("/healthz/live").await.unwrap().0, 200);
    }
    for service in Service::ALL {
        becomes(daybook.process(service), 503).await;
    }
    daybook.broker.broker.restart().await.unwrap();
    for (process, service) in later.iter_mut().zip(Service::ALL) {
        wait_until_ready_among(process, service, 2).await;
        becomes(daybook.process(service), 200).await;
    }
}

/// Waits until /healthz answers with `status`.
async fn becomes(process: &mut Process, status: u16) {
    let address = process.http().await;
    eventually(&format!("{status} from {address}"), || async {
        let answer = daybook_tests::processes::get(address, "/healthz").await?;
        (answer.0 == status).then_some(())
    })
    .await;
}

// --- killed ---

#[derive(Clone, Copy, Debug)]
enum Victim {
    Service(Service),
    Broker,
}

/// One kill of a schedule.
#[derive(Debug)]
struct Kill {
    victim: Victim,
    /// The line of the slice at which it is due.
    line: u64,
    after: Duration,
    away: Duration,
}

/// Every service and the broker, each twice, in an order and at moments that follow from the seed alone.
fn schedule(seed: u64) -> Vec<Kill> {
    let mut random = Random::new(seed);
    let twice = [0, 1].into_iter().flat_map(|_| Service::ALL.map(Victim::Service).into_iter().chain([Victim::Broker]));
    let mut kills: Vec<(u64, Victim)> = twice.map(|victim| (random.below(u64::MAX), victim)).collect();
    kills.sort_by_key(|(order, _)| *order);
    let mut lines: Vec<u64> = kills.iter().map(|_| 100 + random.below(13_300)).collect();
    lines.sort_unstable();
    let kills = kills.into_iter().zip(lines);
    kills
        .map(|((_, victim), line)| Kill {
            victim,
            line,
            after: Duration::from_millis(random.below(40)),
            away: Duration::from_millis(random.below(600)),
        })
        .collect()
}

/// Says what was done when a test fails.
struct OnFailure(String);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

async fn survives_kills(seed: u64) {
    let kills = schedule(seed);
    let _told = OnFailure(format!("seed {seed}: {kills:#?}"));
    let mut daybook = Processes::start().await;
    flights::define(&daybook.client, FIRST_DAY).await;
    let replay = March::begin(&daybook.client);
    for kill in kills {
        replay.reaches(kill.line).await;
        tokio::time::sleep(kill.after).await;
        match kill.victim {
            Victim::Broker => daybook.broker.broker.kill().await.unwrap(),
            Victim::Service(service) => daybook.process(service).kill(),
        }
        tokio::time::sleep(kill.away).await;
        match kill.victim {
            Victim::Broker => daybook.broker.broker.restart().await.unwrap(),
            Victim::Service(service) => daybook.process(service).start(),
        }
    }
    let tally = replay.end().await;
    daybook.settle().await;
    check_march(&daybook, &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_change_no_report_seed_1() {
    survives_kills(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_change_no_report_seed_2() {
    survives_kills(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_change_no_report_seed_3() {
    survives_kills(3).await;
}

/// A flight that landed in Atlanta on 2013-03-08, apart from the slice.
const EXTRA_FLIGHT: &str = r#"{"tenant":"ATL","id":"extra","kind":"flight","event":"landed","status":"final",
    "at":"2013-03-08T15:00:00Z","version":1,"dims":{"carrier":"DL","origin":"JFK","tailnum":"N1","flight":"1"},
    "measures":{"dep_delay":0,"arr_delay":0,"air_time":100,"distance":760}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn without_day_manager_figures_go_on_and_its_close_comes_when_it_is_back() {
    let mut daybook = Processes::start().await;
    flights::define(&daybook.client, FIRST_DAY).await;
    let mut replayer = Replayer::new(daybook.client.clone(), flights::replay_options());
    let mut source = march();
    let evening: Instant = "2013-03-08T22:00:00Z".parse().unwrap();
    let held = loop {
        let (number, line) = source.next_line().unwrap().unwrap();
        if !replayer.publish(number, line.clone(), Some(evening)).await.unwrap() {
            break (number, line);
        }
    };
    replayer.advance(evening).await.unwrap();
    daybook.settle().await;
    let before = live_flights(&daybook.client, None).await;

    daybook.process(Service::DayManager).kill();
    let subject = daybook.client.connection.subjects.input("ATL", "flight");
    let published = daybook.client.connection.jetstream.publish(subject, EXTRA_FLIGHT.into()).await.unwrap();
    let sequence = InboxSeq(published.await.unwrap().sequence);
    assert_eq!(live_flights(&daybook.client, Some(sequence)).await, before + 1);

    // The close is asked for while nobody is there, and comes when somebody is.
    let (atlanta, date) = (TenantId::new("ATL").unwrap(), "2013-03-08".parse().unwrap());
    let closing = advance(&daybook.client, "2013-03-09T11:00:00Z");
    assert!(daybook.client.report(&atlanta, date).await.unwrap().is_none());
    daybook.process(Service::DayManager).start();
    closing.await.unwrap();
    daybook.settle().await;
    let sealed = daybook.client.report(&atlanta, date).await.unwrap().unwrap().report;
    assert_eq!(flights_in(&sealed.views[&Name::new("arrivals").unwrap()].rows[0].0), before + 1);

    // Had the day been closed twice or not at all, the rest would not come out right.
    assert!(replayer.publish(held.0, held.1, None).await.is_ok());
    check_markers(&daybook.client).await;
}

/// Flights to Atlanta on 2013-03-08, by the figures that rest on `at_least`.
async fn live_flights(client: &Client, at_least: Option<InboxSeq>) -> i128 {
    let query = Query { at_least, ..Query::days(DaySelector::Date("2013-03-08".parse().unwrap())) };
    let tenant = TenantId::new("ATL").unwrap();
    let answer = eventually("an answer", || async { client.query(&tenant, "arrivals", &query).await.ok() }).await;
    flights_in(&answer.rows[0].0)
}

fn flights_in(row: &[(Name, Figure)]) -> i128 {
    match row.iter().find(|(name, _)| name.as_str() == "flights") {
        Some((_, Figure::Number(number))) => number.unscaled(),
        other => panic!("{other:?}"),
    }
}

/// Drives the flights' clock from a task of its own.
fn advance(client: &Client, to: &str) -> JoinHandle<ClockReply> {
    let request = ClockAdvance { clock: Name::new(flights::CLOCK).unwrap(), advance_to: to.parse().unwrap() };
    let client = client.clone();
    tokio::spawn(async move { client.advance(&request).await.unwrap() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advance_that_a_crash_cut_short_is_finished() {
    let mut daybook = Processes::start().await;
    flights::define(&daybook.client, FIRST_DAY).await;
    let client = daybook.client.clone();
    for (day, broker_too) in [(9, false), (10, true), (11, false)] {
        let before = markers(&client).await;
        let to = format!("2013-03-{day:02}T23:00:00Z");
        let advancing = advance(&client, &to);
        eventually("a first marker", || async { (markers(&client).await > before).then_some(()) }).await;
        daybook.process(Service::DayManager).kill();
        if broker_too {
            daybook.broker.broker.kill().await.unwrap();
            daybook.broker.broker.restart().await.unwrap();
        }
        daybook.process(Service::DayManager).start();
        let reply = advancing.await.unwrap();
        assert_eq!(reply.now, to.parse().unwrap());
        assert!(reply.next_due.unwrap() > reply.now);
    }
    daybook.settle().await;
    check_markers(&client).await;
    check_versions(&client).await;
    let (from, to) = ("2013-03-07".parse().unwrap(), "2013-03-10".parse().unwrap());
    assert_eq!(flights::reports(&client, from, to).await.len(), 4 * client.tenants().await.unwrap().len());
}

/// How many markers stand in DAYS.
async fn markers(client: &Client) -> u64 {
    let name = client.connection.subjects.days_stream();
    client.connection.jetstream.get_stream(name).await.unwrap().cached_info().state.messages
}

// --- two at once ---

#[tokio::test(flavor = "multi_thread")]
async fn two_ingests_at_once_record_every_event_once() {
    let mut daybook = Processes::start().await;
    let mut second = daybook.another(Service::Ingest, "ingest-2");
    second.start();
    wait_until_ready_among(&mut second, Service::Ingest, 2).await;
    flights::define(&daybook.client, FIRST_DAY).await;
    let replay = March::begin(&daybook.client);
    // Each comes back to a log that has moved on without it.
    replay.reaches(2_000).await;
    daybook.process(Service::Ingest).pause();
    replay.reaches(5_000).await;
    daybook.process(Service::Ingest).resume();
    second.pause();
    replay.reaches(8_000).await;
    second.resume();
    replay.reaches(11_000).await;
    second.kill();
    let tally = replay.end().await;
    daybook.settle().await;
    check_march(&daybook, &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_day_managers_at_once_do_no_harm() {
    let daybook = Processes::start().await;
    let mut second = daybook.another(Service::DayManager, "day-manager-2");
    second.start();
    wait_until_ready(&mut second, Service::DayManager).await;
    let tally = replay_march(&daybook).await;
    check_march(&daybook, &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_at_once_write_every_report_once_and_stand_in_for_each_other() {
    let mut daybook = Processes::start().await;
    let mut second = daybook.another(Service::AggregatorShard, "shard-2");
    second.start();
    wait_until_ready(&mut second, Service::AggregatorShard).await;
    flights::define(&daybook.client, FIRST_DAY).await;
    let replay = March::begin(&daybook.client);
    replay.reaches(4_000).await;
    second.pause();
    replay.reaches(8_000).await;
    second.resume();
    let tally = replay.end().await;
    daybook.settle().await;
    daybook.process(Service::AggregatorShard).kill();
    // Now the second one answers, and has written what was left.
    daybook.settle().await;
    check_march(&daybook, &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_process_that_stands_still_costs_a_command_seconds_and_no_answer() {
    let daybook = Processes::start().await;
    let mut second = daybook.another(Service::Query, "query-2");
    second.start();
    wait_until_ready(&mut second, Service::Query).await;
    flights::define(&daybook.client, FIRST_DAY).await;
    daybook.settle().await;
    let abq = TenantId::new("ABQ").unwrap();
    daybook.client.days(&abq).await.unwrap();
    second.pause();
    // The broker gives it half of them: without copies every second one would have no reply.
    let answers = futures::future::join_all((0..8).map(async |_| daybook.client.days(&abq).await)).await;
    let unanswered: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}");
}

// --- stopped ---

#[tokio::test(flavor = "multi_thread")]
async fn each_process_ends_when_asked_and_goes_on_when_started_again() {
    let mut daybook = Processes::start().await;
    flights::define(&daybook.client, FIRST_DAY).await;
    let replay = March::begin(&daybook.client);
    for (number, service) in (1..).zip(Service::ALL) {
        replay.reaches(number * 2_500).await;
        let process = daybook.process(service);
        let (status, took) = process.terminate().await;
        assert!(status.success() && took < END, "{service:?} ended with {status} after {took:?}");
        let log = process.log();
        assert!(!log.contains("started again"), "{service:?} was started again while it stopped:\n{log}");
        process.start();
    }
    let tally = replay.end().await;
    daybook.settle().await;
    check_march(&daybook, &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_ends_when_asked_without_a_broker_too() {
    let mut daybook = Processes::start().await;
    flights::define(&daybook.client, FIRST_DAY).await;
    daybook.broker.broker.kill().await.unwrap();
    for service in Service::ALL {
        let (status, took) = daybook.process(service).terminate().await;
        assert!(status.success() && took < 3 * END, "{service:?} ended with {status} after {took:?}");
        let process = daybook.process(service);
        process.start();
        process.http().await;
        let (status, took) = process.terminate().await;
        assert!(status.success() && took < END, "{service:?} ended with {status} after {took:?}");
    }
}

// --- damaged ---

/// What is done to each file of the checkpoints.
type Damage = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn damaged_checkpoints_are_wiped_and_the_figures_come_back() {
    let mut daybook = Processes::start().await;
    let tally = replay_march(&daybook).await;
    let before = closed_figures(&daybook.client).await;
    let folder = daybook.shard_data("aggregator-shard");
    let damages: [(&str, Damage); 5] = [
        ("garbage in every file", |path| std::fs::write(path, [0xa5; 3_000]).unwrap()),
        ("every file empty", |path| std::fs::write(path, []).unwrap()),
        ("every file gone", |path| std::fs::remove_file(path).unwrap()),
        ("every file cut in half", |path| {
            let length = std::fs::metadata(path).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
        }),
        ("a byte in a hundred changed", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes.iter_mut().step_by(100).for_each(|byte| *byte ^= 0xff);
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let _told = OnFailure(format!("damage: {what}"));
        let (status, _) = daybook.process(Service::AggregatorShard).terminate().await;
        assert!(status.success(), "{status}");
        let files = files_under(&folder);
        assert!(files.len() >= 4, "{files:?}");
        files.iter().for_each(|path| damage(path));
        daybook.start_missing().await;
        daybook.settle().await;
        assert!(closed_figures(&daybook.client).await == before, "the figures differ");
    }
    // And when nothing is wrong, nothing is wiped.
    let (status, _) = daybook.process(Service::AggregatorShard).terminate().await;
    assert!(status.success(), "{status}");
    daybook.start_missing().await;
    let log = daybook.process(Service::AggregatorShard).log();
    assert!(!log.contains("cannot be used"), "{log}");
    check_march(&daybook, &tally).await;
}

/// What the shards, not the reports, say of every tenant's 2013-03-10.
async fn closed_figures(client: &Client) -> BTreeMap<TenantId, (Vec<Row>, Option<u32>)> {
    let query = Query::days(DaySelector::Date("2013-03-10".parse().unwrap()));
    let mut figures = BTreeMap::new();
    for tenant in client.tenants().await.unwrap() {
        let answer = client.query(&tenant.id, "arrivals", &query).await.unwrap();
        figures.insert(tenant.id, (answer.rows, answer.report));
    }
    figures
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_under(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}
