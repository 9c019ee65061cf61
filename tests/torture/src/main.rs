//! `torture`: kills, and a table of what they left.

use clap::{Parser, Subcommand};
use daybook_runtime::store::Backend;
use daybook_torture::kills::{Outcome, torture};
use daybook_torture::{full, victim};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Kills a process that commits checkpoints, and looks at what it leaves")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How often each store's process is killed
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Which moments, and which rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One of them only
    #[arg(long, value_enum)]
    store: Option<Backend>,
}

/// What the test starts, as processes of their own.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Victim(On),
    #[command(hide = true)]
    Full(On),
}

#[derive(clap::Args)]
struct On {
    #[arg(long, value_enum)]
    store: Backend,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Victim(on)) => victim::run(on.store, &on.folder, on.seed),
        Some(Part::Full(on)) => full::run(on.store, &on.folder, on.seed),
        None => return table(&arguments),
    }
    ExitCode::SUCCESS
}

fn table(arguments: &Arguments) -> ExitCode {
    let binary = std::env::current_exe().expect("a running program has a file");
    println!(
        "| store | kills | torn | lost | unusable | checkpoints | rows/s | disk, MB | rows, MB | resident, MB | restore, ms |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let backends = Backend::ALL.into_iter().filter(|backend| arguments.store.is_none_or(|store| store == *backend));
    let mut is_sound = true;
    for backend in backends {
        let outcome = torture(&binary, backend, arguments.seed, |kills| kills < arguments.kills);
        println!("{}", row(backend, &outcome));
        is_sound &= outcome.is_sound();
    }
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(backend: Backend, outcome: &Outcome) -> String {
    let Outcome { kills, torn, lost, unusable, checkpoints, rows, running, restoring, .. } = outcome;
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    format!(
        "| {} | {kills} | {torn} | {lost} | {unusable} | {checkpoints} | {} | {} | {} | {} | {} |",
        backend.name(),
        u128::from(*rows) * 1_000 / running.as_millis().max(1),
        megabytes(outcome.disk_bytes),
        megabytes(outcome.live_bytes),
        megabytes(outcome.resident_bytes),
        restoring.as_millis() / u128::from(*kills).max(1),
    )
}
