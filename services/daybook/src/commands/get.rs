//! `daybook get`: shows what is defined.

use crate::cli::{ClientArguments, Outcome};
use crate::table::{Table, duration};
use daybook_domain::catalogue::{Mode, Tenant};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to show
    what: What,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Tenants,
    Kinds,
    Views,
    Clocks,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let json = arguments.client.json;
    let table = match arguments.what {
        What::Tenants => {
            let tenants = client.tenants().await;
            if json {
                super::print_json(&tenants)?;
                return Ok(ExitCode::SUCCESS);
            }
            tenants_table(&tenants)
        }
        What::Kinds => {
            let kinds = client.catalogue().await?.kinds;
            if json {
                super::print_json(&kinds)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(["KIND", "MODE", "DIMENSIONS", "MEASURES", "REVISION"]);
            for kind in kinds {
                let mode = if kind.mode == Mode::Entity { "entity" } else { "fact" };
                let dimensions: Vec<_> = kind.dimensions.iter().map(|d| d.name.as_str()).collect();
                let measures: Vec<_> = kind.measures.iter().map(|m| m.name.as_str()).collect();
                table.row([
                    kind.name.to_string(),
                    mode.to_owned(),
                    dimensions.join(", "),
                    measures.join(", "),
                    kind.revision.to_string(),
                ]);
            }
            table
        }
        What::Views => {
            let views = client.catalogue().await?.views;
            if json {
                super::print_json(&views)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(["VIEW", "KIND", "GROUPED BY", "METRICS", "REVISION"]);
            for view in views {
                let by: Vec<_> = view.group_by.iter().map(|name| name.as_str()).collect();
                let metrics: Vec<_> = view.metrics.iter().map(|metric| metric.name.as_str()).collect();
                table.row([
                    view.name.to_string(),
                    view.kind.to_string(),
                    by.join(", "),
                    metrics.join(", "),
                    view.revision.to_string(),
                ]);
            }
            table
        }
        What::Clocks => {
            let clocks = client.catalogue().await?.clocks;
            if json {
                super::print_json(&clocks)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(["CLOCK", "STANDS AT"]);
            for (name, instant) in clocks {
                table.row([name.to_string(), instant.to_string()]);
            }
            table
        }
    };
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn tenants_table(tenants: &[Tenant]) -> Table {
    let mut table = Table::new(["TENANT", "NAME", "ZONE", "CUT-OFF", "GRACE", "FIRST DAY", "CLOCK"]);
    for tenant in tenants {
        let zones: Vec<_> = tenant.calendar.iter().map(|rule| rule.zone.as_str()).collect();
        let cutoff = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let cutoffs: Vec<_> = tenant.calendar.iter().map(|rule| cutoff(rule.cutoff_minutes)).collect();
        table.row([
            tenant.id.to_string(),
            tenant.name.clone().unwrap_or_default(),
            zones.join(" → "),
            cutoffs.join(" → "),
            duration(Duration::from_millis(tenant.grace_ms)),
            tenant.first_day.to_string(),
            tenant.clock.to_string(),
        ]);
    }
    table
}
