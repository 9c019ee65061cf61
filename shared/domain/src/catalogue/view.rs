//! Views: which metrics of a kind are computed, for whom, how finely, and what becomes of late changes.

use super::kind::Status;
use super::ranking::Ranking;
use crate::alerts::ViewAlert;
use crate::ids::{LogSeq, Name, TenantId};
use crate::time::Date;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::time::Duration;

/// Most metrics of a view.
pub const MAX_METRICS: usize = 64;
/// Most dimensions that a view groups by.
pub const MAX_GROUP_BY: usize = 8;
/// Most tenants that a view is activated for by name; a view for more is one for everyone.
pub const MAX_VIEW_TENANTS: usize = 1_000;
/// Most changes of a view's late policy.
pub const MAX_LATE_CHANGES: usize = 64;

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
