//! End to end and durable: from producers through INBOX, ingest, EVENTS and a shard to an answer, all on this machine;
//! and the broker alone moving the same bytes through the same hops.

use crate::apply::median;
use crate::bare;
use crate::report::{Report, per_second, quantile_ms};
use crate::system::{Outgoing, System, broker, outgoing, publish};
use crate::work::{Work, orders};
use async_nats::jetstream::{self, consumer, stream};
use daybook_contracts::ask::{AskErrorCode, DaySelector, Query};
use daybook_contracts::report::Figure;
use daybook_domain::ids::InboxSeq;
use futures::StreamExt;
use std::time::{Duration, Instant};

/// Settings of `durable`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events in batches
    #[arg(long, default_value_t = 1_000_000)]
    pub events: usize,
    /// Events of one a message
    #[arg(long, default_value_t = 200_000)]
    pub single: usize,
    /// Tenants
    #[arg(long, default_value_t = 1_000)]
    pub tenants: usize,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
}

/// Bytes of a batch of the log, as ingest makes them.
const LOG_BATCH: usize = 384 * 1024;

/// # Errors
/// When something does not start or figures are wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for (name, events, together) in
        [("batches of 100", options.events, 100), ("one event a message", options.single, 1)]
    {
        let work = orders::orders("orders", events, options.tenants);
        let messages = outgoing(&work, together, orders::DIMENSIONS, orders::MEASURES);
        let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
        let (mut ours, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            ours.push(daybook(&work, &messages).await?);
            alone.push(broker_alone(&messages).await?);
        }
        let (ours, alone) = (median(&mut ours), median(&mut alone));
        report.row(
            name,
            &[
                ("events", daybook::table::count(events as u64)),
                ("bytes/event", (bytes / events).to_string()),
                ("events/s", per_second(events, ours)),
                ("broker alone events/s", per_second(events, alone)),
                ("share of broker alone", format!("{:.2}", alone.as_secs_f64() / ours.as_secs_f64())),
            ],
        );
    }
    Ok(())
}

/// From the first publish until an answer rests on the last.
async fn daybook(work: &Work, messages: &[Outgoing]) -> anyhow::Result<Duration> {
    let system = System::start().await?;
    system.define(work).await?;
    let producer = system.connect().await?;
    let began = Instant::now();
    publish(&producer.connection.jetstream, messages).await?;
    system.client.settle().await?;
    let took = began.elapsed();
    check(&system, work).await?;
    system.stop().await;
    Ok(took)
}

/// Whether the figures are those of a plain recomputation.
async fn check(system: &System, work: &Work) -> anyhow::Result<()> {
    let expected = bare::totals(&bare::fold(bare::Fold::Orders, &work.log(100)?));
    let mut found = (0, 0);
    for tenant in &work.tenants {
        for day in 0..2 {
            let query = Query {
                days: DaySelector::Date(work.first_day.plus(day)),
                dimensions: Some(Vec::new()),
                ..Query::default()
            };
            let answer = match system.client.query(tenant, orders::VIEW, &query).await {
                Ok(answer) => answer,
                Err(error) if error.code == AskErrorCode::UnknownDay => continue,
                Err(error) => anyhow::bail!("{tenant}: {error:?}"),
            };
            for row in &answer.rows {
                let number = |metric: &str| match row.get(metric) {
                    Some(Figure::Number(number)) => i64::try_from(number.unscaled()).unwrap_or(i64::MAX),
                    _ => 0,
                };
                found = (found.0 + number("orders"), found.1 + number("amount"));
            }
        }
    }
    anyhow::ensure!(found == expected, "Daybook answers {found:?}, a plain recomputation {expected:?}");
    Ok(())
}

