//! The services in this process but for the shard, which is this program once more: so its memory, its processor time and
//! what it writes can be told from those of the others.

use crate::process::Process;
use anyhow::Context as _;
use daybook_runtime::connection::BrokerOptions;
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::process;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Settings of the shard's process, which ends when its standard input does: those of the service, so that the environment
/// can have another store or interval measured.
#[derive(Clone, Debug, clap::Args)]
pub struct ShardOptions {
    #[arg(long)]
    nats: String,
    #[command(flatten)]
    shard: aggregator_shard::Options,
}

/// How long the services here get to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// The services, running.
pub struct Apart {
    stop: CancellationToken,
    services: JoinSet<()>,
    shard: Shard,
}

/// The shard's process; ended with this.
struct Shard(Child);

impl Drop for Shard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Apart {
    /// Starts them, and waits for those in this process; the shard may be a while until it answers.
    ///
    /// # Errors
    /// When the broker cannot be used or the process does not start.
    pub async fn start(options: &BrokerOptions, data: &Path) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let health = Health::default();
        let mut services = JoinSet::new();
        for name in ["day-manager", "ingest", "query"] {
            // What it runs takes the place of this.
            health.set(name, false);
            let connection = connect_service(options, name).await?;
            let context = process::Context::new(connection, health.clone(), stop.clone());
            services.spawn(async move {
                let ended = match name {
                    "day-manager" => day_manager::run(Default::default(), context).await,
                    "ingest" => ingest::run(Default::default(), context).await,
                    _ => query::run(Default::default(), context).await,
                };
                if let Err(error) = ended {
                    eprintln!("{name} failed: {error}");
                }
            });
        }
        while !health.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let shard = Command::new(std::env::current_exe()?)
            .args(["shard", "--nats", options.nats.nats.expose(), "--data"])
            .arg(data)
            .stdin(Stdio::piped())
            .spawn()
            .context("the shard's process")?;
        Ok(Self { stop, services, shard: Shard(shard) })
    }

    pub fn shard(&self) -> Process {
        Process(self.shard.0.id())
    }

    /// Ends everything; the shard at once.
    pub async fn stop(mut self) {
        drop(self.shard);
        self.stop.cancel();
        let all = async { while self.services.join_next().await.is_some() {} };
        if tokio::time::timeout(DEADLINE, all).await.is_err() {
            eprintln!("some services did not end in time");
        }
    }
}

/// Runs the shard as this process.
///
/// # Errors
/// When the broker cannot be used, or the shard fails.
pub async fn shard(options: &ShardOptions) -> anyhow::Result<()> {
    std::thread::spawn(|| {
        // Whoever started this is gone when there is nothing more to read.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let connection = connect_service(&BrokerOptions::at(&options.nats), "aggregator-shard").await?;
    let context = process::Context::new(connection, Health::default(), CancellationToken::new());
    let ended = aggregator_shard::run(options.shard.clone(), context).await;
    ended.map_err(|error| anyhow::anyhow!("{error}"))
}
