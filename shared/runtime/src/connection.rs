//! Reaching the broker: by which settings, as whom, and what is wrong when it does not work.
//!
//! - `options`: the settings, and their contradictions; `servers`: URLs; `secret`: what is never shown;
//! - `identity`: as whom to connect; `proof`: what proves it, read from `files` at every connection; `tls`: its files;
//! - `error`: every reason why a broker cannot be used, with what to do; `diagnosis`: telling them apart;
//! - `finding`: whether a stream is there, also during an election;
//! - `waiting`: what a service says while it waits; `events`: what is logged of a connection that stands;
//! - `version`: which brokers are too old.

mod diagnosis;
mod error;
mod events;
mod files;
mod finding;
mod identity;
mod options;
mod plan;
mod proof;
mod secret;
mod servers;
mod tls;
mod version;
mod waiting;

pub use error::{Cause, ConnectError, Reason, StreamError};
pub use files::{FileError, FileProblem};
pub use finding::{FIND_LIMIT, FindStreamError};
pub use options::{BrokerOptions, NatsOptions, OptionsError};
pub use secret::Secret;
pub use servers::{ServerUrls, UrlError};
pub use version::SAFE_VERSION;
pub(crate) use waiting::WaitLog;

use crate::clock;
use crate::foreign::Ledger;
use async_nats::jetstream::{self, context::ContextBuilder, context::CreateStreamError};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use daybook_contracts::subjects::Subjects;
use diagnosis::{JetStreamTrouble, Tried};
use events::Journal;
use futures::StreamExt;
use identity::Identity;
use plan::ConnectPlan;
use proof::Prover;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a JetStream API request may take before it is tried again. Short, because a failover loses requests.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an append may stay unacknowledged before its outcome counts as unclear.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one address of a server may take to be connected to, with TLS and greeting: twice what a server allows for its
/// own part of the handshake.
const SERVER_LIMIT: Duration = Duration::from_secs(5);
/// How long one attempt may take over all servers, and all addresses of their names. The name service has no other bound.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(30);
/// How long the broker may take to answer itself; it is given up then, and some questions may be lost.
const ROUND_TRIP: Duration = Duration::from_secs(1);
/// How long after a connection the client library may take to show what the server said of itself. It needs microseconds,
/// and nothing waits for it.
const GREETING_SHOWN: Duration = Duration::from_secs(1);

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
    /// What it was made with, for a further connection to the same broker.
    pub options: Arc<BrokerOptions>,
    servers: ServerUrls,
    watch: Arc<Watch>,
}

impl Connection {
    fn reason(&self, trouble: JetStreamTrouble) -> Reason {
        match trouble {
            JetStreamTrouble::NotEnabled | JetStreamTrouble::NobodyResponds => Reason::NoJetStream,
            JetStreamTrouble::NoLeader => Reason::NoLeader,
            // The broker does not answer what it does not permit; it reports it apart.
            JetStreamTrouble::Silent => self.watch.journal.last_violation().unwrap_or(Reason::JetStreamSilent),
        }
    }

    fn fails(&self, reason: Reason, source: Option<&dyn Error>) -> ConnectError {
        failure(&self.servers, reason, source)
    }
}

impl Connection {
    /// # Errors
    /// When the broker is too old.
    pub(crate) fn check_version(&self) -> Result<(), ConnectError> {
        let version = self.client.server_info().version;
        version::check(&version).map_err(|reason| self.fails(reason, None))
    }

    /// What is wrong with the broker, where that is why a stream cannot be made.
    pub(crate) fn why_not_made(&self, source: &CreateStreamError) -> Option<ConnectError> {
        diagnosis::of_creating(source).map(|trouble| self.fails(self.reason(trouble), Some(source)))
    }

    /// Has the log tell of each server that is too old, for as long as there is a copy of this connection.
    pub(crate) fn watch_versions(&self) {
        let task = tokio::spawn(watch_versions(self.client.clone(), self.watch.journal.clone()));
        // Nobody else sets it.
        let _ = self.watch.versions.set(task.abort_handle());
    }
}

