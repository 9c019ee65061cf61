//! Brings the batches of a partition to its actor, decoded, a few at a time: the actor's mailbox has no bound of its
//! own, so the feed waits for a permit before each, and for the outbox and the process's memory to have room.

use crate::partition::Message;
use daybook_contracts::log::Batch;
use daybook_domain::ids::LogSeq;
use daybook_domain::time::Instant;
use daybook_runtime::connection::Connection;
use daybook_runtime::log::Logged;
use daybook_runtime::outbox::Outbox;
use daybook_runtime::reader::Reader;
use daybook_runtime::written::NotWritten;
use daybook_runtime::{memory, telemetry};
use opentelemetry::trace::SpanContext;
use ractor::ActorRef;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Batches that wait in the actor's mailbox at most.
const AHEAD: u32 = 4;
/// Outputs that may wait to be written before the feed pauses.
const MAX_BACKLOG: u64 = 20_000;

/// A batch on its way to the actor, which keeps those that it cannot apply yet.
pub struct Fed {
    pub position: LogSeq,
    /// When the broker stored it.
    pub stored_at: Instant,
    /// Or why it cannot be read.
    pub batch: Result<Batch, NotWritten>,
    /// Batches that stood behind it in the log when it was read.
    pub pending: u64,
    /// Ingest's, of that batch: whoever wrote the batch wrote it.
    pub trace: Option<SpanContext>,
    /// Given back when the batch has been applied.
    pub permit: OwnedSemaphorePermit,
}

/// Feeds what follows the batch at `last` until the actor is gone, or the log was trimmed beneath it: then the actor is
/// to begin again, with a snapshot. What ingest did not write is passed over.
pub async fn feed(
    mut reader: Reader,
    mut last: LogSeq,
    connection: Connection,
    outbox: Outbox,
    actor: ActorRef<Message>,
) {
    let ahead = Arc::new(Semaphore::new(AHEAD as usize));
    let stream = connection.subjects.events_stream();
    loop {
        // Where memory is scarce one batch at a time, so that what waits does not fill it.
        let permits = if memory::is_ample() { 1 } else { AHEAD };
        let Ok(permit) = ahead.clone().acquire_many_owned(permits).await else { return };
        if !outbox.wait_for_backlog(MAX_BACKLOG).await {
            return;
        }
        memory::room().await;
        let message = reader.next().await;
        let batch = match Logged::read((&message).into()) {
            Err(why @ NotWritten::Foreign(_)) => {
                connection.foreign.note(&stream, message.sequence, &message.subject, &why);
                if actor.cast(Message::PassedOver { pending: message.pending, permit }).is_err() {
                    return;
                }
                continue;
            }
            // Behind another one there are batches between that are gone, or it is another log that was made in the place of
            // this.
            Ok(Logged { follows, .. }) if follows != last => {
                let position = message.sequence;
                tracing::warn!(position, %follows, %last, "the log does not go on here; beginning again");
                return;
            }
            Ok(logged) => Ok(logged.batch),
            Err(why) => Err(why),
        };
        last = LogSeq(message.sequence);
        let fed = Fed {
            position: LogSeq(message.sequence),
            stored_at: message.stored_at,
            batch,
            pending: message.pending,
            trace: telemetry::context_of(&message.headers),
            permit,
        };
        if actor.cast(Message::Apply(Box::new(fed))).is_err() {
            return;
        }
    }
}
