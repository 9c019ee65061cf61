//! `daybook webhook`: tries the receivers of alerts.

use crate::cli::Outcome;
use gateway::webhooks::trying::{TriedTarget, try_target};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WebhookCommand {
    /// Send one test alert to a target, and show what comes back; no Daybook is asked
    Try(TryArguments),
}

#[derive(Debug, clap::Args)]
struct TryArguments {
    /// YAML file of webhooks, as gateway has it; the secrets that it names are read here
    file: PathBuf,
    /// Name of the target
    #[arg(long, value_name = "NAME")]
    target: String,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let WebhookCommand::Try(arguments) = arguments.command;
    let tried = try_target(&arguments.file, &arguments.target).await?;
    match arguments.json {
        true => super::print_json(&tried)?,
        false => described(&tried).iter().try_for_each(|line| super::print_line(line))?,
    }
    Ok(if tried.is_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(tried: &TriedTarget) -> Vec<String> {
    let TriedTarget { target, place, id, why, millis, said, .. } = tried;
    let mut lines = vec![format!("sent {id} to {target} at {place}")];
    lines.push(match (tried.status, why) {
        (Some(status), None) => format!("taken: status {status} after {millis} ms"),
        (_, why) => format!("not taken: {} ({millis} ms)", why.as_deref().unwrap_or_default()),
    });
    lines.extend(said.lines().map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_what_came_back() {
        let taken = TriedTarget {
            target: "pager".to_owned(),
            place: "https://h".to_owned(),
            id: "acme-0-1".to_owned(),
            is_taken: true,
            status: Some(204),
            why: None,
            millis: 12,
            said: String::new(),
        };
        assert_eq!(described(&taken), ["sent acme-0-1 to pager at https://h", "taken: status 204 after 12 ms"]);
        let why = Some("the receiver answered 400 Bad Request".to_owned());
        let refused =
            TriedTarget { is_taken: false, status: Some(400), why, said: "bad\nsignature".to_owned(), ..taken };
        let lines = described(&refused);
        assert_eq!(lines[1], "not taken: the receiver answered 400 Bad Request (12 ms)");
        assert_eq!(lines[2..], ["  bad", "  signature"]);
    }
}
