//! The pieces of time into which rows are divided.

use daybook_domain::catalogue::Grain;
use serde::{Deserialize, Serialize};

/// Into which pieces of time the answer's rows are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pieces {
    /// None: one row for everything asked for.
    #[default]
    Total,
    /// A column `day`.
    Day,
    /// A column `time`, the start of each; only of views that are kept as finely.
    Hour,
    QuarterHour,
    /// A column `time`, the local time at which each hour of the clock begins; only of views that are kept by `clock_hour`.
    ClockHour,
    /// A column `time`, the hour of the clock: all days together. Only of views that are kept by `clock_hour`.
    HourOfDay,
}

impl From<Grain> for Pieces {
    fn from(grain: Grain) -> Self {
        match grain {
            Grain::Day => Self::Total,
            Grain::Hour => Self::Hour,
            Grain::QuarterHour => Self::QuarterHour,
            Grain::ClockHour => Self::ClockHour,
        }
    }
}

impl Pieces {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::QuarterHour => "quarter_hour",
            Self::ClockHour => "clock_hour",
            Self::HourOfDay => "hour_of_day",
        }
    }

    /// The grain that the view must have, or, but for hours of the clock, a finer one.
    pub fn grain(self) -> Grain {
        match self {
            Self::Total | Self::Day => Grain::Day,
            Self::Hour => Grain::Hour,
            Self::QuarterHour => Grain::QuarterHour,
            Self::ClockHour | Self::HourOfDay => Grain::ClockHour,
        }
    }
}
