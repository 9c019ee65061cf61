//! A broker as tenants who do not trust each other need it: JetStream and the services in one account, and an account for
//! each tenant that imports its own subjects and nothing else.

use crate::{PATIENCE, eventually};
use async_nats::ConnectOptions;
use daybook::asker::Asker;
use daybook::client::Client;
use daybook::embedded::{Embedded, EmbeddedOptions};
use daybook_runtime::connection::BrokerOptions;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest message of a tenant, in bytes.
pub const TENANT_PAYLOAD: u32 = 64 << 10;

/// The subjects on which a client of `tenant` may publish: events and requests.
pub fn may_publish(tenant: &str) -> [String; 2] {
    [format!("daybook.in.{tenant}.*"), format!("daybook.query.{tenant}.*")]
}

/// The subjects that a client of `tenant` may listen to: its replies and broadcasts.
pub fn may_subscribe(tenant: &str) -> [String; 5] {
    let streams = broadcast(tenant);
    let [live, days, reports, rejects] = streams;
    ["_INBOX.>".to_owned(), live, days, reports, rejects]
}

fn broadcast(tenant: &str) -> [String; 4] {
    ["live.T.*", "days.T.*", "reports.T.*", "rejects.T"].map(|form| format!("daybook.{}", form.replace('T', tenant)))
}

/// The accounts of these tenants, and that of the services, in the broker's notation. Whoever gives no name is a service.
pub fn accounts(tenants: &[&str]) -> String {
    let list = |kind: &str, subjects: &[String]| -> String {
        subjects.iter().map(|subject| format!("      {{ {kind}: \"{subject}\" }}\n")).collect()
    };
    let mut text = format!(
        "no_auth_user: services\naccounts {{\n  DAYBOOK {{\n    jetstream: enabled\n    \
         users: [{{ user: services, password: services }}]\n    exports: [\n{}{}    ]\n  }}\n",
        list("service", &may_publish("*")),
        list("stream", &broadcast("*")),
    );
    for tenant in tenants {
        let import = |kind: &str, subjects: &[String]| -> String {
            let import = |subject| format!("      {{ {kind}: {{ account: DAYBOOK, subject: \"{subject}\" }} }}\n");
            subjects.iter().map(import).collect()
        };
        text.push_str(&format!(
            "  \"tenant-{tenant}\" {{\n    limits: {{ max_payload: {TENANT_PAYLOAD} }}\n    \
             users: [{{ user: \"{tenant}\", password: \"{tenant}\", permissions: {{\n      \
             publish: {:?}, subscribe: {:?} }} }}]\n    imports: [\n{}{}    ]\n  }}\n",
            may_publish(tenant),
            may_subscribe(tenant),
            import("service", &may_publish(tenant)),
            import("stream", &broadcast(tenant)),
        ));
    }
    text + "}\n"
}

/// The broker. Dropping it kills it.
pub struct AccountsBroker {
    folder: PathBuf,
    accounts: String,
    process: Child,
    address: String,
}

impl AccountsBroker {
    /// Starts it with its files in `folder`.
    pub async fn start(folder: &Path, tenants: &[&str]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let accounts = accounts(tenants);
        let (process, address) = run(folder, &accounts, "-1", 1 << 20).await;
        Self { folder: folder.to_owned(), accounts, process, address }
    }

    /// Stops it and starts it again on the same port, taking messages of at most so many bytes.
    pub async fn restart(&mut self, max_payload: u32) {
        let process = Pid::from_raw(self.process.id().unwrap().cast_signed()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("the broker ends").unwrap();
        let port = self.address.rsplit(':').next().unwrap().to_owned();
        (self.process, self.address) = run(&self.folder, &self.accounts, &port, max_payload).await;
    }

    /// The URL for services.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The URL for a client of the tenant, with user and password.
    pub fn tenant_url(&self, tenant: &str) -> String {
        format!("nats://{tenant}:{tenant}@{}", self.address)
    }

    /// The connection of a client of the tenant.
    pub async fn connect(&self, tenant: &str) -> async_nats::Client {
        let options = ConnectOptions::with_user_and_password(tenant.to_owned(), tenant.to_owned());
        options.connect(self.url()).await.unwrap()
    }

    /// The broker's log lines about permissions violations.
    pub fn violations(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("server.log")).unwrap();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// Starts a broker and returns the process and its address.
async fn run(folder: &Path, accounts: &str, port: &str, max_payload: u32) -> (Child, String) {
    let binary = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|_| {})).await.unwrap().unwrap();
    let text = format!(
        "host: 127.0.0.1\nport: {port}\nports_file_dir: {folder:?}\nmax_payload: {max_payload}\n\
         jetstream {{ store_dir: {folder:?} }}\n{accounts}"
    );
    let file = folder.join("server.conf");
    fs::write(&file, text).unwrap();
    let log = folder.join("server.log");
    let process = Command::new(binary).arg("-c").arg(file).arg("-l").arg(log).kill_on_drop(true).spawn().unwrap();
    let ports = folder.join(format!("nats-server_{}.ports", process.id().unwrap()));
    let address = eventually("the broker", || async {
        let told: serde_json::Value = serde_json::from_slice(&fs::read(&ports).ok()?).ok()?;
        Some(told["nats"][0].as_str()?.strip_prefix("nats://")?.to_owned())
    })
    .await;
    (process, address)
}

/// A whole Daybook on such a broker.
pub struct SecuredDaybook {
    // Dropped in this order: services, then the broker, then the folder.
    services: Embedded,
    /// The operator.
    pub client: Client,
    pub broker: AccountsBroker,
    _folder: TempDir,
}

impl SecuredDaybook {
    /// Starts it for these tenants, which are not defined yet, with settings changed by `change`.
    pub async fn start(tenants: &[&str], change: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = AccountsBroker::start(&folder.path().join("broker"), tenants).await;
        let options = BrokerOptions { partitions: 4, ..BrokerOptions::at(&broker.url()) };
        let mut options = EmbeddedOptions::new(options, folder.path().join("shard"));
        options.query.max_staleness_ms = 0;
        change(&mut options);
        let services = Embedded::start(options.clone()).await.unwrap();
        let client = Client::connect(&options.broker).await.unwrap();
        Self { services, client, broker, _folder: folder }
    }

    /// A client of the query service with the tenant's credentials.
    pub async fn asker(&self, tenant: &str) -> Asker {
        Asker::connect(&BrokerOptions::at(&self.broker.tenant_url(tenant))).await.unwrap()
    }

    /// Stops the services in good order.
    pub async fn stop(self) {
        self.services.stop().await;
    }
}
