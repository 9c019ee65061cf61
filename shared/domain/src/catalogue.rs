//! What users define: kinds, views, tenants and groups of tenants. Plain data; a view is compiled in [`crate::plan`].
//!
//! These travel in JSON and, by position, in MessagePack: so no field may be left out when it is empty, but the last one.

use crate::alerts::{ReportAlert, ViewAlert};
use crate::calendar::{CalendarTable, Lookup};
use crate::ids::{LogSeq, Name, TenantId};
use crate::mapping::Mapping;
use crate::quotas::Quotas;
use crate::time::{Date, Instant};
use serde::de::Visitor;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Most dimensions, and most measures, of a kind.
pub const MAX_COLUMNS: usize = 64;
/// Most metrics of a view.
pub const MAX_METRICS: usize = 64;
/// Most dimensions that a view groups by.
pub const MAX_GROUP_BY: usize = 8;
/// Most digits after the point of a decimal measure.
pub const MAX_SCALE: u8 = 12;
/// Most tenants that a view is activated for by name; a view for more is one for everyone.
pub const MAX_VIEW_TENANTS: usize = 1_000;
/// Most tenants of a group.
pub const MAX_GROUP_TENANTS: usize = 1_000;
/// Most changes of a view's late policy.
pub const MAX_LATE_CHANGES: usize = 64;
/// Most metrics that a ranking orders by.
pub const MAX_RANKED_BY: usize = 8;
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

/// The default of `remember`: a year, the 35 days in which a day can be corrected, and a day more or less.
pub const DEFAULT_REMEMBER_DAYS: u16 = 400;
/// The least `remember`: ids are known for as long as their days can be corrected anyway.
pub const LEAST_REMEMBER_DAYS: u16 = 35;
/// The largest `remember`: nearly eleven years. Each day that has ids takes some bytes of memory by itself.
pub const LARGEST_REMEMBER_DAYS: u16 = 4_000;

/// The default of `max_ahead`: one day.
pub const DEFAULT_MAX_AHEAD_MS: u64 = 86_400_000;
/// The largest `max_ahead`: a year. The published calendars end before that.
pub const LARGEST_MAX_AHEAD_MS: u64 = 366 * 86_400_000;

/// Whether events of a kind are upserts of something with an id, or occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Has an id; the newest version wins and its old contribution is retracted.
    Entity,
    /// Append-only.
    Fact,
}

/// Where an entity stands in its life. Facts are always [`Status::Final`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Known, but not counted yet.
    Draft,
    #[default]
    Final,
    /// Cancelled, withdrawn, taken back.
    Void,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Draft, Self::Final, Self::Void];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Final => "final",
            Self::Void => "void",
        }
    }
}

/// A type of event with its semantic model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kind {
    pub name: Name,
    pub mode: Mode,
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
    #[serde(default)]
    pub measures: Vec<Measure>,
    /// Grows by one with every change; 0 until day-manager has accepted it.
    #[serde(default)]
    pub revision: u64,
    /// Rules that make events out of foreign records; names differ. They stand in CATALOG and never in the log.
    #[serde(default, with = "crate::mapping::stored")]
    pub mappings: Vec<Mapping>,
    /// For how many business days after its own an id is known, [`LEAST_REMEMBER_DAYS`] to [`LARGEST_REMEMBER_DAYS`]. An event whose id
    /// belongs to a day that can no longer be corrected is a reject for so long. Absent, as in definitions from before there was this
    /// field: only for as long as days can be corrected. Left out when it is absent.
    #[serde(default)]
    pub remember: Option<u16>,
}

/// The last fields are left out when they are empty. By position a field can be left out only together with all that follow it.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_positional = !serializer.is_human_readable();
        let has_mappings = !self.mappings.is_empty() || (is_positional && self.remember.is_some());
        let fields = 5 + usize::from(has_mappings) + usize::from(self.remember.is_some());
        let mut kind = serializer.serialize_struct("Kind", fields)?;
        kind.serialize_field("name", &self.name)?;
        kind.serialize_field("mode", &self.mode)?;
        kind.serialize_field("dimensions", &self.dimensions)?;
        kind.serialize_field("measures", &self.measures)?;
        kind.serialize_field("revision", &self.revision)?;
        match has_mappings {
            true => kind.serialize_field("mappings", &crate::mapping::Stored(&self.mappings))?,
            false => kind.skip_field("mappings")?,
        }
        match self.remember {
            Some(days) => kind.serialize_field("remember", &days)?,
            None => kind.skip_field("remember")?,
        }
        kind.end()
    }
}

