//! `hunt rehearse`: plays an earlier hunt, or a made-up one, against a set-up, and says whether it will hold.

use super::check::{MAX_SHOWN, compare};
use super::figures::Figures;
use super::generated::HuntPlan;
use super::http::Http;
use super::profile::{self, Profile};
use super::recording::{MAX_RECORDS, Recording, from_lines};
use super::replay::{self, Doors};
use super::stage::Engine;
use super::told::Told;
use super::verdict::{Limits, Measured, Outcome, Verdict, judge};
use super::watchers::{Watchers, quantile};
use crate::broker::Broker;
use crate::game::Entry;
use crate::lifecycle::{init, secret};
use crate::node::clock;
use crate::node::log::read_log;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long Daybook may take to have everything after the end.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// How often the processes' own figures are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause before a door is looked at again that does not serve the hunt yet.
const AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Play this hunt, whose log is on the broker
    #[arg(long, value_name = "HUNT", conflicts_with = "log")]
    from: Option<String>,
    /// Play the hunt of this file, which `hunt log` wrote; without --from and --log a hunt is made up
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// So many times as fast as recorded: 24 plays a day in an hour, with 24 times the load
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = pace)]
    pace: f64,
    /// A made-up hunt: players
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    players: u32,
    /// A made-up hunt: teams
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    teams: u32,
    /// A made-up hunt: mean seconds between two answers of a player, 0.1 to 86400
    #[arg(long, default_value_t = 15.0, value_parser = think)]
    think: f64,
    /// A made-up hunt: seconds that it lasts
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(5..=172_800))]
    seconds: u32,
    /// A made-up hunt: percent of answers that are right. The lower, the longer its 100 challenges last
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    right: u8,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Id of the hunt that is made for the rehearsal; `hunt remove` removes it afterwards
    #[arg(long = "as", value_name = "ID")]
    hunt: Option<String>,
    /// A door that serves the hunt --as; without any, processes are started here
    #[arg(long, value_name = "URL", requires = "hunt")]
    url: Vec<String>,
    /// Without --url: processes that are started
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    processes: u8,
    /// Seconds until the hunt starts: in this time `hunt serve` must be started, with --url, and everybody joins
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=3_600))]
    starts_in: u32,
    /// Copies of the log, in a cluster
    #[arg(long, env = "HUNT_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Streams of the ranking that are followed
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    watchers: u32,
    /// The most milliseconds that 99 of 100 submissions may take
    #[arg(long, default_value_t = 100.0, value_name = "MS")]
    most_submission: f64,
    /// The most milliseconds until all watchers see points, in 99 of 100 cases
    #[arg(long, default_value_t = 1_000.0, value_name = "MS")]
    most_ranking: f64,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

fn pace(text: &str) -> Result<f64, String> {
    number(text, 0.01, 10_000.0)
}

fn think(text: &str) -> Result<f64, String> {
    number(text, 0.1, 86_400.0)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("must be from {least} to {most}")) }
}

/// A rehearsal that is set up.
pub struct Rehearsal {
    pub recording: Recording,
    pub limits: Limits,
    pub watchers: usize,
    pub pace: f64,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
    pub longest: f64,
}

impl Times {
    /// Of sorted microseconds.
    fn of(sorted: &[u64]) -> Self {
        let [p50, p99, longest] = [500, 990, 1000].map(|of| quantile(sorted, of) as f64 / 1_000.0);
        Self { count: sorted.len(), p50, p99, longest }
    }
}

