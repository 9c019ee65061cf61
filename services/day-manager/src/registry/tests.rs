use super::*;
use daybook_domain::catalogue::{
    CalendarRule, Dimension, Grain, LatePolicy, Measure, Metric, Mode, Season, Tenant, only_final,
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
    let backfilled = "backfilled from the log; the former definition stays in force until then";
    let mut changed = view();
    let changes: [fn(&mut View); 3] =
        [|view| view.grain = Grain::Hour, |view| view.late = LatePolicy::Reject, |view| view.metrics.truncate(1)];
    for (index, change) in changes.into_iter().enumerate() {
        change(&mut changed);
        let lines = apply(&mut registry, &of_views(vec![changed.clone()]));
        assert_eq!(lines, [("shops".to_owned(), Action::Changed, backfilled.to_owned())]);
        assert_eq!(registry.revisions()[&name("shops")], 2 + index as u64);
        let lines = apply(&mut registry, &of_views(vec![changed.clone()]));
        assert_eq!(lines, [("shops".to_owned(), Action::Unchanged, String::new())]);
    }
    // With other tenants at the same time it is one all the same.
    let lines = apply(&mut registry, &of_views(vec![view_for(&["A"])]));
    assert_eq!(lines[0].2, backfilled);
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
fn seasons_follow_the_clock_of_their_tenant() {
    let season = |to: &str| Season { name: name("hunt"), from: at("2026-05-01T18:00:00Z"), to: at(to) };
    let with = |seasons: Vec<Season>| of_tenants(vec![TenantSpec { seasons, ..tenant("A") }]);
    let mut registry = registry();
    let (short, long) = ("2026-05-03T18:00:00Z", "2026-05-04T18:00:00Z");
    let lines = apply(&mut registry, &with(vec![season(short)]));
    assert_eq!(lines, [("A".to_owned(), Action::Changed, "seasons".to_owned())]);
    assert_eq!(apply(&mut registry, &with(vec![season(short)]))[0].1, Action::Unchanged);
    assert_eq!(apply(&mut registry, &with(vec![season(long)]))[0].1, Action::Changed);
    assert!(refusal(&registry, &with(vec![season("2026-05-02T12:00:00Z")])).contains("which is past"));
    assert_eq!(registry.schedule.get(&id("A")).unwrap().tenant().seasons, [season(long)]);
    assert_eq!(apply(&mut registry, &with(Vec::new()))[0].1, Action::Changed);

    // A clock of its own that has not begun: nothing is past.
    let mut replayed =
        TenantSpec { clock: Some(name("replay")), first_day: Some("2026-05-01".parse().unwrap()), ..tenant("R") };
    replayed.seasons = vec![season("2026-05-01T19:00:00Z")];
    apply(&mut registry, &of_tenants(vec![replayed.clone()]));
    replayed.seasons = vec![season("2026-05-01T18:30:00Z")];
    apply(&mut registry, &of_tenants(vec![replayed.clone()]));
    registry.clocks.insert(name("replay"), at(NOW));
    replayed.seasons = vec![season(long)];
    assert!(refusal(&registry, &of_tenants(vec![replayed])).contains("was over at"));
}

#[test]
fn quotas_are_a_revision_and_have_ranges() {
    let with = |quotas: Quotas| of_tenants(vec![TenantSpec { quotas, ..tenant("A") }]);
    let mut registry = registry();
    let quotas = Quotas { events_per_second: Some(500), feeds: Some(0), ..Quotas::default() };
    let lines = apply(&mut registry, &with(quotas));
    assert_eq!(lines, [("A".to_owned(), Action::Changed, "quotas".to_owned())]);
    assert_eq!(registry.schedule.get(&id("A")).unwrap().tenant().quotas, quotas);
    assert_eq!(apply(&mut registry, &with(quotas))[0].1, Action::Unchanged);
    let refused = refusal(&registry, &with(Quotas { entities: Some(0), ..quotas }));
    assert_eq!(refused, "tenant A: the quota entities is 0; it may be 1 to 1000000000");
    assert_eq!(apply(&mut registry, &with(Quotas::default()))[0].1, Action::Changed);
    assert!(registry.schedule.get(&id("A")).unwrap().tenant().quotas.is_none());
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
fn a_tenant_gathers_restatements_unless_it_says_otherwise() {
    let mut registry = Registry::default();
    let with = |restate_after_ms| of_tenants(vec![TenantSpec { restate_after_ms, ..tenant("A") }]);
    let line = |registry: &mut Registry, millis| apply(registry, &with(millis)).remove(0);
    assert_eq!(line(&mut registry, None).1, Action::Created);
    let interval = |registry: &Registry| registry.schedule.get(&id("A")).unwrap().tenant().restate_after_ms;
    assert_eq!(interval(&registry), Some(60_000));
    assert_eq!(line(&mut registry, None).1, Action::Unchanged);
    let (_, action, detail) = line(&mut registry, Some(0));
    assert_eq!((action, detail.as_str(), interval(&registry)), (Action::Changed, "restate_after", Some(0)));
    let refused = refusal(&registry, &with(Some(86_400_001)));
    assert_eq!(refused, "tenant A: restate_after of 86400001 ms is more than a day (86400000 ms)");
    assert_eq!(line(&mut registry, Some(86_400_000)).1, Action::Changed);

    // A tenant from before there were intervals is restated at once until it is defined again.
    let old = Tenant { restate_after_ms: None, ..registry.schedule.get(&id("A")).unwrap().tenant().clone() };
    registry.adopt(Definition::Tenant(old)).unwrap();
    assert_eq!(interval(&registry), None);
    assert_eq!(line(&mut registry, None).1, Action::Changed);
    assert_eq!(interval(&registry), Some(60_000));
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

#[test]
fn a_named_clock_that_is_left_out_is_kept_and_told() {
    let mut registry = Registry::default();
    let first_day = Some("2026-05-01".parse().unwrap());
    let named = TenantSpec { clock: Some(name("shop")), first_day, ..tenant("A") };
    apply(&mut registry, &of_tenants(vec![named.clone()]));
    let told = "keeps the clock shop; write `clock: system` to follow the system clock, or `clock: shop` to keep it";
    let lines = apply(&mut registry, &of_tenants(vec![TenantSpec { clock: None, ..named.clone() }]));
    assert_eq!(lines, [("A".to_owned(), Action::Unchanged, told.to_owned())]);
    let lines = apply(&mut registry, &of_tenants(vec![TenantSpec { clock: None, grace_ms: 5, ..named.clone() }]));
    assert_eq!(lines, [("A".to_owned(), Action::Changed, format!("grace; {told}"))]);
    assert_eq!(registry.schedule.get(&id("A")).unwrap().tenant().clock, name("shop"));
    // Whoever writes the clock, or has none of its own, is told nothing.
    apply(&mut registry, &of_tenants(vec![named.clone()]));
    assert_eq!(apply(&mut registry, &of_tenants(vec![named]))[0].2, "");
    apply(&mut registry, &of_tenants(vec![tenant("B")]));
    assert_eq!(
        apply(&mut registry, &of_tenants(vec![tenant("B")]))[0],
        ("B".to_owned(), Action::Unchanged, String::new())
    );
}

/// As [`refusal`] and [`apply`], where the tenant's shard has counted that.
fn change(registry: &mut Registry, spec: &TenantSpec, counted: Counted) -> Result<String, String> {
    let request = of_tenants(vec![spec.clone()]);
    let known = BTreeMap::from([(spec.id.clone(), counted)]);
    let change = registry.check(&request, &known, at(NOW)).map_err(|refusals| refusals[0].reason.clone())?;
    for definition in change.definitions {
        registry.adopt(definition).unwrap();
    }
    Ok(change.applied[0].detail.clone().unwrap_or_default())
}

/// Publishes all that is due.
fn run(registry: &mut Registry, clock: &str, now: &str) -> Vec<String> {
    let mut published = Vec::new();
    for table in registry.extensions(&name(clock), at(now)) {
        registry.adopt(Definition::Calendar(table)).unwrap();
    }
    while let Some(marker) = registry.schedule.due(&name(clock), at(now), 1).pop() {
        published.push(format!("{} {} {}", marker.day.date, marker.edge.as_str(), marker.due_at));
        registry.schedule.observe(&marker);
    }
    published
}

#[test]
fn a_tenant_of_which_nothing_has_begun_is_mended_freely() {
    let mut registry = Registry::default();
    let first_day = Some("2026-05-10".parse().unwrap());
    let old = TenantSpec { first_day, ..tenant("A") };
    apply(&mut registry, &of_tenants(vec![old.clone()]));
    let request = of_tenants(vec![TenantSpec { cutoff_minutes: 60, ..old.clone() }]);
    assert_eq!(registry.to_be_moved(&request), BTreeSet::from([id("A")]));
    assert!(
        registry.to_be_moved(&of_tenants(vec![TenantSpec { grace_ms: 9, first_day: None, ..old.clone() }])).is_empty()
    );

    let mended = TenantSpec { zone: "Asia/Tokyo".into(), cutoff_minutes: 60, ..old.clone() };
    let asked = refusal(&registry, &of_tenants(vec![mended.clone()]));
    assert!(asked.contains("its shard does not say now whether events were counted"), "{asked}");
    assert_eq!(change(&mut registry, &mended, Counted::Nothing).unwrap(), "calendar");
    let earlier = TenantSpec { first_day: Some("2026-05-01".parse().unwrap()), clock: Some(name("shop")), ..mended };
    assert_eq!(change(&mut registry, &earlier, Counted::Nothing).unwrap(), "first_day, clock");
    assert_eq!(run(&mut registry, "system", NOW), [""; 0]);
    registry.clocks.insert(name("shop"), at(NOW));
    let days = run(&mut registry, "shop", NOW);
    assert_eq!(days.first().unwrap(), "2026-05-01 opened 2026-04-30T16:00:00Z");
    let refused = change(&mut registry, &old, Counted::Nothing).unwrap_err();
    assert!(refused.contains("the clock cannot be changed") || refused.contains("the first day"), "{refused}");
}

#[test]
fn a_wrong_cutoff_is_mended_from_the_next_one_on_while_nothing_was_counted() {
    let mut registry = Registry::default();
    let wrong = TenantSpec { cutoff_minutes: 17 * 60, ..tenant("A") };
    apply(&mut registry, &of_tenants(vec![wrong]));
    assert_eq!(run(&mut registry, "system", NOW), ["2026-05-01 opened 2026-05-01T17:00:00Z"]);
    let told = "calendar; days before 2026-05-03 keep their hours, because business day 2026-05-01 has opened";
    assert_eq!(change(&mut registry, &tenant("A"), Counted::Nothing).unwrap(), told);
    // The same file again, with events by now, is no change.
    let told = change(&mut registry, &tenant("A"), Counted::Through("2026-05-01".parse().unwrap())).unwrap();
    assert!(told.starts_with("days before "), "{told}");
    assert_eq!(registry.schedule.get(&id("A")).unwrap().tenant().revision, 2);
    let days = run(&mut registry, "system", "2026-05-04T05:00:00Z");
    let expected = [
        "2026-05-02 opened 2026-05-02T17:00:00Z",
        "2026-05-01 closed 2026-05-02T17:00:00Z",
        "2026-05-03 opened 2026-05-03T05:00:00Z",
        "2026-05-02 closed 2026-05-03T05:00:00Z",
        "2026-05-04 opened 2026-05-04T05:00:00Z",
        "2026-05-03 closed 2026-05-04T05:00:00Z",
    ];
    assert_eq!(days, expected);
}

#[test]
fn a_tenant_with_events_follows_another_rule_two_days_later() {
    let mut registry = registry();
    run(&mut registry, "system", NOW);
    let counted = Counted::Through("2026-05-02".parse().unwrap());
    let rule =
        |from: &str| CalendarRule { from: from.parse().unwrap(), zone: "Asia/Beirut".into(), cutoff_minutes: 300 };
    let with = |from: &str| TenantSpec { changes: vec![rule(from)], ..tenant("A") };
    let refused = change(&mut registry, &with("2026-05-03"), counted).unwrap_err();
    assert!(refused.contains("days before 2026-05-04 stay as they are"), "{refused}");
    assert_eq!(change(&mut registry, &with("2026-05-04"), counted).unwrap(), "calendar");
    // Another tenant follows with the same rules, and the others keep the old table.
    let other = TenantSpec { id: id("B"), ..with("2026-05-04") };
    assert_eq!(change(&mut registry, &other, counted).unwrap(), "calendar");
    let table = |registry: &Registry, of: &str| registry.schedule.table(&id(of)).unwrap().clone();
    assert_eq!(table(&registry, "A").name, table(&registry, "B").name);
    assert_ne!(table(&registry, "A").name, table(&registry, "C").name);
    let markers = run(&mut registry, "system", "2026-05-04T04:00:00Z");
    let of_four = markers.iter().filter(|marker| marker.starts_with("2026-05-04 opened 2026-05-04T02:00:00Z"));
    assert_eq!(of_four.count(), 2, "{markers:?}");
    // And back again, before the rule has begun to hold.
    let mut registry = self::registry();
    run(&mut registry, "system", NOW);
    change(&mut registry, &with("2026-05-04"), counted).unwrap();
    assert_eq!(change(&mut registry, &tenant("A"), counted).unwrap(), "calendar");
    assert_eq!(table(&registry, "A").name, table(&registry, "C").name);
}

#[test]
fn a_replayed_tenant_goes_live_with_its_days() {
    let mut registry = Registry::default();
    let hist = TenantSpec { clock: Some(name("past")), first_day: Some("2024-04-01".parse().unwrap()), ..tenant("H") };
    let live = TenantSpec { clock: Some(name("system")), ..hist.clone() };
    apply(&mut registry, &of_tenants(vec![hist]));
    let counted = Counted::Through("2026-04-20".parse().unwrap());
    // Its history has not been replayed.
    let refused = change(&mut registry, &live, Counted::Nothing).unwrap_err();
    assert!(refused.contains("more than 400 days from today; its clock past has opened no day yet"), "{refused}");
    assert!(change(&mut registry, &live, counted).unwrap_err().contains("drive it past the first day"));
    for (stands_at, lag) in [("2026-03-20T12:00:00Z", true), ("2026-04-20T12:00:00Z", false)] {
        registry.clocks.insert(name("past"), at(stands_at));
        run(&mut registry, "past", stands_at);
        let outcome = change(&mut registry, &live, counted);
        assert_eq!(outcome.as_ref().is_err_and(|refused| refused.contains("35 days behind")), lag, "{outcome:?}");
    }
    let plan = registry.schedule.get(&id("H")).unwrap();
    assert_eq!((plan.tenant().clock.as_str(), plan.opened()), ("system", Some("2026-04-20".parse().unwrap())));
    let days = run(&mut registry, "system", NOW);
    assert_eq!(days[0], "2026-04-21 opened 2026-04-21T05:00:00Z");
    assert_eq!(days[1], "2026-04-20 closed 2026-04-21T05:00:00Z");
    assert_eq!(days.last().unwrap(), "2026-05-01 closed 2026-05-02T05:00:00Z");
}
