//! Every mistake in a question: its code, field, position and hint.

use super::fixtures::{Entry, by_revenue, kind, plan};
use crate::{MAX_CURSOR_BYTES, Question};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_contracts::ask::{AskError, AskErrorCode, MAX_ANSWER_ROWS, MAX_AROUND, Query};
use daybook_domain::accumulator::Sign;
use daybook_domain::catalogue::{Grain, Kind};
use daybook_domain::plan::Plan;

fn mistake_of(query: &str, plan: &Plan, kind: &Kind) -> AskError {
    let query: Query = serde_json::from_str(query).unwrap();
    Question::compile(&query, plan, kind).expect_err("a mistake")
}

/// Field, position and hint; the code is that of every mistake in a question.
#[track_caller]
fn check(query: &str, plan: &Plan, field: &str, position: Option<usize>, hint: &str) {
    let error = mistake_of(query, plan, &kind());
    assert_eq!(error.code, AskErrorCode::BadRequest, "{error}");
    assert_eq!((error.field.as_deref(), error.position), (Some(field), position), "{error}");
    assert_eq!(error.hint.as_deref(), Some(hint), "{error}");
}

const METRICS: &str = "the metrics are flights, revenue, mean, worst";
const DIMENSIONS: &str = "the dimensions are carrier, origin";

