//! A view, and groups of it made of rows.

use compact_str::CompactString;
use daybook_domain::accumulator::{Accumulator, Sign};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{
    Dimension, Direction, Earliest, Grain, Kind, Measure, Metric, Mode, RankedBy, Ranking, Status, Ties, View,
    only_final,
};
use daybook_domain::expression::Row;
use daybook_domain::ids::Name;
use daybook_domain::plan::Plan;
use daybook_domain::time::{Date, Instant};
use std::collections::BTreeMap;

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn kind() -> Kind {
    let dimension = |text: &str| Dimension { name: name(text), field: None };
    Kind {
        name: name("flight"),
        mode: Mode::Entity,
        dimensions: vec![dimension("carrier"), dimension("origin"), dimension("tail")],
        measures: vec![Measure { name: name("delay"), scale: 0 }, Measure { name: name("price"), scale: 2 }],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

pub(super) const METRICS: [(&str, &str); 4] =
    [("flights", "count"), ("revenue", "sum(price)"), ("mean", "avg(price)"), ("worst", "max(delay)")];

pub(super) fn plan(grain: Grain) -> Plan {
    let metric = |(text, value): (&str, &str)| Metric {
        name: name(text),
        value: value.to_owned(),
        filter: None,
        status: only_final(),
    };
    let group_by = vec![name("carrier"), name("origin")];
    let mut view = View::new(name("traffic"), name("flight"), group_by, METRICS.map(metric).into());
    view.grain = grain;
    Plan::compile(&view, &kind()).unwrap()
}

/// A view by day that ranks by `by`.
pub(super) fn ranked_plan(by: Vec<(usize, Direction)>, ties: Ties, earliest: bool) -> Plan {
    let mut view = plan(Grain::Day).view;
    let by =
        by.into_iter().map(|(metric, direction)| RankedBy { metric: name(METRICS[metric].0), direction }).collect();
    let earliest = if earliest { Earliest::Reached } else { Earliest::No };
    view.ranking = Some(Ranking { by, ties, earliest });
    Plan::compile(&view, &kind()).unwrap()
}

/// By revenue, the greatest first.
pub(super) fn by_revenue() -> Plan {
    ranked_plan(vec![(1, Direction::Desc)], Ties::Competition, false)
}

/// The day of that number, of 24 hours from 05:00 UTC.
pub(super) fn day(number: i32) -> BusinessDay {
    let opens_at = |number: i32| Instant::from_millis((i64::from(number) * 24 + 5) * 3_600_000);
    BusinessDay { date: Date::from_days(number), opens_at: opens_at(number), closes_at: opens_at(number + 1) }
}

/// What a row puts into its group, or takes back.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) day: i32,
    pub(super) piece: u16,
    /// In milliseconds; it need not be in its day, as of what was carried forward.
    pub(super) at: i64,
    pub(super) dims: [Option<CompactString>; 2],
    pub(super) delay: Option<i64>,
    pub(super) price: Option<i64>,
    pub(super) sign: Sign,
}

impl Row for Entry {
    fn dimension(&self, index: usize) -> Option<&str> {
        self.dims.get(index)?.as_deref()
    }
    fn measure(&self, index: usize) -> Option<i64> {
        [self.delay, self.price][index]
    }
    fn status(&self) -> Status {
        Status::Final
    }
    fn at(&self) -> Instant {
        Instant::from_millis(self.at)
    }
}

/// Puts entries into fresh cells.
pub(super) fn cells<'e>(plan: &Plan, entries: impl IntoIterator<Item = &'e Entry>) -> Box<[Accumulator]> {
    let mut cells = plan.zero();
    for entry in entries {
        plan.update(&mut cells, entry.sign, plan.met(entry), entry);
    }
    cells
}

/// By day, piece and dimensions.
pub(super) type Groups = BTreeMap<(i32, u16, [Option<CompactString>; 2]), Box<[Accumulator]>>;

/// The view's groups.
pub(super) fn groups(plan: &Plan, entries: &[Entry]) -> Groups {
    let mut groups: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let piece = if plan.view.grain == Grain::Day { 0 } else { entry.piece };
        groups.entry((entry.day, piece, entry.dims.clone())).or_default().push(entry);
    }
    groups.into_iter().map(|(key, entries)| (key, cells(plan, entries))).collect()
}
