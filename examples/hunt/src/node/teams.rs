//! An actor for each team: it takes the team's asks one after the other, so that appends of one process never race.
//!
//! Asks come by NATS request to the team's subject and by HTTP. Whoever gets an ask for a team of another process hands it on; if
//! that process does not answer, the ask is carried out here.

use super::Node;
use super::carrying::{ASK_LIMIT, carry_out};
use super::log::ask_subject;
use super::traces::{go_on, request_headers};
use crate::game::ask::decide;
use crate::game::{Ask, Decision, Refusal, Reply};
use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

/// How long the owner of a team may take before the ask is carried out here.
const OWNER_LIMIT: Duration = Duration::from_secs(2);
/// How long whoever was told of a record may wait until this process has it, too.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);
/// Largest request, in bytes.
const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// An ask with the token or code of whoever asks, in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub token: String,
    pub ask: Ask,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Response {
    Done(Reply),
    Refused(Refusal),
}

impl From<Result<Reply, Refusal>> for Response {
    fn from(outcome: Result<Reply, Refusal>) -> Self {
        outcome.map_or_else(Self::Refused, Self::Done)
    }
}

impl From<Response> for Result<Reply, Refusal> {
    fn from(response: Response) -> Self {
        match response {
            Response::Done(reply) => Ok(reply),
            Response::Refused(refusal) => Err(refusal),
        }
    }
}

/// Carries out an ask by whoever owns the team.
///
/// # Errors
/// Why it was refused.
pub async fn ask(node: &Arc<Node>, team: &str, request: Request) -> Result<Reply, Refusal> {
    let began = Instant::now();
    let kind = kind_of(&request.ask);
    let span = tracing::info_span!("ask", hunt = %node.hunt, team = %team, what = kind);
    let outcome = hand_on(node, team, request).instrument(span).await;
    metrics::histogram!("hunt_ask_seconds", "ask" => kind).record(began.elapsed().as_secs_f64());
    match &outcome {
        Ok(Reply::Judged { is_right, .. }) => {
            let verdict = if *is_right { "right" } else { "wrong" };
            metrics::counter!("hunt_judged_total", "verdict" => verdict).increment(1);
        }
        Ok(_) => {}
        Err(refusal) => metrics::counter!("hunt_refused_total", "reason" => refusal_name(refusal)).increment(1),
    }
    outcome
}

async fn hand_on(node: &Arc<Node>, team: &str, request: Request) -> Result<Reply, Refusal> {
    node.secret.allow(&request.token, team, &request.ask)?;
    node.is_usable()?;
    // Kept until the end, also while another process is asked and when the ask is carried out here.
    let place = node.places.take(team)?;
    let own = node.owned.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(team).cloned();
    if let Some(handle) = own {
        return handle.ask(request.ask, place).await;
    }
    let is_elsewhere = node.world().teams.contains_key(team) && !node.owns(team);
    if is_elsewhere {
        let payload = serde_json::to_vec(&request).expect("requests are JSON");
        let sent = async_nats::Request::new().payload(payload.into()).timeout(Some(OWNER_LIMIT));
        let sent = sent.headers(request_headers(node, &Span::current()));
        if let Ok(reply) = node.client.send_request(ask_subject(&node.hunt, team), sent).await
            && let Ok(response) = serde_json::from_slice::<Response>(&reply.payload)
        {
            catch_up(node, team, &request.ask).await;
            return response.into();
        }
        metrics::counter!("hunt_owners_silent_total").increment(1);
    }
    let outcome = carry_out(node, team, &request.ask).await;
    drop(place);
    outcome
}

/// Waits until this process knows what another recorded, so that whoever was told so sees it here. Not for long: it changes nothing.
async fn catch_up(node: &Node, team: &str, ask: &Ask) {
    let mut positions = node.positions();
    let known = async {
        while matches!(decide(&node.world(), team, ask, node.seen.moment(team)), Decision::Append(_)) {
            if positions.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(CATCH_UP_LIMIT, known).await;
}

fn kind_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::Create { .. } => "create",
        Ask::Join { .. } => "join",
        Ask::Submit { .. } => "submit",
        Ask::Hint { .. } => "hint",
        Ask::Adjust { .. } => "adjust",
        Ask::Disqualify { .. } => "disqualify",
        Ask::Reinstate => "reinstate",
    }
}

fn refusal_name(refusal: &Refusal) -> String {
    let json = serde_json::to_value(refusal).unwrap_or_default();
    json["refused"].as_str().unwrap_or_default().to_owned()
}

/// A team's actor, as others use it.
#[derive(Clone)]
pub struct TeamHandle {
    actor: ActorRef<Waiting>,
}

