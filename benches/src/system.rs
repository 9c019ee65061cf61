//! A whole Daybook with its broker for the length of a measurement, and producers for it.

use crate::work::Work;
use anyhow::Context as _;
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook::client::Client;
use daybook::commands::apply::apply;
use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_broker::{Broker, Options};
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::headers::{CONTENT_TYPE, MSGPACK};
use daybook_contracts::log::Event;
use daybook_domain::ids::Name;
use daybook_domain::time::Instant;
use daybook_runtime::connection::BrokerOptions;
use futures::StreamExt;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// The clock that tenants follow.
const CLOCK: &str = "bench";
/// Publishes of a producer that wait for their acknowledgement.
const WINDOW: usize = 512;
/// Tenants of one request to define them.
const TENANTS_AT_ONCE: usize = 4_000;
/// In which processor time is told to every program on Linux.
const TICK_MS: u64 = 10;

/// The services in this process, with a private broker on a temporary folder, which must be on a real disk.
pub struct System {
    // Dropped in this order.
    services: Option<Embedded>,
    pub client: Client,
    broker: Broker,
    _folder: TempDir,
}

impl System {
    /// # Errors
    /// When nats-server or the services do not start.
    pub async fn start() -> anyhow::Result<Self> {
        let (broker, folder) = broker().await?;
        let options = BrokerOptions { inbox_max_bytes: 2 << 30, ..BrokerOptions::at(broker.client_url()) };
        let services = Embedded::start(EmbeddedOptions::new(options.clone(), folder.path().join("shard"))).await?;
        let client = Client::connect(&options).await?;
        Ok(Self { services: Some(services), client, broker, _folder: folder })
    }

    /// Another connection, as of another process.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(&BrokerOptions::at(self.broker.client_url())).await
    }

    /// Puts the work's definitions into force and opens its first day.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn define(&self, work: &Work) -> anyhow::Result<()> {
        self.apply(work.definitions.clone()).await?;
        for tenants in work.tenants.chunks(TENANTS_AT_ONCE) {
            let tenant = |id| {
                let first_day = work.first_day;
                format!(
                    "  - {{ id: {id}, zone: Etc/UTC, cutoff: \"00:00\", first_day: {first_day}, clock: {CLOCK} }}\n"
                )
            };
            self.apply(format!("tenants:\n{}", tenants.iter().map(tenant).collect::<String>())).await?;
        }
        let advance_to = Instant::from_millis(i64::from(work.first_day.as_days()) * 86_400_000 + 1);
        self.client.advance(&ClockAdvance { clock: Name::new(CLOCK)?, advance_to }).await?;
        Ok(())
    }

    async fn apply(&self, yaml: String) -> anyhow::Result<()> {
        let kinds = self.client.catalogue().await?.kinds;
        let loaded = daybook::definitions::load(&[(PathBuf::from("work.yaml"), yaml)], &kinds);
        let definitions = loaded.map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        match apply(&self.client, &definitions, false).await? {
            Ok(_) => Ok(()),
            Err(refusals) => anyhow::bail!("{refusals:?}"),
        }
    }

    /// Processor time of broker, services and whoever else is in this process, since they began.
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let pid = self.broker.pid().context("the broker has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name, which may hold anything: see proc_pid_stat(5). In user mode and in the kernel.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let broker = Duration::from_millis(ticks * TICK_MS);
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Ok(Duration::new(own.tv_sec as u64, own.tv_nsec as u32) + broker)
    }

    /// Ends everything in good order.
    pub async fn stop(mut self) {
        if let Some(services) = self.services.take() {
            services.stop().await;
        }
    }
}

/// A broker on a folder of its own.
///
/// # Errors
/// When nats-server is not found or does not start.
pub async fn broker() -> anyhow::Result<(Broker, TempDir)> {
    let folder = tempfile::tempdir()?;
    let binary = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|_| {})).await??;
    let broker = Broker::start(Options::new(binary, folder.path().join("broker"))).await?;
    Ok((broker, folder))
}

/// A message as it is published.
#[derive(Clone)]
pub struct Outgoing {
    pub subject: String,
    pub payload: Bytes,
    pub events: usize,
}

#[derive(Serialize)]
struct Published<'e> {
    id: Option<&'e str>,
    version: Option<u64>,
    status: &'static str,
    at: String,
    dims: std::collections::BTreeMap<&'e str, Option<&'e str>>,
    measures: std::collections::BTreeMap<&'e str, Option<i64>>,
}

/// The work's messages in MessagePack, of up to `together` events each, in the columns `dims` and `measures`.
pub fn outgoing(work: &Work, together: usize, dims: &[&str], measures: &[&str]) -> Vec<Outgoing> {
    let published = |event: &Event| {
        rmp_serde::to_vec_named(&Published {
            id: event.id.as_deref(),
            version: event.version,
            status: event.status.as_str(),
            at: event.at.to_string(),
            dims: dims.iter().copied().zip(event.dims.iter().map(|value| value.as_deref())).collect(),
            measures: measures.iter().copied().zip(event.measures.iter().copied()).collect(),
        })
        .expect("plain values")
    };
    let messages = work.messages(together).into_iter().map(|(tenant, events)| {
        let mut payload = Vec::new();
        if events.len() > 1 {
            rmp_serde::encode::write(&mut payload, &Array(events.len())).expect("a plain value");
        }
        events.iter().for_each(|event| payload.extend(published(event)));
        let subject = format!("daybook.in.{}.{}", work.tenants[tenant as usize], work.kind);
        Outgoing { subject, payload: payload.into(), events: events.len() }
    });
    messages.collect()
}

/// The head of an array of that many things, which follow.
struct Array(usize);

impl Serialize for Array {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        serializer.serialize_seq(Some(self.0))?.end()
    }
}

/// Publishes everything, each message acknowledged; returns the last INBOX sequence.
///
/// # Errors
/// When the broker refuses one.
pub async fn publish(jetstream: &async_nats::jetstream::Context, messages: &[Outgoing]) -> anyhow::Result<u64> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, MSGPACK);
    let acks = futures::stream::iter(messages).map(|message| {
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let headers = headers.clone();
        async move {
            let ack = jetstream.publish_with_headers(subject, headers, payload).await?;
            Ok::<_, anyhow::Error>(ack.await?.sequence)
        }
    });
    let mut acks = acks.buffered(WINDOW);
    let mut last = 0;
    while let Some(ack) = acks.next().await {
        last = last.max(ack.context("a publish failed")?);
    }
    Ok(last)
}
