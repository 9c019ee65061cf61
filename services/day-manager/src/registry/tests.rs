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
    for table in registry.extensions(&name(clock), at(now)).0 {
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
    let rule = |from: &str| CalendarRule {
        from: from.parse().unwrap(),
        zone: "Asia/Beirut".into(),
        cutoff_minutes: 300,
        named_by: Default::default(),
    };
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
fn which_date_names_days_may_change_until_a_day_opens_or_an_event_counts() {
    let named = |day_named_by| TenantSpec {
        day_named_by,
        clock: Some(name("shop")),
        first_day: Some("2026-05-02".parse().unwrap()),
        ..tenant("N")
    };
    let (by_open, by_close) = (named(NamedBy::Open), named(NamedBy::Close));
    let mut registry = registry();
    apply(&mut registry, &of_tenants(vec![by_open.clone()]));
    assert_eq!(change(&mut registry, &by_close, Counted::Nothing).unwrap(), "day_named_by");
    let first = registry.schedule.table(&id("N")).unwrap().day("2026-05-02".parse().unwrap()).unwrap();
    assert_eq!(first.opens_at, at("2026-05-01T05:00:00Z"));
    let counted = Counted::Through("2026-05-02".parse().unwrap());
    let refused = change(&mut registry, &by_open, counted).unwrap_err();
    let expected = "day_named_by cannot be changed from close to open, because events of 2026-05-02 were counted";
    assert!(refused.contains(expected), "{refused}");
    registry.clocks.insert(name("shop"), at("2026-05-01T06:00:00Z"));
    run(&mut registry, "shop", "2026-05-01T06:00:00Z");
    let refused = change(&mut registry, &by_open, Counted::Nothing).unwrap_err();
    assert!(refused.contains("because business day 2026-05-02 has opened"), "{refused}");
}

#[test]
fn a_late_policy_changes_from_a_day_on_that_has_not_opened_for_anyone() {
    let mut registry = registry();
    let past = TenantSpec { clock: Some(name("past")), first_day: Some("2024-04-01".parse().unwrap()), ..tenant("P") };
    apply(&mut registry, &of_tenants(vec![past]));
    registry.clocks.insert(name("past"), at("2024-04-03T06:00:00Z"));
    run(&mut registry, "past", "2024-04-03T06:00:00Z");
    // Of the others no day has closed yet, so what is late was never decided for them.
    let carried = || of_views(vec![View { late: LatePolicy::CarryForward, ..view() }]);
    let told = "late changes from restate to carry_forward from business day 2024-04-04 on for everyone; earlier days keep theirs, and no \
                figure and no sealed report changes";
    assert_eq!(registry.check(&carried(), &BTreeMap::new(), at(NOW)).unwrap().applied[0].detail.as_deref(), Some(told));
    run(&mut registry, "system", "2026-05-03T12:00:00Z");
    let told = apply(&mut registry, &carried());
    assert!(told[0].2.contains("from business day 2026-05-04 on"), "{told:?}");
    assert!(
        told[0].2.ends_with("these have to reach that day first, by their newest days: P (2024-04-03)"),
        "{told:?}"
    );
    let policies = |registry: &Registry| registry.views[&name("shops")].late_text();
    assert_eq!(policies(&registry), "restate, carry_forward from 2026-05-04 on");
    // The same file again, also when that day is long over.
    for now in ["2026-05-03T13:00:00Z", "2026-05-09T12:00:00Z"] {
        run(&mut registry, "system", now);
        assert_eq!(apply(&mut registry, &carried())[0].1, Action::Unchanged, "{now}");
    }
    let back = of_views(vec![view()]);
    apply(&mut registry, &back);
    assert_eq!(policies(&registry), "restate, carry_forward from 2026-05-04 on, restate from 2026-05-10 on");
    let far = vec![LateChange { from: "2027-01-01".parse().unwrap(), late: LatePolicy::CarryForward }];
    apply(&mut registry, &of_views(vec![View { late_changes: far, ..view() }]));
    let expected =
        "restate, carry_forward from 2026-05-04 on, restate from 2026-05-10 on, carry_forward from 2027-01-01 on";
    assert_eq!(policies(&registry), expected);
    let refused = refusal(&registry, &of_views(vec![View { late: LatePolicy::Reject, ..view() }]));
    assert!(refused.contains("give the view with the other policy another name"), "{refused}");
}

#[test]
fn a_boundary_is_set_once_within_its_day_and_kept_for_a_while() {
    let mut registry = registry();
    run(&mut registry, "system", NOW);
    let date = |text: &str| text.parse::<Date>().unwrap();
    let today = date("2026-05-02");
    let ask = |registry: &Registry, on: Date, now: &str| registry.boundary(&id("A"), on, at(now));
    for (now, why) in [
        ("2026-05-02T05:00:00Z", "would have no time at all"),
        ("2026-05-03T05:00:00Z", "ended at its cut-off, 2026-05-03T05:00:00Z, and is open for its grace only"),
    ] {
        let refused = ask(&registry, today, now).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let definition = ask(&registry, today, NOW).unwrap().unwrap();
    registry.adopt(definition).unwrap();
    for now in ["2026-05-02T13:00:00Z", "2026-05-03T05:00:00Z"] {
        assert_eq!(ask(&registry, today, now), Ok(None), "it has one");
    }
    let known = |registry: &Registry| registry.schedule.get(&id("A")).unwrap().tenant().boundaries.clone();
    assert_eq!(known(&registry), [Boundary { date: today, at: at(NOW) }]);
    // Another definition keeps it.
    apply(&mut registry, &of_tenants(vec![TenantSpec { grace_ms: 60_000, ..tenant("A") }]));
    assert_eq!(known(&registry).len(), 1);
    let later = today.plus(BOUNDARY_DAYS + 1);
    run(&mut registry, "system", &format!("{later}T06:00:00Z"));
    let definition = ask(&registry, later, &format!("{later}T07:00:00Z")).unwrap().unwrap();
    registry.adopt(definition).unwrap();
    assert_eq!(known(&registry).iter().map(|boundary| boundary.date).collect::<Vec<_>>(), [later]);
}

#[test]
fn a_day_that_began_at_a_boundary_has_time_before_its_opening_by_the_calendar() {
    let mut registry = registry();
    run(&mut registry, "system", NOW);
    let date = |text: &str| text.parse::<Date>().unwrap();
    let (today, next) = (date("2026-05-02"), date("2026-05-03"));
    let ask = |registry: &Registry, on: Date, now: &str| registry.boundary(&id("A"), on, at(now));
    let opening = "2026-05-03T05:00:00Z";
    assert!(ask(&registry, next, opening).unwrap_err().contains("would have no time at all"));
    registry.adopt(ask(&registry, today, NOW).unwrap().unwrap()).unwrap();
    assert!(ask(&registry, next, NOW).unwrap_err().contains(&format!("begins at {NOW} and would have no time")));
    let early = ask(&registry, next, "2026-05-02T23:00:00Z").unwrap_err();
    let why = format!(
        "has taken events since {NOW}, the boundary of the day before, but opens by the calendar only at {opening}"
    );
    assert!(early.contains(&why), "{early}");
    let Ok(Some(Definition::Tenant(tenant))) = ask(&registry, next, opening) else { panic!("it has hours") };
    assert_eq!(tenant.boundary(next), Some(at(opening)));
    // The day after has no boundary before it.
    assert!(ask(&registry, date("2026-05-04"), "2026-05-04T05:00:00Z").unwrap_err().contains("no time at all"));
}

#[test]
fn hours_of_the_clock_wait_for_the_offsets_of_local_clocks() {
    let mut registry = registry();
    let clock_hours = || of_views(vec![View { grain: Grain::ClockHour, ..view() }]);
    apply(&mut registry, &clock_hours());
    let table = registry.schedule.table(&id("A")).unwrap();
    let bare = CalendarTable { offsets: Vec::new(), revision: table.revision + 1, ..(**table).clone() };
    registry.adopt(Definition::Calendar(bare)).unwrap();
    let refused = refusal(&registry, &of_views(vec![View { grain: Grain::ClockHour, name: name("other"), ..view() }]));
    assert!(refused.contains("an earlier build published"), "{refused}");
    let extended = registry.with_offsets().0;
    assert!(extended.iter().all(|table| !table.offsets.is_empty()) && !extended.is_empty());
}

#[test]
fn tables_of_clocks_that_stand_still_get_offsets_and_no_further_days() {
    let mut registry = registry();
    let past = TenantSpec { clock: Some(name("past")), first_day: Some("2024-04-01".parse().unwrap()), ..tenant("P") };
    apply(&mut registry, &of_tenants(vec![past]));
    assert!(registry.with_offsets().0.is_empty());
    let table = registry.schedule.table(&id("P")).unwrap().clone();
    let bare = CalendarTable { offsets: Vec::new(), revision: table.revision + 1, ..(*table).clone() };
    registry.adopt(Definition::Calendar(bare)).unwrap();
    let republished = registry.with_offsets().0;
    assert_eq!(republished, [CalendarTable { revision: table.revision + 2, ..(*table).clone() }]);
    registry.adopt(Definition::Calendar(republished[0].clone())).unwrap();
    assert!(registry.with_offsets().0.is_empty());
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

/// Removes the target and takes that in; returns what was published.
fn remove(registry: &mut Registry, target: &Target) -> Vec<Definition> {
    let plan = registry.plan_removal(target).unwrap();
    for definition in &plan.definitions {
        registry.adopt(definition.clone()).unwrap();
    }
    plan.definitions
}

fn tenant_target(text: &str, purge: bool) -> Target {
    Target::Tenant { id: id(text), purge }
}

#[test]
fn a_removed_tenant_is_due_for_nothing_and_its_id_begins_a_new_generation() {
    let mut registry = registry();
    let system = name(SYSTEM_CLOCK);
    let due = |registry: &Registry| registry.schedule.due(&system, at(NOW), 9);
    let old = due(&registry).into_iter().find(|marker| marker.tenant == id("A")).unwrap();
    let removed = remove(&mut registry, &tenant_target("A", false));
    let expected = Removal::Tenant { id: id("A"), revision: 2, generation: 0, purge: false };
    assert_eq!(removed, [Definition::Removal(expected)]);
    assert!(due(&registry).iter().all(|marker| marker.tenant != id("A")));
    assert_eq!(registry.schedule.observe(&old), Observed::Unknown);
    // Twice: it says so. With a purge: what is left goes.
    let again = registry.plan_removal(&tenant_target("A", false)).unwrap();
    assert_eq!((again.is_repeated, again.definitions.len()), (true, 0));
    let purge = remove(&mut registry, &tenant_target("A", true));
    let expected = Removal::Tenant { id: id("A"), revision: 3, generation: 0, purge: true };
    assert_eq!(purge, [Definition::Removal(expected)]);
    // The broker may not have purged all of it: it can be asked again.
    let purge = remove(&mut registry, &tenant_target("A", true));
    let expected = Removal::Tenant { id: id("A"), revision: 4, generation: 0, purge: true };
    assert_eq!(purge, [Definition::Removal(expected)]);
    assert_eq!(registry.plan_removal(&tenant_target("A", false)).unwrap().definitions, []);

    let created = apply(&mut registry, &of_tenants(vec![TenantSpec { zone: "Asia/Tokyo".into(), ..tenant("A") }]));
    assert_eq!(created[0].1, Action::Created);
    let fresh = registry.schedule.get(&id("A")).unwrap().tenant().clone();
    assert_eq!((fresh.generation, fresh.revision), (1, 5));
    // A day of the old one says nothing of the new one.
    assert_eq!(registry.schedule.observe(&old), Observed::Stale);
    let new = due(&registry).into_iter().find(|marker| marker.tenant == id("A")).unwrap();
    assert_eq!((new.generation, registry.schedule.observe(&new)), (1, Observed::Applied));
    // Another revision stays of that generation.
    apply(&mut registry, &of_tenants(vec![TenantSpec { zone: "Asia/Tokyo".into(), grace_ms: 5, ..tenant("A") }]));
    assert_eq!(registry.schedule.get(&id("A")).unwrap().tenant().generation, 1);
}

#[test]
fn views_that_name_a_removed_tenant_are_for_one_fewer() {
    let mut registry = registry();
    apply(&mut registry, &of_views(vec![view_for(&["A", "B"])]));
    let definitions = remove(&mut registry, &tenant_target("A", false));
    assert!(matches!(&definitions[..], [Definition::View(_), Definition::Removal(_)]), "{definitions:?}");
    let view = &registry.views[&name("shops")];
    assert_eq!((view.tenants.clone(), view.revision), (view_for(&["B"]).tenants, 3));
    let refused = registry.plan_removal(&tenant_target("B", false)).unwrap_err();
    assert_eq!(refused, "shops would be for no tenant then; remove these views first");
}

#[test]
fn a_kind_goes_when_no_view_uses_it_and_names_come_again_with_later_revisions() {
    let mut registry = registry();
    let kind_target = Target::Kind { name: name("order") };
    let refused = registry.plan_removal(&kind_target).unwrap_err();
    assert_eq!(refused, "kind order is used by shops; remove these views first");
    let strange = Target::View { name: name("none") };
    assert_eq!(registry.plan_removal(&strange).unwrap_err(), "there is no view none");
    remove(&mut registry, &Target::View { name: name("shops") });
    remove(&mut registry, &kind_target);
    assert!(registry.plan_removal(&kind_target).unwrap().is_repeated);
    assert!(registry.views.is_empty() && registry.kinds.is_empty());
    let other = Kind { mode: Mode::Entity, measures: Vec::new(), ..kind() };
    apply(&mut registry, &Apply { kinds: vec![other], ..Apply::default() });
    assert_eq!((registry.kinds[&name("order")].mode, registry.kinds[&name("order")].revision), (Mode::Entity, 3));
}

#[test]
fn another_late_policy_says_what_it_does_and_to_whom() {
    let mut registry = registry();
    let told = apply(&mut registry, &of_views(vec![View { late: LatePolicy::CarryForward, ..view() }]));
    assert_eq!(told[0].2, "late changes from restate to carry_forward for everyone; none of their days has closed yet");
    let told = apply(&mut registry, &of_views(vec![View { late: LatePolicy::Reject, ..view_for(&["A", "B"]) }]));
    assert!(told[0].2.starts_with("late changes from carry_forward to reject for 2 tenants; "), "{}", told[0].2);
}

#[test]
fn a_group_names_tenants_that_exist_and_has_an_id_of_its_own() {
    let mut registry = Registry::default();
    let group = |text: &str, tenants: &[&str]| TenantGroup {
        id: id(text),
        name: None,
        tenants: tenants.iter().copied().map(id).collect(),
        revision: 0,
    };
    let of_groups = |groups: Vec<TenantGroup>| Apply { groups, ..Apply::default() };
    let both = Apply { tenants: vec![tenant("A"), tenant("B")], ..of_groups(vec![group("north", &["A", "B"])]) };
    assert_eq!(apply(&mut registry, &both).last(), Some(&("north".to_owned(), Action::Created, String::new())));
    assert_eq!(registry.groups[&id("north")].revision, 1);
    let fewer = apply(&mut registry, &of_groups(vec![group("north", &["A"])]));
    assert_eq!(fewer, [("north".to_owned(), Action::Changed, "0 tenants more, 1 fewer".to_owned())]);
    for (refused, why) in [
        (of_groups(vec![group("south", &[])]), "names 0 tenants"),
        (of_groups(vec![group("A", &["B"])]), "is or was the id of a tenant"),
        (of_groups(vec![group("south", &["C"])]), "tenants that do not exist: C"),
        (of_groups(vec![group("south", &["north"])]), "names the group north"),
        (of_tenants(vec![tenant("north")]), "is or was the id of a group"),
        (Apply { tenants: vec![tenant("C")], ..of_groups(vec![group("C", &["A"])]) }, "is or was the id of a group"),
    ] {
        assert!(refusal(&registry, &refused).contains(why), "{why}: {}", refusal(&registry, &refused));
    }
    let target = Target::Tenant { id: id("A"), purge: false };
    assert!(registry.plan_removal(&target).unwrap_err().contains("north would have no tenant"));
    apply(&mut registry, &of_groups(vec![group("north", &["A", "B"])]));
    let plan = registry.plan_removal(&target).unwrap();
    assert_eq!((plan.groups, plan.definitions.len()), (vec![id("north")], 2));
    for definition in plan.definitions {
        registry.adopt(definition).unwrap();
    }
    assert_eq!(registry.groups[&id("north")].tenants, [id("B")].into());
    let plan = registry.plan_removal(&Target::Group { id: id("north") }).unwrap();
    assert_eq!(plan.definitions, [Definition::Removal(Removal::Group { id: id("north"), revision: 5 })]);
}

#[test]
fn a_change_of_policy_is_told_from_the_first_day_that_differs_and_beside_other_changes() {
    let day = |text: &str| text.parse::<Date>().unwrap();
    let with = |changes: &[(&str, LatePolicy)]| View {
        late_changes: changes.iter().map(|(from, late)| LateChange { from: day(from), late: *late }).collect(),
        ..view()
    };
    let (restate, carry) = (LatePolicy::Restate, LatePolicy::CarryForward);
    let mut registry = registry();
    run(&mut registry, "system", "2026-05-03T12:00:00Z");
    let told = |registry: &mut Registry, view: View| apply(registry, &of_views(vec![view])).remove(0).2;
    let first = with(&[("2026-06-01", carry), ("2026-07-01", restate)]);
    assert!(told(&mut registry, first).contains("from restate to carry_forward from business day 2026-06-01 on"));
    // The first planned change stays, the second comes later.
    let second = with(&[("2026-06-01", carry), ("2026-08-01", restate)]);
    assert!(told(&mut registry, second).contains("from restate to carry_forward from business day 2026-07-01 on"));
    // What was planned is given up.
    let given_up = told(&mut registry, view());
    assert!(given_up.contains("from carry_forward to restate from business day 2026-06-01 on"), "{given_up}");
    let fewer = View { metrics: view().metrics[..1].to_vec(), ..with(&[("2026-09-01", carry)]) };
    let both = told(&mut registry, fewer);
    assert!(both.starts_with("backfilled from the log for everyone; "), "{both}");
    assert!(both.contains("; late changes from restate to carry_forward from business day 2026-09-01 on"), "{both}");
    assert!(!both.contains("no figure"), "{both}");
}

#[test]
fn other_tenants_beside_another_policy_are_told() {
    let mut registry = registry();
    run(&mut registry, "system", "2026-05-03T12:00:00Z");
    let carried = |tenants: &[&str]| of_views(vec![View { late: LatePolicy::CarryForward, ..view_for(tenants) }]);
    let told = apply(&mut registry, &carried(&["A"])).remove(0).2;
    assert!(told.ends_with("earlier days keep theirs; for 1 tenant rather than everyone"), "{told}");
    let back = of_views(vec![view_for(&["A", "B"])]);
    let told = apply(&mut registry, &back).remove(0).2;
    assert!(told.ends_with("earlier days keep theirs; for 1 more tenant"), "{told}");
}

#[test]
fn a_policy_that_the_present_revision_cannot_have_waits_for_the_next_one() {
    let mut registry = registry();
    let least = || {
        let mut metrics = view().metrics;
        metrics[1].value = "min(price)".into();
        View { metrics, ..view() }
    };
    apply(&mut registry, &of_views(vec![least()]));
    let carried = || of_views(vec![View { late: LatePolicy::CarryForward, ..view() }]);
    let refused = refusal(&registry, &carried());
    assert!(refused.contains("apply the other changes first"), "{refused}");
    apply(&mut registry, &of_views(vec![view()]));
    assert_eq!(apply(&mut registry, &carried())[0].1, Action::Changed);
}

#[test]
fn a_view_has_so_many_policies_and_another_name_has_more() {
    let mut registry = registry();
    let mut refused = String::new();
    for count in 0..=i32::try_from(daybook_domain::catalogue::MAX_LATE_CHANGES).unwrap() {
        let today = "2026-05-03".parse::<Date>().unwrap().plus(count);
        run(&mut registry, "system", &format!("{today}T12:00:00Z"));
        let late = [LatePolicy::CarryForward, LatePolicy::Restate][count as usize % 2];
        match registry.check(&of_views(vec![View { late, ..view() }]), &BTreeMap::new(), at(NOW)) {
            Ok(change) => change.definitions.into_iter().for_each(|definition| registry.adopt(definition).unwrap()),
            Err(refusals) => refused = format!("{count} {}", refusals[0].reason),
        }
    }
    assert!(refused.starts_with("64 late has changed 64 times"), "{refused}");
    assert!(refused.contains("another name"), "{refused}");
}
