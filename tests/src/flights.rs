//! The flights: definitions, recorded events and expected results.

use daybook::client::Client;
use daybook::commands::demo;
use daybook::expected;
use daybook::replayer::ReplayOptions;
use daybook_contracts::report::Report;
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
    let mut definitions = demo::flights().unwrap();
    let first_day: Date = first_day.parse().unwrap();
    definitions.apply.tenants.iter_mut().for_each(|tenant| tenant.first_day = Some(first_day));
    daybook::commands::apply::apply(client, &definitions, false).await.unwrap().unwrap();
}

/// How the flights are replayed.
pub fn replay_options() -> ReplayOptions {
    ReplayOptions {
        kind: Name::new("flight").unwrap(),
        tenant_field: "tenant".to_owned(),
        tenant: None,
        clock: Some(("seen_at".to_owned(), Name::new(CLOCK).unwrap())),
    }
}

/// The newest version of every airport's reports in the range.
pub async fn reports(client: &Client, from: Date, to: Date) -> Vec<Report> {
    let mut reports = Vec::new();
    for tenant in client.tenants().await {
        reports.extend(client.reports(&tenant.id, from, to).await.unwrap().into_iter().map(|sealed| sealed.report));
    }
    reports
}

/// Checks every expected row of a slice; panics with the first differences.
pub async fn check(client: &Client, expected_csv: &str, from: &str, to: &str) -> Vec<Report> {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    let reports = reports(client, from, to).await;
    let outcome = expected::check(reports.iter(), expected_csv, from, to).unwrap();
    let shown: Vec<String> = outcome.differences.iter().take(20).map(|d| d.to_string()).collect();
    assert!(shown.is_empty(), "{} differences:\n{}", outcome.differences.len(), shown.join("\n"));
    assert!(outcome.checked > 0 && outcome.matching == outcome.checked);
    for report in &reports {
        assert!(report.dispositions.balances(), "{} {}", report.tenant, report.date);
    }
    reports
}
