//! Alerts of random histories against a plain recomputation of the figures behind each batch.

use super::fixtures::*;
use super::histories::{TENANTS, history};
use super::model::Model;
use super::properties::{Timings, timings};
use super::replica::Replica;
use super::specs::{Cells, Spec};
use crate::Effect;
use crate::alerts::{About, Raised};
use daybook_contracts::log::Record;
use daybook_contracts::report::Row;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// View, alert, day, and what the group is known by.
type Key = (String, String, Date, Cells);

/// What is known to have fired, and what may have.
#[derive(Default)]
struct Told {
    surely: BTreeSet<Key>,
    maybe: BTreeSet<Key>,
}

impl Told {
    fn forget(&mut self, goes: impl Fn(&Key) -> bool) {
        self.surely.retain(|key| !goes(key));
        self.maybe.retain(|key| !goes(key));
    }
}

/// The views in force of a tenant by name.
fn views(model: &Model, tenant: &TenantId, upto: usize) -> BTreeMap<String, Spec> {
    model.views(tenant, upto).into_iter().map(|spec| (spec.view.name.to_string(), spec)).collect()
}

/// The groups of a view on a day, with whether each has anything but zeros, and what is counted.
fn groups(model: &Model, spec: &Spec, tenant: &TenantId, date: Date, upto: usize) -> BTreeMap<Cells, (bool, Cells)> {
    let is_key = |text: &str| text == "time" || spec.view.group_by.iter().any(|name| name.as_str() == text);
    let is_metric = |text: &str| spec.view.metrics.iter().any(|metric| metric.name.as_str() == text);
    let rows = model.rows(spec, tenant, &[date], true, upto).into_iter();
    rows.map(|row| {
        let key = row.iter().filter(|(text, _)| is_key(text)).cloned().collect();
        let figures: Cells = row.into_iter().filter(|(text, _)| is_metric(text)).collect();
        let has_any = figures.iter().any(|(_, value)| !value.is_empty() && value != "0");
        (key, (has_any, figures))
    })
    .collect()
}

/// The histories' own conditions, told in another way.
fn is_met(alert: &str, figures: &Cells) -> bool {
    let n = figures.iter().find(|(name, _)| name == "n").map(|(_, value)| value.as_str()).unwrap_or_default();
    match alert {
        "many" => n.parse::<i64>().is_ok_and(|n| n > 1),
        _ => !n.is_empty(),
    }
}

fn cells(row: &Row) -> Cells {
    row.0.iter().map(|(name, figure)| (name.to_string(), text(figure))).collect()
}

/// Forgets what goes with a change of what is in force; true of views of which that is so in this batch.
fn follow(told: &mut Told, before: &BTreeMap<String, Spec>, now: &BTreeMap<String, Spec>) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    for (name, old) in before {
        let Some(new) = now.get(name) else {
            told.forget(|key| key.0 == *name);
            continue;
        };
        if new.view == old.view {
            continue;
        }
        changed.insert(name.clone());
        if !new.view.adds_up_with(&old.view) {
            told.forget(|key| key.0 == *name);
        } else if !new.view.computes_as(&old.view) {
            told.surely.retain(|key| key.0 != *name);
        }
        told.forget(|key| key.0 == *name && !new.view.alerts.iter().any(|alert| alert.name.as_str() == key.1));
    }
    changed.extend(now.keys().filter(|name| !before.contains_key(*name)).cloned());
    changed
}

/// Checks what a batch raised for a tenant: only groups that meet a condition and have not fired, and all those of them that changed.
fn check(model: &Model, tenant: &TenantId, begin: usize, raised: &[Raised], told: &mut Told) {
    let (before, now) = (views(model, tenant, begin), views(model, tenant, model.len()));
    let changed = follow(told, &before, &now);
    let mut fired: BTreeMap<Key, Cells> = BTreeMap::new();
    for Raised { day, about, .. } in raised {
        let About::Group { view, alert, group, figures } = about else { continue };
        let key = (view.to_string(), alert.to_string(), *day, cells(group));
        assert!(!told.surely.contains(&key), "{tenant} {key:?} fires twice");
        assert!(fired.insert(key.clone(), cells(figures)).is_none(), "{tenant} {key:?} fires twice in a batch");
    }
    for (name, spec) in &now {
        for date in model.days(tenant, model.len()).into_keys() {
            let after = groups(model, spec, tenant, date, model.len());
            let earlier = groups(model, spec, tenant, date, begin);
            for (group, (has_any, figures)) in &after {
                for alert in &spec.view.alerts {
                    let alert = alert.name.as_str();
                    let key = (name.clone(), alert.to_owned(), date, group.clone());
                    let found = fired.remove(&key);
                    let is_met = is_met(alert, figures);
                    if let Some(found) = found {
                        assert!(is_met, "{tenant} {key:?} fires with {figures:?}");
                        assert_eq!(found, *figures, "{tenant} {key:?}");
                        told.surely.insert(key.clone());
                        told.maybe.insert(key);
                        continue;
                    }
                    let has_changed = earlier.get(group).map(|(_, figures)| figures) != Some(figures);
                    let is_due = is_met && *has_any && has_changed && !changed.contains(name);
                    assert!(!is_due || told.maybe.contains(&key), "{tenant} {key:?} does not fire with {figures:?}");
                }
            }
        }
    }
    assert!(fired.is_empty(), "{tenant}: groups that are not there fire: {fired:?}");
}

fn check_history(batches: &[Vec<Record>], timings: &Timings) {
    let mut replica = Replica::new(batches);
    let mut model = Model::new();
    let mut told: BTreeMap<TenantId, Told> = BTreeMap::new();
    for (number, records) in batches.iter().enumerate() {
        replica.prepare(timings[number % timings.len()]);
        let begin = model.len();
        records.iter().for_each(|record| model.push(record));
        let effects = replica.apply();
        for tenant in TENANTS.map(tenant_id) {
            let raised = effects.iter().find_map(|effect| match effect {
                Effect::Alerts { tenant: of, alerts } if *of == tenant => Some(&alerts[..]),
                _ => None,
            });
            check(&model, &tenant, begin, raised.unwrap_or_default(), told.entry(tenant.clone()).or_default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(4), ..ProptestConfig::default() })]

    #[test]
    fn alerts_are_those_of_the_model(batches in history(60), timings in timings()) {
        check_history(&batches, &timings);
    }
}
