//! A small shop: orders as entities, clicks as facts, tenants on a clock that a test drives.

use crate::Daybook;
use daybook::client::Client;
use daybook::commands::rejects;
use daybook_contracts::admin::{ClockAdvance, ClockReply};
use daybook_contracts::ask::{DaySelector, Query};
use daybook_contracts::reject::Reject;
use daybook_contracts::report::Account;
use daybook_contracts::subjects::INVALID_TENANT;
use daybook_domain::ids::{Name, TenantId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The clock that the tenants follow.
pub const CLOCK: &str = "shop";
/// The first business day of the tenants; days begin at midnight UTC.
pub const FIRST_DAY: &str = "2024-03-01";
/// A time on that day.
pub const NOON: &str = "2024-03-01T12:00:00Z";

const MODELS: &str = r#"
kinds:
  - name: order
    mode: entity
    dimensions: [channel]
    measures: [quantity, { name: amount, type: decimal, scale: 2 }]
  - name: click
    mode: fact
    dimensions: [page]
    measures: [ms]
views:
  - name: orders
    kind: order
    metrics:
      - { name: orders, value: count }
      - { name: drafts, value: count, status: [draft] }
      - { name: quantity, value: sum(quantity) }
      - { name: amount, value: sum(amount) }
  - name: clicks
    kind: click
    metrics:
      - { name: clicks, value: count }
"#;

/// Defines the models and these tenants, and opens their first day.
pub async fn define(daybook: &Daybook, tenants: &[&str]) {
    define_tenants(daybook, tenants).await;
    advance(daybook, NOON).await;
}

/// Defines the models, and these tenants besides those there are.
pub async fn define_tenants(daybook: &Daybook, tenants: &[&str]) {
    daybook.define(&definitions(tenants)).await;
}

/// The models and these tenants, in YAML.
pub fn definitions(tenants: &[&str]) -> String {
    let mut yaml = format!("{MODELS}\ntenants:\n");
    for tenant in tenants {
        yaml.push_str(&format!(
            "  - {{ id: {tenant}, zone: Etc/UTC, cutoff: \"00:00\", first_day: {FIRST_DAY}, clock: {CLOCK}, restate_after: 0s, max_ahead: 8784h }}\n"
        ));
    }
    yaml
}

/// Drives the clock; what is due by then is closed and opened.
pub async fn advance(daybook: &Daybook, to: &str) -> ClockReply {
    advance_by(&daybook.client, to).await
}

/// The same by any client of an operator.
pub async fn advance_by(client: &Client, to: &str) -> ClockReply {
    let advance = ClockAdvance { clock: Name::new(CLOCK).unwrap(), advance_to: to.parse().unwrap() };
    client.advance(&advance).await.unwrap()
}

/// A sound order of the first day.
pub fn order(id: &str) -> Value {
    json!({"id": id, "at": NOON, "dims": {"channel": "web"}, "measures": {"quantity": 1, "amount": "2.50"}})
}

/// The figures of a view that has one row, by name, as text.
pub async fn figures(daybook: &Daybook, tenant: &str, view: &str, date: &str) -> BTreeMap<String, String> {
    let query = Query::days(DaySelector::Date(date.parse().unwrap()));
    let answer = daybook.client.query(&TenantId::new(tenant).unwrap(), view, &query).await.unwrap();
    assert_eq!(answer.rows.len(), 1, "{view} has one row");
    answer.rows[0].0.iter().map(|(name, figure)| (name.to_string(), figure.to_string())).collect()
}

/// How many final orders are counted on the first day.
pub async fn orders_counted(daybook: &Daybook, tenant: &str) -> u64 {
    figures(daybook, tenant, "orders", FIRST_DAY).await["orders"].parse().unwrap()
}

/// The sum of the accounts of a tenant's days, each of which must balance.
pub async fn account(daybook: &Daybook, tenant: &str) -> Account {
    let days = daybook.client.days(&TenantId::new(tenant).unwrap()).await.unwrap();
    let mut sum = Account::default();
    for day in days.days {
        assert!(day.account.balances(), "{tenant} {}: {:?}", day.date, day.account);
        sum.add(&day.account);
    }
    sum
}

/// Every reject under a tenant's token, in order of position. None of them may be there twice.
pub async fn rejects_of(daybook: &Daybook, token: &str) -> Vec<Reject> {
    let (mut rejects, has_older) = match token {
        INVALID_TENANT => rejects::without_tenant(&daybook.client, usize::MAX).await.unwrap(),
        tenant => daybook.client.asker.rejects(&TenantId::new(tenant).unwrap(), usize::MAX).await.unwrap(),
    };
    assert!(!has_older);
    rejects.sort_by_key(|reject| (reject.inbox, reject.index));
    for pair in rejects.windows(2) {
        assert!((pair[0].inbox, pair[0].index) != (pair[1].inbox, pair[1].index), "twice: {:?}", pair[0]);
    }
    rejects
}
