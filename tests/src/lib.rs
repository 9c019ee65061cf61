//! What the end-to-end tests stand on: a private broker, the services in this process or as processes of their own,
//! and a client. Everything is in a temporary folder and ends with the value that started it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

pub mod accounts;
pub mod asking;
pub mod backfilling;
pub mod collector;
pub mod flights;
pub mod gate;
pub mod installation;
pub mod lagging;
pub mod orders;
pub mod packages;
pub mod processes;
pub mod python;
pub mod raw;
pub mod reading;
pub mod route;
pub mod secured;
pub mod sources;
pub mod web;
pub mod webhooks;
pub mod wire;

use daybook::client::Client;
use daybook::commands::apply::apply;
use daybook::definitions;
use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_broker::{Broker, Options};
use daybook_domain::ids::InboxSeq;
use daybook_runtime::connection::BrokerOptions;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker of the test's own.
pub struct PrivateBroker {
    pub broker: Broker,
    pub folder: TempDir,
}

impl PrivateBroker {
    pub async fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), |_| {}).await
    }

    /// Starts with settings changed by `change`, on a folder that may hold what they name.
    pub async fn start_with(folder: TempDir, change: impl FnOnce(&mut Options)) -> Self {
        let binary = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|_| {})).await.unwrap().unwrap();
        let mut options = Options::new(binary, folder.path().join("broker"));
        change(&mut options);
        let broker = Broker::start(options).await.unwrap();
        Self { broker, folder }
    }

    /// Settings for a small Daybook on this broker.
    pub fn options(&self) -> BrokerOptions {
        BrokerOptions { partitions: 4, ..BrokerOptions::at(self.broker.client_url()) }
    }
}

/// A whole Daybook in this process.
pub struct Daybook {
    // Dropped in this order: services, then the broker, then the folder.
    services: Option<Embedded>,
    options: EmbeddedOptions,
    pub client: Client,
    pub broker: PrivateBroker,
}

impl Daybook {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with settings changed by `change`.
    pub async fn start_with(change: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        Self::start_on(PrivateBroker::start().await, change).await
    }

    /// Starts on a broker that a test has prepared.
    pub async fn start_on(broker: PrivateBroker, change: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        let mut options = EmbeddedOptions::new(broker.options(), broker.folder.path().join("shard"));
        options.shard.checkpoint_interval_ms = 300;
        // Entities of closed days are on disk alone: what brings them back is tested with everything else.
        options.shard.closed_days_mib = Some(0);
        options.ingest.trim_interval_ms = 300;
        // Tests read what they have just caused, also where they do not say so with `at_least`.
        options.query.max_staleness_ms = 0;
        change(&mut options);
        let services = Embedded::start(options.clone()).await.unwrap();
        let client = Client::connect(&options.broker).await.unwrap();
        Self { services: Some(services), options, client, broker }
    }

    /// Stops the services in good order and starts them again on what they kept.
    pub async fn restart_services(&mut self) {
        self.services.take().unwrap().stop().await;
        self.services = Some(Embedded::start(self.options.clone()).await.unwrap());
    }

    /// Stops the services in good order; the broker goes on.
    pub async fn stop_services(&mut self) {
        self.services.take().unwrap().stop().await;
    }

    /// Starts the services again on what they kept.
    pub async fn start_services(&mut self) {
        assert!(self.services.is_none(), "the services run already");
        self.services = Some(Embedded::start(self.options.clone()).await.unwrap());
    }

    /// Where the gateway serves, if it runs.
    pub fn http(&self) -> Option<&str> {
        self.services.as_ref()?.http.as_deref()
    }

    /// What the services were started with.
    pub fn options(&self) -> &EmbeddedOptions {
        &self.options
    }

    /// Changes what the services are started with next.
    pub fn change_options(&mut self, change: impl FnOnce(&mut EmbeddedOptions)) {
        change(&mut self.options);
    }

    /// Loses every checkpoint: the shards read the log from the beginning.
    pub async fn restart_without_checkpoints(&mut self) {
        self.services.take().unwrap().stop().await;
        std::fs::remove_dir_all(&self.options.shard.data).unwrap();
        self.services = Some(Embedded::start(self.options.clone()).await.unwrap());
    }

    /// Puts YAML definitions into force; they must be sound.
    pub async fn define(&self, yaml: &str) {
        define(&self.client, yaml).await;
    }

    /// Publishes one message and returns its sequence.
    pub async fn publish(&self, tenant: &str, kind: &str, payload: impl Into<bytes::Bytes>) -> InboxSeq {
        let subject = self.client.connection.subjects.input(tenant, kind);
        let ack = self.client.connection.jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
        InboxSeq(ack.sequence)
    }

    /// Waits until the figures rest on everything published, and everything that caused is written.
    pub async fn settle(&self) {
        self.client.settle().await.unwrap();
    }
}

/// Puts YAML definitions into force; they must be sound.
pub async fn define(client: &Client, yaml: &str) {
    let known = client.catalogue().await.unwrap().kinds;
    let files = [(PathBuf::from("test.yaml"), yaml.to_owned())];
    let loaded = definitions::load(&files, &known)
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.iter().map(|m| m.to_string()).collect::<Vec<_>>().join("\n")));
    apply(client, &loaded, false).await.unwrap().unwrap();
}

/// Waits until `check` gives a value.
pub async fn eventually<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = std::time::Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
