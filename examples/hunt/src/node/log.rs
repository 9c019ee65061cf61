//! The stream that holds a hunt. A record is appended only behind the last record of its subject that the writer knows: of two
//! writers, one fails and reads on.

use super::replaced::Replaced;
use super::tokens::random_text;
use super::traces::{of_record, record_headers};
use crate::game::{Entry, Record};
use anyhow::Context as _;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, InfoError, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode, consumer};
use futures::StreamExt as _;
use opentelemetry::trace::SpanContext;
use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::Instant;

/// Largest log of a hunt: some 18 million submissions.
const MAX_LOG_BYTES: i64 = 4 << 30;
/// Largest record; the rules are the largest.
const MAX_RECORD_BYTES: i32 = 900 * 1024;
/// How long the broker may take to confirm an append.
pub const ACK_LIMIT: Duration = Duration::from_secs(5);

/// How long the broker may take to deliver a record.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Key of the stream's metadata that holds the name of the log.
const NAME: &str = "hunt-log";

/// The log of a hunt.
#[derive(Clone)]
pub struct Log {
    hunt: String,
    /// Random: a log that is deleted and made again has another one.
    name: String,
    jetstream: jetstream::Context,
    stream: Stream,
}

/// What became of an append.
#[derive(Debug)]
pub enum Appended {
    At(u64),
    /// Another record was stored first.
    Conflict,
    /// It may or may not have been stored.
    Unclear(PublishError),
}

/// The subject on which processes answer for a team; see `docs/HUNT.md`.
pub fn ask_subject(hunt: &str, team: &str) -> String {
    format!("hunt.{hunt}.ask.{team}")
}

fn stream_name(hunt: &str) -> String {
    format!("HUNT_{hunt}")
}

impl Log {
    /// Makes the stream of a hunt, unless it is there.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn create(jetstream: &jetstream::Context, hunt: &str, replicas: usize) -> anyhow::Result<Self> {
        let config = Config {
            name: stream_name(hunt),
            subjects: vec![format!("hunt.{hunt}.log.>")],
            storage: StorageType::File,
            max_bytes: MAX_LOG_BYTES,
            max_message_size: MAX_RECORD_BYTES,
            // A full log refuses; it never forgets.
            discard: DiscardPolicy::New,
            deny_delete: true,
            deny_purge: true,
            num_replicas: replicas,
            metadata: HashMap::from([(NAME.to_owned(), random_text(16)?)]),
            ..Config::default()
        };
        match jetstream.get_or_create_stream(config).await {
            Ok(_) => Self::open(jetstream, hunt).await,
            // Another process may have made it in this moment, with a name of its own.
            Err(error) => {
                Self::open(jetstream, hunt).await.map_err(|_| error).context("cannot make the stream of the hunt")
            }
        }
    }

    /// Opens the log of a hunt.
    ///
    /// # Errors
    /// When there is none, or the broker does not answer.
    pub async fn open(jetstream: &jetstream::Context, hunt: &str) -> anyhow::Result<Self> {
        let found = Self::find(jetstream, hunt).await?;
        found.with_context(|| format!("there is no hunt {hunt} on this broker; make it with `hunt init`"))
    }

    /// Opens the log of a hunt, if there is one.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn find(jetstream: &jetstream::Context, hunt: &str) -> anyhow::Result<Option<Self>> {
        let stream = match jetstream.get_stream(stream_name(hunt)).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("the log of the hunt {hunt} cannot be opened")),
        };
        let name = name_in(stream.cached_info());
        Ok(Some(Self { hunt: hunt.to_owned(), name, jetstream: jetstream.clone(), stream }))
    }

    /// Deletes the log of a hunt for good, unless that was done.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn remove(jetstream: &jetstream::Context, hunt: &str) -> anyhow::Result<()> {
        delete(jetstream, &stream_name(hunt)).await
    }

    /// The name of this log, which tells it from one that was made again under the same id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The subject of a team's records, or of those for all.
    pub fn subject(&self, team: Option<&str>) -> String {
        match team {
            Some(team) => format!("hunt.{}.log.team.{team}", self.hunt),
            None => format!("hunt.{}.log.rules", self.hunt),
        }
    }

    /// The team of a subject; `None` for the records for all, an error for anything else.
    fn team_of<'s>(&self, subject: &'s str) -> Result<Option<&'s str>, ()> {
        let rest = subject.strip_prefix("hunt.").and_then(|rest| rest.strip_prefix(self.hunt.as_str())).ok_or(())?;
        match rest {
            ".log.rules" => Ok(None),
            _ => rest.strip_prefix(".log.team.").map(Some).ok_or(()),
        }
    }

    /// Appends a record, if the last one on its subject has the sequence `expected` (0 for none).
    pub async fn append(&self, team: Option<&str>, expected: u64, record: &Record) -> Appended {
        let payload = serde_json::to_vec(record).expect("records are JSON");
        let message = PublishMessage::build().payload(payload.into()).headers(record_headers());
        let message = message.expected_last_subject_sequence(expected);
        let began = Instant::now();
        let published = async {
            let ack = self.jetstream.send_publish(self.subject(team), message).await?;
            let late = |_| Err(PublishError::new(PublishErrorKind::TimedOut));
            tokio::time::timeout(ACK_LIMIT, ack.into_future()).await.unwrap_or_else(late)
        };
        match published.await {
            Ok(ack) => {
                metrics::histogram!("hunt_append_seconds").record(began.elapsed().as_secs_f64());
                Appended::At(ack.sequence)
            }
            Err(error) if is_conflict(&error) => Appended::Conflict,
            Err(error) => Appended::Unclear(error),
        }
    }

    /// The sequence of the last record of all.
    ///
    /// # Errors
    /// [`Replaced`] when the stream holds another log now, and when the broker does not answer.
    pub async fn end(&self) -> anyhow::Result<u64> {
        let info = match self.stream.get_info().await {
            Ok(info) => info,
            Err(error) if is_gone(&error) => return Err(Replaced::Gone { hunt: self.hunt.clone() }.into()),
            Err(error) => return Err(error).context("the broker says nothing of the log"),
        };
        if name_in(&info) != self.name {
            return Err(Replaced::Another { hunt: self.hunt.clone() }.into());
        }
        Ok(info.state.last_sequence)
    }

    /// The records from a sequence on, in order.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn read(&self, from: u64) -> anyhow::Result<consumer::pull::Ordered> {
        let config = consumer::pull::OrderedConfig {
            deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ..Default::default()
        };
        let consumer = self.stream.create_consumer(config).await.context("the log cannot be read")?;
        consumer.messages().await.context("the log cannot be read")
    }

    /// Reads a message of the log.
    ///
    /// # Errors
    /// When the message does not say where it stands.
    pub fn parse(&self, message: &jetstream::Message) -> anyhow::Result<Parsed> {
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let place = self.team_of(&message.subject).ok().map(|team| team.map(str::to_owned));
        let record = serde_json::from_slice(&message.payload).ok();
        if place.is_none() || record.is_none() {
            tracing::warn!(sequence = info.stream_sequence, "this message of the log is no record; it is skipped");
        }
        let trace = of_record(message.headers.as_ref());
        Ok(Parsed { sequence: info.stream_sequence, place, record, trace })
    }
}

