//! `hunt load`: plays a generated hunt over HTTP and reports what players and watchers saw.

use super::check::{MAX_SHOWN, compare};
use super::generated::{HuntPlan, yaml};
use super::http::Http;
use super::players::{Style, make_teams, play};
use super::served::compare_served;
use super::stage::{Engine, Up};
use super::watchers::{Views, Watchers, quantile};
use crate::broker::connect;
use crate::lifecycle::{init_hunt, secret};
use crate::node::clock;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long Daybook, or the cache of a served ranking, may take to have everything after the end.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Players, who share the teams evenly
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    players: u32,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    teams: u32,
    /// Streams of the ranking that are followed
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    watchers: u32,
    /// Seconds that the hunt lasts
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=7_200))]
    seconds: u32,
    /// Mean seconds between two answers of a player
    #[arg(long, default_value_t = 10.0)]
    think: f64,
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=500))]
    challenges: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Percent of answers that are right: the lower, the longer a hunt has something to solve
    #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u8).range(0..=100))]
    right: u8,
    /// Processes of the engine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    processes: u8,
    /// A broker with a Daybook; one is started when absent
    #[arg(long, env = "HUNT_NATS", value_name = "URL")]
    nats: Option<String>,
    /// Plays a hunt that is served here, made by `hunt rules make` with the same seed; compares with Daybook only with --nats
    #[arg(long, value_name = "URL", requires = "organiser")]
    url: Vec<String>,
    /// With --url: the organiser's token
    #[arg(long, env = "HUNT_ORGANISER", value_name = "TOKEN")]
    organiser: Option<String>,
    /// With --url: compares the served ranking with a plain recomputation of the records at /api/organiser/records
    #[arg(long, requires = "url", conflicts_with = "nats")]
    records: bool,
}

/// What a run is compared with, besides what players were told.
#[derive(Clone, Copy, Debug)]
pub enum Against<'a> {
    /// The figures in Daybook with a recomputation of the log.
    Daybook(&'a async_nats::Client),
    /// The ranking that the first door serves with a recomputation of the records that it serves.
    Served,
    Nothing,
}

