//! `daybook size`: works out what an installation needs, from definitions and events a day. It asks no broker.

use super::apply::read;
use crate::cli::Outcome;
use crate::definitions;
use crate::sizing::estimate::{SizingEstimate, estimate};
use crate::sizing::load::{Installation, KindLoad, SizingLoad, ViewLoad};
use crate::table::{Table, count, counted};
use anyhow::{Context as _, bail, ensure};
use daybook_contracts::admin::Apply;
use daybook_domain::catalogue::{Dimension, Kind, Measure, Metric, Mode, View, only_final};
use daybook_domain::ids::Name;
use daybook_domain::nearest::nearest;
use daybook_runtime::memory::MemoryLimit;
use daybook_runtime::retention::Retention;
use daybook_runtime::store::Backend;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// Most events, tenants or groups that somebody may say: their products stay numbers that mean something.
const MOST: u64 = 1_000_000_000_000;
const SECONDS_OF_DAY: u64 = 86_400;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// YAML files with kinds, views and tenants, as for `daybook apply`; - for standard input
    #[arg(short, long = "file", num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Events a day of a kind, of all tenants together; the kind may be left out where there is one
    #[arg(long, required = true, value_name = "[KIND=]N")]
    events: Vec<Named>,
    /// Tenants; those of the files without it
    #[arg(long, value_name = "N", value_parser = number)]
    tenants: Option<u64>,
    /// Events of an entity, on average
    #[arg(long, value_name = "N", value_parser = number, default_value = "1")]
    versions: u64,
    /// Groups that a tenant has in a view on a day; without it, 20 values for each dimension
    #[arg(long, value_name = "[VIEW=]N")]
    groups: Vec<Named>,
    /// Facts have ids, so that repetitions count once
    #[arg(long)]
    fact_ids: bool,
    /// Length of an id, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    id_bytes: u64,
    /// Business days for which ids are remembered, in place of `remember` of the kinds
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(35..=4_000))]
    remember: Option<u16>,
    #[command(flatten)]
    kind: KindArguments,
    #[command(flatten)]
    installation: InstallationArguments,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
}

/// The kind and the views of an installation without files.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Without files")]
struct KindArguments {
    /// What the events are
    #[arg(long, value_enum, default_value_t = EventMode::Entity, conflicts_with = "files")]
    mode: EventMode,
    /// Dimensions of an event
    #[arg(long, value_name = "N", default_value_t = 2, conflicts_with = "files", value_parser = clap::value_parser!(u8).range(0..=64))]
    dimensions: u8,
    /// Measures of an event
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "files", value_parser = clap::value_parser!(u8).range(0..=63))]
    measures: u8,
    /// Views, each grouped by one dimension, with a count and a sum of each measure
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "files", value_parser = clap::value_parser!(u8).range(0..=64))]
    views: u8,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Installation")]
struct InstallationArguments {
    /// Partitions
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    partitions: u16,
    /// Shards that keep each partition
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    replicas: u8,
    /// Copies of each stream on the broker
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    stream_replicas: u8,
    /// Memory of a shard process, such as 512m or 4g
    #[arg(long, value_name = "LIMIT", default_value = "2g")]
    shard_memory: MemoryLimit,
    /// What keeps the shards' checkpoints
    #[arg(long, value_enum, default_value_t)]
    store: Backend,
    /// How long the log is kept, such as 90d; 0 for ever, and then a year of it is shown
    #[arg(long, value_name = "TIME", default_value = "0")]
    log_retention: Retention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EventMode {
    /// They have an id, and newer versions replace older ones
    Entity,
    /// They are only added
    Fact,
}

/// A number for something that has a name, or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: Option<String>,
    number: u64,
}

impl FromStr for Named {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, digits) = match text.split_once('=') {
            Some((name, digits)) => (Some(name.to_owned()), digits),
            None => (None, text),
        };
        Ok(Self { name, number: number(digits)? })
    }
}

/// Digits, which may have `_` or `,` between them.
fn number(text: &str) -> Result<u64, String> {
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| is_plain && *number <= MOST);
    number.ok_or_else(|| format!("expected a whole number up to {}, such as 3000000", count(MOST)))
}

