//! `daybook map`: tries a mapping on records of a file and says what comes of each, or guesses one.

use crate::cli::{ClientArguments, Outcome};
use crate::definitions;
use crate::guess::{Wishes, guess};
use crate::mapped;
use crate::samples;
use crate::source::Record as Sample;
use crate::table::{Table, count};
use anyhow::{Context as _, bail};
use daybook_contracts::event::Problem;
use daybook_contracts::reject::Code;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_domain::value::Number;
use daybook_mapping::{MappedEvent, MappingName, Outcome as Mapped, PassedOver, Record, RecordMapper, Unmapped, Zones};
use daybook_runtime::clock;
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show what a mapping makes of the records of a file, and why it makes nothing of some; nothing is published
    Try(Box<Try>),
    /// Propose a kind, a mapping and a first view from the records of a file, as YAML to be edited
    Guess(Guess),
}

#[derive(Debug, clap::Args)]
struct Guess {
    /// File of records, as for `try`
    file: PathBuf,
    /// Name of the kind
    #[arg(long, value_name = "NAME", default_value = "event")]
    kind: Name,
    /// For whom events are where no record says it
    #[arg(long, value_name = "ID", default_value = "acme")]
    tenant: TenantId,
    /// Records to look at, at most
    #[arg(long, value_name = "N", default_value = "1000")]
    most: usize,
}

