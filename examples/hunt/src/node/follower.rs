//! The actor that reads the log into the game.

use super::Node;
use super::log::Parsed;
use super::replaced::Replaced;
use super::traces::Pending;
use async_nats::jetstream::consumer::pull::Ordered;
use futures::{FutureExt as _, StreamExt as _};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a step waits for a record before the actor looks at its mailbox again.
const IDLE: Duration = Duration::from_millis(250);
/// Most records of a step.
const MAX_STEP: usize = 256;
/// How often the actor sees that the stream still holds the log that it reads.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// After so many looks in a row at a log that ends before what was read of it, its end is lost. A server that has just begun to lead
/// may lack it for a moment.
const MAX_SHORT: u32 = 3;

/// Starts the follower as a child of `supervisor`.
///
/// # Errors
/// When the log cannot be read.
pub async fn spawn(node: Arc<Node>, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, Follower, node, supervisor).await?;
    Ok(actor.get_cell())
}

struct Follower;

/// The one message: read on.
struct Step;

struct State {
    node: Arc<Node>,
    records: Ordered,
    checked_at: Instant,
    /// Looks in a row at a log that was too short.
    short: u32,
}

impl Actor for Follower {
    type Msg = Step;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(&self, myself: ActorRef<Step>, node: Arc<Node>) -> Result<State, ActorProcessingErr> {
        // Before anything is read of it.
        node.end().await?;
        let from = node.world().position + 1;
        let records = node.log.read(from).await?;
        myself.cast(Step)?;
        Ok(State { node, records, checked_at: Instant::now(), short: 0 })
    }

    async fn handle(&self, myself: ActorRef<Step>, Step: Step, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.check().await;
        let mut next = tokio::time::timeout(IDLE, state.records.next()).await.ok();
        let mut count = 0;
        while let Some(message) = next {
            let message = message.ok_or("the broker ended the reading of the log")??;
            state.node.apply(&message)?;
            count += 1;
            next = if count < MAX_STEP { state.records.next().now_or_never() } else { None };
        }
        // It fails only when this actor is to end.
        let _ = myself.cast(Step);
        Ok(())
    }
}

impl State {
    /// Sees now and then that the log is still the one that is read.
    async fn check(&mut self) {
        if self.checked_at.elapsed() < CHECK_EVERY {
            return;
        }
        self.checked_at = Instant::now();
        let known = *self.node.positions().borrow();
        // A broker that is away says nothing, and the log stays what it is.
        let Ok(end) = self.node.end().await else { return };
        self.short = if end < known { self.short + 1 } else { 0 };
        if self.short >= MAX_SHORT {
            let hunt = self.node.hunt.clone();
            self.node.give_up(&Replaced::Shortened { hunt, end, known }.into());
        }
    }
}

impl Node {
    fn apply(&self, message: &async_nats::jetstream::Message) -> anyhow::Result<()> {
        let Parsed { sequence, place, record, trace } = self.log.parse(message)?;
        {
            let mut world = self.world.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            // A consumer that was made again may begin with what is known.
            if sequence <= world.position {
                return Ok(());
            }
            let mut outbox = self.outbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match place.as_ref().zip(record) {
                Some((team, record)) => {
                    if let Some(team) = team {
                        self.seen.note(team);
                    }
                    let events = world.apply(sequence, team.as_deref(), record);
                    if sequence > outbox.published {
                        let since = Instant::now();
                        let pending = |event| Pending { position: sequence, event, since, trace: trace.clone() };
                        outbox.waiting.extend(events.into_iter().map(pending));
                    }
                }
                None => world.skip(sequence, place.as_ref().map(Option::as_deref)),
            }
            metrics::gauge!("hunt_events_waiting").set(outbox.waiting.len() as f64);
            metrics::gauge!("hunt_teams").set(world.teams.len() as f64);
            metrics::gauge!("hunt_players").set(world.players as f64);
        }
        metrics::gauge!("hunt_log_position").set(sequence as f64);
        self.position.send_replace(sequence);
        Ok(())
    }
}
