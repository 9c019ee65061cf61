//! The actor: follows what accounts are made of, answers servers, sends what changed.

use super::book::{AccountBook, Fact, Touched};
use super::facts::{Sources, note, read_facts, store_fingerprint};
use super::revoking::{self, RevokeError};
use super::{Accounts, Resolver, servers};
use daybook_contracts::admin::{RevokeReply, RevokeTokens};
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::{BrokerOptions, ConnectError, Connection, connect};
use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use daybook_runtime::reader::Delivered;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Accounts that are on their way to the servers at once. Each takes a server a signature check and a file: more would keep
/// clients waiting.
const SENT_AT_ONCE: usize = 16;
/// Pause before accounts are sent again that no server has taken.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How long further kinds are waited for before everybody's account is made anew: they are applied together.
const SETTLING: Duration = Duration::from_millis(200);
/// How often accounts with revoked tokens are sent again. A server that was down when a token was revoked, and remembers the
/// account from before, learns of it within this.
const REPEAT: Duration = Duration::from_secs(30);
/// Requests that wait for the actor; beyond that the asker is told to come back.
const MAX_REQUESTS: usize = 64;
/// How long an asker waits for a revocation.
const REVOKE_DEADLINE: Duration = Duration::from_secs(20);

/// Revokes tokens. Cheap to clone.
#[derive(Clone)]
pub struct AccountsHandle {
    requests: mpsc::Sender<Request>,
}

struct Request {
    tokens: RevokeTokens,
    reply: oneshot::Sender<Result<RevokeReply, RevokeError>>,
}

/// The requests of a handle; the actor that is running takes them, also after a restart.
pub struct Requests(Arc<Mutex<mpsc::Receiver<Request>>>);

impl AccountsHandle {
    /// A handle, and where its requests arrive.
    pub fn new() -> (Self, Requests) {
        let (requests, arriving) = mpsc::channel(MAX_REQUESTS);
        (Self { requests }, Requests(Arc::new(Mutex::new(arriving))))
    }

    /// Makes tokens void.
    ///
    /// # Errors
    /// As [`RevokeError`] tells; what is unclear may be asked for again.
    pub async fn revoke(&self, tokens: RevokeTokens) -> Result<RevokeReply, RevokeError> {
        let (reply, replied) = oneshot::channel();
        self.requests.try_send(Request { tokens, reply }).map_err(|_| RevokeError::Unclear)?;
        match tokio::time::timeout(REVOKE_DEADLINE, replied).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(RevokeError::Unclear),
        }
    }
}

