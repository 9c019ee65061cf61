use super::*;
use daybook_domain::catalogue::{
    Direction, Earliest, Grain, LatePolicy, MAX_COLUMNS, MAX_GROUP_BY, MAX_METRICS, MAX_RANKED_BY, MAX_SEASONS,
    MAX_VIEW_TENANTS, Mode, Ranking, Status, Ties,
};
use daybook_domain::quotas::Quotas;
use proptest::prelude::*;

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

/// The mistakes of metrics of the view `v` of [`KIND`], in block style from line 11 on.
fn bad_metrics(metrics: &str) -> String {
    bad(&format!("{KIND}views:\n  - name: v\n    kind: flight\n    metrics:\n{metrics}"))
}

/// The mistakes of the view `v` of [`KIND`] with one key more, in line 9, at column 3.
fn bad_view(line: &str) -> String {
    bad(&view_with(line))
}

fn view_with(line: &str) -> String {
    format!("{KIND}views:\n- {{ name: v, kind: flight, metrics: [flights: count, far: sum(distance)],\n  {line} }}")
}

/// The mistakes of a tenant's seasons, in line 5 from column 14 on.
fn bad_seasons(seasons: &str) -> String {
    bad_tenant(&format!("    cutoff: \"05:00\"\n    seasons: [{seasons}]\n"))
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
fn how_long_ids_are_remembered_is_read_and_checked() {
    let with = |line: &str| format!("{KIND}    remember: {line}\n");
    assert_eq!((good(KIND).kinds[0].remember, good(&with("60")).kinds[0].remember), (None, Some(60)));
    for wrong in ["34", "4001", "-1"] {
        let told = bad(&with(wrong));
        assert!(told.contains("remember is 35 to 4000 days, found"), "{told}");
    }
    assert!(bad(&with("long")).contains("a number of days, such as remember: 400"), "{}", bad(&with("long")));
}

#[test]
fn grains_policies_and_tenants_are_read() {
    let view = |line: &str| good(&view_with(line)).views.remove(0);
    let plain = view("");
    assert_eq!(
        (plain.grain, plain.late, &plain.tenants, &plain.ranking),
        (Grain::Day, LatePolicy::Restate, &None, &None)
    );
    for grain in Grain::ALL {
        assert_eq!(view(&format!("grain: {}", grain.as_str())).grain, grain);
    }
    for late in LatePolicy::ALL {
        assert_eq!(view(&format!("late: {}", late.as_str())).late, late);
    }
    let tenants = view("tenants: [B, A]").tenants.unwrap();
    assert_eq!(tenants.iter().map(|tenant| tenant.as_str()).collect::<Vec<_>>(), ["A", "B"]);
}

#[test]
fn a_ranking_is_read_in_its_three_forms() {
    let ranking = |form: &str| {
        good(&view_with(&format!("group_by: [carrier], ranking: {form}"))).views.remove(0).ranking.unwrap()
    };
    let by = |ranking: &Ranking| {
        let shown = ranking.by.iter().map(|by| (by.metric.to_string(), by.direction == Direction::Desc));
        shown.collect::<Vec<_>>()
    };
    let (flights, far) = (("flights".to_owned(), true), ("far".to_owned(), false));
    for form in ["flights", "flights desc", "' flights  desc '", "[flights]", "{ by: flights desc }"] {
        let ranking = ranking(form);
        assert_eq!(by(&ranking), std::slice::from_ref(&flights), "{form}");
        assert_eq!((ranking.ties, ranking.earliest), (Ties::Competition, Earliest::No));
    }
    assert_eq!(by(&ranking("[flights desc, far asc]")), [flights.clone(), far.clone()]);
    let whole = ranking("{ by: [far asc, flights], ties: dense, earliest: true }");
    assert_eq!((by(&whole), whole.ties, whole.earliest), (vec![far, flights], Ties::Dense, Earliest::Reached));
    assert_eq!(ranking("{ by: far, ties: ordinal, earliest: false }").ties, Ties::Ordinal);
}

#[test]
fn words_of_a_view_are_checked() {
    assert_eq!(bad_view("grain: hours"), "a.yaml:9:10: unknown grain \"hours\"; did you mean \"hour\"?");
    assert_eq!(
        bad_view("grain: week"),
        "a.yaml:9:10: unknown grain \"week\"; the grains are quarter_hour, hour, clock_hour, day"
    );
    assert_eq!(bad_view("late: restat"), "a.yaml:9:9: unknown late policy \"restat\"; did you mean \"restate\"?");
    assert_eq!(
        bad_view("tenants: []"),
        "a.yaml:9:12: the view is for no tenant; name some, or leave tenants out for everyone"
    );
    assert_eq!(
        bad_view("tenants: [A, a.b, A]"),
        "a.yaml:9:16: tenant \"a.b\" contains '.'; only A-Z a-z 0-9 _ - are allowed\n\
         a.yaml:9:21: the tenant A stands here twice"
    );
    assert_eq!(bad_view("tenants: A"), "a.yaml:9:12: expected a list of tenants, found \"A\"");
    let many = (0..=MAX_VIEW_TENANTS).map(|n| format!("t{n}")).collect::<Vec<_>>().join(", ");
    assert!(bad_view(&format!("tenants: [{many}]")).contains("the view is for 1001 tenants; at most 1000 are allowed"));
}

#[test]
fn rankings_are_pointed_at() {
    let ranking = |form: &str| bad_view(&format!("ranking: {form}"));
    assert_eq!(ranking("flihgts desc"), "a.yaml:9:12: unknown metric \"flihgts\"; did you mean \"flights\"?");
    assert_eq!(ranking("carrier"), "a.yaml:9:12: unknown metric \"carrier\"; the metrics are flights, far");
    assert_eq!(ranking("flights dsc"), "a.yaml:9:20: unknown direction \"dsc\"; did you mean \"desc\"?");
    assert_eq!(ranking("'flights down'"), "a.yaml:9:21: unknown direction \"down\"; the directions are desc, asc");
    assert_eq!(
        ranking("flights desc far"),
        "a.yaml:9:25: \"far\" is too much; write a metric and asc or desc; several as a list"
    );
    assert_eq!(ranking("[far, flights, far asc]"), "a.yaml:9:27: ranks by far twice");
    assert_eq!(ranking("[]"), "a.yaml:9:12: ranks by no metric; give it one, such as flights desc");
    assert_eq!(
        ranking("''"),
        "a.yaml:9:12: the metric to rank by is empty; use 1 to 64 characters out of A-Z a-z 0-9 _ -"
    );
    assert_eq!(
        ranking("{ by: [a.b], ties: dence, earliest: yes, tis: x }"),
        "a.yaml:9:19: the metric to rank by contains '.'; only A-Z a-z 0-9 _ - are allowed\n\
         a.yaml:9:31: unknown tie rule \"dence\"; did you mean \"dense\"?\n\
         a.yaml:9:48: expected earliest to be true or false, found \"yes\"\n\
         a.yaml:9:53: unknown key \"tis\"; did you mean \"ties\"?"
    );
    assert_eq!(ranking("{ ties: dense }"), "a.yaml:9:12: the ranking has no by; give it one, such as by: flights desc");
    let many = ["far"; MAX_RANKED_BY + 1].join(", ");
    assert!(ranking(&format!("[{many}]")).contains("ranks by 9 metrics; at most 8 are allowed"));
    // A metric that is there, but not readable, is not called unknown.
    let mistakes = bad(&view_with("ranking: far").replace("far: sum(distance)", "far: 5"));
    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
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
fn views_may_be_of_kinds_in_another_file_or_in_force() {
    let view = "views: [{ name: v, kind: flight, metrics: [n: count, d: sum(distance)] }]";
    assert!(load(&files(&[view, KIND]), &[]).is_ok());
    let known = good(KIND).kinds;
    assert!(load(&files(&[view]), &known).is_ok());
    assert_eq!(bad(view), r#"a.yaml:1:26: unknown kind "flight"; there is no kind"#);
    // The files' kind goes before the one in force.
    let newer = "kinds: [{ name: flight, mode: fact }]";
    let mistakes = shown(&load(&files(&[view, newer]), &known).unwrap_err());
    assert!(mistakes.starts_with(r#"a.yaml:1:61: unknown measure "distance""#), "{mistakes}");
    let slip = view.replace("kind: flight", "kind: fligth");
    let mistakes = shown(&load(&files(&[&slip]), &known).unwrap_err());
    assert_eq!(mistakes, r#"a.yaml:1:26: unknown kind "fligth"; did you mean "flight"?"#);
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
fn columns_of_a_kind_are_told_apart() {
    let kind = |columns: &str| bad(&format!("kinds:\n  - name: k\n    mode: fact\n{columns}"));
    assert_eq!(
        kind("    dimensions: [a, a]\n    measures: [b, b, a]\n"),
        "a.yaml:4:21: the dimension a is defined twice\n\
         a.yaml:5:19: the measure b is defined twice\n\
         a.yaml:5:22: a is both a dimension and a measure; rename one of them"
    );
    assert!(kind("    dimensions: [status]\n").starts_with("a.yaml:4:18: a dimension cannot be called status; "));
    assert!(kind("    measures: [{ name: status }]\n").starts_with("a.yaml:4:24: a measure cannot be called status; "));
    assert!(
        kind("    dimensions: [{ name: s, field: status }]\n")
            .starts_with("a.yaml:4:36: the event's own field status is no dimension")
    );
    assert_eq!(
        kind("    dimensions: [{ name: a, field: x }, { name: b, field: x }]\n"),
        "a.yaml:4:59: the field x is taken by the dimension a already"
    );
}

#[test]
fn measures_have_a_sound_scale() {
    let measure = |measure: &str| bad(&format!("kinds:\n  - name: k\n    mode: fact\n    measures: [{measure}]\n"));
    assert_eq!(measure("{ name: a, scale: 13 }"), "a.yaml:4:34: a scale is 0 to 12, found the number 13");
    assert_eq!(measure("{ name: a, scale: -1 }"), "a.yaml:4:34: a scale is 0 to 12, found the number -1");
    assert_eq!(measure("{ name: a, scale: two }"), "a.yaml:4:34: expected a scale, 0 to 12, found \"two\"");
    assert_eq!(
        measure("{ name: a, type: integer, scale: 2 }"),
        "a.yaml:4:49: an integer has no digits after the point; write type: decimal"
    );
    assert_eq!(
        measure("{ name: a, type: decimal }"),
        "a.yaml:4:16: the decimal measure has no scale; say how many digits it has after the point, 0 to 12, such as \
         scale: 2"
    );
    assert_eq!(
        measure("{ name: a, type: float }"),
        "a.yaml:4:33: unknown type \"float\"; the types are integer, decimal"
    );
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
fn expressions_are_pointed_at() {
    assert_eq!(
        bad_metrics("      - { name: on_time, value: count, where: arr_dela <= 15 }\n"),
        "a.yaml:11:47: unknown field \"arr_dela\"; did you mean \"arr_delay\"?\n    arr_dela <= 15\n    ^^^^^^^^"
    );
    assert_eq!(
        bad_metrics("      - a: { value: count, where: \"event = 'x' and fare < ''\" }\n      - b: sum(distanse)\n"),
        "a.yaml:11:59: fare is a measure: expected a number, found the text ''; measures are numbers, such as 12.5\n\
         \u{20}   event = 'x' and fare < ''\n\
         \u{20}                          ^^\n\
         a.yaml:12:16: unknown measure \"distanse\"; did you mean \"distance\"?\n    sum(distanse)\n        ^^^^^^^^"
    );
    // A text that is folded has no columns of its own: the mistake is where it starts.
    let folded = bad_metrics("      - a: >-\n          sum(\n          distanse)\n");
    assert!(folded.starts_with("a.yaml:12:11: unknown measure"), "{folded}");
}

#[test]
fn metrics_are_read_in_both_forms_only() {
    let forms = "; write it as `- flights: count` or `- { name: flights, value: count, where: … }`";
    assert_eq!(bad_metrics("      - count\n"), format!("a.yaml:11:9: expected a metric, found \"count\"{forms}"));
    assert_eq!(
        bad_metrics("      - { a: count, where: distance > 1 }\n"),
        format!("a.yaml:11:11: a metric of several fields has a name and a value{forms}")
    );
    assert_eq!(
        bad_metrics("      - { name: a, value: quantile(distance, 0.5) }\n"),
        "a.yaml:11:44: expected \",\" and then q, found the end; such as quantile(distance, 0.95)\n\
         \u{20}   quantile(distance\n                     ^\n\
         a.yaml:11:46: unknown key \"0.5)\"; within { } a comma ends a value: put a text that holds commas in quotes"
    );
    assert_eq!(
        bad_metrics("      - { name: a, value: count, status: [voyd] }\n      - b: { value: count, status: [] }\n"),
        "a.yaml:11:43: unknown status \"voyd\"; did you mean \"void\"?\n\
         a.yaml:12:36: counts entities in no status; give draft, final or void"
    );
    assert_eq!(
        bad_metrics("      - a: count\n      - a: count\n"),
        "a.yaml:12:9: the metric a has the name of a metric above; names of a view differ"
    );
    assert_eq!(
        bad_metrics("      - a: 5\n      - b:\n      - name: c\n"),
        "a.yaml:11:12: expected what the metric computes as text, found the number 5; put it in quotes: \"5\"\n\
         a.yaml:12:10: expected what the metric computes as text, found nothing\n\
         a.yaml:13:9: the metric has no value; give it one, such as value: count"
    );
}

#[test]
fn metrics_are_compiled_together() {
    assert_eq!(
        bad_metrics("      - a: count\n      - b: ratio(a, c)\n      - c: count\n"),
        "a.yaml:12:9: metric b: ratio needs c to be a metric above it"
    );
    let view = format!("{KIND}views: [{{ name: v, kind: flight, group_by: [carier, distance], metrics: [n: count] }}]");
    assert_eq!(
        bad(&view),
        "a.yaml:7:45: unknown dimension \"carier\"; did you mean \"carrier\"?\n\
         a.yaml:7:53: unknown dimension \"distance\"; the dimensions are carrier, event"
    );
}

#[test]
fn cutoffs_are_times_of_day() {
    let hint = "; write it as hours and minutes in quotes: ";
    for (written, found, meant) in [
        ("0500", "\"0500\"", "05:00"),
        ("5:30", "\"5:30\"", "05:30"),
        ("300", "the number 300", "05:00"),
        ("24:00", "\"24:00\"", "05:00"),
        ("5", "the number 5", "00:05"),
        ("[]", "a list", "05:00"),
    ] {
        assert_eq!(
            bad_tenant(&format!("    cutoff: {written}\n")),
            format!("a.yaml:4:13: expected a time of day, 00:00 to 23:59, found {found}{hint}\"{meant}\"")
        );
    }
}

#[test]
fn quotas_are_checked() {
    let tenant = |quotas: &str| bad_tenant(&format!("    cutoff: \"05:00\"\n    quotas: {{ {quotas} }}\n"));
    assert_eq!(tenant("entities: 0"), "a.yaml:5:25: the quota entities is 0; it may be 1 to 1000000000");
    assert_eq!(tenant("feeds: 257"), "a.yaml:5:22: the quota feeds is 257; it may be 0 to 256");
    assert_eq!(tenant("groups: many"), "a.yaml:5:23: expected a whole number, found \"many\"");
    assert_eq!(tenant("groups: -1"), "a.yaml:5:23: expected a whole number, found the number -1");
    assert!(tenant("events: 5").contains("events"), "{}", tenant("events: 5"));
}

#[test]
fn graces_and_dates_are_checked() {
    let tenant = |lines: &str| bad_tenant(&format!("    cutoff: \"05:00\"\n{lines}"));
    assert_eq!(tenant("    grace: 24h1s\n"), "a.yaml:5:12: the grace is too long; at most 24h are allowed");
    assert_eq!(
        tenant("    grace: 600\n"),
        "a.yaml:5:12: expected a grace such as 90s, 10m or 1h30m, found the number 600"
    );
    assert_eq!(
        tenant("    restate_after: 25h\n"),
        "a.yaml:5:20: the restate_after is too long; at most 24h are allowed"
    );
    assert_eq!(
        tenant("    first_day: 2013-02-30\n"),
        "a.yaml:5:16: first_day \"2013-02-30\" is not a date such as 2013-03-10"
    );
    assert_eq!(
        tenant("    changes:\n      - { from: 2013-06-01 }\n"),
        "a.yaml:6:9: the change changes nothing; give it a zone or a cutoff"
    );
    assert_eq!(
        tenant("    changes: [{ from: 2013-06-01, zone: UTC }, { from: 2013-05-01, zone: UTC }, { cutoff: 1 }]\n"),
        "a.yaml:5:56: the change from 2013-05-01 follows one from 2013-06-01; put them in order\n\
         a.yaml:5:81: the change has no from; give it one, such as from: 2013-06-01\n\
         a.yaml:5:91: expected a time of day, 00:00 to 23:59, found the number 1; write it as hours and minutes in \
         quotes: \"00:01\""
    );
}

#[test]
fn seasons_are_read_and_checked() {
    let apply = good(
        "tenants:
- id: ABQ
  zone: UTC
  cutoff: '05:00'
  seasons:
  - { name: hunt, from: 2026-05-01T18:00:00Z, to: 2026-05-03T20:00:00+02:00 }
",
    );
    let season = &apply.tenants[0].seasons[0];
    assert_eq!(
        (season.name.as_str(), season.from.to_string(), season.to.to_string()),
        ("hunt", "2026-05-01T18:00:00Z".to_owned(), "2026-05-03T18:00:00Z".to_owned())
    );
    assert_eq!(
        bad_seasons("{ name: a, from: 2026-05-01, to: tomorrow }"),
        "a.yaml:5:32: from \"2026-05-01\" is not an RFC 3339 time such as 2013-03-10T09:00:00Z\n\
         a.yaml:5:48: to \"tomorrow\" is not an RFC 3339 time such as 2013-03-10T09:00:00Z"
    );
    assert_eq!(
        bad_seasons("{ name: a, from: 2026-05-01T18:00:00Z, to: 2026-05-01T18:00:00Z }"),
        "a.yaml:5:58: the season ends at 2026-05-01T18:00:00Z, which is not after it begins at 2026-05-01T18:00:00Z"
    );
    assert_eq!(
        bad_seasons("{ name: a, from: 2026-05-01T18:00:00Z, to: 2028-05-03T18:00:01Z }"),
        "a.yaml:5:58: the season is longer than 732 days; make several of it"
    );
    let season = "from: 2026-05-01T18:00:00Z, to: 2026-05-02T18:00:00Z";
    assert_eq!(
        bad_seasons(&format!("{{ name: a, {season} }}, {{ name: a, {season} }}")),
        "a.yaml:5:90: two seasons are named a"
    );
    assert_eq!(
        bad_seasons("{ form: 2026-05-01T18:00:00Z, name: a b }"),
        "a.yaml:5:15: the season has no from; give it one, such as from: 2026-05-01T18:00:00Z\n\
         a.yaml:5:15: the season has no to; give it one, such as to: 2026-05-03T18:00:00Z\n\
         a.yaml:5:17: unknown key \"form\"; the keys are name, from, to\n\
         a.yaml:5:51: name \"a b\" contains ' '; only A-Z a-z 0-9 _ - are allowed"
    );
    let many = (0..=MAX_SEASONS).map(|n| format!("{{ name: s{n}, {season} }}")).collect::<Vec<_>>().join(", ");
    assert!(bad_seasons(&many).ends_with("17 seasons; at most 16 are allowed"));
}

#[test]
fn mistakes_in_aliases_are_where_they_are_written() {
    let text = "tenants:\n- &a { id: A, zone: UTC, cutoff: x }\n- { <<: *a, id: B }\n";
    let mistakes = bad(text);
    assert_eq!(mistakes.lines().count(), 2, "{mistakes}");
    assert!(mistakes.lines().all(|line| line.starts_with("a.yaml:2:34: ")), "{mistakes}");
}

/// Pieces of definition files, which find more ways than random characters do.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "kinds:",
        "views:",
        "tenants:",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "name",
        "mode: fact",
        "id: A",
        "zone: UTC",
        "cutoff",
        "'05:00'",
        "grace: 1h",
        "metrics:",
        "kind: k",
        "count",
        "sum(a)",
        "measures: [a]",
        "where: a < 1",
        "ranking: a desc",
        "grain: hour",
        "seasons:",
        "from: 2026-05-01T18:00:00Z",
        "\"",
        "'",
        "&x ",
        "*x",
        "<<: ",
        "? ",
        "---\n",
        "# ",
        "|",
        "!!int ",
        "é",
        "\u{0}",
        "\t",
        "1",
        "~",
    ];
    prop_oneof![9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(mistakes) = load(&files(&[&text]), &[]) {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.iter().all(|mistake| mistake.place.is_some() && !mistake.to_string().is_empty()));
        }
    }

    #[test]
    fn nearly_good_texts_do_not_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        let _ = load(&files(&[&text, KIND]), &[]).map_err(|mistakes| shown(&mistakes));
    }

    #[test]
    fn a_damaged_example_does_not_panic(cut in 0_usize..2_500, piece in piece()) {
        let views = include_str!("../../../../examples/flights/views.yaml");
        let at = (0..=cut.min(views.len())).rev().find(|at| views.is_char_boundary(*at)).unwrap();
        let text = format!("{}{piece}{}", &views[..at], &views[at..]);
        let _ = load(&files(&[&text, include_str!("../../../../examples/flights/kind.yaml")]), &[]);
    }
}

/// The kind with a mapping of these lines, from line 8 on at column 9.
fn mapping_with(lines: &str) -> String {
    let base = "kinds:\n  - name: sale\n    mode: entity\n    dimensions: [store, product]\n    measures: [{ name: total, scale: 2 }]\n";
    format!("{base}    mappings:\n      - name: shop\n{lines}")
}

#[test]
fn mappings_are_read_in_every_form() {
    use daybook_domain::ids::Name;
    use daybook_domain::mapping::{Explode, Mapping, Pick, Round, Take};
    let apply = good(&mapping_with(
        r#"
        when: "financial_status != 'pending'"
        tenant: { path: /shop/domain, map: { east.example: acme, 17: zeta, true: yes } }
        explode: { path: /line_items }
        id: [/id, ./id, index]
        version: { path: /updated_at, as: rfc3339 }
        at: { path: /created, as: [epoch_s, "%d.%m.%Y"], zone: Europe/Berlin }
        status: { path: /financial_status, map: { paid: final, refunded: void }, else: draft }
        dims: { store: { path: /location_id, text: true }, product: { path: ./sku, default: "??" } }
        measures: { total: { path: ./ms, shift: -2, divide: 60000, round: half_even } }
"#,
    ));
    let mapping = &apply.kinds[0].mappings[0];
    let name = |text: &str| Name::new(text).unwrap();
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let expected = Mapping {
        when: Some("financial_status != 'pending'".into()),
        tenant: Some(Pick {
            map: map(&[("east.example", "acme"), ("17", "zeta"), ("true", "yes")]),
            ..Pick::path("/shop/domain")
        }),
        explode: Some(Explode { path: "/line_items".into(), complete: false, slots: None }),
        id: vec![Pick::path("/id"), Pick::path("./id"), Pick { take: Some(Take::Index), ..Pick::default() }],
        version: Some(Pick { form: vec!["rfc3339".into()], ..Pick::path("/updated_at") }),
        at: Some(Pick {
            form: vec!["epoch_s".into(), "%d.%m.%Y".into()],
            zone: Some("Europe/Berlin".into()),
            ..Pick::path("/created")
        }),
        status: Some(Pick {
            map: map(&[("paid", "final"), ("refunded", "void")]),
            otherwise: Some("draft".into()),
            ..Pick::path("/financial_status")
        }),
        dims: [
            (name("store"), Pick { text: true, ..Pick::path("/location_id") }),
            (name("product"), Pick { default: Some("??".into()), ..Pick::path("./sku") }),
        ]
        .into(),
        measures: [(
            name("total"),
            Pick { shift: Some(-2), divide: Some(60_000), round: Some(Round::HalfEven), ..Pick::path("./ms") },
        )]
        .into(),
        ..Mapping::new(name("shop"))
    };
    assert_eq!(*mapping, expected);
    let several = good(&mapping_with(
        "        id: /id
        at: /t
        dims: { store: { path: [/a, /b, /c] } }
        measures: { total: { path: /cents, shift: { path: /currency, map: { JPY: 0 }, else: -2 } } }
",
    ));
    let mapping = &several.kinds[0].mappings[0];
    assert_eq!(mapping.dims[&name("store")], Pick { or: vec!["/b".into(), "/c".into()], ..Pick::path("/a") });
    let by = Pick { map: map(&[("JPY", "0")]), otherwise: Some("-2".into()), ..Pick::path("/currency") };
    assert_eq!(mapping.measures[&name("total")], Pick { shift_by: Some(by.into()), ..Pick::path("/cents") });
    let short = good(&mapping_with(
        "        extends: debezium\n        tenant: { const: acme }\n        id: ./id\n        at: arrival\n",
    ));
    let mapping = &short.kinds[0].mappings[0];
    assert_eq!(mapping.rows, ["/after", "/before"], "what a preset says is stored");
    assert_eq!((mapping.id.len(), mapping.at.as_ref().unwrap().take), (1, Some(Take::Arrival)));
}

#[test]
fn mistakes_of_mappings_have_their_place() {
    for (lines, expected) in [
        ("        id: /id\n", "a.yaml:7:9: the mapping has no at, the time that decides the business day"),
        ("        id: /id\n        at: /t\n        when: a = and\n", "a.yaml:10:19: expected"),
        ("        id: /id\n        at: /t\n        when: \"a = 'x' and '/b' = 1\"\n", "a.yaml:10:28: both sides"),
        ("        id: [/id, x.y]\n        at: /t\n", "a.yaml:8:19: \"x.y\" is no path; a path begins with /"),
        ("        id: /id\n        at: { path: /t, as: rfc3340 }\n", "a.yaml:9:29: \"rfc3340\" is neither"),
        (
            "        id: /id\n        at: { path: /t, sa: rfc3339 }\n",
            "a.yaml:9:25: unknown key \"sa\"; the keys are path",
        ),
        (
            "        id: /id\n        at: /t\n        dims: { stor: /s }\n",
            "a.yaml:10:17: sale has no dimension \"stor\"; did you mean",
        ),
        (
            "        id: /id\n        at: /t\n        status: { path: /s, map: { paid: done } }\n",
            "a.yaml:10:42: \"done\" is no status",
        ),
        (
            "        id: /id\n        at: /t\n        measures: { total: { path: /x, shift: 99 } }\n",
            "a.yaml:10:47: a shift is -18 to 18",
        ),
        (
            "        id: /id\n        at: /t\n        measures: { total: { path: /x, shift: { path: /c, map: { EUR: two } } } }\n",
            "a.yaml:10:71: \"two\" is no shift",
        ),
        ("        id: { path: [/a, b] }\n        at: /t\n", "a.yaml:8:26: \"b\" is no path"),
        (
            "        id: /id\n        at: /t\n        measures: { total: { path: /x, shift: much } }\n",
            "a.yaml:10:47: expected digits",
        ),
        (
            "        id: ./id\n        at: /t\n        explode: { path: /l, complete: true }\n",
            "a.yaml:10:40: complete is not there yet",
        ),
        (
            "        id: /id\n        at: /t\n        extends: debezum\n",
            "a.yaml:10:18: unknown preset \"debezum\"; did you mean \"debezium\"?",
        ),
        (
            "        id: /id\n        at: /t\n      - name: shop\n        id: /id\n        at: /t\n",
            "a.yaml:10:9: the mapping shop is defined twice",
        ),
    ] {
        let found = bad(&mapping_with(lines));
        assert!(found.starts_with(expected), "{lines}{found}\ninstead of {expected}");
    }
}

#[test]
fn groups_of_tenants_are_read() {
    let apply = good("groups:\n  - { id: north, name: The north, tenants: [ABQ, ATL] }\n");
    let group = &apply.groups[0];
    assert_eq!((group.id.as_str(), group.name.as_deref(), group.tenants.len()), ("north", Some("The north"), 2));
    for (line, mistake) in [
        ("{ id: north }", "the group has no tenants"),
        ("{ id: north, tenants: [] }", "the group has no tenants"),
        ("{ id: north, tenants: [ABQ, ABQ] }", "the tenant ABQ stands here twice"),
        ("{ id: a b, tenants: [ABQ] }", "id"),
        ("{ id: north, tenant: [ABQ] }", "did you mean \"tenants\"?"),
    ] {
        let told = bad(&format!("groups:\n  - {line}\n"));
        assert!(told.contains(mistake) && told.contains("a.yaml:2"), "{line}: {told}");
    }
    let twice = bad("groups:\n  - { id: north, tenants: [ABQ] }\n  - { id: north, tenants: [ATL] }\n");
    assert!(twice.contains("group north is defined twice"), "{twice}");
}
