//! What a player may see: nothing of challenges that are not open, and no answer of a key.

use crate::game::{Moment, Refusal, Team, World};
use crate::node::Node;
use crate::node::ranking::{Ranking, Row};
use crate::rules::{Challenge, Rules};
use serde::Serialize;

/// Neighbours in the ranking on either side.
const NEIGHBOURS: usize = 3;

/// The hunt as a player sees it.
#[derive(Debug, Serialize)]
pub struct PlayerView {
    #[serde(flatten)]
    pub team: TeamView,
    pub player_name: String,
}

/// What all players of a team see.
#[derive(Debug, Serialize)]
pub struct TeamView {
    pub hunt: String,
    pub now: i64,
    pub start: i64,
    pub end: i64,
    pub team: String,
    pub team_name: String,
    pub members: Vec<String>,
    pub points: i64,
    pub disqualified: Option<String>,
    /// Open ones first, in the order of the rules.
    pub challenges: Vec<ChallengeView>,
    /// How many challenges are not open yet.
    pub hidden: usize,
    pub is_frozen: bool,
    /// The team's row of the public ranking, with neighbours.
    pub around: Vec<NamedRow>,
}

#[derive(Debug, Serialize)]
pub struct ChallengeView {
    pub id: String,
    pub title: String,
    pub text: String,
    /// What it is worth to the next solver; when solved, what the team got.
    pub points: i64,
    pub is_solved: bool,
    pub attempts: usize,
    /// When another attempt is allowed, if none is now.
    pub again_at: Option<i64>,
    /// Texts of the hints that the team has paid for.
    pub hints: Vec<String>,
    /// The price of the next hint, if there is one.
    pub next_hint: Option<i64>,
    /// Teams that solved it.
    pub solvers: usize,
}

/// A row of the ranking with the team's name.
#[derive(Clone, Debug, Serialize)]
pub struct NamedRow {
    #[serde(flatten)]
    pub row: Row,
    pub name: String,
}

impl PlayerView {
    /// What this player sees now.
    ///
    /// # Errors
    /// When there is no such player.
    pub fn of(node: &Node, team_id: &str, player: &str) -> Result<Self, Refusal> {
        let player_name = name_of(node, team_id, player)?;
        Ok(Self { team: TeamView::of(node, team_id)?, player_name })
    }
}

/// The name of a player.
///
/// # Errors
/// When there is no such player.
pub fn name_of(node: &Node, team: &str, player: &str) -> Result<String, Refusal> {
    let world = node.world();
    let team = world.teams.get(team).ok_or(Refusal::UnknownTeam)?;
    team.members.get(player).cloned().ok_or(Refusal::NotAMember)
}

impl TeamView {
    /// What the team sees now.
    ///
    /// # Errors
    /// When there is no such team.
    pub fn of(node: &Node, team_id: &str) -> Result<Self, Refusal> {
        let moment = node.seen.moment(team_id);
        let now = moment.now;
        let ranking = node.ranking.borrow().clone();
        let world = node.world();
        let rules = world.rules.as_deref().ok_or(Refusal::NoHunt)?;
        let team = world.teams.get(team_id).ok_or(Refusal::UnknownTeam)?;
        let has_started = now >= rules.start;
        let open = rules.challenges.iter().filter(|challenge| has_started && team.may_answer(challenge));
        let mut challenges: Vec<ChallengeView> =
            open.map(|challenge| ChallengeView::of(challenge, &world, rules, team, moment)).collect();
        challenges.sort_by_key(|challenge| challenge.is_solved);
        Ok(Self {
            hunt: rules.name.clone(),
            now,
            start: rules.start,
            end: rules.end,
            team: team_id.to_owned(),
            team_name: team.name.clone(),
            members: team.members.values().cloned().collect(),
            points: team.points(),
            disqualified: team.disqualified.clone(),
            hidden: rules.challenges.len() - challenges.len(),
            challenges,
            is_frozen: ranking.is_frozen,
            around: named(ranking.around(team_id, NEIGHBOURS), &world),
        })
    }
}

impl ChallengeView {
    fn of(challenge: &Challenge, world: &World, rules: &Rules, team: &Team, moment: Moment) -> Self {
        let solve = team.solved.get(&challenge.id);
        let solvers = world.solvers.get(&challenge.id).map_or(0, |solvers| solvers.len());
        let taken: Vec<String> = challenge
            .hints
            .iter()
            .enumerate()
            .filter(|(number, _)| team.hints.contains_key(&(challenge.id.clone(), *number)))
            .map(|(_, hint)| hint.text.clone())
            .collect();
        Self {
            id: challenge.id.clone(),
            title: challenge.title.clone(),
            text: challenge.text.clone(),
            points: solve.map_or_else(|| challenge.worth(solvers, moment.now, rules.start), |solve| solve.points),
            is_solved: solve.is_some(),
            attempts: team.attempts.get(&challenge.id).map_or(0, Vec::len),
            again_at: team.again_at(challenge, moment),
            next_hint: challenge.hints.get(taken.len()).map(|hint| hint.price),
            hints: taken,
            solvers,
        }
    }
}

/// Rows with the names of their teams.
pub fn named(rows: &[Row], world: &World) -> Vec<NamedRow> {
    let name = |row: &Row| {
        let id = row.team.clone().unwrap_or_default();
        world.teams.get(&id).map_or(id, |team| team.name.clone())
    };
    rows.iter().map(|row| NamedRow { name: name(row), row: row.clone() }).collect()
}

/// The public board: the best rows, by name.
pub fn top(ranking: &Ranking, world: &World, count: usize) -> Vec<NamedRow> {
    let rows = ranking.public();
    named(&rows[..rows.len().min(count)], world)
}
