//! In which of two encodings a client talks: JSON, or MessagePack when it says so in a header.

use async_nats::HeaderMap;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_contracts::headers;
use serde::Serialize;

/// Largest reply, in bytes: the broker's payload limit less 4 KiB for the reply's subject and headers.
pub const MAX_REPLY_BYTES: usize = (1 << 20) - (4 << 10);

/// How requests and replies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Json,
    /// Structures as maps with named fields. A figure is an integer where it shows no digits after the point and fits 64 bits, else
    /// its decimal text. Dates of an answer's envelope are days, and instants milliseconds, since 1970-01-01 in UTC; in rows they are
    /// texts, as in JSON.
    MessagePack,
}

impl Encoding {
    /// What a request with these headers is written in, and its reply will be.
    pub fn of(request: Option<&HeaderMap>) -> Self {
        let all = request.into_iter().flat_map(HeaderMap::iter);
        let all = all.filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str())));
        match headers::content_type(all) {
            Some(value) if headers::is_msgpack(value) => Self::MessagePack,
            _ => Self::Json,
        }
    }

    /// The headers that a reply begins with: JSON needs none.
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self == Self::MessagePack {
            headers.insert(headers::CONTENT_TYPE, headers::MSGPACK);
        }
        headers
    }

    /// An answer, when it fits a message.
    ///
    /// # Errors
    /// [`AskErrorCode::TooLarge`] beyond [`MAX_REPLY_BYTES`].
    pub fn answer(self, answer: &impl Serialize) -> Asked<Vec<u8>> {
        let bytes = self.encode(answer);
        if bytes.len() <= MAX_REPLY_BYTES {
            return Ok(bytes);
        }
        let message = format!("the answer takes {} bytes, and a message {MAX_REPLY_BYTES} at most", bytes.len());
        Err(AskError::new(AskErrorCode::TooLarge, message)
            .hint("ask for pages of fewer rows with `limit`, or for fewer metrics or dimensions"))
    }

    /// An error; its texts are short.
    pub fn error(self, error: &AskError) -> Vec<u8> {
        self.encode(error)
    }

    fn encode(self, value: &impl Serialize) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(value).expect("answers are plain values"),
            Self::MessagePack => rmp_serde::to_vec_named(value).expect("answers are plain values"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderName;
    use daybook_contracts::report::{Figure, Row};
    use daybook_domain::ids::Name;
    use daybook_domain::value::Number;

    #[test]
    fn a_header_chooses_messagepack() {
        let mut headers = HeaderMap::new();
        assert_eq!(Encoding::of(None), Encoding::Json);
        headers.insert("Content-Type", "application/json");
        assert_eq!(Encoding::of(Some(&headers)), Encoding::Json);
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("content-type"), "application/vnd.msgpack".into())]);
        assert_eq!(Encoding::of(Some(&headers)), Encoding::MessagePack);
        assert_eq!(Encoding::of(Some(&Encoding::MessagePack.headers())), Encoding::MessagePack);
        assert!(Encoding::Json.headers().is_empty());
    }

    #[test]
    fn messagepack_has_names_and_exact_numbers() {
        let row = Row(vec![
            (Name::new("carrier").unwrap(), Figure::Text("B6".into())),
            (Name::new("flights").unwrap(), Figure::integer(12)),
            (Name::new("delay").unwrap(), Figure::Number(Number::new(-35, 1))),
            (Name::new("low").unwrap(), Figure::Null),
        ]);
        let packed = Encoding::MessagePack.answer(&row).unwrap();
        let read: serde_json::Value = rmp_serde::from_slice(&packed).unwrap();
        assert_eq!(read, serde_json::json!({"carrier": "B6", "flights": 12, "delay": "-3.5", "low": null}));
    }

    #[test]
    fn errors_read_back_from_both() {
        let error = AskError::new(AskErrorCode::NotYet, "no").hint("wait").field("at_least").at(3);
        let json = Encoding::Json.error(&error);
        assert_eq!(serde_json::from_slice::<AskError>(&json).unwrap(), error);
        let packed = Encoding::MessagePack.error(&error);
        assert_eq!(rmp_serde::from_slice::<AskError>(&packed).unwrap(), error);
        let named: serde_json::Value = rmp_serde::from_slice(&packed).unwrap();
        assert_eq!(named["code"], "not_yet");
    }

    #[test]
    fn what_no_message_takes_is_refused() {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            // Two quotes in JSON, a header of five bytes in MessagePack.
            let frame = encoding.encode(&"x".repeat(1 << 17)).len() - (1 << 17);
            let fits = "x".repeat(MAX_REPLY_BYTES - frame);
            assert_eq!(encoding.answer(&fits).unwrap().len(), MAX_REPLY_BYTES);
            let error = encoding.answer(&format!("{fits}x")).unwrap_err();
            assert_eq!(error.code, AskErrorCode::TooLarge);
            assert!(error.hint.unwrap().contains("limit"));
        }
    }
}
