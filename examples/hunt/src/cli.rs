//! The command line.

use crate::game::Record;
use crate::node::daybook::{Daybook, SEASON, TEAMS};
use crate::node::log::Log;
use crate::node::state::{self, Replaced};
use crate::node::tokens::{Secret, salts};
use crate::node::{Node, changing, clock};
use crate::play::check::{MAX_SHOWN, compare, read_log};
use crate::play::generated::{self, Plan};
use crate::play::recording::to_line;
use crate::play::{demo, load, rehearse};
use crate::rules::Rules;
use crate::rules::hashing::hash_answers;
use crate::rules::read::read;
use crate::web::Door;
use crate::web::serving::serve;
use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use daybook_runtime::config::OperationsOptions;
use daybook_runtime::http::metrics_handle;
use daybook_runtime::telemetry;
use daybook_yaml::Source;
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long the broker may take to be reached.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long Daybook may take to seal a day.
const SEAL_LIMIT: Duration = Duration::from_secs(60);
/// Messages that a connection may hold for a subscriber that is slow.
const SUBSCRIPTION_CAPACITY: usize = 16_384;
/// How often the registry of metrics is tidied.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "hunt", version, about = "A treasure hunt on Daybook")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check, hash or make files of rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Make a hunt of a file of rules, or put changed rules into force: everything is judged again by them
    Init {
        file: PathBuf,
        #[command(flatten)]
        broker: Broker,
        /// Copies of the log, in a cluster [1..=5]
        #[arg(long, env = "HUNT_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
        replicas: u8,
    },
    /// Serve a hunt; run two or more to survive the loss of one
    Serve {
        hunt: String,
        #[command(flatten)]
        broker: Broker,
        /// Address for players, boards and organisers, with /healthz and /metrics
        #[arg(long, env = "HUNT_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
        listen: String,
        /// Browsers come by HTTPS, through a proxy: cookies are for HTTPS alone
        #[arg(long, env = "HUNT_HTTPS")]
        https: bool,
        #[command(flatten)]
        traces: Traces,
    },
    /// Print the organiser's token
    Token {
        hunt: String,
        #[command(flatten)]
        broker: Broker,
    },
    /// Compare every figure in Daybook with a plain recomputation of the rules over the log
    Check {
        hunt: String,
        #[command(flatten)]
        broker: Broker,
    },
    /// Close the day in which the hunt ended, and wait until it is sealed
    End {
        hunt: String,
        #[command(flatten)]
        broker: Broker,
    },
    /// Print the log of a hunt, a record in JSON each line: rehearsals of later hunts play it. It holds names and answers
    Log {
        hunt: String,
        #[command(flatten)]
        broker: Broker,
    },
    /// Remove a hunt for good: its log, its tenant in Daybook with all reports, and its tokens
    Remove {
        hunt: String,
        /// Really do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        broker: Broker,
    },
    /// Play an earlier hunt against a set-up, and say whether it will hold and what bounds it
    Rehearse(Box<rehearse::Arguments>),
    /// Play a whole hunt in a minute, with a Daybook of its own, and check every score
    Demo(demo::Arguments),
    /// Play a hunt over HTTP and report times, errors and differences
    Load(load::Arguments),
}

#[derive(Subcommand)]
enum RulesCommand {
    /// Report every mistake with its place
    Check { file: PathBuf },
    /// Replace clear answers by salted hashes
    Hash {
        file: PathBuf,
        /// Write the file instead of printing it
        #[arg(long)]
        in_place: bool,
    },
    /// Make up a hunt from a seed, for rehearsals
    Make {
        #[arg(long, default_value = "rehearsal")]
        hunt: String,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=500))]
        challenges: u32,
        /// Seconds from now until it starts
        #[arg(long, default_value_t = 60)]
        starts_in: u32,
        /// Seconds that it lasts
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// Bound attempts: 5 of a team for a challenge within 10 s
        #[arg(long)]
        attempts: bool,
    },
}

/// Where traces go.
#[derive(Debug, clap::Args)]
struct Traces {
    /// OTLP/HTTP endpoint for traces, such as http://127.0.0.1:4318; no traces are sent when absent
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Share of traces that are sent, 0 to 1; that of Daybook's services should be the same
    #[arg(long, env = "HUNT_TRACE_RATIO", default_value_t = 1.0)]
    trace_ratio: f64,
}

/// How the broker is reached.
#[derive(Debug, clap::Args)]
pub struct Broker {
    /// The broker on which Daybook runs
    #[arg(long, env = "HUNT_NATS", default_value = "nats://127.0.0.1:4222", value_name = "URL")]
    nats: String,
    /// Credentials of a user of the account that has JetStream
    #[arg(long, env = "HUNT_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,
    /// Certificates of the authority that signed those of the broker; the system's when absent
    #[arg(long, env = "HUNT_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Before the runtime: the exporter of traces has a blocking client of its own.
    let telemetry = match telemetry::start("hunt", &operations(&command)) {
        Ok(telemetry) => telemetry,
        Err(error) => return telemetry::fail("hunt", &error),
    };
    open_many_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(command));
    drop(runtime);
    // Sends what is left.
    drop(telemetry);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs and traces of the process.
