//! A message of a source, on its way to INBOX, and what keeps a source from being read.

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use daybook_domain::time::Instant;
use std::error::Error;

/// Longest text that tells why a source takes nothing, in bytes.
const MAX_TROUBLE_BYTES: usize = 240;

/// Why a source takes nothing, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceTrouble(pub String);

impl SourceTrouble {
    /// `what` went wrong, and each cause of it that says something new; cut where it is long.
    pub fn new(what: &str, error: &dyn Error) -> Self {
        let mut text = what.to_owned();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let told = error.to_string();
            if !text.contains(&told) {
                text.push_str(": ");
                text.push_str(&told);
            }
            cause = error.source();
        }
        Self::told(text)
    }

    pub fn told(mut text: String) -> Self {
        let end = (0..=MAX_TROUBLE_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        Self(text)
    }
}

/// A message as it came.
pub struct ArrivedMessage {
    pub subject: Subject,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// When its stream stored it, or when it was heard.
    pub at: Instant,
    /// Its sequence in the stream, or how many messages were heard before it.
    pub number: u64,
    /// The broker has delivered it before.
    pub is_repeated: bool,
    /// What its stream waits for; none on core subjects.
    pub acker: Option<Acker>,
}

impl ArrivedMessage {
    /// Tells the stream that everything of the message is durable. If this is lost, the message is delivered again.
    pub async fn acknowledge(&self) {
        if let Some(acker) = &self.acker {
            let _ = acker.ack().await;
        }
    }

    /// The same, and waits until the stream confirms it; on core subjects there is nothing to wait for.
    ///
    /// # Errors
    /// When the stream does not confirm it in time, as for a user who must not acknowledge.
    pub async fn acknowledge_for_certain(&self) -> Result<(), SourceTrouble> {
        let Some(acker) = &self.acker else { return Ok(()) };
        let confirmed = acker.double_ack().await;
        confirmed.map_err(|error| {
            let what = "the stream confirms no acknowledgement, so it delivers the same messages again and again; \
                        the source's user must be allowed to publish to $JS.ACK.>";
            SourceTrouble::new(what, error.as_ref())
        })
    }

    /// Tells the stream that the message waits for its turn, so that it is not delivered again meanwhile.
    pub async fn hold(&self) {
        if let Some(acker) = &self.acker {
            let _ = acker.ack_with(AckKind::Progress).await;
        }
    }

    /// Gives the message back, so that the stream delivers it again at once.
    pub async fn give_back(&self) {
        if let Some(acker) = &self.acker {
            let _ = acker.ack_with(AckKind::Nak(None)).await;
        }
    }
}
