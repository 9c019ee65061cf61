//! People at play: each joins, thinks, answers right or wrong, sometimes sends an answer twice, and takes a hint now and then.

use super::generated::answer;
use super::http::Http;
use super::told::Told;
use super::visitor::{TRIES, Visitor};
use anyhow::{Context as _, bail};
use daybook_random::Random;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Percent of answers that are sent twice, and of turns in which a hint is taken.
const TWICE: u64 = 5;
pub const HINTS: u64 = 3;
/// In the first and last tenth of a hunt people are in a hurry: so many times faster.
const RUSH: f64 = 3.0;

/// How much of the mean time passes until a player's next turn, when so much of the hunt is left (1 to 0).
pub fn pause(random: &mut Random, left: f64) -> f64 {
    let hurry = if (0.1..0.9).contains(&left) { 1.0 } else { RUSH };
    (-(1.0 - random.unit()).ln() / hurry).min(5.0)
}

/// How people play.
#[derive(Clone, Debug)]
pub struct Style {
    pub seed: u64,
    pub teams: usize,
    pub players: usize,
    /// Mean time between two turns of a player.
    pub think: Duration,
    /// Percent of answers that are right.
    pub right: u8,
    pub ends: Instant,
    pub length: Duration,
    /// Doors; each player uses one, and turns to the next when it does not answer.
    pub urls: Vec<String>,
}

/// The id of a team of a generated hunt.
pub fn team(index: usize) -> String {
    format!("team{index:04}")
}

/// Makes the teams; returns their codes.
///
/// # Errors
/// When the hunt refuses.
pub async fn make_teams(url: &str, organiser: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let mut http = Http::new(url);
    http.token = Some(organiser.to_owned());
    let mut codes = Vec::with_capacity(count);
    let all: Vec<Value> = (0..count).map(|index| json!({"id": team(index), "name": format!("Team {index}")})).collect();
    for some in all.chunks(100) {
        let (status, made) = http.post("/api/organiser/teams", &json!(some)).await?;
        if status != 200 {
            bail!("teams were not made: {made}");
        }
        codes.extend(
            made.as_array()
                .context("no list of teams")?
                .iter()
                .map(|t| t["code"].as_str().unwrap_or_default().to_owned()),
        );
    }
    Ok(codes)
}

/// Plays until the hunt ends; returns what players were told.
pub async fn play(style: &Style, codes: &[String]) -> Told {
    let told = Arc::new(Mutex::new(Told::default()));
    let urls: Arc<[String]> = style.urls.clone().into();
    let mut playing = tokio::task::JoinSet::new();
    for index in 0..style.players {
        let visitor = Visitor::new(&urls, index, &told);
        let mut player = Player::new(style, index, codes[index % codes.len()].clone(), visitor);
        playing.spawn(async move {
            if let Err(error) = player.play().await {
                player.visitor.note(|told| told.faults.push(format!("player {index}: {error:#}")));
            }
        });
    }
    while playing.join_next().await.is_some() {}
    std::mem::take(&mut *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

struct Player {
    style: Style,
    index: usize,
    code: String,
    random: Random,
    visitor: Visitor,
    team: String,
    open: BTreeSet<String>,
    /// Turns since the list of open challenges was asked for.
    turns: u32,
    sent: u64,
}

impl Player {
    fn new(style: &Style, index: usize, code: String, visitor: Visitor) -> Self {
        Self {
            visitor,
            random: Random::new(style.seed.wrapping_mul(1_000_003).wrapping_add(index as u64)),
            style: style.clone(),
            index,
            code,
            team: String::new(),
            open: BTreeSet::new(),
            turns: 0,
            sent: 0,
        }
    }

    async fn play(&mut self) -> anyhow::Result<()> {
        // Not everybody comes in the same moment.
        tokio::time::sleep(self.style.think.mul_f64(self.random.unit())).await;
        let request =
            json!({"code": self.code, "name": format!("Player {}", self.index), "request": format!("r{}", self.index)});
        let (status, joined) = self.visitor.send("/api/join", &request).await?;
        anyhow::ensure!(status == 200, "could not join: {joined}");
        self.visitor.http.token = joined["token"].as_str().map(str::to_owned);
        self.team = joined["team"].as_str().unwrap_or_default().to_owned();
        while Instant::now() < self.style.ends {
            self.think().await;
            if Instant::now() >= self.style.ends {
                return Ok(());
            }
            if self.open.is_empty() || self.turns >= 5 {
                self.look().await?;
            }
            let open: Vec<String> = self.open.iter().cloned().collect();
            if !open.is_empty() && !self.turn(&open).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn think(&mut self) {
        let left =
            self.style.ends.saturating_duration_since(Instant::now()).as_secs_f64() / self.style.length.as_secs_f64();
        let next = Instant::now() + self.style.think.mul_f64(pause(&mut self.random, left));
        tokio::time::sleep_until(next.min(self.style.ends)).await;
    }

    /// Asks which challenges are open.
    async fn look(&mut self) -> anyhow::Result<()> {
        self.turns = 0;
        for _ in 0..TRIES {
            match self.visitor.http.get("/api/state").await {
                Ok((200, state)) => {
                    let challenges = state["challenges"].as_array().cloned().unwrap_or_default();
                    let unsolved = challenges.iter().filter(|challenge| challenge["is_solved"] == false);
                    self.open = unsolved.filter_map(|challenge| Some(challenge["id"].as_str()?.to_owned())).collect();
                    return Ok(());
                }
                // A door that does not know the new player yet will soon.
                _ => self.visitor.turn_away().await,
            }
        }
        bail!("the state was never told")
    }

    /// One answer or hint; false when the hunt is over.
    async fn turn(&mut self, open: &[String]) -> anyhow::Result<bool> {
        self.turns += 1;
        let challenge = self.random.pick(open).clone();
        if self.random.percent(HINTS) {
            self.visitor.send("/api/hint", &json!({"challenge": challenge, "number": 0})).await?;
            return Ok(true);
        }
        let is_right = self.random.percent(self.style.right.into());
        let text = if is_right {
            answer(self.style.seed, &challenge)
        } else {
            format!("guess {}", self.random.below(1000_u32))
        };
        let id = format!("{}-{}", self.index, self.sent);
        self.sent += 1;
        let request = json!({"id": id, "challenge": challenge, "answer": text});
        let began = Instant::now();
        let (_, reply) = self.visitor.send("/api/submit", &request).await?;
        let took = began.elapsed();
        self.visitor.note(|told| told.times.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)));
        if self.random.percent(TWICE) {
            let (_, again) = self.visitor.send("/api/submit", &request).await?;
            self.hear(&id, &again);
        }
        self.hear(&id, &reply);
        match reply["refused"].as_str() {
            Some("over") => return Ok(false),
            Some("solved" | "not_open") => drop(self.open.remove(&challenge)),
            _ if reply["is_right"] == true => {
                let open = reply["open"].as_array().cloned().unwrap_or_default();
                self.open = open.iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
            }
            _ => {}
        }
        Ok(true)
    }

    fn hear(&self, id: &str, reply: &Value) {
        self.visitor.note(|told| told.hear(&self.team, id, reply));
    }
}