impl Kind {
    /// Whether `remember` is one that a kind may have.
    ///
    /// # Errors
    /// Says what it may be.
    pub fn check_remember(days: u16) -> Result<(), String> {
        match (LEAST_REMEMBER_DAYS..=LARGEST_REMEMBER_DAYS).contains(&days) {
            true => Ok(()),
            false => Err(format!("remember is {LEAST_REMEMBER_DAYS} to {LARGEST_REMEMBER_DAYS} days, found {days}")),
        }
    }

    pub fn dimension(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|d| d.name.as_str() == name)
    }

    pub fn measure(&self, name: &str) -> Option<usize> {
        self.measures.iter().position(|m| m.name.as_str() == name)
    }
}

/// An attribute to group and filter by; its values are texts or null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    pub name: Name,
    /// The event's own top-level field that holds it (such as `event`); otherwise it is in the event's `dims`.
    #[serde(default)]
    pub field: Option<Name>,
}

/// A number that events carry: exact, in the range of an `i64` after scaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    pub name: Name,
    /// Digits after the decimal point, 0 to [`MAX_SCALE`]; 0 is an integer.
    #[serde(default)]
    pub scale: u8,
}

/// A set of metrics of one kind, grouped by dimensions, over the grains of a business day.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct View {
    pub name: Name,
    pub kind: Name,
    #[serde(default)]
    pub group_by: Vec<Name>,
    pub metrics: Vec<Metric>,
    /// Grows by one with every change; 0 until day-manager has accepted it.
    #[serde(default)]
    pub revision: u64,
    #[serde(default)]
    pub grain: Grain,
    /// What becomes of changes to a day that has closed.
    #[serde(default)]
    pub late: LatePolicy,
    /// Orders the groups and gives each its rank. Only at grain day.
    #[serde(default)]
    pub ranking: Option<Ranking>,
    /// For whom it is computed, at most [`MAX_VIEW_TENANTS`]; everyone when absent.
    #[serde(default)]
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Other late policies from later business days on, in order of `from`; at most [`MAX_LATE_CHANGES`]. Left out when there are none.
    #[serde(default)]
    pub late_changes: Vec<LateChange>,
    /// What groups fire; at most [`MAX_ALERTS`](crate::alerts::MAX_ALERTS). No figure depends on them. Left out when there are none.
    #[serde(default)]
    pub alerts: Vec<ViewAlert>,
}

impl View {
    /// A view of days that is restated, for everyone.
    pub fn new(name: Name, kind: Name, group_by: Vec<Name>, metrics: Vec<Metric>) -> Self {
        Self {
            name,
            kind,
            group_by,
            metrics,
            revision: 0,
            grain: Grain::Day,
            late: LatePolicy::Restate,
            ranking: None,
            tenants: None,
            late_changes: Vec::new(),
            alerts: Vec::new(),
        }
    }

    /// The late policy of a business day.
    pub fn late_on(&self, date: Date) -> LatePolicy {
        let after = self.late_changes.partition_point(|change| change.from <= date);
        after.checked_sub(1).map_or(self.late, |last| self.late_changes[last].late)
    }

    /// Every late policy that it has had, has or will have.
    pub fn late_policies(&self) -> impl Iterator<Item = LatePolicy> {
        std::iter::once(self.late).chain(self.late_changes.iter().map(|change| change.late))
    }

    /// Whether both have the same late policy on each business day from `from` on and before `before`.
    pub fn late_agrees(&self, other: &Self, from: Date, before: Date) -> bool {
        let changes = self.late_changes.iter().chain(&other.late_changes).map(|change| change.from);
        let dates = std::iter::once(from).chain(changes).filter(|date| (from..before).contains(date));
        dates.into_iter().all(|date| self.late_on(date) == other.late_on(date))
    }

