//! `daybook reports`: lists sealed reports, the newest version of each.

use crate::asker::Asker;
use crate::cli::{ClientArguments, Outcome};
use crate::sealed::Sealed;
use crate::table::{Table, figure};
use anyhow::Context as _;
use daybook_contracts::ask::{AskError, AskErrorCode};
use daybook_contracts::lists::ReportEntry;
use daybook_contracts::report::Figure;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use futures::{StreamExt, TryStreamExt};
use std::process::ExitCode;

/// Lists, and reports, that are asked for at once.
const AT_ONCE: usize = 8;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// First business day
    #[arg(long, default_value_t = Date::MIN, hide_default_value = true)]
    from: Date,
    /// Last business day
    #[arg(long, default_value_t = Date::MAX, hide_default_value = true)]
    to: Date,
    /// Only these tenants; required with the credentials of a tenant
    #[arg(long, value_delimiter = ',')]
    tenant: Vec<TenantId>,
    /// json is an array, ndjson an object a line, csv a line for each row of each view in long form
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
    Ndjson,
    Csv,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let (asker, tenants) = if arguments.tenant.is_empty() {
        let client = arguments
            .client
            .connect()
            .await
            .context("the reports of all tenants are for operators; name a tenant with --tenant to see its own")?;
        (client.asker.clone(), client.tenants().await?.into_iter().map(|tenant| tenant.id).collect())
    } else {
        (arguments.client.connect_to_ask().await?, arguments.tenant.clone())
    };
    let (asker, from, to) = (&asker, arguments.from, arguments.to);
    let mut reports = futures::stream::iter(&tenants)
        .map(|tenant| async move {
            let entries = asker.reports(tenant, from, to).await?;
            Ok::<_, AskError>(futures::stream::iter(entries.into_iter().map(move |entry| Ok((tenant, entry)))))
        })
        .buffered(AT_ONCE)
        .try_flatten()
        .map_ok(|(tenant, entry)| document(asker, tenant, entry))
        .try_buffered(AT_ONCE);
    let mut out = Output::new(if arguments.client.json { Format::Json } else { arguments.format });
    while let Some(sealed) = reports.try_next().await? {
        if let Some(sealed) = sealed {
            out.report(&sealed)?;
        }
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The report of a list's entry; `None` when its retention has removed it since.
async fn document(asker: &Asker, tenant: &TenantId, entry: ReportEntry) -> Result<Option<Sealed>, AskError> {
    match asker.report(tenant, entry.date, Some(entry.version)).await {
        Ok(sealed) => Ok(Some(sealed)),
        Err(error) if error.code == AskErrorCode::PastRetention => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prints reports one after the other; only tables are gathered first.
struct Output {
    format: Format,
    table: Table,
    count: u64,
    csv: csv::Writer<std::io::Stdout>,
}

impl Output {
    fn new(format: Format) -> Self {
        let table = Table::new(["TENANT", "DATE", "VERSION", "PUBLISHED", "COUNTED", "PENDING", "REJECTED", "FIGURES"]);
        Self { format, table, count: 0, csv: csv::WriterBuilder::new().flexible(true).from_writer(std::io::stdout()) }
    }

    fn report(&mut self, sealed: &Sealed) -> anyhow::Result<()> {
        self.count += 1;
        let report = &sealed.report;
        match self.format {
            Format::Ndjson => super::print_line(std::str::from_utf8(&sealed.payload)?)?,
            Format::Json => {
                let lead = if self.count == 1 { "[" } else { "," };
                super::print_line(&format!("{lead}{}", std::str::from_utf8(&sealed.payload)?))?;
            }
            Format::Csv => {
                if self.count == 1 {
                    self.write(["tenant", "date", "version", "view", "row", "name", "value"].map(str::to_owned))?;
                }
                for (view, rows) in &report.views {
                    for (index, row) in rows.rows.iter().enumerate() {
                        for (name, value) in &row.0 {
                            let place =
                                [report.tenant.to_string(), report.date.to_string(), report.version.to_string()];
                            let cell = [view.to_string(), index.to_string(), name.to_string(), value.to_string()];
                            self.write(place.into_iter().chain(cell))?;
                        }
                    }
                }
            }
            Format::Table => {
                let account = &report.dispositions;
                // The views without dimensions are the day at a glance.
                let figures: Vec<String> = report
                    .views
                    .values()
                    .filter(|view| view.total == 1)
                    .filter_map(|view| view.rows.first())
                    .flat_map(|row| &row.0)
                    .filter(|(_, value)| matches!(value, Figure::Number(_)))
                    .take(4)
                    .map(|(name, value)| format!("{name} {}", figure(value)))
                    .collect();
                self.table.row([
                    report.tenant.to_string(),
                    report.date.to_string(),
                    report.version.to_string(),
                    account.published.to_string(),
                    account.counted.to_string(),
                    account.pending.to_string(),
                    account.rejected.to_string(),
                    figures.join(", "),
                ]);
            }
        }
        Ok(())
    }

    fn write(&mut self, record: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        match self.csv.write_record(record) {
            Err(error) if matches!(error.kind(), csv::ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::BrokenPipe) => {
                std::process::exit(0)
            }
            outcome => Ok(outcome?),
        }
    }

    fn finish(mut self) -> anyhow::Result<()> {
        match self.format {
            Format::Table if self.count == 0 => super::print_line("no sealed reports"),
            Format::Table => Ok(self.table.print()?),
            Format::Json if self.count == 0 => super::print_line("[]"),
            Format::Json => super::print_line("]"),
            Format::Csv => Ok(self.csv.flush()?),
            Format::Ndjson => Ok(()),
        }
    }
}
