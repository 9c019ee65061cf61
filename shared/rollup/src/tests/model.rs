//! Answers worked out in the plainest way: from single rows, with everything compared to everything.

use super::fixtures::{Entry, cells, day, kind, name};
use compact_str::CompactString;
use daybook_contracts::ask::{Pieces, Query};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::accumulator::Accumulator;
use daybook_domain::catalogue::{Direction, Grain, Ties, View};
use daybook_domain::plan::Plan;
use daybook_domain::time::{Date, Instant};
use daybook_domain::value::Number;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Conditions, each as it is written and as it is meant; unknown is not true.
type Condition = (&'static str, fn(Option<&str>, Option<&str>) -> bool);
pub(super) const CONDITIONS: [Condition; 5] = [
    ("carrier = 'A'", |carrier, _| carrier == Some("A")),
    ("origin is null", |_, origin| origin.is_none()),
    ("not carrier in ('A', 'B')", |carrier, _| carrier.is_some_and(|c| c != "A" && c != "B")),
    ("carrier = origin or origin > 'A'", |carrier, origin| {
        (carrier.is_some() && carrier == origin) || origin.is_some_and(|o| o > "A")
    }),
    ("carrier = 'nobody'", |_, _| false),
];

/// One row of the answer, with what it is ordered by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    time: i64,
    pub(super) dims: Vec<Option<CompactString>>,
    figures: Vec<Option<Number>>,
    reached: Option<i64>,
    pub(super) row: Row,
}

/// By what is ranked, whether the time of reaching it counts, and the tie rule.
type Ranking = (Vec<(usize, Direction)>, bool, Ties);

/// A query with its defaults filled in.
pub(super) struct Model<'q> {
    query: &'q Query,
    plan: &'q Plan,
    /// The same without a ranking: what is kept for one is no business of the model's.
    unranked: Plan,
    dims: Vec<usize>,
    ranking: Option<Ranking>,
}

impl<'q> Model<'q> {
    pub(super) fn new(query: &'q Query, plan: &'q Plan) -> Self {
        let position = |asked: &daybook_domain::ids::Name| plan.view.group_by.iter().position(|n| n == asked).unwrap();
        let dims: Vec<usize> = match &query.dimensions {
            Some(asked) => asked.iter().map(position).collect(),
            None => (0..2).collect(),
        };
        let own = plan.ranking.as_ref().map(|own| (own.by.clone(), own.earlier.is_some(), own.ties));
        let ranking = match &query.rank {
            None if query.grain == Pieces::Total && !dims.is_empty() => own,
            None => None,
            Some(rank) => {
                let own_ties = own.as_ref().map_or(Ties::Competition, |(_, _, ties)| *ties);
                let (by, earliest) = if rank.by.is_empty() {
                    let (by, earliest, _) = own.unwrap();
                    (by, earliest)
                } else {
                    (rank.by.iter().map(|by| (plan.metric(by.metric.as_str()).unwrap(), by.direction)).collect(), false)
                };
                Some((by, earliest, rank.ties.unwrap_or(own_ties)))
            }
        };
        let view = View { ranking: None, ..plan.view.clone() };
        let unranked = Plan::compile(&view, &kind()).unwrap();
        Self { query, plan, unranked, dims, ranking }
    }

    /// All rows of the answer, in order.
    pub(super) fn items(&self, entries: &[Entry]) -> Vec<Item> {
        let condition = self.query.filter.as_deref().map(|text| CONDITIONS.iter().find(|c| c.0 == text).unwrap().1);
        let taken: Vec<&Entry> = entries
            .iter()
            .filter(|e| condition.is_none_or(|holds| holds(e.dims[0].as_deref(), e.dims[1].as_deref())))
            .collect();
        let mut keys: Vec<(i64, Vec<Option<CompactString>>)> = taken.iter().map(|e| self.key(e)).collect();
        let one_row = self.dims.is_empty() && self.query.grain == Pieces::Total;
        if one_row {
            keys.push((0, Vec::new()));
        }
        keys.sort();
        keys.dedup();
        let mut items: Vec<Item> = keys
            .into_iter()
            .map(|key| (taken.iter().copied().filter(|e| self.key(e) == key).collect::<Vec<_>>(), key))
            .map(|(members, key)| (cells(&self.unranked, members.iter().copied()), members, key))
            .filter(|(cells, ..)| one_row || !cells.iter().all(Accumulator::is_zero))
            .map(|(cells, members, (time, dims))| Item {
                time,
                dims,
                figures: self.unranked.figures(&cells),
                reached: self.reached(&members),
                row: Row::default(),
            })
            .collect();
        items.sort_by(|left, right| self.compare(left, right));
        let rows: Vec<Row> = items.iter().map(|item| self.row(item, &items)).collect();
        items.iter_mut().zip(rows).for_each(|(item, row)| item.row = row);
        items
    }

    /// The earliest time such that what happened until then gives the present figures of all that the ranking is by.
    fn reached(&self, members: &[&Entry]) -> Option<i64> {
        let (by, ..) = self.ranking.as_ref()?;
        let score = |until: i64| {
            let figures =
                self.unranked.figures(&cells(&self.unranked, members.iter().copied().filter(|e| e.at <= until)));
            by.iter().map(|(metric, _)| figures[*metric]).collect::<Vec<_>>()
        };
        let times: BTreeSet<i64> = members.iter().map(|entry| entry.at).collect();
        times.into_iter().find(|at| score(*at) == score(i64::MAX))
    }

