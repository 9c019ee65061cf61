//! The aggregator-shard service: a replicated state machine per partition over the log of record.
//!
//! [`daybook_machine`] is the pure machine. [`replica`] is the core around it, without I/O: it decides what each batch waits for, and
//! when something is saved ([`saving`]), fetched or made beside the log. [`partition`] is the actor that carries that out, by the
//! [`messages`] that it is sent: a [`feed`] brings batches one after the other ([`succession`]), effects go to the outbox, [`checkpoints`]
//! are committed behind them ([`storing`]) and now and then put on the broker ([`snapshots`], in [`pieces`]; [`reclaim`], [`sweep`]),
//! below which the log may be trimmed ([`retention`]). [`opening`] decides how it begins. [`questions`] are answered from memory
//! ([`answering`]), of the tenants in turn, as fresh as `freshness` says, and [`replies`] go out together. [`pages`] brings closed
//! days back that late events need, and [`live`] pushes changed rows to listeners, unless
//! the shard is far behind ([`shedding`]). [`divergence`] compares this replica's states with those of others.
//! [`backfill`] runs a second machine over the log for views that come later, and [`upkeep`] arranges remembered ids anew.

pub mod answering;
pub mod backfill;
pub mod checkpoints;
pub mod divergence;
pub mod feed;
mod freshness;
pub mod live;
pub mod messages;
pub mod opening;
pub mod outputs;
pub mod pages;
pub mod partition;
pub mod pieces;
pub mod questions;
pub mod reclaim;
pub mod replica;
pub mod replies;
pub mod retention;
pub mod saving;
pub mod shedding;
pub mod snapshots;
pub mod storing;
pub mod succession;
pub mod sweep;
mod tasks;
pub mod upkeep;

use daybook_domain::ids::Partition;
use daybook_runtime::backoff::retry;
use daybook_runtime::membership::{Membership, Sharing, run_owned};
use daybook_runtime::process::Context;
use daybook_runtime::retention::Retention;
use daybook_runtime::store::Backend;
use daybook_runtime::streams::keep_for;
use daybook_runtime::supervisor::Child;
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
    /// What keeps the checkpoints; after a change they are made again from the broker
    #[arg(long, env = "DAYBOOK_STORE", value_enum, default_value_t)]
    pub store: Backend,
    /// Milliseconds between two checkpoints of a partition [100..=3600000]
    #[arg(long, env = "DAYBOOK_CHECKPOINT_INTERVAL_MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub checkpoint_interval_ms: u64,
    /// Milliseconds between two updates of a live feed [10..=60000]
    #[arg(long, env = "DAYBOOK_LIVE_INTERVAL_MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub live_interval_ms: u64,
    /// Percent of one processor that the backfill of a partition may take [1..=100]
    #[arg(long, env = "DAYBOOK_BACKFILL_DUTY_PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub backfill_duty_percent: u8,
    /// Milliseconds between two checkpoints of a partition that are put on the broker for other machines [1000..=86400000]
    #[arg(long, env = "DAYBOOK_SNAPSHOT_INTERVAL_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=86_400_000))]
    pub snapshot_interval_ms: u64,
    /// MiB of memory that entities of closed days may take; a quarter of the process's memory unless set [0..=1048576]
    #[arg(long, env = "DAYBOOK_CLOSED_DAYS_MIB", value_parser = clap::value_parser!(u64).range(..=1 << 20))]
    pub closed_days_mib: Option<u64>,
    /// How many processes keep each partition warm; all of them when there are fewer [1..=8]
    #[arg(long, env = "DAYBOOK_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub replicas: u8,
    /// How long the log is kept, such as 90d; 0 for ever [0, 1s..=36500d]
    #[arg(long, env = "DAYBOOK_LOG_RETENTION", default_value_t = Retention::FOR_EVER)]
    pub log_retention: Retention,
    /// How long sealed reports are kept, such as 3650d; 0 for ever [0, 1s..=36500d]
    #[arg(long, env = "DAYBOOK_REPORT_RETENTION", default_value_t = Retention::FOR_EVER)]
    pub report_retention: Retention,
    /// How long the figures behind sealed reports are kept, such as 730d; 0 for ever [0, 1s..=36500d]
    #[arg(long, env = "DAYBOOK_FIGURES_RETENTION", default_value_t = Retention::FOR_EVER)]
    pub figures_retention: Retention,
}

impl Options {
    /// The defaults, with checkpoints in `data`.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            store: Backend::default(),
            checkpoint_interval_ms: 5000,
            live_interval_ms: 50,
            backfill_duty_percent: 50,
            snapshot_interval_ms: 60_000,
            closed_days_mib: None,
            replicas: 1,
            log_retention: Retention::FOR_EVER,
            report_retention: Retention::FOR_EVER,
            figures_retention: Retention::FOR_EVER,
        }
    }
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the actors cannot be started at all.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Until it is known which partitions are this process's.
    context.health.set("aggregator-shard", false);
    let _lock = lock(&options.data)?;
    let subjects = &context.connection.subjects;
    for (stream, retention) in
        [(subjects.reports_stream(), options.report_retention), (subjects.figures_stream(), options.figures_retention)]
    {
        retry("set a retention", || keep_for(&context.connection, &stream, retention)).await;
    }
    let (board, leave) = (context.board.clone(), context.leave.clone());
    board.set_replicas(options.replicas);
    let membership =
        Membership::join(&context.connection, "aggregator-shard", env!("CARGO_PKG_VERSION"), board, leave).await?;
    let intervals = partition::Intervals {
        checkpoint: Duration::from_millis(options.checkpoint_interval_ms),
        live: Duration::from_millis(options.live_interval_ms),
        snapshot: Duration::from_millis(options.snapshot_interval_ms),
        log_retention: options.log_retention,
        backfill_duty_percent: options.backfill_duty_percent,
        closed_days: options.closed_days_mib.map(|mebibytes| mebibytes << 20),
    };
    let children = Partition::all(context.connection.partitions)
        .map(|partition| {
            let context = context.clone();
            let instance = membership.instance.clone();
            let folder = options.data.join(format!("partition-{partition}"));
            let place = checkpoints::Place { backend: options.store, folder };
            Child::new(format!("shard {partition}"), move |supervisor| {
                partition::spawn(context.clone(), partition, place.clone(), intervals, instance.clone(), supervisor)
            })
        })
        .collect();
    let Context { connection, health, board, leave, stop } = context;
    let sharing = Sharing {
        partitions: connection.partitions,
        replicas: usize::from(options.replicas),
        // A partition is served without a gap: by the old owner until the new one is level with the log.
        hand_over: true,
    };
    let comparing = tokio::spawn(divergence::watch(membership.members(), membership.instance.clone()));
    let ended = run_owned(children, sharing, membership, board, health, leave, stop).await;
    comparing.abort();
    ended?;
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
