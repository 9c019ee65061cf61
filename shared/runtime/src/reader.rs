//! Reads the messages of a stream that match one filter, from a position that the caller keeps, in order and without
//! gaps, over reconnects and restarts of the broker.

use crate::append::{Found, Newest, Stored, last_message_for_certain, last_written, next_message, stream_handle};
use crate::backoff::retry;
use crate::clock;
use crate::connection::Connection;
use crate::written::{Message, NotWritten};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::message::Info;
use bytes::Bytes;
use daybook_domain::time::Instant as Stamp;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most bytes that one pull asks for, well below the 64 MiB at which the server drops a connection as too slow.
const PULL_BYTES: usize = 4 << 20;
/// How often the server says that it is still there while there is nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one pull lasts.
const PULL_EXPIRES: Duration = Duration::from_secs(5);
/// How long the server keeps a consumer that nobody pulls from.
const INACTIVE: Duration = Duration::from_secs(15);

/// Consumers in a row that fail without a delivery before a message is fetched by a request of its own.
const FRUITLESS: u32 = 3;

/// How long nothing may come before the stream itself is asked whether there is something.
const QUIET: Duration = Duration::from_secs(4);

/// Within which something is heard of a stream with which all is well, however quiet: [`QUIET`], and time for the answer.
pub const HEARD_WITHIN: Duration = Duration::from_secs(6);

/// A message of the stream.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Stamp,
    pub subject: async_nats::Subject,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// How many matching messages stood behind it when it was delivered.
    pub pending: u64,
}

impl<'m> From<&'m Delivered> for Message<'m> {
    fn from(delivered: &'m Delivered) -> Self {
        Self { subject: &delivered.subject, headers: &delivered.headers, payload: &delivered.payload }
    }
}

/// A reading position in a stream.
pub struct Reader {
    connection: Connection,
    stream: String,
    filters: Vec<String>,
    /// The next sequence wanted.
    next: u64,
    open: Option<Open>,
    /// A consumer that is being made.
    opening: Option<BoxFuture<'static, Open>>,
    /// The next message as it is being asked for by a request of its own.
    fetching: Option<BoxFuture<'static, Option<Delivered>>>,
    /// How often a consumer was made in a row that delivered nothing before it failed.
    fruitless: u32,
    /// When something was delivered, or looked for, last.
    quiet_since: Instant,
    /// When something was delivered, or the leader said that there is nothing more.
    heard: watch::Sender<Instant>,
    pending: u64,
}

struct Open {
    messages: pull::Stream,
    /// What the broker calls the consumer.
    name: String,
    /// The consumer's own count of what it delivered: a jump means that something was lost on the way.
    delivered: u64,
}

impl Reader {
    /// Reads what `filter` matches in `stream`, from `from` on (1 for the beginning).
    pub fn new(connection: &Connection, stream: String, filter: String, from: u64) -> Self {
        Self::with_filters(connection, stream, vec![filter], from)
    }

    /// As [`Reader::new`], with up to three filters: with more the broker becomes slow.
    pub fn with_filters(connection: &Connection, stream: String, filters: Vec<String>, from: u64) -> Self {
        assert!((1..=3).contains(&filters.len()), "{} filters", filters.len());
        Self {
            connection: connection.clone(),
            stream,
            filters,
            next: from.max(1),
            open: None,
            opening: None,
            fetching: None,
            fruitless: 0,
            quiet_since: Instant::now(),
            heard: watch::Sender::new(Instant::now()),
            pending: 0,
        }
    }

    /// The next sequence that will be read, or a later one.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Tells when something was last heard of the stream: a message, or its leader's word that there is none. While the next
    /// message is waited for and all is well, that is less than [`HEARD_WITHIN`] ago.
    pub fn heard(&self) -> watch::Receiver<Instant> {
        self.heard.subscribe()
    }

