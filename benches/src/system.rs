//! A whole Daybook with its broker for the length of a measurement, and producers for it.

use crate::apart::Apart;
use crate::bare::Days;
use crate::process::Process;
use crate::work::{DAY_MS, Work, orders};
use anyhow::Context as _;
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook::client::Client;
use daybook::commands::apply::apply;
use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_broker::{Broker, Options};
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{AskErrorCode, DaySelector, Query};
use daybook_contracts::headers::{CONTENT_TYPE, MSGPACK};
use daybook_contracts::log::Event;
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_runtime::connection::BrokerOptions;
use futures::StreamExt;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// The clock that the tenants of a work follow.
pub const CLOCK: &str = "bench";
/// Publishes of a producer that wait for their acknowledgement.
const WINDOW: usize = 512;
/// What INBOX buffers, so that no producer is held up.
pub const INBOX_MAX_BYTES: i64 = 2 << 30;
/// Events that are made, and then published.
const MADE_AT_ONCE: usize = 100_000;
/// Events of a message at most.
const PUBLISHED_TOGETHER: usize = 100;
/// Tenants of one request to define them.
const TENANTS_AT_ONCE: usize = 4_000;
/// In which processor time is told to every program on Linux.
const TICK_MS: u64 = 10;

/// The services, with a private broker on a temporary folder, which must be on a real disk.
pub struct System {
    // Dropped in this order.
    services: Services,
    pub client: Client,
    pub broker: Broker,
    _folder: TempDir,
}

enum Services {
    /// All of them in this process.
    Here(Embedded),
    /// The shard in a process of its own.
    Apart(Apart),
}

impl System {
    /// # Errors
    /// When nats-server or the services do not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| ()).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// When nats-server or the services do not start.
    pub async fn start_with(change: impl FnOnce(&mut EmbeddedOptions)) -> anyhow::Result<Self> {
        let (broker, folder) = broker().await?;
        let options = BrokerOptions { inbox_max_bytes: INBOX_MAX_BYTES, ..BrokerOptions::at(broker.client_url()) };
        let mut settings = EmbeddedOptions::new(options.clone(), folder.path().join("shard"));
        change(&mut settings);
        let services = Embedded::start(settings).await?;
        let client = Client::connect(&options).await?;
        Ok(Self { services: Services::Here(services), client, broker, _folder: folder })
    }

    /// The same, but for a shard in a process of its own, so that it can be told what that one takes.
    ///
    /// # Errors
    /// When nats-server or the services do not start.
    pub async fn with_shard_apart() -> anyhow::Result<Self> {
        let (broker, folder) = broker().await?;
        let options = BrokerOptions { inbox_max_bytes: INBOX_MAX_BYTES, ..BrokerOptions::at(broker.client_url()) };
        let services = Apart::start(&options, &folder.path().join("shard")).await?;
        let client = Client::connect(&options).await?;
        Ok(Self { services: Services::Apart(services), client, broker, _folder: folder })
    }

    /// The process of the shard, where it is one of its own.
    pub fn shard(&self) -> Option<Process> {
        match &self.services {
            Services::Here(_) => None,
            Services::Apart(apart) => Some(apart.shard()),
        }
    }

    /// Where the gateway serves clients, such as `127.0.0.1:8080`, if there is one.
    pub fn http(&self) -> Option<&str> {
        match &self.services {
            Services::Here(services) => services.http.as_deref().and_then(|url| url.strip_prefix("http://")),
            Services::Apart(_) => None,
        }
    }

    /// How a further connection gets to the broker.
    pub fn broker_options(&self) -> BrokerOptions {
        BrokerOptions::at(self.broker.client_url())
    }

    /// Another connection, as of another process.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(&self.broker_options()).await
    }

    /// Puts the work's definitions into force and opens its first day.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn define(&self, work: &Work) -> anyhow::Result<()> {
        define(&self.client, work).await
    }

    /// Opens a day of all tenants, and closes those before.
    ///
    /// # Errors
    /// When day-manager does not answer.
    pub async fn open(&self, day: Date) -> anyhow::Result<()> {
        open_day(&self.client, CLOCK, day).await
    }

    /// Processor time of broker, services and whoever else is in this process, since they began.
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Ok(Duration::new(own.tv_sec as u64, own.tv_nsec as u32) + self.broker_time()?)
    }

    /// Processor time of the broker since it began.
    ///
    /// # Errors
    /// When it has ended.
    pub fn broker_time(&self) -> anyhow::Result<Duration> {
        let pid = self.broker.pid().context("the broker has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name, which may hold anything: see proc_pid_stat(5). In user mode and in the kernel.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * TICK_MS))
    }

    /// Ends everything in good order.
    pub async fn stop(self) {
        match self.services {
            Services::Here(services) => services.stop().await,
            Services::Apart(apart) => apart.stop().await,
        }
    }
}

