//! What query asks of a shard, and how views stand there.

use super::days::DaySelector;
use super::query::Query;
use crate::report::Coverage;
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};

/// What query asks of a shard, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardQuestion {
    /// Answered by [`Answer`](super::Answer); [`AskErrorCode::Expired`](super::AskErrorCode::Expired) when it asks for days that the shard has let go of.
    View {
        tenant: TenantId,
        view: Name,
        query: Box<Query>,
    },
    /// The groups behind the figures of the days from `from` to `to`, to be merged with those of older days. Answered
    /// by [`crate::figures::Figures`] in MessagePack, or by an error in JSON (which begins with `{`).
    Figures {
        tenant: TenantId,
        view: Name,
        from: Date,
        to: Date,
    },
    Days {
        tenant: TenantId,
    },
    /// The groups behind a view's figures for tenants of a group, of each for its own business days. Answered by
    /// [`crate::totals::Totals`] in MessagePack, or by an error in JSON (which begins with `{`).
    Totals {
        /// Whose turn it takes.
        group: TenantId,
        tenants: Vec<TenantId>,
        view: Name,
        /// No season: that is one tenant's.
        days: DaySelector,
    },
    Position,
    /// How the views of the partition stand. Answered by a list of [`ViewProgress`].
    Views,
    /// The views in force that the tenant may ask for. Answered by [`crate::lists::ViewList`].
    ViewsOf {
        tenant: TenantId,
        /// The group of tenants that asks; the question takes its turn then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<TenantId>,
    },
}

/// How a view stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewProgress {
    pub view: Name,
    /// The revision in force, 0 for none.
    pub active: u64,
    /// A newer revision that is being backfilled.
    pub pending: Option<Backfilling>,
    pub coverage: Coverage,
}

/// A view's backfill in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilling {
    pub revision: u64,
    /// 0 to 100; how much of the log below has been read.
    pub percent: u8,
    /// All of it is there: the view can be activated.
    pub ready: bool,
    /// Where the log had to be begun when it no longer reaches back.
    pub since: Option<LogSeq>,
}
