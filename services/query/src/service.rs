//! The NATS micro service: `daybook.query.<tenant>.<view>`, many questions at once.

use crate::answers::answer;
use async_nats::HeaderMap;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, Service, ServiceExt};
use daybook_runtime::process::Context;
use futures::StreamExt;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Questions under way at once; further ones wait in the connection.
const MAX_UNDER_WAY: usize = 1_024;

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(context: Context, shard_timeout: Duration, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, QueryActor, (context, shard_timeout), supervisor).await?;
    Ok(actor.get_cell())
}

struct QueryActor;

/// The one message: the endpoint has ended, and with it this actor.
struct Ended;

struct State {
    context: Context,
    serving: JoinHandle<()>,
    _service: Service,
}

impl Drop for State {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Actor for QueryActor {
    type Msg = Ended;
    type State = State;
    type Arguments = (Context, Duration);

    async fn pre_start(
        &self,
        myself: ActorRef<Ended>,
        (context, shard_timeout): (Context, Duration),
    ) -> Result<State, ActorProcessingErr> {
        let connection = &context.connection;
        let service = connection
            .client
            .service_builder()
            .description("Live figures and sealed days of Daybook")
            .queue_group("query")
            .start("daybook-query", env!("CARGO_PKG_VERSION"))
            .await?;
        let endpoint = service.endpoint_builder().name("query").add(connection.subjects.query("*", "*")).await?;
        let serving = tokio::spawn(serve(context.clone(), endpoint, shard_timeout, myself));
        context.health.set("query", true);
        tracing::info!("answering questions");
        Ok(State { context, serving, _service: service })
    }

    async fn handle(&self, _: ActorRef<Ended>, Ended: Ended, _: &mut State) -> Result<(), ActorProcessingErr> {
        Err("the endpoint has ended".into())
    }

    async fn post_stop(&self, _: ActorRef<Ended>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.context.health.set("query", false);
        Ok(())
    }
}

async fn serve(
    context: Context,
    mut endpoint: async_nats::service::endpoint::Endpoint,
    shard_timeout: Duration,
    actor: ActorRef<Ended>,
) {
    let room = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    while let Some(request) = endpoint.next().await {
        let Ok(permit) = room.clone().acquire_owned().await else { break };
        let context = context.clone();
        tokio::spawn(async move {
            respond(&context, request, shard_timeout).await;
            drop(permit);
        });
    }
    let _ = actor.cast(Ended);
}

async fn respond(context: &Context, request: Request, shard_timeout: Duration) {
    let started = tokio::time::Instant::now();
    let subject = request.message.subject.clone();
    // `<prefix>.query.<tenant>.<view>`
    let mut tokens = subject.as_str().split('.').skip(2);
    let (tenant, view) = (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default());
    let answered = answer(&context.connection, tenant, view, &request.message.payload, shard_timeout).await;
    let code = answered.as_ref().map_or_else(|error| error.code.number(), |_| 200);
    let sent = match answered {
        Ok(body) => request.respond(Ok(body.into())).await,
        Err(error) => {
            // The standard headers of a failed service request, and the whole error as the body.
            let mut headers = HeaderMap::new();
            headers.insert(NATS_SERVICE_ERROR, error.message.replace(['\r', '\n'], " "));
            headers.insert(NATS_SERVICE_ERROR_CODE, error.code.number().to_string());
            let body = serde_json::to_vec(&error).expect("errors are plain values");
            request.respond_with_headers(Ok(body.into()), headers).await
        }
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer could not be sent");
    }
    metrics::counter!("daybook_queries_total", "code" => code.to_string()).increment(1);
    metrics::histogram!("daybook_query_seconds").record(started.elapsed().as_secs_f64());
}