/// A message of the log.
pub struct Parsed {
    pub sequence: u64,
    /// The team on whose subject it stands, `Some(None)` for all; `None` when the subject is none of a record.
    pub place: Option<Option<String>>,
    /// `None` when it is no record.
    pub record: Option<Record>,
    /// The trace in which it was written, if that is sampled.
    pub trace: Option<SpanContext>,
}

/// The whole log of a hunt.
///
/// # Errors
/// When the broker does not answer.
pub async fn read_log(client: &async_nats::Client, hunt: &str) -> anyhow::Result<Vec<Entry>> {
    let log = Log::open(&async_nats::jetstream::new(client.clone()), hunt).await?;
    let end = log.end().await?;
    let mut entries = Vec::new();
    let mut messages = log.read(1).await?;
    let mut reached = 0;
    while reached < end {
        let message = tokio::time::timeout(READ_LIMIT, messages.next()).await.context("the log ends early")?;
        let parsed = log.parse(&message.context("the log ends early")??)?;
        reached = parsed.sequence;
        if let Some((team, record)) = parsed.place.zip(parsed.record) {
            entries.push((parsed.sequence, team, record));
        }
    }
    Ok(entries)
}

/// Deletes a stream, unless it is not there.
///
/// # Errors
/// When the broker refuses.
pub async fn delete(jetstream: &jetstream::Context, stream: &str) -> anyhow::Result<()> {
    match jetstream.delete_stream(stream).await {
        Err(error) if !is_missing(&error) => Err(error).with_context(|| format!("cannot delete the stream {stream}")),
        _ => Ok(()),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    let GetStreamErrorKind::JetStream(error) = error.kind() else { return false };
    error.error_code() == ErrorCode::STREAM_NOT_FOUND
}

fn is_gone(error: &InfoError) -> bool {
    let known = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    known.is_some_and(|error| error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// The name in the stream's metadata. Streams of earlier builds have none: when they were made tells them apart.
fn name_in(info: &Info) -> String {
    let made_at = || format!("made-{}", info.created.unix_timestamp_nanos());
    info.config.metadata.get(NAME).cloned().unwrap_or_else(made_at)
}

/// A JetStream cluster has another code for a wrong last sequence than a single server.
fn is_conflict(error: &PublishError) -> bool {
    let code = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    error.kind() == PublishErrorKind::WrongLastSequence
        || code.is_some_and(|error| error.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}
