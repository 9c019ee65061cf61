//! `chaos`: faults, and a table of what was survived.

use anyhow::Context as _;
use clap::Parser;
use daybook_chaos::run::{Length, Settings, run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Between two steps of the clock: four are a day.
const CLOCK_INTERVAL: Duration = Duration::from_secs(4);

#[derive(Parser)]
#[command(about = "Lets faults strike a whole Daybook under load, and checks everything afterwards")]
struct Arguments {
    /// For how long faults strike
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Which faults, in which sequence
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where logs and data are left; a folder for them that is empty or yet to be made
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let settings = Settings {
        seed: arguments.seed,
        length: Length::Time(Duration::from_secs(60 * arguments.minutes)),
        clock_interval: CLOCK_INTERVAL,
        only: Vec::new(),
    };
    let temporary = tempfile::tempdir().context("a folder for the run")?;
    let folder = arguments.folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).context("a folder for the run")?;
    let outcome = run(&settings, folder).await;
    if let Ok(summary) = &outcome {
        println!("{summary}");
        if summary.is_sound() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    eprintln!("seed {}: logs and data are in {}", arguments.seed, folder.display());
    // Of no use to those who named another one, and empty then.
    let _ = temporary.keep();
    outcome.map(|_| ExitCode::FAILURE)
}
