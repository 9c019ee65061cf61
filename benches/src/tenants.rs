//! What very many tenants take, each with a day's state: memory of the shard, throughput, and the cost of checkpoints.

use crate::bare;
use crate::load::Load;
use crate::process::Process;
use crate::report::{Report, per_second};
use crate::system::{Outgoing, System, outgoing, publish};
use crate::work::{Work, orders};
use daybook::table::count;
use daybook_contracts::ask::{AskErrorCode, DaySelector, Query};
use daybook_contracts::report::Figure;
use daybook_domain::ids::TenantId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Settings of `tenants`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of tenants
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    pub tenants: Vec<usize>,
    /// Events of each tenant, which make its day's state
    #[arg(long, default_value_t = 20)]
    pub each: usize,
    /// Events as fast as they are taken, behind those
    #[arg(long, default_value_t = 500_000)]
    pub events: usize,
    /// Events a second behind those
    #[arg(long, default_value_t = 20_000)]
    pub rate: usize,
    /// Seconds of that
    #[arg(long, default_value_t = 20)]
    pub seconds: usize,
}

/// Events a message at most: of 100,000 tenants two seldom fall together.
const TOGETHER: usize = 100;
/// Two checkpoints at the default interval: what was applied last is stored when they have passed.
const CHECKPOINTS: Duration = Duration::from_secs(11);
/// Tenants whose figures are compared.
const COMPARED: usize = 500;

/// # Errors
/// When something does not start, or figures are wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for tenants in &options.tenants {
        measure(*tenants, options, report).await?;
    }
    Ok(())
}

async fn measure(tenants: usize, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let work = |events, ids, is_even| {
        orders::spread("orders", events, orders::Spread { tenants, first_day: 0, days: 1, ids, is_even })
    };
    let state = work(tenants * options.each, "s", true);
    let fast = work(options.events, "f", false);
    let steady = work(options.rate * options.seconds, "r", false);
    let system = System::with_shard_apart().await?;
    let began = Instant::now();
    system.define(&state).await?;
    system.client.settle().await?;
    eprintln!("{} tenants defined and opened in {:.1} s", count(tenants as u64), began.elapsed().as_secs_f64());
    let name = |what: &str| format!("{} tenants, {what}", count(tenants as u64));
    let jetstream = &system.client.connection.jetstream;
    for (what, work) in [("a day's state", &state), ("by 1/n, as fast as taken", &fast)] {
        let messages = messages(work);
        let before = Written::so_far(&system).await?;
        let began = Instant::now();
        publish(jetstream, &messages).await?;
        system.client.settle().await?;
        let took = began.elapsed();
        tokio::time::sleep(CHECKPOINTS).await;
        let written = Written::so_far(&system).await?.since(before);
        let events = work.events.len();
        report.row(&name(what), &figures(&system, tenants, events, per_second(events, took), &messages, written)?);
    }
    let messages = messages(&steady);
    let before = Written::so_far(&system).await?;
    let began = Instant::now();
    Load::start(system.connect().await?.connection, messages.clone(), options.rate).finish().await?;
    system.client.settle().await?;
    let took = began.elapsed();
    tokio::time::sleep(CHECKPOINTS).await;
    let written = Written::so_far(&system).await?.since(before);
    let what = format!("by 1/n, {} a second", count(options.rate as u64));
    let events = steady.events.len();
    report.row(&name(&what), &figures(&system, tenants, events, per_second(events, took), &messages, written)?);
    check(&system, &[state, fast, steady]).await?;
    system.stop().await;
    Ok(())
}

fn messages(work: &Work) -> Vec<Outgoing> {
    outgoing(work, TOGETHER, orders::DIMENSIONS, orders::MEASURES)
}

/// Bytes written.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// To disks by the shard: its checkpoints.
    shard: u64,
    /// To disks by the broker: INBOX, the log, checkpoints that are put there.
    broker: u64,
    /// Into the log.
    log: u64,
}

impl Written {
    async fn so_far(system: &System) -> anyhow::Result<Self> {
        let shard = system.shard().expect("it is apart");
        let broker = Process(system.broker.pid().expect("it runs"));
        let connection = &system.client.connection;
        let log = connection.jetstream.get_stream(connection.subjects.events_stream()).await?;
        Ok(Self { shard: shard.written_bytes()?, broker: broker.written_bytes()?, log: log.cached_info().state.bytes })
    }

    fn since(self, before: Self) -> Self {
        Self { shard: self.shard - before.shard, broker: self.broker - before.broker, log: self.log - before.log }
    }
}

fn figures(
    system: &System,
    tenants: usize,
    events: usize,
    rate: String,
    messages: &[Outgoing],
    written: Written,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let shard = system.shard().expect("it is apart");
    let input: usize = messages.iter().map(|message| message.payload.len()).sum();
    let times = |bytes: u64| format!("{:.2}", bytes as f64 / input as f64);
    let resident = shard.resident_bytes()?;
    Ok(vec![
        ("events", count(events as u64)),
        ("events/message", format!("{:.1}", events as f64 / messages.len() as f64)),
        ("events/s", rate),
        ("shard MiB", (resident >> 20).to_string()),
        ("most MiB", (shard.peak_bytes()? >> 20).to_string()),
        ("KiB/tenant", format!("{:.1}", resident as f64 / 1024.0 / tenants as f64)),
        ("input MB", (input / 1_000_000).to_string()),
        ("log/input", times(written.log)),
        ("checkpoints/input", times(written.shard)),
        ("broker's disk/input", times(written.broker)),
    ])
}

/// Whether the figures of some tenants are those of a plain recomputation.
async fn check(system: &System, works: &[Work; 3]) -> anyhow::Result<()> {
    let mut expected: BTreeMap<TenantId, (i64, i64)> = BTreeMap::new();
    for work in works {
        for ((tenant, ..), figures) in bare::fold(bare::Fold::Orders, &work.log(TOGETHER)?) {
            let (n, sum) = expected.entry(TenantId::new(&tenant)?).or_default();
            (*n, *sum) = (*n + figures.n, *sum + figures.sum);
        }
    }
    let every = expected.len().div_ceil(COMPARED);
    for (tenant, expected) in expected.iter().step_by(every) {
        let query = Query { dimensions: Some(Vec::new()), ..Query::days(DaySelector::Today) };
        let answer = match system.client.query(tenant, orders::VIEW, &query).await {
            Ok(answer) => answer,
            Err(error) if error.code == AskErrorCode::UnknownDay => continue,
            Err(error) => anyhow::bail!("{tenant}: {error}"),
        };
        let number = |metric: &str| match answer.rows.first().and_then(|row| row.get(metric)) {
            Some(Figure::Number(number)) => i64::try_from(number.unscaled()).unwrap_or(i64::MAX),
            _ => 0,
        };
        let found = (number("orders"), number("amount"));
        anyhow::ensure!(found == *expected, "{tenant}: {found:?}, a plain recomputation {expected:?}");
    }
    Ok(())
}
