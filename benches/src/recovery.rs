//! Recovery: a shard that is killed in the middle of a large day, and started again with its folder or without.

use crate::bare::Days;
use crate::fleet::Fleet;
use crate::report::{Report, seconds};
use crate::system::{add_up, define, of_day, outgoing, publish, publish_orders, rows_and_sum};
use crate::work::Work;
use crate::work::orders::{DIMENSIONS, MEASURES, Orders, VIEW, nothing};
use aggregator_shard::snapshots;
use compact_str::format_compact;
use daybook::client::Client;
use daybook_contracts::ask::Query;
use daybook_domain::ids::{InboxSeq, LogSeq, Partition, TenantId};
use daybook_runtime::append::last_message;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Settings of `recovery`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events of the day
    #[arg(long, default_value_t = 5_000_000)]
    pub events: usize,
    /// How many of them come last, when a snapshot of those before is on the broker
    #[arg(long, default_value_t = 100_000)]
    pub behind: usize,
    /// How many of those come in a second
    #[arg(long, default_value_t = 20_000)]
    pub rate: usize,
    /// Tenants
    #[arg(long, default_value_t = 1_000)]
    pub tenants: usize,
}

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two questions, and between two looks for snapshots.
const ASK_AGAIN: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(500);
/// For longer than query gives an answer of before the crash again.
const FORGOTTEN: Duration = Duration::from_millis(100);
/// Pieces of a second in which events come at a rate.
const SLICES: usize = 20;

/// # Errors
/// When something does not start or figures are wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    anyhow::ensure!(options.behind < options.events, "there must be events before those that come last");
    let mut work = nothing("orders", options.tenants);
    let mut fleet = Fleet::start().await?;
    let client = fleet.client.clone();
    define(&client, &work).await?;
    let mut days = Days::default();
    let mut orders = Orders::falling(options.events, options.tenants, 1);
    let first = options.events - options.behind;
    publish_orders(&client, &mut work, &mut orders.by_ref().take(first), &mut days).await?;
    client.settle().await?;
    wait_for_snapshots(&client).await?;
    let began = Instant::now();
    for slice in 1.. {
        let mut due = orders.by_ref().take((options.rate / SLICES).max(1));
        if publish_orders(&client, &mut work, &mut due, &mut days).await? == 0 {
            break;
        }
        tokio::time::sleep_until((began + Duration::from_secs(1) * slice / SLICES as u32).into()).await;
    }
    let questions = publish_last(&client, &work, &mut days).await?;
    let all = || questions.iter().map(|question| question.ask(&client)).collect::<FuturesUnordered<_>>();
    all().try_collect::<()>().await?;

    for (name, is_bare) in [("from the local checkpoint", false), ("from a bare machine", true)] {
        fleet.shard().kill();
        let data = fleet.shard_data();
        let checkpoint = bytes_below(&data)?;
        let snapshot = snapshot_bytes(&client).await?;
        if is_bare {
            std::fs::remove_dir_all(&data)?;
        }
        tokio::time::sleep(FORGOTTEN).await;
        let began = Instant::now();
        fleet.shard().start();
        let mut answers = all();
        let mut times = Vec::new();
        while let Some(answer) = answers.next().await {
            answer?;
            times.push(began.elapsed());
        }
        check(&client, &work, &days).await?;
        report.row(
            name,
            &[
                ("events", daybook::table::count(options.events as u64)),
                ("behind the snapshot", daybook::table::count(options.behind as u64)),
                ("checkpoint MB", megabytes(checkpoint)),
                ("snapshot MB", megabytes(snapshot)),
                ("first correct answer s", seconds(times[0])),
                ("every partition correct s", seconds(times[times.len() - 1])),
            ],
        );
    }
    Ok(())
}

/// What a tenant is asked until it is told what it must be told.
struct Question {
    tenant: TenantId,
    query: Query,
    expected: (i64, i64),
}

impl Question {
    /// Asks until there is an answer, which must be the expected one.
    async fn ask(&self, client: &Client) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            match client.query(&self.tenant, VIEW, &self.query).await {
                Ok(answer) => {
                    let found = add_up(&answer.rows);
                    let Self { tenant, expected, .. } = self;
                    anyhow::ensure!(found == *expected, "{tenant}: {found:?}, a plain recomputation {expected:?}");
                    return Ok(());
                }
                Err(error) => anyhow::ensure!(began.elapsed() < PATIENCE, "no answer after {PATIENCE:?}: {error}"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// Publishes the last event of every partition, and returns what to ask of the tenants that it is of.
async fn publish_last(client: &Client, work: &Work, days: &mut Days) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    for (index, partition) in Partition::all(client.connection.partitions).enumerate() {
        let in_partition =
            |tenant: &TenantId| Partition::of(tenant.as_str(), client.connection.partitions) == partition;
        // The first tenants have the most events.
        let Some(tenant) = work.tenants.iter().position(in_partition) else { continue };
        let (_, mut event) = Orders::falling(1, 1, 1).next().expect("it was asked for");
        event.id = Some(format_compact!("last-{index}"));
        days.add(tenant as u32, &event);
        let last = Work { events: vec![(tenant as u32, event)], ..nothing("orders", work.tenants.len()) };
        let sequence = publish(&client.connection.jetstream, &outgoing(&last, 1, DIMENSIONS, MEASURES)).await?;
        questions.push(Question {
            tenant: work.tenants[tenant].clone(),
            query: Query { at_least: Some(InboxSeq(sequence)), ..of_day(work.first_day) },
            expected: days.of(tenant, work.first_day).expect("it has an event"),
        });
    }
    Ok(questions)
}

/// Whether every tenant is told what a plain recomputation says.
async fn check(client: &Client, work: &Work, days: &Days) -> anyhow::Result<()> {
    for (index, tenant) in work.tenants.iter().enumerate() {
        let found = rows_and_sum(client, tenant, VIEW, &of_day(work.first_day)).await?;
        let expected = days.of(index, work.first_day);
        anyhow::ensure!(found == expected, "{tenant}: {found:?}, a plain recomputation {expected:?}");
    }
    Ok(())
}

/// Waits until a snapshot of every partition holds all of its log.
async fn wait_for_snapshots(client: &Client) -> anyhow::Result<()> {
    let (connection, began) = (&client.connection, Instant::now());
    let subjects = &connection.subjects;
    for partition in Partition::all(connection.partitions) {
        let end = last_message(connection, &subjects.events_stream(), &subjects.events(partition)).await;
        let end = LogSeq(end.map_or(0, |batch| batch.sequence));
        while snapshots::list(connection, partition).await?.last().is_none_or(|newest| newest.position < end) {
            anyhow::ensure!(began.elapsed() < PATIENCE, "partition {partition} has no snapshot after {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// What the newest snapshots of all partitions take on the broker.
async fn snapshot_bytes(client: &Client) -> anyhow::Result<u64> {
    let (connection, mut bytes) = (&client.connection, 0);
    for partition in Partition::all(connection.partitions) {
        let newest = snapshots::list(connection, partition).await?.last().map(|newest| newest.position);
        let Some(newest) = newest else { continue };
        let manifest = snapshots::manifest(connection, partition, newest).await?.unwrap_or_default();
        bytes += manifest.stored_bytes() + manifest.encode().len() as u64;
    }
    Ok(bytes)
}

/// The sizes of all files of a folder.
fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
