//! A month of closed days on disk: memory of a partition's machine, corrections of closed days, and a restart. The machine and its
//! store are in this process, without broker.

use crate::process::Process;
use crate::report::{Report, per_second, percentiles, seconds};
use crate::work::{DAY_MS, Work, orders};
use anyhow::Context as _;
use compact_str::format_compact;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Event, Events, FORMAT, Record, Through};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{DEFAULT_REMEMBER_DAYS, Definition, Status};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::{PartitionState, checkpoint};
use daybook_random::Random;
use daybook_runtime::store::{Backend, Pass, Reading, Row, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant as Clock;

/// Settings of `month`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Tenants, each with as many orders as any other
    #[arg(long, default_value_t = 100)]
    pub tenants: usize,
    /// Orders of a tenant and day
    #[arg(long, default_value_t = 1_000)]
    pub orders: usize,
    /// Closed days
    #[arg(long, default_value_t = 36)]
    pub days: i32,
    /// MiB that entities of closed days may take in memory; without it they all stay
    #[arg(long)]
    pub closed_days_mib: Option<u64>,
    /// A view of counts and sums alone: exact medians and distinct customers hold every value in figures, which stay in memory
    #[arg(long)]
    pub plain: bool,
    /// Corrections that are measured, one by one and then a hundred a batch
    #[arg(long, default_value_t = 2_000)]
    pub corrections: usize,
    /// For how many days ids are remembered, where there are more days than can be corrected
    #[arg(long, default_value_t = DEFAULT_REMEMBER_DAYS)]
    pub remember: u16,
    /// New ids that are checked against those that are remembered
    #[arg(long, default_value_t = 100_000)]
    pub checks: usize,
    /// What keeps the rows
    #[arg(long, value_enum, default_value_t)]
    pub store: Backend,
}

/// Orders of one record.
const TOGETHER: usize = 500;
/// Corrections of one batch.
const GATHERED: usize = 100;
const PARTITION: Partition = Partition(0);
const NO_LIMIT: usize = usize::MAX;

/// A machine, its store and its log.
struct Month<'o> {
    options: &'o Options,
    work: Work,
    state: PartitionState,
    store: Store,
    position: u64,
    inbox: u64,
}

/// # Errors
/// When the store fails, or the machine is another one after a restart.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("partition-0");
    let before = memory()?;
    let mut month = Month::new(options, &path)?;
    for day in 0..options.days {
        month.day(day)?;
        eprintln!("day {day}: {} MiB", memory()? >> 20);
    }
    let sizes = month.state.sizes();
    let (out, closed) = month.state.closed_residence();
    let taken = memory()?.saturating_sub(before);
    let entities = sizes.entities.max(1) as u64;
    let limit = options.closed_days_mib.map_or_else(|| "none".to_owned(), |mebibytes| format!("{mebibytes} MiB"));
    let plain = if options.plain { ", plain figures" } else { "" };
    let name = format!("{} days of {} tenants, limit {limit}{plain}", options.days, options.tenants);
    report.row(
        &name,
        &[
            ("entities", daybook::table::count(entities)),
            ("memory MiB", (taken >> 20).to_string()),
            ("bytes an entity", (taken / entities).to_string()),
            ("closed MiB", (closed >> 20).to_string()),
            ("pages out", out.to_string()),
            ("live MiB in store", (month.store.live_bytes().unwrap_or_default() >> 20).to_string()),
            ("disk MiB", (month.store.disk_bytes() >> 20).to_string()),
        ],
    );
    month.remembered(&name, report)?;
    month.corrections(&name, report)?;
    month.restart(&name, &path, report)
}

impl<'o> Month<'o> {
    fn new(options: &'o Options, path: &Path) -> anyhow::Result<Self> {
        let mut work = orders::nothing("month", options.tenants);
        if options.plain {
            let is_plain = |line: &&str| !["least", "most", "customers", "p95"].iter().any(|name| line.contains(name));
            work.definitions = work.definitions.lines().filter(is_plain).map(|line| format!("{line}\n")).collect();
        }
        let (store, _) = Store::open(options.store, path)?;
        let mut state = PartitionState::new(PARTITION);
        state.keep_digests();
        state.limit_closed(options.closed_days_mib.map(|mebibytes| mebibytes << 20));
        let mut month = Self { options, work, state, store, position: 0, inbox: 0 };
        let mut definitions: Vec<Definition> = month.work.catalogue()?;
        for definition in &mut definitions {
            if let Definition::Kind(kind) = definition {
                kind.remember = Some(options.remember);
            }
        }
        month.apply(definitions.into_iter().map(Record::Define).collect())?;
        Ok(month)
    }

    /// Applies a batch, after the pages that it needs have come back.
    fn apply(&mut self, records: Vec<Record>) -> anyhow::Result<()> {
        self.position += 1;
        let batch = Batch { format: FORMAT, through: Through { inbox: InboxSeq(self.inbox), events: 0 }, records };
        bring_back(&mut self.state, &self.store, &batch)?;
        self.state.apply(LogSeq(self.position), batch);
        Ok(())
    }

