//! `daybook demo`: five days of real flights through everything, every report checked.

use crate::cli::Outcome;
use crate::client::Client;
use crate::commands::demo_flights::{EVENTS, define, replaying};
use crate::commands::demo_open;
use crate::commands::replay::{describe, progress, replay};
use crate::embedded::{Embedded, EmbeddedOptions, locate_broker, start_broker};
use crate::expected::{self, Rankings};
use crate::source::EventSource;
use crate::table::{Table, count, figure};
use anyhow::bail;
use daybook_broker::Port;
use daybook_contracts::report::Report;
use daybook_domain::time::Date;
use daybook_runtime::connection::BrokerOptions;
use std::path::PathBuf;
use std::process::ExitCode;

const EXPECTED: &str = include_str!("../../../../examples/flights/expected/march/daily.csv");
const EXPECTED_CARRIERS: &str = include_str!("../../../../examples/flights/expected/march/top_carriers.csv");
const EXPECTED_ORIGINS: &str = include_str!("../../../../examples/flights/expected/march/origin_leaderboard.csv");
const FROM: &str = "2013-03-08";
const TO: &str = "2013-03-12";
/// Reports shown of each day.
const SHOWN_A_DAY: usize = 4;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run this nats-server as the private broker
    #[arg(long, env = "DAYBOOK_NATS_SERVER", value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Keep a sped-up day running before your eyes, and print the address of its console, until Ctrl-C
    #[arg(long)]
    open: bool,
    /// Address of the console, on the loopback interface
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", requires = "open")]
    http: String,
    /// Minutes of history in a second [1..=600]
    #[arg(long, value_name = "MINUTES", default_value_t = 10, requires = "open", value_parser = clap::value_parser!(u16).range(1..=600))]
    pace: u16,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let folder = tempfile::Builder::new().prefix("daybook-demo-").tempdir()?;
    let binary = tokio::select! {
        binary = locate_broker(arguments.nats_server) => binary?,
        () = daybook_runtime::process::wait_for_signal() => return Ok(ExitCode::from(130)),
    };
    let broker = start_broker(binary, folder.path().join("broker"), Port::Free, None).await?;
    eprintln!("a private broker is running at {}", broker.client_url());
    let mut options = EmbeddedOptions::new(BrokerOptions::at(broker.client_url()), folder.path().join("shard"));
    if arguments.open {
        options.gateway = Some(gateway::Options { listen: arguments.http, door: gateway::DoorOptions::default() });
    }
    let run = async {
        match arguments.open {
            true => demo_open::run(options, arguments.pace).await,
            false => show(options).await,
        }
    };
    let outcome = tokio::select! {
        outcome = run => outcome,
        () = daybook_runtime::process::wait_for_signal() => {
            eprintln!("\nstopping …");
            Ok(ExitCode::from(130))
        }
    };
    broker.stop().await?;
    outcome
}

async fn show(options: EmbeddedOptions) -> Outcome {
    let services = Embedded::start(options.clone()).await?;
    eprintln!("day-manager, ingest, aggregator-shard and query are ready");
    let client = Client::connect(&options.broker).await?;
    define(&client).await?;

    let replaying = replaying()?;
    let source = EventSource::of_bytes(EVENTS, "march.ndjson.zst");
    let bar = progress(source.length, false);
    let summary = replay(&client, None, replaying, source, None, true, &bar).await?;
    eprintln!("{}\n", describe(&summary));

    let (from, to): (Date, Date) = (FROM.parse()?, TO.parse()?);
    let mut reports: Vec<Report> = Vec::new();
    for tenant in client.tenants().await? {
        reports.extend(client.reports(&tenant.id, from, to).await?.into_iter().map(|sealed| sealed.report));
    }
    busiest(&reports).print()?;
    let outcome = expected::check(reports.iter(), EXPECTED, from, to)?;
    let mut ranked = expected::Outcome::default();
    for rankings in [Rankings::carriers(EXPECTED_CARRIERS)?, Rankings::origins(EXPECTED_ORIGINS)?] {
        ranked.add(rankings.check(reports.iter(), from, to));
    }
    let differences = || outcome.differences.iter().chain(&ranked.differences);
    for difference in differences().take(20) {
        eprintln!("  {difference}");
    }
    super::print_line(&format!(
        "\n{} sealed reports; {} of {} expected rows match, and {} of {} ranking rows, computed apart from Daybook from \
         the same flights",
        count(reports.len() as u64),
        count(outcome.matching as u64),
        count(outcome.checked as u64),
        count(ranked.matching as u64),
        count(ranked.checked as u64),
    ))?;
    services.stop().await;
    match differences().count() {
        0 => {}
        places => bail!("the reports differ from the expected results in {places} places"),
    }
    super::print_line(
        "\nWhere to look next\n  \
         daybook demo --open                          watch the days close in the console\n  \
         daybook up --data DIR                        run it, and keep what it knows\n  \
         daybook apply -f examples/flights/*.yaml     define the flights\n  \
         daybook replay examples/flights/data/march.ndjson.zst --kind flight --clock seen_at\n  \
         daybook report ATL 2013-03-10                one sealed report, with its manifest\n  \
         README.md and ARCHITECTURE.md",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The busiest airports of each day.
fn busiest(reports: &[Report]) -> Table {
    let flights = |report: &Report| -> Option<i128> {
        match report
            .views
            .values()
            .find_map(|view| view.rows.first()?.get("tails").and(view.rows.first()?.get("flights")))?
        {
            daybook_contracts::report::Figure::Number(number) => Some(number.unscaled()),
            _ => None,
        }
    };
    let names = ["flights", "cancelled", "diverted", "arr_delay_avg", "arr_delay_p95", "on_time", "tails"];
    let header = ["DATE", "TENANT", "VERSION", "HOURS"].into_iter().map(str::to_owned);
    let mut table = Table::new(header.chain(names.iter().map(|name| name.to_ascii_uppercase())));
    let mut sorted: Vec<&Report> = reports.iter().collect();
    sorted.sort_by_key(|report| (report.date, std::cmp::Reverse(flights(report)), report.tenant.clone()));
    for day in sorted.chunk_by(|one, other| one.date == other.date) {
        for report in day.iter().take(SHOWN_A_DAY) {
            let hours = (report.day.closes_at.as_millis() - report.day.opens_at.as_millis()) / 3_600_000;
            let cell =
                |name: &str| report.views.values().filter_map(|view| view.rows.first()?.get(name)).map(figure).next();
            let place =
                [report.date.to_string(), report.tenant.to_string(), report.version.to_string(), hours.to_string()];
            table.row(place.into_iter().chain(names.iter().map(|name| cell(name).unwrap_or_default())));
        }
    }
    table
}
