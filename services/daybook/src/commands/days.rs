//! `daybook days`: a tenant's days, and what became of the events published for each.

use crate::cli::{ClientArguments, Outcome};
use crate::table::Table;
use daybook_contracts::ask::DayState;
use daybook_contracts::report::Account;
use daybook_domain::ids::TenantId;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    tenant: TenantId,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let asker = arguments.client.connect_to_ask().await?;
    let days = asker.days(&arguments.tenant).await?;
    if arguments.client.json {
        super::print_json(&days)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        "DATE",
        "STATE",
        "REPORT",
        "PUBLISHED",
        "= COUNTED",
        "+ PENDING",
        "+ DUPLICATE",
        "+ STALE",
        "+ CARRIED",
        "+ REJECTED",
        "DRAFTS EVER",
    ]);
    let mut total = Account::default();
    for day in &days.days {
        total.add(&day.account);
        let state = match day.day {
            DayState::Upcoming => "upcoming",
            DayState::Open => "open",
            DayState::Closed if day.as_reported => "as reported",
            DayState::Closed if day.restating => "restating",
            DayState::Closed => "closed",
        };
        let report = day.report.map(|version| format!("v{version}")).unwrap_or_default();
        table.row([day.date.to_string(), state.to_owned(), report].into_iter().chain(cells(&day.account)));
    }
    table.row(["total".to_owned(), String::new(), String::new()].into_iter().chain(cells(&total)));
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn cells(account: &Account) -> [String; 8] {
    account.named().map(|(_, count)| count.to_string())
}
