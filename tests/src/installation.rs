//! A Daybook as an operator runs it: nats-server with the configuration that `daybook nats config` writes, the services as
//! processes with credentials of their own, tenants with tokens from `daybook token`.

use crate::processes::{PARTITIONS, Process, Service, binary, command, wait_until_ready};
use crate::{PATIENCE, define};
use async_nats::ConnectOptions;
use daybook::client::Client;
use daybook_broker::{Broker, Options};
use daybook_runtime::connection::{BrokerOptions, NatsOptions};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A nats-server with a written configuration.
pub struct ConfiguredServer {
    broker: Broker,
    /// `nats://127.0.0.1:PORT`.
    pub url: String,
}

impl ConfiguredServer {
    /// Starts a server; its log goes into `folder`, which no other server uses.
    pub async fn start(config: PathBuf, folder: &Path) -> Self {
        let binary = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|_| {})).await.unwrap().unwrap();
        let options = Options { config_file: Some(config), start_timeout: PATIENCE, ..Options::new(binary, folder) };
        let broker = Broker::start(options).await.unwrap();
        let url = broker.client_url().to_owned();
        Self { broker, url }
    }

    /// Kills the server, as a crash would.
    pub async fn kill(&mut self) {
        self.broker.kill().await.unwrap();
    }

    /// Kills it, and starts it again.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.broker.restart().await.unwrap();
    }

    /// Has it read its configuration again.
    pub fn reload(&self) {
        let process = Pid::from_raw(self.broker.pid().unwrap().cast_signed()).unwrap();
        kill_process(process, Signal::HUP).unwrap();
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.broker.log_file()).unwrap_or_default()
    }

    /// Lines of its log about what a user may not do, but for users of tenants.
    pub fn violations_of_services(&self) -> Vec<String> {
        let is_meant = |line: &&str| line.contains("Violation") && !line.contains("/tenant-");
        self.log().lines().filter(is_meant).map(str::to_owned).collect()
    }
}

impl Drop for ConfiguredServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- log of nats-server\n{}\n---", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// The folder of `daybook nats config`, and the commands that work in it.
pub struct AccessDirectory {
    pub folder: TempDir,
}

impl AccessDirectory {
    /// Writes a configuration; `arguments` come after `--out`.
    pub fn make(arguments: &[&str]) -> Self {
        let directory = Self { folder: tempfile::tempdir().unwrap() };
        directory.configure(arguments);
        directory
    }

