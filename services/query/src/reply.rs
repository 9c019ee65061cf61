//! A reply to a request: its headers and its body.

use crate::encoding::Encoding;
use crate::lists::document::Document;
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_contracts::headers;
use serde::Serialize;

/// Headers and body of a reply.
#[derive(Debug)]
pub struct Reply {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// An answer in the asker's encoding.
    ///
    /// # Errors
    /// [`AskErrorCode::TooLarge`] when it does not fit a message.
    pub fn answer(encoding: Encoding, answer: &impl Serialize) -> Asked<Self> {
        Ok(Self::written(encoding, encoding.answer(answer)?))
    }

    /// An answer that is written in that encoding.
    pub fn written(encoding: Encoding, body: impl Into<Bytes>) -> Self {
        Self { headers: encoding.headers(), body: body.into() }
    }

    /// A report: the bytes that were sealed, whatever the asker's encoding, their hash in a header, and in another whether a
    /// further version is to come.
    pub fn report(encoding: Encoding, document: Document, is_restating: bool) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(headers::HASH, document.entry.hash.as_str());
        if is_restating {
            headers.insert(headers::RESTATEMENT_PENDING, "1");
        }
        if encoding != Encoding::Json {
            headers.insert(headers::CONTENT_TYPE, headers::JSON);
        }
        Self { headers, body: document.payload }
    }

    /// The reply, if the broker takes messages of its length. The payload limit of the asker's own account does not count:
    /// it binds what the asker publishes.
    ///
    /// # Errors
    /// [`AskErrorCode::TooLarge`] otherwise.
    pub fn fit(self, max_payload: usize) -> Asked<Self> {
        let bytes = header_bytes(&self.headers) + self.body.len();
        if bytes <= max_payload {
            return Ok(self);
        }
        let message = format!("the answer takes {bytes} bytes, and the broker takes messages of {max_payload} at most");
        Err(AskError::new(AskErrorCode::TooLarge, message).hint(
            "ask for less, such as fewer rows; for a report ask its operator to raise `max_payload` of the broker",
        ))
    }
}

/// The length of headers on the way: a first line, a line for each value, and an empty one.
fn header_bytes(headers: &HeaderMap) -> usize {
    const FIRST_LINE: &str = "NATS/1.0\r\n";
    if headers.is_empty() {
        return 0;
    }
    let lines = headers.iter().flat_map(|(name, values)| {
        let name = AsRef::<str>::as_ref(name).len();
        values.iter().map(move |value| name + ": ".len() + value.as_str().len() + "\r\n".len())
    });
    FIRST_LINE.len() + lines.sum::<usize>() + "\r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::document::tests::stored;
    use daybook_contracts::subjects::Subjects;

    fn document() -> Document {
        Document::read(&Subjects::new("daybook").unwrap(), &stored("2024-03-01", 1)).unwrap()
    }

    #[test]
    fn a_report_is_its_own_bytes_in_every_encoding() {
        let document = document();
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let reply = Reply::report(encoding, document.clone(), false);
            assert!(reply.headers.get("Daybook-Restatement-Pending").is_none());
            let pending = Reply::report(encoding, document.clone(), true);
            assert!(pending.headers.get("Daybook-Restatement-Pending").is_some() && pending.body == reply.body);
            assert_eq!(reply.body, document.payload);
            assert_eq!(reply.headers.get("Daybook-Hash").unwrap().as_str(), document.entry.hash);
            let content = reply.headers.get("Content-Type").map(|value| value.as_str().to_owned());
            assert_eq!(content.as_deref(), (encoding != Encoding::Json).then_some("application/json"));
        }
    }

    #[test]
    fn a_reply_is_as_long_as_the_broker_takes() {
        let reply = || Reply::report(Encoding::MessagePack, document(), false);
        let bytes = reply().body.len()
            + format!("NATS/1.0\r\nDaybook-Hash: {}\r\nContent-Type: application/json\r\n\r\n", "a".repeat(64)).len();
        assert!(reply().fit(bytes).is_ok());
        let error = reply().fit(bytes - 1).unwrap_err();
        assert_eq!(error.code, AskErrorCode::TooLarge);
        assert!(error.message.contains(&bytes.to_string()) && error.hint.unwrap().contains("max_payload"));
        let plain = Reply::written(Encoding::Json, b"{}".to_vec());
        assert!(plain.fit(2).is_ok());
    }
}
