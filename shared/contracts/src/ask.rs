//! Questions and answers: `daybook.query.<tenant>.<view>` for clients, and the same between query and shards.

use crate::report::{Account, Coverage, Row};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Serialize};

/// The reserved view name under which a tenant's days and their accounts are asked for.
pub const DAYS_VIEW: &str = "~days";
/// The reserved view name under which is asked how far the figures of a tenant reach.
pub const POSITION_VIEW: &str = "~position";
/// Most rows in one answer.
pub const MAX_ANSWER_ROWS: usize = 10_000;
/// Most bytes of rows in one answer, below the broker's payload limit.
pub const MAX_ANSWER_BYTES: usize = 768 * 1024;

/// Which business day is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaySelector {
    /// The newest day that is open.
    #[default]
    Today,
    Date(Date),
}

impl std::str::FromStr for DaySelector {
    type Err = daybook_domain::time::TimeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "today" { Ok(Self::Today) } else { text.parse().map(Self::Date) }
    }
}

impl std::fmt::Display for DaySelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Today => f.write_str("today"),
            Self::Date(date) => date.fmt(f),
        }
    }
}

impl Serialize for DaySelector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DaySelector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("day {text:?} is neither \"today\" nor a date")))
    }
}

/// The body of a query, in JSON. An empty body asks for today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    #[serde(default)]
    pub day: DaySelector,
    /// Answer only when the figures rest on this INBOX sequence (of the asker's PubAck) or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<InboxSeq>,
}

/// What query asks of a shard, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardQuestion {
    View { tenant: TenantId, view: Name, query: Query },
    Days { tenant: TenantId },
    Position,
}

/// Where a day stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DayState {
    /// Not opened yet; early events may be known.
    Upcoming,
    Open,
    /// Closed, and its report sealed.
    Closed,
}

/// How current an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    pub log: LogSeq,
    pub inbox: InboxSeq,
}

/// How far the figures of a tenant's partition reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub as_of: AsOf,
    /// Reports and rejects that are made but not written yet.
    pub outputs_waiting: u64,
}

/// The rows of a view for a day, and how far they can be relied on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub tenant: TenantId,
    pub view: Name,
    pub date: Date,
    pub day: DayState,
    pub rows: Vec<Row>,
    /// How many rows there are; more than `rows` holds when they would not fit.
    pub total: u64,
    pub as_of: AsOf,
    /// Milliseconds since the shard last knew itself to be level with the log; 0 for sealed days.
    pub freshness_ms: u64,
    pub coverage: Coverage,
    /// Revision of the view's definition.
    pub definition: u64,
    /// The newest sealed version, if the day is closed.
    pub report: Option<u32>,
}

/// One day of a tenant, with the account of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayAccount {
    pub date: Date,
    pub day: DayState,
    pub opens_at: Option<Instant>,
    pub closes_at: Option<Instant>,
    pub report: Option<u32>,
    pub account: Account,
}

/// The days of a tenant that a shard keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    pub tenant: TenantId,
    pub days: Vec<DayAccount>,
    pub as_of: AsOf,
}

/// Why a question was not answered. `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct AskError {
    pub code: AskErrorCode,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kinds of [`AskError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskErrorCode {
    /// The request cannot be read.
    BadRequest,
    UnknownTenant,
    UnknownView,
    /// The day is not known: not published, or expired with no report.
    UnknownDay,
    /// The figures do not reach `at_least` yet.
    NotYet,
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
            Self::UnknownTenant | Self::UnknownView | Self::UnknownDay => 404,
            Self::NotYet => 425,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// An answer or the reason why there is none, as it travels between shard and query.
pub type Asked<T> = Result<T, AskError>;
