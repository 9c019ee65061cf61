//! The query service: the reading side, for clients that ask `daybook.query.<tenant>.<view>`.
//!
//! Instances hold no state and share a queue group. Live figures come from the shard that runs the tenant's
//! partition; days that it no longer keeps, or all sealed days while it is away, from the stream of reports.
//! [`service`] is the NATS micro service, [`answers`] finds the answer to one question.

pub mod answers;
pub mod service;

use daybook_runtime::process::Context;
use daybook_runtime::supervisor::{self, Child};
use serde::Serialize;
use std::time::Duration;

/// Settings of query.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Query")]
pub struct Options {
    /// Milliseconds that a shard may take to answer before the reports are looked at [10..=60000]
    #[arg(long, env = "DAYBOOK_SHARD_TIMEOUT_MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub shard_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { shard_timeout_ms: 2000 }
    }
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the actors cannot be started at all.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let timeout = Duration::from_millis(options.shard_timeout_ms);
    context.health.set("query", false);
    let serving = context.clone();
    let service = Child::new("query", move |supervisor| service::spawn(serving.clone(), timeout, supervisor));
    supervisor::run(vec![service], context.stop).await?;
    Ok(())
}
