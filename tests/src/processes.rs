//! Services as processes of their own, which can be killed, stopped, paused and started again.
//!
//! The binaries are those that `cargo build --workspace` and `cargo test --workspace` leave beside the tests. Each
//! process writes its log into the test's folder; it is shown when the test fails.

use crate::{PATIENCE, PrivateBroker, eventually};
use daybook::client::Client;
use daybook_runtime::connection::BrokerOptions;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Lines of a log that are shown when a test fails.
const SHOWN_LINES: usize = 40;
/// How long one HTTP request may take.
const HTTP_DEADLINE: Duration = Duration::from_secs(5);
/// Partitions of a [`Processes`].
pub const PARTITIONS: u16 = 4;

/// One of the four services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    DayManager,
    Ingest,
    AggregatorShard,
    Query,
}

impl Service {
    pub const ALL: [Self; 4] = [Self::DayManager, Self::Ingest, Self::AggregatorShard, Self::Query];

    /// The name of its binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::DayManager => "day-manager",
            Self::Ingest => "ingest",
            Self::AggregatorShard => "aggregator-shard",
            Self::Query => "query",
        }
    }
}

/// A binary of this workspace, built beside the running test or program.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    // …/debug/deps/<test>, or …/debug/<program>
    let program = std::env::current_exe().unwrap();
    let found = program.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no {name}: run `cargo build --workspace` or `cargo test --workspace` first")
    })
}

/// A command that sees no settings of Daybook in its environment.
pub fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DAYBOOK_") || text.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
    command
}

/// A process that can be started again with the same arguments. Dropping it kills it.
pub struct Process {
    label: String,
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// Where the log of the present run begins.
    log_start: u64,
    http: Option<SocketAddr>,
}

impl Process {
    /// Describes a process; [`start`](Self::start) runs it. Its log goes into `folder`.
    pub fn new(label: &str, binary: PathBuf, arguments: Vec<String>, folder: &Path) -> Self {
        let log = folder.join(format!("{label}.log"));
        Self { label: label.to_owned(), binary, arguments, log, child: None, log_start: 0, http: None }
    }

    /// Gives it another value of a setting, such as `--max-staleness-ms`, when it is started next.
    pub fn set(&mut self, flag: &str, value: &str) {
        match self.arguments.iter().position(|argument| argument == flag) {
            Some(index) => value.clone_into(&mut self.arguments[index + 1]),
            None => self.arguments.extend([flag, value].map(str::to_owned)),
        }
    }

    /// Runs it, without waiting for anything.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.label);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        self.log_start = log.metadata().unwrap().len();
        self.http = None;
        let child = command(&self.binary)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", self.binary.display())));
    }

    /// Whether it was started and has not been seen to end.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.label));
        // Until it has been waited for, the id cannot have been given to another process.
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Holds it still; [`resume`](Self::resume) lets it go on.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end, and returns how it did and how long that took.
    pub async fn terminate(&mut self) -> (ExitStatus, Duration) {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        (self.ended().await, asked.elapsed())
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().unwrap_or_else(|| panic!("{} does not run", self.label));
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "{} did not end within {PATIENCE:?}", self.label);
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.child = None;
        status
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap().min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// Where it serves /healthz and /metrics: it says so in its log, which must be in JSON.
    pub async fn http(&mut self) -> SocketAddr {
        if let Some(address) = self.http {
            return address;
        }
        let process = &*self;
        let address = eventually(&format!("the HTTP server of {}", self.label), || async move {
            process.log().lines().find_map(|line| {
                let entry: Value = serde_json::from_str(line).ok()?;
                (entry["message"] == "health and metrics are served").then_some(())?;
                entry["address"].as_str()?.parse().ok()
            })
        })
        .await;
        self.http = Some(address);
        address
    }

    /// The status and the body of an HTTP request; `None` when nobody answers.
    pub async fn get(&mut self, path: &str) -> Option<(u16, String)> {
        get(self.http().await, path).await
    }

    /// The value of one of its metrics, with its labels: `daybook_queries_total{code="200"}`. 0 before it is first set.
    pub async fn metric(&mut self, series: &str) -> f64 {
        let (status, metrics) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200);
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until one of its metrics has a value.
    pub async fn shows(&mut self, series: &str, value: f64) {
        let began = Instant::now();
        while self.metric(series).await != value {
            assert!(began.elapsed() < PATIENCE, "{series} of {} was not {value} within {PATIENCE:?}", self.label);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether it says that it is ready, with at least `parts` parts.
    pub async fn is_ready(&mut self, parts: usize) -> bool {
        match self.get("/healthz").await {
            Some((200, body)) => {
                let body: Value = serde_json::from_str(&body).unwrap();
                body["parts"].as_object().unwrap().len() >= parts
            }
            _ => false,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- log of {} ({} lines)\n{}\n---", self.label, lines.len(), shown.join("\n"));
        }
    }
}

/// A plain HTTP GET: status and body; `None` when nobody answers.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    tokio::time::timeout(HTTP_DEADLINE, exchange).await.ok().flatten()
}

