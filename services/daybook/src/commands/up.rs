//! `daybook up`: everything in one process, kept running.

use crate::cli::Outcome;
use crate::embedded::{Embedded, EmbeddedOptions, locate_broker, start_broker, start_configured_broker};
use crate::websocket::{WebSocket, WebSocketArguments};
use anyhow::Context as _;
use daybook_broker::{Broker, Port};
use daybook_contracts::subjects::Subjects;
use daybook_runtime::config::OperationsOptions;
use daybook_runtime::connection::{BrokerOptions, NatsOptions};
use daybook_runtime::retention::Retention;
use daybook_runtime::store::Backend;
use daybook_runtime::{http, memory, process, telemetry};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Stands for the private broker's URL before there is one.
const PRIVATE_URL: &str = "nats://127.0.0.1";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder for everything that is kept: the broker's streams and the checkpoints
    #[arg(long, env = "DAYBOOK_DATA", default_value = "daybook-data")]
    data: PathBuf,
    #[command(flatten)]
    pub broker: BrokerOptions,
    /// Port of the private broker for NATS clients
    #[arg(long, env = "DAYBOOK_PORT", default_value_t = 4222)]
    port: u16,
    #[command(flatten)]
    websocket: WebSocketArguments,
    /// Run this nats-server as the private broker
    #[arg(long, env = "DAYBOOK_NATS_SERVER", value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Run the private broker with this configuration as it is; it decides on ports, users and TLS. Without --nats, services
    /// connect to where it listens
    #[arg(long, env = "DAYBOOK_NATS_SERVER_CONFIG", value_name = "FILE")]
    nats_server_config: Option<PathBuf>,
    /// What keeps the checkpoints; after a change they are made again from the broker
    #[arg(long, env = "DAYBOOK_STORE", value_enum, default_value_t)]
    store: Backend,
    /// How long the log is kept, such as 90d; 0 for ever [0, 1s..=36500d]
    #[arg(long, env = "DAYBOOK_LOG_RETENTION", default_value_t = Retention::FOR_EVER)]
    log_retention: Retention,
    /// How long sealed reports are kept, such as 3650d; 0 for ever [0, 1s..=36500d]
    #[arg(long, env = "DAYBOOK_REPORT_RETENTION", default_value_t = Retention::FOR_EVER)]
    report_retention: Retention,
    /// How long the figures behind sealed reports are kept, such as 730d; 0 for ever [0, 1s..=36500d]
    #[arg(long, env = "DAYBOOK_FIGURES_RETENTION", default_value_t = Retention::FOR_EVER)]
    figures_retention: Retention,
    #[command(flatten)]
    pub connect: connect::Options,
    #[command(flatten)]
    pub operations: OperationsOptions,
    #[command(flatten)]
    gateway: gateway::DoorOptions,
}

impl Arguments {
    /// The gateway, on the port of `--http`. Without tokens it serves this machine alone, so on any other address there are
    /// only health and metrics.
    fn gateway(&self) -> Option<gateway::Options> {
        let listen = self.operations.http.clone()?;
        let door = self.gateway.clone();
        (gateway::is_local(&listen) || door.has_tokens()).then_some(gateway::Options { listen, door })
    }

    /// Whether the services run on a private broker that lets everyone on this machine in.
    fn has_plain_broker(&self) -> bool {
        self.broker.nats.nats.is_empty() && self.nats_server_config.is_none()
    }
}

pub async fn run(arguments: Arguments) -> Outcome {
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        process::wait_for_signal().await;
        signalled.cancel();
    });
    serve(&arguments, &stop).await
}

