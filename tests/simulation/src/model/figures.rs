//! Figures of a view, by looking at every event.

use super::groups::{Cells, Groups, is_there, value};
use super::{Fate, InForce, Left, Model, Posting, Row, TenantModel, ranks};
use daybook_domain::catalogue::{Grain, LatePolicy, Mode, View};
use daybook_domain::ids::LogSeq;
use daybook_domain::time::{Date, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const HOUR_MS: i64 = 3_600_000;

/// What a view says of a day.
#[derive(Default)]
pub struct Figures {
    /// In order of their texts.
    pub rows: Vec<Cells>,
    pub covered: Covered,
}

/// What figures rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covered {
    #[default]
    All,
    /// What stands in the log from a position on, and what was known of entities before.
    Since(LogSeq),
    /// All but groups that are left out for a quota.
    Capped,
}

impl Model {
    /// What a view says of a day when so many entries are taken in.
    pub fn figures(&self, tenant: &TenantModel, in_force: &InForce, date: Date, upto: usize) -> Figures {
        let view = &in_force.view;
        let left = self.left(tenant, in_force);
        let is_bound = tenant.bound_at.is_some_and(|bound_at| bound_at < upto);
        let (mut groups, is_capped) = match is_bound {
            true => self.capped(tenant, in_force, left, date, upto),
            false => (self.whole(tenant, view, left, date, upto), false),
        };
        // A group in which everything was taken back is none, but the one of a view without groups is always there.
        let always = view.group_by.is_empty() && view.grain == Grain::Day;
        if always {
            groups.entry(Vec::new()).or_default();
        }
        groups.retain(|_, rows| always || is_there(view, rows));
        let places = view.ranking.as_ref().map(|ranking| ranks::places(view, ranking, &groups));
        let rows = groups.into_iter().map(|(key, rows)| {
            let place = places.as_ref().map(|places| places[&key].map(|place| place.to_string()));
            let values = view.metrics.iter().map(|metric| value(metric, &rows).to_string());
            place.into_iter().flatten().chain(key).chain(values).collect()
        });
        let mut rows: Vec<Cells> = rows.collect();
        rows.sort();
        // A day that nothing had touched then is whole.
        let covered = match left.filter(|left| self.days(tenant, left.before).contains_key(&date)) {
            Some(left) => Covered::Since(left.since),
            None if is_capped => Covered::Capped,
            None => Covered::All,
        };
        Figures { rows, covered }
    }

    /// What was left of the log when the view was made for the tenant, if that tells on its figures: of entities the newest
    /// versions are known, which is all that restated days are made of.
    fn left(&self, tenant: &TenantModel, in_force: &InForce) -> Option<Left> {
        let left = in_force.made_of.get(&tenant.key).copied();
        let is_restated = in_force.view.late_policies().all(|late| late == LatePolicy::Restate);
        left.filter(|_| !self.is_of_entities(&in_force.view) || !is_restated)
    }

    fn is_of_entities(&self, view: &View) -> bool {
        self.kinds[view.kind.as_str()].0.mode == Mode::Entity
    }

    /// What a view has of entities where the log before so many entries is gone: their versions of then, or what rejecting
    /// views held of them.
    fn standing(&self, tenant: &TenantModel, view: &View, before: usize) -> Vec<(Date, i64, Rc<Row>)> {
        match self.is_of_entities(view) {
            true => self.newest(tenant, view, before, view.late == LatePolicy::Reject, false),
            false => Vec::new(),
        }
    }

