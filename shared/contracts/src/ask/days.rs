//! Which business days are asked for, as a text.

use super::MAX_RANGE_DAYS;
use daybook_domain::ids::Name;
use daybook_domain::time::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Which business days are asked for. "Today" is the newest day that is open; weeks begin on Monday.
///
/// ```
/// use daybook_contracts::ask::DaySelector;
/// for text in ["today", "yesterday", "week_to_date", "month_to_date", "last_7_days", "2013-03-10",
///              "2013-03-08..2013-03-12", "season:hunt"] {
///     assert_eq!(text.parse::<DaySelector>().unwrap().to_string(), text);
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DaySelector {
    #[default]
    Today,
    Yesterday,
    WeekToDate,
    MonthToDate,
    /// So many days, the last of which is today.
    Last(u16),
    Date(Date),
    /// Both included.
    Range(Date, Date),
    /// A named window of the tenant.
    Season(Name),
}

/// A text that selects no days.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} selects no days: {1}")]
pub struct DaysError(String, &'static str);

const DAYS_FORMS: &str = "use today, yesterday, week_to_date, month_to_date, last_7_days, 2013-03-10, \
     2013-03-08..2013-03-12 or season:NAME";

impl FromStr for DaySelector {
    type Err = DaysError;
    fn from_str(text: &str) -> Result<Self, DaysError> {
        let wrong = |why| DaysError(text.chars().take(64).collect(), why);
        let date = |text: &str| text.parse::<Date>().map_err(|_| wrong(DAYS_FORMS));
        Ok(match text {
            "today" => Self::Today,
            "yesterday" => Self::Yesterday,
            "week_to_date" => Self::WeekToDate,
            "month_to_date" => Self::MonthToDate,
            _ => {
                if let Some(count) = text.strip_prefix("last_").and_then(|rest| rest.strip_suffix("_days")) {
                    let count = count.parse().map_err(|_| wrong(DAYS_FORMS))?;
                    if !(1..=MAX_RANGE_DAYS as u16).contains(&count) {
                        return Err(wrong("at least 1 and at most 400 days can be asked for at once"));
                    }
                    Self::Last(count)
                } else if let Some(name) = text.strip_prefix("season:") {
                    Self::Season(Name::new(name).map_err(|_| wrong("a season's name is made of A-Z a-z 0-9 _ -"))?)
                } else if let Some((from, to)) = text.split_once("..") {
                    let (from, to) = (date(from)?, date(to)?);
                    if to < from {
                        return Err(wrong("the range ends before it begins"));
                    }
                    if to.days_since(from) >= MAX_RANGE_DAYS {
                        return Err(wrong("at least 1 and at most 400 days can be asked for at once"));
                    }
                    Self::Range(from, to)
                } else {
                    Self::Date(date(text)?)
                }
            }
        })
    }
}

impl fmt::Display for DaySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Today => f.write_str("today"),
            Self::Yesterday => f.write_str("yesterday"),
            Self::WeekToDate => f.write_str("week_to_date"),
            Self::MonthToDate => f.write_str("month_to_date"),
            Self::Last(count) => write!(f, "last_{count}_days"),
            Self::Date(date) => date.fmt(f),
            Self::Range(from, to) => write!(f, "{from}..{to}"),
            Self::Season(name) => write!(f, "season:{name}"),
        }
    }
}

impl DaySelector {
    /// The first and the last day, when `today` is the newest open day; `None` for a season.
    pub fn range(&self, today: Date) -> Option<(Date, Date)> {
        let back = |days: i32| (today.plus(-days), today);
        Some(match self {
            Self::Today => (today, today),
            Self::Yesterday => (today.plus(-1), today.plus(-1)),
            Self::WeekToDate => back(today.weekday()),
            Self::MonthToDate => back(today.day_of_month() - 1),
            Self::Last(count) => back(i32::from(*count) - 1),
            Self::Date(date) => (*date, *date),
            Self::Range(from, to) => (*from, *to),
            Self::Season(_) => return None,
        })
    }
}

impl Serialize for DaySelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DaySelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
