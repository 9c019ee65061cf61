//! Rules of calendars: from which day on days open at which local time, and which date names them.

use crate::time::Date;
use serde::{Deserialize, Serialize};

/// Which of the two dates on which it begins and ends names a business day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedBy {
    /// The local date on which it opens.
    #[default]
    Open,
    /// The local date on which it closes, as a trading day or a night shift is named.
    Close,
}

impl NamedBy {
    pub const ALL: [Self; 2] = [Self::Open, Self::Close];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
        }
    }

    /// Whether it is what a definition means that does not say.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// From the business day `from` on, days open at `cutoff` local time in `zone`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CalendarRule {
    pub from: Date,
    /// An IANA time zone such as `America/New_York`.
    pub zone: String,
    /// Minutes after local midnight, 0 to 1439.
    pub cutoff_minutes: u16,
    /// How its days are named; the same in all rules of a tenant. The last field, left out when days are named by their opening.
    #[serde(default, skip_serializing_if = "NamedBy::is_default")]
    pub named_by: NamedBy,
}
