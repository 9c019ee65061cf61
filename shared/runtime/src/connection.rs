//! Reaching the broker.

use crate::foreign::Ledger;
use async_nats::jetstream::{self, context::ContextBuilder};
use bytes::Bytes;
use daybook_contracts::subjects::{DEFAULT_PREFIX, Subjects};
use futures::StreamExt;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// How long a JetStream API request may take before it is tried again. Short, because a failover loses requests.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The service that keeps the bounds of streams as it is told: one, so that services with different options do not change them
/// in turn.
const KEEPER: &str = "ingest";
/// How long an append may stay unacknowledged before its outcome counts as unclear.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may take to answer itself; it is given up then, and some questions may be lost.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// Where the broker is and what belongs to this Daybook on it. Same for every service.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Broker")]
pub struct BrokerOptions {
    /// URL of the NATS server; several, separated by commas, for a cluster
    #[arg(long, env = "DAYBOOK_NATS", default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    /// File with NATS user credentials (JWT and seed)
    #[arg(long, env = "DAYBOOK_NATS_CREDENTIALS")]
    pub nats_credentials: Option<PathBuf>,
    /// First token of every subject and name of the streams: several Daybooks can share a broker
    #[arg(long, env = "DAYBOOK_PREFIX", default_value = DEFAULT_PREFIX)]
    pub prefix: String,
    /// Number of partitions; fixed once the streams exist [1..=256]
    #[arg(long, env = "DAYBOOK_PARTITIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub partitions: u16,
    /// Copies of each stream in a JetStream cluster [1..=5]
    #[arg(long, env = "DAYBOOK_STREAM_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub stream_replicas: u8,
    /// Most bytes that INBOX buffers; publishers are refused beyond that
    #[arg(long, env = "DAYBOOK_INBOX_MAX_BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(i64).range(1 << 20..))]
    pub inbox_max_bytes: i64,
    /// Most messages of one tenant and kind that INBOX buffers; the tenant is refused beyond that, and nobody else
    /// [1..=10000000]
    #[arg(long, env = "DAYBOOK_INBOX_MAX_MESSAGES_PER_KIND", default_value_t = INBOX_MAX_MESSAGES_PER_KIND, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub inbox_max_messages_per_kind: i64,
}

/// A quarter of the default INBOX with messages of 1 KiB. A tenant that publishes 50,000 messages a second meets it when ingest
/// is away for five seconds.
const INBOX_MAX_MESSAGES_PER_KIND: i64 = 262_144;

impl BrokerOptions {
    /// The defaults for a broker at `url`.
    pub fn at(url: &str) -> Self {
        Self {
            nats: url.to_owned(),
            nats_credentials: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            partitions: 8,
            stream_replicas: 1,
            inbox_max_bytes: 1 << 30,
            inbox_max_messages_per_kind: INBOX_MAX_MESSAGES_PER_KIND,
        }
    }
}

/// A connection with the names it uses. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    pub subjects: Subjects,
    pub partitions: u16,
    /// Copies of what this process makes on the broker.
    pub stream_replicas: usize,
    /// What this process has met in streams that no service wrote.
    pub foreign: Ledger,
}

/// The broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no NATS server answers at {url}; start one or say where it is with --nats")]
    Connect {
        url: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("cannot read NATS credentials {path:?}")]
    Credentials {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Prefix(#[from] daybook_contracts::subjects::PrefixError),
    #[error(transparent)]
    Streams(#[from] crate::streams::StreamError),
}

/// Connects without touching streams. `name` appears in the broker's list of connections.
///
/// # Errors
/// When no server answers or the options are wrong.
pub async fn connect(options: &BrokerOptions, name: &str) -> Result<Connection, ConnectError> {
    let subjects = Subjects::new(&options.prefix)?;
    let mut connect = async_nats::ConnectOptions::new()
        .name(name)
        // Reconnecting goes on for ever; a service waits for its broker.
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 << attempts.min(5)) as u64))
        .subscription_capacity(64 * 1024);
    if let Some(path) = &options.nats_credentials {
        connect = connect
            .credentials_file(path)
            .await
            .map_err(|source| ConnectError::Credentials { path: path.clone(), source })?;
    }
    let servers: Vec<&str> = options.nats.split(',').map(str::trim).collect();
    let client =
        connect.connect(servers).await.map_err(|source| ConnectError::Connect { url: options.nats.clone(), source })?;
    let jetstream = ContextBuilder::new().timeout(REQUEST_TIMEOUT).ack_timeout(ACK_TIMEOUT).build(client.clone());
    let (partitions, stream_replicas) = (options.partitions, usize::from(options.stream_replicas));
    Ok(Connection { client, jetstream, subjects, partitions, stream_replicas, foreign: Ledger::default() })
}

/// Connects and makes sure that the streams exist, waiting for the broker as long as it takes.
///
/// # Errors
/// When the options are wrong or the streams belong to a Daybook with another number of partitions.
pub async fn connect_service(options: &BrokerOptions, name: &str) -> Result<Connection, ConnectError> {
    let mut said = false;
    loop {
        let outcome = async {
            let connection = connect(options, name).await?;
            crate::streams::ensure(&connection, options).await?;
            if name == KEEPER {
                crate::streams::update(&connection, options).await?;
            }
            Ok(connection)
        };
        match outcome.await {
            Ok(connection) => return Ok(connection),
            Err(error @ (ConnectError::Prefix(_) | ConnectError::Credentials { .. })) => return Err(error),
            Err(ConnectError::Streams(error)) if !error.is_transient() => return Err(error.into()),
            Err(error) => {
                if !said {
                    tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the broker");
                    said = true;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
}

/// Waits until the broker has done what it was told before, and what it sent before has arrived.
pub async fn round_trip(client: &async_nats::Client) {
    let there_and_back = async {
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Bytes::new()).await.ok()?;
        echo.next().await
    };
    let _ = tokio::time::timeout(ROUND_TRIP, there_and_back).await;
}
