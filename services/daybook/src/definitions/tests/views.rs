//! Views: their words, metrics, expressions and rankings.

use super::*;
use daybook_domain::catalogue::MAX_VIEW_TENANTS;

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
