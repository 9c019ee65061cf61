//! Figures of a view, by looking at every event.

use super::{InForce, Model, Row, TenantModel};
use daybook_domain::catalogue::{Grain, LatePolicy, Metric, View};
use daybook_domain::time::{Date, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const HOUR_MS: i64 = 3_600_000;

/// A row of a view as texts, in the view's order.
pub type Cells = Vec<String>;

/// What a view says of a day.
#[derive(Default)]
pub struct Figures {
    /// In order of their texts.
    pub rows: Vec<Cells>,
    /// Whether groups are left out for a quota.
    pub is_capped: bool,
}

/// The signed rows of each group.
type Groups = BTreeMap<Cells, Vec<(i64, Rc<Row>)>>;

impl Model {
    /// What a view says of a day when so many entries are taken in.
    pub fn figures(&self, tenant: &TenantModel, in_force: &InForce, date: Date, upto: usize) -> Figures {
        let view = &in_force.view;
        let is_bound = tenant.bound_at.is_some_and(|bound_at| bound_at < upto);
        let (mut groups, is_capped) = match is_bound {
            true => self.capped(tenant, in_force, date, upto),
            false => (self.whole(tenant, view, date, upto), false),
        };
        // A group in which everything was taken back is none, but the one of a view without groups is always there.
        let always = view.group_by.is_empty() && view.grain == Grain::Day;
        if always {
            groups.entry(Vec::new()).or_default();
        }
        let rows = groups.into_iter().filter_map(|(key, rows)| {
            (always || is_there(view, &rows)).then(|| {
                let values = view.metrics.iter().map(|metric| value(metric, &rows).to_string());
                key.into_iter().chain(values).collect()
            })
        });
        let mut rows: Vec<Cells> = rows.collect();
        rows.sort();
        Figures { rows, is_capped }
    }

    /// Every group of a day, by what stands in the end.
    fn whole(&self, tenant: &TenantModel, view: &View, date: Date, upto: usize) -> Groups {
        let signed = match view.late {
            LatePolicy::Restate => self.newest(tenant, view, upto, false),
            LatePolicy::Reject => self.newest(tenant, view, upto, true),
            LatePolicy::CarryForward => self.postings(tenant, view, upto),
        };
        let mut groups = Groups::new();
        for (on, sign, row) in signed {
            if on == date
                && let Some(key) = self.group(tenant, view, date, &row)
            {
                groups.entry(key).or_default().push((sign, row));
            }
        }
        groups
    }

    /// The groups of a day for which there was room, by what happened in its order, and whether there was none for some:
    /// from then on no new one is made.
    fn capped(&self, tenant: &TenantModel, in_force: &InForce, date: Date, upto: usize) -> (Groups, bool) {
        let (view, id) = (&in_force.view, tenant.definition.id.as_str());
        let (mut groups, mut is_full) = (Groups::new(), false);
        for (index, entry) in self.entries[..upto].iter().enumerate() {
            for fate in entry.fates.iter().filter(|fate| fate.tenant == id && fate.kind == view.kind.as_str()) {
                let quota = fate.groups.filter(|_| index >= in_force.capped_from);
                let postings = match view.late {
                    LatePolicy::Restate => &fate.restated,
                    LatePolicy::CarryForward => &fate.carried,
                    LatePolicy::Reject => &fate.held,
                };
                for posting in postings.iter().filter(|posting| posting.date == date) {
                    let Some(key) = self.group(tenant, view, date, &posting.row) else { continue };
                    if !groups.contains_key(&key) {
                        is_full |= quota.is_some_and(|quota| groups.len() as u64 >= quota);
                        if is_full {
                            continue;
                        }
                    }
                    let rows = groups.entry(key.clone()).or_default();
                    rows.push((posting.sign, posting.row.clone()));
                    // A group of which nothing is left has as many rows taken out as put in.
                    if rows.iter().map(|(sign, _)| sign).sum::<i64>() == 0 && !is_there(view, rows) {
                        groups.remove(&key);
                    }
                }
            }
        }
        (groups, is_full)
    }

    /// The group of a row on a day; none if no metric takes it.
    fn group(&self, tenant: &TenantModel, view: &View, date: Date, row: &Row) -> Option<Cells> {
        view.metrics.iter().find(|metric| metric.status.contains(&row.status))?;
        let mut key = Cells::new();
        if view.grain == Grain::Hour {
            let opens_at = self.interval(tenant, date).map_or(Instant::MIN, |day| day.opens_at);
            let hours = (row.at.as_millis() - opens_at.as_millis()).div_euclid(HOUR_MS);
            key.push(Instant::from_millis(opens_at.as_millis() + hours * HOUR_MS).to_string());
        }
        let dims = view.group_by.iter().map(|name| row.dims.get(name.as_str()).cloned().unwrap_or_default());
        key.extend(dims);
        Some(key)
    }

    /// The newest versions of entities, and all facts, each on its day; `held` for those that rejecting views have.
    fn newest(&self, tenant: &TenantModel, view: &View, upto: usize, held: bool) -> Vec<(Date, i64, Rc<Row>)> {
        let id = tenant.definition.id.as_str();
        // By id, the day on which the entity stands and what the view has of it.
        let mut entities: BTreeMap<&str, (Date, Option<Rc<Row>>)> = BTreeMap::new();
        let mut facts: Vec<Rc<Row>> = Vec::new();
        // What rejecting views keep of entities that are gone with the day on which they stood.
        let mut left: Vec<Rc<Row>> = Vec::new();
        for entry in &self.entries[..upto] {
            for fate in entry.fates.iter().filter(|fate| fate.tenant == id && fate.kind == view.kind.as_str()) {
                let Some((entity, row)) = &fate.accepted else { continue };
                let is_taken = !(held && fate.is_refused);
                match entity {
                    None => facts.extend(is_taken.then(|| row.clone())),
                    Some(entity) => {
                        let known = entities.entry(entity).or_insert((row.date, None));
                        known.0 = row.date;
                        if is_taken {
                            known.1 = Some(row.clone());
                        }
                    }
                }
            }
            if let Some((_, _, gone)) = entry.closed.as_ref().filter(|(of, ..)| of == id) {
                entities.retain(|_, (on, row)| {
                    if *on < *gone {
                        left.extend(row.take());
                    }
                    *on >= *gone
                });
            }
        }
        let standing = entities.into_values().filter_map(|(_, row)| row);
        standing.chain(facts).chain(left).map(|row| (row.date, 1, row)).collect()
    }

    fn postings(&self, tenant: &TenantModel, view: &View, upto: usize) -> Vec<(Date, i64, Rc<Row>)> {
        let id = tenant.definition.id.as_str();
        let fates = self.entries[..upto].iter().flat_map(|entry| &entry.fates);
        let of_view = fates.filter(|fate| fate.tenant == id && fate.kind == view.kind.as_str());
        of_view
            .flat_map(|fate| &fate.carried)
            .map(|posting| (posting.date, posting.sign, posting.row.clone()))
            .collect()
    }
}

/// Whether anything is left of a group.
fn is_there(view: &View, rows: &[(i64, Rc<Row>)]) -> bool {
    view.metrics.iter().any(|metric| value(metric, rows) != 0)
}

fn value(metric: &Metric, rows: &[(i64, Rc<Row>)]) -> i64 {
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

/// What is in one and not in the other.
pub fn difference(expected: &[Cells], found: &[Cells]) -> String {
    let (one, other): (BTreeSet<_>, BTreeSet<_>) = (expected.iter().collect(), found.iter().collect());
    let missing: Vec<_> = one.difference(&other).collect();
    let surplus: Vec<_> = other.difference(&one).collect();
    format!("the model has {missing:?}, found was {surplus:?}")
}
