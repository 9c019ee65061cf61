//! The aggregator-shard service: a replicated state machine per partition over the log of record.
//!
//! [`state`] is the pure machine. [`partition`] is the actor around it: a [`feed`] brings batches one after the other,
//! effects go to the outbox, [`checkpoints`] are committed behind them, and questions are answered from memory.

pub mod checkpoints;
pub mod feed;
pub mod outputs;
pub mod partition;
pub mod state;

use daybook_domain::ids::Partition;
use daybook_runtime::process::Context;
use daybook_runtime::supervisor::{self, Child};
use serde::Serialize;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of aggregator-shard.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Aggregator shard")]
pub struct Options {
    /// Folder for the checkpoints; it can be lost at any time
    #[arg(long, env = "DAYBOOK_SHARD_DATA", default_value = "daybook-data/shard")]
    pub data: PathBuf,
    /// Milliseconds between two checkpoints of a partition [100..=3600000]
    #[arg(long, env = "DAYBOOK_CHECKPOINT_INTERVAL_MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub checkpoint_interval_ms: u64,
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the actors cannot be started at all.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let _lock = lock(&options.data)?;
    let interval = Duration::from_millis(options.checkpoint_interval_ms);
    let children = Partition::all(context.connection.partitions)
        .map(|partition| {
            let context = context.clone();
            // Not ready before each of them says so.
            context.health.set(&format!("shard {partition}"), false);
            let folder = options.data.join(format!("partition-{partition}"));
            Child::new(format!("shard {partition}"), move |supervisor| {
                partition::spawn(context.clone(), partition, folder.clone(), interval, supervisor)
            })
        })
        .collect();
    supervisor::run(children, context.stop).await?;
    Ok(())
}

/// Takes the folder for this process: two shards on one would wipe each other's checkpoints as damaged.
fn lock(folder: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("cannot use the folder {} (--data): {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the folder {} (--data) is used by another aggregator-shard; give each one a folder of its own",
            folder.display()
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
