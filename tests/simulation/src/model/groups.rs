//! The groups of a view on a day, each with its signed rows, and metrics over them.

use super::Row;
use daybook_domain::catalogue::{Metric, View};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A row of a view as texts, in the view's order.
pub(super) type Cells = Vec<String>;

/// The signed rows of each group.
pub(super) type Groups = BTreeMap<Cells, Vec<(i64, Rc<Row>)>>;

/// Whether anything is left of a group.
pub(super) fn is_there(view: &View, rows: &[(i64, Rc<Row>)]) -> bool {
    view.metrics.iter().any(|metric| value(metric, rows) != 0)
}

/// The value of a metric over signed rows.
pub(super) fn value(metric: &Metric, rows: &[(i64, Rc<Row>)]) -> i64 {
    let rows = rows.iter().filter(|(_, row)| metric.status.contains(&row.status));
    match metric.value.split(['(', ')']).collect::<Vec<_>>()[..] {
        ["count"] => rows.map(|(sign, _)| sign).sum(),
        ["sum", measure, _] => {
            rows.map(|(sign, row)| if row.measured == measure { sign * row.measure } else { 0 }).sum()
        }
        ["distinct", dimension, _] => {
            let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
            for (sign, row) in rows {
                if let Some(value) = row.dims.get(dimension) {
                    *seen.entry(value).or_default() += sign;
                }
            }
            seen.values().filter(|count| **count != 0).collect::<Vec<_>>().len() as i64
        }
        _ => unreachable!("the simulation defines no metric {:?}", metric.value),
    }
}
