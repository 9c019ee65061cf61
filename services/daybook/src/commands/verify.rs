//! `daybook verify`: replays the log and proves that it makes the sealed reports, byte for byte.

use super::replay::progress;
use crate::cli::{ClientArguments, Outcome};
use crate::table::{Table, count, counted, duration};
use crate::verification::verify::{List, Scope, Verification, verify};
use anyhow::bail;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code when nothing is amiss but that the log's retention has deleted a part of what is to be verified with.
const OVER_RETENTION: u8 = 3;
/// Most differences that the table shows.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Verify a day of this tenant
    #[arg(required_unless_present = "all", requires = "date")]
    tenant: Option<TenantId>,
    /// Business day, such as 2013-03-10; every version of its report is verified
    date: Option<Date>,
    /// Verify every report there is
    #[arg(long, conflicts_with = "tenant")]
    all: bool,
    /// With --all: only those of these tenants
    #[arg(long = "tenant", value_name = "TENANT", value_delimiter = ',', requires = "all", conflicts_with = "tenant")]
    only: Vec<TenantId>,
    #[command(flatten)]
    client: ClientArguments,
}

impl Arguments {
    fn scope(&self) -> Scope {
        match (&self.tenant, self.date) {
            (Some(tenant), Some(date)) => Scope::Day(tenant.clone(), date),
            _ if self.only.is_empty() => Scope::All,
            _ => Scope::Tenants(self.only.iter().cloned().collect()),
        }
    }
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let scope = arguments.scope();
    let bar = progress(Some(0), arguments.client.json);
    let outcome = tokio::select! {
        outcome = verify(&client.connection, scope.clone(), &bar) => outcome?,
        () = daybook_runtime::process::wait_for_signal() => {
            bar.abandon_with_message("stopped; nothing is verified");
            return Ok(ExitCode::from(130));
        }
    };
    if arguments.client.json {
        super::print_json(&outcome)?;
    } else {
        show(&outcome, &scope)?;
    }
    if let Scope::Day(tenant, date) = &scope
        && is_empty(&outcome)
    {
        bail!("there is no sealed report of {date} for {tenant}, and the log makes none; see `daybook days {tenant}`");
    }
    Ok(ExitCode::from(exit_code(&outcome)))
}

fn exit_code(outcome: &Verification) -> u8 {
    match outcome.is_sound() {
        true => 0,
        false if outcome.is_amiss() => 1,
        false => OVER_RETENTION,
    }
}

fn is_empty(outcome: &Verification) -> bool {
    let lists = [&outcome.verified, &outcome.not_written, &outcome.not_verifiable, &outcome.no_longer_verifiable];
    lists.iter().map(|list| list.count).sum::<u64>() + outcome.differences_count == 0
}

fn show(outcome: &Verification, scope: &Scope) -> anyhow::Result<()> {
    if is_empty(outcome) && matches!(scope, Scope::Day(..)) {
        return Ok(());
    }
    match scope {
        Scope::Day(..) => versions(outcome).print()?,
        Scope::Tenants(_) | Scope::All => partitions(outcome).print()?,
    }
    let line = |text: String| super::print_line(&text);
    line(format!("\n{}", summary(outcome)))?;
    for outcome in &outcome.partitions {
        if let Some(broken) = &outcome.broken {
            line(broken.clone())?;
        }
    }
    if outcome.not_written.count > 0 {
        line(format!("not written yet: {}; the shard is on its way to them", names(&outcome.not_written)))?;
    }
    if outcome.not_verifiable.count > 0 {
        line(format!("not verifiable: {}", names(&outcome.not_verifiable)))?;
        if let Some(reason) = outcome.not_verifiable.named.first().and_then(|named| named.reason.as_ref()) {
            line(format!("  the first because {reason}"))?;
        }
    }
    if outcome.no_longer_verifiable.count > 0 {
        line(format!("cannot be verified any more: {}", names(&outcome.no_longer_verifiable)))?;
        if let Some(reason) = outcome.no_longer_verifiable.named.first().and_then(|named| named.reason.as_ref()) {
            line(format!("  the first because {reason}"))?;
        }
    }
    for outcome in &outcome.partitions {
        if let Some(trimmed) = outcome.trimmed {
            line(format!(
                "partition {}: the log begins at {}; verified from position {} on, trusting the snapshot there",
                outcome.partition, trimmed.begins, trimmed.snapshot
            ))?;
        }
    }
    if let Some((subject, sequence)) = outcome.foreign.named.first() {
        line(format!(
            "passed over {} among the reports that no shard wrote, the first on {subject} at {sequence} of REPORTS; nothing \
             rests on them",
            counted(outcome.foreign.count, "message")
        ))?;
    }
    let Some(first) = outcome.differences.first() else { return Ok(()) };
    line(format!("first difference: {first}"))?;
    if outcome.differences.len() > 1 {
        differences(outcome).print()?;
    }
    let shown = outcome.differences.len().min(SHOWN) as u64;
    if outcome.differences_count > shown {
        line(format!("{shown} of {} differences; --json has more", count(outcome.differences_count)))?;
    }
    Ok(())
}

