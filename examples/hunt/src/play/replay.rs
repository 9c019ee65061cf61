//! Plays a recording against the doors of a hunt: everybody does what they did, when they did it, however long the answers take. So
//! the time of a submission counts from when it was due, and a door that is slow is not spared.

use super::recording::{Act, Organised, Player, Recording};
use super::told::Told;
use super::visitor::Visitor;
use crate::lifecycle::init;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Teams of a request, and players who join at once before the start.
const TEAMS_AT_ONCE: usize = 100;
const JOINING_AT_ONCE: usize = 64;
/// How often the timers of this machine are looked at.
const TICK: Duration = Duration::from_millis(10);
/// Most times that are kept of these: an hour's.
const MAX_TICKS: usize = 360_000;

/// The doors, and what is said at them.
#[derive(Clone)]
pub struct Doors {
    pub urls: Arc<[String]>,
    pub organiser: String,
    pub told: Arc<Mutex<Told>>,
}

impl Doors {
    fn visitor(&self, number: usize) -> Visitor {
        Visitor::new(&self.urls, number, &self.told)
    }

    fn organiser(&self) -> Visitor {
        let mut visitor = self.visitor(0);
        visitor.http.token = Some(self.organiser.clone());
        visitor
    }

    fn note_fault(&self, fault: String) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).faults.push(fault);
    }
}

/// A player who has a code and perhaps a token.
pub struct Ready {
    player: Player,
    code: String,
    visitor: Visitor,
    /// Tells this player from others of the team.
    request: String,
    /// The next of the player's acts.
    next: usize,
}

/// Makes the teams, and lets those in who joined before the start.
///
/// # Errors
/// When the hunt refuses a team or a player.
pub async fn prepare(recording: &mut Recording, doors: &Doors) -> anyhow::Result<Vec<Ready>> {
    let codes = make_teams(recording, doors).await?;
    let places = Arc::new(Semaphore::new(JOINING_AT_ONCE));
    let mut joining = JoinSet::new();
    for (index, player) in std::mem::take(&mut recording.players).into_iter().enumerate() {
        let code = codes.get(&player.team).with_context(|| format!("nobody made the team {}", player.team))?.clone();
        let visitor = doors.visitor(index);
        let mut ready = Ready { player, code, visitor, request: format!("r{index}"), next: 0 };
        let places = places.clone();
        joining.spawn(async move {
            let _place = places.acquire().await?;
            if ready.player.acts.first().is_some_and(|(at, act)| at.is_zero() && matches!(act, Act::Join { .. })) {
                ready.act(Instant::now()).await?;
            }
            anyhow::Ok(ready)
        });
    }
    let mut all = Vec::new();
    while let Some(joined) = joining.join_next().await {
        all.push(joined??);
    }
    Ok(all)
}

/// Makes the teams; returns their codes.
async fn make_teams(recording: &Recording, doors: &Doors) -> anyhow::Result<BTreeMap<String, String>> {
    let mut visitor = doors.organiser();
    let mut codes = BTreeMap::new();
    for some in recording.teams.chunks(TEAMS_AT_ONCE) {
        let teams: Vec<Value> = some.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
        let (status, made) = visitor.send("/api/organiser/teams", &json!(teams)).await?;
        anyhow::ensure!(status == 200, "teams were not made: {made}");
        for team in made.as_array().into_iter().flatten() {
            let text = |key: &str| team[key].as_str().unwrap_or_default().to_owned();
            codes.insert(text("id"), text("code"));
        }
    }
    Ok(codes)
}

/// Plays from `start` on until everybody has done everything. Returns how late the timers of this machine were, in microseconds,
/// sorted.
pub async fn play(
    ready: Vec<Ready>,
    organised: Vec<(Duration, Organised)>,
    doors: &Doors,
    start: Instant,
    client: &async_nats::Client,
) -> Vec<u64> {
    let late = Arc::new(Mutex::new(Vec::new()));
    let ticking = tokio::spawn(tick(start, late.clone()));
    let organising = tokio::spawn(organise(organised, doors.clone(), start, client.clone()));
    let mut playing = JoinSet::new();
    for mut ready in ready {
        let doors = doors.clone();
        playing.spawn(async move {
            while let Some((at, _)) = ready.player.acts.get(ready.next) {
                let due = start + *at;
                tokio::time::sleep_until(due).await;
                if let Err(error) = ready.act(due).await {
                    doors.note_fault(format!("a player of {}: {error:#}", ready.player.team));
                    return;
                }
            }
        });
    }
    while playing.join_next().await.is_some() {}
    if let Ok(Err(error)) = organising.await {
        doors.note_fault(format!("the organiser: {error:#}"));
    }
    ticking.abort();
    let mut late = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
    late.sort_unstable();
    late
}

/// Does what organisers did.
async fn organise(
    organised: Vec<(Duration, Organised)>,
    doors: Doors,
    start: Instant,
    client: async_nats::Client,
) -> anyhow::Result<()> {
    let mut visitor = doors.organiser();
    for (at, act) in organised {
        tokio::time::sleep_until(start + at).await;
        let (status, reply) = match act {
            Organised::Ask { team, ask } => {
                visitor.send("/api/organiser/ask", &json!({"team": team, "ask": ask})).await?
            }
            Organised::Reveal => visitor.send("/api/organiser/reveal", &Value::Null).await?,
            Organised::Rules(rules) => {
                init(&client, *rules, 1).await?;
                continue;
            }
        };
        anyhow::ensure!(status == 200, "{reply}");
    }
    Ok(())
}

/// Sees how late timers are on this machine: by so much no request of it can be in time.
async fn tick(start: Instant, late: Arc<Mutex<Vec<u64>>>) {
    for tick in 0..MAX_TICKS {
        let due = start + TICK * u32::try_from(tick).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due).await;
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        late.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
    }
}

impl Ready {
    /// Does what is next, which was due at a time, and notes what is said to it.
    async fn act(&mut self, due: Instant) -> anyhow::Result<()> {
        let (_, act) = self.player.acts[self.next].clone();
        self.next += 1;
        match act {
            Act::Join { name } => {
                let join = json!({"code": self.code, "name": name, "request": self.request});
                let (status, joined) = self.visitor.send("/api/join", &join).await?;
                anyhow::ensure!(status == 200, "could not join: {joined}");
                self.visitor.http.token = joined["token"].as_str().map(str::to_owned);
            }
            Act::Submit { id, challenge, answer } => {
                let request = json!({"id": id, "challenge": challenge, "answer": answer});
                let (_, reply) = self.visitor.send("/api/submit", &request).await?;
                let took = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                let team = self.player.team.clone();
                self.visitor.note(|told| {
                    told.times.push(took);
                    told.hear(&team, &id, &reply);
                });
            }
            Act::Hint { challenge, number } => {
                let (_, reply) =
                    self.visitor.send("/api/hint", &json!({"challenge": challenge, "number": number})).await?;
                if let Some(refusal) = reply["refused"].as_str() {
                    self.visitor.note(|told| *told.refused.entry(refusal.to_owned()).or_default() += 1);
                }
            }
        }
        Ok(())
    }
}
