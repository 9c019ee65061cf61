//! Takes out of INBOX what every partition has recorded, so that the buffer stays a buffer. Any number of trimmers do
//! no harm: what is removed is in the log for good. It also shows, as metrics, what every stream takes.

use daybook_domain::ids::Partition;
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
pub async fn spawn(context: Context, interval: Duration, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, Trimmer, (context, interval), supervisor).await?;
    Ok(actor.get_cell())
}

struct Trimmer;

struct Trimming {
    context: Context,
    /// Time between the end of a trim and the next.
    interval: Duration,
    /// What the last round found to be recorded.
    last_floor: u64,
    /// When to look next at what the streams take.
    show_at: Instant,
}

struct Trim;

impl Actor for Trimmer {
    type Msg = Trim;
    type State = Trimming;
    type Arguments = (Context, Duration);

    async fn pre_start(
        &self,
        myself: ActorRef<Trim>,
        (context, interval): (Context, Duration),
    ) -> Result<Trimming, ActorProcessingErr> {
        myself.send_after(interval, || Trim);
        Ok(Trimming { context, interval, last_floor: 0, show_at: Instant::now() })
    }

    async fn handle(&self, myself: ActorRef<Trim>, Trim: Trim, state: &mut Trimming) -> Result<(), ActorProcessingErr> {
        // A broker that is away is no reason to fail; the next round will do.
        let connection = &state.context.connection;
        if let Err(error) = trim(connection, &mut state.last_floor).await {
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

async fn trim(connection: &Connection, last_floor: &mut u64) -> Result<(), async_nats::Error> {
    let subjects = &connection.subjects;
    let stream = stream_handle(connection, &subjects.inbox_stream()).await?;
    let inbox = stream.get_info().await?.state;
    metrics::gauge!("daybook_inbox_messages").set(inbox.messages as f64);
    metrics::gauge!("daybook_inbox_bytes").set(inbox.bytes as f64);
    if inbox.messages == 0 {
        return Ok(());
    }
    // `inbox.last_sequence` was read first: what a partition has no newer message for, it has recorded up to there.
    let mut floor = inbox.last_sequence;
    for partition in Partition::all(connection.partitions) {
        let end = log::end(connection, partition).await?;
        let recorded = end.marks().through.next() - 1;
        for filter in subjects.inbox_of(partition) {
            let newest = last_message(connection, &subjects.inbox_stream(), &filter).await;
            if newest.is_some_and(|message| message.sequence > recorded) {
                floor = floor.min(recorded);
            }
        }
    }
    let floor = settled(last_floor, floor);
    if floor >= inbox.first_sequence {
        stream.purge().sequence(floor + 1).await?;
        metrics::gauge!("daybook_inbox_trimmed_through").set(floor as f64);
    }
    Ok(())
}

/// Up to where the last round found all recorded as this one did: a broker that is going down may say for a moment that a
/// partition has no message, and what is trimmed on its word would be lost.
fn settled(last_floor: &mut u64, floor: u64) -> u64 {
    floor.min(std::mem::replace(last_floor, floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_alone_trims_nothing() {
        let mut last = 0;
        // A message of one partition waits at 6; one of the rounds is not told of it.
        let trimmed = [5, 9, 5, 5, 8].map(|floor| settled(&mut last, floor));
        assert_eq!(trimmed, [0, 5, 5, 5, 5]);
    }
}