    /// Every group of a day, by what stands in the end.
    fn whole(&self, tenant: &TenantModel, view: &View, left: Option<Left>, date: Date, upto: usize) -> Groups {
        let signed = match (left, view.late) {
            (Some(left), _) => {
                let mut signed = self.standing(tenant, view, left.before);
                signed.extend(self.postings(tenant, view, left.before..upto));
                signed
            }
            (None, LatePolicy::Restate) if view.late_changes.is_empty() => self.newest(tenant, view, upto, false, true),
            (None, LatePolicy::Reject) => self.newest(tenant, view, upto, true, true),
            (None, _) => self.postings(tenant, view, 0..upto),
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
    fn capped(
        &self,
        tenant: &TenantModel,
        in_force: &InForce,
        left: Option<Left>,
        date: Date,
        upto: usize,
    ) -> (Groups, bool) {
        let (view, id) = (&in_force.view, tenant.key.as_str());
        let (mut groups, mut is_full) = (Groups::new(), false);
        for (on, sign, row) in left.map(|left| self.standing(tenant, view, left.before)).unwrap_or_default() {
            if on == date
                && let Some(key) = self.group(tenant, view, date, &row)
            {
                groups.entry(key).or_default().push((sign, row));
            }
        }
        let first = left.map_or(0, |left| left.before);
        let capped_from = in_force.capped_from(&tenant.key);
        for (index, entry) in self.entries[..upto].iter().enumerate().skip(first) {
            for fate in entry.fates.iter().filter(|fate| fate.tenant == id && fate.kind == view.kind.as_str()) {
                let quota = fate.groups.filter(|_| index >= capped_from);
                for posting in postings_of(fate, view).filter(|posting| posting.date == date) {
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
                    let is_even = rows.iter().map(|(sign, _)| sign).sum::<i64>() == 0;
                    if is_even && !is_there(view, rows) && !ranks::keeps_times(view, rows) {
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
            let hours = (row.at.as_millis() - opens_at.as_millis()).div_euclid(HOUR_MS).max(0);
            key.push(Instant::from_millis(opens_at.as_millis() + hours * HOUR_MS).to_string());
        }
        let dims = view.group_by.iter().map(|name| row.dims.get(name.as_str()).cloned().unwrap_or_default());
        key.extend(dims);
        Some(key)
    }

    /// The newest versions of entities, and all facts, each on its day; `held` for those that rejecting views have, of entities
    /// that are gone too if `with_gone`.
    fn newest(
        &self,
        tenant: &TenantModel,
        view: &View,
        upto: usize,
        held: bool,
        with_gone: bool,
    ) -> Vec<(Date, i64, Rc<Row>)> {
        let id = tenant.key.as_str();
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
        left.retain(|_| with_gone);
        standing.chain(facts).chain(left).map(|row| (row.date, 1, row)).collect()
    }

    fn postings(
        &self,
        tenant: &TenantModel,
        view: &View,
        entries: std::ops::Range<usize>,
    ) -> Vec<(Date, i64, Rc<Row>)> {
        let id = tenant.key.as_str();
        let fates = self.entries.get(entries).unwrap_or_default().iter().flat_map(|entry| &entry.fates);
        let of_view = fates.filter(|fate| fate.tenant == id && fate.kind == view.kind.as_str());
        let postings = of_view.flat_map(|fate| postings_of(fate, view));
        postings.map(|posting| (posting.date, posting.sign, posting.row.clone())).collect()
    }
}

/// What an event does to a view: each row by the view's policy for the row's own day.
fn postings_of<'f>(fate: &'f Fate, view: &'f View) -> impl Iterator<Item = &'f Posting> {
    let held = (view.late == LatePolicy::Reject).then_some(&fate.held);
    // The same rows in the same order.
    let pairs = fate.restated.iter().zip(&fate.carried).filter(move |_| held.is_none());
    let by_day = pairs.map(|(restated, carried)| match view.late_on(restated.row.date) {
        LatePolicy::CarryForward => carried,
        _ => restated,
    });
    held.into_iter().flatten().chain(by_day)
}

/// What is in one and not in the other.
pub fn difference(expected: &[Cells], found: &[Cells]) -> String {
    let (one, other): (BTreeSet<_>, BTreeSet<_>) = (expected.iter().collect(), found.iter().collect());
    let missing: Vec<_> = one.difference(&other).collect();
    let surplus: Vec<_> = other.difference(&one).collect();
    format!("the model has {missing:?}, found was {surplus:?}")
}