    /// How many matching messages stood behind the last one when it was delivered.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// The next message, waiting for it as long as it takes.
    ///
    /// Cancel safe: a message is either returned or will be delivered again, and a consumer that is being opened, or a
    /// message that is being fetched, goes on being so with the next call.
    pub async fn next(&mut self) -> Delivered {
        loop {
            let is_in_vain = self.open.is_none() && self.fruitless >= FRUITLESS;
            if (is_in_vain || self.fetching.is_some())
                && let Some(message) = self.fetch().await
            {
                return message;
            }
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let opening = self.opening.get_or_insert_with(|| {
                        let (connection, stream) = (self.connection.clone(), self.stream.clone());
                        open_consumer(connection, stream, self.filters.clone(), self.next).boxed()
                    });
                    let opened = opening.await;
                    self.opening = None;
                    self.fruitless += 1;
                    self.quiet_since = Instant::now();
                    self.open.insert(opened)
                }
            };
            let delivered = tokio::select! {
                item = open.messages.next() => self.accept(item),
                // What was lost on the way with a connection would show at the next delivery only, and there may be none.
                () = tokio::time::sleep_until(self.quiet_since + QUIET) => self.fetch().await,
            };
            if let Some(message) = delivered {
                return message;
            }
        }
    }

    /// Ends the reading. The broker keeps the consumer of a reader that is only dropped for 15 s.
    pub async fn close(self) {
        if let Some(open) = self.open
            && let Ok(stream) = stream_handle(&self.connection, &self.stream).await
        {
            let _ = stream.delete_consumer(&open.name).await;
        }
    }

    /// The next message if it is here already.
    pub fn next_buffered(&mut self) -> Option<Delivered> {
        let item = self.open.as_mut()?.messages.next().now_or_never()?;
        self.accept(item)
    }

    /// Takes a delivery in, or drops the consumer so that the next call makes a new one from `self.next` on.
    fn accept(
        &mut self,
        item: Option<Result<async_nats::jetstream::Message, pull::MessagesError>>,
    ) -> Option<Delivered> {
        let message = match item {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::debug!(stream = self.stream, %error, "reading again from {}", self.next);
                self.open = None;
                return None;
            }
            None => {
                self.open = None;
                return None;
            }
        };
        let open = self.open.as_mut()?;
        let (sequence, delivered, pending, stored_at) = match message.info() {
            Ok(info) => (info.stream_sequence, info.consumer_sequence, info.pending, stamp(&info)),
            Err(error) => {
                tracing::warn!(stream = self.stream, %error, "a delivery without its position");
                self.open = None;
                return None;
            }
        };
        if delivered != open.delivered + 1 {
            tracing::debug!(stream = self.stream, "deliveries were lost; reading again");
            self.open = None;
            return None;
        }
        open.delivered = delivered;
        assert!(sequence >= self.next, "stream {} went back from {} to {sequence}", self.stream, self.next);
        self.next = sequence + 1;
        self.fruitless = 0;
        self.quiet_since = Instant::now();
        self.heard.send_replace(self.quiet_since);
        self.pending = pending;
        let (message, _) = message.split();
        Some(Delivered {
            sequence,
            stored_at,
            subject: message.subject,
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            pending,
        })
    }

    /// The next message by a request of its own. A subject or header that the client library cannot take makes it drop
    /// the connection at every delivery; this way the message is read all the same, and the stream goes on behind it.
    async fn fetch(&mut self) -> Option<Delivered> {
        let fetching = self.fetching.get_or_insert_with(|| {
            let (connection, stream) = (self.connection.clone(), self.stream.clone());
            fetch_next(connection, stream, self.filters.clone(), self.next).boxed()
        });
        let fetched = fetching.await;
        // Nothing is waited for from here on: who gives up waiting before goes on with the same request.
        self.fetching = None;
        self.fruitless = 0;
        self.quiet_since = Instant::now();
        self.heard.send_replace(Instant::now());
        // It may have been delivered meanwhile.
        let message = fetched.filter(|message| message.sequence >= self.next)?;
        tracing::debug!(stream = self.stream, sequence = message.sequence, "read a message that was not delivered");
        // A consumer that is open would deliver it once more.
        self.open = None;
        self.next = message.sequence + 1;
        self.pending = message.pending;
        Some(message)
    }
}

/// The first message at or after `next` that a filter matches, by requests of its own.
async fn fetch_next(connection: Connection, stream: String, filters: Vec<String>, next: u64) -> Option<Delivered> {
    let (connection, stream) = (&connection, &stream);
    let ask = |filter: String| async move { next_message(connection, stream, &filter, next).await };
    let Stored { subject, sequence, stored_at, headers, payload } = first_of(&filters, ask).await?;
    let mut pending = 0;
    for filter in &filters {
        let next = next_message(connection, stream, filter, sequence + 1).await;
        pending += u64::from(next.is_some());
    }
    Some(Delivered { sequence, stored_at, subject: subject.into(), headers, payload, pending })
}

