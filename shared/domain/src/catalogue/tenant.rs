//! Tenants: customers, with their calendars, seasons and limits.

use super::rule::{CalendarRule, NamedBy};
use crate::alerts::ReportAlert;
use crate::calendar::{CalendarTable, Lookup};
use crate::ids::{Name, TenantId};
use crate::quotas::Quotas;
use crate::time::{Date, Instant};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::time::Duration;

/// Most seasons of a tenant.
pub const MAX_SEASONS: usize = 16;
/// Longest season: two years.
pub const MAX_SEASON: Duration = Duration::from_secs(2 * 366 * 86_400);
/// Longest grace after a cut-off: one day.
pub const MAX_GRACE_MS: u64 = 86_400_000;
/// The longest `restate_after`: one day. A report that comes later would hardly be of use to anyone.
pub const MAX_RESTATE_AFTER_MS: u64 = 86_400_000;
/// The default of `restate_after`: one minute.
pub const DEFAULT_RESTATE_AFTER_MS: u64 = 60_000;

/// The default of `max_ahead`: one day.
pub const DEFAULT_MAX_AHEAD_MS: u64 = 86_400_000;
/// The largest `max_ahead`: a year. The published calendars end before that.
pub const LARGEST_MAX_AHEAD_MS: u64 = 366 * 86_400_000;

/// The name of the clock that follows real time.
pub const SYSTEM_CLOCK: &str = "system";

/// A customer, with its calendar.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    pub id: TenantId,
    #[serde(default)]
    pub name: Option<String>,
    /// Effective-dated rules, in order of `from`; the first one's `from` counts from ever.
    pub calendar: Vec<CalendarRule>,
    /// How long after its cut-off a day stays open for late arrivals, in milliseconds; at most [`MAX_GRACE_MS`].
    #[serde(default)]
    pub grace_ms: u64,
    /// Events before this business day are refused.
    pub first_day: Date,
    /// The clock its days close by: `system`, or a named one that a replay drives.
    pub clock: Name,
    /// Grows by one with every change; 0 until day-manager has accepted it.
    #[serde(default)]
    pub revision: u64,
    /// The published table of its calendar, named by day-manager.
    #[serde(default)]
    pub table: Option<Name>,
    /// At most [`MAX_SEASONS`], names differ.
    #[serde(default)]
    pub seasons: Vec<Season>,
    /// Left out when there are none, so that a log without quotas is what it was before there were any.
    #[serde(default)]
    pub quotas: Quotas,
    /// A closed day that late events change gets a new report version at most once in so many milliseconds; at most
    /// [`MAX_RESTATE_AFTER_MS`]. Absent, as in definitions from before there was this field, and 0: with every batch that
    /// changes the day. Left out when it is absent.
    #[serde(default)]
    pub restate_after_ms: Option<u64>,
    /// Events that are further ahead are rejects; at most [`LARGEST_MAX_AHEAD_MS`]. By the system clock, ahead of when they were
    /// published; by a named one, which does not run by itself, ahead of the end of the open day. Absent, as in definitions from before
    /// there was this field: no limit but that of the calendar. Left out when it is absent.
    #[serde(default)]
    pub max_ahead_ms: Option<u64>,
    /// How many tenants of this id were removed before. It tells the days and reports of this one from theirs. Left out when it is 0.
    #[serde(default)]
    pub generation: u32,
    /// Where days were ended by hand; in order of their dates, for as long as their events may be corrected. Left out when there are none.
    #[serde(default)]
    pub boundaries: Vec<Boundary>,
    /// The alerts for reports that it gets, each once. Left out when there are none.
    #[serde(default)]
    pub alerts: BTreeSet<ReportAlert>,
}

/// A business day that was ended by hand: its events from `at` on belong to the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    pub date: Date,
    /// Within the day, and after its opening.
    pub at: Instant,
}

