//! `simulate`: runs seeds, repeats one with its trace, or makes a failing one small.

use clap::Parser;
use daybook_simulation::fault::{Fault, Faults};
use daybook_simulation::mutation::Mutation;
use daybook_simulation::settings::{STEPS, Settings};
use daybook_simulation::shrink::shrink;
use daybook_simulation::{Failure, Runs, run, run_all};
use std::process::ExitCode;

/// Simulates Daybook under faults
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run, from --seed on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps with faults in each run
    #[arg(long, default_value_t = STEPS)]
    steps: usize,
    /// Kinds of faults to leave out
    #[arg(long, value_delimiter = ',')]
    without: Vec<Fault>,
    /// A rule to break on purpose
    #[arg(long)]
    mutation: Option<Mutation>,
    /// How many of the last things that happened to show
    #[arg(long, default_value_t = 60)]
    trace: usize,
    /// Show failures as they are rather than making them small first
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let faults = arguments.without.iter().fold(Faults::all(), |faults, fault| faults.without(*fault));
    let settings = Settings { seed: 0, steps: arguments.steps, faults, mutation: arguments.mutation };
    let Runs { failed, reached } = run_all(&settings, arguments.seed..arguments.seed.saturating_add(arguments.seeds));
    println!("{} of {} runs failed", failed.len(), arguments.seeds);
    reached.iter().for_each(|(place, often)| println!("{often:>8} times: {place}"));
    for (seed, failure) in failed.iter().skip(1) {
        println!("  seed {seed}: {:?}: {}", failure.violation.invariant, first_line(&failure.violation.what));
    }
    let Some((seed, failure)) = failed.into_iter().next() else { return ExitCode::SUCCESS };
    let settings = Settings { seed, ..settings };
    let smallest = match arguments.no_shrink {
        true => settings,
        false => shrink(&settings, failure.violation.invariant),
    };
    if let Err(Failure { violation, trace }) = run(&smallest, arguments.trace) {
        trace.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: {:?}: {}", violation.invariant, violation.what);
        println!("{}", smallest.command());
    }
    ExitCode::FAILURE
}

fn first_line(text: &str) -> String {
    text.chars().take(240).collect()
}
