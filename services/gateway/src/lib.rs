//! The gateway: Daybook over HTTP, for clients that speak no NATS. It is itself a client of Daybook: it publishes events,
//! asks the query service and follows live feeds, and holds nothing that could not be lost.
//!
//! Follow a request: [`serving`] accepts the connection and bounds it; [`routes`] has the one table of routes, and finds out
//! who asks and for what; [`access`] knows the tokens, [`http`] the protocol. Then [`events`] publishes, [`questions`] asks, or
//! [`live`] follows.
//! [`console`] answers people with pages, from the same questions.
//! [`webhooks`] sends alerts to the receivers that the operator names; [`outgoing`] makes the requests that begin here.
//! [`asker`] asks the query service; [`definitions`] knows kinds, mappings and tenants; [`gateway`] is what requests share; [`room`] bounds memory; [`problem`] is how errors are told.

mod access;
mod asker;
mod console;
mod definitions;
mod events;
mod gateway;
mod http;
mod live;
mod options;
mod outgoing;
mod problem;
mod questions;
mod room;
mod routes;
mod serving;
pub mod webhooks;

pub use access::doorkeeper::DoorError;
pub use access::{Grant, Scope, ScopeError, Tenants, is_local, keys};
pub use options::{DoorOptions, Options, Origins, OriginsError};
pub use routes::document;
pub use serving::TlsError;

use crate::access::doorkeeper::Doorkeeper;
use crate::access::{Meter, Rate, UnderWay, watching};
use crate::asker::Asker;
use crate::console::{Console, MAX_LIVE};
use crate::definitions::Definitions;
use crate::events::post::ROOM_OF_A_STREAM;
use crate::gateway::Gateway;
use crate::live::Hub;
use crate::outgoing::Outgoing;
use crate::room::{ALL_STREAMS, Rooms, SHARES};
use crate::serving::{Bounds, Server, TlsFiles};
use crate::webhooks::{SenderEnd, WebhooksError, WebhooksFile};
use axum::Router;
use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How long listening may take to begin: an address may hold a name that has to be looked up.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);
/// What one token may have under way at once, until the answers are sent.
const OF_TOKEN: UnderWay = UnderWay { requests: 512, uploads: 32, listeners: 10_000, pages: PAGES };
/// Live pages of one token, and of one tenant: a quarter of all.
const PAGES: u32 = MAX_LIVE / SHARES;
/// Streams of events of one tenant: a quarter of those that there is room for.
const UPLOADS_OF_A_TENANT: u32 = (ALL_STREAMS / ROOM_OF_A_STREAM) as u32 / SHARES;

/// Why the gateway cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("{0} is not the loopback interface, so clients need tokens: give --api-keys or --jwt-keys")]
    NoTokens(SocketAddr),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error(transparent)]
    Webhooks(#[from] WebhooksError),
}

/// Who is let in without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// Nobody.
    Closed,
    /// Whoever is on this machine, if no tokens are set and the address is of the loopback interface: for `daybook up`.
    Loopback,
}

/// A gateway that listens, and serves nobody yet.
pub struct Bound {
    options: Options,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    is_open: bool,
    webhooks: Option<WebhooksFile>,
    /// Further routes on the same port.
    beside: Router,
}