/// What came of a rehearsal.
#[derive(Debug, Serialize)]
pub struct Report {
    pub hunt: String,
    pub pace: f64,
    pub players: usize,
    pub teams: usize,
    pub seconds: f64,
    /// Submissions that were recorded, a second: the most, and the mean.
    pub most_a_second: u64,
    pub mean_a_second: f64,
    /// From when a submission was due until its verdict came.
    pub submissions: Times,
    /// From a verdict until all watchers had seen the points.
    pub rankings: Times,
    pub watchers: usize,
    /// Points that not every watcher saw, because the team was not among the rows that are shown.
    pub not_shown: usize,
    pub repeated: u64,
    pub refused: BTreeMap<String, u64>,
    /// Figures that were compared with a plain recomputation, and those that differ.
    pub figures: usize,
    pub differences: Vec<String>,
    pub measured: Measured,
    pub limits: Limits,
    pub verdict: Verdict,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |times: &Times| {
            format!("p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", times.p50, times.p99, times.longest)
        };
        writeln!(
            f,
            "played        {} players in {} teams for {:.0} s, {} times as fast as recorded",
            self.players, self.teams, self.seconds, self.pace
        )?;
        writeln!(
            f,
            "submissions   {}: {:.1} a second, at most {}; {}",
            self.submissions.count,
            self.mean_a_second,
            self.most_a_second,
            times(&self.submissions)
        )?;
        writeln!(
            f,
            "rankings      {} changes until all {} watchers saw them ({} not shown); {}",
            self.rankings.count,
            self.watchers,
            self.not_shown,
            times(&self.rankings)
        )?;
        let refused: Vec<String> = self.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        writeln!(
            f,
            "errors        {} requests without an answer, {} sent again; refused: {}",
            self.measured.unanswered,
            self.repeated,
            if refused.is_empty() { "none".to_owned() } else { refused.join(", ") }
        )?;
        writeln!(f, "checked       {} figures, {} differ", self.figures, self.measured.differences)?;
        write!(f, "verdict       {}", self.verdict)
    }
}

impl Rehearsal {
    /// Plays at these doors, which serve the hunt of the recording; compares with Daybook at the end.
    ///
    /// # Errors
    /// When the doors refuse the teams or players, or Daybook does not answer.
    pub async fn play(
        mut self,
        urls: Vec<String>,
        organiser: String,
        client: &async_nats::Client,
    ) -> anyhow::Result<Report> {
        let hunt = self.recording.rules.hunt.clone();
        let (players, teams) = (self.recording.players.len(), self.recording.teams.len());
        let (most_a_second, mean_a_second) = self.recording.rates();
        let doors = Doors { urls: urls.clone().into(), organiser, told: Arc::default() };
        let ready = replay::prepare(&mut self.recording, &doors).await?;
        let left = self.recording.rules.start - clock::now();
        let left =
            u64::try_from(left).context("everybody joined after the start; give them longer with --starts-in")?;
        let start = Instant::now() + Duration::from_millis(left);
        let watchers = Watchers::start(&urls, self.watchers);
        let before = Figures::of(&urls).await;
        let looking = Looking::begin(urls.clone());
        let organised = std::mem::take(&mut self.recording.organised);
        let late = replay::play(ready, organised, &doors, start, client).await;
        let seconds = start.elapsed().as_secs_f64();
        let most_waiting = looking.end().await;
        let after = Figures::of(&urls).await;
        let told = std::mem::take(&mut *doors.told.lock().unwrap_or_else(PoisonError::into_inner));
        let mut comparison = compare(client, &hunt, SETTLE_LIMIT).await?;
        comparison.with_told(&told);
        let views = watchers.end(&told.totals).await;
        let Told { mut times, refused, repeated, failed, busy, unavailable, .. } = told;
        times.sort_unstable();
        let (submissions, rankings) = (Times::of(&times), Times::of(&views.until_all));
        let own = before.zip(after);
        let p99 = |histogram| own.as_ref().map_or(0.0, |(before, after)| 1_000.0 * after.p99_since(before, histogram));
        let failures = |figures: &Figures| figures.sum("hunt_publish_failures_total");
        let measured = Measured {
            submission_ms: submissions.p99,
            ranking_ms: rankings.p99,
            unanswered: failed,
            busy,
            unavailable,
            differences: comparison.differences.len(),
            late_ms: Times::of(&late).p99,
            append_ms: p99("hunt_append_seconds"),
            publish_ms: p99("hunt_publish_seconds"),
            ask_ms: p99("hunt_ranking_seconds"),
            most_waiting,
            publish_failures: own.as_ref().map_or(0, |(before, after)| (failures(after) - failures(before)) as u64),
            has_own_figures: own.is_some(),
        };
        Ok(Report {
            hunt,
            pace: self.pace,
            players,
            teams,
            seconds,
            most_a_second,
            mean_a_second,
            submissions,
            rankings,
            watchers: self.watchers,
            not_shown: views.unseen,
            repeated,
            refused,
            figures: comparison.figures,
            verdict: judge(&measured, &self.limits),
            differences: comparison.differences,
            measured,
            limits: self.limits,
        })
    }
}

/// Looks at how many events wait for Daybook, while others play.
struct Looking {
    most: Arc<Mutex<u64>>,
    looking: tokio::task::JoinHandle<()>,
}

