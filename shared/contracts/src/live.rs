//! `daybook.live.<tenant>.<view>`: the rows of a view that changed, while someone listens.
//!
//! A listener subscribes to the subject, and asks for the view with `watch: true`. The answer is the snapshot; its
//! [`Feed`](crate::ask::Feed) says which messages follow it: those of the same `feed` with greater sequences, one after the other. A gap,
//! or another feed in the answer to a repeated question, means that something was missed: take the new snapshot. The
//! question is repeated every [`RENEW_AFTER`]; without that the feed ends after [`LEASE`].

pub mod view;

use crate::ask::{AsOf, DayState};
use crate::report::Row;
use compact_str::CompactString;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a feed goes on after it was last asked for.
pub const LEASE: Duration = Duration::from_secs(30);
/// When a listener asks again.
pub const RENEW_AFTER: Duration = Duration::from_secs(10);
/// Rows of a ranking that are pushed: the first ones.
pub const MAX_RANKED_ROWS: usize = 100;

/// One message of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveUpdate {
    pub tenant: TenantId,
    pub view: Name,
    pub feed: CompactString,
    /// One more than that of the message before.
    pub sequence: u64,
    /// The day that the rows are of; another one than before means that all rows before are void.
    pub date: Date,
    pub day: DayState,
    /// Rows that are new or have other figures. Rows are told apart by their dimensions, those of a ranking by their
    /// position.
    pub rows: Vec<Row>,
    /// Rows that are no more: only their dimensions, or position.
    pub removed: Vec<Row>,
    /// What changed would not fit in a message: ask for the snapshot.
    pub reset: bool,
    pub as_of: AsOf,
}
