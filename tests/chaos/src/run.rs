//! A run from its beginning to its end.

use crate::check::{Problems, check, judge};
use crate::cluster::Cluster;
use crate::fault::{Fault, FaultPlan, Kind};
use crate::fleet::Fleet;
use crate::hostile::attack;
use crate::load::{Board, produce};
use crate::reading::{READERS, Readings, read};
use crate::strike::{World, tell};
use crate::summary::Summary;
use crate::tenants::{CLOCK, CLOCK_START, HOUR_MS, Tenant, definitions};
use anyhow::Context as _;
use daybook::client::Client;
use daybook_contracts::admin::ClockAdvance;
use daybook_domain::ids::Name;
use daybook_domain::time::Instant as Moment;
use daybook_random::Random;
use daybook_runtime::connection::BrokerOptions;
use daybook_tests::processes::{PARTITIONS, binary, command};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// By how much the clock is driven on at a time.
const CLOCK_STEP_MS: i64 = 6 * HOUR_MS;
/// The clock is driven for at least so many days, so that there are reports to compare. While brokers elect leaders, a day may
/// take a minute.
const LEAST_DAYS: i64 = 2;
/// How long the clock may take for those days once faults have ceased.
const DRIVE_LIMIT: Duration = Duration::from_secs(120);
/// How long producers may take to bring what is under way to its end.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// What a shard logs when a replay makes another report than the sealed one.
const DIVERGENCE: &str = "made another report";
/// Where an engine may panic about damaged files: the shard expects it and begins with a snapshot or the log.
const STORE_THREAD: &str = "thread 'store'";

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub length: Length,
    /// Between two steps of the clock, each of a quarter of a day.
    pub clock_interval: Duration,
    /// Only these kinds of faults; all when empty.
    pub only: Vec<Kind>,
}

/// When faults cease.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Time(Duration),
    Faults(usize),
}

/// Runs in `folder`, where logs and data are left, and tells what was found.
///
/// # Errors
/// When the run cannot go on. That faults were not overcome, or that figures are wrong, is told by the summary.
pub fn run<'a>(
    settings: &'a Settings,
    folder: &'a Path,
) -> Pin<Box<dyn Future<Output = anyhow::Result<Summary>> + 'a>> {
    // Boxed, the whole is compiled here once, and not again in each program that runs it.
    Box::pin(run_in(settings, folder))
}

async fn run_in(settings: &Settings, folder: &Path) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let mut world = start(folder).await?;
    let start: Moment = CLOCK_START.parse()?;
    let board = Arc::new(Board::new(Tenant::all(daybook_runtime::clock::now()), start.as_millis()));
    daybook_tests::define(&world.client, &definitions(&board.tenants)).await;
    world.client.advance(&advance_to(start.as_millis())).await?;

    let mut random = Random::new(settings.seed ^ 0x6c6f_6164);
    let readings = Arc::new(Mutex::new(Readings::default()));
    let (mut producing, mut reading) = (Vec::new(), Vec::new());
    for tenant in 0..board.tenants.len() {
        let client = Client::connect(&options(&world.cluster)).await?;
        producing.push(tokio::spawn(produce(board.clone(), client.connection, tenant, random.below(u64::MAX))));
    }
    for _ in 0..READERS {
        let client = Client::connect(&options(&world.cluster)).await?;
        reading.push(tokio::spawn(read(board.clone(), client, readings.clone(), random.below(u64::MAX))));
    }
    let attacking = tokio::spawn(attack(board.clone(), world.cluster.urls(), random.below(u64::MAX)));
    let driving = tokio::spawn(drive(board.clone(), world.client.clone(), settings.clock_interval));

    let mut summary = Summary { seed: settings.seed, ..Summary::default() };
    let outcome = strike_all(&mut world, &board, settings, &mut summary).await;
    if let Err(error) = outcome {
        summary.problems.push(format!("{error:#}"));
    } else if let Err(error) = driven(&board, start.as_millis() + LEAST_DAYS * 24 * HOUR_MS, &driving).await {
        summary.problems.push(format!("{error:#}"));
    }
    board.stop.cancel();
    tell("settling");
    summary.hostile_messages = attacking.await.context("the hostile tenant")?;
    let ended = ends(producing, reading, driving).await;
    if let Err(error) = ended {
        summary.problems.push(format!("{error:#}"));
    }
    let mut readings = std::mem::take(&mut *readings.lock().unwrap_or_else(PoisonError::into_inner));
    summary.problems.append(&mut readings.problems);
    (summary.asked, summary.stale) = (readings.asked, readings.stale);
    summary.failed = std::mem::take(&mut readings.failed);
    summary.longest_silence = readings.longest_silence;
    summary.retries = board.retries.load(Ordering::SeqCst);
    summary.days_driven = (board.clock_ms.load(Ordering::SeqCst) - start.as_millis()) / (24 * HOUR_MS);
    summary.messages = board.ledger().iter().map(|messages| messages.len() as u64).sum();
    summary.events = board.ledger().iter().flatten().map(|message| message.events.len() as u64).sum();
    let mut problems = Problems::default();
    if let Err(error) = finish(&mut world, &board, &mut summary, &mut problems).await {
        problems.0.push(format!("{error:#}"));
    }
    judge(&board, readings.told, &mut summary.checked, &mut problems);
    summary.problems.append(&mut problems.0);
    summary.took = began.elapsed();
    Ok(summary)
}

