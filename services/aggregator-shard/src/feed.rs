//! Brings the batches of a partition to its actor, decoded, a few at a time: the actor's mailbox has no bound of its
//! own, so the feed waits for a permit before each, and for the outbox and the process's memory to have room.

use crate::messages::{Carried, Message};
use crate::replica::Fed;
use crate::succession::Succession;
use daybook_domain::ids::LogSeq;
use daybook_runtime::connection::Connection;
use daybook_runtime::outbox::Outbox;
use daybook_runtime::reader::Reader;
use daybook_runtime::{memory, telemetry};
use ractor::ActorRef;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Batches that wait in the actor's mailbox at most.
const AHEAD: u32 = 4;
/// Outputs that may wait to be written before the feed pauses.
const MAX_BACKLOG: u64 = 20_000;

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
        let batch = match Succession::of((&message).into(), last) {
            Succession::Next(batch) => Ok(batch),
            Succession::Unreadable(why) => Err(why),
            Succession::Foreign(why) => {
                connection.foreign.note(&stream, message.sequence, &message.subject, &why);
                if actor.cast(Message::PassedOver { pending: message.pending, permit }).is_err() {
                    return;
                }
                continue;
            }
            Succession::Gap { follows } => {
                let position = message.sequence;
                tracing::warn!(position, %follows, %last, "the log does not go on here; beginning again");
                return;
            }
        };
        last = LogSeq(message.sequence);
        let (stored_at, pending) = (message.stored_at, message.pending);
        let fed = batch.map(|batch| Fed { position: last, stored_at, batch, pending });
        let carried = Carried { trace: telemetry::context_of(&message.headers), permit };
        if actor.cast(Message::Fed { fed, carried }).is_err() {
            return;
        }
    }
}