/// What is printed as JSON.
#[derive(Serialize)]
struct SizingAnswer<'a> {
    load: &'a SizingLoad,
    estimate: &'a SizingEstimate,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Some(defined) = definitions_of(&arguments)? else { return Ok(ExitCode::FAILURE) };
    let load = load(&arguments, &defined)?;
    let estimate = estimate(&load);
    if arguments.json {
        super::print_json(&SizingAnswer { load: &load, estimate: &estimate })?;
    } else {
        show(&load, &estimate)?;
    }
    Ok(if estimate.shards.processes.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Kinds, views and tenants; nothing after their mistakes were told.
fn definitions_of(arguments: &Arguments) -> anyhow::Result<Option<Apply>> {
    if arguments.files.is_empty() {
        return Ok(Some(assumed(&arguments.kind)));
    }
    let mut files = Vec::new();
    for path in &arguments.files {
        files.push((path.clone(), read(path)?));
    }
    match definitions::load(&files, &[]) {
        Ok(definitions) => Ok(Some(definitions.apply)),
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            eprintln!("daybook: {} to mend", counted(mistakes.len() as u64, "mistake"));
            Ok(None)
        }
    }
}

/// The kind and the views of flags.
fn assumed(arguments: &KindArguments) -> Apply {
    let name = |text: String| Name::new(&text).expect("letters and digits");
    let dimensions: Vec<_> = (1..=arguments.dimensions).map(|n| name(format!("d{n}"))).collect();
    let measures: Vec<_> = (1..=arguments.measures).map(|n| name(format!("m{n}"))).collect();
    let metric = |named: String, value: String| Metric { name: name(named), value, filter: None, status: only_final() };
    let sums = || measures.iter().map(|measure| metric(format!("sum_{measure}"), format!("sum({measure})")));
    let kind = Kind {
        name: name("event".to_owned()),
        mode: if arguments.mode == EventMode::Entity { Mode::Entity } else { Mode::Fact },
        dimensions: dimensions.iter().map(|name| Dimension { name: name.clone(), field: None }).collect(),
        measures: measures.iter().map(|name| Measure { name: name.clone(), scale: 0 }).collect(),
        revision: 0,
        mappings: Vec::new(),
        remember: None,
    };
    let view = |n: u8| {
        let by = dimensions.get(usize::from(n) % dimensions.len().max(1)).cloned();
        let metrics = std::iter::once(metric("n".to_owned(), "count".to_owned())).chain(sums()).collect();
        View::new(name(format!("v{n}")), kind.name.clone(), by.into_iter().collect(), metrics)
    };
    Apply { views: (0..arguments.views).map(view).collect(), kinds: vec![kind], ..Apply::default() }
}

fn load(arguments: &Arguments, defined: &Apply) -> anyhow::Result<SizingLoad> {
    let tenants = arguments.tenants.unwrap_or(defined.tenants.len() as u64);
    ensure!(tenants > 0, "say how many tenants there are, for no file defines one: --tenants N");
    ensure!(!defined.kinds.is_empty(), "the files define no kind; name the file that does, too");
    ensure!(arguments.versions > 0, "an entity has at least one event: --versions 1");
    let kinds: Vec<&str> = defined.kinds.iter().map(|kind| kind.name.as_str()).collect();
    let events = numbers("--events", "kind", &arguments.events, &kinds)?;
    let missing: Vec<&str> =
        kinds.iter().zip(&events).filter(|(_, events)| events.is_none()).map(|(kind, _)| *kind).collect();
    ensure!(
        missing.is_empty(),
        "say how many events a day there are of {}: --events {}=N (0 for none)",
        missing.join(", "),
        missing[0]
    );
    let loads: Vec<KindLoad> = (defined.kinds.iter().zip(&events))
        .map(|(kind, events)| {
            let events = events.unwrap_or_default();
            KindLoad::new(kind, events, arguments.versions, arguments.fact_ids, arguments.remember)
        })
        .collect();
    let names: Vec<&str> = defined.views.iter().map(|view| view.name.as_str()).collect();
    let groups = numbers("--groups", "view", &arguments.groups, &names)?;
    let mut views = Vec::new();
    for (view, groups) in defined.views.iter().zip(groups) {
        let of_kind = defined.kinds.iter().zip(&loads).find(|(kind, _)| kind.name == view.kind);
        let (kind, load) = of_kind.with_context(|| format!("the view {} is of an unknown kind", view.name))?;
        let load = ViewLoad::new(view, kind, load, tenants, groups);
        views.push(load.with_context(|| format!("the view {}", view.name))?);
    }
    Ok(SizingLoad { tenants, kinds: loads, views, installation: installation(arguments) })
}

