//! Removals: what may go, and what becomes of names that are used again.

use super::*;

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