impl Clone for Requests {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    membership: Arc<Membership>,
    accounts: Accounts,
    requests: Requests,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = (context, membership, accounts, requests);
    let (actor, _) = Actor::spawn_linked(None, KeeperActor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct KeeperActor;

/// The work has ended, which it should not.
struct Ended;

struct State {
    working: JoinHandle<()>,
    context: Context,
}

impl Drop for State {
    fn drop(&mut self) {
        self.working.abort();
    }
}

impl Actor for KeeperActor {
    type Msg = Ended;
    type State = State;
    type Arguments = (Context, Arc<Membership>, Accounts, Requests);

    async fn pre_start(
        &self,
        myself: ActorRef<Ended>,
        (context, membership, accounts, requests): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        context.health.set("accounts", false);
        let (keeper, sources) = Keeper::begin(context.connection.clone(), membership, &accounts).await?;
        let lookups = servers::lookups(&keeper.system.client).await?;
        tracing::info!(tenants = keeper.book.tenants().count(), resolver = ?accounts.resolver, "keeping accounts");
        context.health.set("accounts", true);
        let working = tokio::spawn(async move {
            keeper.work(sources, lookups, requests).await;
            let _ = myself.cast(Ended);
        });
        Ok(State { working, context })
    }

    async fn handle(&self, _: ActorRef<Ended>, Ended: Ended, _: &mut State) -> Result<(), ActorProcessingErr> {
        Err("the connection of the system account has ended".into())
    }

    async fn post_stop(&self, _: ActorRef<Ended>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.context.health.set("accounts", false);
        Ok(())
    }
}

struct Keeper {
    connection: Connection,
    /// As the system user that may send accounts.
    system: Connection,
    membership: Arc<Membership>,
    resolver: Resolver,
    book: AccountBook,
    /// Tenants whose accounts the servers are to be sent.
    due: BTreeSet<TenantId>,
    /// When everybody's account is due, for something has changed that concerns all.
    everybody_at: Option<Instant>,
    /// Until then nothing is sent, for nobody took it.
    pause: Option<Instant>,
}

type Sending = FuturesUnordered<BoxFuture<'static, (TenantId, Result<(), servers::SendError>)>>;

impl Keeper {
    /// Connects as the system user and reads everything there is.
    async fn begin(
        connection: Connection,
        membership: Arc<Membership>,
        accounts: &Accounts,
    ) -> Result<(Self, Sources), ActorProcessingErr> {
        let system = connect_system(&connection.options, accounts).await?;
        revoking::ensure(&connection).await?;
        let subjects = connection.subjects.clone();
        let mut book = AccountBook::new(accounts.seed.clone(), subjects, accounts.bounds, accounts.payload_bytes);
        store_fingerprint(&connection, &book.fingerprint()).await?;
        let sources = read_facts(&connection, &mut book).await?;
        let resolver = accounts.resolver;
        let (due, everybody_at, pause) = (BTreeSet::new(), Some(Instant::now()), None);
        Ok((Self { connection, system, membership, resolver, book, due, everybody_at, pause }, sources))
    }

    async fn work(mut self, mut sources: Sources, mut lookups: async_nats::Subscriber, requests: Requests) {
        let mut requests = requests.0.lock_owned().await;
        let mut repeat = tokio::time::interval(REPEAT);
        repeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sending = Sending::new();
        loop {
            self.send_due(&mut sending);
            let [resume, everybody_at] = [self.pause, self.everybody_at].map(|at| at.unwrap_or_else(Instant::now));
            tokio::select! {
                lookup = lookups.next() => match lookup {
                    Some(lookup) => self.answer(&lookup).await,
                    None => return,
                },
                message = sources.tenants.next() => self.take(&message),
                message = sources.kinds.next() => self.take(&message),
                message = sources.groups.next() => self.take(&message),
                message = sources.access.next() => self.take(&message),
                Some(request) = requests.recv() => {
                    let outcome = self.revoke(&request.tokens).await;
                    let _ = request.reply.send(outcome);
                }
                Some((tenant, outcome)) = sending.next(), if !sending.is_empty() => self.sent(tenant, outcome),
                () = tokio::time::sleep_until(everybody_at), if self.everybody_at.is_some() => self.everybody().await,
                () = tokio::time::sleep_until(resume), if self.pause.is_some() => self.pause = None,
                _ = repeat.tick() => self.due.extend(self.book.revoked().cloned().collect::<Vec<_>>()),
            }
        }
    }

    /// Answers a server. Only the leader says that there is no such account: another day-manager may not know it yet.
    async fn answer(&self, lookup: &async_nats::Message) {
        let (Some(reply), Some(key)) = (&lookup.reply, servers::asked_key(&lookup.subject)) else { return };
        let account = self.book.tenant_of(key).and_then(|tenant| self.book.account(tenant));
        let found = if account.is_some() { "true" } else { "false" };
        metrics::counter!("daybook_account_lookups_total", "found" => found).increment(1);
        let may_deny = self.resolver == Resolver::Cache && self.membership.leads();
        if account.is_some() || may_deny {
            let _ = self.system.client.publish(reply.clone(), account.unwrap_or_default().into()).await;
        }
    }

    fn take(&mut self, message: &Delivered) {
        let fact = match note(&self.connection, message) {
            Ok(Some(fact)) => fact,
            Ok(None) => return,
            Err(error) => {
                // Nothing is taken back by it: accounts go on as they are.
                tracing::error!(error = &error as &dyn std::error::Error, "what accounts are made of cannot be read");
                return;
            }
        };
        // No server has the account of a new tenant before a client comes, and a cache does not want it until then.
        let is_awaited = matches!(fact, Fact::Tenant(_) | Fact::Group(_)) && self.resolver == Resolver::Cache;
        match self.book.learn(fact, message.stored_at) {
            Touched::Nobody => {}
            Touched::One(_) if is_awaited => {}
            Touched::One(tenant) => {
                self.due.insert(tenant);
            }
            Touched::Everybody => self.everybody_at = Some(Instant::now() + SETTLING),
        }
    }

    /// Has every account sent that servers are to have: all, or those that a cache holds.
    async fn everybody(&mut self) {
        self.everybody_at = None;
        self.tell_share();
        match self.resolver {
            Resolver::Full => self.due.extend(self.book.tenants().cloned()),
            Resolver::Cache => match servers::kept(&self.system.client).await {
                Ok(keys) => self.due.extend(keys.iter().filter_map(|key| self.book.tenant_of(key)).cloned()),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "servers do not tell which accounts they hold"
                    );
                    self.everybody_at = Some(Instant::now() + RETRY_PAUSE);
                }
            },
        }
    }

