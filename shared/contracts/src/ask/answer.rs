//! Answers: rows or days, and how far they can be relied on.

use crate::report::{Account, Coverage, Row};
use compact_str::CompactString;
use daybook_domain::ids::{InboxSeq, LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Serialize};

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

/// A feed and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Unlike that of any other feed, also of the same view.
    pub feed: CompactString,
    /// Of the last message that the answer's rows include; 0 before the first.
    pub sequence: u64,
}

/// The rows of a view, and how far they can be relied on. Whoever only hands it on may leave the rows as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<Rows = Vec<Row>> {
    pub tenant: TenantId,
    /// How many tenants of this id were removed before; left out when 0.
    #[serde(default, skip_serializing_if = "crate::day::is_first")]
    pub generation: u32,
    pub view: Name,
    /// The first and the last business day asked for; of a season, the days that it touches.
    pub from: Date,
    pub to: Date,
    /// Open when any of the days is.
    pub day: DayState,
    pub rows: Rows,
    /// How many rows there are on all pages.
    pub total: u64,
    /// The cursor of the next page, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    pub as_of: AsOf,
    /// How many milliseconds ago the figures were known to be level with the log; 0 for sealed days.
    pub freshness_ms: u64,
    /// The shard is away: these are the last known figures, as old as `freshness_ms` says.
    #[serde(default)]
    pub stale: bool,
    pub coverage: Coverage,
    /// Revision of the view's definition.
    pub definition: u64,
    /// The newest sealed version, if one closed day was asked for.
    pub report: Option<u32>,
    /// With `watch`: what follows on the live subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<Feed>,
}

impl<Rows> Answer<Rows> {
    /// The same with its rows in another form.
    pub fn with_rows<Others>(self, others: impl FnOnce(Rows) -> Others) -> Answer<Others> {
        Answer {
            rows: others(self.rows),
            tenant: self.tenant,
            generation: self.generation,
            view: self.view,
            from: self.from,
            to: self.to,
            day: self.day,
            total: self.total,
            next: self.next,
            as_of: self.as_of,
            freshness_ms: self.freshness_ms,
            stale: self.stale,
            coverage: self.coverage,
            definition: self.definition,
            report: self.report,
            feed: self.feed,
        }
    }
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
    /// The account is that of the report: what came since and changed no figure may not be in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_reported: bool,
    /// Late events have changed the figures of the closed day since its newest report, and a further version will come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restating: bool,
}

/// Days of a tenant: those that a shard keeps, or a page of all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    pub tenant: TenantId,
    /// In order of their dates.
    pub days: Vec<DayAccount>,
    pub as_of: AsOf,
    /// The cursor of the page with earlier days, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
