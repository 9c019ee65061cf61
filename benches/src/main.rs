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

impl Part {
    /// Those of `all`, with their defaults.
    fn all() -> [Self; 13] {
        [
            Self::Apply(defaults()),
            Self::Durable(defaults()),
            Self::Live(defaults()),
            Self::Reading(defaults()),
            Self::Askers(defaults()),
            Self::Listeners(defaults()),
            Self::Tenants(defaults()),
            Self::DayEnd(defaults()),
            Self::Recovery(defaults()),
            Self::Backfill(defaults()),
            Self::Month(defaults()),
            Self::Secured(defaults()),
            Self::Fairness(defaults()),
        ]
    }

    /// The title of its table, if it has just one.
    fn title(&self) -> Option<&'static str> {
        Some(match self {
            Self::Apply(_) => "Apply alone, one core",
            Self::Durable(_) => "End to end and durable, on this machine with broker and producer",
            Self::Live(_) => "At a fixed rate, on this machine with broker and producer",
            Self::Reading(_) => "Reading, with events at a fixed rate, on this machine with broker and producer",
            Self::Askers(_) => "Many askers, with events at a fixed rate, on this machine with broker and producer",
            Self::Listeners(_) => "Listeners, on this machine with broker and producer",
            Self::Tenants(_) => "Many tenants, on this machine with broker and producer",
            Self::DayEnd(_) => "The day's end, of all tenants at once",
            Self::Recovery(_) => "A shard killed in the middle of a day",
            Self::Backfill(_) => "Backfill beside live work",
            Self::Month(_) => "A month of closed days, the machine and its store alone",
            Self::Secured(_) => "Accounts and TLS, on this machine with broker and producers",
            Self::Fairness(_) => "A tenant beside another one's flood of questions",
            Self::All | Self::Quick | Self::Peers(_) | Self::Export(_) | Self::Shard(_) => return None,
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut report = Report::default();
    match &cli.part {
        Part::Export(options) => return export::run(options),
        Part::Shard(options) => return apart::shard(options).await,
        part => measure(part, &mut report).await?,
    }
    let markdown = report.markdown();
    println!("{markdown}");
    if let Some(out) = &cli.out {
        std::fs::write(out.with_extension("md"), &markdown)?;
        std::fs::write(out.with_extension("json"), format!("{:#}\n", report.json()))?;
    }
    Ok(())
}

async fn measure(part: &Part, report: &mut Report) -> anyhow::Result<()> {
    if let Some(title) = part.title() {
        report.part(title);
    }
    match part {
        Part::All => {
            for part in Part::all() {
                Box::pin(measure(&part, report)).await?;
            }
        }
        Part::Quick => {
            report.part("Shares of the bare loop, one core");
            apply::guard(500_000, report)?;
            let options = durable::Options { events: 300_000, single: 50_000, tenants: 1_000, rounds: 1 };
            Box::pin(measure(&Part::Durable(options), report)).await?;
        }
        Part::Apply(options) => apply::run(options, report)?,
        Part::Durable(options) => durable::run(options, report).await?,
        Part::Live(options) => live::run(options, report).await?,
        Part::Reading(options) => reading::run(options, report).await?,
        Part::Askers(options) => askers::run(options, report).await?,
        Part::Listeners(options) => listeners::run(options, report).await?,
        Part::Tenants(options) => tenants::run(options, report).await?,
        Part::DayEnd(options) => day_end::run(options, report).await?,
        Part::Recovery(options) => recovery::run(options, report).await?,
        Part::Backfill(options) => backfill::run(options, report).await?,
        Part::Month(options) => month::run(options, report)?,
        Part::Secured(options) => secured::run(options, report).await?,
        Part::Fairness(options) => fairness::run(options, report).await?,
        Part::Peers(options) => peers::run(options, report).await?,
        Part::Export(_) | Part::Shard(_) => unreachable!("these measure nothing, and are run by themselves"),
    }
    Ok(())
}

/// Settings as the command line makes them without any.
fn defaults<A: clap::Args>() -> A {
    let command = A::augment_args(clap::Command::new("bench"));
    A::from_arg_matches(&command.get_matches_from(["bench"])).expect("everything has a default")
}
