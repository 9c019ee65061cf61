//! What definition files may hold, and how their mistakes are told: forms, names, YAML and bounds. A file for each thing that is defined.

mod kinds;
mod mappings;
mod properties;
mod tenants;
mod views;

use super::*;
use daybook_domain::catalogue::{
    Direction, Earliest, Grain, LatePolicy, MAX_COLUMNS, MAX_GROUP_BY, MAX_METRICS, MAX_RANKED_BY, Mode, Ranking,
    Status, Ties,
};
use daybook_domain::quotas::Quotas;

const KIND: &str = "
kinds:
  - name: flight
    mode: entity
    dimensions: [carrier, { name: event, field: event }]
    measures: [distance, arr_delay, { name: fare, type: decimal, scale: 2 }]
";

fn files(texts: &[&str]) -> Vec<(PathBuf, String)> {
    let names = ["a.yaml", "b.yaml", "c.yaml"];
    texts.iter().zip(names).map(|(text, name)| (PathBuf::from(name), (*text).to_owned())).collect()
}

fn good(text: &str) -> Apply {
    match load(&files(&[text]), &[]) {
        Ok(definitions) => definitions.apply,
        Err(mistakes) => panic!("{}", shown(&mistakes)),
    }
}

fn shown(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

/// The mistakes of one file, as they are shown.
fn bad(text: &str) -> String {
    shown(&load(&files(&[text]), &[]).unwrap_err())
}

/// The mistakes of a tenant with one line more, or instead of what it has.
fn bad_tenant(lines: &str) -> String {
    bad(&format!("tenants:\n  - id: ABQ\n    zone: America/Denver\n{lines}"))
}

#[test]
fn every_form_is_read() {
    let apply = good(
        r#"
kinds:
  - name: flight
    mode: entity
    dimensions:
      - carrier
      - { name: event, field: event }
    measures:
      - distance
      - { name: arr_delay, type: integer }
      - { name: fare, type: decimal, scale: 2 }
      - { name: tax, scale: 3 }
  - { name: click, mode: fact }
views:
  - name: arrivals
    kind: flight
    group_by: []
    metrics:
      - flights: count
      - { name: on_time, value: count, where: arr_delay <= 15 }
      - { name: cancelled, value: count, status: [void], where: event = 'cancelled' }
      - diverted: { value: count, status: void, where: "event = 'diverted'" }
      - known: { value: count, status: [final, draft, draft] }
      - arr_delay_p95: quantile(arr_delay, 0.95)
      - share: ratio(on_time, flights)
---
tenants:
  - id: ABQ
    name: Albuquerque International Sunport
    zone: America/Denver
    cutoff: "05:00"
    grace: 10m
    first_day: 2013-01-01
    clock: flights
    quotas: { events_per_second: 2000, feeds: 0 }
    restate_after: 5m
    changes:
      - { from: 2013-06-01, zone: America/Phoenix, cutoff: "04:00" }
      - { from: 2014-06-01, cutoff: "03:30" }
  - { id: NO, zone: Europe/Oslo, cutoff: 00:00, restate_after: 0s }
  - { id: 007, zone: Europe/London, cutoff: '23:59', name: , grace: 24h }
"#,
    );
    let flight = &apply.kinds[0];
    assert_eq!(flight.mode, Mode::Entity);
    assert_eq!(flight.dimensions[1].field.as_ref().unwrap().as_str(), "event");
    assert_eq!(flight.measures.iter().map(|m| m.scale).collect::<Vec<_>>(), [0, 0, 2, 3]);
    assert_eq!(apply.kinds[1].mode, Mode::Fact);
    let metrics = &apply.views[0].metrics;
    assert_eq!(metrics[0].status, [Status::Final]);
    assert_eq!(metrics[2].status, [Status::Void]);
    assert_eq!(metrics[3].filter.as_deref(), Some("event = 'diverted'"));
    assert_eq!(metrics[4].status, [Status::Draft, Status::Final]);
    assert_eq!(metrics[5].value, "quantile(arr_delay, 0.95)");
    let [abq, no, bond] = &apply.tenants[..] else { panic!("{:?}", apply.tenants) };
    assert_eq!(abq.name.as_deref(), Some("Albuquerque International Sunport"));
    assert_eq!((abq.cutoff_minutes, abq.grace_ms), (300, 600_000));
    assert_eq!(abq.first_day.unwrap().to_string(), "2013-01-01");
    assert_eq!(abq.clock.as_ref().unwrap().as_str(), "flights");
    let quotas = Quotas { events_per_second: Some(2_000), feeds: Some(0), ..Quotas::default() };
    assert_eq!((abq.quotas, no.quotas), (quotas, Quotas::default()));
    let restate_after = [abq, no, bond].map(|tenant| tenant.restate_after_ms);
    assert_eq!(restate_after, [Some(300_000), Some(0), None], "the default is day-manager's to give");
    assert_eq!((abq.changes[0].zone.as_str(), abq.changes[0].cutoff_minutes), ("America/Phoenix", 240));
    assert_eq!((abq.changes[1].zone.as_str(), abq.changes[1].cutoff_minutes), ("America/Phoenix", 210));
    assert_eq!((no.id.as_str(), no.cutoff_minutes, no.grace_ms), ("NO", 0, 0));
    assert_eq!((bond.id.as_str(), &bond.name, bond.grace_ms), ("007", &None, 86_400_000));
    assert!(!apply.dry_run);
}

#[test]
fn the_flights_example_is_good() {
    let texts = [
        include_str!("../../../../examples/flights/views.yaml"),
        include_str!("../../../../examples/flights/kind.yaml"),
        include_str!("../../../../examples/flights/tenants.yaml"),
    ];
    let definitions = load(&files(&texts), &[]).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)));
    let apply = &definitions.apply;
    assert_eq!((apply.kinds.len(), apply.views.len(), apply.tenants.len()), (1, 4, 105));
    let names = |view: usize| apply.views[view].metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>();
    assert_eq!(
        names(0).join(" "),
        "flights cancelled diverted distance arr_delay_n arr_delay_sum arr_delay_avg arr_delay_min arr_delay_max \
         arr_delay_p50 arr_delay_p95 on_time tails"
    );
    assert_eq!(names(1), ["flights", "distance"]);
    assert!(apply.tenants.iter().all(|tenant| tenant.cutoff_minutes == 300 && tenant.name.is_some()));
    assert_eq!(definitions.places.len(), 110);
}

