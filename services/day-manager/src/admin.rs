//! `daybook.admin.…`: a NATS micro service in front of the actor, visible to `nats micro`.

use crate::manager::Message;
use async_nats::service::{Request, ServiceExt};
use daybook_contracts::admin::AdminError;
use daybook_runtime::connection::Connection;
use futures::StreamExt;
use ractor::{ActorRef, RpcReplyPort};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long the actor may take over a request. Closing the days of 100,000 tenants takes seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// Serves the endpoints until the task is aborted.
///
/// # Errors
/// When the broker does not take the service.
pub async fn serve(connection: &Connection, actor: ActorRef<Message>) -> Result<JoinHandle<()>, async_nats::Error> {
    let service = connection
        .client
        .service_builder()
        .description("Tenants, kinds, views and clocks of Daybook")
        .start("daybook-admin", env!("CARGO_PKG_VERSION"))
        .await?;
    let subjects = &connection.subjects;
    let mut apply = service.endpoint(subjects.admin("apply")).await?;
    let mut catalogue = service.endpoint(subjects.admin("catalogue")).await?;
    let mut clock = service.endpoint(subjects.admin("clock")).await?;
    Ok(tokio::spawn(async move {
        // The service answers PING and INFO for as long as it lives.
        let _service = service;
        loop {
            let (request, handled) = tokio::select! {
                Some(request) = apply.next() => {
                    let handled = handle(&actor, &request, Message::Apply).await;
                    (request, handled)
                }
                Some(request) = catalogue.next() => {
                    let handled = handle(&actor, &request, |_: serde::de::IgnoredAny, reply| Message::Catalogue(reply)).await;
                    (request, handled)
                }
                Some(request) = clock.next() => {
                    let handled = handle(&actor, &request, Message::Advance).await;
                    (request, handled)
                }
                else => return,
            };
            let answer = handled.map_err(|(code, status)| async_nats::service::error::Error { status, code });
            if let Err(error) = request.respond(answer.map(Into::into)).await {
                tracing::debug!(%error, "an answer could not be sent");
            }
        }
    }))
}

/// The answer to one request, or an error code with its text.
async fn handle<Q: DeserializeOwned, A: Serialize + Send + 'static>(
    actor: &ActorRef<Message>,
    request: &Request,
    message: impl FnOnce(Q, RpcReplyPort<Result<A, AdminError>>) -> Message,
) -> Result<Vec<u8>, (usize, String)> {
    let body: &[u8] = if request.message.payload.is_empty() { b"null" } else { &request.message.payload };
    let question: Q =
        serde_json::from_slice(body).map_err(|error| (400, format!("the request cannot be read: {error}")))?;
    let unavailable = || (503, "day-manager is starting again; ask once more in a moment".to_owned());
    match actor.call(|reply| message(question, reply), Some(DEADLINE)).await {
        Ok(ractor::rpc::CallResult::Success(Ok(answer))) => {
            Ok(serde_json::to_vec(&answer).expect("answers are plain values"))
        }
        Ok(ractor::rpc::CallResult::Success(Err(error))) => Err((400, error.message)),
        Ok(ractor::rpc::CallResult::Timeout | ractor::rpc::CallResult::SenderError) | Err(_) => Err(unavailable()),
    }
}
