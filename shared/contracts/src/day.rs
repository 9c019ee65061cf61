//! Day broadcasts: `daybook.days.<tenant>.opened` and `.closed`, in JSON, for any consumer.

use daybook_domain::calendar::BusinessDay;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use serde::{Deserialize, Serialize};

/// Which end of a business day a marker stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    Opened,
    Closed,
}

impl Edge {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
        }
    }
}

/// "Day D of tenant T is open" or "… is closed". Its place in the log decides what is late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayMarker {
    pub tenant: TenantId,
    pub edge: Edge,
    pub day: BusinessDay,
    /// When it was due: the opening instant, or the closing instant and the tenant's grace.
    pub due_at: Instant,
    /// The published calendar table that the day was taken from.
    pub calendar: Name,
    pub calendar_revision: u64,
    /// The time zone database behind that table.
    pub tzdb: String,
    /// That of the tenant: markers of a removed tenant say nothing about one that has its id now. Left out when it is 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u32,
}

/// Whether it is the generation of tenants whose id was not used before.
pub fn is_first(generation: &u32) -> bool {
    *generation == 0
}
