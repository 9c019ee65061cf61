//! A tenant's calendar as a table of instants. Whoever converts time zones fills it (day-manager); everyone else
//! only compares instants.

mod offsets;
mod runs;

pub use offsets::{DayClock, Offset};

use crate::ids::Name;
use crate::time::{Date, Instant};
use serde::{Deserialize, Serialize};

/// One business day: the half-open interval `[opens_at, closes_at)`, named by its local date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessDay {
    pub date: Date,
    pub opens_at: Instant,
    pub closes_at: Instant,
}

/// The cut-offs of one tenant calendar, from its first day to the horizon to which it has been published.
///
/// `cutoffs[i]` is the instant at which the day `first + i` opens, and the one before it closes. A date whose
/// cut-off equals the next date's does not exist (Pacific/Apia has no 2011-12-30).
///
/// # Invariants
/// `cutoffs` never decreases and holds at least two instants. Published entries are never rewritten; the table grows at
/// either end, so days are looked up by date or instant, never by an index that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarTable {
    /// Which calendar this is, e.g. `New_York-0500-1a2b3c4d`; tenants refer to it.
    pub name: Name,
    /// Grows by one whenever the table is extended.
    pub revision: u64,
    /// The time zone database it was made with, e.g. `2026a`.
    pub tzdb: String,
    pub first: Date,
    #[serde(with = "runs")]
    pub cutoffs: Vec<Instant>,
    /// How far local clocks are ahead of UTC, in order of time, for all that the cut-offs span. Empty in a table that an earlier build
    /// published; day-manager publishes it again with them. The last field, left out when it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "offsets")]
    pub offsets: Vec<Offset>,
}

/// Where an instant falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Before the first published day.
    Before,
    Day(BusinessDay),
    /// At or after the last published cut-off.
    Beyond,
}

impl CalendarTable {
    /// The first instant of the table.
    pub fn opens_at(&self) -> Instant {
        self.cutoffs[0]
    }

    /// The instant up to which days are published.
    pub fn horizon(&self) -> Instant {
        self.cutoffs[self.cutoffs.len() - 1]
    }

    /// The business day that holds `at`.
    pub fn day_at(&self, at: Instant) -> Lookup {
        // The last cut-off at or before `at` opens the day; among equal ones the last, which is the date that exists.
        let after = self.cutoffs.partition_point(|cutoff| *cutoff <= at);
        if after == 0 {
            return Lookup::Before;
        }
        if after == self.cutoffs.len() {
            return Lookup::Beyond;
        }
        Lookup::Day(BusinessDay {
            date: self.first.plus(after as i32 - 1),
            opens_at: self.cutoffs[after - 1],
            closes_at: self.cutoffs[after],
        })
    }

    /// The day of that name, when it exists and is published.
    pub fn day(&self, date: Date) -> Option<BusinessDay> {
        let index = usize::try_from(date.days_since(self.first)).ok()?;
        let (opens_at, closes_at) = (*self.cutoffs.get(index)?, *self.cutoffs.get(index + 1)?);
        (opens_at < closes_at).then_some(BusinessDay { date, opens_at, closes_at })
    }

    /// The first existing day at or after `date`.
    pub fn day_from(&self, date: Date) -> Option<BusinessDay> {
        let last = self.first.plus(self.cutoffs.len() as i32 - 1);
        let mut date = date.max(self.first);
        while date < last {
            if let Some(day) = self.day(date) {
                return Some(day);
            }
            date = date.next();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(hours: &[i64]) -> CalendarTable {
        CalendarTable {
            name: Name::new("test").unwrap(),
            revision: 1,
            tzdb: "test".into(),
            first: Date::from_days(0),
            cutoffs: hours.iter().map(|h| Instant::from_millis(h * 3_600_000)).collect(),
            offsets: Vec::new(),
        }
    }

    #[test]
    fn a_boundary_belongs_to_the_later_day() {
        let table = table(&[0, 24, 47, 72]);
        let at = |h: i64| table.day_at(Instant::from_millis(h * 3_600_000));
        assert_eq!(at(-1), Lookup::Before);
        assert!(matches!(at(0), Lookup::Day(day) if day.date == Date::from_days(0)));
        assert!(matches!(at(24), Lookup::Day(day) if day.date == Date::from_days(1)));
        assert!(matches!(at(47), Lookup::Day(day) if day.date == Date::from_days(2)));
        assert_eq!(at(72), Lookup::Beyond);
    }

    #[test]
    fn a_date_that_does_not_exist_is_no_day() {
        let table = table(&[0, 24, 24, 48]);
        assert!(table.day(Date::from_days(1)).is_none());
        assert_eq!(table.day_from(Date::from_days(1)).unwrap().date, Date::from_days(2));
        assert!(matches!(table.day_at(Instant::from_millis(24 * 3_600_000)),
            Lookup::Day(day) if day.date == Date::from_days(2)));
    }
}
