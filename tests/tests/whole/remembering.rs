//! Orders whose day can no longer be corrected and that come again, dated anew: they count once.

use daybook_contracts::reject::Code;
use daybook_contracts::report::Account;
use daybook_domain::ids::TenantId;
use daybook_tests::orders::{self, FIRST_DAY, account, figures, order, rejects_of};
use daybook_tests::{Daybook, eventually};
use serde_json::{Value, json};

/// The first day can no longer be corrected then.
const LATER: &str = "2024-04-20T12:00:00Z";
const LATER_DAY: &str = "2024-04-20";
/// Enough for some pages on disk.
const ORDERS: usize = 900;

async fn publish(daybook: &Daybook, events: &[Value]) {
    daybook.publish("acme", "order", json!(events).to_string()).await;
    daybook.settle().await;
}

fn later(id: &str, version: u64, changes: &[(&str, Value)]) -> Value {
    let mut event = order(id);
    (event["version"], event["at"]) = (json!(version), json!("2024-04-20T11:00:00Z"));
    changes.iter().for_each(|(field, value)| event[*field] = value.clone());
    event
}

async fn report_of_first_day(daybook: &Daybook) -> (u32, Account) {
    let sealed = daybook.client.report(&TenantId::new("acme").unwrap(), FIRST_DAY.parse().unwrap()).await.unwrap();
    sealed.map(|sealed| (sealed.report.version, sealed.report.dispositions)).unwrap()
}

/// An order of the first day moves to another one after 35 days: it is a reject that names its day, and so is all that follows. A draft of
/// then is pending no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_a_day_beyond_correction_counts_once() {
    let mut daybook = Daybook::start_with(|options| {
        options.shard.closed_days_mib = Some(0);
        options.shard.checkpoint_interval_ms = 100;
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    let mut draft = order("draft");
    draft["status"] = json!("draft");
    publish(&daybook, &[order("o-1"), draft]).await;
    publish(&daybook, &(0..ORDERS).map(|number| order(&format!("n{number}"))).collect::<Vec<_>>()).await;
    orders::advance(&daybook, LATER).await;
    daybook.settle().await;
    let (version, last) = report_of_first_day(&daybook).await;
    assert_eq!((version, last.pending, last.drafts, last.counted), (2, 0, 1, ORDERS as u64 + 2));
    for round in 0..3 {
        let void = later("o-1", 3, &[("status", json!("void"))]);
        let mut events = vec![later("o-1", 2, &[]), void, later("draft", 2, &[]), later("n7", 2 + round, &[])];
        events.push(later(&format!("new-{round}"), 1, &[]));
        publish(&daybook, &events).await;
        let rejects = rejects_of(&daybook, "acme").await;
        assert_eq!(rejects.len() as u64, 4 * (round + 1));
        for reject in &rejects {
            assert_eq!((reject.code, reject.field.as_deref()), (Code::DayExpired, Some("id")), "{}", reject.reason);
            assert!(reject.reason.contains("is of business day 2024-03-01"), "{}", reject.reason);
        }
        let figures = figures(&daybook, "acme", "orders", LATER_DAY).await;
        assert_eq!(
            (&*figures["orders"], &*figures["quantity"]),
            (&*(round + 1).to_string(), &*(round + 1).to_string())
        );
        assert_eq!(account(&daybook, "acme").await.rejected, 4 * (round + 1));
        match round {
            0 => daybook.restart_services().await,
            _ => daybook.restart_without_checkpoints().await,
        }
        daybook.settle().await;
    }
}

/// What is too long ago by another definition is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_time_lets_an_id_count_again() {
    let daybook = Daybook::start().await;
    let definitions = orders::definitions(&["acme"]);
    let days = |days: u16| definitions.replace("    mode: entity", &format!("    mode: entity\n    remember: {days}"));
    daybook.define(&days(60)).await;
    orders::advance(&daybook, orders::NOON).await;
    publish(&daybook, &[order("o-1")]).await;
    orders::advance(&daybook, LATER).await;
    publish(&daybook, &[later("o-1", 2, &[])]).await;
    assert_eq!(rejects_of(&daybook, "acme").await.len(), 1);
    daybook.define(&days(36)).await;
    let version = later("o-1", 3, &[]);
    eventually("the id is forgotten", async || {
        publish(&daybook, std::slice::from_ref(&version)).await;
        let figures = figures(&daybook, "acme", "orders", LATER_DAY).await;
        (figures["orders"] == "1").then_some(())
    })
    .await;
}
