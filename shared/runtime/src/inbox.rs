//! Why INBOX did not take a message.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use std::error::Error as _;

/// What the publisher of a refused message can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// INBOX has no room, for all or for this tenant and kind. The same message is taken once there is room.
    Full,
    /// The message is larger than the broker or INBOX takes. The same message is never taken.
    TooLarge,
    /// The broker did not confirm the message in time; it may be durable all the same.
    Late,
    /// Anything else, such as a broker that cannot be reached; the message may be durable all the same.
    Other,
}

impl Refusal {
    /// Judges an error of a publish to INBOX.
    pub fn judge(error: &PublishError) -> Self {
        let told = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (told.map(jetstream::Error::error_code), error.kind()) {
            // Also for the bound of one subject.
            (Some(ErrorCode::STREAM_STORE_FAILED), _) => Self::Full,
            (Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM), _) | (_, PublishErrorKind::MaxPayloadExceeded) => {
                Self::TooLarge
            }
            (_, PublishErrorKind::TimedOut) => Self::Late,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u64) -> PublishError {
        let told = serde_json::json!({"code": 503, "err_code": code, "description": "no"});
        let told: jetstream::Error = serde_json::from_value(told).unwrap();
        PublishError::with_source(PublishErrorKind::Other, told)
    }

    #[test]
    fn what_the_broker_says_decides() {
        assert_eq!(Refusal::judge(&refused(10_077)), Refusal::Full);
        assert_eq!(Refusal::judge(&refused(10_054)), Refusal::TooLarge);
        assert_eq!(Refusal::judge(&refused(10_071)), Refusal::Other);
        let of = |kind| Refusal::judge(&PublishError::new(kind));
        assert_eq!(of(PublishErrorKind::MaxPayloadExceeded), Refusal::TooLarge);
        assert_eq!(of(PublishErrorKind::TimedOut), Refusal::Late);
        assert_eq!(of(PublishErrorKind::BrokenPipe), Refusal::Other);
    }
}
