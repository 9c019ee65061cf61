//! `daybook export`: figures of sealed days as files.

use crate::cli::{ClientArguments, Outcome as Ended};
use crate::export::files::Format;
use crate::export::{Order, Outcome, export, files_of};
use crate::table::{Table, count};
use anyhow::{Context as _, bail};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use futures::StreamExt as _;
use indicatif::ProgressBar;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

/// Tenants that are exported at once.
const AT_ONCE: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  daybook export sales --to figures                              every sealed day of every tenant, as Parquet
  daybook export sales --tenant acme --from 2026-01-01 --format csv --to figures-csv
  duckdb -c \"select day, sum(revenue) from 'figures/sales/*/*.parquet' group by day order by day\"

A file holds a tenant's day: TO/VIEW/TENANT/DAY.parquet. Run the command again, and it writes only days that were sealed, or sealed
again, since.")]
pub struct Arguments {
    view: Name,
    /// Folder for the files
    #[arg(long)]
    to: PathBuf,
    /// How to write them
    #[arg(long, value_enum, default_value_t = Format::Parquet)]
    format: Format,
    /// Only these tenants; required with the credentials of a tenant
    #[arg(long, value_delimiter = ',')]
    tenant: Vec<TenantId>,
    /// First business day
    #[arg(long, default_value_t = Date::MIN, hide_default_value = true)]
    from: Date,
    /// Last business day
    #[arg(long, default_value_t = Date::MAX, hide_default_value = true)]
    until: Date,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Ended {
    let is_named = !arguments.tenant.is_empty();
    let (asker, tenants): (_, BTreeSet<TenantId>) = if is_named {
        (arguments.client.connect_to_ask().await?, arguments.tenant.into_iter().collect())
    } else {
        let client = arguments.client.connect().await;
        let client = client.context("all tenants are for operators; name a tenant with --tenant to export its own")?;
        let view = client.catalogue().await?.views.into_iter().find(|view| view.name == arguments.view);
        let view =
            view.with_context(|| format!("there is no view {}; `daybook get views` lists them", arguments.view))?;
        let all = client.tenants().await?.into_iter().map(|tenant| tenant.id);
        (client.asker.clone(), all.filter(|tenant| view.is_for(tenant)).collect())
    };
    let order = Order {
        view: arguments.view,
        days: (arguments.from, arguments.until),
        format: arguments.format,
        folder: arguments.to,
    };
    let bar = if arguments.client.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let outcomes: BTreeMap<TenantId, anyhow::Result<Outcome>> = futures::stream::iter(tenants)
        .map(|tenant| {
            let (asker, order, bar) = (&asker, &order, &bar);
            async move {
                let told = |days| {
                    bar.inc(days);
                    bar.set_message(format!("{} days of {}", count(bar.position()), order.view));
                };
                let outcome = export(asker, &tenant, order, told).await;
                (tenant, outcome)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    bar.finish_and_clear();
    // What fails for one tenant keeps no other's figures back.
    let (mut exported, mut failed) = (BTreeMap::new(), Vec::new());
    for (tenant, outcome) in outcomes {
        match outcome {
            Ok(outcome) => drop(exported.insert(tenant, outcome)),
            Err(error) => failed.push(format!("{tenant}: {error:#}")),
        }
    }
    if arguments.client.json {
        super::print_json(&exported)?;
    } else {
        print(&exported, &files_of(&order.folder, &order.view, order.format))?;
    }
    match &failed[..] {
        [] => Ok(ExitCode::SUCCESS),
        [only] => bail!("{only}"),
        [first, rest @ ..] => bail!("{first}; {} further tenants failed, too", rest.len()),
    }
}

fn print(outcomes: &BTreeMap<TenantId, Outcome>, files: &str) -> anyhow::Result<()> {
    let mut table = Table::new(["TENANT", "DAYS WRITTEN", "ROWS", "UNCHANGED", "WITHOUT FIGURES"]);
    for (tenant, outcome) in outcomes {
        let counts = [outcome.written, outcome.rows, outcome.unchanged, outcome.without.len() as u64];
        table.row([tenant.to_string()].into_iter().chain(counts.map(count)));
    }
    table.print()?;
    for (tenant, outcome) in outcomes {
        if let Some((day, why)) = outcome.without.first() {
            super::print_line(&format!(
                "{tenant} has no figures of {}, the first {day}: {why}",
                outcome.without.len()
            ))?;
        }
    }
    super::print_line(files)
}
