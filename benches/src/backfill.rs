//! Backfill: a view that is defined when millions of events are logged, and what making it does to freshness.

use crate::bare::Days;
use crate::probe::{Probe, columns};
use crate::report::{Report, per_second, seconds};
use crate::system::{CLOCK, System, define, define_tenants, define_yaml, of_day, publish_orders, rows_and_sum};
use crate::work::orders::{Orders, nothing};
use daybook::client::Client;
use daybook_domain::ids::TenantId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Settings of `backfill`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events in the log
    #[arg(long, default_value_t = 10_000_000)]
    pub events: usize,
    /// Tenants
    #[arg(long, default_value_t = 1_000)]
    pub tenants: usize,
    /// Seconds for which freshness is measured before
    #[arg(long, default_value_t = 10)]
    pub idle_seconds: u64,
}

/// The tenant that goes on publishing.
const LIVE: &str = "live";
/// The view that comes later.
const LATER: &str = "customers";
const DEFINITION: &str = "
views:
  - name: customers
    kind: order
    group_by: [customer]
    metrics:
      - orders: count
      - amount: sum(amount)
      - most: max(amount)
      - stores: distinct(store)
";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Between two looks whether the view is in force.
const LOOK: Duration = Duration::from_millis(50);

/// # Errors
/// When something does not start or figures are wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut work = nothing("orders", options.tenants);
    let live = TenantId::new(LIVE)?;
    let system = System::start().await?;
    let client = &system.client;
    // First, so that its day opens with those of the work.
    define_tenants(client, std::slice::from_ref(&live), work.first_day, CLOCK).await?;
    define(client, &work).await?;
    let producer = system.connect().await?;
    let mut days = Days::default();
    let mut orders = Orders::falling(options.events, options.tenants, 1);
    let events = publish_orders(&producer, &mut work, &mut orders, &mut days).await?;
    client.settle().await?;

    let mut probe = Probe::new(system.connect().await?.connection, live);
    let idle = probe.run_for(Duration::from_secs(options.idle_seconds)).await?;
    let is_done = AtomicBool::new(false);
    let backfilling = async {
        let outcome = backfill(client).await;
        is_done.store(true, Ordering::Relaxed);
        outcome
    };
    let (took, meanwhile) = tokio::join!(backfilling, probe.run(|| !is_done.load(Ordering::Relaxed)));
    let took = took?;
    client.settle().await?;
    for (index, tenant) in work.tenants.iter().enumerate() {
        let found = rows_and_sum(client, tenant, LATER, &of_day(work.first_day)).await?;
        let expected = days.of(index, work.first_day);
        anyhow::ensure!(found == expected, "{tenant}: backfilled {found:?}, a plain recomputation {expected:?}");
    }
    let mut figures = vec![
        ("events", daybook::table::count(events as u64)),
        ("s", seconds(took)),
        ("events/s", per_second(events, took)),
    ];
    figures.extend(columns(idle, meanwhile?));
    report.row("a new view", &figures);
    system.stop().await;
    Ok(())
}

/// Defines the view; how long it took until it was in force everywhere.
async fn backfill(client: &Client) -> anyhow::Result<Duration> {
    let began = Instant::now();
    define_yaml(client, DEFINITION.to_owned()).await?;
    loop {
        let reply = client.views().await?;
        let in_force = reply.partitions.iter().all(|views| {
            let view = views.iter().flatten().find(|view| view.view.as_str() == LATER);
            view.is_some_and(|view| view.active > 0 && view.pending.is_none())
        });
        if in_force {
            return Ok(began.elapsed());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "the view is not in force after {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
}
