//! The question of a client about a view.

use super::days::DaySelector;
use super::order::Order;
use super::pieces::Pieces;
use compact_str::CompactString;
use daybook_domain::catalogue::{RankedBy, Ties};
use daybook_domain::ids::{InboxSeq, Name};
use serde::{Deserialize, Serialize};

/// How to rank, and around whom. Rows get the columns `position` (1, 2, 3, …) and `rank` (by the tie rule).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankQuery {
    /// By which metrics; default: the view's ranking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<RankedBy>,
    /// Default: the view's ranking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ties: Option<Ties>,
    /// Only this member, by the values of the asked dimensions in their order, and its neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Vec<Option<CompactString>>>,
    /// How many neighbours on either side, at most [`MAX_AROUND`](super::MAX_AROUND).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub around: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How an answer writes metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As numbers with all digits of their measure, such as `5077.30`.
    #[default]
    Number,
    /// As texts of the same digits, for readers whose numbers are binary floats, as those of JavaScript are.
    Text,
}

impl Numbers {
    fn is_default(&self) -> bool {
        *self == Self::Number
    }
}

/// The body of a query, in JSON, or in MessagePack (a map) with that content type. An empty body asks for today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    pub days: DaySelector,
    /// Which metrics of the view, in this order; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Name>>,
    /// Which of the view's dimensions, in this order; all when absent. The others are rolled up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Vec<Name>>,
    /// A condition on dimensions of the view, whether they are shown or not.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    pub grain: Pieces,
    /// Columns of the answer; default: the ranking if the view has one, else time and dimensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<Order>,
    /// Most rows of this page, 1 to [`MAX_ANSWER_ROWS`](super::MAX_ANSWER_ROWS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before; the rest of the question must be the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Gives ranks, also where the view has no ranking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankQuery>,
    /// Answer only when the figures rest on this INBOX sequence (of the asker's PubAck) or a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<InboxSeq>,
    /// How the answer writes metrics.
    #[serde(skip_serializing_if = "Numbers::is_default")]
    pub numbers: Numbers,
    /// Whether last known figures will do, marked `stale`, when the shard is away.
    pub accept_stale: bool,
    /// Start or renew the view's feed on `daybook.live.<tenant>.<view>`; see [`crate::live`]. Only for a question that
    /// asks for nothing else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            days: DaySelector::Today,
            metrics: None,
            dimensions: None,
            filter: None,
            grain: Pieces::Total,
            order: Vec::new(),
            limit: None,
            cursor: None,
            rank: None,
            at_least: None,
            numbers: Numbers::default(),
            accept_stale: true,
            watch: false,
        }
    }
}

impl Query {
    /// The view as it stands for these days.
    pub fn days(days: DaySelector) -> Self {
        Self { days, ..Self::default() }
    }
}
