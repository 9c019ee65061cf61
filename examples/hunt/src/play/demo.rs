//! `hunt demo`: a whole hunt in a minute, on a Daybook and two engines that it starts.

use super::check::MAX_SHOWN;
use super::generated::HuntPlan;
use super::load::{Against, Run, Sizes};
use super::stage::{Engine, Up};
use crate::broker::connect;
use crate::lifecycle::{end_hunt, init_hunt, secret};
use crate::node::clock;
use crate::node::daybook::{Daybook, SEASON, TEAMS};
use crate::node::ranking::Row;
use serde_json::json;
use std::time::Duration;

/// How long the hunt lasts, beside what joining takes.
const LEAD_IN: Duration = Duration::from_secs(4);
/// Rows of the table at the end.
const SHOWN_ROWS: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Players, in a tenth as many teams
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    players: u32,
    /// Seconds that the hunt lasts: ten minutes of it pass in one
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=3_600))]
    seconds: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Address of the first engine's pages
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: String,
    /// Ends when the hunt is over, instead of leaving the board open
    #[arg(long)]
    exit: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// When something does not start, or a figure is wrong.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    eprintln!("starting Daybook …");
    let up = Up::start().await?;
    let client = connect(&up.nats).await?;
    let start = clock::now() + i64::try_from(LEAD_IN.as_millis())?;
    let end = start + i64::from(arguments.seconds) * 1_000;
    let plan = HuntPlan {
        hunt: "demo".to_owned(),
        seed: arguments.seed,
        challenges: 40,
        start,
        end,
        freezes: true,
        bounds_attempts: true,
    };
    init_hunt(&client, &super::generated::yaml(&plan), 1).await?;
    let binary = std::env::current_exe()?;
    let listen = if arguments.exit { "127.0.0.1:0" } else { &arguments.listen };
    let engines = [
        Engine::start(&binary, &up.nats, "demo", listen).await?,
        Engine::start(&binary, &up.nats, "demo", "127.0.0.1:0").await?,
    ];
    let secret = secret(&client, "demo").await?;
    println!("The board is at {}/board", engines[0].url);
    println!("The organiser's page is at {}/organiser, with the token\n  {}", engines[0].url, secret.organiser());
    println!("Daybook's console is at {}", up.http);
    let players = arguments.players as usize;
    let sizes = Sizes {
        right: 35,
        players,
        teams: players.div_ceil(10),
        watchers: 50,
        think: Duration::from_secs_f64(f64::from(arguments.seconds) / 30.0),
    };
    eprintln!("{players} players play for {} s …", arguments.seconds);
    let urls = engines.iter().map(|engine| engine.url.clone()).collect();
    let run = Run::play(&plan, &sizes, urls, &secret.organiser(), Against::Daybook(&client)).await?;
    println!("{run}");
    let date = end_hunt(&client, "demo").await?;
    let verified = up.verify("demo", &date).await?;
    println!("{}", verified.trim());
    show(&client).await?;
    for difference in run.differences.iter().take(MAX_SHOWN) {
        eprintln!("  {difference}");
    }
    anyhow::ensure!(run.differences.is_empty(), "{} figures are wrong", run.differences.len());
    if !arguments.exit {
        println!("The board stays open until Ctrl-C: {}/board", engines[0].url);
        std::future::pending::<()>().await;
    }
    for engine in engines {
        engine.stop().await;
    }
    up.stop().await;
    Ok(())
}

/// The first rows of the ranking.
async fn show(client: &async_nats::Client) -> anyhow::Result<()> {
    let question = json!({"days": format!("season:{SEASON}")});
    let (rows, _) = Daybook::new(client, "demo").rows::<Row>(TEAMS, question, Duration::from_secs(10)).await?;
    println!("\n RANK  TEAM        SOLVED  POINTS");
    for row in rows.iter().take(SHOWN_ROWS) {
        println!(
            "{:>5}  {:<10}  {:>6}  {:>6}",
            row.rank,
            row.team.as_deref().unwrap_or_default(),
            row.solves,
            row.points
        );
    }
    println!("  … {} teams", rows.len());
    Ok(())
}
