//! Which alerts are raised, rule by rule.

use super::fixtures::*;
use super::replica::{commit, restore};
use crate::alerts::{About, Raised};
use crate::removal::Purge;
use crate::{Effect, PartitionState};
use daybook_contracts::alert::{MAX_FIRED_BYTES, MAX_FIRED_GROUPS};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Event, Record};
use daybook_domain::alerts::{ReportAlert, ViewAlert};
use daybook_domain::catalogue::{Definition, Grain, LatePolicy, Removal, Status, Tenant, View};
use std::collections::BTreeMap;

fn with_alerts(alerts: &[(&str, &str)], view: View) -> View {
    let alert = |(text, when): &(&str, &str)| ViewAlert { name: name(text), when: (*when).to_owned() };
    View { alerts: alerts.iter().map(alert).collect(), ..view }
}

/// Orders by city: two of them are many.
fn cities() -> View {
    with_alerts(&[("many", "n >= 2"), ("debt", "qty < 0")], by_city("cities"))
}

/// A shard with `view`, before any event.
fn shard_with(view: View) -> Shard {
    let mut shard = Shard::new();
    shard.state.keep_digests();
    shard.define(Definition::View(view));
    shard.open(0);
    shard
}

fn in_city(city: &str, event: Event) -> Event {
    Event { dims: vec![Some(city.into()), Some("a".into())].into(), ..event }
}

fn told(raised: &Raised) -> String {
    let day = raised.day.as_days();
    match &raised.about {
        About::Group { alert, group, figures, .. } => {
            let cells = [group, figures].map(|row| texts(std::slice::from_ref(row)).concat());
            format!("{day} {alert} {}: {}", cells[0], cells[1])
        }
        About::MoreGroups { alert, .. } => format!("{day} {alert}, and more"),
        About::Report { alert, report } => format!("{day} {alert} {}", report.version),
    }
}

/// What was raised since this was asked last.
fn news(shard: &mut Shard) -> Vec<String> {
    std::mem::take(&mut shard.alerts).iter().map(told).collect()
}

