//! Outputs that are written exactly once, however often the log is replayed.
//!
//! Each message has a position in its subject's own order (a report's version, a log position), kept in a header.
//! Before writing after a restart or a conflict, the outbox looks at the newest message of the subject that a shard wrote: what
//! stands at or before its position is there already. Where nothing stands and the stream has let go of what is as old as the message's
//! origin, it was there: a replay of a long log does not write again what retention removed.
//!
//! [`Lanes`] say which output is written next, and [`Writing`] says what to do for one; both are pure.

mod deletion;
pub mod lanes;
pub mod writing;

pub use deletion::Deletion;

use crate::append::{Appended, Found, Newest, append, last_written};
use crate::backoff::retry;
use crate::connection::Connection;
use crate::kept::Kept;
use crate::written;
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::headers;
use daybook_domain::time::Instant;
use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesUnordered;
use lanes::{Entry, Lanes};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant as Timer;
use tokio_util::sync::CancellationToken;
use writing::{End, Heard, Next, Writing};

/// Most messages under way at once.
const MAX_IN_FLIGHT: usize = 1_000;
/// How long what a stream keeps is taken to be as it said.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// A message to be written once.
#[derive(Clone, Debug)]
pub struct Output {
    pub stream: String,
    pub subject: String,
    /// Where it stands in its subject's order; later outputs of a subject have greater positions.
    pub position: u64,
    /// The first of its subject, as far as the writer knows: no look-up is made before trying.
    pub first: bool,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Task {
    Write(Output),
    /// Begins when everything is written that was handed in before.
    Delete(Deletion),
}

/// Where outputs are handed in. Outputs of one subject are written in the order they came.
#[derive(Clone)]
pub struct Outbox {
    sender: mpsc::UnboundedSender<(Instant, Task)>,
    /// How many were handed in, and how many are written.
    accepted: std::sync::Arc<std::sync::atomic::AtomicU64>,
    written: watch::Receiver<u64>,
}

impl Outbox {
    /// Starts the writer, which ends when every handle is dropped or `stop` is cancelled.
    pub fn start(connection: Connection, stop: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (written_sender, written) = watch::channel(0);
        tokio::spawn(async move {
            let shelves = Arc::new(Shelves { connection, kept: Mutex::default() });
            tokio::select! {
                () = run(shelves, receiver, written_sender) => {}
                () = stop.cancelled() => {}
            }
        });
        Self { sender, accepted: std::sync::Arc::default(), written }
    }

    /// Hands a task in. The caller bounds what is under way with [`Outbox::backlog`]. `stored_at` is when the broker stored
    /// what it is made of, and so about when it was written first.
    pub fn put(&self, task: Task, stored_at: Instant) {
        self.accepted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // The writer only goes away when the service stops; then nothing is lost, for the log is replayed.
        let _ = self.sender.send((stored_at, task));
    }

    /// How many messages were handed in so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// How many messages are not written yet.
    pub fn backlog(&self) -> u64 {
        self.accepted().saturating_sub(*self.written.borrow())
    }

    /// Waits until at most `limit` messages are not written. False when the writer is gone.
    pub async fn wait_for_backlog(&self, limit: u64) -> bool {
        let mut written = self.written.clone();
        written.wait_for(|written| self.accepted().saturating_sub(*written) <= limit).await.is_ok()
    }

