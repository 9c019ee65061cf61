//! The actor that takes out of INBOX what every partition has recorded, so that the buffer stays a buffer. Any number of them do
//! no harm: what is removed is in the log for good. It also shows, as metrics, what every stream takes.

use crate::trimming::{Round, Trimming};
use daybook_runtime::append::{last_message, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::log;
use daybook_runtime::process::Context;
use daybook_runtime::{clock, usage};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use std::time::Duration;
use tokio::time::Instant;

/// Time between two looks at what the streams take on the broker's disk: as often as metrics are collected.
const SHOW_INTERVAL: Duration = Duration::from_secs(10);

/// Starts the trimmer as a child of `supervisor`.
///
/// # Errors
/// When the actor cannot be started.
pub(crate) async fn spawn(context: Context, interval: Duration, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, Trimmer, (context, interval), supervisor).await?;
    Ok(actor.get_cell())
}

struct Trimmer;

struct State {
    context: Context,
    /// Time between the end of a trim and the next.
    interval: Duration,
    trimming: Trimming,
    /// When to look next at what the streams take.
    show_at: Instant,
}

struct Trim;

impl Actor for Trimmer {
    type Msg = Trim;
    type State = State;
    type Arguments = (Context, Duration);

    async fn pre_start(
        &self,
        myself: ActorRef<Trim>,
        (context, interval): (Context, Duration),
    ) -> Result<State, ActorProcessingErr> {
        myself.send_after(interval, || Trim);
        Ok(State { context, interval, trimming: Trimming::default(), show_at: Instant::now() })
    }

    async fn handle(&self, myself: ActorRef<Trim>, Trim: Trim, state: &mut State) -> Result<(), ActorProcessingErr> {
        // A broker that is away is no reason to fail; the next round will do.
        let connection = &state.context.connection;
        if let Err(error) = trim(connection, &mut state.trimming).await {
            tracing::debug!(error = %error, "INBOX was not trimmed");
        }
        if state.show_at <= Instant::now() {
            usage::show(&usage::streams(connection).await, clock::now());
            state.show_at = Instant::now() + SHOW_INTERVAL;
        }
        // Only now: what waits for a broker that is away must not pile up.
        myself.send_after(state.interval, || Trim);
        Ok(())
    }
}

async fn trim(connection: &Connection, trimming: &mut Trimming) -> Result<(), async_nats::Error> {
    let subjects = &connection.subjects;
    let stream = stream_handle(connection, &subjects.inbox_stream()).await?;
    let inbox = stream.get_info().await?.state;
    metrics::gauge!("daybook_inbox_messages").set(inbox.messages as f64);
    metrics::gauge!("daybook_inbox_bytes").set(inbox.bytes as f64);
    if inbox.messages == 0 {
        return Ok(());
    }
    let mut round = Round::new(inbox.last_sequence, connection.partitions);
    while let Some(partition) = round.next() {
        let marks = log::end(connection, partition).await?.marks();
        let mut newest = None;
        for filter in subjects.inbox_of(partition) {
            let last = last_message(connection, &subjects.inbox_stream(), &filter).await;
            newest = newest.max(last.map(|message| message.sequence));
        }
        round.note(marks, newest);
    }
    let floor = trimming.settle(round);
    if floor >= inbox.first_sequence {
        stream.purge().sequence(floor + 1).await?;
        metrics::gauge!("daybook_inbox_trimmed_through").set(floor as f64);
    }
    Ok(())
}
