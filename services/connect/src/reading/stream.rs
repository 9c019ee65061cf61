//! A durable pull consumer of a foreign stream. The broker keeps what was acknowledged, so any process can go on, and several at once
//! get different messages. A message is acknowledged by itself: one that is stuck holds up no other.

use super::{SeenPosition, SourceProgress};
use crate::arrival::{ArrivedMessage, SourceTrouble};
use crate::in_flight::MAX_BATCH_MESSAGES;
use crate::sources::{SourceSpec, StartFrom};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::context::{ConsumerInfoError, ConsumerInfoErrorKind};
use async_nats::jetstream::stream::Stream;
use daybook_domain::ids::Name;
use daybook_mapping::MappingName;
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use futures::{FutureExt, StreamExt};
use std::time::Duration;

/// How long the broker waits for an acknowledgement before it delivers a message again. A process that was killed delays its
/// messages by so much; one that must wait itself tells the broker so.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Messages that the broker has delivered and that are not acknowledged, at most, over all processes.
const MAX_UNACKNOWLEDGED: i64 = 2_048;
/// The same for a source with a rate. The reader can take in so many at once. So it can tell the broker of all of them that they wait
/// for their turn, and none is delivered again meanwhile. A process that is killed delays the others by [`ACK_WAIT`].
const MAX_UNACKNOWLEDGED_AT_A_RATE: i64 = MAX_BATCH_MESSAGES as i64;
/// Most messages of one pull. As many wait in this process; half of them are asked for ahead.
const PULL_MESSAGES: usize = 256;
/// Bytes that the messages of one pull take at most, by the largest message that the broker takes.
const PULL_BYTES: usize = 32 << 20;
/// How long one pull lasts, and how often the broker says that it is still there.
const PULL_EXPIRES: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(1);

pub struct StreamReading {
    _connection: Connection,
    consumer: Consumer<pull::Config>,
    messages: pull::Stream,
    mark: String,
    floor: u64,
}

impl StreamReading {
    /// Finds the source's consumer, or makes it.
    pub(super) async fn open(
        connection: Connection,
        source: &SourceSpec,
        mapping: &MappingName,
        (name, from): (&str, StartFrom),
        seen: Option<&SeenPosition>,
    ) -> Result<Self, SourceTrouble> {
        let stream = connection.jetstream.get_stream(name).await;
        let stream =
            stream.map_err(|error| SourceTrouble::new(&format!("cannot look at the stream {name}"), &error))?;
        let mark = mark(name, stream.cached_info().created.unix_timestamp_nanos(), mapping);
        let begin = match seen {
            None => Begin::As(from),
            Some(seen) if seen.mark == mark => Begin::Behind(seen.floor),
            Some(_) => Begin::As(StartFrom::All),
        };
        let durable = durable_name(&connection, &source.name);
        let consumer = consumer(&stream, &durable, source, begin).await?;
        let most = connection.client.server_info().max_payload.max(1);
        let messages = consumer
            .stream()
            .max_messages_per_batch((PULL_BYTES / most).clamp(1, PULL_MESSAGES))
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES)
            .messages()
            .await
            .map_err(|error| SourceTrouble::new(&format!("cannot read the stream {name}"), &error))?;
        let floor = consumer.cached_info().ack_floor.stream_sequence;
        tracing::info!(source = %source.name, stream = name, consumer = durable, floor, "reading a stream");
        Ok(Self { _connection: connection, consumer, messages, mark, floor })
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    pub(super) fn seen(&self) -> SeenPosition {
        SeenPosition { mark: self.mark.clone(), floor: self.floor }
    }

    pub(super) async fn next(&mut self) -> Result<ArrivedMessage, SourceTrouble> {
        match self.messages.next().await {
            Some(Ok(message)) => arrival(message),
            Some(Err(error)) => Err(SourceTrouble::new("the stream cannot be read", &error)),
            None => Err(SourceTrouble::told("the broker ended the reading of the stream".to_owned())),
        }
    }

    /// Passes over an error: [`StreamReading::next`] or [`StreamReading::look`] will meet it again.
    pub(super) fn next_buffered(&mut self) -> Option<ArrivedMessage> {
        self.messages.next().now_or_never()??.ok().and_then(|message| arrival(message).ok())
    }

    pub(super) async fn look(&mut self) -> Result<SourceProgress, SourceTrouble> {
        let info = self.consumer.info().await;
        let info = info.map_err(|error| SourceTrouble::new("cannot look at the source's consumer", &error))?;
        self.floor = info.ack_floor.stream_sequence;
        Ok(SourceProgress { lag: Some(info.num_pending + info.num_ack_pending as u64), dropped: 0 })
    }
}

/// Where a consumer begins that has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// As the source says; or with all of a stream that took the place of another one while it was read.
    As(StartFrom),
    /// Behind the position that this process saw last.
    Behind(u64),
}