#[test]
fn a_group_fires_once_a_day() {
    let mut shard = shard_with(cities());
    shard.orders(vec![order("a", Some(1), 0)]);
    assert_eq!(news(&mut shard), [""; 0]);
    shard.orders(vec![order("b", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 many Bern: 2 2"]);
    shard.orders(vec![order("c", Some(1), 0)]);
    // It falls below and reaches it again.
    shard.orders(vec![
        with_status(Status::Void, order("b", Some(2), 0)),
        with_status(Status::Void, order("c", Some(2), 0)),
    ]);
    shard.orders(vec![order("b", Some(3), 0)]);
    assert_eq!(news(&mut shard), [""; 0]);
    shard.orders(vec![in_city("Ulm", order("d", Some(1), 0)), in_city("Ulm", with_qty(-9, order("e", Some(1), 0)))]);
    assert_eq!(news(&mut shard), ["0 many Ulm: 2 -8", "0 debt Ulm: 2 -8"]);
    shard.orders(vec![order("f", Some(1), 1), order("g", Some(1), 1)]);
    assert_eq!(news(&mut shard), ["1 many Bern: 2 2"], "another day, which has not opened");
}

#[test]
fn figures_within_a_batch_and_groups_without_rows_fire_nothing() {
    let mut shard = shard_with(with_alerts(&[("debt", "qty < 0"), ("none", "n = 0")], by_city("cities")));
    shard.orders(vec![with_qty(-5, order("a", Some(1), 0)), with_qty(5, order("a", Some(2), 0))]);
    assert_eq!(news(&mut shard), [""; 0]);
    shard.orders(vec![with_status(Status::Void, order("a", Some(3), 0))]);
    assert_eq!(news(&mut shard), [""; 0], "no answer has a row of it");
    shard.orders(vec![with_status(Status::Draft, with_qty(-5, order("b", Some(1), 0)))]);
    assert_eq!(news(&mut shard), [""; 0], "a draft is not counted");
    shard.orders(vec![with_qty(-5, order("b", Some(2), 0))]);
    assert_eq!(news(&mut shard), ["0 debt Bern: 1 -5"]);
}

#[test]
fn late_changes_fire_where_the_policy_posts_them() {
    for (policy, expected) in [
        (LatePolicy::Restate, vec!["0 many Bern: 2 2"]),
        (LatePolicy::CarryForward, vec!["1 many Bern: 2 2"]),
        (LatePolicy::Reject, vec![]),
    ] {
        let mut shard = shard_with(with_policy(policy, cities()));
        shard.orders(vec![order("a", Some(1), 0), order("c", Some(1), 1)]);
        shard.open(1);
        shard.close(0);
        assert_eq!(news(&mut shard), [""; 0]);
        shard.orders(vec![order("b", Some(1), 0)]);
        assert_eq!(news(&mut shard), expected, "{policy:?}");
        shard.orders(vec![order("d", Some(1), 0)]);
        assert_eq!(news(&mut shard), [""; 0], "{policy:?}");
    }
}

#[test]
fn what_has_fired_is_stored_and_in_the_digest() {
    let mut shard = shard_with(cities());
    let without = shard.state.digest();
    shard.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0)]);
    assert_eq!(news(&mut shard).len(), 1);
    let mut rows = BTreeMap::new();
    commit(&mut rows, shard.state.checkpoint());
    let mut restored = restore(&rows);
    restored.keep_digests();
    assert_eq!(restored.digest(), shard.state.digest());
    assert_ne!(restored.digest(), without);
    shard.state = restored;
    shard.orders(vec![order("c", Some(1), 0)]);
    assert_eq!(news(&mut shard), [""; 0], "it has fired before the restart");
    // The same figures without the mark are another state.
    let mut unmarked = shard_with(by_city("cities"));
    unmarked.define(Definition::View(View { revision: 1, ..cities() }));
    unmarked.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0)]);
    let dates: Vec<_> = unmarked.state.tenants[&tenant_id("ABQ")].windows.days.keys().copied().collect();
    let digest = unmarked.state.digest();
    for date in dates {
        unmarked.state.tenants.get_mut(&tenant_id("ABQ")).unwrap().windows.day_mut(date, &name("cities")).fired =
            Default::default();
        unmarked.state.dirty.day(&tenant_id("ABQ"), date);
    }
    assert_ne!(unmarked.state.digest(), digest);
}

#[test]
fn a_thousand_groups_fire_and_one_more_says_that_there_are_more() {
    let view = with_alerts(&[("seen", "n > 0")], view("pages", "click", &["page"], click_totals("pages").metrics));
    let mut shard = shard_with(view);
    let page = |number: usize| Event { dims: vec![Some(format!("p{number:05}").into())].into(), ..click(None, 0) };
    shard.clicks((0..600).map(page).collect());
    assert_eq!(news(&mut shard).len(), 600);
    shard.clicks((500..MAX_FIRED_GROUPS + 5).map(page).collect());
    let told = news(&mut shard);
    assert_eq!((told.len(), told[400].as_str()), (401, "0 seen, and more"));
    shard.clicks(vec![page(1), page(9_999)]);
    assert_eq!(news(&mut shard), [""; 0]);
    let mut rows = BTreeMap::new();
    commit(&mut rows, shard.state.checkpoint());
    shard.state = restore(&rows);
    shard.clicks(vec![page(9_998), click(None, 1)]);
    assert_eq!(news(&mut shard), ["1 seen home: 1 20"], "the next day begins anew");
}

