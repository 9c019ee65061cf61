//! Publishes for the registrar, and sees what is published come through to INBOX.

use crate::failure::{Failure, PublishError};
use crate::publication::{Arrival, Outgoing};
use async_nats::HeaderMap;
use daybook_contracts::headers::{self, Source};
use daybook_runtime::append::{Appended, append, last_message, stream_handle};
use daybook_runtime::backoff::Backoff;
use daybook_runtime::connection::Connection;
use daybook_runtime::log;
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;

/// Publishes under way at once.
const IN_FLIGHT: usize = 256;
/// How long a published message may take to come through to INBOX before its asker is told that it does not. The broker needs
/// milliseconds, and some seconds when a leader has just gone; the command line waits 8 s for a reply.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(5);
/// Pauses between two looks for it: mostly it is there within a millisecond.
const NOT_THERE: Backoff = Backoff::new(Duration::from_micros(500), Duration::from_millis(50));

/// The last sequence of a stream.
///
/// # Errors
/// When the broker does not say.
pub(crate) async fn last_sequence(connection: &Connection, stream: &str) -> Result<u64, Failure> {
    let look = async { Ok(stream_handle(connection, stream).await?.get_info().await?.state.last_sequence) };
    look.await.map_err(|source| Failure::Look { stream: stream.to_owned(), source })
}

/// Publishes messages on different subjects, many at once, each on the condition that its subject stands where this day-manager
/// left it. Returns their sequences in the order of the messages.
///
/// # Errors
/// When another day-manager is at work or the broker is in trouble.
pub(crate) async fn publish(
    connection: &Connection,
    messages: Vec<Outgoing>,
    trace: &HeaderMap,
) -> Result<Vec<u64>, PublishError> {
    futures::stream::iter(messages)
        .map(|Outgoing { subject, expected, payload, .. }| async move {
            tracing::debug!(subject, "publishing");
            match append(connection, &subject, expected, trace.clone(), payload).await {
                Appended::At(sequence) => Ok(sequence),
                Appended::Conflict => Err(PublishError::Conflict(subject)),
                Appended::Unclear(source) => Err(PublishError::Unclear { subject, source }),
            }
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await
}

/// Waits until a message stands in INBOX; all before it of its stream then do too.
///
/// # Errors
/// When it does not come through in time.
pub(crate) async fn arrived(connection: &Connection, arrival: &Arrival) -> Result<(), PublishError> {
    let seen = async {
        let mut backoff = NOT_THERE;
        while !has_arrived(connection, arrival).await {
            tokio::time::sleep(backoff.next_pause()).await;
        }
    };
    tokio::time::timeout(ARRIVAL_DEADLINE, seen)
        .await
        .map_err(|_| PublishError::NotArrived(arrival.inbox_subject.clone()))
}

async fn has_arrived(connection: &Connection, arrival: &Arrival) -> bool {
    let inbox = last_message(connection, &connection.subjects.inbox_stream(), &arrival.inbox_subject).await;
    let source = inbox
        .as_ref()
        .and_then(|message| Source::parse(message.headers.get(headers::STREAM_SOURCE)?.as_str()))
        .map(|source| source.sequence);
    // Recorded and trimmed already? A log that ends with what this version cannot read says nothing.
    arrival.is_in_inbox(source)
        || log::end(connection, arrival.partition).await.is_ok_and(|end| arrival.is_in_log(end.marks()))
}
