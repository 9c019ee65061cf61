//! The same messages moved by the broker alone: every one that a day's end has published, copied, read and stored, over the
//! same streams, with nobody who thinks about them. No engine that tells of each tenant's day by messages can end it sooner over this
//! broker, on these processors.

use crate::system::{INBOX_MAX_BYTES, broker};
use anyhow::Context as _;
use daybook_contracts::day::DayMarker;
use daybook_domain::ids::Partition;
use daybook_runtime::append::{Appended, append};
use daybook_runtime::connection::{BrokerOptions, Connection};
use daybook_runtime::joining::connect_service;
use daybook_runtime::reader::{Delivered, Reader};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Publishes of one kind that wait for their acknowledgement, as day-manager's do.
const IN_FLIGHT: usize = 256;

/// What a day's end left in the streams.
pub(super) struct Moved {
    /// Of DAYS.
    pub(super) markers: Vec<Delivered>,
    /// Of EVENTS.
    pub(super) batches: Vec<Delivered>,
    /// Of REPORTS and FIGURES.
    pub(super) outputs: Vec<Delivered>,
}

impl Moved {
    /// From the first publish until everything is stored and read. All of it goes on at once: a report does not wait for its marker.
    ///
    /// # Errors
    /// When nats-server does not start, or does not take a message.
    pub(super) async fn by_broker_alone(&self) -> anyhow::Result<Duration> {
        let (broker, _folder) = broker().await?;
        let options = BrokerOptions { inbox_max_bytes: INBOX_MAX_BYTES, ..BrokerOptions::at(broker.client_url()) };
        // As many connections as there are services.
        let day_manager = connect_service(&options, "markers").await?;
        let ingest = connect_service(&options, "log").await?;
        let shard = connect_service(&options, "outputs").await?;
        let markers_of = by_partition(&self.markers, |marker| {
            let marker: DayMarker = serde_json::from_slice(&marker.payload)?;
            Ok(Partition::of(marker.tenant.as_str(), options.partitions))
        })?;
        let batches_of = by_partition(&self.batches, |batch| {
            let last = batch.subject.rsplit('.').next().and_then(|token| token.parse().ok());
            Ok(Partition(last.with_context(|| format!("{} is of no partition", batch.subject))?))
        })?;
        let began = Instant::now();
        tokio::try_join!(
            publish(&day_manager, &self.markers),
            each(&markers_of, |partition, markers| {
                let (stream, filters) = (ingest.subjects.inbox_stream(), ingest.subjects.inbox_of(partition));
                read(Reader::with_filters(&ingest, stream, filters, 1), markers.len())
            }),
            each(&batches_of, |_, batches| append_in_turn(&ingest, batches)),
            each(&batches_of, |partition, batches| {
                let (stream, filter) = (shard.subjects.events_stream(), shard.subjects.events(partition));
                read(Reader::new(&shard, stream, filter, 1), batches.len())
            }),
            publish(&shard, &self.outputs),
        )?;
        Ok(began.elapsed())
    }
}

fn by_partition(
    messages: &[Delivered],
    of: impl Fn(&Delivered) -> anyhow::Result<Partition>,
) -> anyhow::Result<BTreeMap<Partition, Vec<&Delivered>>> {
    let mut parted: BTreeMap<Partition, Vec<&Delivered>> = BTreeMap::new();
    for message in messages {
        parted.entry(of(message)?).or_default().push(message);
    }
    Ok(parted)
}

/// Does something for each partition, all at once.
async fn each<'m, F: Future<Output = anyhow::Result<()>>>(
    parted: &'m BTreeMap<Partition, Vec<&'m Delivered>>,
    work: impl Fn(Partition, &'m [&'m Delivered]) -> F,
) -> anyhow::Result<()> {
    futures::future::try_join_all(parted.iter().map(|(partition, messages)| work(*partition, messages))).await?;
    Ok(())
}

/// Each on the condition that its subject is empty.
async fn publish(connection: &Connection, messages: &[Delivered]) -> anyhow::Result<()> {
    let published = futures::stream::iter(messages).map(|message| store(connection, message, 0));
    published.buffered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await
}

/// Each on the condition that it follows the one before.
async fn append_in_turn(connection: &Connection, batches: &[&Delivered]) -> anyhow::Result<()> {
    let mut last = 0;
    for batch in batches {
        last = store(connection, batch, last).await?;
    }
    Ok(())
}

async fn store(connection: &Connection, message: &Delivered, expected: u64) -> anyhow::Result<u64> {
    let (headers, payload) = (message.headers.clone(), message.payload.clone());
    match append(connection, &message.subject, expected, headers, payload).await {
        Appended::At(sequence) => Ok(sequence),
        Appended::Conflict => anyhow::bail!("another message is on {}", message.subject),
        Appended::Unclear(error) => Err(error).with_context(|| message.subject.to_string()),
    }
}

async fn read(mut reader: Reader, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        reader.next().await;
    }
    reader.close().await;
    Ok(())
}
