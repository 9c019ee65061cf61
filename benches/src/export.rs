//! The work of `apply` as files that others can load, with what must come out of it.

use crate::bare::{self, Figures, Fold, Groups};
use crate::work::{Work, nexmark, orders};
use anyhow::Context as _;
use compact_str::CompactString;
use daybook_contracts::log::Event;
use daybook_domain::catalogue::Status;
use daybook_domain::time::Date;
use daybook_random::Random;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Settings of `export`, and of the work of `peers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events of each work
    #[arg(long, default_value_t = 2_000_000)]
    pub events: usize,
    /// Tenants of the orders
    #[arg(long, default_value_t = 1_000)]
    pub tenants: usize,
    /// Orders that are corrected one by one at the end
    #[arg(long, default_value_t = 100)]
    pub corrections: usize,
    /// Write the files to this folder, and keep them; `peers` without it uses a temporary one
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// Most days of tenants that are read.
const READS: usize = 1_000;
/// Events of the shorter work, for who is too slow for all.
const SHORT: usize = 200_000;

/// What peers are given, and Daybook beside them.
pub struct Exported {
    pub bids: Work,
    pub orders: Work,
    /// Days of tenants to be read before anything is corrected.
    pub reads: Vec<Read>,
    pub corrections: Vec<Correction>,
}

/// A tenant's day, and what its rows add up to.
pub struct Read {
    pub tenant: CompactString,
    pub date: Date,
    pub orders: i64,
    pub amount: i64,
}

/// An event that corrects one order, and the amount of the tenant's day when it and those before it are in.
pub struct Correction {
    pub tenant: u32,
    pub event: Event,
    pub amount_after: i64,
}

/// # Errors
/// When no folder was given or a file cannot be written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    write(options.folder.as_deref().context("--folder says where to")?, options).map(|_| ())
}

/// Writes `bids.csv`, `orders.csv`, `corrections.csv` and `reads.csv`, each with a line of names, and `expected.json`.
///
/// # Errors
/// When one cannot be written.
pub fn write(folder: &Path, options: &Options) -> anyhow::Result<Exported> {
    std::fs::create_dir_all(folder)?;
    let bids = nexmark::bids("q15+q17", &[nexmark::Q15, nexmark::Q17], options.events);
    lines(
        &folder.join("bids.csv"),
        "day,at_ms,auction,bidder,channel,price",
        bids.events.iter().map(|(_, bid)| bid_line(bid)),
    )?;
    let orders = orders::orders("orders", options.events, options.tenants);
    let line = |(tenant, order): &(u32, Event)| order_line(&orders, *tenant, order);
    lines(&folder.join("orders.csv"), ORDER, orders.events.iter().map(line))?;

    let log = bids.log(1_000)?;
    let (statistics, auctions) = (bare::fold(Fold::Statistics, &log), bare::fold(Fold::Auctions, &log));
    let groups = bare::fold(Fold::Orders, &orders.log(100)?);
    let few = orders.events.iter().take(SHORT).cloned().collect();
    let few = bare::fold(Fold::Orders, &Work { events: few, ..orders.without_events() }.log(100)?);
    let expected = json!({
        "bids": bids.events.len(),
        "q15": by_day(&statistics),
        "q17": totals(Fold::Auctions, &auctions),
        "orders": totals(Fold::Orders, &groups),
        "short": SHORT.min(options.events),
        "short_orders": totals(Fold::Orders, &few),
    });
    std::fs::write(folder.join("expected.json"), format!("{expected:#}\n"))?;

    let reads = reads(&groups);
    let line = |read: &Read| format!("{},{},{},{}", read.tenant, read.date, read.orders, read.amount);
    lines(&folder.join("reads.csv"), "tenant,day,orders,amount", reads.iter().map(line))?;
    let corrections = corrections(&orders, &groups, options.corrections);
    let line = |one: &Correction| format!("{},{}", order_line(&orders, one.tenant, &one.event), one.amount_after);
    lines(&folder.join("corrections.csv"), &format!("{ORDER},amount_after"), corrections.iter().map(line))?;
    Ok(Exported { bids, orders, reads, corrections })
}

/// The columns of an order.
const ORDER: &str = "tenant,id,version,status,day,at_ms,store,customer,amount";

fn order_line(work: &Work, tenant: u32, order: &Event) -> String {
    let Event { id, version, status, date, at, dims, measures, .. } = order;
    let (id, version) = (text(id), version.expect("every order has one"));
    let (store, customer, amount) = (text(&dims[0]), text(&dims[1]), measures[0].expect("every order has one"));
    let tenant = &work.tenants[tenant as usize];
    format!("{tenant},{id},{version},{},{date},{},{store},{customer},{amount}", status.as_str(), at.as_millis())
}

fn bid_line(bid: &Event) -> String {
    let [auction, bidder, channel] = [0, 1, 2].map(|place| text(&bid.dims[place]));
    let price = bid.measures[0].expect("every bid has one");
    format!("{},{},{auction},{bidder},{channel},{price}", bid.date, bid.at.as_millis())
}

/// None of them has a comma or a quote in it.
fn text(value: &Option<CompactString>) -> &str {
    value.as_deref().expect("every one has it")
}

fn lines(path: &Path, names: &str, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    writeln!(file, "{names}")?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

/// The metrics of each day's only group.
fn by_day(groups: &Groups) -> Value {
    let day = |((_, date, _), figures): (&(_, Date, _), &Figures)| {
        (date.to_string(), json!(metrics(Fold::Statistics, figures)))
    };
    Value::Object(groups.iter().map(day).collect())
}

/// How many groups hold anything, and what each metric adds up to over them: a sum of distinct customers or of
/// percentiles means nothing, and yet tells whether all of them are right.
fn totals(fold: Fold, groups: &Groups) -> Value {
    let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
    for figures in groups.values().filter(|figures| figures.n > 0) {
        *totals.entry("groups").or_default() += 1;
        for (metric, value) in figures.metrics(fold) {
            *totals.entry(metric).or_default() += value;
        }
    }
    json!(totals)
}

fn metrics(fold: Fold, figures: &Figures) -> Map<String, Value> {
    figures.metrics(fold).into_iter().map(|(metric, value)| (metric.to_owned(), value.into())).collect()
}

/// By tenant and day: orders and amount of all stores.
fn days(groups: &Groups) -> BTreeMap<(CompactString, Date), (i64, i64)> {
    let mut days = BTreeMap::new();
    for ((tenant, date, _), figures) in groups {
        let (orders, amount) = days.entry((tenant.clone(), *date)).or_default();
        *orders += figures.n;
        *amount += figures.sum;
    }
    days.retain(|_, (orders, _)| *orders > 0);
    days
}

/// The largest tenant's days are not more likely to be among them than others.
fn reads(groups: &Groups) -> Vec<Read> {
    let read = |((tenant, date), (orders, amount))| Read { tenant, date, orders, amount };
    let mut reads: Vec<Read> = days(groups).into_iter().map(read).collect();
    Random::new(7).shuffle(&mut reads);
    reads.truncate(READS);
    reads
}

/// So many orders that count, from all over the work, each with another amount.
fn corrections(work: &Work, groups: &Groups, count: usize) -> Vec<Correction> {
    let mut newest: BTreeMap<&str, &(u32, Event)> = BTreeMap::new();
    for event in &work.events {
        newest.insert(text(&event.1.id), event);
    }
    let mut days = days(groups);
    let counted: Vec<_> = newest.into_values().filter(|(_, event)| event.status == Status::Final).collect();
    let step = (counted.len() / count.max(1)).max(1);
    let correction = |(tenant, event): &(u32, Event)| {
        let mut event = event.clone();
        event.version = event.version.map(|version| version + 1);
        event.measures[0] = event.measures[0].map(|amount| amount + 1);
        let day = (CompactString::new(work.tenants[*tenant as usize].as_str()), event.date);
        let (_, amount) = days.get_mut(&day).expect("the day has this order");
        *amount += 1;
        Correction { tenant: *tenant, event, amount_after: *amount }
    };
    counted.into_iter().step_by(step).take(count).map(correction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_the_events_and_what_they_add_up_to() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { events: 3_000, tenants: 10, corrections: 5, folder: None };
        let exported = write(folder.path(), &options).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let expected: Value = serde_json::from_str(&read("expected.json")).unwrap();

        // Recomputed from the file alone: the newest version of each order.
        let (mut newest, orders) = (BTreeMap::new(), read("orders.csv"));
        for line in orders.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            newest.insert(fields[1], (fields[3], fields[8].parse::<i64>().unwrap()));
        }
        let counted = newest.values().filter(|(status, _)| *status == "final");
        let (count, sum) = counted.fold((0, 0), |(count, sum), (_, amount)| (count + 1, sum + amount));
        assert_eq!(orders.lines().count(), 1 + 3_000);
        assert_eq!((&expected["orders"]["orders"], &expected["orders"]["amount"]), (&json!(count), &json!(sum)));

        let reads = exported.reads.iter().map(|read| read.amount).sum::<i64>();
        assert_eq!((reads, exported.reads.len(), exported.corrections.len()), (sum, 20, 5));
        assert_eq!(read("bids.csv").lines().count() as i64, 1 + expected["q17"]["total_bids"].as_i64().unwrap());
    }
}
