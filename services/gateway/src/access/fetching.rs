//! Gets a JWKS by HTTP or HTTPS: one request, bounded in time and size, without redirects.

use super::jwks::MAX_KEYS_BYTES;
use crate::outgoing::{AnswerBounds, Outgoing};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use std::time::Duration;

/// How long the answer may take, and then its body.
const PATIENCE: Duration = Duration::from_secs(10);
const BOUNDS: AnswerBounds = AnswerBounds { head: PATIENCE, body: PATIENCE, bytes: MAX_KEYS_BYTES };

/// The body that `url` answers with.
///
/// # Errors
/// The reason, for the log.
pub(super) async fn get(outgoing: &Outgoing, url: &str) -> Result<Vec<u8>, String> {
    let request = Request::get(url).header(header::ACCEPT, "application/json").body(Body::empty());
    let request = request.map_err(|error| format!("no URL: {error}"))?;
    let answer = outgoing.send(request, BOUNDS).await.map_err(|error| error.to_string())?;
    if answer.status != StatusCode::OK {
        return Err(format!("the answer has the status {}", answer.status));
    }
    match answer.is_cut {
        true => Err(format!("the answer has more than {MAX_KEYS_BYTES} bytes, or did not come to its end")),
        false => Ok(answer.body),
    }
}