/// The name of the consumer: that of the source, and of this Daybook, for several may read one stream.
fn durable_name(connection: &Connection, source: &Name) -> String {
    format!("{}-connect-{source}", connection.subjects.prefix())
}

/// Tells a stream from another one of its name, on another broker or made anew, and a mapping from others: a fact's id begins so.
/// The mapping is `KIND/NAME`, however the file of sources spells it.
fn mark(name: &str, created_ns: i128, mapping: &MappingName) -> String {
    let hash = blake3::hash(format!("{created_ns} {mapping}").as_bytes());
    format!("{name}@{}", &hash.to_hex()[..8])
}

async fn consumer(
    stream: &Stream,
    durable: &str,
    source: &SourceSpec,
    begin: Begin,
) -> Result<Consumer<pull::Config>, SourceTrouble> {
    let name = &stream.cached_info().config.name;
    let cannot = |what: &str, error: &dyn std::error::Error| {
        SourceTrouble::new(&format!("cannot {what} the consumer {durable} of the stream {name}"), error)
    };
    let config = config(durable, source, begin)?;
    let found = match stream.get_consumer::<pull::Config>(durable).await {
        Ok(found) => found,
        Err(error) if is_absent(&error) => {
            tracing::info!(source = %source.name, ?begin, "making the source's consumer");
            let made = stream.create_consumer(config).await;
            return made.map_err(|error| cannot("make", &error));
        }
        Err(error) => return Err(cannot("find", error.as_ref())),
    };
    let stored = &found.cached_info().config;
    if stored.ack_policy != AckPolicy::Explicit || stored.max_deliver > 0 {
        return Err(SourceTrouble::told(format!(
            "the consumer {durable} of the stream {name} was not made by connect; remove it, or rename the source"
        )));
    }
    let filters = |config: &jetstream::consumer::Config| match config.filter_subject.is_empty() {
        true => config.filter_subjects.clone(),
        false => vec![config.filter_subject.clone()],
    };
    if filters(stored) == source.subjects && stored.max_ack_pending == config.max_ack_pending {
        return Ok(found);
    }
    // The broker refuses another beginning. The position stays, so the beginning does not matter any more.
    let config = pull::Config { deliver_policy: stored.deliver_policy, ..config };
    stream.update_consumer(config).await.map_err(|error| cannot("change", &error))
}

fn is_absent(error: &async_nats::Error) -> bool {
    error.downcast_ref::<ConsumerInfoError>().is_some_and(|error| error.kind() == ConsumerInfoErrorKind::NotFound)
}

fn config(durable: &str, source: &SourceSpec, begin: Begin) -> Result<pull::Config, SourceTrouble> {
    let deliver_policy = match begin {
        Begin::As(StartFrom::New) => DeliverPolicy::New,
        Begin::As(StartFrom::All) => DeliverPolicy::All,
        Begin::As(StartFrom::Time(time)) => {
            let nanos = i128::from(time.as_millis()) * 1_000_000;
            let start_time = async_nats::datetime::from_nanos(nanos)
                .map_err(|error| SourceTrouble::new("`from` is no time that the broker knows", error.as_ref()))?;
            DeliverPolicy::ByStartTime { start_time }
        }
        Begin::Behind(floor) => DeliverPolicy::ByStartSequence { start_sequence: floor + 1 },
    };
    Ok(pull::Config {
        durable_name: Some(durable.to_owned()),
        description: Some(format!("Daybook reads the source {} here", source.name)),
        deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: match source.events_per_second {
            Some(_) => MAX_UNACKNOWLEDGED_AT_A_RATE,
            None => MAX_UNACKNOWLEDGED,
        },
        filter_subjects: source.subjects.clone(),
        replay_policy: ReplayPolicy::Instant,
        ..pull::Config::default()
    })
}

fn arrival(message: jetstream::Message) -> Result<ArrivedMessage, SourceTrouble> {
    let (number, at, is_repeated) = match message.info() {
        Ok(info) => {
            (info.stream_sequence, clock::from_nanos(info.published.unix_timestamp_nanos()), info.delivered > 1)
        }
        Err(error) => return Err(SourceTrouble::new("a delivery does not say where it stands", error.as_ref())),
    };
    let (message, acker) = message.split();
    Ok(ArrivedMessage {
        subject: message.subject,
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
        at,
        number,
        is_repeated,
        acker: Some(acker),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_tells_streams_and_mappings_apart() {
        let mark = |created_ns, mapping: &str| mark("ORDERS", created_ns, &mapping.parse().unwrap());
        let known = mark(1_709_294_400_000_000_000, "sale/shop");
        assert_eq!(known, "ORDERS@ff8b3e47", "ids of facts that count already begin so");
        assert_ne!(known, mark(1_709_294_400_000_000_001, "sale/shop"));
        assert_ne!(known, mark(1_709_294_400_000_000_000, "sale/till"));
    }
}
