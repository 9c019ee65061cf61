//! Five days of real flights over each change of the clocks, from the publish to the sealed report.

use daybook::commands::replay::{progress, replay};
use daybook::replayer::Replayer;
use daybook::source::EventSource;
use daybook_contracts::ask::{DaySelector, Pieces, Query};
use daybook_contracts::report::Figure;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use daybook_tests::asking::{ask, part, sealed, shown};
use daybook_tests::{Daybook, flights};
use std::collections::BTreeMap;

async fn slice(month: &str, first_day: &str, from: &str, to: &str) -> Daybook {
    let daybook = Daybook::start().await;
    flights::define(&daybook.client, first_day).await;
    let source = EventSource::open(&flights::file(&format!("data/{month}.ndjson.zst"))).unwrap();
    let bar = progress(None, true);
    let summary = replay(&daybook.client, None, flights::replay_options(), source, None, true, &bar).await.unwrap();
    assert_eq!(summary.unroutable, 0);
    assert!(summary.rejects.is_empty(), "{:?}", summary.rejects);
    let expected = std::fs::read_to_string(flights::file(&format!("expected/{month}/daily.csv"))).unwrap();
    let reports = flights::check(&daybook.client, &expected, from, to).await;
    let ranked = flights::check_rankings(&daybook.client, month, &reports, from, to).await;
    assert_eq!(ranked, if month == "march" { 904 + 855 } else { 893 + 870 });
    daybook
}

/// Checks that a day's hours are counted from its opening, that it can have `possible` of them, and that they sum up to it.
async fn check_hours(daybook: &Daybook, tenant: &str, date: &str, possible: u128) {
    let hour = Pieces::Hour.grain().duration().unwrap();
    let report = sealed(&daybook.client, tenant, date).await.report;
    assert_eq!(report.day.closes_at.since(report.day.opens_at).as_millis(), possible * hour.as_millis());
    let rows = &part(&report, "hours").rows;
    let hours: Vec<u128> = shown(rows, "time")
        .iter()
        .map(|time| {
            let since = time.parse::<Instant>().unwrap().since(report.day.opens_at).as_millis();
            assert_eq!(since % hour.as_millis(), 0, "{time}");
            since / hour.as_millis()
        })
        .collect();
    assert!(hours.is_sorted() && hours.iter().all(|hour| *hour < possible), "{hours:?}");
    let landed: u64 = shown(rows, "landed").iter().map(|landed| landed.parse::<u64>().unwrap()).sum();
    assert_eq!([landed.to_string()], shown(&part(&report, "arrivals").rows, "flights")[..]);
    let whole = ask(&daybook.client, tenant, "hours", serde_json::json!({ "days": date })).await;
    assert_eq!(shown(&whole.rows, "landed"), [landed.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_march_report_is_as_expected_with_its_day_of_23_hours() {
    let daybook = slice("march", "2013-03-07", "2013-03-08", "2013-03-12").await;
    let reports = flights::reports(&daybook.client, "2013-03-09".parse().unwrap(), "2013-03-09".parse().unwrap()).await;
    let hours = |tenant: &str| {
        let report = reports.iter().find(|report| report.tenant.as_str() == tenant).unwrap();
        (report.day.closes_at.as_millis() - report.day.opens_at.as_millis()) / 3_600_000
    };
    assert_eq!((hours("ATL"), hours("PHX"), hours("HNL")), (23, 24, 24));
    check_hours(&daybook, "ATL", "2013-03-09", 23).await;
    check_hours(&daybook, "PHX", "2013-03-09", 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_november_report_is_as_expected_with_its_day_of_25_hours() {
    let mut daybook = slice("november", "2013-10-31", "2013-11-01", "2013-11-05").await;
    let (from, to) = ("2013-11-01".parse().unwrap(), "2013-11-05".parse().unwrap());
    let before = flights::reports(&daybook.client, from, to).await;
    check_hours(&daybook, "ATL", "2013-11-02", 25).await;
    // What was sealed stays as it is, from checkpoints and from the log alone.
    daybook.restart_services().await;
    daybook.restart_without_checkpoints().await;
    assert_eq!(flights::reports(&daybook.client, from, to).await, before);
}

const BOARD: &str = "
views:
  - name: board
    kind: flight
    metrics:
      - { name: entities, value: count, status: [draft, final, void] }
      - { name: draft, value: count, status: [draft] }
      - { name: final, value: count }
      - { name: void, value: count, status: [void] }
      - { name: sum_distance_final, value: sum(distance) }
";

/// Replays a slice up to each instant of its asof.csv and compares; returns how many rows were compared.
async fn compare_live(month: &str, first_day: &str) -> usize {
    let daybook = Daybook::start().await;
    flights::define(&daybook.client, first_day).await;
    daybook.define(BOARD).await;
    let mut expected: BTreeMap<String, Vec<csv::StringRecord>> = BTreeMap::new();
    let mut csv = csv::Reader::from_path(flights::file(&format!("expected/{month}/asof.csv"))).unwrap();
    for record in csv.records().map(Result::unwrap) {
        expected.entry(record[0].to_owned()).or_default().push(record);
    }
    let mut source = EventSource::open(&flights::file(&format!("data/{month}.ndjson.zst"))).unwrap();
    let mut replayer = Replayer::new(daybook.client.clone(), flights::replay_options());
    let mut held: Option<(u64, Vec<u8>)> = None;
    let mut checked = 0;
    for (instant, rows) in expected {
        let instant: Instant = instant.parse().unwrap();
        while let Some((number, line)) = held.take().or_else(|| source.next_line().unwrap()) {
            if !replayer.publish(number, line.clone(), Some(instant)).await.unwrap() {
                held = Some((number, line));
                break;
            }
        }
        replayer.advance(instant).await.unwrap();
        daybook.settle().await;
        for row in rows {
            let tenant = TenantId::new(&row[1]).unwrap();
            let query = Query::days(DaySelector::Date(row[2].parse().unwrap()));
            let answer = daybook.client.query(&tenant, "board", &query).await.unwrap();
            let figures = &answer.rows[0];
            for (column, name) in [(3, "entities"), (4, "draft"), (5, "final"), (6, "void"), (7, "sum_distance_final")]
            {
                let Some(Figure::Number(number)) = figures.get(name) else { panic!("{name}: {figures:?}") };
                assert_eq!(number.to_string(), row[column], "{tenant} {} at {instant}: {name}", &row[2]);
            }
            checked += 1;
        }
    }
    checked
}

#[tokio::test(flavor = "multi_thread")]
async fn live_figures_of_march_are_what_was_known_at_each_instant() {
    assert_eq!(compare_live("march", "2013-03-07").await, 5_336);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_figures_of_november_are_what_was_known_at_each_instant() {
    assert_eq!(compare_live("november", "2013-10-31").await, 5_217);
}
