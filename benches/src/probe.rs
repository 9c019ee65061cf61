//! Freshness: a tenant that publishes one order after the other, and asks until an answer rests on it.

use crate::report::{milliseconds, percentile};
use crate::system::{Outgoing, outgoing, publish};
use crate::work::Work;
use crate::work::orders::{DIMENSIONS, MEASURES, Orders, VIEW, nothing};
use compact_str::format_compact;
use daybook::asker::Asker;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_domain::ids::{InboxSeq, TenantId};
use daybook_runtime::connection::Connection;
use std::time::{Duration, Instant};

/// Between an answer and the next publish.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two questions.
const ASK_AGAIN: Duration = Duration::from_millis(1);
/// Orders of one probe at most: of many minutes.
const ORDERS: usize = 50_000;

/// A tenant, and what it has not published yet.
pub struct Probe {
    connection: Connection,
    asker: Asker,
    tenant: TenantId,
    query: Query,
    orders: std::vec::IntoIter<Outgoing>,
}

impl Probe {
    /// Of a tenant whose first day is open, and who may have other orders than these.
    pub fn new(connection: Connection, tenant: TenantId) -> Self {
        let mut orders = nothing("orders", 0);
        orders.tenants = vec![tenant.clone()];
        let made = Orders::falling(ORDERS, 1, 1).filter(|(_, event)| event.version == Some(1));
        orders.events = made.collect();
        for (_, event) in &mut orders.events {
            event.id = event.id.take().map(|id| format_compact!("probe-{id}"));
        }
        let query = Query { days: DaySelector::Date(orders.first_day), limit: Some(1), ..Query::default() };
        let asker = Asker::new(&connection);
        Self { connection, asker, tenant, query, orders: messages(&orders).into_iter() }
    }

    /// Publishes and asks for as long as `goes_on`; how long each took to be seen in an answer.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub async fn run(&mut self, mut goes_on: impl FnMut() -> bool) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        while goes_on()
            && let Some(order) = self.orders.next()
        {
            let began = Instant::now();
            let sequence = publish(&self.connection.jetstream, std::slice::from_ref(&order)).await?;
            let query = Query { at_least: Some(InboxSeq(sequence)), ..self.query.clone() };
            while self.asker.query(&self.tenant, VIEW, &query).await.is_err() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            times.push(began.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(times)
    }

    /// As [`Probe::run`], for so long.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub async fn run_for(&mut self, time: Duration) -> anyhow::Result<Vec<Duration>> {
        let until = Instant::now() + time;
        self.run(|| Instant::now() < until).await
    }
}

/// One message for each order.
fn messages(orders: &Work) -> Vec<Outgoing> {
    outgoing(orders, 1, DIMENSIONS, MEASURES)
}

/// Freshness while nothing else went on, and while something did, as columns of a table.
pub fn columns(mut idle: Vec<Duration>, mut meanwhile: Vec<Duration>) -> Vec<(&'static str, String)> {
    idle.sort_unstable();
    meanwhile.sort_unstable();
    let of = |times: &[Duration]| [0.5, 0.99, 1.0].map(|share| milliseconds(percentile(times, share)));
    let [idle_50, idle_99, idle_max] = of(&idle);
    let [p50, p99, max] = of(&meanwhile);
    vec![
        ("idle p50 ms", idle_50),
        ("idle p99 ms", idle_99),
        ("idle max ms", idle_max),
        ("meanwhile n", meanwhile.len().to_string()),
        ("meanwhile p50 ms", p50),
        ("meanwhile p99 ms", p99),
        ("meanwhile max ms", max),
    ]
}
