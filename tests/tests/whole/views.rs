//! What views say of days and seasons: late changes by policy, days of odd lengths, rankings, ranges and pages.

use daybook_contracts::admin::CloseDay;
use daybook_contracts::ask::{Answer, AskErrorCode, DayState, MAX_ANSWER_BYTES};
use daybook_contracts::reject::Code;
use daybook_contracts::report::Account;
use daybook_tests::asking::{ask, day, hashes, part, query, refused, sealed, shown, tenant};
use daybook_tests::orders::{FIRST_DAY, NOON, account, advance, rejects_of};
use daybook_tests::{Daybook, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SECOND_DAY: &str = "2024-03-02";
const SECOND_NOON: &str = "2024-03-02T12:00:00Z";

/// A tenant on the test's clock, with more settings in YAML.
fn shop(id: &str, more: &str) -> String {
    format!(
        "  - {{ id: {id}, zone: Etc/UTC, cutoff: \"00:00\", first_day: {FIRST_DAY}, clock: shop, restate_after: 0s, max_ahead: 8784h{more} }}\n"
    )
}

fn lines(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|line| (*line).to_owned()).collect()
}

// --- late changes -----------------------------------------------------------------------------------------------------

const LATE: &str = "
kinds:
  - { name: order, mode: entity, measures: [quantity] }
  - { name: sale, mode: entity, measures: [quantity] }
  - { name: vote, mode: fact, measures: [quantity] }
views:
  - { name: restated, kind: order, metrics: [n: count, quantity: sum(quantity)] }
  - { name: carried, kind: order, late: carry_forward, metrics: [n: count, quantity: sum(quantity)] }
  - { name: kept, kind: order, late: reject, metrics: [n: count, quantity: sum(quantity)] }
  - { name: sales, kind: sale, late: carry_forward, metrics: [n: count, quantity: sum(quantity)] }
  - { name: votes, kind: vote, late: reject, metrics: [n: count, quantity: sum(quantity)] }
tenants:
";

/// Tenants `acme` and `bloom`, whose first day is open.
async fn late_shops() -> Daybook {
    let daybook = Daybook::start().await;
    daybook.define(&format!("{LATE}{}{}", shop("acme", ""), shop("bloom", ""))).await;
    advance(&daybook, NOON).await;
    daybook
}

/// An event of the first day.
fn event(id: &str, version: u64, status: &str, quantity: i64) -> Value {
    json!({"id": id, "version": version, "status": status, "at": NOON, "measures": {"quantity": quantity}})
}

fn fact(at: &str, quantity: i64) -> Value {
    json!({"at": at, "measures": {"quantity": quantity}})
}

