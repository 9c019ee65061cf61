//! Documents that stay the same while the process runs: each is written, tagged and compressed once.

use super::call::Reply;
use super::negotiation;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;

/// A document that everyone gets, without a token.
pub(crate) struct Fixed {
    headers: HeaderMap,
    tag: String,
    plain: Bytes,
    packed: Option<Bytes>,
}

impl Fixed {
    /// A document of a media type.
    pub(crate) fn new(media_type: &'static str, text: impl Into<Bytes>) -> Self {
        let plain = text.into();
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))].into_iter().collect();
        let tag = format!("W/\"{}\"", &blake3::hash(&plain).to_hex()[..16]);
        Self { headers, tag, packed: negotiation::gzip(&plain), plain }
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The document for a request with these headers, without its body where the client has it already.
    pub(crate) fn reply(&self, asked: &HeaderMap) -> Reply {
        let mut headers = self.headers.clone();
        let packed = self.packed.as_ref().filter(|_| negotiation::takes_gzip(asked));
        if packed.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let body = packed.unwrap_or(&self.plain).clone();
        Reply::Whole { status: StatusCode::OK, headers, body }.tagged(&self.tag, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_document_as_it_can_read_it_and_only_once() {
        let fixed = Fixed::new("text/css", "a".repeat(10_000));
        let asked = |name: HeaderName, value: &str| {
            let Reply::Whole { status, headers, body } =
                fixed.reply(&[(name, value.parse().unwrap())].into_iter().collect())
            else {
                panic!("not a stream")
            };
            (status.as_u16(), headers.contains_key(header::CONTENT_ENCODING), body.len())
        };
        assert_eq!(asked(header::ACCEPT_ENCODING, "identity"), (200, false, 10_000));
        let (status, is_packed, length) = asked(header::ACCEPT_ENCODING, "gzip");
        assert!(status == 200 && is_packed && length < 1_000, "{length}");
        assert_eq!(asked(header::IF_NONE_MATCH, &fixed.tag), (304, false, 0));
    }
}
