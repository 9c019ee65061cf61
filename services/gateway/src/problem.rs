//! Errors as clients read them: problem details of RFC 9457, with Daybook's own stable codes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daybook_contracts::ask::AskError;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// The media type of problem details.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Longest text in a problem that repeats what a client sent, in characters.
const MAX_TEXT_CHARS: usize = 1_024;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The reason for a refusal. The texts are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable text.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status.
            pub(crate) fn status(self) -> StatusCode {
                let number: u16 = match self { $(Self::$variant => $status,)* };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The title, the same for every problem of the code.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    BadRequest = "bad_request", 400, "The request is wrong";
    Unauthorized = "unauthorized", 401, "A valid token is missing";
    Forbidden = "forbidden", 403, "The token does not allow this";
    ForeignOrigin = "foreign_origin", 403, "Web pages of this origin may not ask";
    NotFound = "not_found", 404, "There is nothing at this path";
    UnknownTenant = "unknown_tenant", 404, "There is no such tenant";
    UnknownKind = "unknown_kind", 404, "There is no such kind";
    UnknownMapping = "unknown_mapping", 404, "The kind has no such mapping";
    UnknownView = "unknown_view", 404, "There is no such view";
    UnknownDay = "unknown_day", 404, "The day or its report is not known";
    UnknownSeason = "unknown_season", 404, "There is no such season";
    UnknownMember = "unknown_member", 404, "The ranking has no such member";
    MethodNotAllowed = "method_not_allowed", 405, "The path does not take this method";
    NotAcceptable = "not_acceptable", 406, "There is no answer in an accepted format";
    Timeout = "timeout", 408, "The request came too slowly";
    PastRetention = "past_retention", 410, "Retention has deleted the figures";
    TooLarge = "too_large", 413, "The request or its answer is too large";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body has a format that is not read";
    WrongHost = "wrong_host", 421, "The request names another host";
    Refused = "refused", 422, "None of the events can be taken";
    NotYet = "not_yet", 425, "The figures do not reach that position yet";
    Busy = "busy", 429, "Too much is under way";
    Quota = "quota", 429, "The tenant's quota is used up";
    RateLimited = "rate_limited", 429, "The token asks too often";
    Internal = "internal", 500, "A defect of Daybook";
    Unavailable = "unavailable", 503, "The service is away";
    Full = "full", 503, "The buffer for events is full";
}

/// A refusal. Boxed inside: results that may hold one stay small.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    details: Box<Details>,
}

/// A refusal, as it is sent.
#[derive(Clone, Debug, Serialize)]
struct Details {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    #[serde(serialize_with = "code_text")]
    code: Code,
    detail: String,
    /// The part of the request that is wrong, such as `where`, `order[1]` or `header Accept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Bytes from the start of the field, or of the body when no field is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Further members, such as how far a request got.
    #[serde(flatten)]
    more: Map<String, Value>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

fn code_text<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

impl Problem {
    /// `detail` says what is wrong; it is cut to 1,024 characters, as it may repeat what a client sent.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let details = Details {
            kind: format!("/v1/docs#error-{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            code,
            detail: cut(detail.into()),
            field: None,
            position: None,
            hint: None,
            more: Map::new(),
            retry_after: match code {
                Code::NotYet | Code::Busy | Code::Unavailable | Code::Full | Code::RateLimited => {
                    Some(Duration::from_secs(1))
                }
                _ => None,
            },
            headers: Vec::new(),
        };
        Self { code, details: Box::new(details) }
    }

    /// The part of the request that is wrong.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.details.field = Some(cut(field.into()));
        self
    }

    /// Where in the field, or in the body, the mistake is, in bytes.
    pub(crate) fn at(mut self, position: usize) -> Self {
        self.details.position = Some(position);
        self
    }

    /// What to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.details.hint = Some(cut(hint.into()));
        self
    }

    /// When to try again, in the header `Retry-After`; whole seconds, at least one.
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.details.retry_after = Some(pause);
        self
    }

    /// A further member.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.details.more.insert(name.to_owned(), value);
        self
    }

    /// A header that belongs to the refusal.
    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.details.headers.push((name, value));
        self
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// What is wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.details.detail
    }

    /// The part of the request that is wrong, and what to do about it.
    pub(crate) fn advice(&self) -> (Option<&str>, Option<&str>) {
        (self.details.field.as_deref(), self.details.hint.as_deref())
    }

    /// The problem as JSON, for a stream that has begun.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(&self.details).expect("a problem is plain values")
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => text[..end].to_owned() + "…",
        None => text,
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let text = serde_json::to_value(error.code).unwrap_or_default();
        let known = Code::ALL.iter().find(|code| text.as_str() == Some(code.as_str()));
        // `expired` passes between shard and query only.
        let mut problem = Self::new(known.copied().unwrap_or(Code::Internal), error.message);
        problem.details.field = error.field.map(cut);
        problem.details.position = error.position;
        problem.details.hint = error.hint.map(cut);
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json() + "\n"));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(pause) = self.details.retry_after {
            headers
                .insert(header::RETRY_AFTER, pause.as_secs_f64().ceil().max(1.0).to_string().parse().expect("digits"));
        }
        for (name, value) in self.details.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::AskErrorCode;

    #[test]
    fn every_error_of_a_question_has_its_code_and_status() {
        use AskErrorCode as Ask;
        for code in [
            Ask::BadRequest,
            Ask::UnknownTenant,
            Ask::UnknownView,
            Ask::UnknownDay,
            Ask::UnknownSeason,
            Ask::UnknownMember,
            Ask::PastRetention,
            Ask::NotYet,
            Ask::TooLarge,
            Ask::Busy,
            Ask::Quota,
            Ask::Unavailable,
            Ask::Internal,
        ] {
            let problem = Problem::from(AskError::new(code, "no").field("where").at(3).hint("do"));
            assert_eq!(usize::from(problem.status().as_u16()), code.number(), "{code:?}");
            let json: Value = serde_json::from_str(&problem.json()).unwrap();
            assert_eq!(json["code"], serde_json::to_value(code).unwrap());
            assert_eq!((&json["field"], &json["position"], &json["hint"]), (&"where".into(), &3.into(), &"do".into()));
        }
    }

    #[test]
    fn what_a_client_sent_is_cut() {
        let problem = Problem::new(Code::BadRequest, "é".repeat(9_000));
        assert!(problem.json().len() < 4 * MAX_TEXT_CHARS);
    }
}