/// The four services, each a process, on a broker of the test's own.
pub struct Processes {
    // Dropped in this order: services, then the broker and the folder.
    services: Vec<Process>,
    pub client: Client,
    pub broker: PrivateBroker,
}

impl Processes {
    /// Starts everything and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    /// Starts everything with settings that `change` has [`set`](Process::set).
    pub async fn start_with(change: impl Fn(Service, &mut Process)) -> Self {
        let broker = PrivateBroker::start().await;
        let mut services: Vec<Process> = Service::ALL.into_iter().map(|s| describe(&broker, s, s.name())).collect();
        services.iter_mut().zip(Service::ALL).for_each(|(process, service)| change(service, process));
        services.iter_mut().for_each(Process::start);
        for (process, service) in services.iter_mut().zip(Service::ALL) {
            wait_until_ready(process, service).await;
        }
        let client = Client::connect(&options(&broker)).await.unwrap();
        Self { services, client, broker }
    }

    /// The process of a service.
    pub fn process(&mut self, service: Service) -> &mut Process {
        &mut self.services[service as usize]
    }

    /// Another process of a service, with a name and a folder of its own; it does not run yet.
    pub fn another(&self, service: Service, label: &str) -> Process {
        describe(&self.broker, service, label)
    }

    /// Where the shard of the label (`aggregator-shard` for the first) keeps its checkpoints.
    pub fn shard_data(&self, label: &str) -> PathBuf {
        self.broker.folder.path().join(format!("{label}-data"))
    }

    /// Starts what does not run, and waits until all of it is ready.
    pub async fn start_missing(&mut self) {
        for process in &mut self.services {
            if !process.is_started() {
                process.start();
            }
        }
        for (process, service) in self.services.iter_mut().zip(Service::ALL) {
            wait_until_ready(process, service).await;
        }
    }

    /// Waits until the figures rest on everything published, and everything that caused is written.
    pub async fn settle(&self) {
        self.client.settle().await.unwrap();
    }
}

/// Waits until a process of `service` that is alone says that all its parts are ready.
pub async fn wait_until_ready(process: &mut Process, service: Service) {
    wait_until_ready_among(process, service, 1).await;
}

/// Waits until a process of `service`, one of so many, says that all its parts are ready.
pub async fn wait_until_ready_among(process: &mut Process, service: Service, members: usize) {
    // The broker, and the partitions that are its share or the one actor.
    let parts = match service {
        Service::Ingest => 1 + usize::from(PARTITIONS) / members,
        // Every partition is run by two.
        Service::AggregatorShard => 1 + usize::from(PARTITIONS),
        Service::DayManager | Service::Query => 2,
    };
    wait_until_ready_with(process, parts).await;
}

/// Waits until a process says that all its parts are ready, of which there must be at least so many.
pub async fn wait_until_ready_with(process: &mut Process, parts: usize) {
    let began = Instant::now();
    while !process.is_ready(parts).await {
        let ended = process.child.as_mut().and_then(|child| child.try_wait().unwrap());
        assert!(ended.is_none(), "{} ended: {ended:?}", process.label);
        assert!(began.elapsed() < PATIENCE, "{} did not become ready within {PATIENCE:?}", process.label);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn options(broker: &PrivateBroker) -> BrokerOptions {
    BrokerOptions { partitions: PARTITIONS, ..broker.options() }
}

fn describe(broker: &PrivateBroker, service: Service, label: &str) -> Process {
    let folder = broker.folder.path();
    let (nats, partitions) = (broker.broker.client_url(), PARTITIONS.to_string());
    let mut arguments: Vec<String> =
        ["--nats", nats, "--partitions", &partitions, "--http", "127.0.0.1:0", "--log-format", "json"]
            .map(str::to_owned)
            .to_vec();
    let mut set = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    match service {
        Service::Ingest => set("--trim-interval-ms", "300".to_owned()),
        Service::AggregatorShard => {
            set("--data", folder.join(format!("{label}-data")).to_str().unwrap().to_owned());
            set("--checkpoint-interval-ms", "300".to_owned());
            set("--replicas", "2".to_owned());
        }
        // Tests read what they have just caused, also where they do not say so with `at_least`.
        Service::Query => set("--max-staleness-ms", "0".to_owned()),
        Service::DayManager => {}
    }
    Process::new(label, binary(service.name()), arguments, folder)
}