/// The first message that any filter matches; `ask` finds that of one.
async fn first_of<F>(filters: &[String], ask: impl Fn(String) -> F) -> Option<Stored>
where
    F: Future<Output = Option<Stored>>,
{
    for filter in filters {
        let Some(mut first) = ask(filter.clone()).await else { continue };
        // One that was asked before may have got its message since. Now that this one is there, all that stands before it is.
        for other in filters.iter().filter(|other| *other != filter) {
            if let Some(found) = ask(other.clone()).await.filter(|found| found.sequence < first.sequence) {
                first = found;
            }
        }
        return Some(first);
    }
    None
}

/// When the broker stored a message that it delivers.
fn stamp(info: &Info<'_>) -> Stamp {
    clock::from_nanos(info.published.unix_timestamp_nanos())
}

/// Makes a consumer from `next` on, trying until the broker answers.
async fn open_consumer(connection: Connection, stream: String, filters: Vec<String>, next: u64) -> Open {
    retry("open a consumer", || async {
        let stream = stream_handle(&connection, &stream).await?;
        let consumer = stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next },
                ack_policy: AckPolicy::None,
                filter_subjects: filters.clone(),
                memory_storage: true,
                num_replicas: 1,
                inactive_threshold: INACTIVE,
                ..pull::Config::default()
            })
            .await?;
        let messages = consumer
            .stream()
            .max_bytes_per_batch(PULL_BYTES)
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES)
            .messages()
            .await?;
        Ok(Open { messages, name: consumer.cached_info().name.clone(), delivered: 0 })
    })
    .await
}

/// Everything that a filter matches now, in order, from `from` on.
pub async fn read_all(connection: &Connection, stream: String, filter: String, from: u64) -> Vec<Delivered> {
    let Some(last) = last_message_for_certain(connection, &stream, &filter).await else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if last.sequence < from {
        return all;
    }
    let mut reader = Reader::new(connection, stream, filter, from);
    loop {
        let message = reader.next().await;
        let done = message.sequence >= last.sequence;
        all.push(message);
        if done {
            reader.close().await;
            return all;
        }
    }
}

/// Everything that a filter matches up to the sequence `through`, in order. It must match what stands there: until the broker
/// tells of that, it is waited for, so that one which is not up to date or going down never makes this shorter.
pub async fn read_through(connection: &Connection, stream: String, filter: String, through: u64) -> Vec<Delivered> {
    let mut all = Vec::new();
    if through == 0 {
        return all;
    }
    let mut reader = Reader::new(connection, stream, filter, 1);
    loop {
        let message = reader.next().await;
        let is_last = message.sequence >= through;
        all.extend(Some(message).filter(|message| message.sequence <= through));
        if is_last {
            return all;
        }
    }
}

/// The newest message of every subject that a filter matches now, in order of their sequences.
///
/// Nothing is missing that the stream's leader had when it was asked: readings by a consumer that do not reach as far are
/// made again, for as long as it takes.
pub async fn read_last_per_subject(connection: &Connection, stream: String, filter: String) -> Vec<Delivered> {
    read_of_newest(connection, stream, filter, |message| message).await
}

/// As [`read_last_per_subject`], of each message only what `take` makes of it: the whole of them may be large.
pub async fn read_of_newest<T>(
    connection: &Connection,
    stream: String,
    filter: String,
    take: impl Fn(Delivered) -> T,
) -> Vec<T> {
    retry("read the newest messages", || async {
        // A consumer has one replica, which the broker may put where not everything is yet. So the leader is asked how far
        // there is something to read, and anew with each attempt: what it told of last may have been removed since.
        let Some(last) = last_message_for_certain(connection, &stream, &filter).await else { return Ok(Vec::new()) };
        let (newest, reached) = read_by_consumer(connection, &stream, &filter, &take).await?;
        match reached >= last.sequence {
            true => Ok(newest),
            false => Err(format!("a replica of {stream} tells of {reached}, but not yet of {}", last.sequence).into()),
        }
    })
    .await
}

