//! Daybook by its public doors: events by publishing, figures by requests, definitions by the admin service (docs/CLIENTS.md).

use crate::game::Event;
use crate::game::world::{SCORE, SUBMISSION};
use crate::rules::{Rules, time_text};
use anyhow::{Context as _, bail};
use async_nats::{HeaderMap, jetstream};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How long Daybook may take to answer a question, and to carry out a command.
const ASK_LIMIT: Duration = Duration::from_secs(10);
const ADMIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a broker may take to confirm events.
const ACK_LIMIT: Duration = Duration::from_secs(10);
/// Pause before a question is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// Most rows of a page of an answer.
const PAGE_ROWS: usize = 10_000;

/// Most bytes of all pages of an answer: 10,000 teams take some 2 MB.
pub const MAX_ROWS_BYTES: usize = 8 << 20;

/// The view that ranks teams, and the one that ranks players.
pub const TEAMS: &str = "hunt_teams";
pub const PLAYERS: &str = "hunt_players";
/// Submissions and solves by challenge, and points by hour.
pub const CHALLENGES: &str = "hunt_challenges";
pub const HOURS: &str = "hunt_hours";
/// The season of the whole hunt, and that of what the public may see while the ranking stands still.
pub const SEASON: &str = "hunt";
pub const PUBLIC_SEASON: &str = "public";

/// The definitions of a hunt: its tenant with its seasons, the kinds and the views.
pub fn definitions(rules: &Rules) -> anyhow::Result<Value> {
    let season = |name: &str, to: i64| json!({"name": name, "from": time_text(rules.start), "to": time_text(to)});
    // Rules of earlier builds may freeze at the start: then the public sees nothing.
    let public_end = rules.freeze.map_or(rules.end, |freeze| freeze.max(rules.start + 1));
    let ranking = json!({"by": [{"metric": "points", "direction": "desc"}], "ties": "competition", "earliest": true});
    let dims = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    Ok(json!({
        "kinds": [
            {"name": SCORE, "mode": "entity", "dimensions": dims(&["team", "player", "challenge", "reason"]),
             "measures": [{"name": "points"}]},
            {"name": SUBMISSION, "mode": "entity", "dimensions": dims(&["team", "player", "challenge", "verdict"])},
        ],
        "views": [
            {"name": TEAMS, "kind": SCORE, "group_by": ["team"], "ranking": ranking, "metrics": [
                {"name": "points", "value": "sum(points)"},
                {"name": "solves", "value": "count", "where": "reason = 'solve'"}]},
            {"name": PLAYERS, "kind": SCORE, "group_by": ["player", "team"], "ranking": ranking, "metrics": [
                {"name": "points", "value": "sum(points)", "where": "reason = 'solve'"},
                {"name": "solves", "value": "count", "where": "reason = 'solve'"}]},
            {"name": CHALLENGES, "kind": SUBMISSION, "group_by": ["challenge"], "metrics": [
                {"name": "submissions", "value": "count"},
                {"name": "wrong", "value": "count", "where": "verdict = 'wrong'"},
                {"name": "solved", "value": "count", "where": "verdict = 'right'"},
                {"name": "teams", "value": "distinct(team)"}]},
            {"name": HOURS, "kind": SCORE, "grain": "hour", "metrics": [
                {"name": "points", "value": "sum(points)"},
                {"name": "solves", "value": "count", "where": "reason = 'solve'"}]},
        ],
        "tenants": [{
            "id": rules.hunt, "name": rules.name, "zone": rules.zone, "cutoff_minutes": rules.cutoff_minutes,
            "first_day": first_day(rules)?, "restate_after_ms": 5_000,
            "seasons": [season(SEASON, rules.end), season(PUBLIC_SEASON, public_end)],
        }],
    }))
}

/// The business day in which the hunt starts: no event is earlier.
fn first_day(rules: &Rules) -> anyhow::Result<String> {
    let zone = TimeZone::get(&rules.zone)?;
    let time = Timestamp::from_millisecond(rules.start)?;
    let local = time.to_zoned(zone).datetime().checked_sub(i64::from(rules.cutoff_minutes).minutes())?;
    Ok(local.date().to_string())
}

/// Daybook as a hunt uses it.
#[derive(Clone)]
pub struct Daybook {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    tenant: String,
}

impl Daybook {
    pub fn new(client: &async_nats::Client, hunt: &str) -> Self {
        Self { client: client.clone(), jetstream: jetstream::new(client.clone()), tenant: hunt.to_owned() }
    }

