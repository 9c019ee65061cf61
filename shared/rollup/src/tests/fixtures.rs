//! A view, and groups of it made of rows.

use compact_str::CompactString;
use daybook_domain::accumulator::{Accumulator, Shape, Sign};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{
    Dimension, Direction, Grain, Kind, Measure, Metric, Mode, Status, Ties, View, only_final,
};
use daybook_domain::expression::Row;
use daybook_domain::ids::Name;
use daybook_domain::plan::{Plan, RankPlan};
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

/// A view by day that ranks by `by`. Delays stand in for event times where the earlier is before.
pub(super) fn ranked_plan(by: Vec<(usize, Direction)>, ties: Ties, earliest: bool) -> Plan {
    let mut plan = plan(Grain::Day);
    let times = plan.cells.iter().position(|cell| matches!(cell.shape, Shape::Multiset { .. })).unwrap();
    plan.ranking = Some(RankPlan { by, ties, times: earliest.then_some(times) });
    plan
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
        Instant::MIN
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

type GroupKey = (i32, u16, [Option<CompactString>; 2]);

/// The view's groups.
pub(super) fn groups(plan: &Plan, entries: &[Entry]) -> BTreeMap<GroupKey, Box<[Accumulator]>> {
    let mut groups: BTreeMap<GroupKey, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let piece = if plan.view.grain == Grain::Day { 0 } else { entry.piece };
        groups.entry((entry.day, piece, entry.dims.clone())).or_default().push(entry);
    }
    groups.into_iter().map(|(key, entries)| (key, cells(plan, entries))).collect()
}
