//! Daybook's benchmarks: each prints a table, and writes it as JSON and Markdown where asked.

use clap::Parser;
use daybook_benches::report::Report;
use daybook_benches::{apply, durable, export, peers};
use std::path::PathBuf;

/// Measures Daybook
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    part: Part,
    /// Write the tables as PREFIX.json and PREFIX.md
    #[arg(long, global = true, value_name = "PREFIX")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Apply, durable and live, with their defaults
    All,
    /// Apply alone: a partition's state machine in this process, from encoded batches of the log
    Apply(apply::Options),
    /// A guard against what makes Daybook slow: ratios in one run, for any machine; fails below a generous floor
    Quick,
    /// End to end and durable, against the broker alone moving the same bytes
    Durable(durable::Options),
    /// Freshness, and answers, while events come at a fixed rate
    Live(durable::LiveOptions),
    /// Others on the same work: PostgreSQL, Redis, ClickHouse, and DBSP where asked; what is not installed is left out
    Peers(peers::Options),
    /// Writes the work of `peers` to files, with what must come out of it
    Export(export::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut report = Report::default();
    match &cli.part {
        Part::All => {
            report.part("Apply alone, one core");
            apply::run(&defaults(), &mut report)?;
            report.part("End to end and durable, on this machine with broker and producer");
            durable::run(&defaults(), &mut report).await?;
            report.part("At a fixed rate, on this machine with broker and producer");
            durable::live(&defaults(), &mut report).await?;
        }
        Part::Apply(options) => {
            report.part("Apply alone, one core");
            apply::run(options, &mut report)?;
        }
        Part::Quick => {
            report.part("Shares of the bare loop, one core");
            apply::guard(500_000, &mut report)?;
            report.part("End to end and durable, on this machine with broker and producer");
            let options = durable::Options { events: 300_000, single: 50_000, tenants: 1_000, rounds: 1 };
            durable::run(&options, &mut report).await?;
        }
        Part::Durable(options) => {
            report.part("End to end and durable, on this machine with broker and producer");
            durable::run(options, &mut report).await?;
        }
        Part::Live(options) => {
            report.part("At a fixed rate, on this machine with broker and producer");
            durable::live(options, &mut report).await?;
        }
        Part::Peers(options) => peers::run(options, &mut report).await?,
        Part::Export(options) => return export::run(options),
    }
    let markdown = report.markdown();
    println!("{markdown}");
    if let Some(out) = &cli.out {
        std::fs::write(out.with_extension("md"), &markdown)?;
        std::fs::write(out.with_extension("json"), format!("{:#}\n", report.json()))?;
    }
    Ok(())
}

/// Settings as the command line makes them without any.
fn defaults<A: clap::Args>() -> A {
    let command = A::augment_args(clap::Command::new("bench"));
    A::from_arg_matches(&command.get_matches_from(["bench"])).expect("everything has a default")
}
