//! How a sealed report and the log can disagree.

use super::paths::FirstDifference;
use daybook_domain::ids::LogSeq;
use serde::Serialize;
use std::fmt;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As in the report's subject.
    pub tenant: String,
    /// As in the report's subject.
    pub date: String,
    /// 0 when the message does not tell.
    pub version: u64,
    /// Where the log seals it, as far as known.
    pub position: Option<LogSeq>,
    /// Where it stands in REPORTS, if it does.
    pub sequence: Option<u64>,
    #[serde(flatten)]
    pub what: What,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "lowercase")]
pub enum What {
    /// The payload is no report.
    Unreadable { reason: String },
    /// The hash in the header is not the payload's.
    Header { header: Option<String>, payload: String },
    /// The log makes other bytes.
    Bytes { path: String, stored: String, reproduced: String },
    /// The log makes it, or later versions follow it, and REPORTS does not have it.
    Missing,
    /// REPORTS has it, and the log does not make it.
    Unfounded,
    /// The version stands in REPORTS once more.
    Repeated,
    /// It stands behind a later version.
    Order { after: u64 },
    /// It does not supersede the version before it, by number and hash.
    Chain { expected: Option<String>, found: Option<String> },
    /// The dispositions do not add up to what was published.
    Unbalanced { published: u64, dispositions: String },
    /// The business day is not the one that the version before it has.
    Interval { expected: String, found: String },
    /// The day before does not close where this one opens.
    Contiguity { closes_at: String, opens_at: String },
}

impl What {
    pub fn bytes(place: FirstDifference) -> Self {
        Self::Bytes { path: place.path, stored: place.stored, reproduced: place.reproduced }
    }

    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Header { .. } => "header",
            Self::Bytes { .. } => "bytes",
            Self::Missing => "missing",
            Self::Unfounded => "unfounded",
            Self::Repeated => "repeated",
            Self::Order { .. } => "order",
            Self::Chain { .. } => "chain",
            Self::Unbalanced { .. } => "unbalanced",
            Self::Interval { .. } => "interval",
            Self::Contiguity { .. } => "contiguity",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        match self {
            Self::Unreadable { reason } => write!(f, "the payload is no report: {reason}"),
            Self::Header { header, payload } => {
                write!(f, "the header says hash {}, the payload has {payload}", or_none(header))
            }
            Self::Bytes { path, stored, reproduced } => {
                write!(f, "at {path} the stored report has {stored}, the log makes {reproduced}")
            }
            Self::Missing => f.write_str("REPORTS does not have this version"),
            Self::Unfounded => f.write_str("the log does not make this version"),
            Self::Repeated => f.write_str("this version stands in REPORTS more than once"),
            Self::Order { after } => write!(f, "it stands behind version {after}"),
            Self::Chain { expected, found } => {
                write!(f, "it must supersede {}, and names {}", or_none(expected), or_none(found))
            }
            Self::Unbalanced { published, dispositions } => {
                write!(f, "{published} events were published, and the dispositions add up to {dispositions}")
            }
            Self::Interval { expected, found } => {
                write!(f, "the version before has the business day {expected}, this one {found}")
            }
            Self::Contiguity { closes_at, opens_at } => {
                write!(f, "the day before closes at {closes_at}, and this one opens at {opens_at}")
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} version {}: {}", self.tenant, self.date, self.version, self.what)
    }
}
