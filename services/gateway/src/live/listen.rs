//! `GET /v1/tenants/{tenant}/views/{view}/live`: the stream of one listener.

use super::followed::Followed;
use super::frames::{self, HEARTBEAT, RETRY};
use super::stream::Listening;
use crate::access::Permit;
use crate::http::parameters::Parameter;
use crate::http::{Call, Reply};
use crate::problem::{Code, Problem};
use crate::questions::view;
use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use daybook_runtime::clock;
use futures::stream::unfold;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;

/// How often an idle stream shows that it lives, and each stream finds out whether its token still is valid.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(15);
/// Longest stream. A listener connects again after it, perhaps to another gateway.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// Longest identifier that is read.
const MAX_IDENTIFIER_BYTES: usize = 256;

/// Follows a view.
///
/// # Errors
/// Those of the query service; none once the stream has begun.
pub(crate) async fn get(call: Call, parameters: &'static [Parameter]) -> Result<Reply, Problem> {
    let question = view::asked(&call, parameters)?;
    let followed = Followed { tenant: call.tenant()?, view: call.name("view")?, question };
    let stream = call.state.hub.stream(followed).await?;
    let last = last_event_id(&call.headers);
    let (first, events) = stream.join(last)?;
    let now = clock::now();
    let left = call.permit.grant().expires_at.map_or(LONGEST, |end| end.since(now).min(LONGEST));
    let listener = Listener {
        ready: std::iter::once(RETRY).chain(first).collect(),
        events,
        permit: call.permit,
        check_at: Instant::now() + HEARTBEAT_AFTER,
        ends_at: Instant::now() + left,
        has_ended: false,
        _counted: Counted::new(),
    };
    let frames = unfold(listener, |mut listener| async move {
        let frame = listener.next().await?;
        Some((Ok::<_, Infallible>(frame), listener))
    });
    Ok(Reply::Events(Body::from_stream(frames)))
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| id.len() <= MAX_IDENTIFIER_BYTES)
}

struct Listener {
    /// What is sent next.
    ready: VecDeque<Bytes>,
    events: Listening,
    permit: Permit,
    /// When the permit is checked next.
    check_at: Instant,
    /// The token expires, or the stream is long enough.
    ends_at: Instant,
    has_ended: bool,
    _counted: Counted,
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.ready.pop_front() {
            return Some(self.pass(frame));
        }
        if self.has_ended {
            return None;
        }
        let now = Instant::now();
        if now >= self.check_at {
            self.check_at = now + HEARTBEAT_AFTER;
            if let Err(problem) = self.permit.check(clock::now()) {
                return Some(self.end(&problem));
            }
        }
        let received = tokio::select! {
            received = self.events.next() => received,
            () = tokio::time::sleep(HEARTBEAT_AFTER) => return Some(HEARTBEAT),
            () = tokio::time::sleep_until(self.ends_at) => {
                let problem = Problem::new(Code::Unauthorized, "the token has expired, or the stream is very old")
                    .hint("connect again with a valid token");
                return Some(self.end(&problem));
            }
        };
        match received {
            Ok(frame) => Some(self.pass(frame)),
            Err(missed) => {
                metrics::counter!("daybook_http_listeners_dropped_total").increment(1);
                let problem =
                    Problem::new(Code::Busy, format!("the client reads too slowly: {missed} events were dropped"))
                        .hint("connect again; the stream then begins with a snapshot");
                Some(self.end(&problem))
            }
        }
    }

    /// Takes note of the last event.
    fn pass(&mut self, frame: Bytes) -> Bytes {
        self.has_ended = frames::is_end(&frame);
        frame
    }

    /// The last event.
    fn end(&mut self, problem: &Problem) -> Bytes {
        self.has_ended = true;
        frames::end(problem)
    }
}

/// Counts listeners.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("daybook_http_listeners").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("daybook_http_listeners").decrement(1.0);
    }
}
