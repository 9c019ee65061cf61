//! Late policies of views: from which day on another one counts, and what is said of it.

use super::*;

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
fn another_late_policy_says_what_it_does_and_to_whom() {
    let mut registry = registry();
    let told = apply(&mut registry, &of_views(vec![View { late: LatePolicy::CarryForward, ..view() }]));
    assert_eq!(told[0].2, "late changes from restate to carry_forward for everyone; none of their days has closed yet");
    let told = apply(&mut registry, &of_views(vec![View { late: LatePolicy::Reject, ..view_for(&["A", "B"]) }]));
    assert!(told[0].2.starts_with("late changes from carry_forward to reject for 2 tenants; "), "{}", told[0].2);
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
