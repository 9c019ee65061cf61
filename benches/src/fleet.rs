//! The services as processes of their own, from the binaries beside this program, on a private broker.

use crate::system::{INBOX_MAX_BYTES, broker};
use daybook::client::Client;
use daybook_broker::Broker;
use daybook_runtime::connection::BrokerOptions;
use daybook_tests::processes::{Process, Service, binary, wait_until_ready_with};
use std::path::PathBuf;
use tempfile::TempDir;

/// The four services, with their defaults.
pub struct Fleet {
    // Dropped in this order.
    services: Vec<Process>,
    pub client: Client,
    _broker: Broker,
    folder: TempDir,
}

impl Fleet {
    /// Starts everything and waits until it is ready. Panics when a binary has not been built or does not start.
    ///
    /// # Errors
    /// When nats-server does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let (broker, folder) = broker().await?;
        let options = BrokerOptions::at(broker.client_url());
        let partitions = usize::from(options.partitions);
        let mut services: Vec<Process> = Vec::new();
        for service in Service::ALL {
            let mut process = Process::new(service.name(), binary(service.name()), Vec::new(), folder.path());
            process.set("--nats", broker.client_url());
            process.set("--inbox-max-bytes", &INBOX_MAX_BYTES.to_string());
            process.set("--http", "127.0.0.1:0");
            process.set("--log-format", "json");
            if service == Service::AggregatorShard {
                process.set("--data", &data(&folder).to_string_lossy());
            }
            process.start();
            services.push(process);
        }
        for (process, service) in services.iter_mut().zip(Service::ALL) {
            // The broker, and every partition or the one actor.
            let parts = match service {
                Service::Ingest | Service::AggregatorShard => 1 + partitions,
                Service::DayManager | Service::Query => 2,
            };
            wait_until_ready_with(process, parts).await;
        }
        let client = Client::connect(&options).await?;
        Ok(Self { services, client, _broker: broker, folder })
    }

    /// The process of the shard.
    pub fn shard(&mut self) -> &mut Process {
        &mut self.services[Service::AggregatorShard as usize]
    }

    /// Where the shard keeps its checkpoints.
    pub fn shard_data(&self) -> PathBuf {
        data(&self.folder)
    }
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("shard")
}
