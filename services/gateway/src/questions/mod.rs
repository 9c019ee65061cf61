//! Questions by HTTP: forwarded to the query service, and answered as JSON, CSV or NDJSON.
//!
//! - [`view`]: the figures of a view; [`lists`]: days, reports, rejects and views; [`day`]: one day, and whether its figures are final;
//!   [`report`]: a sealed report;
//! - [`tabulate`]: rows as CSV and NDJSON, with every number as the query service wrote it.

pub(crate) mod day;
pub(crate) mod lists;
pub(crate) mod report;
mod tabulate;
pub(crate) mod view;

use crate::events::body::{media_type, unsupported, whole};
use crate::http::Call;
use crate::problem::{Code, Problem};
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;

/// Longest question, in bytes; the query service has the same bound.
const MAX_QUESTION_BYTES: usize = 64 << 10;

/// On answers: the cursor of the next page.
const NEXT: HeaderName = HeaderName::from_static("daybook-next");
/// On a page of rejects or alerts: the cursor of those that are recorded later.
const NEWER: HeaderName = HeaderName::from_static("daybook-newer");
/// On answers: the last sequence of INBOX that the figures include.
const AS_OF: HeaderName = HeaderName::from_static("daybook-as-of");

/// The question in the body of a POST; empty when there is no body.
async fn posted(call: &mut Call) -> Result<Bytes, Problem> {
    let body = std::mem::take(&mut call.body);
    let place = call.state.rooms.questions.place(Some(&call.tenant()?));
    let whole = whole(place, body, &call.headers, MAX_QUESTION_BYTES).await?;
    check_type(&call.headers, &whole.bytes)?;
    let body = whole.bytes.trim_ascii_start();
    if !body.is_empty() && !body.starts_with(b"{") {
        let position = whole.bytes.len() - body.len();
        return Err(Problem::new(Code::BadRequest, "a question is a JSON object").at(position));
    }
    Ok(whole.bytes.clone())
}

/// A form of a web page of another origin cannot send this media type without asking first.
fn check_type(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    match media_type(headers).as_str() {
        "application/json" => Ok(()),
        "" if body.is_empty() => Ok(()),
        other => Err(unsupported(other, "application/json")),
    }
}
