//! Publishes messages into INBOX, a bounded number ahead of their confirmations.

use super::intake::Batch;
use crate::problem::{Code, Problem};
use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use daybook_contracts::headers;
use daybook_domain::catalogue::Mode;
use daybook_runtime::connection::{ACK_TIMEOUT, Connection};
use daybook_runtime::inbox::Refusal;
use daybook_runtime::telemetry;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Most messages that are published and not confirmed yet, of one request: some MiB.
const MAX_AHEAD: usize = 8;
/// How long a stream of events waits for a full INBOX: ingest has a moment to make room.
pub(crate) const STREAM_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before messages are published again to an INBOX that was full.
const PAUSE: Duration = Duration::from_millis(100);
/// When a client is to try again.
const COME_BACK: Duration = Duration::from_secs(1);

/// Publishes for one request.
pub(crate) struct Publisher {
    connection: Connection,
    subject: String,
    mode: Mode,
    /// How long a full INBOX is waited for.
    patience: Duration,
    /// Since when INBOX has been full.
    full_since: Option<Instant>,
    waiting: VecDeque<Sent>,
    /// Events that the broker has confirmed.
    pub(crate) durable: u64,
    /// The greatest sequence of INBOX so far.
    pub(crate) position: Option<u64>,
}

/// A message that is not confirmed yet.
struct Sent {
    batch: Batch,
    ack: PublishAckFuture,
}

impl Publisher {
    /// `patience` is how long a full INBOX is waited for before the request fails.
    pub(crate) fn new(connection: &Connection, subject: String, mode: Mode, patience: Duration) -> Self {
        let connection = connection.clone();
        Self {
            connection,
            subject,
            mode,
            patience,
            full_since: None,
            waiting: VecDeque::new(),
            durable: 0,
            position: None,
        }
    }

    /// Publishes a message; waits while too many are not confirmed.
    ///
    /// # Errors
    /// The broker refused a message or did not confirm it in time.
    pub(crate) async fn publish(&mut self, batch: Batch) -> Result<(), Problem> {
        while self.waiting.len() >= MAX_AHEAD {
            self.confirm_one().await?;
        }
        self.send(batch).await
    }

    /// Waits for all confirmations. After an error too, so that what is durable is counted.
    ///
    /// # Errors
    /// The first message that was refused or not confirmed in time.
    pub(crate) async fn finish(&mut self) -> Result<(), Problem> {
        let mut outcome = Ok(());
        while !self.waiting.is_empty() {
            let confirmed = self.confirm_one().await;
            outcome = outcome.and(confirmed);
        }
        outcome
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(headers::CONTENT_TYPE, headers::JSON);
        telemetry::inject(&tracing::Span::current(), &mut headers);
        let message = PublishMessage::build().headers(headers).payload(batch.payload.clone());
        let sending = self.connection.jetstream.send_publish(self.subject.clone(), message);
        match tokio::time::timeout(ACK_TIMEOUT, sending).await {
            Ok(Ok(ack)) => self.waiting.push_back(Sent { batch, ack }),
            Ok(Err(error)) => return Err(refusal(&error)),
            Err(_) => return Err(unconfirmed("the broker cannot be reached")),
        }
        Ok(())
    }

    /// Waits for the oldest message to be confirmed. One that INBOX had no room for is sent again, with what must follow it.
    async fn confirm_one(&mut self) -> Result<(), Problem> {
        let Some(Sent { batch, ack }) = self.waiting.pop_front() else { return Ok(()) };
        let problem = match ack.await {
            Ok(ack) => {
                self.full_since = None;
                self.confirmed(&batch, ack.sequence);
                return Ok(());
            }
            Err(error) => refusal(&error),
        };
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if problem.code != Code::Full || since.elapsed() >= self.patience {
            return Err(problem);
        }
        let mut again = vec![batch];
        self.drain(&mut again).await?;
        tokio::time::sleep(PAUSE).await;
        for batch in again {
            self.send(batch).await?;
        }
        Ok(())
    }

    /// Waits for what was sent behind a message that INBOX had no room for, and adds what is to be sent again. Of entities that
    /// is everything, so that an older state does not come after a newer one: their ids count them once. Facts have no order,
    /// and may have no id, so what is durable is not sent again.
    async fn drain(&mut self, again: &mut Vec<Batch>) -> Result<(), Problem> {
        while let Some(Sent { batch, ack }) = self.waiting.pop_front() {
            match ack.await {
                Ok(_) if self.mode == Mode::Entity => again.push(batch),
                Ok(ack) => self.confirmed(&batch, ack.sequence),
                Err(error) => match refusal(&error) {
                    problem if problem.code == Code::Full => again.push(batch),
                    problem => return Err(problem),
                },
            }
        }
        Ok(())
    }

    fn confirmed(&mut self, batch: &Batch, sequence: u64) {
        self.durable += u64::from(batch.events);
        self.position = self.position.max(Some(sequence));
    }
}

/// The problem for a message that the broker did not take.
fn refusal(error: &PublishError) -> Problem {
    match Refusal::judge(error) {
        Refusal::Full => {
            metrics::counter!("daybook_http_inbox_full_total").increment(1);
            Problem::new(Code::Full, "the buffer for events of this tenant and kind is full")
                .hint("send the same request again after the pause; events with an id count once")
                .retry_after(COME_BACK)
        }
        Refusal::TooLarge => Problem::new(Code::TooLarge, "a message of events is larger than the broker takes").hint(
            "send smaller events; if they are small, the operator sets --tenant-payload-bytes to what the broker takes",
        ),
        Refusal::Late => unconfirmed("the broker did not confirm in time"),
        Refusal::Other => unconfirmed("the broker did not take the events"),
    }
}

fn unconfirmed(what: &str) -> Problem {
    Problem::new(Code::Unavailable, format!("{what}; some events may be durable all the same"))
        .hint("send the same request again; events with an id count once")
}
