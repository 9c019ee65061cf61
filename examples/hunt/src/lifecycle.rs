//! A hunt from its first rules to its removal: what organisers do with it as a whole.

use crate::game::Record;
use crate::node::daybook::{Daybook, SEASON, TEAMS};
use crate::node::log::{Log, read_log};
use crate::node::replaced::Replaced;
use crate::node::tokens::{Secret, salts};
use crate::node::{Node, changing, clock, state};
use crate::rules::Rules;
use crate::rules::read::read;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long Daybook may take to seal a day.
const SEAL_LIMIT: Duration = Duration::from_secs(60);

/// Reads rules; all mistakes are one error.
///
/// # Errors
/// When the rules have mistakes.
pub fn read_rules(file: &Path, text: &str) -> anyhow::Result<Rules> {
    let mut salts = salts()?;
    read(file, text, &mut salts).map_err(|mistakes| anyhow::anyhow!("{} has mistakes\n{mistakes}", file.display()))
}

/// The secret of a hunt.
///
/// # Errors
/// When there is no such hunt.
pub async fn secret(client: &async_nats::Client, hunt: &str) -> anyhow::Result<Secret> {
    let jetstream = async_nats::jetstream::new(client.clone());
    Log::open(&jetstream, hunt).await?;
    Secret::get(&state::bucket(&jetstream, hunt).await?).await
}

/// Makes a hunt of rules in YAML, or changes one, and defines it in Daybook.
///
/// # Errors
/// When the rules have mistakes, or the broker or Daybook refuses.
pub async fn init_hunt(client: &async_nats::Client, text: &str, replicas: usize) -> anyhow::Result<()> {
    init(client, read_rules(Path::new("rules"), text)?, replicas).await
}

/// The same with rules that were read.
///
/// # Errors
/// As [`init_hunt`].
pub async fn init(client: &async_nats::Client, rules: Rules, replicas: usize) -> anyhow::Result<()> {
    let jetstream = async_nats::jetstream::new(client.clone());
    let bucket = state::create_bucket(&jetstream, &rules.hunt, replicas).await?;
    let daybook = Daybook::new(client, &rules.hunt);
    // In this order: whoever makes the log notes its name afterwards.
    let known = state::known_log(&bucket).await?;
    let log = match Log::find(&jetstream, &rules.hunt).await? {
        Some(log) => log,
        // What the bucket belongs to is not made again.
        None if known.is_some() => return Err(Replaced::Gone { hunt: rules.hunt }.into()),
        None if daybook.has_events().await? => return Err(Replaced::Counted { hunt: rules.hunt }.into()),
        None => Log::create(&jetstream, &rules.hunt, replicas).await?,
    };
    state::check(&bucket, &rules.hunt, &log).await?;
    let running = Node::start(client.clone(), &rules.hunt, false).await?;
    let hunt = rules.hunt.clone();
    let is_new = running.node.world().rules.is_none();
    let put = changing::put_rules(&running.node, rules).await;
    let defined = if put.is_ok() { changing::define(&running.node).await.map(drop) } else { Ok(()) };
    running.stop().await;
    let changed = put?;
    defined.context("the rules are in force, and Daybook has not taken their definitions; run `hunt init` again")?;
    if !is_new {
        let changed = if changed.is_empty() { "none".to_owned() } else { changed.join(", ") };
        eprintln!("the rules of {hunt} are in force; keys that changed: {changed}");
    }
    Ok(())
}

/// Closes the day in which the hunt ended, if it is open, and waits for its report. Returns its date.
///
/// # Errors
/// When the hunt is not over, or Daybook does not seal the day in time.
pub async fn end_hunt(client: &async_nats::Client, hunt: &str) -> anyhow::Result<String> {
    let daybook = Daybook::new(client, hunt);
    let question = json!({"days": format!("season:{SEASON}")});
    let answer = daybook.ask(TEAMS, &question, SEAL_LIMIT).await?;
    let date = answer["to"].as_str().context("Daybook names no day")?.to_owned();
    let days = daybook.ask("~days", &json!({"from": date, "to": date}), SEAL_LIMIT).await?;
    let day = days["days"].as_array().and_then(|days| days.first()).cloned().unwrap_or_default();
    let rules = read_log(client, hunt).await?.into_iter().rev().find_map(|(_, _, record)| match record {
        Record::Rules { rules, .. } => Some(rules),
        _ => None,
    });
    if rules.is_none_or(|rules| clock::now() < rules.end) {
        bail!("the hunt {hunt} is not over");
    }
    if day["day"] == "open" {
        daybook.admin("close", &json!({"tenant": hunt, "date": date})).await?;
    }
    let began = Instant::now();
    while began.elapsed() < SEAL_LIMIT {
        let reports = daybook.ask("~reports", &json!({"from": date, "to": date}), SEAL_LIMIT).await?;
        if reports["reports"].as_array().is_some_and(|reports| !reports.is_empty()) {
            return Ok(date);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("the day {date} was not sealed within {SEAL_LIMIT:?}")
}

/// Removes a hunt. Its log goes first: from then on no process plays it, and it cannot be made again before all of it is gone.
/// Repeated, it removes what is left.
///
/// # Errors
/// When the broker or Daybook refuses.
pub async fn remove_hunt(client: &async_nats::Client, hunt: &str) -> anyhow::Result<()> {
    let jetstream = async_nats::jetstream::new(client.clone());
    Log::remove(&jetstream, hunt).await?;
    Daybook::new(client, hunt).remove().await?;
    state::remove_bucket(&jetstream, hunt).await?;
    Ok(())
}