async fn serve(arguments: &Arguments, stop: &CancellationToken) -> Outcome {
    std::fs::create_dir_all(&arguments.data)
        .with_context(|| format!("cannot make the folder {}", arguments.data.display()))?;
    if let Some(sources) = &arguments.connect.sources {
        // Before a broker is started in vain.
        connect::sources::load(sources, &Subjects::new(&arguments.broker.prefix)?)?;
    }
    if let Some(webhooks) = &arguments.gateway.webhooks {
        gateway::webhooks::check(webhooks)?;
    }
    let is_private = arguments.has_plain_broker();
    anyhow::ensure!(
        is_private || !arguments.websocket.is_wanted(),
        "--websocket-origins opens a WebSocket of the private broker, and --nats and --nats-server-config name another; open it \
         in the configuration of that one"
    );
    anyhow::ensure!(
        arguments.operations.http.is_some() || !arguments.gateway.has_tokens(),
        "--api-keys and --jwt-keys are of no use without --http, which opens the API"
    );
    anyhow::ensure!(
        arguments.gateway.webhooks.is_none() || arguments.gateway().is_some(),
        "--webhooks needs the gateway; give --http, and --api-keys or --jwt-keys if that is not the loopback interface"
    );
    let websocket = if is_private { arguments.websocket.open(&arguments.data)? } else { None };
    let Some(mut broker) = own_broker(arguments, websocket.as_ref(), stop).await? else { return Ok(ExitCode::SUCCESS) };
    let nats = connecting(arguments, broker.as_ref());
    let url = nats.nats.to_string();
    let mut options = BrokerOptions { nats, ..arguments.broker.clone() };
    if is_private {
        // One server keeps one copy, whatever the environment says for a cluster.
        options.stream_replicas = 1;
    }
    let mut embedded = EmbeddedOptions::new(options, arguments.data.join("shard"));
    embedded.connect = arguments.connect.clone();
    embedded.shard.store = arguments.store;
    embedded.shard.log_retention = arguments.log_retention;
    embedded.shard.report_retention = arguments.report_retention;
    embedded.shard.figures_retention = arguments.figures_retention;
    embedded.gateway = arguments.gateway();
    http::metrics_handle();
    memory::watch(arguments.operations.memory);
    let begun = tokio::select! {
        begun = beside_broker(&mut broker, Embedded::begin(embedded)) => Some(begun?),
        () = stop.cancelled() => None,
    };
    let Some(mut services) = begun else {
        if let Some(broker) = broker {
            broker.stop().await?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    // What is stopped before it is ready ends in good order, too.
    tokio::select! {
        ready = beside_broker(&mut broker, services.ready()) => {
            ready?;
            announce(arguments, &url, broker.as_ref().zip(websocket.as_ref()), &services, stop).await?;
        }
        () = stop.cancelled() => {}
    }
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = beside_broker(&mut broker, services.ended()) => ended,
    };
    telemetry::say("stopping …");
    services.stop().await;
    if let Some(broker) = broker {
        broker.stop().await?;
    }
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a private broker, unless one is there already to be used and none is configured; `None` when told to stop.
async fn own_broker(
    arguments: &Arguments,
    websocket: Option<&WebSocket>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Option<Broker>>> {
    if !arguments.broker.nats.nats.is_empty() && arguments.nats_server_config.is_none() {
        return Ok(Some(None));
    }
    // Before a server is fetched and started in vain.
    connecting(arguments, None).check()?;
    let binary = tokio::select! {
        binary = locate_broker(arguments.nats_server.clone()) => binary?,
        () = stop.cancelled() => return Ok(None),
    };
    let store = arguments.data.join("broker");
    let broker = match &arguments.nats_server_config {
        Some(file) => start_configured_broker(binary, store, file.clone()).await?,
        None => {
            let websocket = websocket.map(|websocket| websocket.options.clone());
            start_broker(binary, store, Port::Fixed(arguments.port), websocket).await?
        }
    };
    Ok(Some(Some(broker)))
}

/// How the services reach `broker`, or the one that `--nats` names.
fn connecting(arguments: &Arguments, broker: Option<&Broker>) -> NatsOptions {
    let given = &arguments.broker.nats;
    if !given.nats.is_empty() {
        return given.clone();
    }
    let url = broker.map_or(PRIVATE_URL, Broker::client_url);
    if arguments.nats_server_config.is_some() {
        return NatsOptions { nats: url.into(), ..given.clone() };
    }
    // The environment may say how to connect to quite another broker.
    NatsOptions::at(url)
}

/// Tells where everything is to be found, and serves what there is over HTTP.
async fn announce(
    arguments: &Arguments,
    url: &str,
    websocket: Option<(&Broker, &WebSocket)>,
    services: &Embedded,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    telemetry::say(&format!(
        "Daybook is up. Press Ctrl-C to stop; everything is kept in {}.",
        arguments.data.display()
    ));
    telemetry::say(&format!("  NATS       {url}"));
    if arguments.has_plain_broker() && arguments.broker.nats.says_who_or_how() {
        telemetry::say(
            "             open to every program on this machine: settings of users and TLS count only with --nats or \
             --nats-server-config",
        );
    }
    if let Some((url, websocket)) = websocket.and_then(|(broker, websocket)| Some((broker.websocket_url()?, websocket)))
    {
        telemetry::say(&format!("  WebSocket  {url} for {}", websocket.options.allowed_origins.join(", ")));
        telemetry::say(&format!("             with the token in {}", websocket.token_file.display()));
    }
    if let Some(sources) = &arguments.connect.sources {
        telemetry::say(&format!("  Sources    those in {}; `daybook status` shows them", sources.display()));
    }
    if let Some(webhooks) = &arguments.gateway.webhooks {
        telemetry::say(&format!("  Webhooks   those in {}; `daybook webhook try` tries one", webhooks.display()));
    }
    if let Some(url) = &services.http {
        telemetry::say(&format!("  HTTP       {url}/v1/docs (the API), /healthz and /metrics"));
        if !arguments.gateway.has_tokens() {
            telemetry::say("             open to every program on this machine, and to no web page of another origin");
        }
    } else if let Some(address) = &arguments.operations.http {
        let address = http::serve(address, services.health.clone(), stop.clone())
            .await
            .with_context(|| format!("cannot listen on {address} (--http)"))?;
        telemetry::say(&format!(
            "  HTTP       http://{address}/healthz and /metrics; the API needs --api-keys or --jwt-keys here"
        ));
    }
    Ok(())
}

/// Does `work`, and starts the private broker again whenever it ends meanwhile: services that are starting wait for it, too.
async fn beside_broker<T>(
    broker: &mut Option<Broker>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            died = broker_died(broker) => {
                tracing::warn!(status = died, "the private broker ended; starting it again");
                if let Some(broker) = broker {
                    broker.restart().await?;
                }
            }
        }
    }
}

/// Returns when the private broker has ended by itself.
async fn broker_died(broker: &mut Option<Broker>) -> String {
    match broker {
        Some(broker) => match broker.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        None => std::future::pending().await,
    }
}
