//! End to end and durable: from producers through INBOX, ingest, EVENTS and a shard to an answer, all on this machine;
//! and the broker alone moving the same bytes through the same hops.

use crate::bare;
use crate::report::{Report, per_second};
use crate::system::{Outgoing, System, broker, define, of_day, outgoing, publish, rows_and_sum};
use crate::timing::median;
use crate::work::{Work, orders};
use async_nats::jetstream::{self, consumer, stream};
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
    define(&system.client, work).await?;
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
            let query = of_day(work.first_day.plus(day));
            let (rows, sum) = rows_and_sum(&system.client, tenant, orders::VIEW, &query).await?.unwrap_or_default();
            found = (found.0 + rows, found.1 + sum);
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