async fn publish(daybook: &Daybook, id: &str, kind: &str, events: Value) {
    daybook.publish(id, kind, events.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_late_change_does_to_each_view_what_its_policy_says() {
    let mut daybook = late_shops().await;
    let orders = json!([event("a", 1, "final", 1), event("d", 1, "draft", 5), event("x", 1, "final", 30)]);
    publish(&daybook, "acme", "order", orders).await;
    advance(&daybook, SECOND_NOON).await;
    let on_time = json!({"id": "z", "at": SECOND_NOON, "measures": {"quantity": 100}});
    // A draft is finalised after the close, one order is new, one is corrected, one is taken back.
    let late = [
        event("d", 2, "final", 6),
        event("late", 1, "final", 2),
        event("a", 2, "final", 4),
        event("x", 2, "void", 30),
        on_time,
    ];
    for event in late {
        publish(&daybook, "acme", "order", event).await;
        daybook.settle().await;
    }

    let rows = async |view, date| day(&daybook.client, "acme", view, date, "n quantity").await;
    assert_eq!(rows("restated", FIRST_DAY).await, ["3 12"]);
    assert_eq!(rows("restated", SECOND_DAY).await, ["1 100"]);
    assert_eq!(rows("carried", FIRST_DAY).await, ["2 31"]);
    // + d 6, + late 2, + a 4 - 1, - x 30, and the order of the day.
    assert_eq!(rows("carried", SECOND_DAY).await, ["2 81"]);
    assert_eq!(rows("kept", FIRST_DAY).await, ["2 31"]);
    assert_eq!(rows("kept", SECOND_DAY).await, ["1 100"]);
    // Whatever the policy, nothing is lost and nothing is there twice.
    for view in ["restated", "carried"] {
        let both = ask(&daybook.client, "acme", view, json!({"days": "last_2_days"})).await;
        assert_eq!(shown(&both.rows, "n quantity"), ["4 112"]);
    }

    let first = sealed(&daybook.client, "acme", FIRST_DAY).await.report;
    assert_eq!(first.version, 5, "each of the four changes restates the day");
    assert_eq!(shown(&part(&first, "kept").rows, "n quantity"), ["2 31"]);
    assert_eq!(shown(&part(&first, "carried").rows, "n quantity"), ["2 31"]);
    assert_eq!(shown(&part(&first, "restated").rows, "n quantity"), ["3 12"]);
    let expected = Account { published: 7, counted: 7, drafts: 1, ..Account::default() };
    assert_eq!(first.dispositions, expected, "some view takes each of them in");
    assert_eq!(rejects_of(&daybook, "acme").await, []);

    advance(&daybook, "2024-03-03T12:00:00Z").await;
    daybook.settle().await;
    let second = sealed(&daybook.client, "acme", SECOND_DAY).await.report;
    assert_eq!(shown(&part(&second, "carried").rows, "n quantity"), ["2 81"]);
    assert_eq!((part(&second, "carried").adjustments, part(&second, "restated").adjustments), (5, 0));
    let named: Vec<String> =
        second.changes.iter().map(|change| format!("{} {}", change.id.as_deref().unwrap(), change.what)).collect();
    let carried = |id: &str| format!("{id} carried from {FIRST_DAY}");
    assert_eq!(named, ["d", "late", "a", "x"].map(carried));

    // A change after that is carried to the third day, and the views that reject go on holding what they held.
    publish(&daybook, "acme", "order", event("a", 3, "final", 9)).await;
    daybook.settle().await;
    let rows = async |view, date| day(&daybook.client, "acme", view, date, "n quantity").await;
    assert_eq!(rows("restated", FIRST_DAY).await, ["3 17"]);
    assert_eq!(rows("carried", "2024-03-03").await, ["0 5"]);
    assert_eq!(rows("carried", SECOND_DAY).await, ["2 81"]);
    assert_eq!(rows("kept", FIRST_DAY).await, ["2 31"]);
    let before = hashes(&daybook.client).await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(hashes(&daybook.client).await, before);
    assert_eq!(day(&daybook.client, "acme", "kept", FIRST_DAY, "n quantity").await, ["2 31"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_view_carries_or_rejects_the_account_says_so() {
    let daybook = late_shops().await;
    publish(&daybook, "acme", "sale", json!([event("a", 1, "final", 1), event("d", 1, "draft", 5)])).await;
    publish(&daybook, "bloom", "vote", json!([fact(NOON, 1), fact(NOON, 2)])).await;
    advance(&daybook, SECOND_NOON).await;
    daybook.settle().await;
    let before = hashes(&daybook.client).await;
    assert_eq!(before.len(), 2);
    for late in [event("b", 1, "final", 20), event("a", 2, "final", 3), event("d", 2, "final", 5)] {
        publish(&daybook, "acme", "sale", late).await;
    }
    publish(&daybook, "bloom", "vote", json!([fact(NOON, 50), fact(SECOND_NOON, 7)])).await;
    daybook.settle().await;
    assert_eq!(hashes(&daybook.client).await, before, "what is sealed stays");

    let sales = async |date| day(&daybook.client, "acme", "sales", date, "n quantity").await;
    assert_eq!((sales(FIRST_DAY).await, sales(SECOND_DAY).await), (lines(&["1 1"]), lines(&["2 27"])));
    let counted = account(&daybook, "acme").await;
    assert_eq!((counted.published, counted.counted, counted.pending, counted.carried), (5, 2, 0, 3));

    let votes = async |date| day(&daybook.client, "bloom", "votes", date, "n quantity").await;
    assert_eq!((votes(FIRST_DAY).await, votes(SECOND_DAY).await), (lines(&["2 3"]), lines(&["1 7"])));
    let counted = account(&daybook, "bloom").await;
    assert_eq!((counted.published, counted.counted, counted.rejected), (4, 3, 1));
    let rejects = rejects_of(&daybook, "bloom").await;
    assert_eq!(rejects.iter().map(|reject| (reject.code, reject.index)).collect::<Vec<_>>(), [(Code::Late, 0)]);
    assert!(rejects[0].reason.contains(FIRST_DAY), "{}", rejects[0].reason);

    advance(&daybook, "2024-03-03T12:00:00Z").await;
    daybook.settle().await;
    let second = sealed(&daybook.client, "acme", SECOND_DAY).await.report;
    assert_eq!(
        (part(&second, "sales").adjustments, shown(&part(&second, "sales").rows, "quantity")),
        (4, lines(&["27"]))
    );
    assert_eq!(second.changes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_stay_open_for_their_grace_and_can_be_closed_by_hand() {
    let daybook = Daybook::start().await;
    daybook.define(&format!("{LATE}{}{}", shop("acme", ", grace: 1h"), shop("bloom", ""))).await;
    advance(&daybook, NOON).await;
    // bloom closes its day at noon: the next one is open, and what still comes is late.
    publish(&daybook, "bloom", "order", event("a", 1, "final", 1)).await;
    let close = CloseDay { tenant: tenant("bloom"), date: FIRST_DAY.parse().unwrap(), boundary: false };
    let reply = daybook.client.close(&close).await.unwrap();
    assert_eq!(
        (reply.closed.due_at.to_string(), reply.opened.unwrap().day.date.to_string()),
        (NOON.into(), SECOND_DAY.into())
    );
    let afternoon = json!({"id": "b", "at": "2024-03-01T15:00:00Z", "measures": {"quantity": 2}});
    publish(&daybook, "bloom", "order", afternoon).await;
    daybook.settle().await;
    let report = sealed(&daybook.client, "bloom", FIRST_DAY).await.report;
    assert_eq!((report.version, shown(&part(&report, "restated").rows, "quantity")), (2, lines(&["3"])));
    assert_eq!(ask(&daybook.client, "bloom", "restated", json!({})).await.to.to_string(), SECOND_DAY);
    assert_eq!(day(&daybook.client, "bloom", "carried", SECOND_DAY, "n quantity").await, ["1 2"]);
    let again = daybook.client.close(&close).await.unwrap_err().to_string();
    assert!(again.contains("never reopened"), "{again}");

    // Half an hour after midnight the first day of acme is open still, and so is the second.
    assert_eq!(advance(&daybook, "2024-03-02T00:30:00Z").await.markers, 1, "only acme opens a day");
    publish(&daybook, "acme", "order", event("a", 1, "final", 1)).await;
    daybook.settle().await;
    let states = async |id: &str| {
        let days = daybook.client.days(&tenant(id)).await.unwrap().days;
        days.iter().map(|day| (day.date.to_string(), day.day, day.report)).collect::<Vec<_>>()
    };
    let expected = |state, report| (FIRST_DAY.to_owned(), state, report);
    let second = (SECOND_DAY.to_owned(), DayState::Open, None);
    assert_eq!(states("acme").await, [expected(DayState::Open, None), second.clone()]);
    assert_eq!(states("bloom").await, [expected(DayState::Closed, Some(2)), second.clone()]);
    assert_eq!(advance(&daybook, "2024-03-02T01:00:00Z").await.markers, 1);
    daybook.settle().await;
    assert_eq!(states("acme").await, [expected(DayState::Closed, Some(1)), second]);
    let report = sealed(&daybook.client, "acme", FIRST_DAY).await.report;
    assert_eq!((report.dispositions.counted, report.changes.len()), (1, 0));
    assert_eq!(report.day.closes_at.to_string(), "2024-03-02T00:00:00Z", "grace makes no day longer");
}

// --- days of odd lengths ----------------------------------------------------------------------------------------------

const PULSE: &str = "
kinds: [{ name: beat, mode: fact, measures: [ms] }]
views:
  - { name: hours, kind: beat, grain: hour, metrics: [n: count] }
  - { name: days, kind: beat, metrics: [n: count] }
tenants:
";

/// A beat every half hour for four days.
fn beats(from: &str) -> String {
    let start: daybook_domain::time::Instant = from.parse().unwrap();
    let at = |half: u32| start.after(std::time::Duration::from_secs(1800) * half).to_string();
    Value::from((0..192).map(|half| json!({"at": at(half)})).collect::<Vec<_>>()).to_string()
}

/// Hours of a day, each of which must have two beats and follow the one before; and where the first begins.
async fn hours_of(daybook: &Daybook, id: &str, date: &str) -> (usize, String) {
    let answer = ask(&daybook.client, id, "hours", json!({"days": date, "grain": "hour"})).await;
    let times: Vec<i64> = shown(&answer.rows, "time")
        .iter()
        .map(|time| time.parse::<daybook_domain::time::Instant>().unwrap().as_millis())
        .collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 3_600_000), "{times:?}");
    assert!(answer.rows.iter().all(|row| row.get("n").unwrap().to_string() == "2"), "{:?}", answer.rows);
    let whole = ask(&daybook.client, id, "hours", json!({"days": date})).await;
    assert_eq!(shown(&whole.rows, "n"), [(2 * times.len()).to_string()], "pieces sum up to the day");
    assert_eq!(day(&daybook.client, id, "days", date, "n").await, shown(&whole.rows, "n"));
    (times.len(), shown(&answer.rows, "time")[0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_zone_makes_one_day_of_another_length() {
    let daybook = Daybook::start().await;
    daybook.define(&format!("{PULSE}{}{}", shop("west", ""), shop("east", ""))).await;
    advance(&daybook, NOON).await;
    // What is published stays: a rule can begin where the published days end.
    let change = |zone: &str| format!(", changes: [{{ from: 2024-03-20, zone: {zone} }}]");
    let changed = shop("west", &change("America/New_York")) + &shop("east", &change("Asia/Tokyo"));
    daybook.define(&format!("tenants:\n{changed}")).await;
    advance(&daybook, "2024-03-19T12:00:00Z").await;
    for id in ["west", "east"] {
        daybook.publish(id, "beat", beats("2024-03-19T00:00:00Z")).await;
    }
    advance(&daybook, "2024-03-23T12:00:00Z").await;
    daybook.settle().await;
    let start = |time: &str| time.to_owned();
    assert_eq!(hours_of(&daybook, "west", "2024-03-19").await, (28, start("2024-03-19T00:00:00Z")));
    assert_eq!(hours_of(&daybook, "west", "2024-03-20").await, (24, start("2024-03-20T04:00:00Z")));
    assert_eq!(hours_of(&daybook, "east", "2024-03-19").await, (15, start("2024-03-19T00:00:00Z")));
    assert_eq!(hours_of(&daybook, "east", "2024-03-20").await, (24, start("2024-03-19T15:00:00Z")));
    for (id, closes_at) in [("west", "2024-03-20T04:00:00Z"), ("east", "2024-03-19T15:00:00Z")] {
        let report = sealed(&daybook.client, id, "2024-03-19").await.report;
        assert_eq!(report.day.closes_at.to_string(), closes_at);
        assert_eq!(report.version, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_23_and_25_hours_have_as_many_pieces() {
    let daybook = Daybook::start().await;
    let new_york = |id: &str, first: &str| {
        format!(
            "  - {{ id: {id}, zone: America/New_York, cutoff: \"05:00\", first_day: {first}, clock: shop, restate_after: 0s, max_ahead: 8784h }}\n"
        )
    };
    daybook.define(&format!("{PULSE}{}{}", new_york("spring", "2013-03-08"), new_york("autumn", "2013-10-31"))).await;
    daybook.publish("spring", "beat", beats("2013-03-08T10:00:00Z")).await;
    daybook.publish("autumn", "beat", beats("2013-11-01T09:00:00Z")).await;
    daybook.settle().await;
    assert_eq!(hours_of(&daybook, "spring", "2013-03-08").await.0, 24);
    assert_eq!(hours_of(&daybook, "spring", "2013-03-09").await, (23, "2013-03-09T10:00:00Z".into()));
    assert_eq!(hours_of(&daybook, "spring", "2013-03-10").await.0, 24);
    assert_eq!(hours_of(&daybook, "autumn", "2013-11-02").await, (25, "2013-11-02T09:00:00Z".into()));
    assert_eq!(hours_of(&daybook, "autumn", "2013-11-03").await.0, 24);
}

// --- rankings and seasons ---------------------------------------------------------------------------------------------

const HUNT: &str = "
kinds: [{ name: find, mode: entity, dimensions: [team], measures: [points] }]
views:
  - name: scores
    kind: find
    group_by: [team]
    ranking: { by: [score desc], earliest: true }
    metrics: [score: sum(points), finds: count]
  - { name: mine, kind: find, tenants: [acme], metrics: [finds: count] }
tenants:
";
const SEASON: &str = "from: 2024-03-01T18:00:00Z, to: 2024-03-03T18:00:00Z";

fn find(id: &str, at: &str, team: &str, points: i64) -> Value {
    json!({"id": id, "at": at, "dims": {"team": team}, "measures": {"points": points}})
}

async fn hunt() -> Daybook {
    let daybook = Daybook::start().await;
    let seasons = format!(", seasons: [{{ name: hunt, {SEASON} }}]");
    daybook.define(&format!("{HUNT}{}{}", shop("acme", &seasons), shop("bloom", ""))).await;
    advance(&daybook, NOON).await;
    let finds = json!([
        find("before", "2024-03-01T17:59:59.999Z", "red", 1000),
        find("first", "2024-03-01T18:00:00Z", "red", 10),
        find("r2", "2024-03-02T10:00:00Z", "red", 20),
        find("b1", "2024-03-02T09:00:00Z", "blue", 25),
        find("b2", "2024-03-01T20:00:00Z", "blue", 5),
        find("g1", "2024-03-03T01:00:00Z", "green", 10),
        find("y1", "2024-03-03T01:00:00Z", "yellow", 10),
        find("last", "2024-03-03T17:59:59.999Z", "violet", 3),
        find("after", "2024-03-03T18:00:00Z", "violet", 500),
    ]);
    publish(&daybook, "acme", "find", finds).await;
    daybook.settle().await;
    daybook
}

#[tokio::test(flavor = "multi_thread")]
async fn a_season_ranks_over_its_hours_and_the_earlier_wins() {
    let mut daybook = hunt().await;
    let columns = "position rank team score finds";
    let of = async |daybook: &Daybook, days: &str, rank: Value| {
        shown(&ask(&daybook.client, "acme", "scores", json!({"days": days, "rank": rank})).await.rows, columns)
    };
    // Blue and red have 30 each; blue had them an hour before. Green and yellow are equal in everything.
    let ranked = ["1 1 blue 30 2", "2 2 red 30 2", "3 3 green 10 1", "4 3 yellow 10 1", "5 5 violet 3 1"];
    assert_eq!(of(&daybook, "season:hunt", json!({})).await, ranked);
    let dense = of(&daybook, "season:hunt", json!({"ties": "dense"})).await;
    assert_eq!(dense, ["1 1 blue 30 2", "2 2 red 30 2", "3 3 green 10 1", "4 3 yellow 10 1", "5 4 violet 3 1"]);
    let ordinal = of(&daybook, "season:hunt", json!({"ties": "ordinal"})).await;
    assert_eq!(ordinal[3], "4 4 yellow 10 1");
    assert_eq!(of(&daybook, "season:hunt", json!({"member": ["red"], "around": 1})).await, ranked[..3]);
    assert_eq!(of(&daybook, "season:hunt", json!({"member": ["violet"], "around": 2})).await, ranked[2..]);
    let stranger = json!({"days": "season:hunt", "rank": {"member": ["pink"]}});
    assert_eq!(refused(&daybook.client, "acme", "scores", stranger).await.code, AskErrorCode::UnknownMember);
    assert_eq!(
        refused(&daybook.client, "bloom", "scores", json!({"days": "season:hunt"})).await.code,
        AskErrorCode::UnknownSeason
    );
    // By days, the find before the season counts.
    assert_eq!(of(&daybook, FIRST_DAY, json!({})).await, ["1 1 red 1010 2", "2 2 blue 5 1"]);

    // Red has its 20 points earlier than was said: before blue. Days close meanwhile, seasons never.
    advance(&daybook, "2024-03-04T12:00:00Z").await;
    let mut corrected = find("r2", "2024-03-02T08:00:00Z", "red", 20);
    corrected["version"] = json!(1);
    publish(&daybook, "acme", "find", corrected).await;
    let void =
        json!({"id": "y1", "version": 1, "status": "void", "at": "2024-03-03T01:00:00Z", "dims": {"team": "yellow"}});
    publish(&daybook, "acme", "find", void).await;
    daybook.settle().await;
    let ranked = ["1 1 red 30 2", "2 2 blue 30 2", "3 3 green 10 1", "4 4 violet 3 1"];
    assert_eq!(of(&daybook, "season:hunt", json!({})).await, ranked);
    daybook.restart_services().await;
    assert_eq!(of(&daybook, "season:hunt", json!({})).await, ranked);

    // A season of the past is made from the log and says the same.
    let seasons = format!(", seasons: [{{ name: hunt, {SEASON} }}, {{ name: twin, {SEASON} }}]");
    daybook.define(&format!("tenants:\n{}", shop("acme", &seasons))).await;
    let twin = query(json!({"days": "season:twin"}));
    let answer = eventually("the season of the past", async || {
        match daybook.client.query(&tenant("acme"), "scores", &twin).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                assert!([AskErrorCode::Unavailable, AskErrorCode::UnknownSeason].contains(&error.code), "{error}");
                None
            }
        }
    });
    assert_eq!(shown(&answer.await.rows, columns), ranked);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_for_single_tenants_are_for_them_alone() {
    let daybook = hunt().await;
    publish(&daybook, "bloom", "find", find("x", NOON, "red", 1)).await;
    daybook.settle().await;
    let finds = ask(&daybook.client, "acme", "mine", json!({"days": format!("{FIRST_DAY}..2024-03-03")})).await;
    assert_eq!(shown(&finds.rows, "finds"), ["9"]);
    let error = refused(&daybook.client, "bloom", "mine", json!({})).await;
    assert_eq!(error.code, AskErrorCode::UnknownView, "{error}");
    advance(&daybook, SECOND_NOON).await;
    daybook.settle().await;
    let views =
        |report: &daybook_contracts::report::Report| report.views.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(views(&sealed(&daybook.client, "acme", FIRST_DAY).await.report), ["mine", "scores"]);
    assert_eq!(views(&sealed(&daybook.client, "bloom", FIRST_DAY).await.report), ["scores"]);
}

// --- ranges and pages -------------------------------------------------------------------------------------------------

/// Clicks of five days from Friday to Tuesday, the same in every run: date, page and duration.
fn clicks() -> Vec<(String, String, i64)> {
    let mut seed = 7_u64;
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    (0..1_500)
        .map(|_| {
            let date = format!("2024-03-0{}", next(5) + 1);
            (date, format!("page-{}", next(40)), next(1_000) as i64 - 200)
        })
        .collect()
}

/// The figures of the clicks on these days, worked out by sorting and counting.
fn naive(clicks: &[(String, String, i64)], takes: impl Fn(&str) -> bool) -> String {
    let taken: Vec<_> = clicks.iter().filter(|(date, ..)| takes(date)).collect();
    let mut durations: Vec<i64> = taken.iter().map(|(.., ms)| *ms).collect();
    durations.sort_unstable();
    // Nearest rank.
    let quantile = |percent: usize| durations[(durations.len() * percent).div_ceil(100) - 1];
    let pages: BTreeSet<_> = taken.iter().map(|(_, page, _)| page).collect();
    let (sum, n) = (durations.iter().sum::<i64>(), durations.len());
    let (least, most) = (durations[0], durations[n - 1]);
    format!("{n} {sum} {least} {most} {} {} {}", pages.len(), quantile(50), quantile(90))
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_closed_and_open_days_are_merged_exactly() {
    let mut daybook = Daybook::start().await;
    let metrics = "[n: count, sum: sum(ms), min: min(ms), max: max(ms), pages: distinct(page), \
        median: 'quantile(ms, 0.5)', ninety: 'quantile(ms, 0.9)']";
    let models = format!(
        "kinds: [{{ name: click, mode: fact, dimensions: [page], measures: [ms] }}]
views:
  - {{ name: clicks, kind: click, metrics: {metrics} }}
  - {{ name: hourly, kind: click, grain: quarter_hour, metrics: {metrics} }}
  - {{ name: pages, kind: click, group_by: [page], metrics: {metrics} }}
tenants:
{}",
        shop("acme", "")
    );
    daybook.define(&models).await;
    let clicks = clicks();
    let events: Vec<Value> = clicks
        .iter()
        .enumerate()
        .map(|(index, (date, page, ms))| {
            let at = format!("{date}T{:02}:{:02}:00Z", index % 24, index % 60);
            json!({"at": at, "dims": {"page": page}, "measures": {"ms": ms}})
        })
        .collect();
    daybook.publish("acme", "click", Value::from(events).to_string()).await;
    advance(&daybook, "2024-03-05T12:00:00Z").await;
    daybook.settle().await;

    let columns = "n sum min max pages median ninety";
    for restarted in [false, true] {
        if restarted {
            daybook.restart_services().await;
        }
        let acme = &daybook.client;
        for (days, from, to) in [
            ("2024-03-02..2024-03-04", 2, 4),
            ("2024-03-03..2024-03-05", 3, 5),
            ("2024-02-01..2024-03-02", 1, 2),
            ("week_to_date", 4, 5),
            ("month_to_date", 1, 5),
            ("last_3_days", 3, 5),
            ("yesterday", 4, 4),
            ("today", 5, 5),
        ] {
            let within = |date: &str| (from..=to).contains(&date[9..].parse().unwrap());
            let expected = naive(&clicks, within);
            // Kept as days, as quarters of an hour, and by page rolled up.
            for (view, more) in [("clicks", json!({})), ("hourly", json!({})), ("pages", json!({"dimensions": []}))] {
                let mut question = json!({"days": days});
                question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let answer = ask(acme, "acme", view, question).await;
                assert_eq!(shown(&answer.rows, columns), [expected.as_str()], "{view} {days}");
                assert_eq!(answer.day, if to == 5 { DayState::Open } else { DayState::Closed }, "{view} {days}");
            }
            let by_day = ask(acme, "acme", "hourly", json!({"days": days, "grain": "day"})).await;
            let each: Vec<String> = (from..=to)
                .map(|day| format!("2024-03-0{day} {}", naive(&clicks, |date| date.ends_with(&day.to_string()))))
                .collect();
            assert_eq!(shown(&by_day.rows, &format!("day {columns}")), each, "{days}");
            for grain in ["hour", "quarter_hour"] {
                let pieces = ask(acme, "acme", "hourly", json!({"days": days, "grain": grain, "metrics": ["n"]})).await;
                let n: usize = shown(&pieces.rows, "n").iter().map(|n| n.parse::<usize>().unwrap()).sum();
                assert_eq!(n.to_string(), expected.split(' ').next().unwrap(), "{days} by {grain}");
                assert!(shown(&pieces.rows, "time").is_sorted());
            }
        }
        let some = json!({"days": "month_to_date", "where": "page in ('page-1', 'page-2')", "dimensions": [], "metrics": ["n"]});
        let expected = clicks.iter().filter(|(_, page, _)| page == "page-1" || page == "page-2").count();
        assert_eq!(shown(&ask(acme, "acme", "pages", some).await.rows, "n"), [expected.to_string()]);
    }
}

/// Most that an answer says besides its rows, in bytes.
const MANIFEST_BYTES: usize = 4_096;

/// A user with so long a name that 10,000 rows would not fit a message.
fn visitor(number: usize) -> String {
    format!("{number:05}-{}", "v".repeat(110))
}

fn visits(numbers: impl Iterator<Item = usize>, version: u64, status: &str) -> Value {
    let visit = |number: usize| {
        let region = if number.is_multiple_of(5) { "north" } else { "south" };
        json!({"id": number.to_string(), "version": version, "status": status, "at": NOON,
            "dims": {"user": visitor(number), "region": region}, "measures": {"pages": number % 7}})
    };
    numbers.map(visit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_through_25_000_groups_while_they_change() {
    const GROUPS: usize = 25_000;
    let daybook = Daybook::start().await;
    let models = "
kinds: [{ name: visit, mode: entity, dimensions: [user, region], measures: [pages] }]
views: [{ name: visits, kind: visit, group_by: [user, region], metrics: [n: count, pages: sum(pages)] }]
tenants:
";
    daybook.define(&format!("{models}{}", shop("acme", ""))).await;
    advance(&daybook, NOON).await;
    // Even numbers first; odd ones come later.
    for part in (0..2 * GROUPS).step_by(5_000) {
        publish(&daybook, "acme", "visit", visits((part..part + 5_000).step_by(2), 1, "final")).await;
    }
    daybook.settle().await;

    // By user: whoever comes or goes before the page is passed over, whoever does so behind it is seen.
    let mut seen = Vec::new();
    let mut expected: BTreeSet<usize> = (0..2 * GROUPS).step_by(2).collect();
    let mut question = json!({"order": ["user"], "metrics": ["n"]});
    for page in 1.. {
        let subject = daybook.client.connection.subjects.query("acme", "visits");
        let reply = daybook.client.connection.client.request(subject, question.to_string().into()).await.unwrap();
        assert!(reply.payload.len() < MAX_ANSWER_BYTES + MANIFEST_BYTES, "{} bytes", reply.payload.len());
        let answer: Answer = serde_json::from_slice(&reply.payload).unwrap();
        seen.extend(shown(&answer.rows, "user").iter().map(|user| user[..5].parse::<usize>().unwrap()));
        let Some(next) = answer.next else {
            assert_eq!(answer.total, GROUPS as u64 - 4 + 3);
            break;
        };
        question["cursor"] = next.into();
        if page == 2 {
            let last = *seen.last().unwrap();
            publish(&daybook, "acme", "visit", visits([1, last + 1, 49_999].into_iter(), 1, "final")).await;
            publish(&daybook, "acme", "visit", visits([0, last, last + 2, 49_998].into_iter(), 2, "void")).await;
            daybook.settle().await;
            expected.extend([last + 1, 49_999]);
            expected.retain(|number| ![last + 2, 49_998].contains(number));
        }
    }
    assert!(seen.iter().eq(&expected), "{} of {}", seen.len(), expected.len());

    // By a figure, some of them, few at a time: every member once, in order.
    let mut found: Vec<(i64, String)> = Vec::new();
    let mut question =
        json!({"where": "region = 'north'", "order": ["pages desc", "user"], "dimensions": ["user"], "limit": 1_500});
    loop {
        let page = ask(&daybook.client, "acme", "visits", question.clone()).await;
        assert!(page.rows.len() <= 1_500);
        found.extend(page.rows.iter().map(|row| {
            (-row.get("pages").unwrap().to_string().parse::<i64>().unwrap(), row.get("user").unwrap().to_string())
        }));
        match page.next {
            Some(next) => question["cursor"] = next.into(),
            None => break,
        }
    }
    assert!(found.is_sorted());
    let members: BTreeMap<&String, i64> = found.iter().map(|(pages, user)| (user, -pages)).collect();
    assert_eq!(members.len(), found.len(), "nobody twice");
    let total = ask(&daybook.client, "acme", "visits", json!({"where": "region = 'north'", "limit": 1})).await.total;
    assert_eq!(members.len() as u64, total);
    // A cursor belongs to its question.
    let page = ask(&daybook.client, "acme", "visits", json!({"limit": 10})).await;
    let other = json!({"limit": 10, "where": "region = 'south'", "cursor": page.next});
    assert_eq!(refused(&daybook.client, "acme", "visits", other).await.code, AskErrorCode::BadRequest);
}
