//! The command line.

use crate::broker::Broker;
use crate::lifecycle::{end_hunt, init_hunt, read_rules, remove_hunt, secret};
use crate::node::log::read_log;
use crate::node::tokens::salts;
use crate::node::{Node, clock};
use crate::play::check::{MAX_SHOWN, compare};
use crate::play::generated::{self, HuntPlan};
use crate::play::recording::to_line;
use crate::play::{demo, load, rehearse};
use crate::rules::hashing::hash_answers;
use crate::web::Door;
use crate::web::serving::serve;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use daybook_runtime::config::OperationsOptions;
use daybook_runtime::http::metrics_handle;
use daybook_runtime::telemetry;
use daybook_yaml::Source;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;

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
            remove_hunt(&broker.connect().await?, &hunt).await?;
            println!("the hunt {hunt} is removed");
            Ok(())
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
                generated::yaml(&HuntPlan {
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
