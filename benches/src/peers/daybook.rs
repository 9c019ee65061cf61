//! Daybook as one of the [peers](super): durable, on the same work, with the same questions and corrections.

use super::row::Row;
use crate::export::Exported;
use crate::report::{per_second, quantile_ms};
use crate::system::{System, outgoing, publish};
use crate::work::{Work, nexmark, orders};
use anyhow::ensure;
use daybook::client::Client;
use daybook_contracts::ask::{Answer, DaySelector, Query, RankQuery};
use daybook_contracts::report::Figure;
use daybook_domain::catalogue::{Direction, RankedBy};
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::Date;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Events a message.
const TOGETHER: usize = 100;
/// How long is waited between two questions for what is not there yet.
const AGAIN: Duration = Duration::from_millis(1);

/// The bids through everything, to q15 and q17 at once.
///
/// # Errors
/// When something does not start or figures are wrong.
pub async fn bids(exported: &Exported) -> anyhow::Result<Row> {
    let work = &exported.bids;
    let (system, figures) = load(work, &nexmark::DIMENSIONS, &["price"]).await?;
    let days: BTreeSet<Date> = work.events.iter().map(|(_, bid)| bid.date).collect();
    let mut found = 0;
    for day in days {
        let query = Query { days: DaySelector::Date(day), dimensions: Some(Vec::new()), ..Query::default() };
        found += number(&system.client.query(&work.tenants[0], "q17", &query).await?, "total_bids");
    }
    ensure!(found == work.events.len() as i64, "Daybook has {found} bids of {}", work.events.len());
    system.stop().await;
    Ok(Row::new("bids", "Daybook, durable, q15 and q17 together", &figures))
}

/// The orders through everything; then tenants' days, and corrections until they are seen.
///
/// # Errors
/// When something does not start or figures are wrong.
pub async fn orders(exported: &Exported) -> anyhow::Result<Row> {
    let work = &exported.orders;
    let (system, mut figures) = load(work, orders::DIMENSIONS, orders::MEASURES).await?;
    let (mut days, mut best) = (Vec::new(), Vec::new());
    for read in &exported.reads {
        let tenant = TenantId::new(&read.tenant)?;
        let began = Instant::now();
        let answer = system.client.query(&tenant, orders::VIEW, &Query::days(DaySelector::Date(read.date))).await?;
        days.push(began.elapsed());
        let found = (number(&answer, "orders"), number(&answer, "amount"));
        ensure!(found == (read.orders, read.amount), "{tenant}, {}: {found:?}", read.date);

        let by = RankedBy { metric: Name::new("amount")?, direction: Direction::Desc };
        let rank = RankQuery { by: vec![by], ..RankQuery::default() };
        let query = Query { limit: Some(10), rank: Some(rank), ..Query::days(DaySelector::Date(read.date)) };
        let began = Instant::now();
        system.client.query(&tenant, orders::VIEW, &query).await?;
        best.push(began.elapsed());
    }
    let mut seen = corrections(&system.client, exported).await?;
    system.stop().await;
    figures.extend([
        ("tenant-day p50 ms", quantile_ms(&mut days, 0.5)),
        ("tenant-day p99 ms", quantile_ms(&mut days, 0.99)),
        ("top ten p50 ms", quantile_ms(&mut best, 0.5)),
        ("top ten p99 ms", quantile_ms(&mut best, 0.99)),
        ("correction p50 ms", quantile_ms(&mut seen, 0.5)),
        ("correction p99 ms", quantile_ms(&mut seen, 0.99)),
    ]);
    Ok(Row::new("orders", "Daybook, durable, all figures", &figures))
}

/// From publishing each correction until its tenant's day shows it.
async fn corrections(client: &Client, exported: &Exported) -> anyhow::Result<Vec<Duration>> {
    let work = &exported.orders;
    let mut times = Vec::new();
    for correction in &exported.corrections {
        let tenant = &work.tenants[correction.tenant as usize];
        let one = Work { events: vec![(correction.tenant, correction.event.clone())], ..work.without_events() };
        let message = outgoing(&one, 1, orders::DIMENSIONS, orders::MEASURES);
        let began = Instant::now();
        let sequence = publish(&client.connection.jetstream, &message).await?;
        let answer = seen(client, tenant, correction.event.date, InboxSeq(sequence)).await?;
        times.push(began.elapsed());
        let found = number(&answer, "amount");
        ensure!(found == correction.amount_after, "{tenant}: {found}, not {}", correction.amount_after);
    }
    Ok(times)
}

/// The sum of a tenant's day, once it rests on that message.
async fn seen(client: &Client, tenant: &TenantId, date: Date, sequence: InboxSeq) -> anyhow::Result<Answer> {
    use daybook_contracts::ask::AskErrorCode;
    let query = Query {
        days: DaySelector::Date(date),
        dimensions: Some(Vec::new()),
        metrics: Some(vec![Name::new("amount")?]),
        at_least: Some(sequence),
        ..Query::default()
    };
    loop {
        match client.query(tenant, orders::VIEW, &query).await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.code == AskErrorCode::NotYet => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A Daybook that holds the work, and how fast it took it in: by the clock, and by the processor time of broker, services
/// and producer.
async fn load(
    work: &Work,
    dimensions: &[&str],
    measures: &[&str],
) -> anyhow::Result<(System, Vec<(&'static str, String)>)> {
    let messages = outgoing(work, TOGETHER, dimensions, measures);
    let system = System::start().await?;
    system.define(work).await?;
    let producer = system.connect().await?;
    let (began, busy) = (Instant::now(), system.processor_time()?);
    publish(&producer.connection.jetstream, &messages).await?;
    system.client.settle().await?;
    let (took, busy) = (began.elapsed(), system.processor_time()? - busy);
    let events = work.events.len();
    let figures = vec![
        ("events", daybook::table::count(events as u64)),
        ("events/s", per_second(events, took)),
        ("per busy core", per_second(events, busy)),
    ];
    Ok((system, figures))
}

/// What the metric adds up to over the rows.
fn number(answer: &Answer, metric: &str) -> i64 {
    let figure = |row: &daybook_contracts::report::Row| match row.get(metric) {
        Some(Figure::Number(number)) => i64::try_from(number.unscaled()).unwrap_or(i64::MAX),
        _ => 0,
    };
    answer.rows.iter().map(figure).sum()
}
