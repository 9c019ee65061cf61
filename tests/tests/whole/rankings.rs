//! Rankings with `earliest`: among equals, whoever reached the present score first ranks higher, however one asks.

use daybook::commands::replay::progress;
use daybook::verification::verify::{Scope, verify};
use daybook_tests::Daybook;
use daybook_tests::asking::{ask, part, sealed, shown};
use daybook_tests::backfilling::in_force;
use daybook_tests::orders::{FIRST_DAY, NOON, advance};
use serde_json::{Value, json};

const KINDS: &str = "
kinds:
  - { name: solve, mode: entity, dimensions: [team, task], measures: [points, seconds] }
  - { name: attempt, mode: fact, dimensions: [player], measures: [score] }
";
const SCORES: &str = "kind: solve, group_by: [team], ranking: { by: [score desc], ties: ordinal, earliest: true }, \
    metrics: [score: sum(points), solves: count]";
const TASKS: &str = "kind: solve, group_by: [team], ranking: { by: [tasks desc, fastest asc], ties: dense, earliest: true }, \
    metrics: [tasks: distinct(task), fastest: min(seconds)]";
const BESTS: &str = "kind: attempt, group_by: [player], ranking: { by: [best desc], ties: ordinal, earliest: true }, \
    metrics: [best: max(score), tries: count]";
const TENANT: &str = "
tenants:
  - id: acme
    zone: Etc/UTC
    cutoff: '00:00'
    first_day: 2024-03-01
    clock: shop
    restate_after: 0s
    seasons: [{ name: cup, from: 2024-03-01T06:00:00Z, to: 2024-03-02T18:00:00Z }]
";

/// A view of these definitions by another name.
fn named(name: &str, definition: &str) -> String {
    format!("  - {{ name: {name}, {definition} }}\n")
}

async fn arena() -> Daybook {
    let daybook = Daybook::start().await;
    let views = [named("scores", SCORES), named("tasks", TASKS), named("bests", BESTS)].concat();
    daybook.define(&format!("{KINDS}views:\n{views}{TENANT}")).await;
    advance(&daybook, NOON).await;
    daybook
}

/// Of the first day, at an hour and minute such as `09:00`, or of any at a whole time.
fn time(at: &str) -> String {
    if at.len() == 5 { format!("{FIRST_DAY}T{at}:00Z") } else { at.to_owned() }
}

fn solve(id: &str, at: &str, team: &str, task: &str, points: i64) -> Value {
    json!({"id": id, "at": time(at), "dims": {"team": team, "task": task}, "measures": {"points": points, "seconds": 60}})
}

fn attempt(at: &str, player: &str, score: i64) -> Value {
    json!({"at": time(at), "dims": {"player": player}, "measures": {"score": score}})
}

async fn publish(daybook: &Daybook, kind: &str, events: Value) {
    daybook.publish("acme", kind, events.to_string()).await;
    daybook.settle().await;
}

