//! The actor that publishes to Daybook what follows from the log. One process does it at a time; two would do no harm, because an
//! event's id and version follow from the log.

use super::daybook::Daybook;
use super::traces::{Pending, Publishing};
use super::{Node, Outbox, changing, state};
use crate::game::Event;
use crate::game::world::{SCORE, SUBMISSION};
use daybook_runtime::backoff::Backoff;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most events that are taken at once, but for those of one position, which stay together.
const MAX_BATCH: usize = 1_000;
/// Most events of a message: some 100 KiB. Daybook takes 10,000 and 1 MiB.
const MAX_MESSAGE_EVENTS: usize = 400;
/// How often the mark is moved, and read by those who do not publish. A crash publishes again what came since.
const MARK_EVERY: Duration = Duration::from_millis(500);
/// How long a step waits for something to publish.
const IDLE: Duration = Duration::from_millis(250);
/// Pauses while Daybook takes nothing, such as when its buffer is full.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// Starts the publisher as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub async fn spawn(node: Arc<Node>, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, Publisher, node, supervisor).await?;
    Ok(actor.get_cell())
}

struct Publisher;

/// The one message: publish what waits.
struct Step;

struct State {
    node: Arc<Node>,
    daybook: Daybook,
    positions: watch::Receiver<u64>,
    /// The mark in the bucket, and when it was moved or read.
    marked: u64,
    marked_at: Instant,
    pauses: Backoff,
    /// The position of the rules that were defined in Daybook last.
    defined: u64,
}

impl Actor for Publisher {
    type Msg = Step;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(&self, myself: ActorRef<Step>, node: Arc<Node>) -> Result<State, ActorProcessingErr> {
        let daybook = Daybook::new(&node.client, &node.hunt);
        let positions = node.positions();
        myself.cast(Step)?;
        Ok(State { daybook, positions, marked: 0, marked_at: Instant::now(), pauses: PAUSES, defined: 0, node })
    }

    async fn handle(&self, myself: ActorRef<Step>, Step: Step, state: &mut State) -> Result<(), ActorProcessingErr> {
        match state.step().await {
            Ok(()) => state.pauses.reset(),
            Err(error) => {
                tracing::warn!(%error, "Daybook did not take the events; publishing them again");
                metrics::counter!("hunt_publish_failures_total").increment(1);
                tokio::time::sleep(state.pauses.next_pause()).await;
            }
        }
        // It fails only when this actor is to end.
        let _ = myself.cast(Step);
        Ok(())
    }
}

impl State {
    async fn step(&mut self) -> anyhow::Result<()> {
        if !self.node.owns("~publisher") {
            tokio::time::sleep(IDLE).await;
            let mark = state::mark(&self.node.bucket).await?;
            self.outbox(|outbox| outbox.arrived(mark));
            return Ok(());
        }
        if self.node.world().rules_at > self.defined {
            self.defined = changing::define(&self.node).await?;
        }
        self.positions.mark_unchanged();
        let (batch, up_to) = self.outbox(next_batch);
        if batch.is_empty() {
            self.move_mark(up_to, Duration::ZERO).await?;
            // Nothing waits: until the log grows, or the owner may be another.
            let _ = tokio::time::timeout(IDLE, self.positions.changed()).await;
            return Ok(());
        }
        for kind in [SCORE, SUBMISSION] {
            let of_kind: Vec<&Pending> = batch.iter().filter(|pending| pending.event.kind == kind).collect();
            for part in of_kind.chunks(MAX_MESSAGE_EVENTS) {
                let publishing = Publishing::begin(&self.node.hunt, kind, part);
                let events: Vec<&Event> = part.iter().map(|pending| &pending.event).collect();
                let began = Instant::now();
                let inbox = self.daybook.publish(kind, &events, publishing.headers()).await?;
                drop(publishing);
                metrics::histogram!("hunt_publish_seconds").record(began.elapsed().as_secs_f64());
                // Points move rankings.
                if kind == SCORE {
                    let mut awaited = self.node.awaited.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    awaited.add(&self.node.hunt, inbox, part);
                }
                metrics::counter!("hunt_events_published_total", "kind" => kind).increment(part.len() as u64);
            }
        }
        self.outbox(|outbox| outbox.arrived(up_to));
        self.move_mark(up_to, MARK_EVERY).await
    }

    fn outbox<T>(&self, with: impl FnOnce(&mut Outbox) -> T) -> T {
        with(&mut self.node.outbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Notes that everything up to here has arrived, unless that was done less than `every` ago.
    async fn move_mark(&mut self, up_to: u64, every: Duration) -> anyhow::Result<()> {
        if up_to > self.marked && (self.marked_at.elapsed() >= every) {
            state::move_mark(&self.node.bucket, up_to).await?;
            (self.marked, self.marked_at) = (up_to, Instant::now());
        }
        Ok(())
    }
}

/// The next events, whole positions at a time, and the position up to which they reach.
fn next_batch(outbox: &mut Outbox) -> (Vec<Pending>, u64) {
    let mut batch = Vec::new();
    let mut up_to = outbox.published;
    for pending in &outbox.waiting {
        if batch.len() >= MAX_BATCH && pending.position != up_to {
            break;
        }
        up_to = pending.position;
        batch.push(pending.clone());
    }
    (batch, up_to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pending(position: u64, id: usize) -> Pending {
        let (at, dims, measures) = (String::new(), BTreeMap::new(), BTreeMap::new());
        let event = Event { kind: SCORE, id: id.to_string(), version: 1, status: "final", at, dims, measures };
        Pending { position, event, since: Instant::now(), trace: None }
    }

    /// The ids of the next events, and up to which position they reach.
    fn next(outbox: &mut Outbox) -> (Vec<String>, u64) {
        let (batch, up_to) = next_batch(outbox);
        (batch.into_iter().map(|pending| pending.event.id).collect(), up_to)
    }

    #[test]
    fn events_of_a_position_are_published_together_or_again() {
        let mut outbox = Outbox { published: 4, ..Outbox::default() };
        outbox.waiting.push_back(pending(5, 0));
        // A correction changes more than a batch holds.
        outbox.waiting.extend((0..2 * MAX_BATCH).map(|id| pending(6, id)));
        outbox.waiting.push_back(pending(7, 0));
        let (batch, up_to) = next(&mut outbox);
        assert_eq!((batch.len(), up_to), (1 + 2 * MAX_BATCH, 6));
        // Until it is confirmed, the same comes again.
        assert_eq!(next(&mut outbox), (batch, up_to));
        outbox.arrived(up_to);
        assert_eq!((outbox.published, outbox.waiting.len()), (6, 1));
        // An older mark of another process changes nothing.
        outbox.arrived(3);
        assert_eq!(next(&mut outbox).1, 7);
        outbox.arrived(7);
        assert_eq!(next(&mut outbox), (Vec::new(), 7));
    }
}
