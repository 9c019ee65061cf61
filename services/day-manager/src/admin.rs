//! `daybook.admin.…`: a NATS micro service in front of the actor, visible to `nats micro`.

use crate::accounts::AccountsHandle;
use crate::activation;
use crate::failure;
use crate::messages::Message;
use crate::registrar::{self, Reply};
use async_nats::service::{Request, ServiceExt};
use daybook_contracts::admin::{CatalogueReply, Remove, RevokeTokens, Target, ViewsReply};
use daybook_domain::ids::Partition;
use daybook_runtime::connection::Connection;
use daybook_runtime::foreign::Door;
use futures::StreamExt;
use ractor::ActorRef;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long the actor may take over a request. Closing the days of 100,000 tenants takes seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// Requests under way at once beside the loop: views, removals and revocations, which wait for shards or servers. Further requests of
/// any sort wait.
const MAX_BESIDE: usize = 8;

/// What a request asks for, by the endpoint that it came to.
enum Command {
    Apply,
    Catalogue,
    Clock,
    Close,
    Beside(Beside),
}

/// What is carried out beside the loop: shards and servers that are away hold up no other request.
enum Beside {
    Remove,
    Views,
    Revoke,
}

/// Serves the endpoints until `ending`; the task returns when those requests have a reply that have arrived by then.
///
/// # Errors
/// When the broker does not take the service.
pub(crate) async fn serve(
    connection: &Connection,
    actor: ActorRef<Message>,
    accounts: Option<AccountsHandle>,
    ending: CancellationToken,
) -> Result<JoinHandle<()>, async_nats::Error> {
    let service = connection
        .client
        .service_builder()
        .description("Tenants, kinds, views, clocks and days of Daybook")
        .start("daybook-admin", env!("CARGO_PKG_VERSION"))
        .await?;
    let subjects = &connection.subjects;
    let mut apply = service.endpoint(subjects.admin("apply")).await?;
    let mut catalogue = service.endpoint(subjects.admin("catalogue")).await?;
    let mut clock = service.endpoint(subjects.admin("clock")).await?;
    let mut close = service.endpoint(subjects.admin("close")).await?;
    let mut remove = service.endpoint(subjects.admin("remove")).await?;
    let mut views = service.endpoint(subjects.admin("views")).await?;
    let mut revoke = service.endpoint(subjects.admin("revoke")).await?;
    let connection = connection.clone();
    let room = Arc::new(Semaphore::new(MAX_BESIDE));
    Ok(tokio::spawn(async move {
        // The service answers PING and INFO for as long as it lives.
        let _service = service;
        let mut takes_more = true;
        loop {
            let (command, request) = tokio::select! {
                () = ending.cancelled(), if takes_more => {
                    takes_more = false;
                    for endpoint in [&mut apply, &mut catalogue, &mut clock, &mut close, &mut remove, &mut views, &mut revoke] {
                        let _ = endpoint.stop().await;
                    }
                    continue;
                }
                Some(request) = apply.next() => (Command::Apply, request),
                Some(request) = catalogue.next() => (Command::Catalogue, request),
                Some(request) = clock.next() => (Command::Clock, request),
                Some(request) = close.next() => (Command::Close, request),
                Some(request) = remove.next() => (Command::Beside(Beside::Remove), request),
                Some(request) = views.next() => (Command::Beside(Beside::Views), request),
                Some(request) = revoke.next() => (Command::Beside(Beside::Revoke), request),
                else => break,
            };
            if !may_answer(&connection, &request) {
                continue;
            }
            let handled = match command {
                Command::Apply => handle(&actor, &request, registrar::Request::Apply).await,
                Command::Catalogue => {
                    handle(&actor, &request, |_: serde::de::IgnoredAny| registrar::Request::Catalogue).await
                }
                Command::Clock => handle(&actor, &request, registrar::Request::Advance).await,
                Command::Close => handle(&actor, &request, registrar::Request::Close).await,
                Command::Beside(what) => {
                    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
                    let (actor, accounts, connection) = (actor.clone(), accounts.clone(), connection.clone());
                    tokio::spawn(async move {
                        let handled = match what {
                            Beside::Remove => remove_target(&actor, accounts.as_ref(), &request).await,
                            Beside::Views => views_of(&actor, &connection).await.map(|reply| json(&reply)),
                            Beside::Revoke => revoke_tokens(accounts.as_ref(), &request).await,
                        };
                        respond(&request, handled).await;
                        drop(permit);
                    });
                    continue;
                }
            };
            respond(&request, handled).await;
        }
        let _ = room.acquire_many(MAX_BESIDE as u32).await;
    }))
}

