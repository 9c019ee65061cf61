//! What a tenant wants to be told of, as users define it: conditions on the figures of a view, and what becomes of the day's report.
//! A condition is compiled with its view in [`crate::plan`].

use crate::ids::Name;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most alerts of a view.
pub const MAX_ALERTS: usize = 16;

/// An alert of a view: a group fires it on a business day when its figures meet the condition first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewAlert {
    /// Names of a view's alerts differ, and none is the text of a [`ReportAlert`].
    pub name: Name,
    /// A condition in the language of `where`, over the view's metrics and the dimensions that it groups by, such as
    /// `revenue < 0 and store != 'online'`.
    pub when: String,
}

/// An alert for the reports of a tenant's days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportAlert {
    /// The day has its first report.
    DaySealed,
    /// A further version of the day's report supersedes the one before.
    ReportRestated,
}

impl ReportAlert {
    pub const ALL: [Self; 2] = [Self::DaySealed, Self::ReportRestated];

    /// Its text, which no alert of a view has for a name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DaySealed => "day_sealed",
            Self::ReportRestated => "report_restated",
        }
    }
}

impl fmt::Display for ReportAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
