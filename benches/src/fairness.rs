//! How long a tenant waits for its answers: alone, while another tenant of its partition asks as much as it can, and while the
//! same is asked of another Daybook. The last shares only the machine, so it tells how much of the waiting is the processors'.

use crate::report::{Report, percentile};
use crate::system::{CLOCK, System, define_tenants, define_yaml, open_day};
use crate::timing::median;
use daybook::asker::Asker;
use daybook_contracts::ask::{AskErrorCode, DaySelector, Query};
use daybook_domain::ids::{Partition, TenantId};
use daybook_domain::time::Date;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Settings of `fairness`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Groups of the flood's view: each of its questions goes through all of them; several, one after the other
    #[arg(long, value_delimiter = ',', default_value = "400,4000,40000")]
    pub groups: Vec<usize>,
    /// Questions that the flood has under way at any time
    #[arg(long, default_value_t = 250)]
    pub flood: usize,
    /// Questions by which the other tenant's waiting is measured, a round
    #[arg(long, default_value_t = 2_000)]
    pub samples: usize,
    /// Rounds, each first quiet, then beside the flood, then beside one on another Daybook; the median of each counts
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

const DEFINITIONS: &str = "
kinds: [{ name: order, mode: entity, dimensions: [city], measures: [amount] }]
views: [{ name: cities, kind: order, group_by: [city], metrics: [{ orders: count }, { amount: sum(amount) }] }]
";
const VIEW: &str = "cities";
const GREEDY: &str = "greedy";
/// Groups of the tenant that is measured.
const MODEST_GROUPS: usize = 10;
/// Orders of one message.
const TOGETHER: usize = 500;
/// Between an answer and the next question of the tenant that is measured.
const PAUSE: Duration = Duration::from_millis(1);

/// The day that is asked for: 2026-01-01.
fn day() -> Date {
    Date::from_days(20_454)
}

/// # Errors
/// When something does not start, or an answer to the tenant that is measured is an error.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for groups in &options.groups {
        let system = System::start().await?;
        let modest = shops(&system, *groups).await?;
        let other = System::start().await?;
        shops(&other, *groups).await?;
        let (mut quiet, mut beside, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        let mut rate = 0.0;
        for _ in 0..options.rounds {
            quiet.push(measure(&system.client.asker, &modest, options.samples).await?);
            let (times, answered) = flooded(&system, &system, &modest, options).await?;
            beside.push(times);
            rate += answered / options.rounds as f64;
            apart.push(flooded(&system, &other, &modest, options).await?.0);
        }
        for share in [0.5, 0.99] {
            let [quiet, beside, apart] = [&quiet, &beside, &apart].map(|rounds| {
                let mut all: Vec<_> = rounds.iter().filter_map(|times| percentile(times, share)).collect();
                median(&mut all)
            });
            let shown = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1_000.0);
            let ratio = |base: Duration| format!("{:.2}", beside.as_secs_f64() / base.as_secs_f64());
            report.row(
                &format!("p{:.0}, questions of the flood over {groups} groups", share * 100.0),
                &[
                    ("alone ms", shown(quiet)),
                    ("beside the flood ms", shown(beside)),
                    ("ratio", ratio(quiet)),
                    ("beside another Daybook's ms", shown(apart)),
                    ("ratio to that", ratio(apart)),
                    ("answers/s to the flood", format!("{rate:.0}")),
                ],
            );
        }
        system.stop().await;
        other.stop().await;
    }
    Ok(())
}

/// How long the tenant's answers take while `at` is flooded, and how many answers a second the flood gets.
async fn flooded(
    system: &System,
    at: &System,
    modest: &TenantId,
    options: &Options,
) -> anyhow::Result<(Vec<Duration>, f64)> {
    let flood = Flood::begin(at.connect().await?.asker, options.flood);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (began, before) = (Instant::now(), flood.answered());
    let times = measure(&system.client.asker, modest, options.samples).await?;
    let rate = (flood.answered() - before) as f64 / began.elapsed().as_secs_f64();
    flood.end().await?;
    Ok((times, rate))
}

/// Two tenants of one partition with their orders; returns the one that is measured.
async fn shops(system: &System, groups: usize) -> anyhow::Result<TenantId> {
    let of = |id: &str| Partition::of(id, system.client.connection.partitions);
    let modest = (0..).map(|number| format!("modest-{number}")).find(|id| of(id) == of(GREEDY)).expect("one of them");
    let modest = TenantId::new(&modest)?;
    define_yaml(&system.client, DEFINITIONS.to_owned()).await?;
    define_tenants(&system.client, &[TenantId::new(GREEDY)?, modest.clone()], day(), CLOCK).await?;
    open_day(&system.client, CLOCK, day()).await?;
    for (tenant, groups) in [(GREEDY, groups), (modest.as_str(), MODEST_GROUPS)] {
        let order = |n: usize| {
            json!({ "id": n.to_string(), "version": 1, "status": "final", "at": format!("{}T12:00:00Z", day()),
                    "dims": { "city": format!("city-{n}") }, "measures": { "amount": n } })
        };
        for from in (0..groups).step_by(TOGETHER) {
            let orders: Vec<_> = (from..(from + TOGETHER).min(groups)).map(order).collect();
            let subject = system.client.connection.subjects.input(tenant, "order");
            let jetstream = &system.client.connection.jetstream;
            jetstream.publish(subject, serde_json::to_vec(&orders)?.into()).await?.await?;
        }
    }
    system.client.settle().await?;
    Ok(modest)
}

/// A question like no other, so that nothing is shared or given again, and the shard goes through all groups.
fn distinct(number: usize) -> Query {
    Query {
        days: DaySelector::Date(day()),
        filter: Some(format!("city != 'nowhere-{number}'")),
        limit: Some(1 + number as u32 % 3),
        ..Query::default()
    }
}

/// How long each answer takes. Sorted.
async fn measure(asker: &Asker, tenant: &TenantId, samples: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..samples {
        let began = Instant::now();
        asker.query(tenant, VIEW, &distinct(number)).await?;
        times.push(began.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    times.sort_unstable();
    Ok(times)
}

/// Many questions under way at any time.
struct Flood {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answered: AtomicUsize,
}

impl Flood {
    fn begin(asker: Asker, under_way: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(ask_on(asker, under_way, shared.clone()));
        Self { shared, task }
    }

    fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn ask_on(asker: Asker, under_way: usize, shared: Arc<Shared>) -> anyhow::Result<()> {
    let greedy = TenantId::new(GREEDY)?;
    let (mut waiting, mut number) = (FuturesUnordered::new(), 1_000_000);
    while !shared.is_over.load(Ordering::Relaxed) {
        while waiting.len() < under_way {
            let (question, asker, greedy) = (distinct(number), asker.clone(), greedy.clone());
            waiting.push(async move { asker.query(&greedy, VIEW, &question).await });
            number += 1;
        }
        match waiting.next().await {
            Some(Ok(_)) => drop(shared.answered.fetch_add(1, Ordering::Relaxed)),
            Some(Err(error)) if error.code != AskErrorCode::Busy => anyhow::bail!("the flood: {error}"),
            _ => {}
        }
    }
    while waiting.next().await.is_some() {}
    Ok(())
}