#[test]
fn groups_with_long_names_fire_until_their_names_take_too_much() {
    let view = with_alerts(&[("seen", "n > 0")], view("pages", "click", &["page"], click_totals("pages").metrics));
    let mut shard = shard_with(view);
    let page = |number: usize| Event { dims: vec![Some(format!("{number:04096}").into())].into(), ..click(None, 0) };
    shard.clicks((0..100).map(page).collect());
    let fit = MAX_FIRED_BYTES / 4_100;
    assert_eq!(news(&mut shard).len(), fit + 1, "and the one that says that there are more");
    let mut rows = BTreeMap::new();
    commit(&mut rows, shard.state.checkpoint());
    shard.state = restore(&rows);
    shard.clicks(vec![page(100)]);
    assert_eq!(news(&mut shard), [""; 0]);
}

#[test]
fn alerts_change_without_a_backfill() {
    let mut shard = shard_with(cities());
    shard.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 many Bern: 2 2"]);
    let revise = |revision, alerts: &[(&str, &str)]| {
        Definition::View(View { revision, ..with_alerts(alerts, by_city("cities")) })
    };
    shard.define(revise(2, &[("many", "n > 2"), ("some", "n > 0")]));
    let views = shard.state.views(10);
    let now = views.iter().find(|view| view.view == name("cities")).unwrap();
    assert_eq!((now.active, now.pending.is_none()), (2, true), "it is in force at once");
    assert_eq!(shard.rows("cities", 0), ["Bern 2 2"], "with the figures that it had");
    assert_eq!(news(&mut shard), [""; 0], "an alert looks at what changes from here on");
    shard.orders(vec![order("c", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 some Bern: 3 3"], "the other has fired under its name");
    // What is dropped is forgotten.
    shard.define(revise(3, &[("some", "n > 0")]));
    let mut rows = BTreeMap::new();
    commit(&mut rows, shard.state.checkpoint());
    let mut restored = restore(&rows);
    restored.keep_digests();
    assert_eq!(restored.digest(), shard.state.digest());
    shard.define(revise(4, &[("many", "n > 2"), ("some", "n > 0")]));
    shard.orders(vec![order("d", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 many Bern: 4 4"]);
    shard.define(revise(5, &[]));
    shard.orders(vec![order("e", Some(1), 0)]);
    assert_eq!(news(&mut shard), [""; 0]);
}

#[test]
fn a_view_that_is_backfilled_looks_at_what_changes_from_its_activation_on() {
    let mut shard = Shard::new();
    shard.open(0);
    shard.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0)]);
    shard.define(Definition::View(cities()));
    shard.orders(vec![in_city("Ulm", order("c", Some(1), 0)), in_city("Ulm", order("d", Some(1), 0))]);
    shard.make_everything();
    shard.orders(vec![in_city("Rom", order("e", Some(1), 0)), in_city("Rom", order("f", Some(1), 0))]);
    let late = shard.events("order", vec![in_city("Ulm", order("g", Some(1), 0))]);
    shard.apply(vec![
        Record::Define(Definition::Activation(daybook_domain::catalogue::Activation {
            view: name("cities"),
            revision: 1,
            since: None,
        })),
        late,
    ]);
    assert_eq!(news(&mut shard), ["0 many Ulm: 3 3"]);
    shard.orders(vec![order("h", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 many Bern: 3 3"]);
    // Another view of the same name begins anew.
    let mut other = cities();
    other.metrics.pop();
    other.alerts.pop();
    shard.define_and_activate(View { revision: 2, ..other });
    shard.orders(vec![order("i", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 many Bern: 4"]);
}

#[test]
fn marks_go_with_their_view_and_tenant() {
    let removed_view = Definition::Removal(Removal::View { name: name("cities"), revision: 2 });
    let mut shard = shard_with(cities());
    shard.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0)]);
    shard.define(removed_view);
    shard.define_and_activate(View { revision: 3, ..cities() });
    shard.orders(vec![order("c", Some(1), 0)]);
    assert_eq!(news(&mut shard), ["0 many Bern: 2 2", "0 many Bern: 3 3"]);

    let removed =
        |purge| Definition::Removal(Removal::Tenant { id: tenant_id("ABQ"), revision: 2, generation: 0, purge });
    let reborn = || match tenant("ABQ") {
        Definition::Tenant(tenant) => Definition::Tenant(Tenant { generation: 1, ..tenant }),
        other => other,
    };
    shard.define(removed(false));
    shard.define(reborn());
    shard.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0)]);
    assert_eq!(shard.alerts.iter().map(|raised| raised.generation).collect::<Vec<_>>(), [1]);
    assert_eq!(news(&mut shard), ["0 many Bern: 2 2"]);
}

#[test]
fn a_purge_takes_what_the_batch_raised_before_it() {
    let mut shard = Shard::new();
    shard.define(with_report_alerts(tenant("ABQ")));
    shard.open(0);
    let position = shard.log.last().unwrap().0.0 + 2;
    let removal = Removal::Tenant { id: tenant_id("ABQ"), revision: 3, generation: 0, purge: true };
    let effects = shard.apply(vec![
        Record::Day(marker("ABQ", Edge::Opened, 1)),
        Record::Day(marker("ABQ", Edge::Closed, 0)),
        Record::Define(Definition::Removal(removal)),
    ]);
    let [Effect::Report(_), Effect::Purge(Purge { before, .. })] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(before.0, position);
}

fn with_report_alerts(definition: Definition) -> Definition {
    match definition {
        Definition::Tenant(tenant) => Definition::Tenant(Tenant { alerts: ReportAlert::ALL.into(), ..tenant }),
        other => other,
    }
}

#[test]
fn reports_raise_what_the_tenant_asks_for() {
    let mut shard = Shard::new();
    shard.define(with_report_alerts(tenant("ABQ")));
    shard.open(0);
    shard.open(1);
    shard.close(0);
    assert_eq!(news(&mut shard), ["0 day_sealed 1"]);
    let raised_with = |shard: &Shard| shard.reports.last().unwrap().hash.clone();
    shard.orders(vec![order("a", Some(1), 0)]);
    let About::Report { report, .. } = &shard.alerts[0].about else { panic!("{:?}", shard.alerts) };
    assert_eq!(report.hash, raised_with(&shard));
    assert_eq!(news(&mut shard), ["0 report_restated 2"]);
    shard.define(tenant("ABQ"));
    shard.orders(vec![order("b", Some(1), 0)]);
    assert_eq!(news(&mut shard), [""; 0]);
}

#[test]
fn a_group_of_a_finer_grain_has_its_time() {
    let mut shard = shard_with(View { grain: Grain::Hour, ..cities() });
    shard.orders(vec![after_minutes(70, order("a", Some(1), 0)), after_minutes(30, order("b", Some(1), 0))]);
    assert_eq!(news(&mut shard), [""; 0], "each hour is a group of its own");
    shard.orders(vec![after_minutes(80, order("c", Some(1), 0))]);
    let pieces = shard.pieces("cities", 0, Grain::Hour);
    assert_eq!(news(&mut shard), [format!("0 many {}", pieces[1].replacen("Bern", "Bern:", 1))]);
}

#[test]
fn without_alerts_nothing_of_them_is_kept() {
    let mut shard = Shard::new();
    let effects = {
        let record = shard.events("order", vec![order("a", Some(1), 0)]);
        shard.apply(vec![record])
    };
    assert_eq!(effects, []);
    let windows = |state: &PartitionState| {
        let tenant = &state.tenants[&tenant_id("ABQ")];
        tenant.windows.days.values().flat_map(|views| views.values()).all(|window| window.touched.is_none())
    };
    assert!(windows(&shard.state));
    // Nor of a view with alerts, behind a batch.
    let mut shard = shard_with(cities());
    shard.orders(vec![order("a", Some(1), 0)]);
    assert!(windows(&shard.state));
}
