//! What users define: kinds, views and tenants. Plain data; a view is compiled in [`crate::plan`].
//!
//! These travel in JSON and, by position, in MessagePack: so no field may be left out when it is empty, but the last one.

use crate::ids::{LogSeq, Name, TenantId};
use crate::mapping::Mapping;
use crate::quotas::Quotas;
use crate::time::{Date, Instant};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
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
/// Most metrics that a ranking orders by.
pub const MAX_RANKED_BY: usize = 8;
/// Most seasons of a tenant.
pub const MAX_SEASONS: usize = 16;
/// Longest season: two years.
pub const MAX_SEASON: Duration = Duration::from_secs(2 * 366 * 86_400);
/// Longest grace after a cut-off: one day.
pub const MAX_GRACE_MS: u64 = 86_400_000;
/// Longest interval between two restatements of a day: one day. A later report would hardly be of use to anyone.
pub const MAX_RESTATE_AFTER_MS: u64 = 86_400_000;
/// The interval between two restatements of a day for tenants that do not say otherwise: one minute.
pub const DEFAULT_RESTATE_AFTER_MS: u64 = 60_000;

/// How far ahead events of tenants may be that do not say otherwise: one day.
pub const DEFAULT_MAX_AHEAD_MS: u64 = 86_400_000;
/// The largest such bound: a year. The published calendars end before that.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "crate::mapping::stored")]
    pub mappings: Vec<Mapping>,
}

impl Kind {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        }
    }

    /// Whether it is computed for the tenant.
    pub fn is_for(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// Whether both compute the same figures, whoever they do it for.
    pub fn computes_as(&self, other: &Self) -> bool {
        let bare = |view: &Self| Self { revision: 0, tenants: None, ..view.clone() };
        bare(self) == bare(other)
    }
}

/// How finely a view divides the business day, counted from its opening: a day of 23 hours has 23 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    QuarterHour,
    Hour,
    #[default]
    Day,
}

impl Grain {
    pub const ALL: [Self; 3] = [Self::QuarterHour, Self::Hour, Self::Day];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuarterHour => "quarter_hour",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// How long one is; `None` for the whole day, however long that is.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::QuarterHour => Some(Duration::from_secs(15 * 60)),
            Self::Hour => Some(Duration::from_secs(60 * 60)),
            Self::Day => None,
        }
    }
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
    /// Among equals, who reached the score earlier is before: the latest event time that is in the figures.
    #[serde(default)]
    pub earliest: bool,
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
}

impl Tenant {
    /// The shortest time between two restatements of a day; `None` when every batch that changes the day restates it.
    pub fn restate_after(&self) -> Option<Duration> {
        self.restate_after_ms.filter(|millis| *millis > 0).map(Duration::from_millis)
    }

    /// How far ahead events may be; `None` for no limit but that of the calendar.
    pub fn max_ahead(&self) -> Option<Duration> {
        self.max_ahead_ms.map(Duration::from_millis)
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
        let has_ahead = self.max_ahead_ms.is_some();
        let has_restate = self.restate_after_ms.is_some() || (is_positional && has_ahead);
        let has_quotas = !self.quotas.is_none() || (is_positional && has_restate);
        let fields = 9 + usize::from(has_quotas) + usize::from(has_restate) + usize::from(has_ahead);
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

/// The name of the clock that follows real time.
pub const SYSTEM_CLOCK: &str = "system";

/// From the business day `from` on, days open at `cutoff` local time in `zone`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CalendarRule {
    pub from: Date,
    /// An IANA time zone such as `America/New_York`.
    pub zone: String,
    /// Minutes after local midnight, 0 to 1439.
    pub cutoff_minutes: u16,
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
}

impl Definition {
    /// What is defined, as in the subjects of CATALOG: `kind`, `view`, `calendar`, `tenant` or `activation`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Kind(_) => "kind",
            Self::View(_) => "view",
            Self::Calendar(_) => "calendar",
            Self::Tenant(_) => "tenant",
            Self::Activation(_) => "activation",
        }
    }

    /// What the log keeps of it: mappings concern doors alone, and no state depends on them.
    pub fn for_log(mut self) -> Self {
        if let Self::Kind(kind) = &mut self {
            kind.mappings = Vec::new();
        }
        self
    }

    /// The name or id of what is defined; of an activation, that of its view.
    pub fn name(&self) -> &str {
        match self {
            Self::Kind(kind) => kind.name.as_str(),
            Self::View(view) => view.name.as_str(),
            Self::Calendar(table) => table.name.as_str(),
            Self::Tenant(tenant) => tenant.id.as_str(),
            Self::Activation(activation) => activation.view.as_str(),
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
