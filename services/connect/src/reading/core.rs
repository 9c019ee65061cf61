//! Core subjects. Nobody stores their messages: what comes while nobody listens, or faster than INBOX takes it, is lost. Processes
//! share a queue group, so each message is heard once.

use super::SourceProgress;
use crate::arrival::{ArrivedMessage, SourceTrouble};
use crate::sources::SourceSpec;
use async_nats::Message;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use futures::StreamExt;
use futures::stream::SelectAll;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Messages that wait in this process, at most; further ones are dropped and counted.
const MAX_WAITING: usize = 16_384;
/// Bytes that they take at most.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// What a message takes beside its payload, subject and headers.
const MESSAGE_BYTES: usize = 256;

pub struct CoreReading {
    waiting: mpsc::Receiver<Waiting>,
    listening: JoinHandle<()>,
    /// Cancelled when no further message is wanted.
    enough: CancellationToken,
    dropped: Arc<AtomicU64>,
    mark: String,
    number: u64,
}

/// A message that was heard, and the room that it takes.
struct Waiting {
    message: Message,
    heard_at: Instant,
    _room: OwnedSemaphorePermit,
}

impl Drop for CoreReading {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl CoreReading {
    pub(super) async fn open(connection: Connection, source: &SourceSpec) -> Result<Self, SourceTrouble> {
        let group = format!("{}-connect-{}", connection.subjects.prefix(), source.name);
        let mut subscriptions = SelectAll::new();
        for subject in &source.subjects {
            let subscribed = connection.client.queue_subscribe(subject.clone(), group.clone()).await;
            let subscribed =
                subscribed.map_err(|error| SourceTrouble::new(&format!("cannot listen on {subject}"), &error));
            subscriptions.push(subscribed?);
        }
        tracing::info!(source = %source.name, subjects = ?source.subjects, "listening on core subjects");
        // An inbox of the client's is a name that no other has.
        let unique = blake3::hash(connection.client.new_inbox().as_bytes()).to_hex();
        let mark = format!("{}@{}", source.name, &unique[..16]);
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let enough = CancellationToken::new();
        let listening = tokio::spawn(listen(connection, subscriptions, sender, dropped.clone(), enough.clone()));
        Ok(Self { waiting, listening, enough, dropped, mark, number: 0 })
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    pub(super) async fn next(&mut self) -> Result<ArrivedMessage, SourceTrouble> {
        match self.waiting.recv().await {
            Some(waiting) => Ok(self.arrival(waiting)),
            None => Err(SourceTrouble::told("the connection to the source's broker is closed".to_owned())),
        }
    }

    pub(super) fn next_buffered(&mut self) -> Option<ArrivedMessage> {
        let waiting = self.waiting.try_recv().ok()?;
        Some(self.arrival(waiting))
    }

    pub(super) fn stop_listening(&mut self) {
        self.enough.cancel();
    }

    pub(super) fn look(&mut self) -> SourceProgress {
        SourceProgress { lag: None, dropped: self.dropped.swap(0, Ordering::Relaxed) }
    }

    fn arrival(&mut self, waiting: Waiting) -> ArrivedMessage {
        let Waiting { message, heard_at, .. } = waiting;
        let number = self.number;
        self.number += 1;
        ArrivedMessage {
            subject: message.subject,
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            at: heard_at,
            number,
            is_repeated: false,
            acker: None,
        }
    }
}

/// Takes messages off the subscriptions at once, so that what waits has the bounds of this file rather than the client library's.
async fn listen(
    _connection: Connection,
    mut subscriptions: SelectAll<async_nats::Subscriber>,
    sender: mpsc::Sender<Waiting>,
    dropped: Arc<AtomicU64>,
    enough: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
    let mut is_draining = false;
    loop {
        let next = tokio::select! {
            next = subscriptions.next() => next,
            () = enough.cancelled(), if !is_draining => {
                is_draining = true;
                // What the broker has sent until it hears of this still comes, and then each subscription ends.
                for subscription in &mut subscriptions {
                    let _ = subscription.drain().await;
                }
                continue;
            }
        };
        let Some(message) = next else { return };
        let bytes = u32::try_from(message.length + MESSAGE_BYTES).unwrap_or(u32::MAX);
        match (room.clone().try_acquire_many_owned(bytes), sender.try_reserve()) {
            (Ok(room), Ok(place)) => place.send(Waiting { message, heard_at: clock::now(), _room: room }),
            (_, Err(mpsc::error::TrySendError::Closed(()))) => return,
            (_, Err(mpsc::error::TrySendError::Full(()))) | (Err(_), Ok(_)) => {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