    /// The view with the late policies of `past` through that day.
    #[must_use]
    pub fn with_late_of(&self, past: &Self, through: Date) -> Self {
        let next = through.next();
        let kept = past.late_changes.iter().filter(|change| change.from <= through).copied();
        let present = LateChange { from: next, late: self.late_on(next) };
        let later = self.late_changes.iter().filter(|change| change.from > next).copied();
        let mut policy = past.late;
        let changes = kept.chain([present]).chain(later);
        // One that repeats the policy before says nothing.
        let late_changes =
            changes.filter(|change| std::mem::replace(&mut policy, change.late) != change.late).collect();
        Self { late: past.late, late_changes, ..self.clone() }
    }

    /// The late policies as people read them: `restate, carry_forward from 2024-05-02 on`.
    pub fn late_text(&self) -> String {
        let changes =
            self.late_changes.iter().map(|change| format!(", {} from {} on", change.late.as_str(), change.from));
        std::iter::once(self.late.as_str().to_owned()).chain(changes).collect()
    }

    /// Whether it is computed for the tenant.
    pub fn is_for(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// Whether the groups of both add up: they compute the same, but for what they do with late changes.
    pub fn adds_up_with(&self, other: &Self) -> bool {
        // Every field is named, so that whoever adds one decides about it here.
        let Self {
            name,
            kind,
            group_by,
            metrics,
            grain,
            ranking,
            revision: _,
            late: _,
            tenants: _,
            late_changes: _,
            alerts: _,
        } = self;
        (name, kind, group_by, metrics, grain, ranking)
            == (&other.name, &other.kind, &other.group_by, &other.metrics, &other.grain, &other.ranking)
    }

    /// Whether both compute the same figures, whoever they do it for.
    pub fn computes_as(&self, other: &Self) -> bool {
        self.adds_up_with(other) && (self.late, &self.late_changes) == (other.late, &other.late_changes)
    }
}

/// The last fields are left out when they are empty. By position a field can be left out only together with all that follow it.
impl Serialize for View {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_alerts = !self.alerts.is_empty();
        let has_changes = !self.late_changes.is_empty() || (!serializer.is_human_readable() && has_alerts);
        let fields = 9 + usize::from(has_changes) + usize::from(has_alerts);
        let mut view = serializer.serialize_struct("View", fields)?;
        view.serialize_field("name", &self.name)?;
        view.serialize_field("kind", &self.kind)?;
        view.serialize_field("group_by", &self.group_by)?;
        view.serialize_field("metrics", &self.metrics)?;
        view.serialize_field("revision", &self.revision)?;
        view.serialize_field("grain", &self.grain)?;
        view.serialize_field("late", &self.late)?;
        view.serialize_field("ranking", &self.ranking)?;
        view.serialize_field("tenants", &self.tenants)?;
        match has_changes {
            true => view.serialize_field("late_changes", &self.late_changes)?,
            false => view.skip_field("late_changes")?,
        }
        match has_alerts {
            true => view.serialize_field("alerts", &self.alerts)?,
            false => view.skip_field("alerts")?,
        }
        view.end()
    }
}

/// How finely a view divides the business day. Hours and quarters are counted from its opening: a day of 23 hours has 23 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    QuarterHour,
    Hour,
    /// Hours as local clocks show them, whenever the day opens.
    ClockHour,
    #[default]
    Day,
}

impl Grain {
    pub const ALL: [Self; 4] = [Self::QuarterHour, Self::Hour, Self::ClockHour, Self::Day];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuarterHour => "quarter_hour",
            Self::Hour => "hour",
            Self::ClockHour => "clock_hour",
            Self::Day => "day",
        }
    }

    /// How long each is; `None` for the whole day, and for hours of clocks, which may be changed in between.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::QuarterHour => Some(Duration::from_secs(15 * 60)),
            Self::Hour => Some(Duration::from_secs(60 * 60)),
            Self::ClockHour | Self::Day => None,
        }
    }
}

/// Another late policy, from a business day on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateChange {
    pub from: Date,
    pub late: LatePolicy,
}

/// What becomes of a change to a day that stands behind the day's close marker in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// The day's figures change, and a new version of its report says so.
    #[default]
    Restate,
    /// The day stays; the difference is posted to the open day as an adjustment. Only for what adds up:
    /// `count`, `sum` and `ratio` of them, at grain day.
    CarryForward,
    /// The day stays, and the view does not take the change in.
    Reject,
}

