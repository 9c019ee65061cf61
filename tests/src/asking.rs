//! Questions in JSON, and answers in a form that reads well in a test.

use daybook::client::Client;
use daybook::sealed::Sealed;
use daybook_contracts::ask::{Answer, AskError, Query};
use daybook_contracts::report::{Report, Row, ViewRows};
use daybook_domain::ids::TenantId;
use serde_json::Value;
use std::collections::BTreeMap;

/// The id of a tenant.
pub fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

/// A question, as a client writes it.
pub fn query(query: Value) -> Query {
    serde_json::from_str(&query.to_string()).unwrap()
}

/// The answer to a question that has one.
pub async fn ask(client: &Client, id: &str, view: &str, question: Value) -> Answer {
    let answer = client.query(&tenant(id), view, &query(question.clone())).await;
    answer.unwrap_or_else(|error| panic!("{view} of {id}, {question}: {error}"))
}

/// Why a question has no answer.
pub async fn refused(client: &Client, id: &str, view: &str, question: Value) -> AskError {
    client.query(&tenant(id), view, &query(question)).await.unwrap_err()
}

/// These columns of each row, separated by blanks; nothing for a null.
pub fn shown(rows: &[Row], columns: &str) -> Vec<String> {
    let cell = |row: &Row, name: &str| row.get(name).unwrap_or_else(|| panic!("{name}: {row:?}")).to_string();
    rows.iter().map(|row| columns.split(' ').map(|name| cell(row, name)).collect::<Vec<_>>().join(" ")).collect()
}

/// These columns of a view's rows on a day.
pub async fn day(client: &Client, id: &str, view: &str, date: &str, columns: &str) -> Vec<String> {
    shown(&ask(client, id, view, serde_json::json!({ "days": date })).await.rows, columns)
}

/// The newest version of a day's report, which there must be.
pub async fn sealed(client: &Client, id: &str, date: &str) -> Sealed {
    let report = client.report(&tenant(id), date.parse().unwrap()).await.unwrap();
    report.unwrap_or_else(|| panic!("{date} of {id} has no report"))
}

/// A view's part of a report.
pub fn part<'r>(report: &'r Report, view: &str) -> &'r ViewRows {
    report.views.get(view).unwrap_or_else(|| panic!("no {view} in {report:?}"))
}

/// The hash of the newest version of every report.
pub async fn hashes(client: &Client) -> BTreeMap<String, String> {
    let mut hashes = BTreeMap::new();
    for tenant in client.tenants().await.unwrap() {
        let (first, last) = ("2000-01-01".parse().unwrap(), "2099-12-31".parse().unwrap());
        for sealed in client.reports(&tenant.id, first, last).await.unwrap() {
            let Report { tenant, date, version, .. } = &sealed.report;
            hashes.insert(format!("{tenant} {date} version {version}"), sealed.hash);
        }
    }
    hashes
}