/// One line for people.
pub fn summary(outcome: &Verification) -> String {
    let events: u64 = outcome.partitions.iter().map(|partition| partition.events).sum();
    let took = duration(Duration::from_secs_f64(outcome.seconds));
    let differences = match outcome.differences_count {
        0 => "no differences".to_owned(),
        number => counted(number, "difference"),
    };
    format!(
        "{} verified byte for byte out of {} events, {differences}, in {took}",
        counted(outcome.verified.count, "report version"),
        count(events)
    )
}

fn partitions(outcome: &Verification) -> Table {
    let mut table = Table::new(["PARTITION", "BATCHES", "EVENTS", "THROUGH", "VERIFIED"]);
    for partition in &outcome.partitions {
        table.row([
            partition.partition.to_string(),
            count(partition.batches),
            count(partition.events),
            partition.through.to_string(),
            count(partition.verified),
        ]);
    }
    table
}

/// The versions of one day and what became of each.
fn versions(outcome: &Verification) -> Table {
    let lists = [
        (&outcome.verified, "verified"),
        (&outcome.not_written, "not written yet"),
        (&outcome.not_verifiable, "not verifiable"),
        (&outcome.no_longer_verifiable, "not verifiable any more"),
    ];
    let mut rows: Vec<(u64, [String; 4])> = Vec::new();
    for (list, result) in lists {
        for named in &list.named {
            let position = named.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
            let hash = named.hash.clone().unwrap_or_else(|| "-".to_owned());
            rows.push((named.version, [named.version.to_string(), result.to_owned(), position, hash]));
        }
    }
    for difference in outcome.differences.iter().take(SHOWN) {
        let position = difference.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
        let what = format!("differs: {}", difference.what.word());
        rows.push((difference.version, [difference.version.to_string(), what, position, "-".to_owned()]));
    }
    rows.sort_by_key(|(version, _)| *version);
    let mut table = Table::new(["VERSION", "RESULT", "SEALED AT", "HASH"]);
    for (_, row) in rows {
        table.row(row);
    }
    table
}

fn differences(outcome: &Verification) -> Table {
    let mut table = Table::new(["TENANT", "DATE", "VERSION", "REPORTS", "DIFFERENCE"]);
    for difference in outcome.differences.iter().take(SHOWN) {
        table.row([
            difference.tenant.clone(),
            difference.date.clone(),
            difference.version.to_string(),
            difference.sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string()),
            difference.what.to_string(),
        ]);
    }
    table
}

/// The first few by name, and how many more there are.
fn names(list: &List) -> String {
    const FEW: usize = 5;
    let few = list.named.iter().take(FEW);
    let mut names: Vec<String> =
        few.map(|named| format!("{} {} version {}", named.tenant, named.date, named.version)).collect();
    if list.count > names.len() as u64 {
        names.push(format!("and {} more", count(list.count - names.len() as u64)));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::verify::PartitionOutcome;
    use daybook_domain::ids::{LogSeq, Partition};

    #[test]
    fn a_log_that_breaks_off_is_no_success_though_no_report_rests_on_it() {
        let of = |broken: Option<&str>, broken_by_retention: bool| {
            let partition = PartitionOutcome {
                partition: Partition(0),
                through: LogSeq(7),
                batches: 7,
                events: 7,
                verified: 1,
                broken: broken.map(str::to_owned),
                broken_by_retention,
                trimmed: None,
            };
            Verification { partitions: vec![partition], ..Verification::default() }
        };
        assert_eq!(exit_code(&of(None, false)), 0);
        assert_eq!(exit_code(&of(Some("position 8 cannot be replayed"), false)), 1);
        assert_eq!(exit_code(&of(Some("the log begins at 3"), true)), OVER_RETENTION);
    }

    #[test]
    fn what_is_amiss_goes_before_what_is_deleted() {
        let some = || List { count: 1, named: Vec::new() };
        let deleted = Verification { no_longer_verifiable: some(), ..Verification::default() };
        assert_eq!(exit_code(&deleted), OVER_RETENTION);
        assert_eq!(exit_code(&Verification { not_verifiable: some(), ..deleted.clone() }), 1);
        assert_eq!(exit_code(&Verification { differences_count: 1, ..deleted }), 1);
    }
}