fn operations(command: &Command) -> OperationsOptions {
    let log = std::env::var("HUNT_LOG").unwrap_or_else(|_| "warn,hunt=info".to_owned());
    let options = OperationsOptions { log, ..OperationsOptions::default() };
    match command {
        Command::Serve { traces, .. } => OperationsOptions {
            otlp_endpoint: traces.otlp_endpoint.clone(),
            trace_ratio: traces.trace_ratio,
            ..options
        },
        _ => options,
    }
}

/// Lets the process have as many connections as the system allows it.
fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Rules(command) => rules(command),
        Command::Init { file, broker, replicas } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            read_rules(&file, &text)?;
            init_hunt(&broker.connect().await?, &text, replicas.into()).await
        }
        Command::Serve { hunt, broker, listen, https, .. } => serve_hunt(&hunt, &broker, &listen, https).await,
        Command::Token { hunt, broker } => {
            println!("{}", secret(&broker.connect().await?, &hunt).await?.organiser());
            Ok(())
        }
        Command::Check { hunt, broker } => check(&hunt, &broker.connect().await?).await,
        Command::End { hunt, broker } => {
            let date = end_hunt(&broker.connect().await?, &hunt).await?;
            println!("The day {date} is sealed. Prove it with: daybook verify {hunt} {date} --nats {}", broker.nats);
            Ok(())
        }
        Command::Log { hunt, broker } => {
            for entry in read_log(&broker.connect().await?, &hunt).await? {
                println!("{}", to_line(&entry)?);
            }
            Ok(())
        }
        Command::Remove { hunt, yes, broker } => {
            anyhow::ensure!(yes, "this removes the hunt {hunt}, its log and its reports for good; say --yes to do it");
            remove_hunt(&broker.connect().await?, &hunt).await
        }
        Command::Rehearse(arguments) => until_stopped(rehearse::run(*arguments)).await,
        Command::Demo(arguments) => until_stopped(demo::run(arguments)).await,
        Command::Load(arguments) => until_stopped(load::run(arguments)).await,
    }
}

fn rules(command: RulesCommand) -> anyhow::Result<()> {
    match command {
        RulesCommand::Check { file } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let rules = read_rules(&file, &text)?;
            println!("{}: {} challenges, no mistakes", file.display(), rules.challenges.len());
        }
        RulesCommand::Hash { file, in_place } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            read_rules(&file, &text)?;
            let mut salts = salts()?;
            let (hashed, count) = hash_answers(&Source::parse(&file, &text)?, &mut salts)?;
            if in_place {
                std::fs::write(&file, hashed).with_context(|| format!("cannot write {}", file.display()))?;
                println!("{}: {count} answers hashed", file.display());
            } else {
                print!("{hashed}");
            }
        }
        RulesCommand::Make { hunt, seed, challenges, starts_in, seconds, attempts } => {
            let start = clock::now() + i64::from(starts_in) * 1_000;
            let end = start + i64::from(seconds.max(1)) * 1_000;
            print!(
                "{}",
                generated::yaml(&Plan {
                    hunt,
                    seed,
                    challenges: challenges as usize,
                    start,
                    end,
                    freezes: true,
                    bounds_attempts: attempts
                })
            );
        }
    }
    Ok(())
}

/// Reads rules; all mistakes are one error.
fn read_rules(file: &Path, text: &str) -> anyhow::Result<Rules> {
    let mut salts = salts()?;
    read(file, text, &mut salts).map_err(|mistakes| anyhow::anyhow!("{} has mistakes\n{mistakes}", file.display()))
}

