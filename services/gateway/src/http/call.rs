//! A request as a handler has it, and the reply.

use super::negotiation::Format;
use super::parameters::Given;
use crate::access::Permit;
use crate::gateway::Gateway;
use crate::problem::{Code, Problem};
use axum::body::Body;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use std::sync::Arc;

/// A request that may be made: its token allows it.
pub(crate) struct Call {
    pub state: Arc<Gateway>,
    pub permit: Permit,
    /// Path and query parameters, of the right form.
    pub parameters: Given,
    pub headers: HeaderMap,
    pub body: Body,
    /// The format that the client prefers of those that the route has.
    pub format: Format,
}

impl Call {
    /// The tenant of the path.
    ///
    /// # Errors
    /// Never for a route with a tenant: its form was checked.
    pub(crate) fn tenant(&self) -> Result<TenantId, Problem> {
        self.of_path("tenant")
    }

    /// A name of the path.
    ///
    /// # Errors
    /// As [`Call::tenant`].
    pub(crate) fn name(&self, parameter: &str) -> Result<Name, Problem> {
        self.of_path(parameter)
    }

    /// The date of the path.
    ///
    /// # Errors
    /// As [`Call::tenant`].
    pub(crate) fn date(&self) -> Result<Date, Problem> {
        self.of_path("date")
    }

    fn of_path<T: std::str::FromStr>(&self, parameter: &str) -> Result<T, Problem> {
        let text = self.parameters.text(parameter).unwrap_or_default();
        text.parse().map_err(|_| Problem::new(Code::BadRequest, "the path is wrong").field(parameter))
    }
}

/// What a handler answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// All of it. It may be compressed.
    Whole { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// A stream of server-sent events.
    Events(Body),
}

impl Reply {
    /// JSON.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::of(status, Format::Json.media_type(), body)
    }

    /// A body of a media type.
    pub(crate) fn of(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        Self::Whole { status, headers, body: body.into() }
    }

    /// The same with a header. A value that is no header's is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let (Self::Whole { headers, .. }, Ok(value)) = (&mut self, HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
        self
    }

    /// The reply with an entity tag, without its body where the client has it already.
    pub(crate) fn tagged(self, tag: &str, asked: &HeaderMap) -> Self {
        let reply = self.with(header::ETAG, tag).with(header::CACHE_CONTROL, "private, no-cache");
        let has_it = |value: &HeaderValue| {
            let value = value.to_str().unwrap_or_default();
            // Weak comparison (RFC 9110, 13.1.2).
            let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
            value.trim() == "*" || value.split(',').any(|known| bare(known) == bare(tag))
        };
        match reply {
            Self::Whole { mut headers, .. } if asked.get_all(header::IF_NONE_MATCH).iter().any(has_it) => {
                headers.remove(header::CONTENT_TYPE);
                headers.remove(header::CONTENT_ENCODING);
                Self::Whole { status: StatusCode::NOT_MODIFIED, headers, body: Bytes::new() }
            }
            reply => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_it_gets_no_body() {
        for (asked, has_it) in [
            (r#"W/"a-1""#, true),
            (r#""a-1""#, true),
            (r#"W/"b", W/"a-1""#, true),
            ("*", true),
            (r#"W/"a-11""#, false),
            ("a-1", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, asked.parse().unwrap());
            let Reply::Whole { status, body, headers } =
                Reply::json(StatusCode::OK, "{}").tagged(r#"W/"a-1""#, &headers)
            else {
                panic!("not a stream")
            };
            assert_eq!((status == StatusCode::NOT_MODIFIED, body.is_empty()), (has_it, has_it), "{asked}");
            assert_eq!(headers[header::ETAG], r#"W/"a-1""#);
        }
    }
}
