//! Outputs that are written exactly once, however often the log is replayed.
//!
//! Each message has a position in its subject's own order (a report's version, a log position), kept in a header.
//! Before writing after a restart or a conflict, the outbox looks at the subject's last message: what stands at or
//! before that position is there already.

use crate::append::{Appended, append, header_number, last_message};
use crate::connection::Connection;
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::headers;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Most messages under way at once.
const MAX_IN_FLIGHT: usize = 1_000;
/// Most subjects whose last sequence is remembered; beyond it, it is looked up again.
const MAX_REMEMBERED: usize = 100_000;

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

/// Where outputs are handed in. Outputs of one subject are written in the order they came.
#[derive(Clone)]
pub struct Outbox {
    sender: mpsc::UnboundedSender<Output>,
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
            let writer =
                Writer { connection, remembered: HashMap::new(), lanes: HashMap::new(), waiting: VecDeque::new() };
            tokio::select! {
                () = writer.run(receiver, written_sender) => {}
                () = stop.cancelled() => {}
            }
        });
        Self { sender, accepted: std::sync::Arc::default(), written }
    }

    /// Hands a message in. The caller bounds what is under way with [`Outbox::backlog`].
    pub fn put(&self, output: Output) {
        self.accepted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // The writer only goes away when the service stops; then nothing is lost, for the log is replayed.
        let _ = self.sender.send(output);
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

/// What is known of the end of a subject.
#[derive(Clone, Copy)]
struct End {
    sequence: u64,
    position: Option<u64>,
}

struct Writer {
    connection: Connection,
    remembered: HashMap<String, End>,
    /// By subject, the messages that wait for the one under way.
    lanes: HashMap<String, VecDeque<(u64, Output)>>,
    waiting: VecDeque<(u64, Output)>,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Output>, written: watch::Sender<u64>) {
        let mut under_way = FuturesUnordered::new();
        let mut ticket = 0_u64;
        let mut done = Done::default();
        loop {
            while under_way.len() < MAX_IN_FLIGHT
                && let Some((ticket, output)) = self.waiting.pop_front()
            {
                let end = self.remembered.remove(&output.subject);
                let connection = self.connection.clone();
                under_way.push(async move { (ticket, output.subject.clone(), write(&connection, &output, end).await) });
            }
            tokio::select! {
                entry = receiver.recv() => match entry {
                    Some(output) => {
                        ticket += 1;
                        self.enter(ticket, output);
                    }
                    None => return,
                },
                Some((ticket, subject, end)) = under_way.next() => {
                    if self.remembered.len() >= MAX_REMEMBERED {
                        self.remembered.clear();
                    }
                    self.remembered.insert(subject.clone(), end);
                    self.leave(&subject);
                    written.send_replace(done.finish(ticket));
                }
            }
        }
    }

    fn enter(&mut self, ticket: u64, output: Output) {
        match self.lanes.get_mut(&output.subject) {
            Some(lane) => lane.push_back((ticket, output)),
            None => {
                self.lanes.insert(output.subject.clone(), VecDeque::new());
                self.waiting.push_back((ticket, output));
            }
        }
    }

    fn leave(&mut self, subject: &str) {
        let next = self.lanes.get_mut(subject).and_then(VecDeque::pop_front);
        match next {
            Some(next) => self.waiting.push_back(next),
            None => {
                self.lanes.remove(subject);
            }
        }
    }
}

/// Writes one output, however long it takes, and tells how its subject ends now.
async fn write(connection: &Connection, output: &Output, known: Option<End>) -> End {
    let mut end = match known {
        Some(end) => end,
        None if output.first => End { sequence: 0, position: None },
        None => look_up(connection, output).await,
    };
    let mut pause = Duration::from_millis(20);
    loop {
        if end.position.is_some_and(|position| position >= output.position) {
            metrics::counter!("daybook_outputs_skipped_total").increment(1);
            return end;
        }
        let mut headers = output.headers.clone();
        headers.insert(headers::POSITION, output.position.to_string());
        match append(connection, &output.subject, end.sequence, headers, output.payload.clone()).await {
            Appended::At(sequence) => {
                metrics::counter!("daybook_outputs_written_total").increment(1);
                return End { sequence, position: Some(output.position) };
            }
            Appended::Conflict => {}
            Appended::Unclear(error) => {
                tracing::warn!(subject = output.subject, %error, "an output's fate is unclear; looking at its subject");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
        end = look_up(connection, output).await;
    }
}

async fn look_up(connection: &Connection, output: &Output) -> End {
    match last_message(connection, &output.stream, &output.subject).await {
        None => End { sequence: 0, position: None },
        Some(message) => {
            let position = header_number(&message.headers, headers::POSITION);
            let same_hash = match (message.headers.get(headers::HASH), output.headers.get(headers::HASH)) {
                (Some(stored), Some(ours)) => stored == ours,
                _ => true,
            };
            if position == Some(output.position) && !same_hash {
                metrics::counter!("daybook_divergence_total").increment(1);
                tracing::error!(
                    subject = output.subject,
                    position = output.position,
                    "a replay made another report than the one that was sealed"
                );
            }
            End { sequence: message.sequence, position }
        }
    }
}

/// Counts how many of the first tickets are done without a hole.
#[derive(Default)]
struct Done {
    through: u64,
    beyond: std::collections::BTreeSet<u64>,
}

impl Done {
    fn finish(&mut self, ticket: u64) -> u64 {
        self.beyond.insert(ticket);
        while self.beyond.remove(&(self.through + 1)) {
            self.through += 1;
        }
        self.through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn done_counts_only_what_has_no_hole_before_it() {
        let mut done = Done::default();
        assert_eq!(done.finish(2), 0);
        assert_eq!(done.finish(1), 2);
        assert_eq!(done.finish(3), 3);
    }
}