/// An ask that waits for its turn.
struct Waiting {
    ask: Ask,
    span: Span,
    reply: oneshot::Sender<Result<Reply, Refusal>>,
    _place: OwnedSemaphorePermit,
}

impl TeamHandle {
    /// Waits for the ask's turn, and for what comes of it.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn ask(&self, ask: Ask, place: OwnedSemaphorePermit) -> Result<Reply, Refusal> {
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting { ask, span: Span::current(), reply, _place: place };
        self.actor.cast(waiting).map_err(|_| Refusal::Unavailable)?;
        // The actor may be stopped while the ask waits.
        match tokio::time::timeout(ASK_LIMIT, outcome).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(Refusal::Unavailable),
        }
    }

    /// Ends the actor.
    pub fn stop(&self) {
        self.actor.stop(None);
    }

    /// Whether this is the actor.
    pub fn is(&self, actor: &ActorCell) -> bool {
        self.actor.get_id() == actor.get_id()
    }
}

/// Starts the actor of a team as a child of `supervisor`, and answers on the team's subject.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(node: &Arc<Node>, team: &str, supervisor: ActorCell) -> Result<TeamHandle, SpawnErr> {
    let arguments = State { node: node.clone(), team: team.to_owned(), serving: None };
    let (actor, _) = Actor::spawn_linked(None, TeamActor, arguments, supervisor).await?;
    Ok(TeamHandle { actor })
}

struct TeamActor;

struct State {
    node: Arc<Node>,
    team: String,
    /// Ends the answering on the team's subject.
    serving: Option<tokio::task::AbortHandle>,
}

impl Actor for TeamActor {
    type Msg = Waiting;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, myself: ActorRef<Waiting>, mut state: State) -> Result<State, ActorProcessingErr> {
        // Two owners at a hand-over are one queue: one of them gets each request.
        let subject = ask_subject(&state.node.hunt, &state.team);
        let requests = state.node.client.queue_subscribe(subject, "owner".to_owned()).await?;
        let handle = TeamHandle { actor: myself };
        let serving = tokio::spawn(serve(state.node.clone(), state.team.clone(), requests, handle));
        state.serving = Some(serving.abort_handle());
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Waiting>,
        mut waiting: Waiting,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = tokio::select! {
            biased;
            // Whoever asked has gone, so nobody waits for this. What may have been appended is found when it is sent again.
            () = waiting.reply.closed() => {
                metrics::counter!("hunt_asks_abandoned_total").increment(1);
                return Ok(());
            }
            outcome = carry_out(&state.node, &state.team, &waiting.ask).instrument(waiting.span.clone()) => outcome,
        };
        let _ = waiting.reply.send(outcome);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Waiting>, state: &mut State) -> Result<(), ActorProcessingErr> {
        if let Some(serving) = state.serving.take() {
            serving.abort();
        }
        Ok(())
    }
}

/// Answers requests on the subject of a team. Each waits for its turn in a task of its own, within the bound of the team.
async fn serve(node: Arc<Node>, team: String, mut requests: Subscriber, handle: TeamHandle) {
    while let Some(message) = requests.next().await {
        let admitted = read(&node, &team, &message).and_then(|ask| Ok((ask, node.places.take(&team)?)));
        let Some(reply) = message.reply else { continue };
        match admitted {
            Ok((ask, place)) => {
                let (node, handle) = (node.clone(), handle.clone());
                let span = tracing::info_span!("ask", hunt = %node.hunt, team = %team, what = kind_of(&ask));
                go_on(&node, &span, message.headers.as_ref());
                let answered = async move { answer(&node, reply, handle.ask(ask, place).await).await };
                tokio::spawn(answered.instrument(span));
            }
            Err(refusal) => answer(&node, reply, Err(refusal)).await,
        }
    }
}

async fn answer(node: &Node, reply: async_nats::Subject, outcome: Result<Reply, Refusal>) {
    let payload = serde_json::to_vec(&Response::from(outcome)).expect("responses are JSON");
    let _ = node.client.publish(reply, payload.into()).await;
}

fn read(node: &Node, team: &str, message: &Message) -> Result<Ask, Refusal> {
    if message.payload.len() > MAX_REQUEST_BYTES {
        return Err(Refusal::Bad { what: format!("a request has at most {MAX_REQUEST_BYTES} bytes") });
    }
    let request: Request =
        serde_json::from_slice(&message.payload).map_err(|error| Refusal::Bad { what: error.to_string() })?;
    node.secret.allow(&request.token, team, &request.ask)?;
    node.is_usable()?;
    Ok(request.ask)
}
