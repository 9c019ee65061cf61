//! Views that come later than events: whatever happens meanwhile, they say what one from the start does; reports and
//! coverage tell from when on.

use aggregator_shard::snapshots;
use daybook::client::Client;
use daybook_contracts::report::{Coverage, Report};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::reader::read_all;
use daybook_tests::asking::{ask, hashes, part, sealed, shown};
use daybook_tests::backfilling::{
    Publisher, TENANTS, VIEWS, advance, check_absent, check_twins, define_twins, define_views, in_force, progress_in,
};
use daybook_tests::processes::{Process, Processes, Service, wait_until_ready};
use daybook_tests::{Daybook, eventually};
use serde_json::json;
use std::collections::BTreeSet;

/// Events between two disturbances.
const SOME: u64 = 200;

/// Three days of events, while views are defined, changed and taken up by more tenants, days close, and `disturb` does
/// what it does, six times.
async fn define_while_publishing(client: &Client, mut disturb: impl AsyncFnMut(u32)) {
    define_twins(client).await;
    let mut publisher = Publisher::begin(client);
    publisher.go_on(SOME);
    publisher.done().await;
    publisher.go_on(SOME);
    define_views(client, &["orders", "ranked", "firsts"], &[]).await;
    // For two tenants first, in the middle of the day.
    define_views(client, &["clicks"], &TENANTS[..2]).await;
    disturb(1).await;
    publisher.done().await;
    publisher.go_on(SOME);
    advance(client, 2).await;
    define_views(client, &["carried", "kept"], &TENANTS[3..]).await;
    disturb(2).await;
    publisher.done().await;
    publisher.go_on(SOME);
    // One that is another until it is changed, before or after it comes into force.
    daybook_tests::define(client, "views: [{ name: kept, kind: order, late: reject, metrics: [n: count] }]").await;
    disturb(3).await;
    define_views(client, &["kept"], &[]).await;
    define_views(client, &["clicks"], &TENANTS[..4]).await;
    publisher.done().await;
    publisher.go_on(SOME);
    disturb(4).await;
    advance(client, 3).await;
    disturb(5).await;
    define_views(client, &["carried"], &[]).await;
    publisher.done().await;
    publisher.go_on(SOME);
    disturb(6).await;
    publisher.done().await;
    publisher.end().await;
    client.settle().await.unwrap();
    for name in VIEWS {
        in_force(client, name).await;
    }
}

