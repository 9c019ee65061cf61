//! Compare-and-append: a message is stored only if nothing else was stored on its subject since the writer looked.
//! This is the fence between two owners of a partition, and what makes a retry safe.

use crate::connection::Connection;
use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use std::error::Error;
use std::time::Duration;

/// Longest pause between two tries of something that must succeed in the end.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What became of an append.
#[derive(Debug)]
pub enum Appended {
    /// Stored at this sequence of the stream.
    At(u64),
    /// Something else was stored on the subject meanwhile; nothing was written now.
    Conflict,
    /// It may or may not have been stored: look at the subject's last message.
    Unclear(PublishError),
}

/// Appends `payload` on `subject` if the subject's last message has the sequence `expected` (0 for none).
pub async fn append(
    connection: &Connection,
    subject: &str,
    expected: u64,
    headers: HeaderMap,
    payload: Bytes,
) -> Appended {
    let message = PublishMessage::build().headers(headers).payload(payload).expected_last_subject_sequence(expected);
    let published = async {
        let ack = connection.jetstream.send_publish(subject.to_owned(), message).await?;
        ack.await
    };
    match published.await {
        Ok(ack) => Appended::At(ack.sequence),
        Err(error) if is_conflict(&error) => Appended::Conflict,
        Err(error) => Appended::Unclear(error),
    }
}

/// A JetStream cluster tells of a wrong last sequence by another code than a single server does.
fn is_conflict(error: &PublishError) -> bool {
    let code = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    error.kind() == PublishErrorKind::WrongLastSequence
        || code.is_some_and(|error| error.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// The last message on a subject (wildcards allowed), as the stream's leader has it. Tries until the broker answers.
pub async fn last_message(connection: &Connection, stream: &str, subject: &str) -> Option<StreamMessage> {
    retry("read the last message", || async {
        let stream = stream_handle(connection, stream).await?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// A handle on a stream; no request is made.
///
/// # Errors
/// When the name is not one that the broker accepts.
pub async fn stream_handle(connection: &Connection, name: &str) -> Result<Stream<()>, async_nats::Error> {
    Ok(connection.jetstream.get_stream_no_info(name).await?)
}

/// Repeats `attempt` with growing pauses until it succeeds; says so once when it has to.
pub async fn retry<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, async_nats::Error>>,
{
    let mut pause = Duration::from_millis(20);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                if pause >= Duration::from_millis(300) {
                    tracing::warn!(what, error = %error, "the broker does not answer; trying again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// A number in a header.
pub fn header_number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
