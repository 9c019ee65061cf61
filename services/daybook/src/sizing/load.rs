//! What an installation is to carry: tenants, events a day, and what kinds and views make of these.

use super::rules::{APPROXIMATE_VALUES, ASSUMED_VALUES};
use daybook_domain::accumulator::Shape;
use daybook_domain::catalogue::{DEFAULT_REMEMBER_DAYS, Grain, Kind, Mode, View};
use daybook_domain::plan::{Plan, PlanError};
use daybook_runtime::store::Backend;
use serde::Serialize;

/// All that an estimate rests on. Numbers are of all tenants together, unless they say otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct SizingLoad {
    pub tenants: u64,
    pub kinds: Vec<KindLoad>,
    pub views: Vec<ViewLoad>,
    pub installation: Installation,
}

/// Settings of the installation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Installation {
    pub partitions: u16,
    /// Shards that keep each partition.
    pub replicas: u8,
    /// Copies of each stream on the broker.
    pub stream_replicas: u8,
    /// Limit of a shard process, in bytes.
    pub shard_memory: u64,
    pub store: Backend,
    /// How long the log is kept; `None` for ever.
    pub log_days: Option<u64>,
    /// Length of an id, in bytes.
    pub id_bytes: u64,
}

/// What a kind has of a day.
#[derive(Clone, Debug, Serialize)]
pub struct KindLoad {
    pub name: String,
    pub mode: Mode,
    pub events: u64,
    /// Events that are rows of figures: entities, each with its newest version, or facts.
    pub rows: u64,
    /// Rows that are kept by their id.
    pub entities: u64,
    pub columns: u64,
    /// For how many business days after its own an id is known.
    pub remember: u64,
}

impl KindLoad {
    /// `versions` is how many events an entity has on average, 1 or more; `fact_ids` says whether facts have ids.
    pub fn new(kind: &Kind, events: u64, versions: u64, fact_ids: bool, remember: Option<u16>) -> Self {
        let rows = match kind.mode {
            Mode::Entity => events.div_ceil(versions.max(1)),
            Mode::Fact => events,
        };
        let remember = remember.or(kind.remember).unwrap_or(DEFAULT_REMEMBER_DAYS);
        Self {
            name: kind.name.to_string(),
            mode: kind.mode,
            events,
            rows,
            entities: if kind.mode == Mode::Entity || fact_ids { rows } else { 0 },
            columns: (kind.dimensions.len() + kind.measures.len()) as u64,
            remember: u64::from(remember),
        }
    }
}

/// What a view has of a day.
#[derive(Clone, Debug, Serialize)]
pub struct ViewLoad {
    pub name: String,
    /// Tenants that have the view.
    pub tenants: u64,
    /// Groups of one tenant.
    pub groups_of_tenant: u64,
    /// Accumulators of one group.
    pub accumulators: u64,
    /// Values that exact and approximate metrics hold, at most.
    pub values: u64,
}

impl ViewLoad {
    /// `groups` is how many groups a tenant has on a day; without it, each dimension has [`ASSUMED_VALUES`] values, and each piece of the
    /// day has all of them, as far as there are rows.
    ///
    /// # Errors
    /// When the view does not fit its kind.
    pub fn new(
        view: &View,
        kind: &Kind,
        load: &KindLoad,
        tenants: u64,
        groups: Option<u64>,
    ) -> Result<Self, PlanError> {
        let plan = Plan::compile(view, kind)?;
        let of_view = view.tenants.as_ref().map_or(tenants, |named| tenants.min(named.len() as u64));
        let rows_of_tenant = load.rows.div_ceil(tenants.max(1));
        let values = (0..view.group_by.len()).fold(pieces(view.grain), |all, _| all.saturating_mul(ASSUMED_VALUES));
        let groups_of_tenant = groups.unwrap_or(values).min(rows_of_tenant);
        let held = |shape: Shape| match shape {
            Shape::Multiset { .. }
            | Shape::Timed { .. }
            | Shape::Distinct { .. }
            | Shape::Times
            | Shape::DistinctTimes { .. }
            | Shape::Moments
            | Shape::Seen { .. }
            | Shape::SeenSince { .. } => rows_of_tenant,
            Shape::ApproxQuantile { .. } | Shape::ApproxDistinct { .. } => {
                rows_of_tenant.min(groups_of_tenant.saturating_mul(APPROXIMATE_VALUES))
            }
            Shape::Count
            | Shape::Sum { .. }
            | Shape::Squares { .. }
            | Shape::Extremes { .. }
            | Shape::TimedExtremes { .. }
            | Shape::TimeExtremes
            | Shape::LeastSince { .. }
            | Shape::GreatestSince { .. }
            | Shape::MomentExtremes => 0,
        };
        let values_of_tenant: u64 = plan.cells.iter().map(|cell| held(cell.shape)).sum();
        Ok(Self {
            name: view.name.to_string(),
            tenants: of_view,
            groups_of_tenant,
            accumulators: plan.cells.len() as u64,
            values: of_view.saturating_mul(values_of_tenant),
        })
    }
}

/// Pieces of a day at a grain.
fn pieces(grain: Grain) -> u64 {
    match grain {
        Grain::Day => 1,
        Grain::Hour | Grain::ClockHour => 24,
        Grain::QuarterHour => 96,
    }
}