/// Puts the work's definitions into force and opens its first day.
///
/// # Errors
/// When they are refused.
pub async fn define(client: &Client, work: &Work) -> anyhow::Result<()> {
    define_yaml(client, work.definitions.clone()).await?;
    define_tenants(client, &work.tenants, work.first_day, CLOCK).await?;
    open_day(client, CLOCK, work.first_day).await
}

/// Puts definitions into force.
///
/// # Errors
/// When they are refused.
pub async fn define_yaml(client: &Client, yaml: String) -> anyhow::Result<()> {
    let kinds = client.catalogue().await?.kinds;
    let loaded = daybook::definitions::load(&[(PathBuf::from("work.yaml"), yaml)], &kinds);
    let definitions = loaded.map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
    match apply(client, &definitions, false).await? {
        Ok(_) => Ok(()),
        Err(refusals) => anyhow::bail!("{refusals:?}"),
    }
}

/// Defines tenants whose days are those of UTC and follow a driven clock.
///
/// # Errors
/// When they are refused.
pub async fn define_tenants(client: &Client, tenants: &[TenantId], first_day: Date, clock: &str) -> anyhow::Result<()> {
    for tenants in tenants.chunks(TENANTS_AT_ONCE) {
        let tenant = |id| {
            format!(
                "  - {{ id: {id}, zone: Etc/UTC, cutoff: \"00:00\", first_day: {first_day}, clock: {clock}, restate_after: 0s, max_ahead: 8784h }}\n"
            )
        };
        define_yaml(client, format!("tenants:\n{}", tenants.iter().map(tenant).collect::<String>())).await?;
    }
    Ok(())
}

/// Drives a clock into a day, so that it opens and the one before closes; returns when the markers stand in INBOX.
///
/// # Errors
/// When day-manager does not answer.
pub async fn open_day(client: &Client, clock: &str, day: Date) -> anyhow::Result<()> {
    let advance_to = Instant::from_millis(i64::from(day.as_days()) * DAY_MS + 1);
    client.advance(&ClockAdvance { clock: Name::new(clock)?, advance_to }).await?;
    Ok(())
}

/// The question for a day's orders, rolled up over all groups.
pub fn of_day(day: Date) -> Query {
    Query { days: DaySelector::Date(day), dimensions: Some(Vec::new()), accept_stale: false, ..Query::default() }
}

/// How many orders, and of what amount, a tenant is told that it has; `None` where there is no such day.
///
/// # Errors
/// When there is no answer.
pub async fn rows_and_sum(
    client: &Client,
    tenant: &TenantId,
    view: &str,
    query: &Query,
) -> anyhow::Result<Option<(i64, i64)>> {
    match client.query(tenant, view, query).await {
        Ok(answer) => Ok(Some(add_up(&answer.rows))),
        Err(error) if error.code == AskErrorCode::UnknownDay => Ok(None),
        Err(error) => anyhow::bail!("{tenant}: {error}"),
    }
}

/// How many orders, and of what amount, rows of the orders' view tell of.
pub fn add_up(rows: &[Row]) -> (i64, i64) {
    let number = |row: &Row, metric| match row.get(metric) {
        Some(Figure::Number(number)) => i64::try_from(number.unscaled()).unwrap_or(i64::MAX),
        _ => 0,
    };
    rows.iter().fold((0, 0), |(n, sum), row| (n + number(row, "orders"), sum + number(row, "amount")))
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
    let acks = futures::stream::iter(messages.iter().cloned()).map(|message: Outgoing| {
        let headers = headers.clone();
        async move {
            let ack = jetstream.publish_with_headers(message.subject, headers, message.payload).await?;
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

/// Publishes orders as they are made, and takes them into the recomputation; tells how many there were. The work lends
/// its tenants, and its events are replaced.
///
/// # Errors
/// When the broker refuses one.
pub async fn publish_orders(
    client: &Client,
    work: &mut Work,
    orders: &mut impl Iterator<Item = (u32, Event)>,
    days: &mut Days,
) -> anyhow::Result<usize> {
    let mut count = 0;
    loop {
        work.events.clear();
        work.events.extend(orders.by_ref().take(MADE_AT_ONCE));
        if work.events.is_empty() {
            return Ok(count);
        }
        count += work.events.len();
        work.events.iter().for_each(|(tenant, event)| days.add(*tenant, event));
        let messages = outgoing(work, PUBLISHED_TOGETHER, orders::DIMENSIONS, orders::MEASURES);
        publish(&client.connection.jetstream, &messages).await?;
    }
}
