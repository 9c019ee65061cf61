//! The flights: definitions, recorded events and expected results.

use daybook::client::Client;
use daybook::commands::demo_flights;
use daybook::expected::{self, Outcome, Rankings};
use daybook::replayer::ReplayOptions;
use daybook_contracts::ask::{DaySelector, Query, RankQuery};
use daybook_contracts::report::Report;
use daybook_domain::catalogue::Ties;
use daybook_domain::ids::Name;
use daybook_domain::time::Date;
use std::path::PathBuf;

/// The clock that the airports follow.
pub const CLOCK: &str = "flights";

/// A file of the flights example.
pub fn file(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/flights")).join(path)
}

/// Puts kind, views and airports into force, the airports beginning with `first_day`.
pub async fn define(client: &Client, first_day: &str) {
    let mut definitions = demo_flights::flights().unwrap();
    let first_day: Date = first_day.parse().unwrap();
    definitions.apply.tenants.iter_mut().for_each(|tenant| tenant.first_day = Some(first_day));
    daybook::commands::apply::apply(client, &definitions, false).await.unwrap().unwrap();
}

/// How the flights are replayed.
pub fn replay_options() -> ReplayOptions {
    ReplayOptions {
        kind: Some(Name::new("flight").unwrap()),
        tenant_field: "tenant".to_owned(),
        tenant: None,
        clock: Some(("seen_at".to_owned(), Name::new(CLOCK).unwrap())),
        fact_ids: None,
    }
}

/// The newest version of every airport's reports in the range.
pub async fn reports(client: &Client, from: Date, to: Date) -> Vec<Report> {
    let mut reports = Vec::new();
    for tenant in client.tenants().await.unwrap() {
        reports.extend(client.reports(&tenant.id, from, to).await.unwrap().into_iter().map(|sealed| sealed.report));
    }
    reports
}

/// Checks every expected row of a slice; panics with the first differences.
pub async fn check(client: &Client, expected_csv: &str, from: &str, to: &str) -> Vec<Report> {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    let reports = reports(client, from, to).await;
    let outcome = expected::check(reports.iter(), expected_csv, from, to).unwrap();
    assert_matches(&outcome);
    for report in &reports {
        assert!(report.dispositions.balances(), "{} {}", report.tenant, report.date);
    }
    reports
}

/// The expected rankings of a month.
pub fn rankings(month: &str) -> [Rankings; 2] {
    let csv = |name: &str| std::fs::read_to_string(file(&format!("expected/{month}/{name}.csv"))).unwrap();
    [Rankings::carriers(&csv("top_carriers")).unwrap(), Rankings::origins(&csv("origin_leaderboard")).unwrap()]
}

/// Every how many days the dense ranks are asked for.
const DENSE_EVERY: usize = 7;

/// Checks every row of the month's rankings in the sealed reports, and with dense ranks those of some days; returns how
/// many rows of reports there are. Panics with the first differences.
pub async fn check_rankings(client: &Client, month: &str, reports: &[Report], from: &str, to: &str) -> usize {
    let (from, to): (Date, Date) = (from.parse().unwrap(), to.parse().unwrap());
    let dense = RankQuery { ties: Some(Ties::Dense), ..RankQuery::default() };
    let mut checked = 0;
    for rankings in rankings(month) {
        let outcome = rankings.check(reports.iter(), from, to);
        assert_matches(&outcome);
        checked += outcome.checked;
        for (tenant, date) in rankings.days().step_by(DENSE_EVERY) {
            let query = Query { rank: Some(dense.clone()), ..Query::days(DaySelector::Date(*date)) };
            let answer = client.query(tenant, rankings.view(), &query).await.unwrap();
            assert_matches(&rankings.check_day(tenant, *date, &answer.rows, Ties::Dense));
        }
    }
    checked
}

fn assert_matches(outcome: &Outcome) {
    let shown: Vec<String> = outcome.differences.iter().take(20).map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{} differences:\n{}", outcome.differences.len(), shown.join("\n"));
    assert!(outcome.checked > 0 && outcome.matching == outcome.checked);
}
