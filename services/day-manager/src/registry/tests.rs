//! Kinds and views: revisions, activations and for whom they are. [`tenants`], [`policies`] and [`removing`] have the rest.

mod policies;
mod removing;
mod tenants;

use super::*;
use crate::schedule::Observed;
use daybook_contracts::admin::Target;
use daybook_domain::catalogue::{
    Boundary, CalendarRule, Dimension, Direction, Earliest, Grain, LateChange, LatePolicy, Measure, Metric, Mode,
    NamedBy, RankedBy, Ranking, Season, Tenant, Ties, only_final,
};
use daybook_domain::quotas::Quotas;

const NOW: &str = "2026-05-02T12:00:00Z";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn id(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn kind() -> Kind {
    Kind {
        name: name("order"),
        mode: Mode::Fact,
        dimensions: vec![Dimension { name: name("shop"), field: None }],
        measures: vec![Measure { name: name("price"), scale: 2 }],
        revision: 0,
        mappings: Vec::new(),
        remember: None,
    }
}

fn view() -> View {
    let metric =
        |text: &str, value: &str| Metric { name: name(text), value: value.into(), filter: None, status: only_final() };
    View::new(name("shops"), name("order"), vec![name("shop")], vec![metric("n", "count"), metric("m", "sum(price)")])
}

fn view_for(tenants: &[&str]) -> View {
    View { tenants: Some(tenants.iter().copied().map(id).collect()), ..view() }
}

fn tenant(text: &str) -> TenantSpec {
    TenantSpec {
        id: id(text),
        name: None,
        zone: "Etc/UTC".into(),
        cutoff_minutes: 300,
        changes: Vec::new(),
        grace_ms: 0,
        first_day: None,
        clock: None,
        seasons: Vec::new(),
        quotas: Default::default(),
        restate_after_ms: None,
        max_ahead_ms: None,
        day_named_by: Default::default(),
        alerts: Default::default(),
    }
}

fn of_views(views: Vec<View>) -> Apply {
    Apply { views, ..Apply::default() }
}

fn of_tenants(tenants: Vec<TenantSpec>) -> Apply {
    Apply { tenants, ..Apply::default() }
}

/// What there is after the change, and what was said of it: name, action and detail.
fn apply(registry: &mut Registry, apply: &Apply) -> Vec<(String, Action, String)> {
    let change = registry.check(apply, &BTreeMap::new(), at(NOW)).unwrap();
    for definition in change.definitions {
        registry.adopt(definition).unwrap();
    }
    change.applied.into_iter().map(|line| (line.name, line.action, line.detail.unwrap_or_default())).collect()
}

fn refusal(registry: &Registry, apply: &Apply) -> String {
    let refusals = registry.check(apply, &BTreeMap::new(), at(NOW)).unwrap_err();
    let shown = |refusal: &Refusal| format!("{} {}: {}", refusal.what, refusal.name, refusal.reason);
    refusals.iter().map(shown).collect::<Vec<_>>().join("; ")
}

/// A registry of the kind, the view for everyone, and the tenants A to D.
fn registry() -> Registry {
    let mut registry = Registry::default();
    let tenants = ["A", "B", "C", "D"].map(tenant).into();
    let all = Apply { kinds: vec![kind()], views: vec![view()], tenants, ..Apply::default() };
    let created = apply(&mut registry, &all);
    assert!(created.iter().all(|(_, action, _)| *action == Action::Created));
    registry
}

#[test]
fn a_change_to_what_a_view_computes_is_a_revision_that_is_backfilled() {
    let mut registry = registry();
    let backfilled = "backfilled from the log for everyone; the former definition stays in force until then. Answers for closed days \
                      follow the new one, and sealed reports stay as they are";
    let late = "late changes from restate to reject for everyone; none of their days has closed yet";
    let mut changed = view();
    type Change = fn(&mut View);
    let changes: [(Change, &str); 3] = [
        (|view| view.grain = Grain::Hour, backfilled),
        (|view| view.late = LatePolicy::Reject, late),
        (|view| view.metrics.truncate(1), backfilled),
    ];
    for (index, (change, told)) in changes.into_iter().enumerate() {
        change(&mut changed);
        let lines = apply(&mut registry, &of_views(vec![changed.clone()]));
        assert_eq!(lines, [("shops".to_owned(), Action::Changed, told.to_owned())]);
        assert_eq!(registry.revisions()[&name("shops")], 2 + index as u64);
        let lines = apply(&mut registry, &of_views(vec![changed.clone()]));
        assert_eq!(lines, [("shops".to_owned(), Action::Unchanged, String::new())]);
    }
    // With other tenants at the same time it is one all the same.
    let lines = apply(&mut registry, &of_views(vec![view_for(&["A"])]));
    let late = "; late changes from reject to restate for 1 tenant; none of their days has closed yet";
    assert_eq!(lines[0].2, backfilled.replace("everyone", "1 tenant") + late);
}

/// `earliest: true` of an earlier build stays what it was until somebody applies the view again.
#[test]
fn a_former_ranking_gets_its_present_meaning_when_it_is_applied_again() {
    let ranked = |earliest| {
        let by = vec![RankedBy { metric: view().metrics[0].name.clone(), direction: Direction::Desc }];
        View { ranking: Some(Ranking { by, ties: Ties::Dense, earliest }), ..view() }
    };
    let mut registry = registry();
    registry.adopt(Definition::View(View { revision: 7, ..ranked(Earliest::LatestTime) })).unwrap();
    // The catalogue's `true`, as an earlier command line would send it, and what the present one sends.
    for (number, earliest) in [Earliest::LatestTime, Earliest::Reached].into_iter().enumerate() {
        let (name, action, detail) = apply(&mut registry, &of_views(vec![ranked(earliest)])).remove(0);
        let expected = if number == 0 { Action::Changed } else { Action::Unchanged };
        assert_eq!((&*name, action), ("shops", expected));
        let told = "whoever reached the present score first ranks higher now; backfilled from the log";
        assert_eq!(detail.contains(told), number == 0, "{detail}");
        let known = &registry.views["shops"];
        assert_eq!((known.revision, known.ranking.as_ref().unwrap().earliest), (8, Earliest::Reached));
    }
    // What costs too much is refused by name, whichever it is sent as.
    let mut costly = ranked(Earliest::LatestTime);
    costly.metrics[0].value = "approx_distinct(shop)".into();
    let refused = refusal(&registry, &of_views(vec![costly]));
    assert!(refused.contains("ranks with earliest by") && refused.contains("leave out earliest"), "{refused}");
}

#[test]
fn other_tenants_are_a_revision_that_says_how_many() {
    let mut registry = registry();
    for (tenants, detail) in [
        (vec!["A", "B"], "for 2 tenants rather than everyone"),
        (vec!["A", "B", "C", "D"], "for 2 more tenants"),
        (vec!["A", "B", "C"], "for 1 fewer tenant"),
        (vec!["C", "D"], "for 1 more tenant and 2 fewer"),
    ] {
        let lines = apply(&mut registry, &of_views(vec![view_for(&tenants)]));
        assert_eq!(lines, [("shops".to_owned(), Action::Changed, detail.to_owned())]);
    }
    assert_eq!(apply(&mut registry, &of_views(vec![view()]))[0].2, "for everyone");
    assert_eq!(registry.revisions()[&name("shops")], 6);
}

#[test]
fn tenants_of_a_view_exist_or_come_with_it() {
    let mut registry = registry();
    let view = view_for(&["A", "X", "Y"]);
    let missing = "view shops: is for tenants that do not exist: X, Y";
    assert_eq!(refusal(&registry, &of_views(vec![view.clone()])), missing);
    assert_eq!(
        refusal(&registry, &of_views(vec![view_for(&[])])),
        "view shops: is for no tenants; leave tenants out for everyone, or name some"
    );
    let many: Vec<String> = (0..1001).map(|n| format!("t{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refusal(&registry, &of_views(vec![view_for(&many)])).contains("names 1001 tenants; at most 1000"));
    assert!(
        refusal(&registry, &of_views(vec![view_for(&many[..9])]))
            .ends_with("is for 9 tenants that do not exist: t0, t1, t2, t3, t4, t5, t6, t7, …")
    );
    let together = Apply { views: vec![view], tenants: ["X", "Y"].map(tenant).into(), ..Apply::default() };
    let lines = apply(&mut registry, &together);
    assert_eq!(
        lines.iter().map(|line| line.1).collect::<Vec<_>>(),
        [Action::Changed, Action::Created, Action::Created]
    );
}

#[test]
fn an_activation_is_published_once_and_only_for_the_newest_revision() {
    let mut registry = registry();
    apply(&mut registry, &of_views(vec![view_for(&["A"])]));
    let activation = |revision| Activation { view: name("shops"), revision, since: None };
    let (one, other) = (Partition(0), Partition(1));
    assert!(!registry.lacks(one, &activation(1)));
    assert!(!registry.lacks(one, &activation(3)));
    assert!(!registry.lacks(one, &Activation { view: name("other"), ..activation(2) }));
    assert!(registry.lacks(one, &activation(2)));
    registry.activate(one, &activation(2));
    registry.activate(one, &activation(1));
    assert!(!registry.lacks(one, &activation(2)));
    assert!(registry.lacks(other, &activation(2)));
    apply(&mut registry, &of_views(vec![view()]));
    assert!(registry.lacks(one, &activation(3)));
}

#[test]
fn kinds_remember_ids_for_400_days_unless_told_otherwise() {
    let mut registry = registry();
    let of = |remember: Option<u16>| Apply { kinds: vec![Kind { remember, ..kind() }], ..Apply::default() };
    let kind_name = kind().name;
    assert_eq!(registry.kinds[&kind_name].remember, Some(400));
    assert_eq!(apply(&mut registry, &of(None))[0].1, Action::Unchanged);
    let lines = apply(&mut registry, &of(Some(36)));
    let told = "ids are remembered for 36 days instead of 400".to_owned();
    assert_eq!(lines, [(kind_name.to_string(), Action::Changed, told)]);
    assert_eq!(registry.kinds[&kind_name].remember, Some(36));
    for days in [34, 4_001] {
        let refused = refusal(&registry, &of(Some(days)));
        assert!(refused.contains("remember is 35 to 4000 days"), "{refused}");
    }
}

#[test]
fn mappings_are_checked_and_their_changes_told() {
    use daybook_domain::mapping::{Mapping, Pick, Take};
    let mut registry = registry();
    let mapping = |text: &str| Mapping {
        id: vec![Pick::path("/id")],
        at: Some(Pick { take: Some(Take::Arrival), ..Pick::default() }),
        ..Mapping::new(name(text))
    };
    let of = |mappings: Vec<Mapping>| Apply { kinds: vec![Kind { mappings, ..kind() }], ..Apply::default() };
    let kind_name = kind().name;
    let changed = Mapping { when: Some("a = 'x'".into()), ..mapping("one") };
    for (mappings, detail) in [
        (vec![mapping("one"), mapping("two")], "added mapping one; added mapping two"),
        (vec![changed.clone(), mapping("two")], "changed mapping one"),
        (vec![mapping("three"), mapping("two")], "added mapping three; removed mapping one"),
        (vec![], "removed mapping three; removed mapping two"),
    ] {
        let lines = apply(&mut registry, &of(mappings.clone()));
        assert_eq!(lines, [(kind_name.to_string(), Action::Changed, detail.to_owned())]);
        assert_eq!(apply(&mut registry, &of(mappings))[0].1, Action::Unchanged);
    }
    let twice = refusal(&registry, &of(vec![mapping("one"), mapping("one")]));
    assert!(twice.contains("has two mappings named one"), "{twice}");
    let wrong = refusal(&registry, &of(vec![Mapping { at: None, ..mapping("one") }]));
    assert!(wrong.contains("mapping one: at: the mapping has no at"), "{wrong}");
    let many = refusal(&registry, &of((0..33).map(|n| mapping(&format!("m{n}"))).collect()));
    assert!(many.contains("33 mappings; at most 32"), "{many}");
    let long =
        Mapping { tenant: Some(Pick { constant: Some("x".repeat(300_000)), ..Pick::default() }), ..mapping("one") };
    assert!(refusal(&registry, &of(vec![long])).contains("more than 262144 bytes"));
}

/// Publishes all that is due.
fn run(registry: &mut Registry, clock: &str, now: &str) -> Vec<String> {
    let mut published = Vec::new();
    for table in registry.extensions(&name(clock), at(now)).0 {
        registry.adopt(Definition::Calendar(table)).unwrap();
    }
    while let Some(marker) = registry.schedule.due(&name(clock), at(now), 1).pop() {
        published.push(format!("{} {} {}", marker.day.date, marker.edge.as_str(), marker.due_at));
        registry.schedule.observe(&marker);
    }
    published
}