#[derive(Debug, clap::Args)]
struct Try {
    /// File of records: JSON values, on one line each or on many, or .csv with a header; .zst and .gz are decompressed; - for
    /// standard input
    file: PathBuf,
    /// The mapping, as KIND/NAME, or NAME where only one kind has it
    #[arg(long, value_name = "KIND/NAME")]
    mapping: MappingName,
    /// YAML files with the kind, its mappings and tenants; no Daybook is asked then
    #[arg(short = 'f', long = "file", num_args = 1.., value_name = "FILE")]
    definitions: Vec<PathBuf>,
    /// All events are for this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// The subject that the records came on
    #[arg(long, value_name = "SUBJECT", default_value = "", hide_default_value = true)]
    subject: String,
    /// A header that the records came with; may be repeated
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Records to try, at most
    #[arg(long, value_name = "N", default_value = "1000")]
    most: usize,
    #[command(flatten)]
    client: ClientArguments,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub async fn run(arguments: Arguments) -> Outcome {
    let arguments = match arguments.action {
        Action::Try(arguments) => arguments,
        Action::Guess(arguments) => {
            let samples = samples::read(&arguments.file, arguments.most)?;
            let wishes = Wishes { kind: arguments.kind.to_string(), tenant: arguments.tenant.to_string() };
            super::print_line(guess(&samples, &wishes)?.trim_end())?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mapper = match arguments.definitions.is_empty() {
        true => {
            let client = arguments.client.connect().await?;
            let kinds = client.catalogue().await?.kinds;
            mapped::load(&client, &kinds, &arguments.mapping, arguments.tenant.clone()).await?
        }
        false => match offline(&arguments)? {
            Some(mapper) => mapper,
            None => return Ok(ExitCode::FAILURE),
        },
    };
    let samples = samples::read(&arguments.file, arguments.most)?;
    if samples.is_empty() {
        bail!("there is no record in {}", arguments.file.display());
    }
    let trial = Trial::run(&mapper, &samples, &arguments, clock::now());
    if arguments.client.json {
        super::print_json(&trial.json(&mapper))?;
    } else {
        trial.print(&mapper)?;
    }
    Ok(if trial.unmapped().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The mapping as files define it; nothing where they have mistakes, which are told.
fn offline(arguments: &Try) -> anyhow::Result<Option<RecordMapper>> {
    let mut files = Vec::new();
    for path in &arguments.definitions {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push((path.clone(), text));
    }
    let definitions = match definitions::load(&files, &[]) {
        Ok(definitions) => definitions,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            return Ok(None);
        }
    };
    let mut zones = Zones::default();
    definitions.apply.tenants.iter().for_each(|tenant| zones.define(&tenant.id, &tenant.rules()));
    Ok(Some(RecordMapper::find(&definitions.apply.kinds, &arguments.mapping, zones, arguments.tenant.clone())?))
}

/// What is printed for machines.
#[derive(Serialize)]
struct Shown<'t> {
    kind: &'t Name,
    mapping: &'t Name,
    records: usize,
    events: usize,
    unmapped: usize,
    passed_over: usize,
    /// Columns that the mapping fills and that no event has.
    always_null: Vec<String>,
    outcomes: Vec<ShownLine<'t>>,
}

#[derive(Serialize)]
struct ShownLine<'t> {
    line: u64,
    #[serde(flatten)]
    what: ShownOutcome<'t>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownOutcome<'t> {
    /// The event is as it would be published.
    Event {
        item: Option<u32>,
        event: Box<RawValue>,
    },
    Unmapped {
        item: Option<u32>,
        tenant: Option<&'t TenantId>,
        unmapped: &'t Problem,
    },
    PassedOver {
        passed_over: String,
    },
}

/// What came of records, each with its line.
struct Trial {
    records: usize,
    outcomes: Vec<(u64, Mapped)>,
}

impl Trial {
    fn run(mapper: &RecordMapper, samples: &[Sample], arguments: &Try, arrived: Instant) -> Self {
        let headers: Vec<(&str, &str)> =
            arguments.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut outcomes = Vec::new();
        for (number, sample) in (1..).zip(samples) {
            let body = match &sample.content {
                Ok(body) => body,
                Err(reason) => {
                    let problem = Problem::new(Code::Malformed, None, reason.clone());
                    let unmapped = Unmapped { problem, tenant: None, item: None, piece: 0..0 };
                    outcomes.push((sample.line, Mapped::Unmapped(unmapped)));
                    continue;
                }
            };
            let record = Record {
                subject: &arguments.subject,
                headers: &headers,
                sequence: Some(number),
                arrived: Some(arrived),
                ..Record::of(body)
            };
            outcomes.extend(mapper.map_record(&record).into_iter().map(|outcome| (sample.line, outcome)));
        }
        Self { records: samples.len(), outcomes }
    }

    fn events(&self) -> impl Iterator<Item = (u64, &MappedEvent)> {
        self.outcomes.iter().filter_map(|(line, outcome)| match outcome {
            Mapped::Event(made) => Some((*line, made)),
            _ => None,
        })
    }

    fn unmapped(&self) -> impl Iterator<Item = (u64, &Unmapped)> {
        self.outcomes.iter().filter_map(|(line, outcome)| match outcome {
            Mapped::Unmapped(unmapped) => Some((*line, unmapped)),
            _ => None,
        })
    }

    fn passed_over(&self) -> impl Iterator<Item = (u64, PassedOver)> {
        self.outcomes.iter().filter_map(|(line, outcome)| match outcome {
            Mapped::PassedOver(why) => Some((*line, *why)),
            _ => None,
        })
    }

    fn json<'t>(&'t self, mapper: &'t RecordMapper) -> Shown<'t> {
        let outcomes = self.outcomes.iter().map(|(line, outcome)| {
            let what = match outcome {
                Mapped::Event(made) => {
                    let event = serde_json::from_slice(&mapper.envelope(made)).expect("an envelope is JSON");
                    ShownOutcome::Event { item: made.item, event }
                }
                Mapped::Unmapped(Unmapped { problem, tenant, item, .. }) => {
                    ShownOutcome::Unmapped { item: *item, tenant: tenant.as_ref(), unmapped: problem }
                }
                Mapped::PassedOver(why) => ShownOutcome::PassedOver { passed_over: why_passed(*why) },
            };
            ShownLine { line: *line, what }
        });
        Shown {
            kind: &mapper.kind.name,
            mapping: mapper.mapper.name(),
            records: self.records,
            events: self.events().count(),
            unmapped: self.unmapped().count(),
            passed_over: self.passed_over().count(),
            always_null: self.always_null(mapper),
            outcomes: outcomes.collect(),
        }
    }

    fn print(&self, mapper: &RecordMapper) -> anyhow::Result<()> {
        let table = self.table(mapper);
        if !table.is_empty() {
            table.print()?;
        }
        let mut problems = Table::new(["LINE", "CODE", "PATH", "REASON"]);
        for (line, Unmapped { problem, .. }) in self.unmapped() {
            let field = problem.field.clone().unwrap_or_default();
            problems.row([line.to_string(), problem.code.to_string(), field, problem.reason.clone()]);
        }
        if !problems.is_empty() {
            super::print_line("\nNot mapped; each would be a reject:")?;
            problems.print()?;
        }
        let number = |n: usize| count(n as u64);
        super::print_line(&format!(
            "\n{} records: {} events, {} not mapped, {} passed over",
            number(self.records),
            number(self.events().count()),
            number(self.unmapped().count()),
            number(self.passed_over().count())
        ))?;
        if let Some((line, why)) = self.passed_over().next() {
            super::print_line(&format!("passed over first in line {line}: {}", why_passed(why)))?;
        }
        for column in self.always_null(mapper) {
            super::print_line(&format!("{column} is null in every event: is its path right?"))?;
        }
        Ok(())
    }

    fn table(&self, mapper: &RecordMapper) -> Table {
        let kind = &mapper.kind;
        let columns = kind.dimensions.iter().map(|d| &d.name).chain(kind.measures.iter().map(|m| &m.name));
        let fixed = ["LINE", "TENANT", "ID", "VERSION", "STATUS", "AT"].map(str::to_owned);
        let mut table = Table::new(fixed.into_iter().chain(columns.map(|name| name.as_str().to_uppercase())));
        for (line, MappedEvent { tenant, event, .. }) in self.events() {
            let mut row = vec![
                line.to_string(),
                tenant.to_string(),
                event.id.as_deref().unwrap_or_default().to_owned(),
                event.version.map(|version| version.to_string()).unwrap_or_default(),
                event.status.as_str().to_owned(),
                event.at.to_string(),
            ];
            row.extend(event.dims.iter().map(|value| value.as_deref().unwrap_or_default().to_owned()));
            let measures = kind.measures.iter().zip(&event.measures);
            row.extend(measures.map(|(measure, value)| {
                value.map_or_else(String::new, |unscaled| Number::new(unscaled.into(), measure.scale).to_string())
            }));
            table.row(row);
        }
        table
    }

    /// The columns that the mapping fills and that no event has.
    fn always_null(&self, mapper: &RecordMapper) -> Vec<String> {
        let events: Vec<&MappedEvent> = self.events().map(|(_, made)| made).collect();
        if events.is_empty() {
            return Vec::new();
        }
        let kind = &mapper.kind;
        let mapping = kind.mappings.iter().find(|mapping| mapping.name == *mapper.mapper.name());
        let fills = |name: &Name| {
            mapping.is_some_and(|mapping| mapping.dims.contains_key(name) || mapping.measures.contains_key(name))
        };
        let dims = kind.dimensions.iter().enumerate().filter(|(_, dimension)| fills(&dimension.name));
        let dims = dims.filter(|(at, _)| events.iter().all(|made| made.event.dims[*at].is_none()));
        let measures = kind.measures.iter().enumerate().filter(|(_, measure)| fills(&measure.name));
        let measures = measures.filter(|(at, _)| events.iter().all(|made| made.event.measures[*at].is_none()));
        let names = dims.map(|(_, d)| d.name.to_string()).chain(measures.map(|(_, m)| m.name.to_string()));
        names.collect()
    }
}

fn why_passed(why: PassedOver) -> String {
    match why {
        PassedOver::When { item: None } => "`when` does not hold".to_owned(),
        PassedOver::When { item: Some(item) } => format!("`when` does not hold of item {item}"),
        PassedOver::NoItems => "the array has no items".to_owned(),
    }
}
