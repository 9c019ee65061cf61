//! What users define: kinds, views and tenants. Plain data; a view is compiled in [`crate::plan`].
//!
//! These travel in JSON and, by position, in MessagePack: so no field may be left out when it is empty.

use crate::ids::{Name, TenantId};
use crate::time::{Date, Instant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most dimensions, and most measures, of a kind.
pub const MAX_COLUMNS: usize = 64;
/// Most metrics of a view.
pub const MAX_METRICS: usize = 64;
/// Most dimensions that a view groups by.
pub const MAX_GROUP_BY: usize = 8;
/// Most digits after the point of a decimal measure.
pub const MAX_SCALE: u8 = 12;
/// Longest grace after a cut-off: one day.
pub const MAX_GRACE_MS: u64 = 86_400_000;

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

/// A set of metrics of one kind, grouped by dimensions, over a business day.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