/// The newest message that `read` takes for a service's, of every subject that a filter matches now, in order of their last
/// sequences. What is foreign is noted and passed over.
///
/// # Errors
/// When a message is a service's, but cannot be read.
pub async fn read_newest_written<T>(
    connection: &Connection,
    stream: String,
    filter: String,
    read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
) -> Result<Vec<(String, Newest<T>)>, NotWritten> {
    let lasts = read_of_newest(connection, stream.clone(), filter, |message| {
        let (sequence, stored_at) = (message.sequence, message.stored_at);
        let found = read((&message).into()).map(|value| Found { sequence, stored_at, value });
        (message.subject.to_string(), sequence, found)
    });
    let mut newest = Vec::new();
    for (subject, end, found) in lasts.await {
        let of_subject = match found {
            Ok(found) => Newest { end, found: Some(found) },
            Err(why @ NotWritten::Unreadable(_)) => return Err(why),
            Err(NotWritten::Foreign(_)) => last_written(connection, &stream, &subject, &read).await?,
        };
        newest.push((subject, of_subject));
    }
    Ok(newest)
}

/// What `take` makes of the newest message of every subject, as some replica of the stream has them, and the highest of
/// their sequences.
async fn read_by_consumer<T>(
    connection: &Connection,
    stream: &str,
    filter: &str,
    take: impl Fn(Delivered) -> T,
) -> Result<(Vec<T>, u64), async_nats::Error> {
    let handle = stream_handle(connection, stream).await?;
    let mut consumer = handle
        .create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: filter.to_owned(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE,
            ..pull::Config::default()
        })
        .await?;
    let (name, count) = {
        let info = consumer.info().await?;
        (info.name.clone(), info.num_pending)
    };
    let newest = drain(&consumer, count, &take).await;
    // A broker allows a thousand consumers a stream; this one is not waited out.
    let _ = handle.delete_consumer(&name).await;
    newest
}

/// What `take` makes of the `count` messages that a consumer delivers, and the sequence of the last of them.
async fn drain<T>(
    consumer: &Consumer<pull::Config>,
    count: u64,
    take: impl Fn(Delivered) -> T,
) -> Result<(Vec<T>, u64), async_nats::Error> {
    let mut newest = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    if count == 0 {
        return Ok((newest, 0));
    }
    let mut messages =
        consumer.stream().max_bytes_per_batch(PULL_BYTES).heartbeat(HEARTBEAT).expires(PULL_EXPIRES).messages().await?;
    while let Some(message) = tokio::time::timeout(QUIET, messages.next()).await? {
        let message = message?;
        let (sequence, pending, delivered, stored_at) = {
            let info = message.info()?;
            (info.stream_sequence, info.pending, info.consumer_sequence, stamp(&info))
        };
        if delivered != newest.len() as u64 + 1 {
            return Err("deliveries were lost".into());
        }
        let (message, _) = message.split();
        newest.push(take(Delivered {
            sequence,
            stored_at,
            subject: message.subject,
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            pending,
        }));
        if pending == 0 {
            return Ok((newest, sequence));
        }
    }
    Err("the newest messages were not delivered".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn stored(sequence: u64) -> Stored {
        let (subject, stored_at) = (String::new(), Stamp::from_millis(0));
        Stored { subject, sequence, stored_at, headers: HeaderMap::new(), payload: Bytes::new() }
    }

    /// What is found when two messages are stored after each request, by the index of the filter that matches them.
    fn first_while_storing(messages: &[usize]) -> Option<u64> {
        let filters = ["0", "1", "2"].map(str::to_owned);
        let asked = RefCell::new(0);
        let ask = |filter: String| {
            let there = messages.iter().take(2 * asked.replace_with(|asked| *asked + 1)).zip(1..);
            let found = there.filter(|(of, _)| of.to_string() == filter).map(|(_, sequence)| stored(sequence)).next();
            std::future::ready(found)
        };
        first_of(&filters, ask).now_or_never().unwrap().map(|found| found.sequence)
    }

    #[test]
    fn nothing_that_is_stored_between_two_requests_is_passed_over() {
        assert_eq!(first_while_storing(&[0, 0, 0, 0]), None, "the next look finds it");
        assert_eq!(first_while_storing(&[0, 1, 0, 0]), Some(1));
        for messages in (0..81).map(|n| [n % 3, n / 3 % 3, n / 9 % 3, n / 27 % 3]) {
            assert!(first_while_storing(&messages).is_none_or(|first| first == 1), "{messages:?}");
        }
    }
}
