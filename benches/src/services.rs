//! The four services in this process, each with a connection and an identity of its own.

use crate::system::INBOX_MAX_BYTES;
use daybook_runtime::connection::{BrokerOptions, NatsOptions};
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::process;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long they get to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// The services, running.
pub struct Services {
    stop: CancellationToken,
    running: JoinSet<()>,
    _data: TempDir,
}

/// Settings of a broker whose INBOX holds up no producer.
pub fn at(nats: NatsOptions) -> BrokerOptions {
    BrokerOptions { nats, inbox_max_bytes: INBOX_MAX_BYTES, ..BrokerOptions::default() }
}

impl Services {
    /// Starts them, each as `identity` says for its name, with checkpoints in `data`; returns when all are ready.
    ///
    /// # Errors
    /// When the broker cannot be used.
    pub async fn start(identity: impl Fn(&str) -> BrokerOptions, data: TempDir) -> anyhow::Result<Self> {
        let (stop, health) = (CancellationToken::new(), Health::default());
        let mut running = JoinSet::new();
        for name in ["day-manager", "ingest", "aggregator-shard", "query"] {
            // What it runs takes the place of this.
            health.set(name, false);
            let connection = connect_service(&identity(name), name).await?;
            let context = process::Context::new(connection, health.clone(), stop.clone());
            let shard = aggregator_shard::Options::new(data.path().to_owned());
            running.spawn(async move {
                let ended = match name {
                    "day-manager" => day_manager::run(Default::default(), context).await,
                    "ingest" => ingest::run(Default::default(), context).await,
                    "query" => query::run(Default::default(), context).await,
                    _ => aggregator_shard::run(shard, context).await,
                };
                if let Err(error) = ended {
                    eprintln!("{name} failed: {error}");
                }
            });
        }
        while !health.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { stop, running, _data: data })
    }

    /// Ends them in good order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(DEADLINE, all).await.is_err() {
            eprintln!("some services did not end in time");
        }
    }
}