fn failure(servers: &ServerUrls, reason: Reason, source: Option<&dyn Error>) -> ConnectError {
    ConnectError::Broker { servers: servers.clone(), reason, source: source.map(diagnosis::cause) }
}

/// What is logged of a connection, until the last copy of that is dropped: what becomes of it then is nobody's concern.
struct Watch {
    journal: Arc<Journal>,
    /// Looks at the version of each server that is connected to.
    versions: OnceLock<AbortHandle>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.journal.close();
        if let Some(task) = self.versions.get() {
            task.abort();
        }
    }
}

/// Connects without touching streams. `name` appears in the broker's list of connections. Takes half a minute at most.
///
/// # Errors
/// When no server answers or lets this user in, or the options are wrong.
pub async fn connect(options: &BrokerOptions, name: &str) -> Result<Connection, ConnectError> {
    let subjects = Subjects::new(&options.prefix)?;
    let ConnectPlan { servers, identity, tls } = options.nats.plan()?;
    tls::check(&tls).await?;
    let prover = Arc::new(Prover::load(identity).await?);
    let journal = Arc::new(Journal::default());
    let connecting = tls::apply(settings(name, &prover, &journal), &tls).connect(servers.addresses);
    let error = match tokio::time::timeout(ATTEMPT_LIMIT, connecting).await {
        Ok(Ok(client)) => {
            let jetstream =
                ContextBuilder::new().timeout(REQUEST_TIMEOUT).ack_timeout(ACK_TIMEOUT).build(client.clone());
            let (partitions, stream_replicas) = (options.partitions, usize::from(options.stream_replicas));
            let servers = options.nats.nats.clone();
            let watch = Arc::new(Watch { journal, versions: OnceLock::new() });
            let foreign = Ledger::default();
            return Ok(Connection {
                client,
                jetstream,
                subjects,
                partitions,
                stream_replicas,
                foreign,
                options: Arc::new(options.clone()),
                servers,
                watch,
            });
        }
        Ok(Err(error)) => {
            let (identity, expires, now) = (prover.identity(), prover.expires(), clock::now());
            let reason = diagnosis::of_connecting(&error, &Tried { identity, expires, now, tls: &tls });
            failure(&options.nats.nats, reason, Some(&error))
        }
        Err(_) => failure(&options.nats.nats, Reason::Slow, None),
    };
    Err(error)
}

/// What the client library is told.
fn settings(name: &str, prover: &Arc<Prover>, journal: &Arc<Journal>) -> ConnectOptions {
    let settings = match prover.identity() {
        Identity::Anonymous => ConnectOptions::new(),
        _ => {
            let prover = prover.clone();
            ConnectOptions::with_auth_callback(move |nonce| {
                let prover = prover.clone();
                async move { prover.answer(nonce).await }
            })
        }
    };
    let journal = journal.clone();
    settings
        .name(name)
        // Reconnecting goes on for ever; a service waits for its broker.
        .max_reconnects(None)
        .connection_timeout(SERVER_LIMIT)
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 << attempts.min(5)) as u64))
        .subscription_capacity(64 * 1024)
        .event_callback(move |event| {
            journal.take(&event);
            std::future::ready(())
        })
}

/// Tells of each server that is too old. A process that is connected already is not stopped for it: that would stop all
/// tenants, which is what is to be prevented.
async fn watch_versions(client: Client, journal: Arc<Journal>) {
    let mut told = String::new();
    loop {
        journal.connected.notified().await;
        tokio::time::sleep(GREETING_SHOWN).await;
        let server = client.server_info();
        match version::check(&server.version) {
            Err(reason) if told != server.server_id => {
                tracing::error!(server = server.server_name, %reason, "the broker that this process is now connected to");
                told = server.server_id;
            }
            _ => {}
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
