//! Compares Daybook with a plain recomputation of the rules over the log of a hunt.

use super::reference::{Expected, recompute};
use super::told::Told;
use crate::node::daybook::{CHALLENGES, Daybook, PLAYERS, SEASON, TEAMS};
use crate::node::log::read_log;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long Daybook may take to have answers.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two comparisons.
const AGAIN: Duration = Duration::from_millis(250);
/// Most differences that are listed.
pub const MAX_SHOWN: usize = 20;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    pub records: usize,
    pub expected: Expected,
    /// Figures that were compared.
    pub figures: usize,
    pub differences: Vec<String>,
}

#[derive(Deserialize)]
struct TeamRow {
    team: Option<String>,
    rank: u64,
    points: i64,
    solves: i64,
}

#[derive(Deserialize)]
struct PlayerRow {
    player: Option<String>,
    rank: u64,
    points: i64,
    solves: i64,
}

#[derive(Deserialize)]
struct ChallengeRow {
    challenge: String,
    submissions: i64,
    solved: i64,
}

/// Compares until all is equal, for at most `limit`: events may be on their way.
///
/// # Errors
/// When the broker or Daybook does not answer.
pub async fn compare(client: &async_nats::Client, hunt: &str, limit: Duration) -> anyhow::Result<Comparison> {
    let began = Instant::now();
    loop {
        let log = read_log(client, hunt).await?;
        let expected = recompute(&log);
        let mut comparison = Comparison { records: log.len(), expected, ..Comparison::default() };
        comparison.differences.extend(comparison.expected.faults.iter().cloned());
        comparison.with_daybook(&Daybook::new(client, hunt)).await?;
        if comparison.differences.is_empty() || began.elapsed() >= limit {
            return Ok(comparison);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

impl Comparison {
    async fn with_daybook(&mut self, daybook: &Daybook) -> anyhow::Result<()> {
        let season = || json!({"days": format!("season:{SEASON}")});
        let (rows, _) = daybook.rows::<TeamRow>(TEAMS, season(), ASK_LIMIT).await?;
        let found =
            rows.into_iter().map(|row| (row.team.unwrap_or_default(), (row.points, row.solves, row.rank))).collect();
        let wanted = self.expected.teams.iter();
        let wanted = wanted.map(|(id, score)| (id.clone(), (score.points, score.solves, score.rank))).collect();
        self.equal("team", "Daybook", wanted, found);
        let (rows, _) = daybook.rows::<PlayerRow>(PLAYERS, season(), ASK_LIMIT).await?;
        // Who has only taken hints has no points in this ranking.
        let rows = rows.into_iter().filter(|row| row.solves > 0);
        let found = rows.map(|row| (row.player.unwrap_or_default(), (row.points, row.solves, row.rank))).collect();
        let wanted = self.expected.players.iter();
        let wanted = wanted.map(|(id, score)| (id.clone(), (score.points, score.solves, score.rank))).collect();
        self.equal("player", "Daybook", wanted, found);
        let (rows, _) = daybook.rows::<ChallengeRow>(CHALLENGES, season(), ASK_LIMIT).await?;
        let found = rows.into_iter().map(|row| (row.challenge, (row.submissions, row.solved))).collect();
        self.equal("challenge", "Daybook", self.expected.challenges.clone(), found);
        Ok(())
    }

    /// Compares what `whose` has.
    pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        whose: &str,
        wanted: BTreeMap<String, T>,
        found: BTreeMap<String, T>,
    ) {
        self.figures += wanted.len();
        for (id, value) in &wanted {
            match found.get(id) {
                Some(same) if same == value => {}
                other => self.differences.push(format!("{what} {id}: {value:?} is right, {whose} has {other:?}")),
            }
        }
        let strangers = found.keys().filter(|id| !wanted.contains_key(*id));
        self.differences.extend(strangers.map(|id| format!("{what} {id}: {whose} has it, and it should not")));
    }

    /// Compares with what players were told: no verdict is lost.
    pub fn with_told(&mut self, told: &Told) {
        self.differences.extend(told.faults.iter().cloned());
        for key in told.verdicts.keys() {
            if !self.expected.submissions.contains(key) {
                self.differences.push(format!("{} was told a verdict of {}, which is not in the log", key.0, key.1));
            }
        }
        self.figures += told.verdicts.len();
    }
}
