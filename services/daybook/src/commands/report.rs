//! `daybook report`: the sealed report of a day.

mod difference;

use crate::asker::Asker;
use crate::cli::{ClientArguments, Outcome};
use crate::sealed::Sealed;
use crate::table::{Table, figure};
use anyhow::bail;
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::comparison::{compare, earlier_version};
use daybook_contracts::report::{Change, Coverage, Row};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    tenant: TenantId,
    /// Business day, such as 2013-03-10
    date: Date,
    /// Show this version instead of the newest
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Show what the version changed in the one before it, or what changed between two versions, such as 1..3
    #[arg(long, value_name = "FROM..TO", num_args = 0..=1)]
    diff: Option<Option<difference::Versions>>,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let named = arguments.diff.flatten();
    if named.is_some() && arguments.version.is_some() {
        bail!("--diff names both versions already: leave --version out, or give --diff without versions");
    }
    let asker = arguments.client.connect_to_ask().await?;
    let version = named.map(|versions| versions.to).or(arguments.version);
    let Some(sealed) = ask(&asker, &arguments, version).await? else { return Ok(ExitCode::FAILURE) };
    if arguments.diff.is_some() {
        let from = earlier_version(&sealed.report, named.map(|versions| versions.from))?;
        let Some(before) = ask(&asker, &arguments, Some(from)).await? else { return Ok(ExitCode::FAILURE) };
        let comparison = compare(&before.report, &sealed.report);
        match arguments.client.json {
            true => super::print_json(&comparison)?,
            false => difference::show(&comparison)?,
        }
    } else if arguments.client.json {
        // The very bytes that were sealed.
        super::print_line(&String::from_utf8_lossy(&sealed.payload))?;
    } else {
        show(&sealed)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A version of the report, the newest when none is named. Says so when the day has none.
async fn ask(asker: &Asker, arguments: &Arguments, version: Option<u32>) -> anyhow::Result<Option<Sealed>> {
    let (tenant, date) = (&arguments.tenant, arguments.date);
    match asker.report(tenant, date, version).await {
        Ok(sealed) => Ok(Some(sealed)),
        Err(error) if error.code == AskErrorCode::UnknownDay && error.field.as_deref() == Some("date") => {
            eprintln!(
                "daybook: there is no sealed report of {date} for {tenant}; `daybook days {tenant}` shows its days"
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn show(sealed: &Sealed) -> anyhow::Result<()> {
    let report = &sealed.report;
    let account = &report.dispositions;
    let line = |text: String| super::print_line(&text);
    line(format!("{}  {}  version {}", report.tenant, report.date, report.version))?;
    if sealed.is_restating {
        let next = report.version + 1;
        line(format!(
            "  restating  late events have changed the day; version {next} is to come, answers have them already"
        ))?;
    }
    line(format!("  day        {} to {}", report.day.opens_at, report.day.closes_at))?;
    line(format!(
        "  events     {} published = {} counted + {} pending + {} duplicate + {} stale + {} carried + {} rejected",
        account.published,
        account.counted,
        account.pending,
        account.duplicate,
        account.stale,
        account.carried,
        account.rejected
    ))?;
    if account.drafts > 0 {
        line(format!(
            "  drafts     {} came, {} of them open when the day was sealed",
            account.drafts, account.pending
        ))?;
    }
    match &report.coverage {
        Coverage::Complete | Coverage::Missing { .. } => line("  coverage   complete".to_owned())?,
        Coverage::Partial { from, reason } => line(format!("  coverage   from log position {from}: {reason}"))?,
        Coverage::Capped { from, reason } => {
            line(format!("  coverage   without groups that were new after log position {from}: {reason}"))?
        }
    }
    line(format!(
        "  log        partition {}, positions {} to {}",
        report.log.partition, report.log.from, report.log.through
    ))?;
    line(format!(
        "  calendar   {}, tzdb {}",
        report.definitions.calendar.as_ref().map_or("", |c| c.as_str()),
        report.definitions.tzdb
    ))?;
    line(format!("  hash       {} (BLAKE3 of the JSON)", sealed.hash))?;
    if let Some(old) = &report.supersedes {
        line(format!("  supersedes version {}, {}", old.version, old.hash))?;
        show_changes(&report.changes, report.changes_omitted)?;
    }
    for (name, view) in &report.views {
        line(format!("\n{name}"))?;
        rows_table(&view.rows).print()?;
        if view.total > view.rows.len() as u64 {
            line(format!("… {} of {} rows", view.rows.len(), view.total))?;
        }
    }
    Ok(())
}

/// The late events that a version names as its reason.
fn show_changes(changes: &[Change], omitted: u64) -> anyhow::Result<()> {
    for change in changes {
        let id = change.id.as_deref().unwrap_or("-");
        super::print_line(&format!("    because  {} {id}: {} (INBOX {})", change.kind, change.what, change.inbox))?;
    }
    if omitted > 0 {
        super::print_line(&format!("    and {omitted} more"))?;
    }
    Ok(())
}

/// Rows as a table: across, or down when there is only one.
pub fn rows_table(rows: &[Row]) -> Table {
    match rows {
        [] => Table::new(["no rows"]),
        [row] => {
            let mut table = Table::new(["METRIC", "VALUE"]);
            for (name, value) in &row.0 {
                table.row([name.to_string(), figure(value)]);
            }
            table
        }
        rows => {
            let mut table = Table::new(rows[0].0.iter().map(|(name, _)| name.to_string()));
            for row in rows {
                table.row(row.0.iter().map(|(_, value)| figure(value)));
            }
            table
        }
    }
}