/// Whether an answer may go where the request wants it, or nowhere. A request that fails here is not carried out: it is not
/// made by a client of Daybook.
fn may_answer(connection: &Connection, request: &Request) -> bool {
    let message = &request.message;
    let admits = |reply| connection.foreign.admits(Door::Admin, &connection.subjects, &message.subject, reply);
    message.reply.as_deref().is_none_or(admits)
}

async fn respond(request: &Request, handled: Result<Vec<u8>, Refused>) {
    let answer = handled.map_err(|(code, status)| async_nats::service::error::Error { status, code });
    if let Err(error) = request.respond(answer.map(Into::into)).await {
        tracing::debug!(%error, "an answer could not be sent");
    }
}

/// An error code with its text.
type Refused = (usize, String);

/// The views, and how each partition stands as far as its shard answers in time.
async fn views_of(actor: &ActorRef<Message>, connection: &Connection) -> Result<ViewsReply, Refused> {
    let reply = call(actor, registrar::Request::Catalogue).await?;
    let Reply::Catalogue(CatalogueReply { views, .. }) = reply else { unreachable!("{reply:?} is no catalogue") };
    let progress = activation::ask(connection, Partition::all(connection.partitions)).await;
    Ok(ViewsReply { views, partitions: progress.into_iter().map(|(_, progress)| progress).collect() })
}

/// Makes tokens void, where this day-manager makes the tenants' accounts.
async fn revoke_tokens(accounts: Option<&AccountsHandle>, request: &Request) -> Result<Vec<u8>, Refused> {
    let tokens: RevokeTokens = read(&request.message.payload)?;
    let Some(accounts) = accounts else {
        let why = "day-manager makes no accounts: start it with --account-seed and --account-credentials, or, where the \
                   accounts are in the servers' file, revoke by a reload";
        return Err((400, why.to_owned()));
    };
    let outcome = accounts.revoke(tokens).await;
    outcome.map(|reply| json(&reply)).map_err(|error| (if error.is_transient() { 503 } else { 400 }, error.to_string()))
}

/// Removes something. Tokens of a removed tenant or group are made void, so that they do not open a later one of the same id.
async fn remove_target(
    actor: &ActorRef<Message>,
    accounts: Option<&AccountsHandle>,
    request: &Request,
) -> Result<Vec<u8>, Refused> {
    let remove: Remove = read(&request.message.payload)?;
    let mut reply = call(actor, registrar::Request::Remove(remove.clone())).await?;
    if let (Reply::Removed(reply), Target::Tenant { id, .. } | Target::Group { id }, Some(accounts), false) =
        (&mut reply, remove.target, accounts, remove.dry_run)
    {
        let revoked = accounts.revoke(RevokeTokens { tenant: id, user: None, expires_at: None }).await;
        reply.tokens_revoked = Some(revoked.is_ok());
    }
    Ok(json(&reply))
}

/// The answer to one request.
async fn handle<Q: DeserializeOwned>(
    actor: &ActorRef<Message>,
    request: &Request,
    asked: impl FnOnce(Q) -> registrar::Request,
) -> Result<Vec<u8>, Refused> {
    let body: &[u8] = if request.message.payload.is_empty() { b"null" } else { &request.message.payload };
    call(actor, asked(read(body)?)).await.map(|reply| json(&reply))
}

fn read<Q: DeserializeOwned>(body: &[u8]) -> Result<Q, Refused> {
    serde_json::from_slice(body).map_err(|error| (400, format!("the request cannot be read: {error}")))
}

async fn call(actor: &ActorRef<Message>, request: registrar::Request) -> Result<Reply, Refused> {
    match actor.call(|reply| Message::Ask(request, reply), Some(DEADLINE)).await {
        Ok(ractor::rpc::CallResult::Success(Ok(answer))) => Ok(answer),
        Ok(ractor::rpc::CallResult::Success(Err(failure::Refused::AsItStands(error)))) => Err((400, error.message)),
        Ok(ractor::rpc::CallResult::Success(Err(failure::Refused::ForNow(why)))) => Err((503, why)),
        Ok(ractor::rpc::CallResult::Timeout) => {
            let why = "day-manager is still at work, on this or on an earlier request; ask again later, which is safe";
            Err((503, why.to_owned()))
        }
        Ok(ractor::rpc::CallResult::SenderError) | Err(_) => {
            let why = "day-manager is starting again; what was asked for may be done, in part, or not at all: ask again in a \
                       moment, which is safe";
            Err((503, why.to_owned()))
        }
    }
}

fn json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("answers are plain values")
}
