//! Figures of sealed days as files, for programs that read columns: a table for each view, a file for each tenant and day.
//!
//! [`columns`] says what a table's columns are and makes them of rows, [`files`] writes them as Parquet, CSV or NDJSON, and [`ledger`] keeps
//! what each file rests on, so that a repeated export writes only what is new. [`source`] asks for the rows.

pub mod columns;
pub mod files;
pub mod ledger;
pub mod source;

use crate::asker::Asker;
use columns::Columns;
use daybook_contracts::ask::{AskError, AskErrorCode};
use daybook_contracts::lists::{ReportEntry, ViewEntry};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use files::Format;
use ledger::{Exported, Ledger};
use serde::Serialize;
use source::DayRows;
use std::path::{Path, PathBuf};

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct Order {
    pub view: Name,
    /// The first and the last business day.
    pub days: (Date, Date),
    pub format: Format,
    pub folder: PathBuf,
}

/// What became of the days of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Files that were written, because the day or its report is new, or the view has changed.
    pub written: u64,
    /// Files that rest on the newest report already.
    pub unchanged: u64,
    /// Rows of the files that were written.
    pub rows: u64,
    /// Days without figures of the view, and why.
    pub without: Vec<(String, String)>,
}

/// Exports the sealed days of a tenant, oldest first. Whatever ends it, the files and the ledger that there are agree, and the next export
/// goes on from them.
///
/// # Errors
/// The query service refuses, a file cannot be written, or a figure does not fit its column.
pub async fn export(
    asker: &Asker,
    tenant: &TenantId,
    order: &Order,
    mut told: impl FnMut(u64),
) -> anyhow::Result<Outcome> {
    let view = view_of(asker, tenant, &order.view).await?;
    let reports = asker.reports(tenant, order.days.0, order.days.1).await?;
    let columns = Columns::of(&view)?;
    let folder = order.folder.join(order.view.as_str()).join(tenant.as_str());
    let mut ledger = Ledger::open(&folder, order.format, &columns)?;
    let mut outcome = Outcome::default();
    for entry in &reports {
        match day(asker, tenant, &view, &columns, entry, &mut ledger).await {
            Ok(Day::Unchanged) => outcome.unchanged += 1,
            Ok(Day::Written(rows)) => {
                outcome.written += 1;
                outcome.rows += rows;
            }
            Ok(Day::Without(why)) => outcome.without.push((entry.date.to_string(), why)),
            Err(error) => {
                // What was written so far stays noted.
                ledger.store()?;
                return Err(error);
            }
        }
        told(1);
    }
    ledger.store()?;
    Ok(outcome)
}

/// The view as the tenant has it.
async fn view_of(asker: &Asker, tenant: &TenantId, name: &Name) -> Result<ViewEntry, AskError> {
    let views = asker.views(tenant).await?.views;
    let names: Vec<String> = views.iter().map(|view| view.name.to_string()).collect();
    views.into_iter().find(|view| view.name == *name).ok_or_else(|| {
        let message = format!("tenant {tenant} has no view {name}");
        AskError::new(AskErrorCode::UnknownView, message).hint(format!("it has {}", names.join(", ")))
    })
}

enum Day {
    Written(u64),
    Unchanged,
    Without(String),
}

async fn day(
    asker: &Asker,
    tenant: &TenantId,
    view: &ViewEntry,
    columns: &Columns,
    entry: &ReportEntry,
    ledger: &mut Ledger,
) -> anyhow::Result<Day> {
    let exported = Exported { report: entry.version, hash: entry.hash.clone(), definition: view.definition };
    if ledger.has(entry.date, &exported) {
        return Ok(Day::Unchanged);
    }
    let rows = match source::rows(asker, tenant, view, entry).await {
        Ok(DayRows::Rows(rows)) => rows,
        Ok(DayRows::Without(why)) => return Ok(Day::Without(why)),
        Err(error) if is_without(error.code) => return Ok(Day::Without(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let count = rows.len() as u64;
    let table = columns.table(tenant, entry.date, &rows)?;
    ledger.write(entry.date, exported, &table)?;
    Ok(Day::Written(count))
}

/// Whether the day is over and has no figures of the view: nothing that another try would change.
fn is_without(code: AskErrorCode) -> bool {
    matches!(code, AskErrorCode::UnknownDay | AskErrorCode::PastRetention | AskErrorCode::UnknownView)
}

/// Where the files of a view are.
pub fn files_of(folder: &Path, view: &Name, format: Format) -> String {
    format!("{}/*/*.{}", folder.join(view.as_str()).display(), format.extension())
}
