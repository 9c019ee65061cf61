//! Closed days whose entities are on disk alone: late events bring back what they need, and nothing else shows.

use daybook_contracts::members::Heartbeat;
use daybook_domain::ids::TenantId;
use daybook_tests::orders::{self, FIRST_DAY, account, figures, order, rejects_of};
use daybook_tests::{Daybook, eventually};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Enough for some pages.
const ORDERS: usize = 900;

/// Starts with closed days limited to so many MiB of memory.
async fn with_a_closed_day(closed_days_mib: u64) -> Daybook {
    let daybook = Daybook::start_with(|options| {
        options.shard.closed_days_mib = Some(closed_days_mib);
        options.shard.checkpoint_interval_ms = 100;
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    publish(&daybook, (0..ORDERS).map(|number| order(&format!("o{number}"))).collect()).await;
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    daybook.settle().await;
    daybook
}

async fn publish(daybook: &Daybook, events: Vec<Value>) {
    daybook.publish("acme", "order", json!(events).to_string()).await;
    daybook.settle().await;
}

/// A newer version of an order that was published.
fn correction(number: usize, version: u64, quantity: i64) -> Value {
    let mut event = order(&format!("o{number}"));
    (event["version"], event["measures"]["quantity"]) = (json!(version), json!(quantity));
    event
}

/// Pages of closed days that are on disk alone, as the shards say it.
async fn pages_out(daybook: &Daybook) -> u64 {
    let connection = &daybook.client.connection;
    let members = connection.subjects.members("aggregator-shard");
    let mut heard = connection.client.subscribe(members).await.unwrap();
    let heartbeat = Heartbeat::decode(&heard.next().await.unwrap().payload).unwrap();
    heartbeat.parts.values().map(|part| part.closed_pages_out).sum()
}

async fn until_they_are_out(daybook: &Daybook) -> u64 {
    eventually("closed days leave memory", async || Some(pages_out(daybook).await).filter(|out| *out > 0)).await
}

async fn quantity(daybook: &Daybook) -> String {
    figures(daybook, "acme", "orders", FIRST_DAY).await["quantity"].clone()
}

/// Version and hash of the first day's report.
async fn report(daybook: &Daybook) -> (u32, String) {
    let sealed = daybook.client.report(&TenantId::new("acme").unwrap(), FIRST_DAY.parse().unwrap()).await.unwrap();
    sealed.map(|sealed| (sealed.report.version, sealed.hash)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn late_events_bring_back_what_they_need() {
    let mut daybook = with_a_closed_day(0).await;
    let all = until_they_are_out(&daybook).await;
    assert!(all >= 4, "{all} pages");
    assert_eq!((quantity(&daybook).await, report(&daybook).await.0), (ORDERS.to_string(), 1), "figures are here");

    // Corrected, said again, too old, new, and moved to the open day.
    publish(&daybook, vec![correction(7, 1, 11), correction(8, 1, 21)]).await;
    assert_eq!((quantity(&daybook).await, report(&daybook).await.0), ((ORDERS + 30).to_string(), 2));
    publish(&daybook, vec![correction(7, 1, 11), correction(8, 0, 5), order("late")]).await;
    let mut moved = correction(9, 1, 1);
    moved["at"] = json!("2024-03-02T08:00:00Z");
    publish(&daybook, vec![moved]).await;
    assert_eq!(quantity(&daybook).await, (ORDERS + 30).to_string());
    let account_before = account(&daybook, "acme").await;
    assert_eq!((account_before.duplicate, account_before.stale), (1, 1));
    assert_eq!(rejects_of(&daybook, "acme").await.len(), 1);

    // From the store, then from the log alone: the same, and pages go on to come and go.
    until_they_are_out(&daybook).await;
    let before = report(&daybook).await;
    daybook.restart_services().await;
    daybook.settle().await;
    assert_eq!((report(&daybook).await, account(&daybook, "acme").await), (before.clone(), account_before));
    until_they_are_out(&daybook).await;
    publish(&daybook, vec![correction(7, 2, 1)]).await;
    assert_eq!(quantity(&daybook).await, (ORDERS + 20).to_string());
    let before = report(&daybook).await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(report(&daybook).await, before);
    until_they_are_out(&daybook).await;
    publish(&daybook, vec![correction(8, 2, 1)]).await;
    assert_eq!(quantity(&daybook).await, ORDERS.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_corrections_at_once_come_to_the_same() {
    let mut figures = BTreeMap::new();
    for mebibytes in [0, 1_000] {
        let daybook = with_a_closed_day(mebibytes).await;
        if mebibytes == 0 {
            until_they_are_out(&daybook).await;
        }
        // Of every page, in some messages, so that pages come back and change while others leave.
        for round in 1..4 {
            let corrections = (0..ORDERS).step_by(3).map(|number| correction(number, round, (number % 5) as i64));
            publish(&daybook, corrections.collect()).await;
        }
        figures.insert(mebibytes, (quantity(&daybook).await, report(&daybook).await.0));
    }
    assert_eq!(figures[&0], figures[&1_000]);
}
