//! The ingest service: the sequencer of each partition.
//!
//! It reads INBOX in order, validates every event against its kind's model, stamps its business day by table look-up
//! and appends batches to EVENTS.
//!
//! The cores decide, without I/O. [`owner`] is that of a partition: it says what to append, and `fence` what became of it.
//! Inside it, [`sequencer`] makes batches of messages, [`quota`] says how fast a tenant may publish, and [`restating`] when closed
//! days are restated. [`trimming`] says how far INBOX may be trimmed.
//!
//! The actors carry out: `partition` feeds an owner and appends for it, `links` has the traces that a batch is linked to, and
//! `trimmer` takes out of INBOX what every partition has recorded.
//!
//! **Exactly once** rests on one condition: a batch is appended only if the partition's last batch is the one this
//! owner knows. That is the fence between two owners and the offset in one, because each batch says how far into INBOX
//! it reaches. There is no lease and no de-duplication window to trust.

mod fence;
mod links;
pub mod owner;
mod partition;
pub mod quota;
pub mod restating;
pub mod sequencer;
mod trimmer;
pub mod trimming;

use daybook_domain::ids::Partition;
use daybook_runtime::membership::{Membership, Sharing, run_owned};
use daybook_runtime::process::Context;
use daybook_runtime::supervisor::Child;
use serde::Serialize;
use std::time::Duration;

/// Settings of ingest.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Ingest")]
pub struct Options {
    /// Milliseconds that a batch waits for company before it is appended [0..=1000]
    #[arg(long, env = "DAYBOOK_LINGER_MS", default_value_t = Self::default().linger_ms, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub linger_ms: u64,
    /// Milliseconds between two trims of INBOX [100..=600000]
    #[arg(long, env = "DAYBOOK_TRIM_INTERVAL_MS", default_value_t = Self::default().trim_interval_ms, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub trim_interval_ms: u64,
    /// Events a second of a tenant that has no such quota of its own; none when absent [1..=10000000]
    #[arg(long, env = "DAYBOOK_TENANT_EVENTS_PER_SECOND", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub tenant_events_per_second: Option<u64>,
    /// Bytes a second of a tenant that has no such quota of its own; none when absent [1000..=10000000000]
    #[arg(long, env = "DAYBOOK_TENANT_BYTES_PER_SECOND", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000_000))]
    pub tenant_bytes_per_second: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { linger_ms: 2, trim_interval_ms: 2000, tenant_events_per_second: None, tenant_bytes_per_second: None }
    }
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the actors cannot be started at all.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let settings = owner::Settings {
        linger: Duration::from_millis(options.linger_ms),
        default_rates: quota::Rates {
            events_per_second: options.tenant_events_per_second,
            bytes_per_second: options.tenant_bytes_per_second,
        },
    };
    let mut children: Vec<Child> = Partition::all(context.connection.partitions)
        .map(|partition| {
            let context = context.clone();
            Child::new(format!("ingest {partition}"), move |supervisor| {
                partition::spawn(context.clone(), partition, settings, supervisor)
            })
        })
        .collect();
    let trimming = context.clone();
    children.push(Child::new("trimmer", move |supervisor| {
        trimmer::spawn(trimming.clone(), Duration::from_millis(options.trim_interval_ms), supervisor)
    }));
    let Context { connection, health, board, leave, stop } = context;
    // Until it is known which partitions are this process's.
    health.set("ingest", false);
    // One that is to end appends what is under way, and says farewell: nothing is told before. To go on until the others
    // are there would only make their first append fail.
    let silent = Default::default();
    let membership = Membership::join(&connection, "ingest", env!("CARGO_PKG_VERSION"), board.clone(), silent).await?;
    // The log is fenced: the new owner begins at once, whether the old one has ended or not.
    let sharing = Sharing { partitions: connection.partitions, replicas: 1, hand_over: false };
    run_owned(children, sharing, membership, board, health, leave, stop).await?;
    Ok(())
}
