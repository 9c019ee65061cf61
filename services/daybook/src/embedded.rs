//! The services in this process, connect and gateway where they are wanted, with a private broker or an existing one.

use anyhow::Context as _;
use daybook_broker::{Broker, Options, Port, WebSocketOptions};
use daybook_runtime::connection::BrokerOptions;
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::{process, telemetry};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long services get to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is run.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    pub broker: BrokerOptions,
    pub shard: aggregator_shard::Options,
    pub day_manager: day_manager::Options,
    pub ingest: ingest::Options,
    pub query: query::Options,
    /// Without a file of sources, connect does not run.
    pub connect: connect::Options,
    /// HTTP for clients, with `/healthz` and `/metrics` on the same port; none when absent.
    pub gateway: Option<gateway::Options>,
}

impl EmbeddedOptions {
    /// The defaults, with checkpoints in `shard_data`.
    pub fn new(broker: BrokerOptions, shard_data: PathBuf) -> Self {
        Self {
            broker,
            shard: aggregator_shard::Options::new(shard_data),
            day_manager: Default::default(),
            ingest: Default::default(),
            query: Default::default(),
            connect: Default::default(),
            gateway: None,
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The services, running.
pub struct Embedded {
    pub health: Health,
    /// Where the gateway serves clients, such as `http://127.0.0.1:8080`.
    pub http: Option<String>,
    stop: CancellationToken,
    services: JoinSet<(&'static str, Ended)>,
}

impl Embedded {
    /// Starts the services and waits until they are ready.
    ///
    /// # Errors
    /// When the broker cannot be used or a service ends.
    pub async fn start(options: EmbeddedOptions) -> anyhow::Result<Self> {
        let mut embedded = Self::begin(options).await?;
        embedded.ready().await?;
        Ok(embedded)
    }

    /// Starts the services.
    ///
    /// # Errors
    /// When the broker cannot be used.
    pub async fn begin(options: EmbeddedOptions) -> anyhow::Result<Self> {
        let EmbeddedOptions { broker, shard, day_manager, ingest, query, connect, gateway } = options;
        let mut embedded =
            Self { health: Health::default(), http: None, stop: CancellationToken::new(), services: JoinSet::new() };
        // Before anything runs: the address may be taken.
        let gateway = match gateway {
            Some(options) => Some(gateway::Bound::bind(options, gateway::Openness::Loopback).await?),
            None => None,
        };
        embedded.begin_as("day-manager", &broker, |context| day_manager::run(day_manager, context)).await?;
        embedded.begin_as("ingest", &broker, |context| ingest::run(ingest, context)).await?;
        embedded.begin_as("aggregator-shard", &broker, |context| aggregator_shard::run(shard, context)).await?;
        embedded.begin_as("query", &broker, |context| query::run(query, context)).await?;
        if connect.sources.is_some() {
            embedded.begin_as("connect", &broker, |context| connect::run(connect, context)).await?;
        }
        if let Some(gateway) = gateway {
            embedded.http = Some(format!("{}://{}", gateway.scheme(), gateway.address()?));
            let operations = daybook_runtime::http::routes(embedded.health.clone(), embedded.stop.clone());
            let gateway = gateway.beside(operations);
            embedded.begin_as("gateway", &broker, |context| gateway.serve(context)).await?;
        }
        Ok(embedded)
    }

    /// Starts a service on a connection of its own, as if it were a process of its own: another's traffic does not hold it up.
    async fn begin_as<F>(
        &mut self,
        name: &'static str,
        broker: &BrokerOptions,
        run: impl FnOnce(process::Context) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let connection = connect_service(broker, name).await?;
        // What it runs takes the place of this.
        self.health.set(name, false);
        let context = process::Context::new(connection, self.health.clone(), self.stop.clone());
        let running = run(context);
        self.services.spawn(async move { (name, running.await) });
        Ok(())
    }

    /// Returns when everything that is run here is ready: which partitions that are depends on who else runs some.
    ///
    /// # Errors
    /// When a service ends.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        // No deadline: a shard that lost its checkpoint reads the whole log first.
        let health = self.health.clone();
        let ready = async {
            while !health.is_ready() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = ready => Ok(()),
            ended = self.ended() => ended,
        }
    }

    /// Returns when a service ends by itself, which none should.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match self.services.join_next().await {
            Some(ended) => report_end(ended),
            None => Ok(()),
        }
    }

    /// Lets every service finish what it is doing.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.services.join_next().await.is_some() {} };
        if tokio::time::timeout(DEADLINE, all).await.is_err() {
            tracing::warn!("some services did not end in time");
        }
    }
}

fn report_end(ended: Result<(&'static str, Ended), tokio::task::JoinError>) -> anyhow::Result<()> {
    let (name, outcome) = ended?;
    match outcome {
        Ok(()) => anyhow::bail!("{name} ended"),
        Err(error) => Err(anyhow::Error::from_boxed(error)).context(format!("{name} failed")),
    }
}

/// Finds nats-server, or fetches it, telling about it on standard error.
///
/// # Errors
/// When there is none to be had.
pub async fn locate_broker(explicit: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let found = tokio::task::spawn_blocking(move || {
        daybook_broker::locate(explicit.as_deref(), &|progress| match progress {
            daybook_broker::Progress::Ready { .. } => {}
            progress => telemetry::say(&progress.to_string()),
        })
    });
    Ok(found.await??)
}

/// Starts a private broker that keeps its streams in `store`.
///
/// # Errors
/// When it does not start.
pub async fn start_broker(
    binary: PathBuf,
    store: PathBuf,
    port: Port,
    websocket: Option<WebSocketOptions>,
) -> anyhow::Result<Broker> {
    Ok(Broker::start(Options { port, websocket, ..Options::new(binary, store) }).await?)
}

/// Starts a private broker that does what `config_file` says, with its log in `store`.
///
/// # Errors
/// When it does not start.
pub async fn start_configured_broker(binary: PathBuf, store: PathBuf, config_file: PathBuf) -> anyhow::Result<Broker> {
    Ok(Broker::start(Options { config_file: Some(config_file), ..Options::new(binary, store) }).await?)
}