impl LatePolicy {
    pub const ALL: [Self; 3] = [Self::Restate, Self::CarryForward, Self::Reject];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restate => "restate",
            Self::CarryForward => "carry_forward",
            Self::Reject => "reject",
        }
    }
}

/// How the groups of a view compete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranking {
    /// The first decides, the next among equals of it, and so on; 1 to [`MAX_RANKED_BY`].
    pub by: Vec<RankedBy>,
    #[serde(default)]
    pub ties: Ties,
    /// Whether the earlier ranks higher among equals.
    #[serde(default)]
    pub earliest: Earliest,
}

/// Whether the earlier ranks higher among equals, and what earlier means. In JSON and MessagePack `false`, `true` or
/// `"reached"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Earliest {
    /// Equals are equal.
    #[default]
    No,
    /// By the latest event time that the first criterion takes in, whether or not it changed anything. Only definitions that an
    /// earlier build accepted have it: its reports can be made again, and its groups read. day-manager accepts no new ones.
    LatestTime,
    /// By when each group reached its present score: the earliest event time such that what happened until then gives the
    /// present figures of all criteria.
    Reached,
}

impl Earliest {
    const REACHED: &str = "reached";
}

impl Serialize for Earliest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::LatestTime => serializer.serialize_bool(true),
            Self::Reached => serializer.serialize_str(Self::REACHED),
        }
    }
}

impl<'de> Deserialize<'de> for Earliest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl Visitor<'_> for Words {
            type Value = Earliest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "true, false or {:?}", Earliest::REACHED)
            }

            fn visit_bool<E: de::Error>(self, is_earliest: bool) -> Result<Earliest, E> {
                Ok(if is_earliest { Earliest::LatestTime } else { Earliest::No })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Earliest, E> {
                match word {
                    Earliest::REACHED => Ok(Earliest::Reached),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Words)
    }
}

/// One criterion of a ranking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankedBy {
    /// A metric of the view. Members without a figure (null) come last.
    pub metric: Name,
    #[serde(default)]
    pub direction: Direction,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Asc,
    #[default]
    Desc,
}

/// What rank equals get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ties {
    /// 1, 2, 2, 4.
    #[default]
    Competition,
    /// 1, 2, 2, 3.
    Dense,
    /// 1, 2, 3, 4: equals in the order of their dimensions.
    Ordinal,
}

impl Ties {
    pub const ALL: [Self; 3] = [Self::Competition, Self::Dense, Self::Ordinal];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Competition => "competition",
            Self::Dense => "dense",
            Self::Ordinal => "ordinal",
        }
    }
}

/// A named figure of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    pub name: Name,
    /// What is computed, such as `count`, `sum(distance)` or `quantile(arr_delay, 0.95)`.
    pub value: String,
    /// Which entities take part, such as `arr_delay <= 15`; all when absent.
    #[serde(rename = "where", default)]
    pub filter: Option<String>,
    /// In which states an entity takes part.
    #[serde(default = "only_final")]
    pub status: Vec<Status>,
}

/// What a metric counts when its definition does not say: final entities.
pub fn only_final() -> Vec<Status> {
    vec![Status::Final]
}

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

/// Tenants that are asked together, such as the stores of a chain. Its id is asked like a tenant's, so it is never that of a tenant.
/// Groups concern the reading side alone: no log has them, and no state depends on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantGroup {
    pub id: TenantId,
    #[serde(default)]
    pub name: Option<String>,
    /// 1 to [`MAX_GROUP_TENANTS`].
    pub tenants: BTreeSet<TenantId>,
    /// Grows by one with every change; 0 until day-manager has accepted it.
    #[serde(default)]
    pub revision: u64,
}

/// From here on in a partition's log, a view that was defined earlier is in force: its backfill is complete there.
/// Until then its former definition, if any, is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    pub view: Name,
    /// The revision that was backfilled.
    pub revision: u64,
    /// Where the backfill had to begin, when the log no longer reached back to its beginning.
    #[serde(default)]
    pub since: Option<LogSeq>,
}