    fn tell_share(&self) {
        let bytes = self.book.share().payload_bytes;
        if self.book.share().is_small() {
            tracing::warn!(
                bytes,
                "a tenant's messages must be small for it to fill at most half of INBOX; see docs/ACCESS.md"
            );
        } else {
            tracing::info!(bytes, "a tenant's message may have so many bytes");
        }
    }

    fn send_due(&mut self, sending: &mut Sending) {
        while self.pause.is_none() && sending.len() < SENT_AT_ONCE {
            let Some(tenant) = self.due.pop_first() else { return };
            let Some(account) = self.book.account(&tenant) else { continue };
            let system = self.system.client.clone();
            sending.push(Box::pin(async move { (tenant, servers::send_quickly(&system, account).await) }));
        }
    }

    fn sent(&mut self, tenant: TenantId, outcome: Result<(), servers::SendError>) {
        match outcome {
            Ok(()) => metrics::counter!("daybook_accounts_sent_total").increment(1),
            Err(error) => {
                if self.pause.is_none() {
                    tracing::warn!(%tenant, error = &error as &dyn std::error::Error, "an account was not taken; sending it again");
                }
                self.pause = Some(Instant::now() + RETRY_PAUSE);
                self.due.insert(tenant);
            }
        }
    }

    async fn revoke(&mut self, tokens: &RevokeTokens) -> Result<RevokeReply, RevokeError> {
        let tenant = &tokens.tenant;
        if self.book.account(tenant).is_none() {
            return Err(RevokeError::Tenant(tenant.clone()));
        }
        let (list, stored_at) = revoking::revoke(&self.connection, tokens).await?;
        let revoked = list.users.len();
        self.book.learn(Fact::Revoked(list), stored_at);
        let account = self.book.account(tenant).expect("it was there a moment ago");
        let servers = match servers::send(&self.system.client, account).await {
            Ok(servers) => servers,
            Err(error) => {
                tracing::warn!(%tenant, error = &error as &dyn std::error::Error, "a revocation was not taken; sending it again");
                self.due.insert(tenant.clone());
                0
            }
        };
        tracing::info!(%tenant, user = tokens.user.as_deref().unwrap_or("all"), servers, "a token is revoked");
        Ok(RevokeReply { servers, revoked })
    }
}

/// Connects to the same broker as the system user.
async fn connect_system(options: &BrokerOptions, accounts: &Accounts) -> Result<Connection, ConnectError> {
    let nats = options.nats.clone().with_credentials(accounts.credentials.clone());
    let options = BrokerOptions { nats, ..options.clone() };
    connect(&options, "day-manager-accounts").await
}
