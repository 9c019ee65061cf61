//! Tenants: what may change of them once they have begun, their boundaries, and their clocks.

use super::*;

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