fn installation(arguments: &Arguments) -> Installation {
    let InstallationArguments { partitions, replicas, stream_replicas, shard_memory, store, log_retention } =
        arguments.installation;
    let log_days = log_retention.age().map(|age| age.as_secs().div_ceil(SECONDS_OF_DAY));
    let (shard_memory, id_bytes) = (shard_memory.bytes(), arguments.id_bytes);
    Installation { partitions, replicas, stream_replicas, shard_memory, store, log_days, id_bytes }
}

/// The number that flags say for each name. A number without a name is for the only one.
fn numbers(flag: &str, what: &str, said: &[Named], names: &[&str]) -> anyhow::Result<Vec<Option<u64>>> {
    let mut numbers = vec![None; names.len()];
    for Named { name, number } in said {
        let at = match name {
            Some(name) => names.iter().position(|known| known == name).with_context(|| {
                let hint = nearest(name, names.iter().copied()).map(|meant| format!("; did you mean {meant}?"));
                format!(
                    "{flag}: there is no {what} {name}{}",
                    hint.unwrap_or_else(|| format!(" among {}", names.join(", ")))
                )
            })?,
            None if names.len() == 1 => 0,
            None => bail!(
                "{flag} {number}: say of which {what}, such as {flag} {}={number}",
                names.first().unwrap_or(&"NAME")
            ),
        };
        ensure!(numbers[at].is_none(), "{flag} says twice how many {} has", names[at]);
        numbers[at] = Some(*number);
    }
    Ok(numbers)
}

fn show(load: &SizingLoad, estimate: &SizingEstimate) -> anyhow::Result<()> {
    let Installation { partitions, replicas, stream_replicas, shard_memory, .. } = load.installation;
    let copies = |bytes: u64, copies: u8| amount(bytes.saturating_mul(u64::from(copies)));
    let mut table = Table::new(["MEMORY OF SHARDS", "NUMBER", "ONE COPY", format!("TIMES {replicas}").as_str()]);
    for item in &estimate.memory {
        table.row([item.what.to_owned(), count(item.count), amount(item.bytes), copies(item.bytes, replicas)]);
    }
    let state = estimate.state_bytes;
    table.row(["all of it".to_owned(), String::new(), amount(state), copies(state, replicas)]);
    table.print()?;
    super::print_line("")?;
    let mut table = Table::new(["ON DISK", "ONE COPY", "ALL COPIES"]);
    let ids = estimate.ids.disk_bytes;
    table.row(["folders of shards".to_owned(), amount(estimate.store_bytes), copies(estimate.store_bytes, replicas)]);
    table.row(["of these, remembered ids".to_owned(), amount(ids), copies(ids, replicas)]);
    let broker = &estimate.broker;
    let log = format!("broker: log of {}", counted(broker.log_days, "day"));
    for (what, bytes) in [
        ("broker: log of a day".to_owned(), broker.log_day_bytes),
        (log, broker.log_bytes),
        ("broker: snapshots".to_owned(), broker.snapshot_bytes),
        ("broker: INBOX, REJECTS and ALERTS when full".to_owned(), broker.bounded_bytes),
        ("broker: all of it, with the whole log".to_owned(), broker.total()),
    ] {
        table.row([what, amount(bytes), copies(bytes, stream_replicas)]);
    }
    table.print()?;
    super::print_line("")?;
    super::print_line(&processes(estimate, partitions, replicas, shard_memory))?;
    super::print_line(
        "Arithmetic with what was measured (deploy/README.md, Sizing), good to a factor of two; measure with your own events. Tenants \
         are taken to be alike, and reports and figures on the broker come on top.",
    )
}

/// How many processes, or what to change.
fn processes(estimate: &SizingEstimate, partitions: u16, replicas: u8, memory: u64) -> String {
    let shards = &estimate.shards;
    let one = amount(shards.partition_bytes);
    match shards.processes {
        Some(processes) => format!(
            "shard processes: {} of {}; each holds up to {} of {}, of {one} each, and every partition is in {}",
            count(processes),
            amount(memory),
            shards.partitions_of_process,
            counted(u64::from(partitions), "partition"),
            if replicas == 1 { "one".to_owned() } else { format!("{replicas} of them") }
        ),
        None => {
            let more = shards.least_partitions.filter(|least| *least > u64::from(partitions));
            let or = more.map(|least| format!(", or --partitions {least}")).unwrap_or_default();
            format!(
                "DOES NOT FIT: a partition takes {one}, more than a process of {} should hold; take --shard-memory {}m{or}",
                amount(memory),
                shards.least_memory.div_ceil(1 << 20)
            )
        }
    }
}

/// Such as `1.5 GiB`.
fn amount(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", count(u64::try_from(tenths / 10).unwrap_or(u64::MAX)), tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests;