    /// A command of the admin service.
    ///
    /// # Errors
    /// What the service refuses, and when it does not answer.
    pub async fn admin(&self, command: &str, request: &Value) -> anyhow::Result<Value> {
        let subject = format!("daybook.admin.{command}");
        let payload = if request.is_null() { String::new() } else { request.to_string() };
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(ADMIN_LIMIT));
        let reply =
            self.client.send_request(subject, request).await.context("Daybook does not answer; does it run?")?;
        if let Some(error) = reply.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error")) {
            bail!("Daybook refuses {command}: {error}");
        }
        Ok(serde_json::from_slice(&reply.payload)?)
    }

    /// Puts the definitions of a hunt into force, or only checks that they can be. Returns why Daybook refuses them, if it does.
    ///
    /// # Errors
    /// When Daybook does not answer.
    pub async fn define(&self, rules: &Rules, is_check: bool) -> anyhow::Result<Option<String>> {
        let mut definitions = definitions(rules)?;
        definitions["dry_run"] = is_check.into();
        let reply = self.admin("apply", &definitions).await?;
        Ok(reply.get("refused").filter(|refused| !refused.is_null()).map(ToString::to_string))
    }

    /// Removes the tenant of the hunt, with all reports.
    ///
    /// # Errors
    /// When Daybook refuses. A tenant that is not there is removed.
    pub async fn remove(&self) -> anyhow::Result<()> {
        let target = json!({"tenant": {"id": self.tenant, "purge": true}});
        match self.admin("remove", &json!({"target": target})).await {
            Err(error) if error.to_string().contains("there is no tenant") => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Whether Daybook counts any event of the hunt.
    ///
    /// # Errors
    /// When Daybook does not answer.
    pub async fn has_events(&self) -> anyhow::Result<bool> {
        let began = Instant::now();
        let days = loop {
            match self.ask_once("~days", &json!({})).await {
                Err(error) if error.to_string().starts_with("unknown_tenant") => return Ok(false),
                Err(_) if began.elapsed() < ASK_LIMIT => tokio::time::sleep(AGAIN).await,
                answer => break answer?,
            }
        };
        let has_events = |day: &Value| day["account"]["published"].as_u64().is_some_and(|published| published > 0);
        Ok(days["days"].as_array().is_some_and(|days| days.iter().any(has_events)))
    }

    /// Publishes events of one kind; returns the sequence of the broker's confirmation once they are durable.
    ///
    /// # Errors
    /// When the broker did not confirm: publish them again.
    pub async fn publish(&self, kind: &str, events: &[&Event], headers: HeaderMap) -> anyhow::Result<u64> {
        let payload = serde_json::to_vec(events)?;
        let subject = format!("daybook.in.{}.{kind}", self.tenant);
        let published = self.jetstream.publish_with_headers(subject, headers, payload.into());
        let acknowledged = async { anyhow::Ok(published.await?.await?) };
        Ok(tokio::time::timeout(ACK_LIMIT, acknowledged).await.context("no confirmation")??.sequence)
    }

    /// Asks once.
    ///
    /// # Errors
    /// The error of Daybook, whose code begins the text.
    pub async fn ask_once(&self, view: &str, question: &Value) -> anyhow::Result<Value> {
        Ok(self.once_sized(view, question).await?.0)
    }

    async fn once_sized(&self, view: &str, question: &Value) -> anyhow::Result<(Value, usize)> {
        let subject = format!("daybook.query.{}.{view}", self.tenant);
        let request = async_nats::Request::new().payload(question.to_string().into()).timeout(Some(ASK_LIMIT));
        let reply = self.client.send_request(subject, request).await?;
        let body: Value = serde_json::from_slice(&reply.payload)?;
        if reply.headers.as_ref().is_some_and(|headers| headers.get("Nats-Service-Error-Code").is_some()) {
            bail!("{}: {}", body["code"].as_str().unwrap_or_default(), body["message"]);
        }
        Ok((body, reply.payload.len()))
    }

    /// Asks until Daybook has an answer, for at most `limit`.
    ///
    /// # Errors
    /// The last error.
    pub async fn ask(&self, view: &str, question: &Value, limit: Duration) -> anyhow::Result<Value> {
        Ok(self.ask_sized(view, question, limit).await?.0)
    }

    /// The answer with its size in bytes.
    async fn ask_sized(&self, view: &str, question: &Value, limit: Duration) -> anyhow::Result<(Value, usize)> {
        let began = Instant::now();
        loop {
            match self.once_sized(view, question).await {
                Err(_) if began.elapsed() < limit => tokio::time::sleep(AGAIN).await,
                outcome => return outcome.with_context(|| format!("Daybook has no answer to {question} about {view}")),
            }
        }
    }

    /// All rows of an answer, over its pages, as `T`, and the INBOX sequence that they include.
    ///
    /// # Errors
    /// As [`Daybook::ask`], when the rows are others than expected, and when they take more than [`MAX_ROWS_BYTES`].
    pub async fn rows<T: DeserializeOwned>(
        &self,
        view: &str,
        mut question: Value,
        limit: Duration,
    ) -> anyhow::Result<(Vec<T>, u64)> {
        question["limit"] = PAGE_ROWS.into();
        let mut rows = Vec::new();
        let mut bytes = 0;
        loop {
            let (mut answer, size) = self.ask_sized(view, &question, limit).await?;
            bytes += size;
            anyhow::ensure!(bytes <= MAX_ROWS_BYTES, "the rows of {view} take more than {MAX_ROWS_BYTES} bytes");
            let page: Vec<T> = serde_json::from_value(answer["rows"].take())?;
            rows.extend(page);
            match answer["next"].take() {
                Value::String(next) => question["cursor"] = next.into(),
                _ => return Ok((rows, answer["as_of"]["inbox"].as_u64().unwrap_or(0))),
            }
        }
    }

    /// Hears of every change of a view, while somebody asks for it with [`Daybook::watch`].
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn listen(&self, view: &str) -> anyhow::Result<async_nats::Subscriber> {
        Ok(self.client.subscribe(format!("daybook.live.{}.{view}", self.tenant)).await?)
    }

    /// Keeps a view's live feed going for half a minute.
    ///
    /// # Errors
    /// As [`Daybook::ask_once`].
    pub async fn watch(&self, view: &str) -> anyhow::Result<()> {
        self.ask_once(view, &json!({"watch": true})).await.map(drop)
    }
}
