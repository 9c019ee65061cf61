//! One try: posts an alert to its receiver, and says what came of it.

use super::retries::TryOutcome;
use super::targets::WebhookTarget;
use crate::outgoing::{AnswerBounds, HttpAnswer, Outgoing};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use std::time::Duration;

/// Bytes of an answer's body that are read: enough for a person to see what a receiver said.
const MAX_ANSWER_BYTES: usize = 2 << 10;
/// How long they may take. The head alone decides what becomes of the alert.
const BODY: Duration = Duration::from_secs(1);
pub(super) const ID: HeaderName = HeaderName::from_static("webhook-id");
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const USER_AGENT: &str = concat!("daybook/", env!("CARGO_PKG_VERSION"));

/// What came of a try.
pub(super) struct Posted {
    pub outcome: TryOutcome,
    /// The status of the answer, if there was one.
    pub status: Option<StatusCode>,
    /// The beginning of what the receiver said.
    pub said: Vec<u8>,
}

impl Posted {
    fn unanswered(why: String) -> Self {
        Self { outcome: TryOutcome::Unanswered(why), status: None, said: Vec::new() }
    }
}

/// Posts the bytes of an alert with this id. Redirects are not followed: only what the operator wrote is called.
pub(super) async fn post(outgoing: &Outgoing, target: &WebhookTarget, id: &str, payload: Bytes) -> Posted {
    let request = match request(target, id, payload, clock::now()) {
        Ok(request) => request,
        Err(why) => return Posted::unanswered(why),
    };
    let bounds = AnswerBounds { head: target.timeout, body: BODY, bytes: MAX_ANSWER_BYTES };
    match outgoing.send(request, bounds).await {
        Ok(HttpAnswer { status, headers, body, .. }) => {
            Posted { outcome: TryOutcome::of(status, &headers, clock::now()), status: Some(status), said: body }
        }
        Err(error) => Posted::unanswered(error.to_string()),
    }
}

/// The signed request.
fn request(target: &WebhookTarget, id: &str, payload: Bytes, now: Instant) -> Result<Request<Body>, String> {
    let seconds = now.as_millis().div_euclid(1_000);
    let signature = target.secrets.sign(id, seconds, &payload);
    let id = HeaderValue::from_str(id).map_err(|_| "the id of the alert fits no header".to_owned())?;
    Request::post(target.url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, payload.len())
        .header(header::USER_AGENT, USER_AGENT)
        .header(ID, id)
        .header(TIMESTAMP, seconds)
        .header(SIGNATURE, signature)
        .body(Body::from(payload))
        .map_err(|error| error.to_string())
}