/// The secret of a hunt.
///
/// # Errors
/// When there is no such hunt.
pub async fn secret(client: &async_nats::Client, hunt: &str) -> anyhow::Result<Secret> {
    let jetstream = async_nats::jetstream::new(client.clone());
    Log::open(&jetstream, hunt).await?;
    Secret::get(&state::bucket(&jetstream, hunt).await?).await
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

/// Makes a hunt of rules in YAML, or changes one, and defines it in Daybook.
///
/// # Errors
/// When the rules have mistakes, or the broker or Daybook refuses.
pub async fn init_hunt(client: &async_nats::Client, text: &str, replicas: usize) -> anyhow::Result<()> {
    init(client, read_rules(Path::new("rules"), text)?, replicas).await
}

/// The same with rules that were read.
///
/// # Errors
/// As [`init_hunt`].
pub async fn init(client: &async_nats::Client, rules: Rules, replicas: usize) -> anyhow::Result<()> {
    let jetstream = async_nats::jetstream::new(client.clone());
    let bucket = state::create_bucket(&jetstream, &rules.hunt, replicas).await?;
    let daybook = Daybook::new(client, &rules.hunt);
    // In this order: whoever makes the log notes its name afterwards.
    let known = state::known_log(&bucket).await?;
    let log = match Log::find(&jetstream, &rules.hunt).await? {
        Some(log) => log,
        // What the bucket belongs to is not made again.
        None if known.is_some() => return Err(Replaced::Gone { hunt: rules.hunt }.into()),
        None if daybook.has_events().await? => return Err(Replaced::Counted { hunt: rules.hunt }.into()),
        None => Log::create(&jetstream, &rules.hunt, replicas).await?,
    };
    state::check(&bucket, &rules.hunt, &log).await?;
    let running = Node::start(client.clone(), &rules.hunt, false).await?;
    let hunt = rules.hunt.clone();
    let is_new = running.node.world().rules.is_none();
    let put = changing::put_rules(&running.node, rules).await;
    let defined = if put.is_ok() { changing::define(&running.node).await.map(drop) } else { Ok(()) };
    running.stop().await;
    let changed = put?;
    defined.context("the rules are in force, and Daybook has not taken their definitions; run `hunt init` again")?;
    if !is_new {
        let changed = if changed.is_empty() { "none".to_owned() } else { changed.join(", ") };
        eprintln!("the rules of {hunt} are in force; keys that changed: {changed}");
    }
    Ok(())
}

async fn serve_hunt(hunt: &str, broker: &Broker, listen: &str, is_https: bool) -> anyhow::Result<()> {
    let handle = metrics_handle();
    let client = broker.connect().await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let running = Node::start(client, hunt, true).await?;
    let router = Door::new(running.node.clone(), is_https).router();
    println!("{hunt} is served at http://{}", listener.local_addr()?);
    let serving = tokio::spawn(serve(listener, router, running.node.stop.clone()));
    let node = running.node.clone();
    let mut stopped = std::pin::pin!(signalled());
    let mut lost = std::pin::pin!(node.lost());
    let outcome = loop {
        tokio::select! {
            () = &mut stopped => break Ok(()),
            why = &mut lost => break Err(anyhow::anyhow!(why)),
            () = tokio::time::sleep(UPKEEP) => handle.run_upkeep(),
        }
    };
    running.stop().await;
    serving.await?;
    outcome
}

/// Runs until it ends or a signal comes; processes that it started end with it.
async fn until_stopped(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        outcome = run => outcome,
        () = signalled() => Ok(()),
    }
}

async fn signalled() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

async fn check(hunt: &str, client: &async_nats::Client) -> anyhow::Result<()> {
    let comparison = compare(client, hunt, Duration::from_secs(10)).await?;
    println!("{} figures compared with {} records", comparison.figures, comparison.records);
    for difference in comparison.differences.iter().take(MAX_SHOWN) {
        println!("  {difference}");
    }
    anyhow::ensure!(comparison.differences.is_empty(), "{} figures are wrong", comparison.differences.len());
    Ok(())
}

/// Closes the day in which the hunt ended, if it is open, and waits for its report. Returns its date.
///
/// # Errors
/// When the hunt is not over, or Daybook does not seal the day in time.
pub async fn end_hunt(client: &async_nats::Client, hunt: &str) -> anyhow::Result<String> {
    let daybook = Daybook::new(client, hunt);
    let question = json!({"days": format!("season:{SEASON}")});
    let answer = daybook.ask(TEAMS, &question, SEAL_LIMIT).await?;
    let date = answer["to"].as_str().context("Daybook names no day")?.to_owned();
    let days = daybook.ask("~days", &json!({"from": date, "to": date}), SEAL_LIMIT).await?;
    let day = days["days"].as_array().and_then(|days| days.first()).cloned().unwrap_or_default();
    let rules = read_log(client, hunt).await?.into_iter().rev().find_map(|(_, _, record)| match record {
        Record::Rules { rules, .. } => Some(rules),
        _ => None,
    });
    if rules.is_none_or(|rules| clock::now() < rules.end) {
        bail!("the hunt {hunt} is not over");
    }
    if day["day"] == "open" {
        daybook.admin("close", &json!({"tenant": hunt, "date": date})).await?;
    }
    let began = Instant::now();
    while began.elapsed() < SEAL_LIMIT {
        let reports = daybook.ask("~reports", &json!({"from": date, "to": date}), SEAL_LIMIT).await?;
        if reports["reports"].as_array().is_some_and(|reports| !reports.is_empty()) {
            return Ok(date);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("the day {date} was not sealed within {SEAL_LIMIT:?}")
}

/// Removes a hunt. Its log goes first: from then on no process plays it, and it cannot be made again before all of it is gone.
/// Repeated, it removes what is left.
///
/// # Errors
/// When the broker or Daybook refuses.
pub async fn remove_hunt(client: &async_nats::Client, hunt: &str) -> anyhow::Result<()> {
    let jetstream = async_nats::jetstream::new(client.clone());
    Log::remove(&jetstream, hunt).await?;
    Daybook::new(client, hunt).remove().await?;
    state::remove_bucket(&jetstream, hunt).await?;
    println!("the hunt {hunt} is removed");
    Ok(())
}
