//! The day's end: many tenants whose days close at the same instant, and one whose day goes on. And what the broker
//! [alone] needs for the messages of it.

mod alone;

use self::alone::Moved;
use crate::bare::Days;
use crate::probe::{Probe, columns};
use crate::report::{Report, seconds};
use crate::system::{CLOCK, System, add_up, define, define_tenants, open_day, publish_orders};
use crate::work::Work;
use crate::work::orders::{Orders, VIEW, nothing};
use anyhow::Context as _;
use daybook::client::Client;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Record};
use daybook_contracts::report::Report as DayReport;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant as Stamp;
use daybook_runtime::append::{last_message, stream_handle};
use daybook_runtime::reader::{Delivered, read_all};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Settings of `day-end`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many tenants' days close at once
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    pub tenants: Vec<usize>,
    /// Events of each tenant's day
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub each: u16,
    /// Seconds for which freshness is measured before
    #[arg(long, default_value_t = 10)]
    pub idle_seconds: u64,
}

/// The tenant whose day goes on, and the clock that it follows.
const LIVE: &str = "live";
/// How long all reports may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks whether all reports are there.
const LOOK: Duration = Duration::from_millis(20);

/// # Errors
/// When something does not start, or a report is missing or wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for &tenants in &options.tenants {
        close(tenants, options, report).await?;
    }
    Ok(())
}

async fn close(tenants: usize, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut work = nothing("orders", tenants);
    let (today, live) = (work.first_day, TenantId::new(LIVE)?);
    let system = System::start().await?;
    let client = &system.client;
    define(client, &work).await?;
    define_tenants(client, std::slice::from_ref(&live), today, LIVE).await?;
    open_day(client, LIVE, today).await?;
    let producer = system.connect().await?;
    let mut days = Days::default();
    let mut orders = Orders::in_turn(usize::from(options.each), tenants);
    let events = publish_orders(&producer, &mut work, &mut orders, &mut days).await?;
    client.settle().await?;

    let mut probe = Probe::new(system.connect().await?.connection, live);
    let idle = probe.run_for(Duration::from_secs(options.idle_seconds)).await?;
    let (days_from, log_from) = (next_of_days(client).await, next_of_log(client).await);
    let is_done = AtomicBool::new(false);
    let ending = async {
        let closed = async {
            let (advanced, sealed) =
                tokio::join!(open_day(client, CLOCK, today.plus(1)), wait_for_reports(client, tenants));
            advanced.and(sealed)
        };
        let outcome = closed.await;
        is_done.store(true, Ordering::Relaxed);
        outcome
    };
    let (ended, meanwhile) = tokio::join!(ending, probe.run(|| !is_done.load(Ordering::Relaxed)));
    ended?;
    let reports = reports(client).await;
    check(&reports, &work, &days)?;

    let markers = markers(client, days_from).await;
    let batches = batches(client, log_from).await;
    let (published, logged) = (markers_published(&markers)?, markers_logged(&batches)?);
    let sealed = Span::of(reports.iter().map(|message| message.stored_at))?;
    let took = sealed.last.since(logged.first);
    let mut figures = vec![
        ("events", daybook::table::count(events as u64)),
        ("markers published in s", seconds(published.time())),
        ("in the log in s", seconds(logged.time())),
        ("first marker to last report s", seconds(took)),
        ("reports/s", crate::report::per_second(tenants, took)),
    ];
    figures.extend(columns(idle, meanwhile?));
    let outputs = figures_of(client).await.into_iter().chain(reports).collect();
    system.stop().await;
    let alone = Moved { markers, batches, outputs }.by_broker_alone().await?;
    figures.push(("broker alone s", seconds(alone)));
    figures.push(("times as long", format!("{:.2}", took.as_secs_f64() / alone.as_secs_f64())));
    report.row(&format!("{} tenants", daybook::table::count(tenants as u64)), &figures);
    Ok(())
}

/// From the first of some messages to the last, by the broker's clock.
struct Span {
    first: Stamp,
    last: Stamp,
}

