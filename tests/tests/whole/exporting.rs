//! `daybook export`: sealed days as files, written once, and again when a report has a new version.

use daybook::export::files::Format;
use daybook::export::{Order, Outcome, export};
use daybook_domain::ids::{Name, TenantId};
use daybook_tests::Daybook;
use daybook_tests::asking::tenant;
use daybook_tests::orders::{self, FIRST_DAY, order};
use serde_json::json;
use std::fs;
use std::path::Path;

const SECOND_DAY: &str = "2024-03-02";

fn written(written: u64, unchanged: u64, rows: u64) -> Outcome {
    Outcome { written, unchanged, rows, without: Vec::new() }
}

async fn run(
    daybook: &Daybook,
    tenant: &TenantId,
    view: &str,
    format: Format,
    folder: &Path,
) -> Result<Outcome, String> {
    let days = (FIRST_DAY.parse().unwrap(), SECOND_DAY.parse().unwrap());
    let order = Order { view: Name::new(view).unwrap(), days, format, folder: folder.to_owned() };
    export(&daybook.client.asker, tenant, &order, |_| {}).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_days_are_written_once_for_each_version() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    daybook.publish("acme", "order", json!([order("a"), order("b")]).to_string()).await;
    orders::advance(&daybook, "2024-03-03T12:00:00Z").await;
    daybook.settle().await;
    let (acme, folder) = (tenant("acme"), tempfile::tempdir().unwrap());
    let csv = async || run(&daybook, &acme, "orders", Format::Csv, folder.path()).await.unwrap();
    let file = |day: &str| fs::read_to_string(folder.path().join("orders/acme").join(format!("{day}.csv"))).unwrap();

    assert_eq!(csv().await, written(2, 0, 2), "the third day is open");
    assert_eq!(file(FIRST_DAY), "tenant,day,orders,drafts,quantity,amount\nacme,2024-03-01,2,0,2,5.00\n");
    assert_eq!(file(SECOND_DAY), "tenant,day,orders,drafts,quantity,amount\nacme,2024-03-02,0,0,0,0.00\n");
    assert_eq!(csv().await, written(0, 2, 0));

    daybook.publish("acme", "order", order("late").to_string()).await;
    daybook.settle().await;
    assert_eq!(csv().await, written(1, 1, 1));
    assert!(file(FIRST_DAY).ends_with("acme,2024-03-01,3,0,3,7.50\n"), "{}", file(FIRST_DAY));

    // Another format beside the first would leave old files behind.
    let error = run(&daybook, &acme, "orders", Format::Parquet, folder.path()).await.unwrap_err();
    assert!(error.contains("--format csv"), "{error}");
    let error = run(&daybook, &acme, "order", Format::Csv, folder.path()).await.unwrap_err();
    assert!(error.contains("it has clicks, orders"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_came_behind_the_reports_is_asked_for() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    daybook.publish("acme", "order", json!([order("a"), order("b")]).to_string()).await;
    orders::advance(&daybook, "2024-03-03T12:00:00Z").await;
    daybook.settle().await;
    daybook
        .define(
            "views: [{ name: channels, kind: order, group_by: [channel], \
             metrics: [{ name: orders, value: count }, { name: average, value: avg(amount) }, { name: spread, value: stddev(amount) }] }]",
        )
        .await;
    let (asker, acme) = (&daybook.client.asker, tenant("acme"));
    daybook_tests::eventually("the view in force", async || {
        let views = asker.views(&acme).await.ok()?.views;
        views.iter().any(|view| view.name.as_str() == "channels").then_some(())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&daybook, &acme, "channels", Format::Ndjson, folder.path()).await.unwrap();
    assert_eq!(outcome, written(2, 0, 1), "the second day has no rows");
    let lines = fs::read_to_string(folder.path().join("channels/acme/2024-03-01.ndjson")).unwrap();
    let expected = "{\"tenant\":\"acme\",\"day\":\"2024-03-01\",\"channel\":\"web\",\"orders\":2,\"average\":2.50000000,\"spread\":0}\n";
    assert_eq!(lines, expected);
    assert_eq!(run(&daybook, &acme, "channels", Format::Ndjson, folder.path()).await.unwrap(), written(0, 2, 0));
}
