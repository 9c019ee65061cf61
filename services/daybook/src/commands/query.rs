//! `daybook query`: the figures of a view, live or sealed.

use crate::cli::{ClientArguments, Outcome};
use crate::commands::report::rows_table;
use daybook_contracts::ask::{DaySelector, DayState, Query};
use daybook_contracts::report::Coverage;
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    tenant: TenantId,
    view: Name,
    /// Business day: today, or a date such as 2013-03-10
    #[arg(long, default_value = "today")]
    day: DaySelector,
    /// Only an answer that rests on this INBOX sequence (of a PubAck) or a later one
    #[arg(long, value_name = "SEQUENCE")]
    at_least: Option<u64>,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let query = Query { at_least: arguments.at_least.map(InboxSeq), ..Query::days(arguments.day) };
    let answer = client.query(&arguments.tenant, arguments.view.as_str(), &query).await?;
    if arguments.client.json {
        super::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let state = match (answer.day, answer.report) {
        (DayState::Upcoming, _) => "has not opened yet".to_owned(),
        (DayState::Open, _) => "open".to_owned(),
        (DayState::Closed, Some(version)) => format!("closed, report version {version}"),
        (DayState::Closed, None) => "closed".to_owned(),
    };
    super::print_line(&format!("{} {}  {} ({state})", answer.tenant, answer.view, answer.from))?;
    rows_table(&answer.rows).print()?;
    if answer.total > answer.rows.len() as u64 {
        super::print_line(&format!("… {} of {} rows", answer.rows.len(), answer.total))?;
    }
    let fresh = match answer.freshness_ms {
        0 => "up to date".to_owned(),
        ms if ms < 10_000 => format!("{ms} ms behind"),
        _ => "catching up with the log".to_owned(),
    };
    let coverage = match &answer.coverage {
        Coverage::Complete => String::new(),
        Coverage::Partial { from, reason } => format!(", only from log position {from} on: {reason}"),
    };
    super::print_line(&format!("{fresh}, INBOX {}, log {}{coverage}", answer.as_of.inbox, answer.as_of.log))?;
    Ok(ExitCode::SUCCESS)
}