    /// Repeats `daybook nats config`. Returns what it prints.
    pub fn configure(&self, arguments: &[&str]) -> String {
        let path = self.path();
        let fixed = ["nats", "config", "--out", path.to_str().unwrap()];
        done(daybook(&[&fixed[..], arguments].concat()))
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("access")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes definitions, for commands that read them.
    pub fn definitions(&self, name: &str, yaml: &str) -> String {
        let file = self.folder.path().join(name);
        fs::write(&file, yaml).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs `daybook token …` in the folder.
    pub fn token(&self, arguments: &[&str]) -> Output {
        let path = self.path();
        daybook(&[&["token"], arguments, &["--access", path.to_str().unwrap()]].concat())
    }

    /// Makes a token. Returns its file.
    pub fn create_token(&self, arguments: &[&str]) -> PathBuf {
        PathBuf::from(done(self.token(&[&["create"], arguments].concat())).trim())
    }
}

impl AccessDirectory {
    /// The mode that it was made in.
    pub fn mode(&self) -> String {
        let settings: serde_json::Value = serde_json::from_slice(&fs::read(self.file("access.json")).unwrap()).unwrap();
        settings["mode"].as_str().unwrap().to_owned()
    }

    /// Whether an operator signs accounts.
    pub fn has_operator(&self) -> bool {
        self.mode() != "file"
    }

    /// A service's credentials, as settings of a client.
    pub fn identity(&self, name: &str, url: &str) -> NatsOptions {
        let file = |ending: &str| Some(self.file(&format!("services/{name}.{ending}")));
        match self.has_operator() {
            true => NatsOptions { nats_credentials: file("creds"), ..NatsOptions::at(url) },
            false => NatsOptions { nats_nkey: file("nk"), ..NatsOptions::at(url) },
        }
    }

    /// The same as flags.
    pub fn flags(&self, name: &str, url: &str) -> Vec<String> {
        let NatsOptions { nats_credentials, nats_nkey, .. } = self.identity(name, url);
        let flag = if self.has_operator() { "--nats-credentials" } else { "--nats-nkey" };
        let file = nats_credentials.or(nats_nkey).unwrap();
        ["--nats", url, flag, file.to_str().unwrap()].map(str::to_owned).into()
    }
}

/// Runs the command line to its end.
pub fn daybook(arguments: &[&str]) -> Output {
    command(&binary("daybook")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a command printed that must succeed.
pub fn done(output: Output) -> String {
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{told}{errors}", output.status);
    told.into_owned()
}

/// A whole Daybook on a secured server: the server, the services, and a client for the operator.
pub struct Installation {
    // Dropped in this order: services, server, folder.
    pub services: Vec<Process>,
    pub client: Client,
    pub server: ConfiguredServer,
    pub access: AccessDirectory,
}

impl Installation {
    /// Starts everything in a mode with an operator.
    pub async fn start(mode: &str) -> Self {
        Self::start_with(&["--mode", mode]).await
    }

    /// Starts everything with these arguments of `daybook nats config`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        // The same after a restart, for the services to find it again.
        let server = format!("nats-1=127.0.0.1:{}", free_port());
        let access = AccessDirectory::make(&[arguments, &["--server", &server]].concat());
        let folder = access.folder.path().join("run");
        let server = ConfiguredServer::start(access.file("servers/nats-1.conf"), &folder).await;
        let mut services: Vec<Process> = Service::ALL.map(|service| describe(&access, &server.url, service)).into();
        services.iter_mut().for_each(Process::start);
        for (process, service) in services.iter_mut().zip(Service::ALL) {
            wait_until_ready(process, service).await;
        }
        let nats = access.identity("operator", &server.url);
        let options = BrokerOptions { nats, partitions: PARTITIONS, ..BrokerOptions::default() };
        let client = Client::connect(&options).await.unwrap();
        Self { services, client, server, access }
    }

    /// Puts definitions into force, as the operator.
    pub async fn define(&self, yaml: &str) {
        define(&self.client, yaml).await;
    }

    /// Runs a command of the command line as the operator.
    pub fn operator(&self, arguments: &[&str]) -> Output {
        self.command("operator", arguments)
    }

    /// Runs a command of the command line with credentials of the folder `services`.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Output {
        let connection = self.access.flags(name, &self.server.url);
        let connection: Vec<&str> = connection.iter().map(String::as_str).collect();
        daybook(&[arguments, &connection].concat())
    }

    /// Revokes as the operator. Returns what the command prints.
    pub fn revoke(&self, arguments: &[&str]) -> String {
        let path = self.access.path();
        let arguments = [&["token", "revoke"], arguments, &["--access", path.to_str().unwrap()]].concat();
        done(self.operator(&arguments))
    }

    pub fn process(&mut self, service: Service) -> &mut Process {
        &mut self.services[service as usize]
    }

    /// Connects with a token.
    pub async fn connect(&self, token: &Path) -> Result<TenantClient, async_nats::ConnectError> {
        TenantClient::connect(ConnectOptions::with_credentials_file(token).await.unwrap(), &self.server.url).await
    }
}

fn describe(access: &AccessDirectory, url: &str, service: Service) -> Process {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let mut arguments = access.flags(service.name(), url);
    let mut set = |flag: &str, value: &str| arguments.extend([flag, value].map(str::to_owned));
    set("--partitions", &PARTITIONS.to_string());
    set("--http", "127.0.0.1:0");
    set("--log-format", "json");
    set("--inbox-max-messages-per-kind", "16384");
    match service {
        Service::Ingest => set("--trim-interval-ms", "200"),
        Service::AggregatorShard => {
            set("--data", &text(access.folder.path().join("shard")));
            set("--checkpoint-interval-ms", "200");
            set("--snapshot-interval-ms", "1000");
            set("--report-retention", "3650d");
            set("--log-retention", "1s");
        }
        Service::Query => set("--max-staleness-ms", "0"),
        Service::DayManager if access.has_operator() => {
            set("--account-seed", &text(access.file("operator.seed")));
            set("--account-credentials", &text(access.file("services/accounts.creds")));
            set("--account-resolver", &access.mode());
        }
        Service::DayManager => {}
    }
    Process::new(service.name(), binary(service.name()), arguments, access.folder.path())
}

/// A client of a tenant, which notes what the broker tells of it.
pub struct TenantClient {
    pub client: async_nats::Client,
    events: mpsc::UnboundedReceiver<String>,
}

impl TenantClient {
    /// Connects once; a client that is refused does not try again.
    pub async fn connect(options: ConnectOptions, url: &str) -> Result<Self, async_nats::ConnectError> {
        let (tell, events) = mpsc::unbounded_channel();
        let options = options.max_reconnects(3).event_callback(move |event| {
            let _ = tell.send(event.to_string());
            std::future::ready(())
        });
        Ok(Self { client: options.connect(url).await?, events })
    }

    /// Waits until the broker tells something with `text` in it.
    pub async fn told(&mut self, text: &str) -> String {
        let wait = async {
            while let Some(event) = self.events.recv().await {
                if event.to_lowercase().contains(&text.to_lowercase()) {
                    return event;
                }
            }
            panic!("the client ended before it was told {text:?}");
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("nobody told {text:?}"))
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
