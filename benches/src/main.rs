//! Daybook's benchmarks: each prints a table, and writes it as JSON and Markdown where asked.

use clap::Parser;
use daybook_benches::apply;
use daybook_benches::report::Report;
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
    /// Apply alone: a partition's state machine in this process, from encoded batches of the log
    Apply(apply::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut report = Report::default();
    match &cli.part {
        Part::Apply(options) => {
            report.part("Apply alone, one core");
            apply::run(options, &mut report)?;
        }
    }
    let markdown = report.markdown();
    println!("{markdown}");
    if let Some(out) = &cli.out {
        std::fs::write(out.with_extension("md"), &markdown)?;
        std::fs::write(out.with_extension("json"), format!("{:#}\n", report.json()))?;
    }
    Ok(())
}