    fn events(&mut self, tenant: &TenantId, events: Vec<Event>) -> Record {
        self.inbox += 1;
        let events = events.into_iter().zip(0..).map(|(event, index)| Event { index, ..event }).collect();
        Record::Events(Events {
            inbox: InboxSeq(self.inbox),
            tenant: tenant.clone(),
            kind: self.work.kind.clone(),
            events,
        })
    }

    fn date(&self, day: i32) -> Date {
        self.work.first_day.plus(day)
    }

    /// A day of all tenants, which then closes, is stored and leaves memory as far as it has to.
    fn day(&mut self, day: i32) -> anyhow::Result<()> {
        let date = self.date(day);
        let tenants = self.work.tenants.clone();
        self.apply(tenants.iter().map(|id| marker(id, date, Edge::Opened)).collect::<anyhow::Result<_>>()?)?;
        for from in (0..self.options.orders).step_by(TOGETHER) {
            for tenant in &tenants {
                let to = self.options.orders.min(from + TOGETHER);
                let orders = (from..to).map(|number| order(date, day, number, 1)).collect();
                let record = self.events(tenant, orders);
                self.apply(vec![record])?;
            }
        }
        self.apply(tenants.iter().map(|id| marker(id, date, Edge::Closed)).collect::<anyhow::Result<_>>()?)?;
        self.save()
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.commit()?;
        while let Some(upkeep) = self.state.begin_upkeep() {
            let kept = upkeep.run(|keys| self.store.read(keys).map_err(anyhow::Error::from))?;
            self.state.end_upkeep(kept);
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.store.commit(Arc::new(self.state.checkpoint()))?;
        self.state.stored();
        self.state.evict(NO_LIMIT);
        Ok(())
    }

    /// What the ids of days beyond correction take, and what it costs to look for new ids among them.
    fn remembered(&mut self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        let (ids, bytes) = self.state.remembered();
        if ids == 0 {
            return Ok(());
        }
        let tenants = self.work.tenants.clone();
        let (mut needing, mut applying, mut pages) = (Duration::ZERO, Duration::ZERO, 0);
        for from in (0..self.options.checks).step_by(TOGETHER) {
            let tenant = &tenants[from / TOGETHER % tenants.len()];
            let day = self.options.days;
            let date = self.date(day - 1);
            let record = self.events(tenant, (from..from + TOGETHER).map(|id| order(date, day, id, 1)).collect());
            let batch = Batch {
                format: FORMAT,
                through: Through { inbox: InboxSeq(self.inbox), events: 0 },
                records: vec![record],
            };
            let began = Clock::now();
            pages += self.state.needs(&batch).len();
            needing += began.elapsed();
            let began = Clock::now();
            self.apply(batch.records)?;
            applying += began.elapsed();
        }
        let each = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e6 / self.options.checks.max(1) as f64);
        report.row(
            &format!("{name}: remembered ids"),
            &[
                ("ids", daybook::table::count(ids)),
                ("bytes an id", format!("{:.2}", bytes as f64 / ids as f64)),
                ("needs us an event", each(needing)),
                ("needs, fetch and apply us an event", each(applying)),
                ("pages of 1,000 new ids", format!("{:.2}", pages as f64 * 1e3 / self.options.checks.max(1) as f64)),
            ],
        );
        self.save()
    }

    /// Corrections of any closed day.
    fn corrections(&mut self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        let mut random = Random::new(5);
        let tenants = self.work.tenants.clone();
        let mut correction = |version: u64| {
            let (tenant, day) = (random.below(tenants.len()), random.below(self.options.days as usize) as i32);
            let number = random.below(self.options.orders);
            (tenants[tenant].clone(), order(self.work.first_day.plus(day), day, number, version))
        };
        let single: Vec<_> = (0..self.options.corrections).map(|number| correction(2 + number as u64)).collect();
        let gathered: Vec<_> =
            (0..self.options.corrections).map(|number| correction(1 << 20 | number as u64)).collect();
        let mut times: Vec<Duration> = Vec::new();
        for (tenant, order) in single {
            let record = self.events(&tenant, vec![order]);
            let began = Clock::now();
            self.apply(vec![record])?;
            times.push(began.elapsed());
        }
        self.save()?;
        let began = Clock::now();
        for some in gathered.chunks(GATHERED) {
            let records = some.iter().map(|(tenant, order)| self.events(tenant, vec![order.clone()])).collect();
            self.apply(records)?;
        }
        let together = began.elapsed();
        let began = Clock::now();
        self.save()?;
        let mut figures = percentiles(&mut times);
        figures.push(("corrections/s, 100 a batch", per_second(self.options.corrections, together)));
        figures.push(("to store them s", seconds(began.elapsed())));
        report.row(&format!("{name}: corrections of closed days"), &figures);
        Ok(())
    }

