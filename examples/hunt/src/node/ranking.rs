//! The actor that has the rankings from Daybook, for all who watch them in this process.
//!
//! Daybook's live feed tells of the open day, and says when something changed. The ranking of the hunt is over its season, which may
//! be several days; so a change makes this actor ask for the season.

use super::Node;
use super::clock;
use super::daybook::{Daybook, HOURS, PLAYERS, PUBLIC_SEASON, SEASON, TEAMS};
use crate::game::World;
use futures::StreamExt as _;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two questions.
const SHORTEST: Duration = Duration::from_millis(100);
/// How often the ranking is asked for when nothing tells of a change: corrections of closed days are in no feed.
const LONGEST: Duration = Duration::from_secs(1);
/// A feed ends 30 s after the last request for it.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// How long Daybook may take to have an answer.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// Players on the board.
const SHOWN_PLAYERS: usize = 10;

/// A row of the ranking, as Daybook answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub team: Option<String>,
    pub rank: u64,
    pub position: u64,
    pub points: i64,
    pub solves: i64,
}

/// A row of the ranking of players.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayerRow {
    pub player: Option<String>,
    pub team: Option<String>,
    pub rank: u64,
    pub points: i64,
    pub solves: i64,
}

impl PlayerRow {
    /// The names of the player and the team.
    pub fn names<'w>(&self, world: &'w World) -> (&'w str, &'w str) {
        let team = self.team.as_ref().and_then(|team| world.teams.get(team));
        let player = team.zip(self.player.as_ref()).and_then(|(team, player)| team.members.get(player));
        (player.map_or("", String::as_str), team.map_or("", |team| &team.name))
    }
}

/// A text that was made once for many, and a number that tells it from others without comparing all of it.
#[derive(Clone, Debug)]
pub struct SharedText {
    pub bytes: bytes::Bytes,
    pub tag: u64,
}

impl From<String> for SharedText {
    fn from(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { bytes: text.into(), tag: hasher.finish() }
    }
}

/// The rankings at a moment.
#[derive(Debug, Default)]
pub struct Ranking {
    /// The whole hunt; for teams themselves before the freeze, and for organisers.
    pub rows: Vec<Row>,
    /// What the public sees while its ranking stands still.
    frozen: Option<Vec<Row>>,
    /// The best players, as the public sees them.
    pub players: Vec<PlayerRow>,
    pub is_frozen: bool,
    places: HashMap<String, usize>,
    /// The board, the first rows and all rows for programs, each made once for all who ask.
    pub board: OnceLock<SharedText>,
    pub first: OnceLock<SharedText>,
    pub all: OnceLock<bytes::Bytes>,
}

impl Ranking {
    fn new(rows: Vec<Row>, frozen: Option<Vec<Row>>, players: Vec<PlayerRow>) -> Self {
        let is_frozen = frozen.is_some();
        let mut ranking = Self { rows, frozen, players, is_frozen, ..Self::default() };
        let places = ranking.public().iter().enumerate();
        ranking.places = places.filter_map(|(place, row)| Some((row.team.clone()?, place))).collect();
        ranking
    }

    /// What the public sees.
    pub fn public(&self) -> &[Row] {
        self.frozen.as_deref().unwrap_or(&self.rows)
    }

    /// The public row of a team, with so many neighbours on either side.
    pub fn around(&self, team: &str, neighbours: usize) -> &[Row] {
        let Some(place) = self.places.get(team) else { return &[] };
        let rows = self.public();
        &rows[place.saturating_sub(neighbours)..rows.len().min(place + neighbours + 1)]
    }
}

/// Starts the actor as a child of `supervisor`.
///
/// # Errors
/// When the connection is closed.
pub async fn spawn(node: Arc<Node>, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, RankingActor, node, supervisor).await?;
    Ok(actor.get_cell())
}

struct RankingActor;

/// The one message: wait for a change, and ask.
struct Step;

struct State {
    node: Arc<Node>,
    daybook: Daybook,
    changes: async_nats::Subscriber,
    watched_at: Option<Instant>,
    asked_at: Instant,
}

impl Actor for RankingActor {
    type Msg = Step;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(&self, myself: ActorRef<Step>, node: Arc<Node>) -> Result<State, ActorProcessingErr> {
        let daybook = Daybook::new(&node.client, &node.hunt);
        let changes = daybook.listen(HOURS).await?;
        myself.cast(Step)?;
        Ok(State { node, daybook, changes, watched_at: None, asked_at: Instant::now() })
    }

    async fn handle(&self, myself: ActorRef<Step>, Step: Step, state: &mut State) -> Result<(), ActorProcessingErr> {
        if let Err(error) = state.step().await {
            // Before the first event there is no day and no ranking.
            tracing::debug!(%error, "Daybook has no ranking");
            metrics::counter!("hunt_ranking_failures_total").increment(1);
            tokio::time::sleep(SHORTEST).await;
        }
        // It fails only when this actor is to end.
        let _ = myself.cast(Step);
        Ok(())
    }
}

impl State {
    async fn step(&mut self) -> anyhow::Result<()> {
        if self.watched_at.is_none_or(|watched| watched.elapsed() >= WATCH_EVERY)
            && self.daybook.watch(HOURS).await.is_ok()
        {
            self.watched_at = Some(Instant::now());
        }
        let next = self.asked_at + LONGEST;
        let _ = tokio::time::timeout_at(next, self.changes.next()).await;
        tokio::time::sleep_until(self.asked_at + SHORTEST).await;
        // What came meanwhile is in the answer to the question that follows.
        while futures::FutureExt::now_or_never(self.changes.next()).flatten().is_some() {}
        self.asked_at = Instant::now();
        let (rows, inbox) = self.ask(SEASON).await?;
        let is_frozen = self.node.world().is_frozen(clock::now());
        let frozen = if is_frozen { Some(self.ask(PUBLIC_SEASON).await?.0) } else { None };
        let players = self.players(if is_frozen { PUBLIC_SEASON } else { SEASON }).await?;
        metrics::histogram!("hunt_ranking_seconds").record(self.asked_at.elapsed().as_secs_f64());
        self.node.ranking.send_if_modified(|known| {
            let is_news = known.rows != rows || known.frozen != frozen || known.players != players;
            if is_news {
                *known = Arc::new(Ranking::new(rows, frozen, players));
            }
            is_news
        });
        self.node.awaited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).included(inbox);
        Ok(())
    }

    /// The rows of a season, and the sequence of INBOX that they include.
    async fn ask(&self, season: &str) -> anyhow::Result<(Vec<Row>, u64)> {
        let question = json!({"days": format!("season:{season}")});
        self.daybook.rows(TEAMS, question, ASK_LIMIT).await
    }

    async fn players(&self, season: &str) -> anyhow::Result<Vec<PlayerRow>> {
        // Those without a solve have no points here, and rank below all others.
        let question = json!({"days": format!("season:{season}"), "limit": SHOWN_PLAYERS});
        let mut answer = self.daybook.ask(PLAYERS, &question, ASK_LIMIT).await?;
        let mut rows: Vec<PlayerRow> = serde_json::from_value(answer["rows"].take())?;
        rows.retain(|row| row.solves > 0);
        Ok(rows)
    }
}
