//! `daybook alerts`: a tenant's alerts, the newest ones or as they come.

use crate::asker::Asker;
use crate::cli::{ClientArguments, Outcome};
use crate::table::{self, Table, count};
use daybook_contracts::alert::Alert;
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::report::Row;
use daybook_domain::ids::TenantId;
use daybook_runtime::process::wait_for_signal;
use std::process::ExitCode;
use std::time::Duration;

/// How often `--follow` asks for newer alerts.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    tenant: TenantId,
    /// Show the newest N
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: usize,
    /// Show alerts as they come, a line each, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let asker = arguments.client.connect_to_ask().await?;
    if arguments.follow {
        return tokio::select! {
            outcome = follow(&asker, &arguments) => outcome,
            () = wait_for_signal() => Ok(ExitCode::from(130)),
        };
    }
    let newest = asker.alerts(&arguments.tenant, arguments.last).await?;
    if arguments.client.json {
        super::print_json(&newest.alerts)?;
        return Ok(ExitCode::SUCCESS);
    }
    if newest.alerts.is_empty() {
        super::print_line("no alerts")?;
        return Ok(ExitCode::SUCCESS);
    }
    alerts_table(&newest.alerts).print()?;
    if newest.has_older {
        let shown = count(newest.alerts.len() as u64);
        super::print_line(&format!("the newest {shown}; --last N shows more"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the newest alerts, then those that come. While query is away it goes on asking from the same place.
async fn follow(asker: &Asker, arguments: &Arguments) -> Outcome {
    let newest = asker.alerts(&arguments.tenant, arguments.last).await?;
    for alert in &newest.alerts {
        print(alert, arguments.client.json)?;
    }
    let mut place = newest.newer;
    loop {
        match asker.alerts_behind(&arguments.tenant, &place).await {
            Ok(page) => {
                if page.missed {
                    eprintln!("some alerts were dropped before they could be shown");
                }
                for alert in &page.alerts {
                    print(alert, arguments.client.json)?;
                }
                place = page.newer;
                if page.next.is_some() {
                    continue;
                }
            }
            Err(error) if matches!(error.code, AskErrorCode::Unavailable | AskErrorCode::Busy) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// One alert as one line.
fn print(alert: &Alert, json: bool) -> anyhow::Result<()> {
    let line = match json {
        true => serde_json::to_string(alert)?,
        false => cells(alert).join("  "),
    };
    table::print(&format!("{line}\n"))?;
    Ok(())
}

fn alerts_table(alerts: &[Alert]) -> Table {
    let mut table = Table::new(["AT", "DAY", "ALERT", "VIEW", "ABOUT"]);
    for alert in alerts {
        table.row(cells(alert));
    }
    table
}

fn cells(alert: &Alert) -> [String; 5] {
    let view = alert.view.as_ref().map(|view| view.to_string()).unwrap_or_default();
    let about = match (&alert.report, &alert.group, &alert.figures) {
        (Some(report), ..) => format!("report version {}", report.version),
        (None, Some(group), Some(figures)) => format!("{}: {}", named(group, "all"), named(figures, "")),
        _ => "further groups, which fire no more on this day".to_owned(),
    };
    [alert.at.to_string(), alert.day.to_string(), alert.alert.to_string(), view, about]
}

/// `store=S1, city=ABQ`, or `nothing` of no columns.
fn named(row: &Row, nothing: &str) -> String {
    let cells: Vec<String> = row.0.iter().map(|(name, figure)| format!("{name}={figure}")).collect();
    if cells.is_empty() { nothing.to_owned() } else { cells.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_shown_in_a_line() {
        let shown = |rest: &str| {
            let json = format!(
                r#"{{"id":"acme-7-0","alert":"low","tenant":"acme","generation":0,"day":"2026-11-30","at":"2026-11-30T10:00:00Z","log":7{rest}}}"#
            );
            cells(&serde_json::from_str(&json).unwrap()).join("|")
        };
        let head = "2026-11-30T10:00:00Z|2026-11-30|low";
        assert_eq!(
            shown(r#","view":"sales","group":{"store":"S1"},"figures":{"revenue":-3.20,"orders":null}"#),
            format!("{head}|sales|store=S1: revenue=-3.20, orders=")
        );
        assert_eq!(shown(r#","view":"v","group":{},"figures":{"n":1}"#), format!("{head}|v|all: n=1"));
        assert_eq!(shown(r#","report":{"version":2,"hash":"ab"}"#), format!("{head}||report version 2"));
        assert!(
            shown(r#","view":"v","more_groups":true"#).ends_with("|v|further groups, which fire no more on this day")
        );
    }
}