    /// Waits until the first `count` messages that were handed in are written. False when the writer is gone.
    pub async fn wait_for_written(&self, count: u64) -> bool {
        let mut written = self.written.clone();
        written.wait_for(|written| *written >= count).await.is_ok()
    }
}

async fn run(
    shelves: Arc<Shelves>,
    mut receiver: mpsc::UnboundedReceiver<(Instant, Task)>,
    written: watch::Sender<u64>,
) {
    let mut under_way = FuturesUnordered::new();
    let mut lanes = Lanes::default();
    loop {
        while under_way.len() < MAX_IN_FLIGHT
            && let Some((entry, end)) = lanes.next_write()
        {
            let shelves = shelves.clone();
            under_way.push(Either::Left(async move {
                let end = write(&shelves, &entry, end).await;
                (entry.ticket, Some((entry.output.subject, end)))
            }));
        }
        if let Some((ticket, deletion)) = lanes.next_deletion() {
            let connection = shelves.connection.clone();
            under_way.push(Either::Right(async move {
                deletion.carry_out(&connection).await;
                (ticket, None)
            }));
        }
        tokio::select! {
            task = receiver.recv() => match task {
                Some((stored_at, task)) => lanes.put(stored_at, task),
                None => return,
            },
            Some((ticket, end)) = under_way.next() => {
                match end {
                    Some((subject, end)) => lanes.wrote(ticket, subject, end),
                    None => lanes.deleted(ticket),
                }
                written.send_replace(lanes.done());
            }
        }
    }
}

/// What the streams keep that outputs are written to.
struct Shelves {
    connection: Connection,
    /// By stream, as it said not long ago.
    kept: Mutex<HashMap<String, (Timer, Kept)>>,
}

impl Shelves {
    /// Whether `stream` has removed what was stored then. Tries until the broker answers.
    async fn has_let_go(&self, stream: &str, stored_at: Instant) -> bool {
        // Held while the broker is asked: others wait for the same answer.
        let mut kept = self.kept.lock().await;
        let known = kept.get(stream).filter(|(at, _)| at.elapsed() < KEPT_FOR);
        if let Some((_, known)) = known {
            return known.has_let_go(stored_at);
        }
        let told = retry("ask what a stream keeps", || Kept::ask(&self.connection, stream)).await;
        let has_let_go = told.has_let_go(stored_at);
        kept.insert(stream.to_owned(), (Timer::now(), told));
        has_let_go
    }
}

/// Writes one output, however long it takes, and tells how its subject ends now.
async fn write(shelves: &Shelves, entry: &Entry, known: Option<End>) -> End {
    let (connection, output) = (&shelves.connection, &entry.output);
    let (mut writing, mut next) = Writing::begin(output, known);
    loop {
        let heard = match next {
            Next::LookUp { pause } => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                Heard::End(look_up(connection, output).await)
            }
            Next::AskWhatIsKept => {
                Heard::Kept { has_let_go: shelves.has_let_go(&output.stream, entry.stored_at).await }
            }
            Next::Append { expected } => try_append(connection, output, expected).await,
            Next::Written(end) => {
                metrics::counter!("daybook_outputs_written_total").increment(1);
                return end;
            }
            Next::Skipped(end) => {
                metrics::counter!("daybook_outputs_skipped_total").increment(1);
                return end;
            }
        };
        next = writing.heard(heard);
    }
}

async fn try_append(connection: &Connection, output: &Output, expected: u64) -> Heard {
    let mut headers = output.headers.clone();
    headers.insert(headers::POSITION, output.position.to_string());
    match append(connection, &output.subject, expected, headers, output.payload.clone()).await {
        Appended::At(sequence) => Heard::Stored(sequence),
        Appended::Conflict => Heard::Conflict,
        Appended::Unclear(error) => {
            tracing::warn!(subject = output.subject, %error, "an output's fate is unclear; looking at its subject");
            Heard::Unclear
        }
    }
}

async fn look_up(connection: &Connection, output: &Output) -> End {
    let newest = last_written(connection, &output.stream, &output.subject, |message| {
        let position = written::position(&connection.subjects, message)?;
        Ok((position, message.headers.get(headers::HASH).cloned()))
    });
    match newest.await {
        Ok(Newest { end, found: None }) => End { sequence: end, position: None },
        Ok(Newest { end, found: Some(Found { value: (position, hash), .. }) }) => {
            let same_hash = hash.zip(output.headers.get(headers::HASH)).is_none_or(|(stored, ours)| stored == *ours);
            if position == output.position && !same_hash {
                metrics::counter!("daybook_divergence_total").increment(1);
                tracing::error!(
                    subject = output.subject,
                    position,
                    "a replay made another report than the one that was sealed"
                );
            }
            End { sequence: end, position: Some(position) }
        }
        // What a newer version wrote there has a position all the same.
        Err(_) => unreachable!("a position is read without the content"),
    }
}