#[test]
fn refusals_of_day_manager_get_their_place() {
    let text = "tenants:\n  - id: ABQ\n    zone: America/Denwer\n    cutoff: '05:00'\n";
    let definitions = load(&files(&[text]), &[]).unwrap();
    let refusal = |name: &str| Refusal { what: "tenant".into(), name: name.into(), reason: "zone?".into() };
    assert_eq!(definitions.refused(&refusal("ABQ")).to_string(), "a.yaml:2:9: tenant ABQ: zone?");
    assert_eq!(definitions.refused(&refusal("XYZ")).to_string(), "tenant XYZ: zone?");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    let tenant = "    cutof: '05:00'\n";
    assert_eq!(
        bad_tenant(tenant),
        "a.yaml:2:5: the tenant has no cutoff; give it one, such as cutoff: \"05:00\"\n\
         a.yaml:4:5: unknown key \"cutof\"; did you mean \"cutoff\"?"
    );
    assert_eq!(bad("vievs: []"), r#"a.yaml:1:1: unknown key "vievs"; did you mean "views"?"#);
    assert_eq!(bad("users: []"), r#"a.yaml:1:1: unknown key "users"; the keys are kinds, views, tenants, groups"#);
    assert_eq!(
        bad("sources:\n  - { name: shop, stream: ORDERS, mapping: sale/shop }"),
        "a.yaml:1:1: sources are not applied: connect reads them; give them in a file of their own to \
         `connect --sources FILE` or `daybook up --sources FILE`"
    );
    assert_eq!(bad("1: []"), "a.yaml:1:1: expected one of the keys kinds, views, tenants, groups, found the number 1");
    assert_eq!(
        bad("kinds: []\nviews: []\nkinds: []"),
        r#"a.yaml:3:1: the key "kinds" stands here twice, first in line 1"#
    );
    let kind =
        "kinds:\n - name: k\n   mode: fact\n   measures: [{ name: a, scal: 2 }]\n   dimensions: [{ name: b, from: c }]";
    assert_eq!(
        bad(kind),
        "a.yaml:4:26: unknown key \"scal\"; did you mean \"scale\"?\n\
         a.yaml:5:28: unknown key \"from\"; the keys are name, field"
    );
}

#[test]
fn wrong_types_are_told() {
    assert_eq!(
        bad("- id: x"),
        "a.yaml:1:1: expected a file of definitions with kinds, views, tenants, groups, found a list"
    );
    assert_eq!(bad("tenants: { id: x }"), "a.yaml:1:10: expected a list of tenants, found a mapping");
    assert!(bad("tenants: [ABQ]").starts_with("a.yaml:1:11: expected a tenant with id, name, zone"));
    assert_eq!(
        bad("tenants: [{ id: 1e3, zone: 5, cutoff: '05:00' }]"),
        "a.yaml:1:17: expected id as text, found the number 1e3; put it in quotes: \"1e3\"\n\
         a.yaml:1:28: expected zone as text, found the number 5; put it in quotes: \"5\""
    );
    assert_eq!(bad_tenant("    cutoff: '05:00'\n    name: [a]"), "a.yaml:5:11: expected name as text, found a list");
    assert_eq!(
        bad("kinds: [{ name: true, mode: enttity }]"),
        "a.yaml:1:17: expected name as text, found true; put it in quotes: \"true\"\n\
         a.yaml:1:29: unknown mode \"enttity\"; did you mean \"entity\"?"
    );
}

#[test]
fn names_are_checked() {
    assert_eq!(
        bad("tenants: [{ id: a.b, zone: UTC, cutoff: '05:00', clock: 'my clock' }]"),
        "a.yaml:1:17: id \"a.b\" contains '.'; only A-Z a-z 0-9 _ - are allowed\n\
         a.yaml:1:57: clock \"my clock\" contains ' '; only A-Z a-z 0-9 _ - are allowed"
    );
    let long = "x".repeat(65);
    assert!(bad(&format!("kinds: [{{ name: {long}, mode: fact }}]")).contains("65 bytes long"));
    assert!(bad("kinds: [{ name: '', mode: fact }]").contains("is empty"));
}

#[test]
fn yaml_mistakes_have_their_place() {
    assert_eq!(bad("kinds: [\n"), "a.yaml:1:8: not valid YAML: unclosed bracket '['");
    assert_eq!(bad(""), "a.yaml:1:1: nothing is defined here; expected kinds, views or tenants");
    assert_eq!(bad("# nothing\n"), "a.yaml:1:1: nothing is defined here; expected kinds, views or tenants");
    assert!(bad("kinds: *x").starts_with("a.yaml:1:8: not valid YAML"));
    // A kind that may be in the file that cannot be read is not called unknown.
    let view = "views: [{ name: v, kind: k, metrics: [n: count] }]";
    let mistakes = load(&files(&[view, "kinds: ["]), &[]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{}", shown(&mistakes));
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("kinds: {}{}", "[".repeat(500), "]".repeat(500));
    assert!(bad(&deep).contains("not valid YAML"));
    let laughs: String = (1..40).fold("a0: &a0 [x]\n".into(), |text, n| {
        let list = format!("*a{}, ", n - 1).repeat(10);
        format!("{text}a{n}: &a{n} [{list}]\n")
    });
    assert!(bad(&laughs).contains("not valid YAML"));
}

#[test]
fn what_is_defined_twice_names_both_places() {
    let tenant = "tenants: [{ id: ABQ, zone: UTC, cutoff: '05:00' }]";
    let mistakes = shown(&load(&files(&[tenant, &format!("# again\n{tenant}")]), &[]).unwrap_err());
    assert_eq!(mistakes, "b.yaml:2:17: tenant ABQ is defined twice, first at a.yaml:1:17");
    let kinds = "kinds:\n - { name: k, mode: fact }\n - { name: k, mode: fact }";
    assert_eq!(bad(kinds), "a.yaml:3:12: kind k is defined twice, first at a.yaml:2:12");
    let view = "{ name: v, kind: k, metrics: [n: count] }";
    let views = format!("kinds: [{{ name: k, mode: fact }}]\nviews: [{view}]\n---\nviews: [{view}]");
    assert_eq!(bad(&views), "a.yaml:4:17: view v is defined twice, first at a.yaml:2:17");
}

#[test]
fn numbers_of_things_are_bounded() {
    let many = |count: usize, item: fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let kind = |list: &str, count| {
        let names = many(count, |n| format!("c{n}"));
        format!("kinds: [{{ name: k, mode: fact, {list}: [{names}] }}]")
    };
    good(&kind("dimensions", MAX_COLUMNS));
    good(&kind("measures", MAX_COLUMNS));
    assert!(bad(&kind("dimensions", MAX_COLUMNS + 1)).contains("65 dimensions; at most 64 are allowed"));
    assert!(bad(&kind("measures", MAX_COLUMNS + 1)).contains("65 measures; at most 64 are allowed"));
    let view = |groups, metrics| {
        let groups = many(groups, |n| format!("c{n}"));
        let metrics = many(metrics, |n| format!("m{n}: count"));
        format!(
            "{}\nviews: [{{ name: v, kind: k, group_by: [{groups}], metrics: [{metrics}] }}]",
            kind("dimensions", 64)
        )
    };
    good(&view(MAX_GROUP_BY, MAX_METRICS));
    assert!(bad(&view(0, MAX_METRICS + 1)).contains("65 metrics; a view has 1 to 64"));
    assert!(bad(&view(0, 0)).contains("the view has no metrics"));
    assert!(bad(&view(MAX_GROUP_BY + 1, 1)).contains("groups by 9 dimensions; at most 8 are allowed"));
    let tenants = |count| {
        format!(
            "tenants:\n{}",
            (0..count).map(|n| format!("- {{ id: t{n}, zone: UTC, cutoff: '05:00' }}\n")).collect::<String>()
        )
    };
    assert_eq!(good(&tenants(MAX_DEFINITIONS)).tenants.len(), MAX_DEFINITIONS);
    assert!(
        bad(&tenants(MAX_DEFINITIONS + 2))
            .ends_with(":9: more than 5000 definitions; apply the files one after the other")
    );
}

#[test]
fn mistakes_in_aliases_are_where_they_are_written() {
    let text = "tenants:\n- &a { id: A, zone: UTC, cutoff: x }\n- { <<: *a, id: B }\n";
    let mistakes = bad(text);
    assert_eq!(mistakes.lines().count(), 2, "{mistakes}");
    assert!(mistakes.lines().all(|line| line.starts_with("a.yaml:2:34: ")), "{mistakes}");
}