/// The same bytes published into a stream, read, appended in large batches to another, and read there.
async fn broker_alone(messages: &[Outgoing]) -> anyhow::Result<Duration> {
    let (broker, _folder) = broker().await?;
    let client = async_nats::connect(broker.client_url()).await?;
    let jetstream = jetstream::new(client);
    let make = |name: &str, subject: &str| stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        ..stream::Config::default()
    };
    let first = jetstream.create_stream(make("FIRST", "daybook.in.>")).await?;
    let second = jetstream.create_stream(make("SECOND", "second")).await?;
    let ordered = || consumer::pull::OrderedConfig::default();
    let (one, two) = (first.create_consumer(ordered()).await?, second.create_consumer(ordered()).await?);
    let total: usize = messages.iter().map(|message| message.payload.len()).sum();
    let other = jetstream::new(async_nats::connect(broker.client_url()).await?);
    let began = Instant::now();
    let forward = async {
        let mut read = one.messages().await?;
        let (mut batch, mut seen) = (Vec::with_capacity(LOG_BATCH), 0);
        while seen < total {
            let message = read.next().await.ok_or_else(|| anyhow::anyhow!("the first stream ended"))??;
            batch.extend_from_slice(&message.payload);
            seen += message.payload.len();
            if batch.len() >= LOG_BATCH || seen == total {
                other.publish("second", std::mem::take(&mut batch).into()).await?.await?;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    let receive = async {
        let mut read = two.messages().await?;
        let mut seen = 0;
        while seen < total {
            let message = read.next().await.ok_or_else(|| anyhow::anyhow!("the second stream ended"))??;
            seen += message.payload.len();
        }
        Ok::<_, anyhow::Error>(())
    };
    let (published, forwarded, received) = tokio::join!(publish(&jetstream, messages), forward, receive);
    published?;
    forwarded?;
    received?;
    Ok(began.elapsed())
}

/// Settings of `live`.
#[derive(Clone, Debug, clap::Args)]
pub struct LiveOptions {
    /// Events a second
    #[arg(long, default_value_t = 20_000)]
    pub rate: usize,
    /// Seconds
    #[arg(long, default_value_t = 20)]
    pub seconds: usize,
    /// Events a message
    #[arg(long, default_value_t = 100)]
    pub together: usize,
}

/// Freshness and answers while events come at a fixed rate.
///
/// # Errors
/// When something does not start.
pub async fn live(options: &LiveOptions, report: &mut Report) -> anyhow::Result<()> {
    let work = orders::orders("orders", options.rate * options.seconds, 1_000);
    let messages = outgoing(&work, options.together, orders::DIMENSIONS, orders::MEASURES);
    let system = System::start().await?;
    system.define(&work).await?;
    let producer = system.connect().await?;
    let (prober, reader) = (system.connect().await?, system.connect().await?);
    let began = Instant::now();
    let until = began + Duration::from_secs(options.seconds as u64);
    let day = DaySelector::Date(work.first_day);
    let producing = async {
        let mut sent = 0;
        // In slices of 10 ms; the last of each slice is waited for.
        for slice in messages.chunks((options.rate / options.together / 100).max(1)) {
            publish(&producer.connection.jetstream, slice).await?;
            sent += slice.iter().map(|message| message.events).sum::<usize>();
            let due = began + Duration::from_secs_f64(sent as f64 / options.rate as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        Ok::<_, anyhow::Error>(began.elapsed())
    };
    let probing = async {
        let mut times = Vec::new();
        let tenant = &work.tenants[7];
        let probes = orders::orders("orders", 20_000, 1);
        for (_, event) in probes.events.iter().filter(|(_, event)| event.version == Some(1)) {
            if Instant::now() >= until {
                break;
            }
            let mut event = event.clone();
            event.id = event.id.map(|id| compact_str::format_compact!("probe-{id}"));
            let one = Work { events: vec![(0, event)], tenants: vec![tenant.clone()], ..probes.without_events() };
            let message = outgoing(&one, 1, orders::DIMENSIONS, orders::MEASURES);
            let began = Instant::now();
            let sequence = publish(&prober.connection.jetstream, &message).await?;
            let query =
                Query { days: day.clone(), at_least: Some(InboxSeq(sequence)), limit: Some(1), ..Query::default() };
            while prober.query(tenant, orders::VIEW, &query).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, anyhow::Error>(times)
    };
    let reading = async {
        let mut times = Vec::new();
        let mut tenants = work.tenants.iter().cycle();
        while Instant::now() < until {
            let tenant = tenants.next().expect("it goes round");
            let query = Query { days: day.clone(), ..Query::default() };
            let began = Instant::now();
            // A tenant to whom nothing has happened yet has no such day, and is told so: that is no answer to be timed.
            if reader.query(tenant, orders::VIEW, &query).await.is_ok() {
                times.push(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times
    };
    let (produced, fresh, read) = tokio::join!(producing, probing, reading);
    let produced = produced?;
    let rate = per_second(work.events.len(), produced);
    report.row("publish to visible in a query", &percentiles(&mut fresh?, &rate));
    report.row("query of a tenant's day", &percentiles(&mut { read }, &rate));
    system.stop().await;
    Ok(())
}

fn percentiles(times: &mut [Duration], rate: &str) -> Vec<(&'static str, String)> {
    vec![
        ("events/s", rate.to_owned()),
        ("n", times.len().to_string()),
        ("p50 ms", quantile_ms(times, 0.5)),
        ("p99 ms", quantile_ms(times, 0.99)),
        ("p99.9 ms", quantile_ms(times, 0.999)),
    ]
}