#[test]
fn metrics_and_dimensions() {
    let plan = plan(Grain::Hour);
    check(r#"{"metrics":["flights","mean","revenu"]}"#, &plan, "metrics[2]", None, r#"did you mean "revenue"?"#);
    check(r#"{"metrics":["cancellations"]}"#, &plan, "metrics[0]", None, METRICS);
    check(r#"{"metrics":["mean","mean"]}"#, &plan, "metrics[1]", None, "name each once");
    let hint = format!("leave the field out to get all of them; {METRICS}");
    check(r#"{"metrics":[]}"#, &plan, "metrics", None, &hint);
    check(r#"{"dimensions":["carier"]}"#, &plan, "dimensions[0]", None, r#"did you mean "carrier"?"#);
    check(r#"{"dimensions":["origin","tail"]}"#, &plan, "dimensions[1]", None, DIMENSIONS);
    check(r#"{"dimensions":["origin","origin"]}"#, &plan, "dimensions[1]", None, "name each once");
    let error = mistake_of(r#"{"metrics":["revenu"]}"#, &plan, &kind());
    assert_eq!(error.to_string(), r#"metrics[0]: unknown metric "revenu"; did you mean "revenue"?"#);
}

#[test]
fn conditions() {
    let plan = plan(Grain::Hour);
    check(r#"{"where":"origin = 'JFK' and carier = 'B6'"}"#, &plan, "where", Some(19), r#"did you mean "carrier"?"#);
    let dropped = |name: &str| format!("the view traffic does not group by {name}; {DIMENSIONS}");
    check(r#"{"where":"carrier = 'B6' and tail is null"}"#, &plan, "where", Some(19), &dropped("tail"));
    check(r#"{"where":"not (delay > 15)"}"#, &plan, "where", Some(5), &dropped("delay"));
    check(r#"{"where":"\"price\" > 1"}"#, &plan, "where", Some(0), &dropped("price"));
    check(r#"{"where":"carrier = 'status' and status = 'final'"}"#, &plan, "where", Some(23), DIMENSIONS);
    let error = mistake_of(r#"{"where":"carrier ="}"#, &plan, &kind());
    assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some("where")));
    assert_eq!(error.position, Some(9));
    let quoted = mistake_of(r#"{"where":"carrier = B6"}"#, &plan, &kind());
    assert_eq!(quoted.position, Some(10));
    assert!(quoted.hint.unwrap().contains("'B6'"));
}

#[test]
fn a_dimension_called_status_is_written_in_quotes() {
    let mut kind = kind();
    kind.dimensions[0].name = super::fixtures::name("status");
    let mut view = plan(Grain::Day).view;
    view.group_by[0] = super::fixtures::name("status");
    let plan = Plan::compile(&view, &kind).unwrap();
    let error = mistake_of(r#"{"where":"\"status\" = 'x' and status = 'final'"}"#, &plan, &kind);
    assert_eq!(error.position, Some(19));
    assert!(error.hint.unwrap().contains("in double quotes"));
    let query: Query = serde_json::from_str(r#"{"where":"\"status\" = 'x'"}"#).unwrap();
    Question::compile(&query, &plan, &kind).unwrap();
}

#[test]
fn grains_and_limits() {
    check(r#"{"grain":"quarter_hour"}"#, &plan(Grain::Hour), "grain", None, "use hour, day or total");
    check(r#"{"grain":"hour"}"#, &plan(Grain::Day), "grain", None, "use day or total");
    let of_clock = "use clock_hour, hour_of_day, day or total";
    check(r#"{"grain":"hour"}"#, &plan(Grain::ClockHour), "grain", None, of_clock);
    let other = "use hour, day or total, or a view with `grain: clock_hour`";
    check(r#"{"grain":"hour_of_day"}"#, &plan(Grain::Hour), "grain", None, other);
    let hint = format!("use 1 to {MAX_ANSWER_ROWS}; the rest is on further pages");
    check(r#"{"limit":0}"#, &plan(Grain::Day), "limit", None, &hint);
    check(r#"{"limit":10001}"#, &plan(Grain::Day), "limit", None, &hint);
    for limit in [1, 10_000] {
        let query = Query { limit: Some(limit), ..Query::default() };
        assert_eq!(Question::compile(&query, &plan(Grain::Day), &kind()).unwrap().limit(), limit as usize);
    }
}

#[test]
fn orders() {
    let day = plan(Grain::Day);
    let columns = "the columns are day, carrier, flights";
    let query =
        |order: &str| format!(r#"{{"grain":"day","dimensions":["carrier"],"metrics":["flights"],"order":[{order}]}}"#);
    check(&query(r#""flights","fligths desc""#), &day, "order[1]", None, r#"did you mean "flights"?"#);
    check(&query(r#""origin""#), &day, "order[0]", None, columns);
    check(&query(r#""rank""#), &by_revenue(), "order[0]", None, columns);
    check(&query(r#""day desc","carrier","day""#), &day, "order[2]", None, "name each column once");
    check(
        r#"{"order":["day"]}"#,
        &day,
        "order[0]",
        None,
        "the columns are carrier, origin, flights, revenue, mean, worst",
    );
}

#[test]
fn rankings() {
    let (ranked, plain) = (by_revenue(), plan(Grain::Day));
    let hint = format!("name one or more metrics; {METRICS}");
    check(r#"{"rank":{}}"#, &plain, "rank.by", None, &hint);
    check(
        r#"{"rank":{"by":[{"metric":"mean"},{"metric":"wurst"}]}}"#,
        &plain,
        "rank.by[1]",
        None,
        r#"did you mean "worst"?"#,
    );
    check(
        r#"{"rank":{"by":[{"metric":"mean"},{"metric":"mean"}]}}"#,
        &plain,
        "rank.by[1]",
        None,
        "name each metric once",
    );
    let many = [r#"{"metric":"mean"}"#; 9].join(",");
    check(&format!(r#"{{"rank":{{"by":[{many}]}}}}"#), &plain, "rank.by", None, "use at most 8");
    check(r#"{"rank":{},"dimensions":[]}"#, &ranked, "rank", None, DIMENSIONS);
    check(r#"{"rank":{},"grain":"day"}"#, &ranked, "rank", None, "use grain total, or leave out rank");
    check(r#"{"rank":{},"order":["flights"]}"#, &ranked, "order", None, "leave out either order or rank");
    check(
        r#"{"rank":{"member":["B6"]}}"#,
        &ranked,
        "rank.member",
        None,
        "give the values of carrier, origin, in this order",
    );
    let hint = "give the values of origin, in this order";
    check(r#"{"rank":{"member":["B6","JFK"]},"dimensions":["origin"]}"#, &ranked, "rank.member", None, hint);
    let hint = format!("use at most {MAX_AROUND}");
    check(r#"{"rank":{"member":["B6",null],"around":501}}"#, &ranked, "rank.around", None, &hint);
    check(
        r#"{"rank":{"around":5}}"#,
        &ranked,
        "rank.around",
        None,
        "name the member in rank.member by its carrier, origin",
    );
}

#[test]
fn a_feed_is_of_nothing_else() {
    let view = by_revenue();
    check(r#"{"watch":true,"days":"yesterday","limit":5}"#, &view, "watch", None, "leave out days, limit");
    let everything = r#"{"watch":true,"metrics":["mean"],"dimensions":[],"where":"x","grain":"day","order":["mean"],
        "cursor":"x","rank":{}}"#;
    let hint = "leave out metrics, dimensions, where, grain, order, cursor, rank";
    check(everything, &view, "watch", None, hint);
    let query: Query = serde_json::from_str(r#"{"watch":true,"at_least":7,"accept_stale":false}"#).unwrap();
    Question::compile(&query, &view, &kind()).unwrap();
}

#[test]
fn cursors_of_other_questions() {
    let plan = by_revenue();
    let next = {
        let entry = |carrier: &str| Entry {
            at: 0,
            day: 0,
            piece: 0,
            dims: [Some(carrier.into()), None],
            delay: None,
            price: Some(300),
            sign: Sign::Add,
        };
        let entries = [entry("A"), entry("B")];
        let query = Query { limit: Some(1), ..Query::default() };
        super::properties::rolled_up(&query, &plan, &entries).unwrap().next.unwrap()
    };
    let with_cursor = |rest: &str, cursor: &str| format!(r#"{{{rest}"cursor":"{cursor}"}}"#);
    let compile = |text: &str| Question::compile(&serde_json::from_str(text).unwrap(), &plan, &kind());
    compile(&with_cursor(r#""limit":7,"at_least":3,"accept_stale":false,"#, &next)).unwrap();
    let other = "ask what the page before was asked, or begin without a cursor";
    for rest in [r#""metrics":["mean"],"#, r#""days":"yesterday","#, r#""rank":{"ties":"dense"},"#] {
        check(&with_cursor(rest, &next), &plan, "cursor", None, other);
    }
    check(&with_cursor("", &next), &super::fixtures::plan(Grain::Hour), "cursor", None, other);
    let json = URL_SAFE_NO_PAD.decode(&next).unwrap();
    let forged = |from: &str, to: &str| {
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        URL_SAFE_NO_PAD.encode(text.replace(from, to))
    };
    compile(&with_cursor("", &forged("[3.00,", "[3.5,"))).expect("not that of any row, but a place among them");
    let garbage = "use the `next` of the page before, or begin without a cursor";
    let long = "A".repeat(MAX_CURSOR_BYTES + 1);
    let wrong = [forged("[3.00,", "[\"3\","), forged("[3.00,", "[3.00,3,"), forged("\"A\"", "1"), forged("]", "]]")];
    let wrong = wrong.iter().map(String::as_str);
    for cursor in wrong.chain(["", "*", "e30", "bnVsbA", &next[..next.len() - 2], &long]) {
        check(&with_cursor("", cursor), &plan, "cursor", None, garbage);
    }
    let member = with_cursor(r#""rank":{"member":["A",null]},"#, &next);
    check(&member, &plan, "cursor", None, "leave out either the cursor or rank.member");
}
