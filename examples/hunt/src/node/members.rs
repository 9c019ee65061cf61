//! The actor that knows which processes live, and runs the teams that are this process's. It affects who does the work, never what
//! comes of it.

use super::{Node, teams};
use futures::StreamExt as _;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_millis(200);
/// A process that was silent for so long is taken for dead.
const SILENCE: Duration = Duration::from_millis(1_500);
/// How long a new process listens before it takes teams.
const LISTEN_FIRST: Duration = Duration::from_millis(500);
/// Most processes of a hunt.
const MAX_MEMBERS: usize = 64;

#[derive(Serialize, Deserialize)]
struct Beat {
    name: String,
    #[serde(default)]
    leaves: bool,
}

fn subject(node: &Node) -> String {
    format!("hunt.{}.members", node.hunt)
}

async fn beat(node: &Node, leaves: bool) {
    let beat = serde_json::to_vec(&Beat { name: node.name.clone(), leaves }).expect("beats are JSON");
    // The next one comes soon.
    let _ = node.client.publish(subject(node), beat.into()).await;
}

/// Tells the others that this process ends, so that they take its teams at once.
pub async fn leave(node: &Node) {
    beat(node, true).await;
    let _ = tokio::time::timeout(BEAT, node.client.flush()).await;
}

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the connection is closed.
pub async fn spawn(node: Arc<Node>, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, Members, node, supervisor).await?;
    Ok(actor.get_cell())
}

struct Members;

enum Message {
    Heard(Beat),
    Tick,
}

struct State {
    node: Arc<Node>,
    heard: BTreeMap<String, Instant>,
    began: Instant,
    /// Teams and members when the teams were shared out last.
    shared: (usize, Vec<String>),
    hearing: tokio::task::AbortHandle,
}

impl Actor for Members {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(&self, myself: ActorRef<Message>, node: Arc<Node>) -> Result<State, ActorProcessingErr> {
        let mut beats = node.client.subscribe(subject(&node)).await?;
        let listener = myself.clone();
        let hearing = tokio::spawn(async move {
            while let Some(message) = beats.next().await {
                if let Ok(beat) = serde_json::from_slice(&message.payload)
                    && listener.cast(Message::Heard(beat)).is_err()
                {
                    return;
                }
            }
        });
        myself.cast(Message::Tick)?;
        myself.send_interval(BEAT, || Message::Tick);
        Ok(State {
            node,
            heard: BTreeMap::new(),
            began: Instant::now(),
            shared: (0, Vec::new()),
            hearing: hearing.abort_handle(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Heard(beat) => state.hear(beat),
            Message::Tick => {
                beat(&state.node, false).await;
                state.forget_silent();
                state.share_out(myself.get_cell()).await?;
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.hearing.abort();
        state.owned(|owned| owned.drain().for_each(|(_, handle)| handle.stop()));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorFailed(actor, _) | SupervisionEvent::ActorTerminated(actor, _, _)) = event else {
            return Ok(());
        };
        // The next tick starts it again, if it is still this process's.
        state.owned(|owned| owned.retain(|_, handle| !handle.is(&actor)));
        state.shared.0 = 0;
        Ok(())
    }
}

impl State {
    fn hear(&mut self, beat: Beat) {
        if beat.leaves {
            self.heard.remove(&beat.name);
        } else if self.heard.len() < MAX_MEMBERS || self.heard.contains_key(&beat.name) {
            self.heard.insert(beat.name, Instant::now());
        }
        self.tell();
    }

    fn forget_silent(&mut self) {
        self.heard.retain(|_, heard| heard.elapsed() < SILENCE);
        self.tell();
    }

    fn tell(&self) {
        let mut members: Vec<String> = self.heard.keys().cloned().collect();
        if !members.contains(&self.node.name) {
            members.push(self.node.name.clone());
        }
        members.sort_unstable();
        self.node.members.send_if_modified(|known| {
            let is_news = *known != members;
            if is_news {
                *known = members;
            }
            is_news
        });
    }

    /// Starts the teams that are this process's now, and ends the others.
    async fn share_out(&mut self, myself: ActorCell) -> Result<(), ActorProcessingErr> {
        if self.began.elapsed() < LISTEN_FIRST {
            return Ok(());
        }
        let members = self.node.members.borrow().clone();
        // Teams never leave, so their number says whether there are others.
        let count = self.node.world().teams.len();
        if self.shared.0 == count && self.shared.1 == members {
            return Ok(());
        }
        let teams: Vec<String> = self.node.world().teams.keys().cloned().collect();
        let mine: Vec<String> = teams.into_iter().filter(|team| self.node.owns(team)).collect();
        self.owned(|owned| {
            owned.retain(|team, handle| {
                let stays = mine.binary_search(team).is_ok();
                if !stays {
                    handle.stop();
                }
                stays
            });
        });
        for team in &mine {
            if !self.owned(|owned| owned.contains_key(team)) {
                let handle = teams::spawn(&self.node, team, myself.clone()).await?;
                self.owned(|owned| drop(owned.insert(team.clone(), handle)));
            }
        }
        metrics::gauge!("hunt_teams_owned").set(mine.len() as f64);
        metrics::gauge!("hunt_members").set(members.len() as f64);
        self.shared = (count, members);
        Ok(())
    }

    fn owned<T>(&self, with: impl FnOnce(&mut std::collections::HashMap<String, teams::TeamHandle>) -> T) -> T {
        with(&mut self.node.owned.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
