//! The NATS micro service: `daybook.query.<tenant>.<view>`, many questions at once.

use crate::Options;
use crate::answers::Answers;
use crate::dispatch::{answer, tokens};
use crate::encoding::Encoding;
use crate::reply::Reply;
use crate::request::{MAX_REQUEST_BYTES, RESERVED};
use crate::turns::{Turn, Turns};
use async_nats::client::PublishError;
use async_nats::service::endpoint::Endpoint;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, Service, ServiceExt, error};
use async_nats::{Client, Message, Subject};
use daybook_contracts::ask::{AskError, Asked, MAX_ANSWER_ROWS};
use daybook_contracts::headers;
use daybook_contracts::lists::MAX_LIST_ROWS;
use daybook_contracts::subjects::Subjects;
use daybook_runtime::connection::{Connection, round_trip};
use daybook_runtime::foreign::Door;
use daybook_runtime::process::Context;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Requests under way at once, identical ones too; further ones are refused. One that joins others takes a few kilobytes.
const MAX_ASKERS: usize = 4_096;
/// Requests of one tenant under way at once: a few hundred listeners of a view may ask for its snapshot together.
const MAX_ASKERS_OF_A_TENANT: usize = 1_024;
/// Questions of one tenant that one task works on, of those that arrived together: its parts go on when the first of their answers
/// wakes it, and what they send goes out together. Few enough that the processors share them out. No two tenants share a task: one
/// whose answers cost much would hold the other up.
const MAX_OF_A_TASK: usize = 32;
/// How long the questions that are here get when the process ends: two tries at the default time-out of a shard and what
/// follows, and less than actors are given to end.
const LAST_QUESTIONS: Duration = Duration::from_secs(8);

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(
    context: Context,
    options: Options,
    answers: Arc<Answers>,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let arguments = Arguments { context, options, answers };
    let (actor, _) = Actor::spawn_linked(None, QueryActor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

struct QueryActor;

struct Arguments {
    context: Context,
    options: Options,
    /// Outlives the actor: what is known is of most use after a failure.
    answers: Arc<Answers>,
}

/// The one message: the endpoint has ended, and with it this actor.
struct Ended;

struct State {
    context: Context,
    serving: JoinHandle<()>,
    /// Cancelled when no further questions are to be taken.
    ending: CancellationToken,
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
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Ended>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { context, options, answers } = arguments;
        let connection = &context.connection;
        let service = connection
            .client
            .service_builder()
            .description("Live figures and sealed days of Daybook")
            .queue_group("query")
            .start("daybook-query", env!("CARGO_PKG_VERSION"))
            .await?;
        let endpoint = service
            .endpoint_builder()
            .name("query")
            .metadata(metadata(&connection.subjects, &options))
            .add(connection.subjects.query("*", "*"))
            .await?;
        let ending = CancellationToken::new();
        let turns = Turns::new(MAX_ASKERS, MAX_ASKERS_OF_A_TENANT, connection.partitions);
        let serving = tokio::spawn(serve(context.clone(), answers, turns, endpoint, ending.clone(), myself));
        let state = State { context, serving, ending, _service: service };
        // Whoever is told that it is ready finds it listening.
        round_trip(&state.context.connection.client).await;
        state.context.health.set("query", true);
        tracing::info!("answering questions");
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<Ended>, Ended: Ended, _: &mut State) -> Result<(), ActorProcessingErr> {
        Err("the endpoint has ended".into())
    }

    async fn post_stop(&self, _: ActorRef<Ended>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.context.health.set("query", false);
        state.ending.cancel();
        if tokio::time::timeout(LAST_QUESTIONS, &mut state.serving).await.is_err() {
            tracing::warn!("some questions were not answered in time before the end");
        }
        Ok(())
    }
}

/// What `$SRV.INFO` shows of the endpoint: enough to ask the first question.
fn metadata(subjects: &Subjects, options: &Options) -> HashMap<String, String> {
    let form = |view: &str| subjects.query("<tenant>", view);
    let reserved = RESERVED.map(|(name, _)| form(name)).join(", ");
    let encodings = format!("application/json, or {} with that {}", headers::MSGPACK, headers::CONTENT_TYPE);
    [
        ("subject", form("<view>")),
        ("reserved_subjects", reserved),
        ("live_subject", subjects.live("<tenant>", "<view>")),
        ("encodings", encodings),
        ("max_staleness_ms", options.max_staleness_ms.to_string()),
        ("max_request_bytes", MAX_REQUEST_BYTES.to_string()),
        ("max_answer_rows", MAX_ANSWER_ROWS.to_string()),
        ("max_list_rows", MAX_LIST_ROWS.to_string()),
        ("max_questions_per_tenant", options.max_questions_per_tenant.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

async fn serve(
    context: Context,
    answers: Arc<Answers>,
    turns: Arc<Turns>,
    endpoint: Endpoint,
    ending: CancellationToken,
    actor: ActorRef<Ended>,
) {
    let room = Arc::new(Semaphore::new(MAX_ASKERS));
    let mut arriving = endpoint.ready_chunks(MAX_OF_A_TASK);
    let mut takes_more = true;
    loop {
        let requests = tokio::select! {
            requests = arriving.next() => requests,
            () = ending.cancelled(), if takes_more => {
                takes_more = false;
                // Those that have arrived are still to come.
                let copies = stop(&context.connection, arriving.get_mut()).await;
                for question in copies.into_iter().filter(|question| may_answer(&context.connection, question)) {
                    let Ok(permit) = room.clone().acquire_owned().await else { break };
                    let (context, answers) = (context.clone(), answers.clone());
                    tokio::spawn(async move {
                        respond_to_copy(&context, &answers, question).await;
                        drop(permit);
                    });
                }
                continue;
            }
        };
        let Some(requests) = requests else { break };
        let mut admitted: BTreeMap<String, Vec<Admitted>> = BTreeMap::new();
        for request in requests.into_iter().filter(|request| may_answer(&context.connection, &request.message)) {
            let started = Instant::now();
            let tenant = tokens(&request.message).0;
            match turns.begin(tenant) {
                Ok(turn) => {
                    // There are as many permits as turns.
                    let Ok(permit) = room.clone().acquire_owned().await else { break };
                    let of_tenant = admitted.entry(tenant.to_owned()).or_default();
                    of_tenant.push(Admitted { request, started, room: (permit, turn) });
                }
                Err(busy) => respond(&context, request, Err(busy), started).await,
            }
        }
        for of_tenant in admitted.into_values() {
            tokio::spawn(work_on(context.clone(), answers.clone(), of_tenant));
        }
    }
    let _ = room.acquire_many(MAX_ASKERS as u32).await;
    let _ = actor.cast(Ended);
}

/// A question that has room, until this is dropped.
struct Admitted {
    request: Request,
    started: Instant,
    room: (OwnedSemaphorePermit, Turn),
}

/// Answers questions, each as soon as it can be, whatever becomes of the others.
async fn work_on(context: Context, answers: Arc<Answers>, admitted: Vec<Admitted>) {
    let questions = admitted.into_iter().map(|Admitted { request, started, room }| {
        let (context, answers) = (&context, &answers);
        let question = async move {
            let encoding = Encoding::of(request.message.headers.as_ref());
            let answered = answer(answers, &request.message, encoding).await;
            respond(context, request, answered, started).await;
            drop(room);
        };
        // A panic is told by its hook, and its asker gets no answer.
        AssertUnwindSafe(question).catch_unwind()
    });
    let mut questions: FuturesUnordered<_> = questions.collect();
    while questions.next().await.is_some() {}
}

/// Whether the question says where its answer goes, and an answer may go there.
fn may_answer(connection: &Connection, question: &Message) -> bool {
    let admits = |reply| connection.foreign.admits(Door::Query, &connection.subjects, &question.subject, reply);
    question.reply.as_deref().is_some_and(admits)
}

/// Takes no further questions. The client library drops at once what the broker still sends until it knows of that: so for
/// that moment everything is listened to, and returned, what others of the group answer included. An asker who is answered
/// twice takes the first answer.
async fn stop(connection: &Connection, endpoint: &mut Endpoint) -> Vec<Message> {
    let client = &connection.client;
    let copies = client.subscribe(connection.subjects.query("*", "*")).await;
    // The broker has it before it hears of the end.
    round_trip(client).await;
    let _ = endpoint.stop().await;
    round_trip(client).await;
    let Ok(mut copies) = copies else { return Vec::new() };
    let _ = copies.unsubscribe().await;
    copies.collect().await
}

/// Answers a question that did not come by way of the endpoint, and is not counted there.
async fn respond_to_copy(context: &Context, answers: &Arc<Answers>, mut question: Message) {
    let encoding = Encoding::of(question.headers.as_ref());
    let Some(reply) = question.reply.take() else { return };
    let (client, answered) = (&context.connection.client, answer(answers, &question, encoding).await);
    let sent = match answered {
        Ok(answer) => client.publish_with_headers(reply, answer.headers, answer.body).await,
        Err(error) => publish_refusal(client, reply, encoding, &error).await,
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer could not be sent");
    }
}

async fn respond(context: &Context, request: Request, answered: Asked<Reply>, started: Instant) {
    let encoding = Encoding::of(request.message.headers.as_ref());
    let code = answered.as_ref().map_or_else(|error| error.code.number(), |_| 200);
    let sent = match answered {
        Ok(answer) => request.respond_with_headers(Ok(answer.body), answer.headers).await,
        Err(error) => refuse(&context.connection.client, request, encoding, &error).await,
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer could not be sent");
    }
    match code {
        // Nothing has to be made for the label of most.
        200 => metrics::counter!("daybook_queries_total", "code" => "200").increment(1),
        code => metrics::counter!("daybook_queries_total", "code" => code.to_string()).increment(1),
    }
    metrics::histogram!("daybook_query_seconds").record(started.elapsed().as_secs_f64());
}

/// Sends the standard headers of a failed service request, and the whole error as the body.
async fn refuse(
    client: &Client,
    mut request: Request,
    encoding: Encoding,
    error: &AskError,
) -> Result<(), PublishError> {
    let Some(reply) = request.message.reply.take() else { return Ok(()) };
    publish_refusal(client, reply, encoding, error).await?;
    // The client library counts an error for `$SRV.STATS` only when it sends the reply itself, and that without a body:
    // let it, to where nobody listens.
    request.message.reply = Some(client.new_inbox().into());
    request.respond(Err(error::Error { status: status_of(error), code: error.code.number() })).await
}

async fn publish_refusal(
    client: &Client,
    reply: Subject,
    encoding: Encoding,
    error: &AskError,
) -> Result<(), PublishError> {
    let mut headers = encoding.headers();
    headers.insert(NATS_SERVICE_ERROR, status_of(error));
    headers.insert(NATS_SERVICE_ERROR_CODE, error.code.number().to_string());
    client.publish_with_headers(reply, headers, encoding.error(error).into()).await
}

/// The text of an error as a header takes it.
fn status_of(error: &AskError) -> String {
    error.message.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_says_how_to_ask() {
        let subjects = Subjects::new("daybook").unwrap();
        let metadata = metadata(&subjects, &Options { max_staleness_ms: 7, ..Options::default() });
        assert_eq!(metadata["subject"], "daybook.query.<tenant>.<view>");
        for reserved in ["~days", "~reports", "~report", "~rejects", "~alerts", "~views", "~position"] {
            assert!(
                metadata["reserved_subjects"].contains(&format!("daybook.query.<tenant>.{reserved}")),
                "{reserved}"
            );
        }
        assert!(metadata["encodings"].contains("application/msgpack"));
        assert_eq!(metadata["max_staleness_ms"], "7");
    }
}
