//! Everything that docs/CLIENTS.md says is for any NATS client, driven with one that this project did not write, bare and
//! through the package for Python.

use daybook::client::Client;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::Query;
use daybook_domain::ids::{Name, TenantId};
use daybook_tests::accounts::{SecuredDaybook, may_publish, may_subscribe};
use daybook_tests::{Daybook, define, eventually, python};
use std::fs;
use std::path::Path;

const DEFINITIONS: &str = r#"
kinds: [{ name: order, mode: entity, dimensions: [channel], measures: [{ name: amount, type: decimal, scale: 2 }] }]
views: [{ name: orders, kind: order, metrics: [orders: count] }]
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h }
  - { id: other, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_publishes_asks_listens_and_reads_reports() {
    let daybook = Daybook::start().await;
    python::run("clients.py", &[daybook.broker.broker.client_url()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_needs_no_more_than_its_account_imports() {
    let daybook = SecuredDaybook::start(&["acme", "other"], |_| {}).await;
    let client = &daybook.client;
    define(client, DEFINITIONS).await;
    advance(client, "2024-03-01T12:00:00Z").await;

    let closing = async {
        eventually("the script's last order", || async {
            let answer = client.query(&TenantId::new("acme").unwrap(), "orders", &Query::default()).await.ok()?;
            (answer.rows.first()?.get("orders")?.to_string() == "2").then_some(())
        })
        .await;
        advance(client, "2024-03-02T12:00:00Z").await;
    };
    let url = daybook.broker.tenant_url("acme");
    let arguments = [url.as_str()];
    tokio::join!(python::run("tenant.py", &arguments), closing);
    daybook.stop().await;
}

async fn advance(client: &Client, to: &str) {
    let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: to.parse().unwrap() };
    client.advance(&advance).await.unwrap();
}

/// The page shows code that runs, and the permissions that were tried.
#[test]
fn the_page_for_clients_is_true_to_the_scripts() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CLIENTS.md");
    let page = fs::read_to_string(page).unwrap();
    let script = fs::read_to_string(python::file("bare_nats.py")).unwrap();
    let readme = python::file("../../clients/python/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let snippets: Vec<&str> =
        page.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(snippets.len() > 10, "{} snippets", snippets.len());
    for snippet in snippets {
        let is_run = script.contains(snippet) || readme.contains(snippet);
        assert!(is_run, "neither in bare_nats.py nor in the README of the package:\n{snippet}");
    }
    for subject in may_publish("acme").into_iter().chain(may_subscribe("acme")) {
        assert!(page.contains(&format!("`{subject}`")), "{subject} is not on the page");
    }
}