async fn start(folder: &Path) -> anyhow::Result<World> {
    let cluster = Cluster::start(folder).await?;
    let fleet = Fleet::start(&cluster.urls(), folder).await;
    let client = Client::connect(&options(&cluster)).await?;
    Ok(World { fleet, cluster, client })
}

fn options(cluster: &Cluster) -> BrokerOptions {
    BrokerOptions { partitions: PARTITIONS, ..BrokerOptions::at(&cluster.urls()) }
}

/// One fault after the other. Those of brokers wait until the ones before are overcome.
async fn strike_all(
    world: &mut World,
    board: &Board,
    settings: &Settings,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut open: Vec<Kind> = Vec::new();
    let faults =
        FaultPlan::new(settings.seed).filter(|fault| settings.only.is_empty() || settings.only.contains(&fault.kind));
    for (number, fault) in faults.enumerate() {
        let is_over = match settings.length {
            Length::Time(length) => began.elapsed() >= length,
            Length::Faults(count) => number >= count,
        };
        if is_over {
            break;
        }
        if fault.kind.is_of_brokers() && !open.is_empty() {
            world.recovered(board, Instant::now()).await.context("before a fault of brokers")?;
            survived(&mut open, summary);
        }
        tell(&format!("{:>6} ms  {fault}", began.elapsed().as_millis()));
        summary.faults.entry(fault.kind).or_default().injected += 1;
        open.push(fault.kind);
        one(world, board, &fault, &mut open, summary).await.with_context(|| fault.to_string())?;
        tokio::time::sleep(fault.rest).await;
    }
    world.recovered(board, Instant::now()).await.context("after the last fault")?;
    world.fleet.ready().await;
    survived(&mut open, summary);
    Ok(())
}

async fn one(
    world: &mut World,
    board: &Board,
    fault: &Fault,
    open: &mut Vec<Kind>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    world.strike(fault).await?;
    if fault.is_awaited {
        let took = world.recovered(board, Instant::now()).await?;
        tell(&format!("           overcome after {} ms", took.as_millis()));
        let strikes = summary.faults.entry(fault.kind).or_default();
        strikes.slowest = strikes.slowest.max(took);
        survived(open, summary);
    }
    Ok(())
}

fn survived(open: &mut Vec<Kind>, summary: &mut Summary) {
    for kind in open.drain(..) {
        summary.faults.entry(kind).or_default().survived += 1;
    }
}

/// Drives the clock until the run stops.
async fn drive(board: Arc<Board>, client: Client, interval: Duration) -> anyhow::Result<()> {
    let mut now = board.clock_ms.load(Ordering::SeqCst);
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = board.stop.cancelled() => return Ok(()),
        }
        now += CLOCK_STEP_MS;
        client.advance(&advance_to(now)).await.context("driving the clock")?;
        board.clock_ms.store(now, Ordering::SeqCst);
    }
}

/// Waits until the clock stands at `wanted_ms` or the driver has ended, which tells why later.
async fn driven(board: &Board, wanted_ms: i64, driving: &JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let reaches = async {
        while board.clock_ms.load(Ordering::SeqCst) < wanted_ms && !driving.is_finished() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DRIVE_LIMIT, reaches).await.context("the clock is not driven on, with nothing wrong")
}

fn advance_to(now_ms: i64) -> ClockAdvance {
    ClockAdvance { clock: Name::new(CLOCK).expect("a valid name"), advance_to: Moment::from_millis(now_ms) }
}

/// Waits until producers, readers and the driver have ended.
async fn ends(
    producing: Vec<JoinHandle<()>>,
    reading: Vec<JoinHandle<()>>,
    driving: JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let all = async {
        for task in producing.into_iter().chain(reading) {
            task.await?;
        }
        driving.await?
    };
    tokio::time::timeout(STOP_LIMIT, all).await.context("a producer is not acknowledged, with nothing wrong")?
}

/// Waits until everything has arrived, and looks at all of it.
async fn finish(
    world: &mut World,
    board: &Board,
    summary: &mut Summary,
    problems: &mut Problems,
) -> anyhow::Result<()> {
    world.client.settle().await.context("settling")?;
    summary.checked = check(&world.client, board, problems).await?;
    let verified = command(&binary("daybook"))
        .args(["verify", "--all", "--nats", &world.cluster.urls()])
        .output()
        .context("daybook verify")?;
    if !verified.status.success() {
        let said = [verified.stdout, verified.stderr].concat();
        problems.0.push(format!("daybook verify --all: {}\n{}", verified.status, String::from_utf8_lossy(&said)));
    }
    let diverged = world.fleet.counted("daybook_divergence_total").await;
    if diverged > 0.0 {
        problems.0.push(format!("daybook_divergence_total is {diverged}"));
    }
    problems.0.extend(world.fleet.logged(DIVERGENCE));
    let panics = world.fleet.logged("panicked at");
    problems.0.extend(panics.into_iter().filter(|panic| !panic.contains(STORE_THREAD)));
    Ok(())
}
