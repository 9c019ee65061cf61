//! A PostgreSQL table without anyone's outbox: docs/POSTGRESQL.md end to end with a real PostgreSQL. Corrections, deletions, rows that
//! move to another tenant and a truncation come out right. Skipped, with a line that says why, where there is no PostgreSQL.

use async_nats::jetstream;
use daybook_tests::orders::{self, NOON, account};
use daybook_tests::sources::{all_taken, rows_of};
use daybook_tests::{Daybook, PrivateBroker, python};
use serde_json::{Value, json};
use std::path::Path;

const SOURCES: &str = "
sources:
  - { name: orders, stream: POSTGRES, subjects: [postgres.public.orders], mapping: sale/orders_table, from: all }
  - { name: returns, stream: POSTGRES, subjects: [postgres.public.returns], mapping: refund/returns_table, from: all }
";

const MODELS: &str = r#"
kinds:
  - name: sale
    mode: entity
    dimensions: [product]
    measures: [{ name: total, type: decimal, scale: 2 }]
    mappings:
      - name: orders_table
        extends: debezium
        tenant: ./shop
        id: ./id
        at: { path: ./placed_at, as: rfc3339 }
        dims: { product: ./product }
        measures: { total: ./total }
  - name: refund
    mode: entity
    measures: [{ name: total, type: decimal, scale: 2 }]
    mappings:
      - { name: returns_table, extends: debezium, tenant: ./shop, id: ./id, at: { path: ./placed_at, as: rfc3339 }, measures: { total: ./total } }
views:
  - { name: products, kind: sale, group_by: [product], metrics: [orders: count, revenue: sum(total)] }
  - { name: refunds, kind: refund, metrics: [refunds: count] }
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s }
  - { id: zeta, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop, restate_after: 0s }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_counted_as_postgresql_counts_it() {
    let broker = PrivateBroker::start().await;
    let folder = broker.folder.path().to_owned();
    let (file, expected) = (folder.join("sources.yaml"), folder.join("expected.json"));
    std::fs::write(&file, SOURCES).unwrap();
    let daybook = Daybook::start_on(broker, |options| options.connect.sources = Some(file)).await;
    daybook.define(MODELS).await;
    orders::advance(&daybook, NOON).await;
    let url = daybook.broker.broker.client_url();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/postgresql");
    let arguments = [url, example.to_str().unwrap(), expected.to_str().unwrap()];
    if !python::run_where_possible("postgresql.py", &arguments, python::POSTGRESQL_REQUIREMENTS).await {
        return;
    }
    let stream = jetstream::new(async_nats::connect(url).await.unwrap()).get_stream("POSTGRES").await.unwrap();
    all_taken(&stream, &["orders", "returns"]).await;
    daybook.settle().await;

    let counted: Vec<(String, String, u64, String)> =
        serde_json::from_slice(&std::fs::read(&expected).unwrap()).unwrap();
    assert!(counted.len() >= 4, "both shops sell something: {counted:?}");
    for shop in ["acme", "zeta"] {
        // Numbers of one sort, whether they have cents or not.
        let revenue = |text: &str| json!(text.parse::<f64>().unwrap());
        let expected: Vec<Value> = counted
            .iter()
            .filter(|(of, ..)| of == shop)
            .map(|(_, product, orders, total)| json!({"product": product, "orders": orders, "revenue": revenue(total)}))
            .collect();
        assert_eq!(rows_of(&daybook.client, shop, "products").await, json!(expected), "{shop}");
        let account = account(&daybook, shop).await;
        assert_eq!(account.rejected, 0, "{account:?}");
    }
    let refunds = rows_of(&daybook.client, "acme", "refunds").await;
    assert!(refunds == json!([]) || refunds == json!([{"refunds": 0}]), "the table was emptied: {refunds}");
}