    /// Begins again with what is stored: with every row, and with summaries in the place of pages where memory is limited.
    fn restart(mut self, name: &str, path: &Path, report: &mut Report) -> anyhow::Result<()> {
        let digest = self.state.digest();
        let record = self.events(&self.work.tenants[0].clone(), vec![order(self.date(0), 0, 0, 1 << 40)]);
        let through = Through { inbox: InboxSeq(self.inbox), events: 0 };
        let correction = Batch { format: FORMAT, through, records: vec![record] };
        let Self { options, state, store, position, .. } = self;
        drop(state);
        drop(store);
        let limit = options.closed_days_mib.map(|mebibytes| mebibytes << 20);
        for pass in [None, limit.map(|_| checkpoint::pass as Pass)].into_iter().take(1 + usize::from(limit.is_some())) {
            let began = Clock::now();
            let (mut state, store, rows, bytes) = opened(options.store, path, pass, limit)?;
            let opening = began.elapsed();
            state.keep_digests();
            anyhow::ensure!(state.digest() == digest, "another state came back");
            let began = Clock::now();
            bring_back(&mut state, &store, &correction)?;
            state.apply(LogSeq(position + 1), correction.clone());
            let how = if pass.is_some() { "restart" } else { "restart that reads all rows" };
            report.row(
                &format!("{name}: {how}"),
                &[
                    ("s", seconds(opening)),
                    ("rows read", daybook::table::count(rows)),
                    ("MiB read", (bytes >> 20).to_string()),
                    ("first correction ms", format!("{:.1}", began.elapsed().as_secs_f64() * 1e3)),
                    ("peak memory MiB", (Process(std::process::id()).peak_bytes()? >> 20).to_string()),
                ],
            );
        }
        Ok(())
    }
}

/// Has the pages come back that the batch needs.
fn bring_back(state: &mut PartitionState, store: &Store, batch: &Batch) -> anyhow::Result<()> {
    loop {
        let needs = state.needs(batch);
        if needs.is_empty() {
            return Ok(());
        }
        let stored = store.read(needs.iter().map(|page| page.key()).collect())?;
        needs.iter().zip(stored).try_for_each(|(page, stored)| state.supply(page, &stored))?;
    }
}

/// The state that a store holds, and how many rows and bytes of it were read.
fn opened(
    backend: Backend,
    path: &Path,
    pass: Option<Pass>,
    limit: Option<u64>,
) -> anyhow::Result<(PartitionState, Store, u64, u64)> {
    let began = Clock::now();
    loop {
        let (mut count, mut bytes) = (0, 0);
        let mut read = |rows: &mut dyn Iterator<Item = Row>, reading| {
            let rows = rows.inspect(|(key, value)| {
                count += 1;
                bytes += (key.len() + value.len()) as u64;
            });
            let restored = match (reading, limit) {
                (Reading::Passing, Some(bytes)) => PartitionState::restore_passing(PARTITION, rows, bytes),
                _ => PartitionState::restore_limited(PARTITION, rows, limit),
            };
            restored.map_err(|error| error.to_string())
        };
        let opened = match pass {
            Some(pass) => Store::open_passing(backend, path, pass, read),
            None => Store::open_with(backend, path, |rows| read(rows, Reading::Whole)),
        };
        match opened {
            // The engine's threads let go of it after it was dropped.
            Err(error) if error.is_locked() && began.elapsed() < Duration::from_secs(30) => {}
            opened => {
                let (store, state) = opened?;
                return Ok((state.context("nothing was stored")?, store, count, bytes));
            }
        }
    }
}

fn memory() -> anyhow::Result<u64> {
    Process(std::process::id()).resident_bytes()
}

fn order(date: Date, day: i32, number: usize, version: u64) -> Event {
    Event {
        index: 0,
        date,
        at: Instant::from_millis(i64::from(date.as_days()) * DAY_MS + (number as i64 * 86_000) % DAY_MS),
        id: Some(format_compact!("o{day}-{number}")),
        version: Some(version),
        status: Status::Final,
        dims: vec![
            Some(format_compact!("store-{}", number % 20)),
            Some(format_compact!("customer-{}", number * 7 % 5_000)),
        ]
        .into(),
        measures: vec![Some(100 + (number as i64 * 37 + version as i64) % 9_000)].into(),
    }
}

fn marker(tenant: &TenantId, date: Date, edge: Edge) -> anyhow::Result<Record> {
    let instant = |date: Date| Instant::from_millis(i64::from(date.as_days()) * DAY_MS);
    let day = BusinessDay { date, opens_at: instant(date), closes_at: instant(date.next()) };
    Ok(Record::Day(DayMarker {
        generation: 0,
        tenant: tenant.clone(),
        edge,
        due_at: if edge == Edge::Opened { day.opens_at } else { day.closes_at },
        day,
        calendar: Name::new("utc")?,
        calendar_revision: 1,
        tzdb: "none".to_owned(),
    }))
}
