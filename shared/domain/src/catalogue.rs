//! What users define: kinds, views, tenants and groups of tenants. Plain data; a view is compiled in [`crate::plan`].
//!
//! These travel in JSON and, by position, in MessagePack: so no field may be left out when it is empty, but the last one.

mod group;
mod kind;
mod ranking;
mod removal;
mod rule;
mod tenant;
mod view;

pub use self::group::{MAX_GROUP_TENANTS, TenantGroup};
pub use self::kind::{
    DEFAULT_REMEMBER_DAYS, Dimension, Kind, LARGEST_REMEMBER_DAYS, LEAST_REMEMBER_DAYS, MAX_COLUMNS, MAX_SCALE,
    Measure, Mode, RememberError, Status,
};
pub use self::ranking::{Direction, Earliest, MAX_RANKED_BY, RankedBy, Ranking, Ties};
pub use self::removal::Removal;
pub use self::rule::{CalendarRule, NamedBy};
pub use self::tenant::{
    Boundary, DEFAULT_MAX_AHEAD_MS, DEFAULT_RESTATE_AFTER_MS, LARGEST_MAX_AHEAD_MS, MAX_GRACE_MS, MAX_RESTATE_AFTER_MS,
    MAX_SEASON, MAX_SEASONS, SYSTEM_CLOCK, Season, Tenant,
};
pub use self::view::{
    Activation, Grain, LateChange, LatePolicy, MAX_GROUP_BY, MAX_LATE_CHANGES, MAX_METRICS, MAX_VIEW_TENANTS, Metric,
    View, only_final,
};

use crate::calendar::CalendarTable;
use crate::ids::{Name, TenantId};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A definition together with what it replaces, as it stands in CATALOG.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    Kind(Kind),
    View(View),
    Tenant(Tenant),
    Calendar(CalendarTable),
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