/// How large a run is.
#[derive(Clone, Debug)]
pub struct Sizes {
    pub players: usize,
    pub teams: usize,
    pub watchers: usize,
    pub think: Duration,
    /// Percent of answers that are right.
    pub right: u8,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Run {
    /// Sorted, in microseconds.
    pub times: Vec<u64>,
    pub per_second: f64,
    pub views: Views,
    pub watchers: usize,
    pub refused: BTreeMap<String, u64>,
    pub judged: usize,
    pub repeated: u64,
    pub failed: u64,
    pub records: usize,
    /// Figures that were compared with a plain recomputation.
    pub figures: usize,
    pub differences: Vec<String>,
}

impl Run {
    /// Plays a generated hunt at these doors, and compares.
    ///
    /// # Errors
    /// When a door refuses the teams, or what is compared with does not answer.
    pub async fn play(
        plan: &HuntPlan,
        sizes: &Sizes,
        urls: Vec<String>,
        organiser: &str,
        against: Against<'_>,
    ) -> anyhow::Result<Self> {
        let door = urls[0].clone();
        let codes = make_teams(&door, organiser, sizes.teams).await?;
        let watchers = Watchers::start(&urls, sizes.watchers);
        let until = |time: i64| Duration::from_millis(u64::try_from(time - clock::now()).unwrap_or(0));
        let ends = Instant::now() + until(plan.end);
        let length = Duration::from_millis(u64::try_from(plan.end - plan.start)?);
        let style = Style {
            seed: plan.seed,
            teams: sizes.teams,
            players: sizes.players,
            think: sizes.think,
            right: sizes.right,
            ends,
            length,
            urls,
        };
        tokio::time::sleep(until(plan.start)).await;
        let began = Instant::now();
        let mut told = play(&style, &codes).await;
        let took = began.elapsed().as_secs_f64();
        let mut run = Self { watchers: sizes.watchers, ..Self::default() };
        let comparison = match against {
            Against::Daybook(client) => Some(compare(client, &plan.hunt, SETTLE_LIMIT).await?),
            Against::Served => Some(compare_served(&door, organiser, plan, SETTLE_LIMIT).await?),
            Against::Nothing => None,
        };
        if let Some(mut comparison) = comparison {
            comparison.with_told(&told);
            (run.records, run.figures) = (comparison.records, comparison.figures);
            run.differences = comparison.differences;
        } else {
            run.differences = std::mem::take(&mut told.faults);
        }
        run.views = watchers.end(&told.totals).await;
        run.per_second = told.times.len() as f64 / took;
        run.judged = told.verdicts.len();
        (run.repeated, run.failed) = (told.repeated, told.failed);
        run.refused = told.refused;
        run.times = told.times;
        run.times.sort_unstable();
        Ok(run)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let of = |sorted: &[u64]| [500, 990, 1000].map(|of| ms(quantile(sorted, of)));
        let [p50, p99, most] = of(&self.times);
        writeln!(
            f,
            "submissions      {} sent, {:.0} a second, {} judged",
            self.times.len(),
            self.per_second,
            self.judged
        )?;
        writeln!(f, "time of one      p50 {p50:.1} ms, p99 {p99:.1} ms, longest {most:.1} ms")?;
        let [p50, p99, most] = of(&self.views.until_all);
        writeln!(
            f,
            "until all saw    p50 {p50:.0} ms, p99 {p99:.0} ms, longest {most:.0} ms ({} watchers, {} changes, {} not shown)",
            self.watchers,
            self.views.until_all.len(),
            self.views.unseen
        )?;
        writeln!(f, "sent again       {} requests; never answered: {}", self.repeated, self.failed)?;
        let refused: Vec<String> = self.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        writeln!(f, "refused          {}", if refused.is_empty() { "none".to_owned() } else { refused.join(", ") })?;
        write!(
            f,
            "checked          {} figures against a plain recomputation of {} records: {} differ",
            self.figures,
            self.records,
            self.differences.len()
        )
    }
}

/// Runs the load.
///
/// # Errors
/// When something does not start, or a figure is wrong.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let up = match (&arguments.nats, arguments.url.is_empty()) {
        (None, true) => Some(Up::start().await?),
        _ => None,
    };
    let nats = up.as_ref().map(|up| up.nats.clone()).or_else(|| arguments.nats.clone());
    let client = match &nats {
        Some(nats) => Some(connect(nats).await?),
        None => None,
    };
    // Long enough to make the teams and start the engines.
    let lead_in = 3_000 + i64::from(arguments.teams) * 5;
    let start = clock::now() + lead_in;
    let mut plan = HuntPlan {
        hunt: format!("load-{}", clock::now()),
        seed: arguments.seed,
        challenges: arguments.challenges as usize,
        start,
        end: start + i64::from(arguments.seconds) * 1_000,
        freezes: false,
        bounds_attempts: false,
    };
    let sizes = Sizes {
        players: arguments.players as usize,
        teams: arguments.teams as usize,
        watchers: arguments.watchers as usize,
        think: Duration::from_secs_f64(arguments.think),
        right: arguments.right,
    };
    let mut engines = Vec::new();
    let (urls, organiser) = match (arguments.url.is_empty(), &client, &nats) {
        (true, Some(client), Some(nats)) => {
            init_hunt(client, &yaml(&plan), 1).await?;
            for _ in 0..arguments.processes {
                engines.push(Engine::start(&std::env::current_exe()?, nats, &plan.hunt, "127.0.0.1:0").await?);
            }
            let secret = secret(client, &plan.hunt).await?;
            (engines.iter().map(|engine| engine.url.clone()).collect(), secret.organiser())
        }
        _ => {
            let (_, hunt) = Http::new(&arguments.url[0]).get("/api/hunt").await?;
            plan.hunt = hunt["hunt"].as_str().context("there is no hunt at --url")?.to_owned();
            plan.start = hunt["start"].as_i64().context("the hunt has no start")?;
            plan.end = hunt["end"].as_i64().context("the hunt has no end")?;
            anyhow::ensure!(clock::now() < plan.start, "the hunt has begun already");
            (arguments.url.clone(), arguments.organiser.clone().context("--url needs --organiser")?)
        }
    };
    let against = match &client {
        Some(client) => Against::Daybook(client),
        None if arguments.records => Against::Served,
        None => Against::Nothing,
    };
    let run = Run::play(&plan, &sizes, urls, &organiser, against).await?;
    println!("{run}");
    for engine in engines {
        engine.stop().await;
    }
    if let Some(up) = up {
        up.stop().await;
    }
    for difference in run.differences.iter().take(MAX_SHOWN) {
        eprintln!("  {difference}");
    }
    anyhow::ensure!(
        run.differences.is_empty(),
        "{} figures or players are not as they should be: the lines above say which",
        run.differences.len()
    );
    Ok(())
}