impl Span {
    fn of(stored_at: impl Iterator<Item = Stamp> + Clone) -> anyhow::Result<Self> {
        let first = stored_at.clone().min().context("no message is there")?;
        Ok(Self { first, last: stored_at.max().context("no message is there")? })
    }

    fn time(&self) -> Duration {
        self.last.since(self.first)
    }
}

async fn next_of_days(client: &Client) -> u64 {
    let subjects = &client.connection.subjects;
    let last = last_message(&client.connection, &subjects.days_stream(), &subjects.every_day()).await;
    last.map_or(1, |message| message.sequence + 1)
}

async fn next_of_log(client: &Client) -> u64 {
    let subjects = &client.connection.subjects;
    let last = last_message(&client.connection, &subjects.events_stream(), &subjects.every_events()).await;
    last.map_or(1, |message| message.sequence + 1)
}

async fn markers(client: &Client, from: u64) -> Vec<Delivered> {
    let subjects = &client.connection.subjects;
    read_all(&client.connection, subjects.days_stream(), subjects.every_day(), from).await
}

async fn batches(client: &Client, from: u64) -> Vec<Delivered> {
    let subjects = &client.connection.subjects;
    read_all(&client.connection, subjects.events_stream(), subjects.every_events(), from).await
}

/// When the closes were published.
fn markers_published(markers: &[Delivered]) -> anyhow::Result<Span> {
    let is_close = |message: &&Delivered| {
        serde_json::from_slice::<DayMarker>(&message.payload).is_ok_and(|marker| marker.edge == Edge::Closed)
    };
    Span::of(markers.iter().filter(is_close).map(|message| message.stored_at))
}

/// When the batches with closes were appended to the log.
fn markers_logged(batches: &[Delivered]) -> anyhow::Result<Span> {
    let closes = |record: &Record| matches!(record, Record::Day(marker) if marker.edge == Edge::Closed);
    let holds_close =
        |message: &&Delivered| Batch::decode(&message.payload).is_ok_and(|batch| batch.records.iter().any(closes));
    Span::of(batches.iter().filter(holds_close).map(|message| message.stored_at))
}

async fn wait_for_reports(client: &Client, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let stream = stream_handle(&client.connection, &client.connection.subjects.reports_stream()).await;
    let stream = stream.map_err(anyhow::Error::from_boxed)?;
    loop {
        let there = stream.get_info().await?.state.messages;
        if there >= count as u64 {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{there} reports of {count} are there after {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
}

async fn reports(client: &Client) -> Vec<Delivered> {
    let subjects = &client.connection.subjects;
    read_all(&client.connection, subjects.reports_stream(), subjects.reports_of("*"), 1).await
}

async fn figures_of(client: &Client) -> Vec<Delivered> {
    let subjects = &client.connection.subjects;
    read_all(&client.connection, subjects.figures_stream(), subjects.every_figures(), 1).await
}

/// Whether there is one report of every tenant, each with the figures of a plain recomputation.
fn check(messages: &[Delivered], work: &Work, days: &Days) -> anyhow::Result<()> {
    let view = Name::new(VIEW)?;
    let mut found = BTreeMap::new();
    for message in messages {
        let report: DayReport = serde_json::from_slice(&message.payload)?;
        let rows = report.views.get(&view).with_context(|| format!("{} has no {VIEW}", message.subject))?;
        anyhow::ensure!(report.dispositions.balances(), "{}: {:?}", message.subject, report.dispositions);
        anyhow::ensure!(report.version == 1 && report.date == work.first_day, "{} is another", message.subject);
        anyhow::ensure!(rows.total == rows.rows.len() as u64, "{} lacks rows", message.subject);
        found.insert(report.tenant, add_up(&rows.rows));
    }
    anyhow::ensure!(messages.len() == work.tenants.len(), "{} reports", messages.len());
    for (index, tenant) in work.tenants.iter().enumerate() {
        let (found, expected) = (found.get(tenant).copied(), days.of(index, work.first_day));
        anyhow::ensure!(found == expected, "{tenant}: sealed {found:?}, a plain recomputation {expected:?}");
    }
    let all = found.values().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    anyhow::ensure!(all == days.totals(), "sealed {all:?}, a plain recomputation {:?}", days.totals());
    Ok(())
}
