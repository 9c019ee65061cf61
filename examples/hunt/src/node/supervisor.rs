//! Keeps the actors of a process running: one that fails or ends is started again after a pause.

use super::Node;
use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Pause before an actor is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// How to start an actor.
pub struct Child {
    label: &'static str,
    start: Box<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>,
}

impl Child {
    /// `start` spawns the actor linked to the cell that it gets.
    pub fn new<F, Fut>(label: &'static str, node: &Arc<Node>, start: F) -> Self
    where
        F: Fn(Arc<Node>, ActorCell) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
    {
        let node = node.clone();
        Self { label, start: Box::new(move |supervisor| Box::pin(start(node.clone(), supervisor))) }
    }
}

/// The supervisor, running.
pub struct Supervisor {
    actor: ActorRef<Start>,
    handle: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the children.
    ///
    /// # Errors
    /// When the supervisor cannot be started.
    pub async fn start(children: Vec<Child>) -> anyhow::Result<Self> {
        let (actor, handle) = Actor::spawn(None, SupervisorActor, children).await?;
        Ok(Self { actor, handle })
    }

    /// Ends all of them.
    pub async fn stop(self, limit: Duration) {
        self.actor.stop(None);
        if tokio::time::timeout(limit, self.handle).await.is_err() {
            tracing::warn!("the actors did not end in time");
        }
    }
}

struct SupervisorActor;

/// Start the child of this index.
struct Start(usize);

struct State {
    children: Vec<Child>,
    running: HashMap<ActorId, usize>,
}

impl Actor for SupervisorActor {
    type Msg = Start;
    type State = State;
    type Arguments = Vec<Child>;

    async fn pre_start(&self, myself: ActorRef<Start>, children: Vec<Child>) -> Result<State, ActorProcessingErr> {
        for index in 0..children.len() {
            myself.cast(Start(index))?;
        }
        Ok(State { children, running: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Start>,
        Start(index): Start,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let child = &state.children[index];
        match (child.start)(myself.get_cell()).await {
            Ok(actor) => drop(state.running.insert(actor.get_id(), index)),
            Err(error) => {
                tracing::warn!(actor = child.label, %error, "an actor could not start; trying again");
                myself.send_after(PAUSE, move || Start(index));
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Start>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (id, reason) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => (actor.get_id(), reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        if let Some(index) = state.running.remove(&id) {
            tracing::warn!(actor = state.children[index].label, reason, "an actor ended; starting it again");
            metrics::counter!("hunt_actors_restarted_total", "actor" => state.children[index].label).increment(1);
            myself.send_after(PAUSE, move || Start(index));
        }
        Ok(())
    }
}
