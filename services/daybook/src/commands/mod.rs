//! A file for each command.

pub mod alerts;
pub mod apply;
pub mod audit;
pub mod broker;
pub mod day;
pub mod days;
pub mod demo;
pub mod demo_flights;
mod demo_open;
pub mod export;
pub mod get;
pub mod key;
pub mod map;
pub mod nats;
pub mod query;
pub mod rejects;
pub mod remove;
pub mod replay;
pub mod report;
pub mod reports;
pub mod resend;
pub mod size;
pub mod status;
pub mod token;
pub mod up;
pub mod verify;
pub mod watch;
pub mod webhook;

/// Prints a value as JSON on standard output.
///
/// # Errors
/// When standard output is gone for another reason than a reader who has seen enough.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print_line(&serde_json::to_string_pretty(value)?)
}

/// Prints a line; a reader who has gone away is no error.
///
/// # Errors
/// When standard output fails otherwise.
fn print_line(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => Ok(outcome?),
    }
}