/// From here on in a partition's log, what had this name is gone, with all that the state holds of it. The name may be used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    Tenant {
        id: TenantId,
        /// One more than the revision of the tenant, or of the removal that this one repeats.
        revision: u64,
        /// That of the tenant that is removed.
        generation: u32,
        /// Whether its reports, figures, rejects and alerts are deleted, too, instead of staying until their retention.
        purge: bool,
    },
    View {
        name: Name,
        /// One more than that of the view.
        revision: u64,
    },
    /// No view uses the kind.
    Kind {
        name: Name,
        /// One more than that of the kind.
        revision: u64,
    },
    /// Its tenants stay.
    Group {
        id: TenantId,
        /// One more than that of the group.
        revision: u64,
    },
}

impl Removal {
    /// The revision: a definition that uses the name again has a higher one.
    pub fn revision(&self) -> u64 {
        let (Self::Tenant { revision, .. }
        | Self::View { revision, .. }
        | Self::Kind { revision, .. }
        | Self::Group { revision, .. }) = self;
        *revision
    }

    pub fn revision_mut(&mut self) -> &mut u64 {
        let (Self::Tenant { revision, .. }
        | Self::View { revision, .. }
        | Self::Kind { revision, .. }
        | Self::Group { revision, .. }) = self;
        revision
    }

    /// What is removed, as in the subjects of CATALOG: `kind`, `view`, `tenant` or `group`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Tenant { .. } => "tenant",
            Self::View { .. } => "view",
            Self::Kind { .. } => "kind",
            Self::Group { .. } => "group",
        }
    }

    /// The name or id of what is removed.
    pub fn name(&self) -> &str {
        match self {
            Self::Tenant { id, .. } | Self::Group { id, .. } => id.as_str(),
            Self::View { name, .. } | Self::Kind { name, .. } => name.as_str(),
        }
    }
}

/// The name of the clock that follows real time.
pub const SYSTEM_CLOCK: &str = "system";

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

/// A definition together with what it replaces, as it stands in CATALOG.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    Kind(Kind),
    View(View),
    Tenant(Tenant),
    Calendar(crate::calendar::CalendarTable),
    Activation(Activation),
    Removal(Removal),
    Group(TenantGroup),
}

impl Definition {
    /// What is defined or removed, as in the subjects of CATALOG: `kind`, `view`, `calendar`, `tenant`, `activation` or
    /// `group`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Kind(_) => "kind",
            Self::View(_) => "view",
            Self::Calendar(_) => "calendar",
            Self::Tenant(_) => "tenant",
            Self::Activation(_) => "activation",
            Self::Group(_) => "group",
            Self::Removal(removal) => removal.what(),
        }
    }

    /// What the log keeps of it. Mappings concern doors alone, and groups the reading side: no state depends on them.
    pub fn for_log(mut self) -> Option<Self> {
        match &mut self {
            Self::Kind(kind) => kind.mappings = Vec::new(),
            Self::Group(_) | Self::Removal(Removal::Group { .. }) => return None,
            _ => {}
        }
        Some(self)
    }

    /// The name or id of what is defined; of an activation, that of its view.
    pub fn name(&self) -> &str {
        match self {
            Self::Kind(kind) => kind.name.as_str(),
            Self::View(view) => view.name.as_str(),
            Self::Calendar(table) => table.name.as_str(),
            Self::Tenant(tenant) => tenant.id.as_str(),
            Self::Activation(activation) => activation.view.as_str(),
            Self::Group(group) => group.id.as_str(),
            Self::Removal(removal) => removal.name(),
        }
    }

    /// The tenant that is defined or removed: only its own partition is told. Everything else concerns all partitions.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) => Some(&tenant.id),
            Self::Removal(Removal::Tenant { id, .. }) => Some(id),
            _ => None,
        }
    }
}

/// Everything users have defined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    #[serde(default)]
    pub kinds: BTreeMap<Name, Kind>,
    #[serde(default)]
    pub views: BTreeMap<Name, View>,
    #[serde(default)]
    pub tenants: BTreeMap<TenantId, Tenant>,
}

/// How the clocks stand: the instant each named clock has reached.
pub type Clocks = BTreeMap<Name, Instant>;
