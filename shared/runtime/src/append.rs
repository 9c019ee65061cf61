//! Compare-and-append: a message is stored only if nothing else was stored on its subject since the writer looked.
//! This is the fence between two owners of a partition, and what makes a retry safe.

use crate::backoff::retry;
use crate::connection::Connection;
use crate::written::{Message, NotWritten};
use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use daybook_contracts::headers;
use daybook_domain::time::Instant;
use futures::TryStreamExt;
use serde::Deserialize;
use std::error::Error;

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

/// Appends `payload` on `subject` if the subject's last message has the sequence `expected` (0 for none). The message names
/// its subject in [`headers::SUBJECT`]: by this and the condition [`crate::written`] knows it again.
pub async fn append(
    connection: &Connection,
    subject: &str,
    expected: u64,
    mut headers: HeaderMap,
    payload: Bytes,
) -> Appended {
    headers.insert(headers::SUBJECT, subject);
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
pub async fn last_message(connection: &Connection, stream: &str, subject: &str) -> Option<Stored> {
    stored_message(connection, stream, &serde_json::json!({ "last_by_subj": subject })).await
}

/// As [`last_message`], for whoever draws conclusions from there being none: a broker that is going down says so of what is
/// there, but still counts it. One that counts messages of which it does not tell the last is asked again.
pub async fn last_message_for_certain(connection: &Connection, stream: &str, subject: &str) -> Option<Stored> {
    retry("read the last message", || async {
        if let Some(last) = last_message(connection, stream, subject).await {
            return Ok(Some(last));
        }
        let counted = stream_handle(connection, stream).await?.info_with_subjects(subject).await?;
        match std::pin::pin!(counted).try_next().await? {
            None => Ok(None),
            Some(_) => Err("the broker counts messages, but does not tell the last one".into()),
        }
    })
    .await
}

/// The first message on a subject (wildcards allowed) at or after a sequence. Tries until the broker answers.
pub async fn next_message(connection: &Connection, stream: &str, subject: &str, from: u64) -> Option<Stored> {
    stored_message(connection, stream, &serde_json::json!({ "seq": from, "next_by_subj": subject })).await
}

/// What a subject holds.
#[derive(Clone, Debug)]
pub struct Newest<T> {
    /// The sequence of its last message, 0 for none.
    pub end: u64,
    /// The newest message that a service wrote there.
    pub found: Option<Found<T>>,
}

/// A message that a service wrote, as it was read.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Instant,
    pub value: T,
}

/// The newest message on `subject` that `read` takes for a service's, as the stream's leader has it. What is foreign is noted and
/// passed over. Tries until the broker answers.
///
/// # Errors
/// When a message is a service's, but cannot be read.
pub async fn last_written<T>(
    connection: &Connection,
    stream: &str,
    subject: &str,
    read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
) -> Result<Newest<T>, NotWritten> {
    let last = last_message(connection, stream, subject).await;
    last_written_from(connection, stream, subject, last, read).await
}

/// As [`last_written`], for whoever draws conclusions from there being none; see [`last_message_for_certain`].
///
/// # Errors
/// When a message is a service's, but cannot be read.
pub async fn last_written_for_certain<T>(
    connection: &Connection,
    stream: &str,
    subject: &str,
    read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
) -> Result<Newest<T>, NotWritten> {
    let last = last_message_for_certain(connection, stream, subject).await;
    last_written_from(connection, stream, subject, last, read).await
}

async fn last_written_from<T>(
    connection: &Connection,
    stream: &str,
    subject: &str,
    last: Option<Stored>,
    read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
) -> Result<Newest<T>, NotWritten> {
    let Some(last) = last else { return Ok(Newest { end: 0, found: None }) };
    let look = |message: &Stored| match read(message.into()) {
        Ok(value) => Ok(Some(Found { sequence: message.sequence, stored_at: message.stored_at, value })),
        Err(why @ NotWritten::Unreadable(_)) => Err(why),
        Err(why) => {
            connection.foreign.note(stream, message.sequence, subject, &why);
            Ok(None)
        }
    };
    let end = last.sequence;
    if let Some(found) = look(&last)? {
        return Ok(Newest { end, found: Some(found) });
    }
    // The broker finds the first message behind a sequence, not the last one before it: so farther and farther back.
    let (mut above, mut step) = (end, 1);
    while above > 1 {
        let from = above.saturating_sub(step).max(1);
        let (mut next, mut found) = (from, None);
        while let Some(message) = next_message(connection, stream, subject, next).await
            && message.sequence < above
        {
            found = look(&message)?.or(found);
            next = message.sequence + 1;
        }
        if found.is_some() {
            return Ok(Newest { end, found });
        }
        (above, step) = (from, step.saturating_mul(2));
    }
    Ok(Newest { end, found: None })
}

/// A message as a stream stores it, read by a request of its own. Whatever a publisher put into its subject and headers,
/// it can be read so: what is not text is replaced or left out.
#[derive(Clone, Debug)]
pub struct Stored {
    pub subject: String,
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Instant,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl<'m> From<&'m Stored> for Message<'m> {
    fn from(stored: &'m Stored) -> Self {
        Self { subject: &stored.subject, headers: &stored.headers, payload: &stored.payload }
    }
}

#[derive(Deserialize)]
struct StoredReply {
    message: Option<StoredWire>,
    error: Option<async_nats::jetstream::Error>,
}

#[derive(Deserialize)]
struct StoredWire {
    subject: String,
    seq: u64,
    time: Instant,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

async fn stored_message(connection: &Connection, stream: &str, request: &serde_json::Value) -> Option<Stored> {
    retry("read a message", || async {
        let subject = format!("STREAM.MSG.GET.{stream}");
        let reply: StoredReply = connection.jetstream.request(subject, request).await?;
        match (reply.message, reply.error) {
            (Some(wire), _) => Ok(Some(Stored {
                subject: wire.subject,
                sequence: wire.seq,
                stored_at: wire.time,
                headers: lenient_headers(&STANDARD.decode(wire.hdrs)?),
                payload: STANDARD.decode(wire.data)?.into(),
            })),
            (None, Some(error)) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err("the broker's answer holds no message".into()),
        }
    })
    .await
}

/// The headers that are well formed, as the client library finds them in what it is delivered (`vendor/async-nats`).
fn lenient_headers(bytes: &[u8]) -> HeaderMap {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().skip(1).peekable();
    let mut headers = HeaderMap::new();
    while let Some(line) = lines.next() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let Ok(name) = name.parse::<async_nats::HeaderName>() else { continue };
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        if let Ok(value) = value.trim_end().parse::<async_nats::HeaderValue>() {
            headers.append(name, value);
        }
    }
    headers
}

/// A handle on a stream; no request is made.
///
/// # Errors
/// When the name is not one that the broker accepts.
pub async fn stream_handle(connection: &Connection, name: &str) -> Result<Stream<()>, async_nats::Error> {
    Ok(connection.jetstream.get_stream_no_info(name).await?)
}