impl Tenant {
    /// The business day of an event at that time, by the table of the tenant's calendar and its boundaries.
    pub fn day_at(&self, table: &CalendarTable, at: Instant) -> Lookup {
        let mut found = table.day_at(at);
        while let Lookup::Day(day) = found {
            if self.boundary(day.date).is_none_or(|end| at < end) {
                break;
            }
            found = table.day_from(day.date.next()).map_or(Lookup::Beyond, Lookup::Day);
        }
        found
    }

    /// Where a day was ended by hand.
    pub fn boundary(&self, date: Date) -> Option<Instant> {
        self.boundaries.iter().find(|boundary| boundary.date == date).map(|boundary| boundary.at)
    }

    /// The shortest time between two restatements of a day; `None` when every batch that changes the day restates it.
    pub fn restate_after(&self) -> Option<Duration> {
        self.restate_after_ms.filter(|millis| *millis > 0).map(Duration::from_millis)
    }

    /// How far ahead events may be; `None` for no limit but that of the calendar.
    pub fn max_ahead(&self) -> Option<Duration> {
        self.max_ahead_ms.map(Duration::from_millis)
    }

    /// Which date names its days.
    pub fn named_by(&self) -> NamedBy {
        self.calendar.first().map_or(NamedBy::Open, |rule| rule.named_by)
    }

    /// Whether its days close by the system clock, rather than by a named one that requests drive.
    pub fn is_by_system_clock(&self) -> bool {
        self.clock.as_str() == SYSTEM_CLOCK
    }
}

/// The last fields are left out when they are empty. By position a field can be left out only together with all that follow it.
impl Serialize for Tenant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_positional = !serializer.is_human_readable();
        let has_alerts = !self.alerts.is_empty();
        let has_boundaries = !self.boundaries.is_empty() || (is_positional && has_alerts);
        let has_generation = self.generation > 0 || (is_positional && has_boundaries);
        let has_ahead = self.max_ahead_ms.is_some() || (is_positional && has_generation);
        let has_restate = self.restate_after_ms.is_some() || (is_positional && has_ahead);
        let has_quotas = !self.quotas.is_none() || (is_positional && has_restate);
        let fields = 9
            + usize::from(has_quotas)
            + usize::from(has_restate)
            + usize::from(has_ahead)
            + usize::from(has_generation)
            + usize::from(has_boundaries)
            + usize::from(has_alerts);
        let mut tenant = serializer.serialize_struct("Tenant", fields)?;
        tenant.serialize_field("id", &self.id)?;
        tenant.serialize_field("name", &self.name)?;
        tenant.serialize_field("calendar", &self.calendar)?;
        tenant.serialize_field("grace_ms", &self.grace_ms)?;
        tenant.serialize_field("first_day", &self.first_day)?;
        tenant.serialize_field("clock", &self.clock)?;
        tenant.serialize_field("revision", &self.revision)?;
        tenant.serialize_field("table", &self.table)?;
        tenant.serialize_field("seasons", &self.seasons)?;
        match has_quotas {
            true => tenant.serialize_field("quotas", &self.quotas)?,
            false => tenant.skip_field("quotas")?,
        }
        match has_restate {
            true => tenant.serialize_field("restate_after_ms", &self.restate_after_ms)?,
            false => tenant.skip_field("restate_after_ms")?,
        }
        match has_ahead {
            true => tenant.serialize_field("max_ahead_ms", &self.max_ahead_ms)?,
            false => tenant.skip_field("max_ahead_ms")?,
        }
        match has_generation {
            true => tenant.serialize_field("generation", &self.generation)?,
            false => tenant.skip_field("generation")?,
        }
        match has_boundaries {
            true => tenant.serialize_field("boundaries", &self.boundaries)?,
            false => tenant.skip_field("boundaries")?,
        }
        match has_alerts {
            true => tenant.serialize_field("alerts", &self.alerts)?,
            false => tenant.skip_field("alerts")?,
        }
        tenant.end()
    }
}

/// A named window of a tenant over which its views are computed as well, such as a hunt of 48 hours: `[from, to)` by
/// event time, across business days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Season {
    pub name: Name,
    pub from: Instant,
    /// After `from`, by at most [`MAX_SEASON`].
    pub to: Instant,
}

impl Season {
    pub fn holds(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }
}
