//! `daybook broker`: finds nats-server, or fetches it.

use crate::cli::Outcome;
use crate::embedded::locate_broker;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Use this nats-server
    #[arg(long, env = "DAYBOOK_NATS_SERVER", value_name = "FILE")]
    nats_server: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let path = locate_broker(arguments.nats_server).await?;
    super::print_line(&path.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
