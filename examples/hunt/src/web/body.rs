//! Bodies of requests: taken in whole, within bounds that depend on who sends them, before anything else is done.

use super::room::Use;
use super::{Answer, Door, refused, reply};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use std::time::Duration;

/// Largest body of anybody, in bytes: an answer with its id takes under 2 KiB however it is encoded. With all connections, 100 MB.
const MAX_BYTES: usize = 4 * 1024;
/// Largest body of an organiser: a hundred teams with long names take 40 KiB.
const MAX_ORGANISER_BYTES: usize = 64 * 1024;
/// Largest file of rules; only an organiser's is taken in.
pub const MAX_RULES_BYTES: usize = 800 * 1024;
/// How long a body may take to arrive.
const LIMIT: Duration = Duration::from_secs(10);

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    Bytes(usize),
    Rules,
}

impl Allowed {
    fn at(path: &str, is_organiser: bool) -> Self {
        match path {
            "/api/organiser/rules" if is_organiser => Self::Rules,
            "/organiser" | "/api/organiser/teams" | "/api/organiser/ask" if is_organiser => {
                Self::Bytes(MAX_ORGANISER_BYTES)
            }
            _ => Self::Bytes(MAX_BYTES),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Rules => MAX_RULES_BYTES,
        }
    }
}

/// Takes the whole body in.
pub async fn take(State(door): State<Door>, request: Request, next: Next) -> Answer {
    let (head, body) = request.into_parts();
    let allowed = Allowed::at(head.uri.path(), door.organiser(&head.headers).is_ok());
    if announced(&head.headers).is_some_and(|bytes| bytes > allowed.bytes() as u64) {
        return too_large(allowed);
    }
    let _place = match allowed {
        Allowed::Rules => match door.room.take(Use::Rules) {
            Ok(place) => Some(place),
            Err(refusal) => return refused(&refusal),
        },
        Allowed::Bytes(_) => None,
    };
    match tokio::time::timeout(LIMIT, to_bytes(body, allowed.bytes())).await {
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Err(_)) => too_large(allowed),
        Err(_) => reply(StatusCode::REQUEST_TIMEOUT, "text/plain", "the body took too long\n"),
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(allowed: Allowed) -> Answer {
    let text = format!("the body has more than {} bytes, or broke off\n", allowed.bytes());
    reply(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_send_little() {
        for path in ["/api/submit", "/organiser", "/api/organiser/rules", "/api/organiser/teams", "/x"] {
            assert_eq!(Allowed::at(path, false), Allowed::Bytes(MAX_BYTES), "{path}");
        }
        assert_eq!(Allowed::at("/api/submit", true), Allowed::Bytes(MAX_BYTES));
        assert_eq!(Allowed::at("/api/organiser/teams", true), Allowed::Bytes(MAX_ORGANISER_BYTES));
        assert_eq!(Allowed::at("/api/organiser/rules", true), Allowed::Rules);
    }

    #[test]
    fn the_largest_sensible_requests_fit() {
        // Every character of an answer takes six bytes as an escape of JSON, or three as a field of a form.
        let answer = 6 * crate::rules::answer::MAX_ANSWER_BYTES + 6 * 64 + crate::rules::MAX_ID_BYTES + 100;
        assert!(answer < MAX_BYTES);
        let team = 4 * crate::rules::MAX_NAME_CHARACTERS + crate::rules::MAX_ID_BYTES + 30;
        assert!(100 * team < MAX_ORGANISER_BYTES);
    }
}
