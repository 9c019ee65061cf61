//! Places in a ranking in which, among equals, whoever reached the present score first ranks higher.

use super::Row;
use super::groups::{Cells, Groups, value};
use daybook_domain::catalogue::{Direction, Earliest, Metric, RankedBy, Ranking, View};
use daybook_domain::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

type Signed = (i64, Rc<Row>);

/// Position and rank of each group.
pub(super) fn places(view: &View, ranking: &Ranking, groups: &Groups) -> BTreeMap<Cells, [usize; 2]> {
    let by = criteria(view, ranking);
    // The smaller is before; a group without any time comes last.
    let standing = |rows: &[Signed]| (score(&by, rows), reached(&by, rows).unwrap_or(Instant::MAX));
    let mut order: Vec<_> = groups.iter().map(|(key, rows)| (standing(rows), key)).collect();
    order.sort();
    let rank = |standing: &_| 1 + order.iter().filter(|(other, _)| other < standing).count();
    order.iter().enumerate().map(|(at, (standing, key))| ((*key).clone(), [at + 1, rank(standing)])).collect()
}

/// Whether a group in which everything was taken back is still there for the times of what was: a ranking that tells who came first
/// forgets a row only when it is taken back at its own time.
pub(super) fn keeps_times(view: &View, rows: &[Signed]) -> bool {
    let Some(ranking) = view.ranking.as_ref().filter(|ranking| ranking.earliest != Earliest::No) else { return false };
    let by = criteria(view, ranking);
    rows.iter().any(|(_, one)| {
        let of_time: Vec<Signed> = rows.iter().filter(|(_, row)| row.at == one.at).cloned().collect();
        is_anything(&by, &of_time)
    })
}

/// The metrics of a ranking, each with the sign that puts the better one first.
fn criteria<'v>(view: &'v View, ranking: &Ranking) -> Vec<(&'v Metric, i64)> {
    let criterion = |by: &RankedBy| {
        let metric = view.metrics.iter().find(|metric| metric.name == by.metric).expect("it ranks by its metrics");
        (metric, if by.direction == Direction::Desc { -1 } else { 1 })
    };
    ranking.by.iter().map(criterion).collect()
}

fn score(by: &[(&Metric, i64)], rows: &[Signed]) -> Vec<i64> {
    by.iter().map(|(metric, sign)| sign * value(metric, rows)).collect()
}

/// The earliest event time such that what happened until then gives the present score.
fn reached(by: &[(&Metric, i64)], rows: &[Signed]) -> Option<Instant> {
    let of = |holds: &dyn Fn(Instant) -> bool| -> Vec<Signed> {
        rows.iter().filter(|(_, row)| holds(row.at)).cloned().collect()
    };
    let times: BTreeSet<Instant> = rows.iter().map(|(_, row)| row.at).collect();
    let mut times = times.into_iter().filter(|at| is_anything(by, &of(&|other| other == *at)));
    times.find(|at| score(by, &of(&|other| other <= *at)) == score(by, rows))
}

/// Whether rows of one instant are anything together: what was put in and taken out again is nothing.
fn is_anything(by: &[(&Metric, i64)], rows: &[Signed]) -> bool {
    let is_left = |metric: &Metric| {
        let mut nets: BTreeMap<i64, i64> = BTreeMap::new();
        for (sign, row) in rows.iter().filter(|(_, row)| metric.status.contains(&row.status)) {
            let measure = if metric.value.starts_with("sum") { row.measure } else { 0 };
            *nets.entry(measure).or_default() += sign;
        }
        nets.values().any(|net| *net != 0)
    };
    rows.iter().map(|(sign, _)| sign).sum::<i64>() != 0 || by.iter().any(|(metric, _)| is_left(metric))
}
