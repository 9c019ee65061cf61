//! Publishes to INBOX, and knows when everything is durable there.

use crate::arrival::SourceTrouble;
use crate::publication::Publication;
use async_nats::HeaderMap;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use daybook_contracts::event::Problem;
use daybook_contracts::headers;
use daybook_contracts::reject::Code;
use daybook_runtime::connection::{ACK_TIMEOUT, Connection};
use daybook_runtime::inbox::Refusal;
use daybook_runtime::telemetry;
use std::collections::VecDeque;
use std::future::IntoFuture;
use tracing::Span;

/// Messages published and not acknowledged yet, at most.
const WINDOW: usize = 1_024;
/// Bytes published and not acknowledged yet, at most; one longer message goes by itself.
const WINDOW_BYTES: usize = 16 << 20;

/// Publishes what a source makes.
pub struct InboxPublisher {
    connection: Connection,
    jetstream: Context,
}

/// INBOX does not take what it is sent, for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked(pub SourceTrouble);

impl InboxPublisher {
    pub fn new(connection: &Connection) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(2 * WINDOW)
            .build(connection.client.clone());
        Self { connection: connection.clone(), jetstream }
    }

    /// Publishes all that waits, in order, and returns when it is durable. What is durable leaves `waiting`.
    ///
    /// Should one be refused, it and all behind it stay, and are published again with the next call: so the last event of an entity stays
    /// the last one. INBOX may have some of them already; those are duplicates by their ids.
    ///
    /// # Errors
    /// When INBOX is full, or the broker does not answer.
    pub async fn publish(&self, waiting: &mut VecDeque<Publication>, span: &Span) -> Result<(), Blocked> {
        let mut sent: VecDeque<PublishAckFuture> = VecDeque::new();
        let mut sent_bytes = 0;
        while !waiting.is_empty() {
            while let Some(next) = waiting.get(sent.len())
                && sent.len() < WINDOW
                && (sent.is_empty() || sent_bytes + next.bytes() <= WINDOW_BYTES)
            {
                let (is_first, bytes) = (sent.is_empty(), next.bytes());
                match self.send(next, is_first.then_some(span)).await {
                    Ok(ack) => {
                        sent.push_back(ack);
                        sent_bytes += bytes;
                    }
                    Err(error) if is_first && is_too_large(&error) => shorten(&mut waiting[0], &error),
                    // Waits until those before it are durable, and meets the error again.
                    Err(error) if is_first => return Err(blocked(&error)),
                    Err(_) => break,
                }
            }
            let Some(oldest) = sent.pop_front() else { continue };
            match oldest.into_future().await {
                Ok(_) => {
                    let durable = waiting.pop_front().expect("what was sent waits until it is durable");
                    sent_bytes -= durable.bytes();
                }
                Err(error) if is_too_large(&error) => {
                    shorten(&mut waiting[0], &error);
                    sent.clear();
                    sent_bytes = 0;
                }
                Err(error) => return Err(blocked(&error)),
            }
        }
        Ok(())
    }

    /// The first message of many carries the trace.
    async fn send(&self, publication: &Publication, span: Option<&Span>) -> Result<PublishAckFuture, PublishError> {
        let mut headers = HeaderMap::new();
        if let Some(why) = &publication.unmapped {
            headers.insert(headers::UNMAPPED, why.as_str());
        }
        if let Some(span) = span {
            telemetry::inject(span, &mut headers);
        }
        let subject = self.connection.subjects.input(&publication.tenant, publication.kind.as_str());
        let message = PublishMessage::build().headers(headers).payload(publication.payload());
        self.jetstream.send_publish(subject, message).await
    }
}

/// Trying again does not help: the message must be another one.
fn is_too_large(error: &PublishError) -> bool {
    Refusal::judge(error) == Refusal::TooLarge
}

fn shorten(publication: &mut Publication, error: &PublishError) {
    let reason = format!("{} bytes of events are too large for the broker: {error}", publication.bytes());
    let problem = Problem::new(Code::TooLarge, None, reason);
    publication.shorten(serde_json::to_string(&problem).expect("a problem is plain values"));
}

fn blocked(error: &PublishError) -> Blocked {
    let what = match Refusal::judge(error) {
        Refusal::Full => "INBOX is full, and takes what waits when there is room",
        _ => "cannot publish to INBOX",
    };
    Blocked(SourceTrouble::new(what, error))
}
