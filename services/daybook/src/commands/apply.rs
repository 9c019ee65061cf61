//! `daybook apply`: puts definitions from YAML files into force, all of them or none.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::definitions::{self, Definitions};
use crate::table::Table;
use anyhow::Context as _;
use daybook_contracts::admin::{Action, Applied, Apply, ApplyReply, Refusal};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tenants sent in one request, to stay well below the broker's payload limit.
const TENANTS_AT_ONCE: usize = 500;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// YAML files with kinds, views and tenants; - for standard input
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only check, and show what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let mut files = Vec::new();
    for path in &arguments.files {
        files.push((path.clone(), read(path)?));
    }
    let client = arguments.client.connect().await?;
    let known = client.catalogue().await?;
    let definitions = match definitions::load(&files, &known.kinds) {
        Ok(definitions) => definitions,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            eprintln!("daybook: nothing was changed: {} to mend", count(mistakes.len(), "mistake"));
            return Ok(ExitCode::FAILURE);
        }
    };
    match apply(&client, &definitions, arguments.dry_run).await? {
        Ok(applied) => {
            show(&applied, arguments.dry_run, arguments.client.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(refusals) => {
            refusals.iter().for_each(|refusal| eprintln!("{}", definitions.refused(refusal)));
            eprintln!("daybook: nothing was changed: {} refused", count(refusals.len(), "definition"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Applies definitions in requests that fit the broker; all are checked before the first one is put into force.
///
/// # Errors
/// When day-manager does not answer.
pub async fn apply(
    client: &Client,
    definitions: &Definitions,
    dry_run: bool,
) -> anyhow::Result<Result<Vec<Applied>, Vec<Refusal>>> {
    let whole = &definitions.apply;
    let models = Apply { kinds: whole.kinds.clone(), views: whole.views.clone(), ..Apply::default() };
    let tenants =
        whole.tenants.chunks(TENANTS_AT_ONCE).map(|tenants| Apply { tenants: tenants.to_vec(), ..Apply::default() });
    let requests: Vec<Apply> = std::iter::once(models).chain(tenants).collect();
    let mut refused = Vec::new();
    let mut applied = Vec::new();
    for request in &requests {
        match client.apply(&Apply { dry_run: true, ..request.clone() }).await? {
            ApplyReply::Applied(lines) => applied.extend(lines),
            ApplyReply::Refused(refusals) => refused.extend(refusals),
        }
    }
    if !refused.is_empty() {
        return Ok(Err(refused));
    }
    if dry_run {
        return Ok(Ok(applied));
    }
    let mut applied = Vec::new();
    for request in &requests {
        match client.apply(request).await? {
            ApplyReply::Applied(lines) => applied.extend(lines),
            ApplyReply::Refused(refusals) => return Ok(Err(refusals)),
        }
    }
    Ok(Ok(applied))
}

fn show(applied: &[Applied], dry_run: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return super::print_json(&applied);
    }
    let mut table = Table::new(["", "NAME", "OUTCOME", "DETAIL"]);
    let mut unchanged = 0;
    for line in applied {
        let outcome = match line.action {
            Action::Created => "created",
            Action::Changed => "changed",
            Action::Unchanged => {
                unchanged += 1;
                continue;
            }
        };
        table.row([line.what.clone(), line.name.clone(), outcome.to_owned(), line.detail.clone().unwrap_or_default()]);
    }
    if unchanged < applied.len() {
        table.print()?;
    }
    let verb = if dry_run { "would be put into force" } else { "put into force" };
    super::print_line(&format!("{} {verb}, {unchanged} unchanged", count(applied.len() - unchanged, "definition")))
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
