//! Answers worth seeing: rows as they are, and what happens at the bounds.

use super::fixtures::{Entry, Groups, by_revenue, cells, day, groups, kind, name, plan, ranked_plan};
use super::properties::rolled_up;
use crate::{Question, RankIndex, Rollup};
use compact_str::CompactString;
use daybook_contracts::ask::{AskErrorCode, MAX_ANSWER_BYTES, Pieces, Query, RankQuery};
use daybook_domain::accumulator::{Accumulator, Sign};
use daybook_domain::catalogue::{Direction, Grain, Ties};
use daybook_domain::plan::Plan;

fn flight(day: i32, piece: u16, carrier: &str, origin: Option<&str>, delay: i64, price: i64) -> Entry {
    let dims = [Some(carrier.into()), origin.map(CompactString::from)];
    let at = i64::from(day) * 1_000 + i64::from(piece);
    Entry { day, piece, at, dims, delay: Some(delay), price: Some(price), sign: Sign::Add }
}

fn flights() -> Vec<Entry> {
    vec![
        flight(0, 0, "B6", Some("JFK"), 12, 10_050),
        flight(0, 3, "B6", None, 3, 5_000),
        flight(0, 4, "UA", Some("JFK"), 9, 10_050),
        flight(0, 95, "AA", Some("LGA"), -2, 20_000),
        flight(1, 0, "UA", Some("EWR"), 40, 5_000),
    ]
}

fn asked(text: &str) -> Query {
    serde_json::from_str(text).unwrap()
}

fn answer(query: &str, plan: &Plan) -> Vec<String> {
    let page = rolled_up(&asked(query), plan, &flights()).unwrap();
    page.rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect()
}