async fn rows(daybook: &Daybook, view: &str, question: Value, columns: &str) -> Vec<String> {
    shown(&ask(&daybook.client, "acme", view, question).await.rows, columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_leaves_who_was_first() {
    let daybook = arena().await;
    publish(&daybook, "solve", json!([solve("1", "09:00", "red", "a", 50), solve("2", "10:00", "blue", "a", 50)]))
        .await;
    publish(&daybook, "attempt", json!([attempt("09:00", "zoe", 70), attempt("10:00", "ann", 70)])).await;
    let day = || json!({"days": FIRST_DAY});
    assert_eq!(rows(&daybook, "scores", day(), "rank team score").await, ["1 red 50", "2 blue 50"]);
    assert_eq!(rows(&daybook, "bests", day(), "rank player best").await, ["1 zoe 70", "2 ann 70"]);
    assert_eq!(rows(&daybook, "tasks", day(), "rank team tasks").await, ["1 red 1", "2 blue 1"]);

    // A solve of no points, for a task that counts already, and worse or equal attempts.
    publish(&daybook, "solve", solve("3", "11:00", "red", "a", 0)).await;
    publish(&daybook, "attempt", json!([attempt("11:00", "zoe", 20), attempt("11:30", "zoe", 70)])).await;
    assert_eq!(rows(&daybook, "scores", day(), "rank team solves").await, ["1 red 2", "2 blue 1"]);
    assert_eq!(rows(&daybook, "bests", day(), "rank player tries").await, ["1 zoe 3", "2 ann 1"]);
    assert_eq!(rows(&daybook, "tasks", day(), "rank team tasks").await, ["1 red 1", "2 blue 1"]);

    // What was published late but happened early counts from when it happened.
    publish(&daybook, "attempt", attempt("08:00", "ann", 70)).await;
    assert_eq!(rows(&daybook, "bests", day(), "rank player").await, ["1 ann", "2 zoe"]);
    // Taken back, it is as if it had never been: blue had its points after red, and has them alone now.
    publish(
        &daybook,
        "solve",
        json!({"id": "1", "version": 1, "status": "void", "at": time("09:00"),
        "dims": {"team": "red", "task": "a"}, "measures": {"points": 50, "seconds": 60}}),
    )
    .await;
    publish(&daybook, "solve", solve("4", "12:00", "red", "b", 50)).await;
    assert_eq!(rows(&daybook, "scores", day(), "rank team score").await, ["1 blue 50", "2 red 50"]);
    // Points that go and come back: red reached 50 before it had 80.
    publish(&daybook, "solve", json!([solve("5", "09:30", "red", "c", 50), solve("6", "11:15", "red", "c", -50)]))
        .await;
    assert_eq!(rows(&daybook, "scores", day(), "rank team score").await, ["1 red 50", "2 blue 50"]);
}

/// Two days of solves, in which teams are equal at the end of each and of both.
async fn play(daybook: &Daybook) {
    let second = |time: &str| format!("2024-03-02T{time}:00Z");
    let first = json!([
        solve("1", "07:00", "red", "a", 10),
        solve("2", "08:00", "blue", "a", 10),
        solve("3", "09:00", "red", "b", 0),
        solve("early", "05:00", "green", "a", 10),
    ]);
    publish(daybook, "solve", first).await;
    advance(daybook, "2024-03-02T12:00:00Z").await;
    publish(
        daybook,
        "solve",
        json!([
            solve("4", &second("07:00"), "blue", "b", 20),
            solve("5", &second("06:00"), "red", "b", 20),
            solve("6", &second("08:00"), "red", "b", 0),
            solve("7", &second("06:30"), "green", "c", 30),
        ]),
    )
    .await;
    // Late: what red solved first, it solved later than was said. The first day is sealed anew.
    let mut corrected = solve("1", "08:30", "red", "a", 10);
    corrected["version"] = json!(1);
    publish(daybook, "solve", corrected).await;
}

async fn check_play(daybook: &Daybook, view: &str) {
    let of = async |days: &str, rank: Value| {
        rows(daybook, view, json!({"days": days, "rank": rank}), "rank team score").await
    };
    assert_eq!(of(FIRST_DAY, json!({})).await, ["1 green 10", "2 blue 10", "3 red 10"], "{view}");
    assert_eq!(of("2024-03-02", json!({})).await, ["1 green 30", "2 red 20", "3 blue 20"], "{view}");
    let both = ["1 green 40", "2 red 30", "3 blue 30"];
    assert_eq!(of("2024-03-01..2024-03-02", json!({})).await, both, "{view}");
    assert_eq!(of("2024-03-01..2024-03-02", json!({"member": ["blue"], "around": 1})).await, both[1..], "{view}");
    // Without what green solved before it began.
    let cup = ["1 red 30", "2 green 30", "3 blue 30"];
    assert_eq!(of("season:cup", json!({})).await, cup, "{view}");
    assert_eq!(of("season:cup", json!({"member": ["red"]})).await, cup[..1], "{view}");
    let page = ask(&daybook.client, "acme", view, json!({"days": "season:cup", "limit": 1})).await;
    let rest =
        rows(daybook, view, json!({"days": "season:cup", "cursor": page.next.unwrap()}), "rank team score").await;
    assert_eq!(rest, cup[1..], "{view}");
    // With a ranking of its own, a question says nothing of who was first.
    let own = json!({"by": [{"metric": "score", "direction": "asc"}], "ties": "competition"});
    assert_eq!(of(FIRST_DAY, own).await, ["1 blue 10", "1 green 10", "1 red 10"], "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_ranges_seasons_reports_and_later_views_agree() {
    let mut daybook = arena().await;
    play(&daybook).await;
    check_play(&daybook, "scores").await;
    let report = sealed(&daybook.client, "acme", FIRST_DAY).await.report;
    assert_eq!(report.version, 2);
    assert_eq!(shown(&part(&report, "scores").rows, "rank team"), ["1 green", "2 blue", "3 red"]);

    daybook.define(&format!("views:\n{}", named("later", SCORES))).await;
    in_force(&daybook.client, "later").await;
    check_play(&daybook, "later").await;
    daybook.restart_services().await;
    check_play(&daybook, "scores").await;
    daybook.restart_without_checkpoints().await;
    check_play(&daybook, "scores").await;
    let outcome = verify(&daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap();
    assert!(outcome.is_sound() && outcome.verified.count == 2, "{:?}", outcome.differences);
}