    fn key(&self, entry: &Entry) -> (i64, Vec<Option<CompactString>>) {
        let time = match (self.query.grain, self.plan.view.grain) {
            (Pieces::Total, _) => 0,
            (Pieces::Day, _) => entry.day.into(),
            // Pieces of hours of the clock begin three days before the day's own midnight.
            (Pieces::ClockHour, _) => i64::from(entry.day - 3) * 24 + i64::from(entry.piece),
            (Pieces::HourOfDay, _) => i64::from(entry.piece % 24),
            (asked, kept) => {
                let minutes = if kept == Grain::QuarterHour { 15 } else { 60 } * i64::from(entry.piece);
                let length = if asked == Pieces::Hour { 60 } else { 15 };
                day(entry.day).opens_at.as_millis() + minutes / length * length * 60_000
            }
        };
        (time, self.dims.iter().map(|at| entry.dims[*at].clone()).collect())
    }

    /// The order of the answer.
    pub(super) fn compare(&self, left: &Item, right: &Item) -> Ordering {
        let ties = left.time.cmp(&right.time).then_with(|| left.dims.cmp(&right.dims));
        if self.query.order.is_empty() && self.ranking.is_some() {
            return self.score(left, right).then(ties);
        }
        let turn = |direction, ordering: Ordering| match direction {
            Direction::Asc => ordering,
            Direction::Desc => ordering.reverse(),
        };
        self.query
            .order
            .iter()
            .fold(Ordering::Equal, |so_far, order| {
                so_far.then_with(|| match order.by.as_str() {
                    "day" | "time" => turn(order.direction, left.time.cmp(&right.time)),
                    "rank" if self.ranking.as_ref().unwrap().2 != Ties::Ordinal => {
                        turn(order.direction, self.score(left, right))
                    }
                    "position" | "rank" => turn(order.direction, self.score(left, right).then(ties)),
                    by => match self.dims.iter().position(|at| self.plan.view.group_by[*at].as_str() == by) {
                        Some(at) => turn(order.direction, left.dims[at].cmp(&right.dims[at])),
                        None => by_metric(left, right, self.plan.metric(by).unwrap(), order.direction),
                    },
                })
            })
            .then(ties)
    }

    /// The better score is before.
    fn score(&self, left: &Item, right: &Item) -> Ordering {
        let (by, earliest, _) = self.ranking.as_ref().unwrap();
        let by = by.iter().fold(Ordering::Equal, |so_far, (metric, direction)| {
            so_far.then_with(|| by_metric(left, right, *metric, *direction))
        });
        by.then_with(|| match (left.reached, right.reached) {
            _ if !earliest => Ordering::Equal,
            (Some(left), Some(right)) => left.cmp(&right),
            (left, right) => left.is_none().cmp(&right.is_none()),
        })
    }

    fn row(&self, item: &Item, all: &[Item]) -> Row {
        let mut row = Vec::new();
        match self.query.grain {
            Pieces::Total => {}
            Pieces::Day => {
                row.push((name("day"), Figure::Text(Date::from_days(item.time as i32).to_string().into())));
            }
            Pieces::Hour | Pieces::QuarterHour => {
                row.push((name("time"), Figure::Text(Instant::from_millis(item.time).to_string().into())));
            }
            Pieces::ClockHour => {
                let hour = Instant::from_millis(item.time * 3_600_000).to_string();
                row.push((name("time"), Figure::Text(format!("{}:00", &hour[..13]).into())));
            }
            Pieces::HourOfDay => row.push((name("time"), Figure::Text(format!("{:02}:00", item.time).into()))),
        }
        if let Some((_, _, ties)) = &self.ranking {
            let is_before = |other: &&Item| self.score(other, item).then_with(|| other.dims.cmp(&item.dims)).is_lt();
            let position = all.iter().filter(is_before).count() + 1;
            let better: Vec<&Item> = all.iter().filter(|other| self.score(other, item).is_lt()).collect();
            let rank = match ties {
                Ties::Ordinal => position,
                Ties::Competition => better.len() + 1,
                Ties::Dense => {
                    let first = |at: usize| !better[..at].iter().any(|other| self.score(other, better[at]).is_eq());
                    (0..better.len()).filter(|at| first(*at)).count() + 1
                }
            };
            row.push((name("position"), Figure::integer(position as i128)));
            row.push((name("rank"), Figure::integer(rank as i128)));
        }
        for (at, value) in self.dims.iter().zip(&item.dims) {
            row.push((self.plan.view.group_by[*at].clone(), value.clone().map_or(Figure::Null, Figure::Text)));
        }
        let all: Vec<_> = self.plan.view.metrics.iter().map(|metric| metric.name.clone()).collect();
        for asked in self.query.metrics.as_ref().unwrap_or(&all) {
            let figure = item.figures[self.plan.metric(asked.as_str()).unwrap()];
            row.push((asked.clone(), figure.map_or(Figure::Null, Figure::Number)));
        }
        Row(row)
    }
}

/// Null comes last in either direction.
fn by_metric(left: &Item, right: &Item, metric: usize, direction: Direction) -> Ordering {
    match (left.figures[metric], right.figures[metric]) {
        (Some(left), Some(right)) if direction == Direction::Asc => left.cmp(&right),
        (Some(left), Some(right)) => right.cmp(&left),
        (left, right) => left.is_none().cmp(&right.is_none()),
    }
}
