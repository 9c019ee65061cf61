//! Daybook's benchmarks: each prints a table, and writes it as JSON and Markdown where asked.

use clap::Parser;
use daybook_benches::report::Report;
use daybook_benches::{
    apart, apply, askers, backfill, day_end, durable, export, fairness, listeners, live, month, peers, reading,
    recovery, secured, tenants,
};
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
    /// All parts but peers, with their defaults
    All,
    /// Apply alone: a partition's state machine in this process, from encoded batches of the log
    Apply(apply::Options),
    /// A guard against what makes Daybook slow: ratios in one run, for any machine; fails below a generous floor
    Quick,
    /// End to end and durable, against the broker alone moving the same bytes
    Durable(durable::Options),
    /// Freshness, and answers, while events come at a fixed rate
    Live(live::Options),
    /// Answers at scale, while events come at a fixed rate: days, ranges, rankings, many clients
    Reading(reading::Options),
    /// Many clients that ask as fast as they can, by NATS and by HTTP, beside what their hops take in any case
    Askers(askers::Options),
    /// Live feeds with very many listeners
    Listeners(listeners::Options),
    /// Memory, throughput and the cost of checkpoints with very many tenants
    Tenants(tenants::Options),
    /// The day's end of many tenants at once, and the freshness of one whose day goes on
    DayEnd(day_end::Options),
    /// A shard that is killed in a large day, and started again: with its checkpoint, and on a bare machine
    Recovery(recovery::Options),
    /// A view that is defined when millions of events are logged
    Backfill(backfill::Options),
    /// A month of closed days on disk: memory, corrections of closed days, and a restart
    Month(month::Options),
    /// What accounts and TLS cost, in turn with a broker without them
    Secured(secured::Options),
    /// How long a tenant waits for answers while another one of its partition floods it with questions
    Fairness(fairness::Options),
    /// Others on the same work: PostgreSQL, Redis, ClickHouse, and DBSP where asked; what is not installed is left out
    Peers(peers::Options),
    /// Writes the work of `peers` to files, with what must come out of it
    Export(export::Options),
    /// What other parts run beside this process
    #[command(hide = true)]
    Shard(apart::ShardOptions),
}

/// Titles of tables.
const DURABLE: &str = "End to end and durable, on this machine with broker and producer";
const LIVE: &str = "At a fixed rate, on this machine with broker and producer";
const READING: &str = "Reading, with events at a fixed rate, on this machine with broker and producer";
const ASKERS: &str = "Many askers, with events at a fixed rate, on this machine with broker and producer";
const LISTENERS: &str = "Listeners, on this machine with broker and producer";
const TENANTS: &str = "Many tenants, on this machine with broker and producer";
const DAY_END: &str = "The day's end, of all tenants at once";
const RECOVERY: &str = "A shard killed in the middle of a day";
const BACKFILL: &str = "Backfill beside live work";
const MONTH: &str = "A month of closed days, the machine and its store alone";
const SECURED: &str = "Accounts and TLS, on this machine with broker and producers";
const FAIRNESS: &str = "A tenant beside another one's flood of questions";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut report = Report::default();
    match &cli.part {
        Part::All => {
            report.part("Apply alone, one core");
            apply::run(&defaults(), &mut report)?;
            report.part(DURABLE);
            durable::run(&defaults(), &mut report).await?;
            report.part(LIVE);
            live::run(&defaults(), &mut report).await?;
            report.part(READING);
            reading::run(&defaults(), &mut report).await?;
            report.part(ASKERS);
            askers::run(&defaults(), &mut report).await?;
            report.part(LISTENERS);
            listeners::run(&defaults(), &mut report).await?;
            report.part(TENANTS);
            tenants::run(&defaults(), &mut report).await?;
            report.part(DAY_END);
            day_end::run(&defaults(), &mut report).await?;
            report.part(RECOVERY);
            recovery::run(&defaults(), &mut report).await?;
            report.part(BACKFILL);
            backfill::run(&defaults(), &mut report).await?;
            report.part(MONTH);
            month::run(&defaults(), &mut report)?;
            report.part(SECURED);
            secured::run(&defaults(), &mut report).await?;
            report.part(FAIRNESS);
            fairness::run(&defaults(), &mut report).await?;
        }
        Part::Apply(options) => {
            report.part("Apply alone, one core");
            apply::run(options, &mut report)?;
        }
        Part::Quick => {
            report.part("Shares of the bare loop, one core");
            apply::guard(500_000, &mut report)?;
            report.part(DURABLE);
            let options = durable::Options { events: 300_000, single: 50_000, tenants: 1_000, rounds: 1 };
            durable::run(&options, &mut report).await?;
        }
        Part::Durable(options) => {
            report.part(DURABLE);
            durable::run(options, &mut report).await?;
        }
        Part::Live(options) => {
            report.part(LIVE);
            live::run(options, &mut report).await?;
        }
        Part::Reading(options) => {
            report.part(READING);
            reading::run(options, &mut report).await?;
        }
        Part::Askers(options) => {
            report.part(ASKERS);
            askers::run(options, &mut report).await?;
        }
        Part::Listeners(options) => {
            report.part(LISTENERS);
            listeners::run(options, &mut report).await?;
        }
        Part::Tenants(options) => {
            report.part(TENANTS);
            tenants::run(options, &mut report).await?;
        }
        Part::DayEnd(options) => {
            report.part(DAY_END);
            day_end::run(options, &mut report).await?;
        }
        Part::Recovery(options) => {
            report.part(RECOVERY);
            recovery::run(options, &mut report).await?;
        }
        Part::Backfill(options) => {
            report.part(BACKFILL);
            backfill::run(options, &mut report).await?;
        }
        Part::Month(options) => {
            report.part(MONTH);
            month::run(options, &mut report)?;
        }
        Part::Secured(options) => {
            report.part(SECURED);
            secured::run(options, &mut report).await?;
        }
        Part::Fairness(options) => {
            report.part(FAIRNESS);
            fairness::run(options, &mut report).await?;
        }
        Part::Peers(options) => peers::run(options, &mut report).await?,
        Part::Export(options) => return export::run(options),
        Part::Shard(options) => return apart::shard(options).await,
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