impl Bound {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be listened on, certificates or the file of webhooks cannot be used, or everybody would be let in.
    pub async fn bind(options: Options, openness: Openness) -> Result<Self, BindError> {
        let DoorOptions { http_cert, http_key, .. } = &options.door;
        let tls = match (http_cert, http_key) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: certificate.clone(), key: key.clone() }.acceptor()?)
            }
            _ => None,
        };
        let failed = |source| BindError::Listen { address: options.listen.clone(), source };
        let listening = tokio::time::timeout(LISTEN_LIMIT, TcpListener::bind(&options.listen)).await;
        let listener = listening.map_err(|error| failed(error.into()))?.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let needs_tokens = openness == Openness::Closed || !address.ip().is_loopback();
        if needs_tokens && !options.door.has_tokens() {
            return Err(BindError::NoTokens(address));
        }
        let is_open = !options.door.has_tokens();
        let webhooks = match &options.door.webhooks {
            Some(path) => Some(WebhooksFile::open(path.clone()).await?),
            None => None,
        };
        Ok(Self { options, listener, tls, is_open, webhooks, beside: Router::new() })
    }

    /// Serves these routes, too, without tokens.
    #[must_use]
    pub fn beside(self, routes: Router) -> Self {
        Self { beside: routes, ..self }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether it lets in everyone on this machine.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Serves until `context.leave` is cancelled, and sends answers under way.
    ///
    /// # Errors
    /// When the keys of tokens cannot be read.
    pub async fn serve(self, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Self { options, listener, tls, is_open, webhooks, beside } = self;
        let Context { connection, health, board, leave, stop } = context;
        health.set("gateway", false);
        let outgoing = Outgoing::default();
        let door = match is_open {
            true => Arc::new(Doorkeeper::open()),
            false => watching::load(&options.door, outgoing.clone(), leave.clone()).await?,
        };
        let door_options = options.door;
        let haste = door_options.webhook_haste;
        // However many targets the file comes to have.
        let sending = webhooks.as_ref().map_or(0, |_| webhooks::MAX_TRIES.into());
        let bounds = Bounds::within_file_limit(door_options.max_connections, sending);
        // Each request and each live stream takes a connection.
        let share = u32::try_from(bounds.connections).unwrap_or(u32::MAX) / SHARES;
        // Without tokens there is one client, this machine.
        let of_one = UnderWay { pages: MAX_LIVE, ..OF_TOKEN };
        let rate = Rate {
            per_second: if is_open { u32::MAX } else { door_options.token_requests_per_second },
            of_token: if is_open { of_one } else { OF_TOKEN },
            of_tenant: UnderWay { requests: share, uploads: UPLOADS_OF_A_TENANT, listeners: share, pages: PAGES },
        };
        let asker = Asker::new(&connection);
        let definitions = Definitions::follow(connection.clone(), leave.clone());
        let gateway = Arc::new(Gateway {
            door,
            meter: Meter::new(rate),
            origins: door_options.cors_origins,
            definitions: definitions.clone(),
            hub: Hub::new(&connection, asker.clone(), leave.clone()),
            asker,
            rooms: Rooms::new(door_options.max_body_bytes as usize),
            max_body_bytes: door_options.max_body_bytes as usize,
            payload_bytes: door_options.tenant_payload_bytes as usize,
            connection: connection.clone(),
        });
        let console = Console::new(gateway.clone(), tls.is_some(), leave.clone());
        let router = routes::router(gateway, console.router().merge(beside));
        let membership =
            Membership::join(&connection, "gateway", env!("CARGO_PKG_VERSION"), board.clone(), leave.clone()).await?;
        let server = tokio::spawn(Server { listener, tls, router, bounds }.serve(leave.clone()));
        let end = SenderEnd { leave: leave.clone(), stop };
        let webhooks = webhooks.map(|file| tokio::spawn(webhooks::run(file, connection, outgoing, board, haste, end)));
        tokio::select! {
            () = definitions.level() => {
                health.set("gateway", true);
                tracing::info!("answering by HTTP");
            }
            () = leave.cancelled() => {}
        }
        server.await?;
        if let Some(webhooks) = webhooks {
            webhooks.await?;
        }
        health.set("gateway", false);
        membership.farewell().await;
        Ok(())
    }
}

/// Runs until `context.leave` is cancelled.
///
/// # Errors
/// When it cannot listen, or certificates or keys cannot be used.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let bound = Bound::bind(options, Openness::Closed).await?;
    tracing::info!(address = %bound.address()?, scheme = bound.scheme(), "listening");
    bound.serve(context).await
}