async fn check(client: &Client) {
    let everyone = ["orders", "carried", "kept", "ranked", "firsts"];
    let rows = check_twins(client, &everyone, &TENANTS).await + check_twins(client, &["clicks"], &TENANTS[..4]).await;
    assert!(rows > 500, "{rows} rows");
    check_absent(client, "clicks", &TENANTS[4..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_come_later_equal_their_twins_over_restarts() {
    let daybook = Daybook::start().await;
    let client = daybook.client.clone();
    let daybook = tokio::sync::Mutex::new(daybook);
    define_while_publishing(&client, async |step| {
        let mut daybook = daybook.lock().await;
        match step {
            2 | 4 => daybook.restart_services().await,
            6 => daybook.restart_without_checkpoints().await,
            _ => {}
        }
    })
    .await;
    check(&client).await;
    // What is sealed from now on has every view, and its rows.
    advance(&client, 4).await;
    client.settle().await.unwrap();
    for id in TENANTS {
        let report = sealed(&client, id, "2024-03-03").await.report;
        for name in ["orders", "carried", "kept", "ranked", "firsts"] {
            assert_eq!(part(&report, name).rows, part(&report, &format!("{name}-twin")).rows, "{name} of {id}");
        }
        assert_eq!(
            (report.views.contains_key("clicks"), &report.coverage),
            (TENANTS[..4].contains(&id), &Coverage::Complete)
        );
    }
    // All of that is a function of the log.
    let before = hashes(&client).await;
    daybook.lock().await.restart_without_checkpoints().await;
    client.settle().await.unwrap();
    check(&client).await;
    assert_eq!(hashes(&client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_come_later_equal_their_twins_over_crashes() {
    let processes = Processes::start().await;
    let client = processes.client.clone();
    let processes = tokio::sync::Mutex::new(processes);
    define_while_publishing(&client, async |step| {
        let mut processes = processes.lock().await;
        match step {
            1 | 3 | 5 => processes.process(Service::AggregatorShard).kill(),
            2 | 4 | 6 => processes.start_missing().await,
            _ => {}
        }
    })
    .await;
    check(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_shown_and_days_that_close_before_lack_the_view() {
    // One percent of a processor: a hundred batches take seconds.
    let daybook = Daybook::start_with(|options| options.shard.backfill_duty_percent = 1).await;
    let client = &daybook.client;
    define_twins(client).await;
    for number in 0..100 {
        let click = json!({"at": "2024-03-01T10:00:00Z", "dims": {"page": "a"}, "measures": {"ms": number}});
        daybook.publish("acme", "click", click.to_string()).await;
        daybook.settle().await;
    }
    define_views(client, &["clicks"], &[]).await;
    let acme = Partition::of("acme", client.connection.partitions);
    let pending = async || progress_in(client, "clicks", acme).await?.pending;
    eventually("the backfill has begun", async || pending().await.filter(|pending| pending.percent > 0)).await;
    assert_eq!(progress_in(client, "clicks", acme).await.map(|progress| progress.active), Some(0));
    advance(client, 2).await;
    daybook.settle().await;
    assert!(pending().await.is_some_and(|pending| !pending.ready), "the backfill was over before the day");
    let first = sealed(client, "acme", "2024-03-01").await.report;
    let has = |report: &Report| report.views.contains_key("clicks") && report.definitions.views.contains_key("clicks");
    assert!(!has(&first) && first.views.contains_key("clicks-twin"));

    assert!(in_force(client, "clicks").await);
    check_twins(client, &["clicks"], &TENANTS).await;
    assert_eq!(sealed(client, "acme", "2024-03-01").await.report, first, "what is sealed stays");
    // The next version of that day has it, whole, and so have later days.
    let late = json!({"at": "2024-03-01T11:00:00Z", "dims": {"page": "b"}, "measures": {"ms": 1}});
    daybook.publish("acme", "click", late.to_string()).await;
    advance(client, 3).await;
    daybook.settle().await;
    let second = sealed(client, "acme", "2024-03-01").await.report;
    assert_eq!((second.version, has(&second)), (2, true));
    assert_eq!(shown(&part(&second, "clicks").rows, "page n"), ["a 100", "b 1"]);
    assert_eq!(part(&second, "clicks").rows, part(&second, "clicks-twin").rows);
    assert!(has(&sealed(client, "acme", "2024-03-02").await.report));
}

/// Waits for a snapshot of everything so far, and removes all others.
async fn only_snapshot(daybook: &Daybook, partition: Partition) -> LogSeq {
    let connection = &daybook.client.connection;
    let end = ask(&daybook.client, "acme", "clicks-twin", json!({"dimensions": []})).await.as_of.log;
    let there = eventually("a snapshot", || async {
        let there = snapshots::list(connection, partition).await.ok()?;
        there.last().is_some_and(|newest| newest.position == end).then_some(there)
    })
    .await;
    for older in &there[..there.len() - 1] {
        snapshots::remove(connection, partition, older.position).await.unwrap();
    }
    end
}

/// Clicks of which the trimmed log keeps the second half.
const CLICKS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn where_the_log_was_trimmed_coverage_says_so() {
    let daybook = Daybook::start_with(|options| {
        options.shard.snapshot_interval_ms = 1_000;
        // Nothing is old enough to go, and the oldest snapshot stays.
        options.shard.log_retention = "1h".parse().unwrap();
    })
    .await;
    let client = &daybook.client;
    let connection = &client.connection;
    let partition = Partition::of("acme", connection.partitions);
    define_twins(client).await;
    let mut positions = Vec::new();
    let mut floor = LogSeq(0);
    for number in 0..CLICKS {
        if number == CLICKS / 2 {
            floor = only_snapshot(&daybook, partition).await;
        }
        let at = format!("2024-03-01T{:02}:00:00Z", number % 24);
        let click = json!({"at": at, "dims": {"page": "a"}, "measures": {"ms": number}});
        daybook.publish("acme", "click", click.to_string()).await;
        daybook.settle().await;
        positions.push(ask(client, "acme", "clicks-twin", json!({"dimensions": []})).await.as_of.log);
        let order = json!({"id": format!("order-{}", number % 15), "version": number, "at": at,
            "dims": {"channel": "web"}, "measures": {"quantity": number}});
        daybook.publish("acme", "order", order.to_string()).await;
        daybook.settle().await;
    }
    advance(client, 2).await;
    daybook.settle().await;
    let subjects = &connection.subjects;
    let events = connection.jetstream.get_stream(subjects.events_stream()).await.unwrap();
    events.purge().filter(subjects.events(partition)).sequence(floor.0).await.unwrap();
    define_views(client, &["orders", "clicks"], &[]).await;
    for name in ["orders", "clicks"] {
        in_force(client, name).await;
    }

    // Entities are kept with their newest versions, so of them nothing is missing.
    for date in ["2024-03-01", "2024-03-02"] {
        let orders = ask(client, "acme", "orders", json!({"days": date})).await;
        let twin = ask(client, "acme", "orders-twin", json!({"days": date})).await;
        assert_eq!((orders.rows, orders.coverage), (twin.rows, Coverage::Complete), "{date}");
    }
    // Of clicks there are those that the log still has.
    let answer = ask(client, "acme", "clicks", json!({"days": "2024-03-01", "dimensions": []})).await;
    let Coverage::Partial { from, reason } = &answer.coverage else { panic!("{answer:?}") };
    assert!(reason.contains("the log no longer reached back"), "{reason}");
    let twin = ask(client, "acme", "clicks-twin", json!({"days": "2024-03-01", "dimensions": []})).await;
    let kept = positions.iter().filter(|position| *position >= from).count();
    assert_eq!(kept, CLICKS / 2, "of those that are left");
    assert_eq!((shown(&answer.rows, "n"), shown(&twin.rows, "n")), (vec![kept.to_string()], vec![CLICKS.to_string()]));
    assert_eq!(twin.coverage, Coverage::Complete);
    let told = progress_in(client, "clicks", partition).await.map(|progress| progress.coverage);
    assert_eq!(told.as_ref(), Some(&answer.coverage), "the state of the view says so, too");

    // The report of that day says so from its next version on; days begun since are complete.
    let late = json!({"at": "2024-03-01T11:00:00Z", "dims": {"page": "b"}, "measures": {"ms": 1}});
    daybook.publish("acme", "click", late.to_string()).await;
    daybook.settle().await;
    let report = sealed(client, "acme", "2024-03-01").await.report;
    assert!(matches!(&report.coverage, Coverage::Partial { reason, .. } if reason.contains("clicks")), "{report:?}");
    advance(client, 4).await;
    daybook.settle().await;
    assert_eq!(sealed(client, "acme", "2024-03-03").await.report.coverage, Coverage::Complete);
}

/// The value of a counter in a process; 0 when it has never counted.
async fn counter(process: &mut Process, name: &str) -> f64 {
    let (status, metrics) = process.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_of_the_same_partitions_agree() {
    let processes = Processes::start().await;
    let client = processes.client.clone();
    let mut second = processes.another(Service::AggregatorShard, "second-shard");
    second.start();
    wait_until_ready(&mut second, Service::AggregatorShard).await;
    let shards = tokio::sync::Mutex::new((processes, second));
    define_while_publishing(&client, async |step| {
        let (processes, second) = &mut *shards.lock().await;
        match step {
            2 => processes.process(Service::AggregatorShard).kill(),
            3 => processes.start_missing().await,
            4 => second.kill(),
            5 => second.start(),
            _ => {}
        }
    })
    .await;
    let (processes, second) = &mut *shards.lock().await;
    wait_until_ready(second, Service::AggregatorShard).await;
    advance(&client, 4).await;
    client.settle().await.unwrap();
    check(&client).await;
    // Both write every report; each version stands there once.
    let subjects = &client.connection.subjects;
    let mut versions = BTreeSet::new();
    for id in TENANTS {
        let reports = read_all(&client.connection, subjects.reports_stream(), subjects.reports_of(id), 1).await;
        for message in reports {
            let report: Report = serde_json::from_slice(&message.payload).unwrap();
            assert!(versions.insert((id, report.date, report.version)), "{id} {} twice", report.date);
        }
    }
    assert_eq!(counter(second, "daybook_divergence_total").await, 0.0);
    let first = processes.process(Service::AggregatorShard);
    assert_eq!(counter(first, "daybook_divergence_total").await, 0.0);
    // The one that was killed last has the log from its own checkpoint on: what it says is what the other says.
    let before = hashes(&client).await;
    assert!(!before.is_empty());
    first.kill();
    check(&client).await;
    assert_eq!(hashes(&client).await, before);
}
