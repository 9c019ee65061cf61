//! How the broker is reached on which Daybook runs.

use anyhow::Context as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How long the broker may take to be reached.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Messages that a connection may hold for a subscriber that is slow.
const SUBSCRIPTION_CAPACITY: usize = 16_384;

/// How the broker is reached.
#[derive(Debug, clap::Args)]
pub struct Broker {
    /// The broker on which Daybook runs
    #[arg(long, env = "HUNT_NATS", default_value = "nats://127.0.0.1:4222", value_name = "URL")]
    pub nats: String,
    /// Credentials of a user of the account that has JetStream
    #[arg(long, env = "HUNT_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,
    /// Certificates of the authority that signed those of the broker; the system's when absent
    #[arg(long, env = "HUNT_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
}

/// Connects to a broker that lets everyone in.
///
/// # Errors
/// When it cannot be reached.
pub async fn connect(nats: &str) -> anyhow::Result<async_nats::Client> {
    Broker { nats: nats.to_owned(), nats_credentials: None, nats_ca: None }.connect().await
}

impl Broker {
    /// These settings as arguments of another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let files = [("--nats-credentials", &self.nats_credentials), ("--nats-ca", &self.nats_ca)];
        let files = files.into_iter().filter_map(|(flag, file)| Some([flag.into(), file.as_ref()?.clone().into()]));
        ["--nats".into(), OsString::from(&self.nats)].into_iter().chain(files.flatten()).collect()
    }

    /// Connects.
    ///
    /// # Errors
    /// When a file cannot be read or the broker cannot be reached.
    pub async fn connect(&self) -> anyhow::Result<async_nats::Client> {
        let mut options = async_nats::ConnectOptions::new().name("hunt").subscription_capacity(SUBSCRIPTION_CAPACITY);
        if let Some(file) = &self.nats_credentials {
            let read = options.credentials_file(file).await;
            options = read.with_context(|| format!("cannot read the credentials {}", file.display()))?;
        }
        if let Some(file) = &self.nats_ca {
            options = options.add_root_certificates(file.clone());
        }
        let connected = tokio::time::timeout(CONNECT_LIMIT, options.connect(&self.nats)).await;
        let connected =
            connected.with_context(|| format!("no connection to {} within {CONNECT_LIMIT:?}", self.nats))?;
        connected.with_context(|| format!("cannot connect to {}", self.nats))
    }
}
