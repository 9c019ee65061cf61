//! The commands and their flags.

use crate::asker::Asker;
use crate::client::Client;
use crate::commands;
use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use daybook_contracts::subjects::DEFAULT_PREFIX;
use daybook_runtime::config::{self, OperationsOptions};
use daybook_runtime::connection::{BrokerOptions, NatsOptions};
use daybook_runtime::process::run_to_end;
use daybook_runtime::telemetry;
use std::process::ExitCode;

/// What commands log: errors, and what they wait for while a broker or day-manager does not answer.
const COMMAND_LOG: &str = "error,daybook_runtime::append=warn,daybook::client=warn";

/// Exact live figures and sealed day reports for every tenant, on NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "daybook", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay five days of real flights through everything and check every report
    Demo(Box<commands::demo::Arguments>),
    /// Run all services and a private broker in this process, until Ctrl-C
    Up(Box<commands::up::Arguments>),
    /// Put kinds, views, tenants and groups from YAML files into force
    Apply(commands::apply::Arguments),
    /// Remove a tenant, a view or a kind
    Remove(commands::remove::Arguments),
    /// Show who runs what and how far it is; fails when something is missing
    Status(commands::status::Arguments),
    /// Work out what an installation needs: memory, disk and shard processes
    Size(Box<commands::size::Arguments>),
    /// Show what is defined
    Get(commands::get::Arguments),
    /// Try a mapping on records of other systems, or propose one
    Map(commands::map::Arguments),
    /// Publish recorded events, and drive a clock with them
    Replay(commands::replay::Arguments),
    /// Show the sealed report of a day
    Report(commands::report::Arguments),
    /// List sealed reports
    Reports(commands::reports::Arguments),
    /// Write the figures of sealed days as Parquet, CSV or NDJSON files
    Export(commands::export::Arguments),
    /// Ask for the figures of a view
    Query(commands::query::Arguments),
    /// Watch a view change, as a live table
    Watch(commands::watch::Arguments),
    /// Show a tenant's days and what became of its events
    Days(commands::days::Arguments),
    /// Close a tenant's open day by hand
    Day(commands::day::Arguments),
    /// Show a tenant's rejected events
    Rejects(Box<commands::rejects::Arguments>),
    /// Show a tenant's alerts
    Alerts(commands::alerts::Arguments),
    /// Replay the log and prove that it makes the sealed reports, byte for byte
    Verify(commands::verify::Arguments),
    /// Tell the story of one entity: its events, what became of them, and the reports they changed
    Audit(commands::audit::Arguments),
    /// Find nats-server, or fetch it, and print where it is
    Broker(commands::broker::Arguments),
    /// Write the configuration of NATS servers that keep tenants apart
    Nats(commands::nats::Arguments),
    /// Make, list and revoke tokens of tenants
    Token(commands::token::Arguments),
    /// Make, list and revoke API keys for HTTP
    Key(commands::key::Arguments),
    /// Try a receiver of alerts
    Webhook(commands::webhook::Arguments),
}

/// How a command reaches Daybook, and how it prints.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArguments {
    #[command(flatten)]
    nats: NatsOptions,
    /// First token of Daybook's subjects
    #[arg(long, env = "DAYBOOK_PREFIX", default_value = DEFAULT_PREFIX, help_heading = "Broker")]
    prefix: String,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
}

impl ClientArguments {
    /// Connects to Daybook.
    ///
    /// # Errors
    /// When no server answers or lets this user in, or there is no Daybook on it.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(&self.broker()).await
    }

    /// Connects for a command that only asks the query service: the credentials of a tenant are enough.
    ///
    /// # Errors
    /// When no server answers or lets this user in.
    pub async fn connect_to_ask(&self) -> anyhow::Result<Asker> {
        Asker::connect(&self.broker()).await
    }

    fn broker(&self) -> BrokerOptions {
        let (nats, prefix) = (self.nats.clone(), self.prefix.clone());
        BrokerOptions { nats, prefix, ..BrokerOptions::default() }
    }
}

/// The command line. `up` has the shared settings of the broker, with one difference: unless a flag names a broker it
/// runs one of its own, also where the environment names one for the other commands.
fn command_line() -> clap::Command {
    Cli::command().mut_subcommand("up", |up| {
        up.mut_arg("nats", |nats| {
            let help = "Use the broker at this URL instead of a private one; several URLs, separated by commas, for a cluster; \
                        may hold user and password, or a token";
            nats.env(Resettable::Reset).default_value("").hide_default_value(true).help(help)
        })
    })
}

/// A command's outcome: success, or success with something amiss that was already told.
pub type Outcome = anyhow::Result<ExitCode>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // Of all commands, only `up` has a log with a form.
    if arguments.get(1).is_some_and(|command| command == "up") {
        telemetry::use_format(config::log_format(&arguments));
    }
    let matches = command_line().try_get_matches_from(arguments);
    let matches = matches.unwrap_or_else(|error| telemetry::exit("daybook", &error));
    let parsed = Cli::from_arg_matches(&matches);
    let cli = parsed.unwrap_or_else(|error| telemetry::exit("daybook", &error.format(&mut command_line())));
    let operations = match &cli.command {
        Command::Up(arguments) => arguments.operations.clone(),
        // Commands speak for themselves; what they wait for is shown.
        _ => {
            let log = std::env::var("DAYBOOK_LOG").unwrap_or(COMMAND_LOG.to_owned());
            OperationsOptions { log, ..Default::default() }
        }
    };
    let name = if matches!(cli.command, Command::Up(_)) { "daybook" } else { "daybook-cli" };
    let outcome = telemetry::start(name, &operations)
        .map_err(anyhow::Error::from)
        .and_then(|_telemetry| run_to_end(run(cli.command))?);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = error.as_ref();
            telemetry::fail("daybook", error)
        }
    }
}

async fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(arguments) => commands::demo::run(*arguments).await,
        Command::Up(arguments) => commands::up::run(*arguments).await,
        Command::Apply(arguments) => commands::apply::run(arguments).await,
        Command::Remove(arguments) => commands::remove::run(arguments).await,
        Command::Status(arguments) => commands::status::run(arguments).await,
        Command::Size(arguments) => commands::size::run(*arguments).await,
        Command::Get(arguments) => commands::get::run(arguments).await,
        Command::Map(arguments) => commands::map::run(arguments).await,
        Command::Replay(arguments) => commands::replay::run(arguments).await,
        Command::Report(arguments) => commands::report::run(arguments).await,
        Command::Export(arguments) => commands::export::run(arguments).await,
        Command::Reports(arguments) => commands::reports::run(arguments).await,
        Command::Query(arguments) => commands::query::run(arguments).await,
        Command::Watch(arguments) => commands::watch::run(arguments).await,
        Command::Days(arguments) => commands::days::run(arguments).await,
        Command::Day(arguments) => commands::day::run(arguments).await,
        Command::Rejects(arguments) => commands::rejects::run(*arguments).await,
        Command::Alerts(arguments) => commands::alerts::run(arguments).await,
        Command::Verify(arguments) => commands::verify::run(arguments).await,
        Command::Audit(arguments) => commands::audit::run(arguments).await,
        Command::Broker(arguments) => commands::broker::run(arguments).await,
        Command::Nats(arguments) => commands::nats::run(arguments).await,
        Command::Token(arguments) => commands::token::run(arguments).await,
        Command::Key(arguments) => commands::key::run(arguments).await,
        Command::Webhook(arguments) => commands::webhook::run(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    #[test]
    fn every_command_takes_the_settings_of_the_broker_and_shows_no_variable() {
        let shared = NatsOptions::augment_args(clap::Command::new("shared"));
        let names: Vec<&str> = shared.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        for command in command_line().get_subcommands_mut() {
            let has = |name: &str| command.get_arguments().any(|argument| argument.get_id() == name);
            if !has("nats") {
                continue;
            }
            assert!(names.iter().all(|name| has(name)), "{}", command.get_name());
            for argument in command.get_arguments().filter(|argument| argument.get_id().as_str().starts_with("nats")) {
                let shows = argument.get_env().is_some() && !argument.is_hide_env_values_set();
                let is_text =
                    ["nats", "nats_user", "nats_password", "nats_token"].contains(&argument.get_id().as_str());
                assert!(!(shows && is_text), "{} of {}", argument.get_id(), command.get_name());
            }
        }
    }

    #[test]
    fn only_a_flag_has_up_use_a_broker_that_is_there() {
        let parse =
            |line: &str| Cli::from_arg_matches(&command_line().try_get_matches_from(line.split(' ')).unwrap()).unwrap();
        let named = |line: &str| match parse(line).command {
            Command::Up(arguments) => arguments.broker.nats.nats.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(named("daybook up --nats nats://u:p@broker --nats-tls --stream-replicas 3"), "nats://broker");
        let Command::Up(arguments) = parse("daybook up").command else { panic!() };
        assert!(arguments.broker.nats.nats.is_empty());
        let up = command_line();
        let up = up.find_subcommand("up").unwrap();
        let nats = up.get_arguments().find(|argument| argument.get_id() == "nats").unwrap();
        assert_eq!(nats.get_env(), None, "a broker that other commands ask is not the one to run services on");
    }

    #[test]
    fn a_day_is_closed_by_tenant_and_date() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for good in ["daybook day close ABQ", "daybook day close ABQ --date 2013-03-08 --json"] {
            assert!(matches!(parse(good).unwrap().command, Command::Day(_)), "{good}");
        }
        for bad in ["daybook day", "daybook day close", "daybook day close A.B", "daybook day close A --date today"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
    #[test]
    fn a_day_or_everything_is_verified() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for good in [
            "daybook verify ABQ 2013-03-08",
            "daybook verify --all",
            "daybook verify --all --tenant ABQ,ATL --tenant HNL --json",
        ] {
            assert!(matches!(parse(good).unwrap().command, Command::Verify(_)), "{good}");
        }
        for bad in [
            "daybook verify",
            "daybook verify ABQ",
            "daybook verify ABQ 2013-03-08 --all",
            "daybook verify ABQ 2013-03-08 --tenant ATL",
            "daybook verify --tenant ABQ",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in ["daybook audit ABQ 2013-03-08-B6-725", "daybook audit ABQ 17 --kind flight --json"] {
            assert!(matches!(parse(good).unwrap().command, Command::Audit(_)), "{good}");
        }
        assert!(parse("daybook audit ABQ").is_err());
    }
}
