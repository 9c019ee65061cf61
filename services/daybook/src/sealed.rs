//! A sealed report as a client has it: its bytes, their hash and their content.

use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::headers;
use daybook_contracts::report::Report;

/// A report whose bytes have its hash.
pub struct Sealed {
    pub report: Report,
    /// BLAKE3 of the payload, in hex.
    pub hash: String,
    /// The exact bytes that the hash is of.
    pub payload: Bytes,
    /// Late events have changed the day, and a further version is to come: as far as the query service knows.
    pub is_restating: bool,
}

/// The reason that a message is no report.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error("it has no header {}", headers::HASH)]
    NoHash,
    #[error("its bytes have the hash {found}, and its header says {told}: it was changed on its way")]
    OtherHash { told: String, found: String },
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Sealed {
    /// Reads a message.
    ///
    /// # Errors
    /// The bytes do not have the hash in the headers, or are no report.
    pub fn read(headers: Option<&HeaderMap>, payload: Bytes) -> Result<Self, SealedError> {
        let told = headers.and_then(|headers| headers.get(headers::HASH)).ok_or(SealedError::NoHash)?.to_string();
        let found = blake3::hash(&payload).to_hex().to_string();
        if told != found {
            return Err(SealedError::OtherHash { told, found });
        }
        let report = serde_json::from_slice(&payload)?;
        let is_restating = headers.is_some_and(|headers| headers.get(headers::RESTATEMENT_PENDING).is_some());
        Ok(Self { report, hash: told, payload, is_restating })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_another_hash_are_no_report() {
        let payload = Bytes::from_static(b"{}");
        let with = |hash: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::HASH, hash);
            Sealed::read(Some(&headers), payload.clone()).err().unwrap()
        };
        assert!(matches!(Sealed::read(None, payload.clone()), Err(SealedError::NoHash)));
        assert!(matches!(with("00"), SealedError::OtherHash { .. }));
        assert!(matches!(with(blake3::hash(b"{}").to_hex().as_str()), SealedError::Unreadable(_)));
    }
}
