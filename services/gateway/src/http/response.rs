//! A reply on its way out: compressed, with the headers of every answer, and counted until the client has it.

use super::call::Reply;
use super::negotiation::{self, Format};
use crate::access::Turn;
use crate::gateway::Gateway;
use crate::room::HeldBytes;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How long a browser may remember what other origins may do.
const PREFLIGHT_AGE: &str = "600";
/// Answers up to this length take no room of their own, in bytes.
const SHORT: usize = 16 << 10;

/// The body of an answer. The request counts, and has its room, for as long as the connection keeps the body.
struct Held {
    body: Body,
    _turn: Option<Turn>,
    _place: Option<HeldBytes>,
}

impl HttpBody for Held {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// The response for a reply to a request with the headers `asked`. `turn` ends with its body.
pub(crate) async fn respond(gateway: &Gateway, reply: Reply, turn: Option<Turn>, asked: &HeaderMap) -> Response {
    match reply {
        Reply::Whole { status, mut headers, body } => {
            let is_plain =
                headers.contains_key(header::CONTENT_TYPE) && !headers.contains_key(header::CONTENT_ENCODING);
            let packed = if is_plain { negotiation::compress(asked, &body).await } else { None };
            headers.append(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
            if packed.is_some() {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            let body = packed.unwrap_or(body);
            // What nobody is counted for is short, or in memory once for all.
            let place = match &turn {
                Some(turn) if body.len() > SHORT => match gateway.rooms.answers.take(turn.tenant(), body.len()).await {
                    Ok(place) => Some(place),
                    Err(problem) => return problem.into_response(),
                },
                _ => None,
            };
            let mut response = Response::new(Body::new(Held { body: body.into(), _turn: turn, _place: place }));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Reply::Events(body) => {
            let mut response = Response::new(Body::new(Held { body, _turn: turn, _place: None }));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::EventStream.media_type()));
            // A proxy that collects events before it sends them would delay them.
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
            response
        }
    }
}

/// Headers of every answer.
pub(crate) fn finish(gateway: &Gateway, asked: &HeaderMap, mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CACHE_CONTROL, "no-store");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(header::REFERRER_POLICY, "no-referrer");
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let origin =
        asked.get(header::ORIGIN).filter(|origin| origin.to_str().is_ok_and(|text| gateway.origins.allow(text)));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let mut allow = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        allow(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, OPTIONS");
        allow(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-None-Match, Last-Event-ID");
        allow(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "ETag, Retry-After, Daybook-Next, Daybook-Newer, Daybook-As-Of, Daybook-Day, Daybook-Total, Daybook-Stale, \
             Daybook-Coverage, Daybook-Hash, Daybook-Restatement-Pending",
        );
        allow(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    }
    response
}
