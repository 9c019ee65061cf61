//! Everything that docs/CLIENTS.md says is for any NATS client, driven with one that this project did not write.
#![allow(clippy::unwrap_used)]

use daybook::client::Client;
use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::Query;
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::connection::BrokerOptions;
use daybook_tests::{Daybook, define, eventually, python};
use std::fs;
use std::path::Path;
use tokio::process::{Child, Command};

/// What docs/CLIENTS.md lists for a client of acme.
const ACME_PERMISSIONS: &str = r#"{
    publish = ["daybook.in.acme.*", "daybook.query.acme.*", "$JS.API.DIRECT.GET.DAYBOOK_REPORTS.daybook.reports.acme.*"]
    subscribe = ["_INBOX_acme.>", "daybook.live.acme.*", "daybook.days.acme.*", "daybook.reports.acme.*", "daybook.rejects.acme"]
}"#;

const DEFINITIONS: &str = r#"
kinds: [{ name: order, mode: entity, dimensions: [channel], measures: [{ name: amount, type: decimal, scale: 2 }] }]
views: [{ name: orders, kind: order, metrics: [orders: count] }]
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
  - { id: other, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_publishes_asks_listens_and_reads_reports() {
    let daybook = Daybook::start().await;
    python::run("clients.py", &[daybook.broker.broker.client_url()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_needs_no_more_than_the_listed_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, address) = broker_with_users(folder.path()).await;
    let broker = BrokerOptions { partitions: 4, ..BrokerOptions::at(&format!("nats://{address}")) };
    let services = Embedded::start(EmbeddedOptions::new(broker.clone(), folder.path().join("shard"))).await.unwrap();
    let client = Client::connect(&broker).await.unwrap();
    define(&client, DEFINITIONS).await;
    advance(&client, "2024-03-01T12:00:00Z").await;

    let url = format!("nats://acme:some@{address}");
    let closing = async {
        eventually("the script's last order", || async {
            let answer = client.query(&TenantId::new("acme").unwrap(), "orders", &Query::default()).await.ok()?;
            (answer.rows.first()?.get("orders")?.to_string() == "2").then_some(())
        })
        .await;
        advance(&client, "2024-03-02T12:00:00Z").await;
    };
    let arguments = [url.as_str()];
    tokio::join!(python::run("tenant.py", &arguments), closing);
    services.stop().await;
}

async fn advance(client: &Client, to: &str) {
    let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: to.parse().unwrap() };
    client.advance(&advance).await.unwrap();
}

/// A broker that knows two users: whoever names none is `daybook` and may do everything, `acme` may do what
/// [`ACME_PERMISSIONS`] say. With its address.
async fn broker_with_users(folder: &Path) -> (Child, String) {
    let binary = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|_| {})).await.unwrap().unwrap();
    let text = format!(
        "host: 127.0.0.1\nport: -1\nports_file_dir: {folder:?}\njetstream {{ store_dir: {folder:?} }}\n\
         no_auth_user: daybook\nauthorization {{ users = [\n{{ user: daybook, password: all }}\n\
         {{ user: acme, password: some, permissions: {ACME_PERMISSIONS} }}\n] }}\n"
    );
    let file = folder.join("server.conf");
    fs::write(&file, text).unwrap();
    let log = folder.join("server.log");
    let broker = Command::new(binary).arg("-c").arg(file).arg("-l").arg(log).kill_on_drop(true).spawn().unwrap();
    let ports = folder.join(format!("nats-server_{}.ports", broker.id().unwrap()));
    let address = eventually("the broker", || async {
        let told: serde_json::Value = serde_json::from_slice(&fs::read(&ports).ok()?).ok()?;
        Some(told["nats"][0].as_str()?.strip_prefix("nats://")?.to_owned())
    })
    .await;
    (broker, address)
}

/// The page shows code that runs, and the permissions that were tried.
#[test]
fn the_page_for_clients_is_true_to_the_scripts() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CLIENTS.md");
    let page = fs::read_to_string(page).unwrap();
    let script = fs::read_to_string(python::file("daybook_client.py")).unwrap();
    let snippets: Vec<&str> =
        page.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(snippets.len() > 10, "{} snippets", snippets.len());
    for snippet in snippets {
        assert!(script.contains(snippet), "not in daybook_client.py:\n{snippet}");
    }
    let subjects = ACME_PERMISSIONS.split('"').skip(1).step_by(2);
    for subject in subjects {
        assert!(page.contains(&format!("`{subject}`")), "{subject} is not on the page");
    }
}