impl Looking {
    fn begin(urls: Vec<String>) -> Self {
        let most = Arc::new(Mutex::new(0));
        let seen = most.clone();
        let looking = tokio::spawn(async move {
            loop {
                for url in &urls {
                    // Each process holds all events that wait, so they are not added up.
                    if let Some(figures) = Figures::of(std::slice::from_ref(url)).await {
                        let waiting = figures.sum("hunt_events_waiting") as u64;
                        let mut most = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        *most = waiting.max(*most);
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { most, looking }
    }

    async fn end(self) -> u64 {
        self.looking.abort();
        let _ = self.looking.await;
        *self.most.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the rehearsal.
///
/// # Errors
/// When something does not start, and when the set-up does not hold.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.broker.connect().await?;
    let log = recorded(&arguments, &client).await?;
    let hunt = arguments.hunt.clone().unwrap_or_else(|| format!("rehearsal-{}", clock::now()));
    let start = clock::now() + 1_000 * i64::from(arguments.starts_in);
    let recording = Recording::of(&log)?.again(&hunt, start, arguments.pace);
    drop(log);
    recording.check()?;
    init(&client, recording.rules.clone(), arguments.replicas.into()).await?;
    let mut engines = Vec::new();
    let urls = if arguments.url.is_empty() {
        let binary = std::env::current_exe()?;
        for _ in 0..arguments.processes {
            let broker = arguments.broker.arguments();
            engines.push(Engine::start_with(&binary, &broker, &hunt, "127.0.0.1:0").await?);
        }
        engines.iter().map(|engine| engine.url.clone()).collect()
    } else {
        eprintln!("the hunt {hunt} is made; start `hunt serve {hunt}` at each --url within {} s", arguments.starts_in);
        served(&arguments.url, &hunt, start).await?;
        arguments.url.clone()
    };
    let organiser = secret(&client, &hunt).await?.organiser();
    let limits = Limits { submission_ms: arguments.most_submission, ranking_ms: arguments.most_ranking };
    let rehearsal = Rehearsal { recording, limits, watchers: arguments.watchers as usize, pace: arguments.pace };
    let report = rehearsal.play(urls, organiser, &client).await?;
    for engine in engines {
        engine.stop().await;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
        for difference in report.differences.iter().take(MAX_SHOWN) {
            println!("  {difference}");
        }
        println!("Remove the rehearsal with: hunt remove {hunt} --yes");
    }
    match report.verdict.outcome {
        Outcome::Holds => Ok(()),
        Outcome::DoesNotHold => anyhow::bail!("the set-up does not hold"),
        Outcome::CannotTell => anyhow::bail!("this machine is too slow to tell"),
    }
}

/// The log that is to be played.
async fn recorded(arguments: &Arguments, client: &async_nats::Client) -> anyhow::Result<Vec<Entry>> {
    if let Some(hunt) = &arguments.from {
        return read_log(client, hunt).await;
    }
    if let Some(file) = &arguments.log {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        return from_lines(&text).with_context(|| format!("cannot play {}", file.display()));
    }
    // The rush at the beginning and the end makes them more by two fifths.
    let submissions = 1.4 * f64::from(arguments.players) * f64::from(arguments.seconds) / arguments.think;
    anyhow::ensure!(
        submissions <= MAX_RECORDS as f64,
        "this hunt would have up to {submissions:.0} submissions, and a rehearsal plays at most {MAX_RECORDS}: make it shorter"
    );
    let start = clock::now();
    let plan = HuntPlan {
        hunt: "made-up".to_owned(),
        seed: arguments.seed,
        challenges: 100,
        start,
        end: start + 1_000 * i64::from(arguments.seconds),
        freezes: true,
        bounds_attempts: false,
    };
    let profile = Profile {
        players: arguments.players as usize,
        teams: arguments.teams as usize,
        think_ms: 1_000.0 * arguments.think,
        right: arguments.right,
    };
    profile::log(&plan, &profile)
}

/// Waits until every door serves the hunt.
async fn served(urls: &[String], hunt: &str, start: i64) -> anyhow::Result<()> {
    for url in urls {
        loop {
            if let Ok((200, about)) = Http::new(url).get("/api/hunt").await
                && about["hunt"] == hunt
            {
                break;
            }
            anyhow::ensure!(
                clock::now() < start,
                "{url} does not serve the hunt {hunt}; give it longer with --starts-in"
            );
            tokio::time::sleep(AGAIN).await;
        }
    }
    Ok(())
}