#[test]
fn hours_are_counted_from_the_opening() {
    let rows = answer(r#"{"grain":"hour","dimensions":[],"metrics":["flights","mean"]}"#, &plan(Grain::QuarterHour));
    assert_eq!(
        rows,
        [
            r#"{"time":"1970-01-01T05:00:00Z","flights":2,"mean":75.25}"#,
            r#"{"time":"1970-01-01T06:00:00Z","flights":1,"mean":100.5}"#,
            r#"{"time":"1970-01-02T04:00:00Z","flights":1,"mean":200}"#,
            r#"{"time":"1970-01-02T05:00:00Z","flights":1,"mean":50}"#,
        ]
    );
    let rows = answer(
        r#"{"grain":"day","dimensions":["origin"],"metrics":["flights"],"where":"origin <> 'LGA'","order":["day desc"]}"#,
        &plan(Grain::QuarterHour),
    );
    assert_eq!(
        rows,
        [r#"{"day":"1970-01-02","origin":"EWR","flights":1}"#, r#"{"day":"1970-01-01","origin":"JFK","flights":2}"#]
    );
}

#[test]
fn numbers_have_the_digits_of_their_measure_or_are_texts() {
    let text = r#"{"dimensions":["carrier"],"metrics":["flights","revenue"],"numbers":"text"}"#;
    assert_eq!(
        answer(text, &by_revenue()),
        [
            r#"{"position":1,"rank":1,"carrier":"AA","flights":"1","revenue":"200.00"}"#,
            r#"{"position":2,"rank":2,"carrier":"B6","flights":"2","revenue":"150.50"}"#,
            r#"{"position":3,"rank":2,"carrier":"UA","flights":"2","revenue":"150.50"}"#,
        ]
    );
    // What a report's hash covers is written as in every version before.
    let plan = by_revenue();
    let question = Question::compile(&asked(r#"{"dimensions":[],"metrics":["revenue"]}"#), &plan, &kind()).unwrap();
    let question = question.for_report();
    let page = Rollup::new(&question, &plan).finish().unwrap();
    assert_eq!(serde_json::to_string(&page.rows[0]).unwrap(), r#"{"revenue":0}"#);
}

#[test]
fn equals_share_a_rank_and_have_positions_of_their_own() {
    let by_mean = r#"{"dimensions":["carrier"],"metrics":["revenue"]}"#;
    assert_eq!(
        answer(by_mean, &by_revenue()),
        [
            r#"{"position":1,"rank":1,"carrier":"AA","revenue":200.00}"#,
            r#"{"position":2,"rank":2,"carrier":"B6","revenue":150.50}"#,
            r#"{"position":3,"rank":2,"carrier":"UA","revenue":150.50}"#,
        ]
    );
    // UA has its score since the second day, B6 since the first.
    let earliest = ranked_plan(vec![(1, Direction::Asc)], Ties::Dense, true);
    assert_eq!(
        answer(by_mean, &earliest),
        [
            r#"{"position":1,"rank":1,"carrier":"B6","revenue":150.50}"#,
            r#"{"position":2,"rank":2,"carrier":"UA","revenue":150.50}"#,
            r#"{"position":3,"rank":3,"carrier":"AA","revenue":200.00}"#,
        ]
    );
    let by_name = r#"{"dimensions":["carrier"],"metrics":["flights"],"order":["carrier desc"],"limit":2}"#;
    assert_eq!(
        answer(by_name, &by_revenue()),
        [
            r#"{"position":3,"rank":2,"carrier":"UA","flights":2}"#,
            r#"{"position":2,"rank":2,"carrier":"B6","flights":2}"#
        ]
    );
}

#[test]
fn histories_are_merged_only_where_the_order_needs_them() {
    let plan = ranked_plan(vec![(1, Direction::Desc)], Ties::Competition, true);
    let plain = ranked_plan(vec![(1, Direction::Desc)], Ties::Competition, false);
    assert!(plan.figure_cells() < plan.cells.len() && plain.figure_cells() == plain.cells.len());
    let (groups, plain_groups) = (groups(&plan, &flights()), groups(&plain, &flights()));
    for (text, is_needed) in [
        (r#"{"dimensions":["carrier"],"rank":{"by":[{"metric":"revenue","direction":"desc"}]}}"#, false),
        (r#"{"dimensions":["carrier"],"grain":"day"}"#, false),
        (r#"{"dimensions":[]}"#, false),
        (r#"{"dimensions":["carrier"]}"#, true),
        (r#"{"dimensions":["carrier"],"order":["flights desc"]}"#, true),
    ] {
        let roll_up = |plan: &Plan, groups: &Groups| {
            let question = Question::compile(&asked(text), plan, &kind()).unwrap();
            let mut rollup = Rollup::new(&question, plan);
            for ((number, piece, dims), cells) in groups {
                rollup.add(&day(*number), *piece, dims, cells).unwrap();
            }
            (rollup.cells_held(), rollup.finish().unwrap().rows)
        };
        let (held, rows) = roll_up(&plan, &groups);
        let expected = if is_needed { plan.cells.len() } else { plan.figure_cells() };
        assert!(held.iter().all(|held| *held == expected), "{text}: {held:?}");
        if !is_needed {
            assert_eq!(rows, roll_up(&plain, &plain_groups).1, "{text}");
        }
    }
}

#[test]
fn one_row_is_always_there() {
    let query = asked(r#"{"dimensions":[],"metrics":["flights","worst"],"where":"carrier = 'none'"}"#);
    for plan in [plan(Grain::Hour), by_revenue()] {
        let page = rolled_up(&query, &plan, &flights()).unwrap();
        assert_eq!(serde_json::to_string(&page.rows).unwrap(), r#"[{"flights":0,"worst":null}]"#);
        assert_eq!((page.total, page.next), (1, None));
    }
    let page = rolled_up(&Query { grain: Pieces::Day, ..query }, &plan(Grain::Hour), &flights()).unwrap();
    assert_eq!((page.rows.len(), page.total), (0, 0));
}

#[test]
fn what_adds_up_to_nothing_is_no_row() {
    let mut entries = flights();
    entries.push(Entry { day: 5, sign: Sign::Retract, ..entries[3].clone() });
    let page = rolled_up(&asked(r#"{"dimensions":["carrier"]}"#), &plan(Grain::Day), &entries).unwrap();
    assert_eq!(page.total, 2);
    assert!(page.rows.iter().all(|row| row.get("carrier").unwrap().to_string() != "AA"));
}

#[test]
fn too_many_rows_are_refused() {
    let plan = plan(Grain::Day);
    let question = Question::compile(&Query::default(), &plan, &kind()).unwrap();
    let entries = flights();
    let one = cells(&plan, &entries[..1]);
    let mut rollup = Rollup::with_max_groups(&question, &plan, 2);
    rollup.add(&day(0), 0, &entries[0].dims, &one).unwrap();
    rollup.add(&day(0), 0, &entries[1].dims, &one).unwrap();
    rollup.add(&day(1), 0, &entries[0].dims, &one).expect("merges into one that is there");
    let error = rollup.add(&day(0), 0, &entries[2].dims, &one).unwrap_err();
    assert_eq!(error.code, AskErrorCode::TooLarge);
    assert!(error.hint.unwrap().contains("fewer days"));
}

type Member = (Vec<Option<CompactString>>, Box<[Accumulator]>);

/// Members whose rows take about 9 kB each.
fn long_names(plan: &Plan) -> Vec<Member> {
    let name = |number: i64| CompactString::from(format!("{number:03}{}", "x".repeat(4500)));
    let member = |number: i64| {
        let entry = Entry { price: Some(-number), ..flights().remove(0) };
        (vec![Some(name(number)), Some(name(number))], cells(plan, [&entry]))
    };
    (0..300).map(member).collect()
}

#[test]
fn a_page_holds_what_an_answer_can_carry() {
    let plan = by_revenue();
    let members = long_names(&plan);
    let mut index = RankIndex::new(&plan).unwrap();
    assert!(members.iter().all(|(dims, cells)| index.insert(&plan, dims, cells)));
    let cells_of =
        |dims: &[Option<CompactString>]| members.iter().find(|(other, _)| *other == dims).map(|(_, cells)| &cells[..]);
    let page = |query: &Query| {
        let question = Question::compile(query, &plan, &kind()).unwrap();
        let mut rollup = Rollup::new(&question, &plan);
        members.iter().for_each(|(dims, cells)| rollup.add(&day(0), 0, dims, cells).unwrap());
        let page = rollup.finish().unwrap();
        assert_eq!(index.answer(&question, &plan, cells_of).unwrap(), page);
        let bytes = serde_json::to_vec(&page.rows).unwrap().len();
        assert!(bytes <= MAX_ANSWER_BYTES + 1 && bytes > MAX_ANSWER_BYTES - 10_000, "{bytes}");
        page
    };
    let first = page(&Query::default());
    assert_eq!(first.total, 300);
    let second = page(&Query { cursor: first.next, ..Query::default() });
    assert_eq!(second.rows[0].get("position").unwrap().to_string(), (first.rows.len() + 1).to_string());

    // Near the end there are fewer neighbours on one side, and room for more on the other.
    let rank = RankQuery { member: Some(members[290].0.clone()), around: 400, ..RankQuery::default() };
    let around = page(&Query { rank: Some(rank), ..Query::default() });
    let positions: Vec<String> = around.rows.iter().map(|row| row.get("position").unwrap().to_string()).collect();
    assert!(positions.contains(&"291".to_owned()) && positions.last().unwrap() == "300", "{positions:?}");
    assert_eq!(around.next, None);
}

#[test]
fn a_row_longer_than_an_answer_is_a_page_of_its_own() {
    let plan = by_revenue();
    let long = [Some(CompactString::from("x".repeat(MAX_ANSWER_BYTES))), None];
    let short = [Some(CompactString::from("y")), None];
    let cells = cells(&plan, &flights()[..1]);
    let query = Query { metrics: Some(vec![name("flights")]), ..Query::default() };
    let question = Question::compile(&query, &plan, &kind()).unwrap();
    let mut rollup = Rollup::new(&question, &plan);
    rollup.add(&day(0), 0, &long, &cells).unwrap();
    rollup.add(&day(0), 0, &short, &cells).unwrap();
    let page = rollup.finish().unwrap();
    assert_eq!((page.rows.len(), page.total, page.next.is_some()), (1, 2, true));
}

#[test]
fn only_the_views_own_ranking_is_for_the_index() {
    let mut plan = by_revenue();
    let served = |query: &str, plan: &Plan| Question::compile(&asked(query), plan, &kind()).unwrap().ranked_by_view();
    for query in [
        "{}",
        r#"{"metrics":["flights"],"limit":3}"#,
        r#"{"dimensions":["carrier","origin"]}"#,
        r#"{"rank":{"ties":"dense","member":["B6",null],"around":2}}"#,
    ] {
        assert!(served(query, &plan), "{query}");
    }
    for query in [
        r#"{"dimensions":["carrier"]}"#,
        r#"{"dimensions":["origin","carrier"]}"#,
        r#"{"where":"carrier = 'B6'"}"#,
        r#"{"order":["position"]}"#,
        r#"{"grain":"day"}"#,
        r#"{"rank":{"by":[{"metric":"revenue"}]}}"#,
    ] {
        assert!(!served(query, &plan), "{query}");
    }
    plan.ranking = None;
    assert!(!served("{}", &plan));
    assert!(RankIndex::new(&plan).is_none());
}
