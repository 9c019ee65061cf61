//! Why a question was not answered.

use serde::{Deserialize, Serialize};

/// Why a question was not answered. `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}{message}{}", place(.field, .position), hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct AskError {
    pub code: AskErrorCode,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field of the request that is wrong, such as `where` or `order[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where the mistake is: bytes from the start of the field, or of the request when no field is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
}

fn place(field: &Option<String>, position: &Option<usize>) -> String {
    match (field, position) {
        (Some(field), Some(position)) => format!("{field}, at {position}: "),
        (Some(field), None) => format!("{field}: "),
        (None, Some(position)) => format!("at {position}: "),
        (None, None) => String::new(),
    }
}

impl AskError {
    pub fn new(code: AskErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, field: None, position: None }
    }

    /// What to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The field of the request that is wrong.
    pub fn field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Where in the field, or in the request, the mistake is.
    pub fn at(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }
}

/// The kinds of [`AskError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskErrorCode {
    /// The request cannot be read, or asks for what the view does not have.
    BadRequest,
    UnknownTenant,
    UnknownView,
    /// The day is not known: not published, or expired with no report.
    UnknownDay,
    /// The tenant has no season of that name.
    UnknownSeason,
    /// The ranking has no such member.
    UnknownMember,
    /// The shard has let go of some of the days. Only between shard and query.
    Expired,
    /// The day was sealed, and its report or figures are over their retention: they were deleted.
    PastRetention,
    /// The figures do not reach `at_least` yet.
    NotYet,
    /// The answer would take more than can be computed or sent; narrow the question.
    TooLarge,
    /// The tenant has too many questions under way in this query service; others are not held up by it.
    Busy,
    /// The tenant has as much as its quota allows.
    Quota,
    /// No shard answers for the tenant.
    Unavailable,
    /// A defect; the log says more.
    Internal,
}

impl AskErrorCode {
    /// The number in the `Nats-Service-Error-Code` header.
    pub fn number(self) -> usize {
        match self {
            Self::BadRequest => 400,
            Self::UnknownTenant | Self::UnknownView | Self::UnknownDay | Self::UnknownSeason | Self::UnknownMember => {
                404
            }
            Self::Expired | Self::PastRetention => 410,
            Self::TooLarge => 413,
            Self::NotYet => 425,
            Self::Busy | Self::Quota => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// An answer or the reason why there is none, as it travels between shard and query.
pub type Asked<T> = Result<T, AskError>;
