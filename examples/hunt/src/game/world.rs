//! The game as a fold over the log. Every process folds the same log, so all agree on every figure.

use super::moment::Moment;
use super::record::Record;
use crate::rules::{Challenge, Rules, time_text};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// The hunt at a position of its log.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Sequence of the last record that was applied.
    pub position: u64,
    /// Absent before the first rules.
    pub rules: Option<Arc<Rules>>,
    /// Sequence of the last record on the subject of the rules.
    pub rules_at: u64,
    pub is_revealed: bool,
    /// Newest time of a record, whoever's clock that was.
    pub latest: i64,
    pub teams: BTreeMap<String, Team>,
    /// Members of all teams.
    pub players: usize,
    /// For each challenge, who solved it, in the order of the log; without disqualified teams.
    pub solvers: BTreeMap<String, BTreeMap<u64, String>>,
    /// For each challenge, how many submissions there are.
    pub submitted: BTreeMap<String, u64>,
    /// The newest submissions: the team, and which of its submissions. The newest is the last.
    pub recent: VecDeque<(String, usize)>,
}

/// A team at that position.
#[derive(Clone, Debug, Default)]
pub struct Team {
    pub name: String,
    /// Sequence of the last record on the team's subject.
    pub last: u64,
    /// Time of that record: a team's times never go back.
    pub last_at: i64,
    pub members: BTreeMap<String, String>,
    pub submissions: Vec<Submission>,
    /// For each challenge, the times of the team's submissions.
    pub attempts: BTreeMap<String, Vec<i64>>,
    /// Where each id of a submission is in `submissions`.
    pub ids: HashMap<String, usize>,
    pub solved: BTreeMap<String, Solve>,
    pub hints: BTreeMap<(String, usize), HintTaken>,
    pub adjustments: BTreeMap<String, Adjustment>,
    /// The reason, while it is disqualified.
    pub disqualified: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Submission {
    pub sequence: u64,
    pub player: String,
    pub challenge: String,
    pub answer: String,
    pub at: i64,
    pub is_right: bool,
}

/// The first right submission of a team for a challenge.
#[derive(Clone, Debug)]
pub struct Solve {
    pub sequence: u64,
    pub player: String,
    pub at: i64,
    pub points: i64,
    /// From 0.
    pub rank: usize,
}

#[derive(Clone, Debug)]
pub struct HintTaken {
    pub player: String,
    pub price: i64,
    pub at: i64,
}

#[derive(Clone, Debug)]
pub struct Adjustment {
    pub points: i64,
    pub reason: String,
    pub at: i64,
}

/// An event for Daybook. Repeated, it is a duplicate: its id and version follow from the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    #[serde(skip)]
    pub kind: &'static str,
    pub id: String,
    /// The sequence of the record that caused it, so that later corrections win.
    pub version: u64,
    pub status: &'static str,
    pub at: String,
    pub dims: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<&'static str, i64>,
}

/// Newest submissions that are remembered.
const RECENT: usize = 30;
/// The kind of what changes points.
pub const SCORE: &str = "score";
/// The kind of what was submitted.
pub const SUBMISSION: &str = "submission";

impl World {
    /// Applies the record at `sequence`; `team` is that of its subject. Returns what changes for Daybook.
    pub fn apply(&mut self, sequence: u64, team: Option<&str>, record: Record) -> Vec<Event> {
        self.position = sequence;
        self.latest = self.latest.max(record.at());
        match (record, team) {
            (Record::Rules { rules, .. }, None) => {
                self.rules_at = sequence;
                self.correct(sequence, |world| {
                    world.rules = Some(Arc::from(rules));
                    world.judge_again();
                })
            }
            (Record::Revealed { .. }, None) => {
                self.rules_at = sequence;
                self.is_revealed = true;
                Vec::new()
            }
            (record, Some(team)) => {
                let known = self.teams.entry(team.to_owned()).or_default();
                known.last = sequence;
                known.last_at = known.last_at.max(record.at());
                self.apply_to_team(sequence, team, record)
            }
            // No process writes a team's record elsewhere.
            (_, None) => Vec::new(),
        }
    }

    /// Passes over a message that is no record. The next append must still name it as the last of its subject.
    pub fn skip(&mut self, sequence: u64, place: Option<Option<&str>>) {
        self.position = sequence;
        match place {
            Some(Some(team)) => self.teams.entry(team.to_owned()).or_default().last = sequence,
            Some(None) => self.rules_at = sequence,
            None => {}
        }
    }

    /// Whether the public ranking stands still at `now`. A clock that is behind does not set it going again: it stands as soon as the
    /// log holds anything from after the freeze.
    pub fn is_frozen(&self, now: i64) -> bool {
        let frozen = |rules: &Arc<Rules>| rules.freeze.is_some_and(|freeze| now.max(self.latest) >= freeze);
        !self.is_revealed && self.rules.as_ref().is_some_and(frozen)
    }

    fn apply_to_team(&mut self, sequence: u64, id: &str, record: Record) -> Vec<Event> {
        let Some(rules) = self.rules.clone() else { return Vec::new() };
        let Some(team) = self.teams.get_mut(id) else { return Vec::new() };
        match record {
            Record::Created { name, .. } => team.name = name,
            Record::Joined { player, name, .. } => {
                self.players += usize::from(team.members.insert(player, name).is_none());
            }
            Record::Submitted { id: submission, player, challenge, answer, at } => {
                let Some(known) = rules.challenge(&challenge) else { return Vec::new() };
                let is_right = known.accepts(&answer);
                *self.submitted.entry(challenge.clone()).or_insert(0) += 1;
                self.recent.push_back((id.to_owned(), team.submissions.len()));
                if self.recent.len() > RECENT {
                    self.recent.pop_front();
                }
                team.attempts.entry(challenge.clone()).or_default().push(at);
                team.ids.insert(submission, team.submissions.len());
                team.submissions.push(Submission {
                    sequence,
                    player: player.clone(),
                    challenge: challenge.clone(),
                    answer,
                    at,
                    is_right,
                });
                let mut events = vec![submission_event(id, team, team.submissions.len() - 1).versioned(sequence)];
                if is_right && !team.solved.contains_key(&challenge) {
                    let solvers = self.solvers.entry(challenge.clone()).or_default();
                    let rank = solvers.len();
                    solvers.insert(sequence, id.to_owned());
                    let points = known.worth(rank, at, rules.start);
                    team.solved.insert(challenge.clone(), Solve { sequence, player, at, points, rank });
                    events.push(solve_event(id, team, &challenge).versioned(sequence));
                }
                return events;
            }
            Record::Hinted { player, challenge, number, price, at } => {
                let key = (challenge, number);
                team.hints.insert(key.clone(), HintTaken { player, price, at });
                return vec![hint_event(id, team, &key).versioned(sequence)];
            }
            Record::Adjusted { id: adjustment, points, reason, at } => {
                // Once the hunt is over, points still count for it.
                let at = at.clamp(rules.start, rules.end - 1);
                team.adjustments.insert(adjustment.clone(), Adjustment { points, reason, at });
                return vec![adjustment_event(id, team, &adjustment).versioned(sequence)];
            }
            Record::Disqualified { reason, .. } => return self.disqualify(sequence, id, Some(reason)),
            Record::Reinstated { .. } => return self.disqualify(sequence, id, None),
            Record::Rules { .. } | Record::Revealed { .. } => {}
        }
        Vec::new()
    }

    fn disqualify(&mut self, sequence: u64, id: &str, reason: Option<String>) -> Vec<Event> {
        self.correct(sequence, |world| {
            if let Some(team) = world.teams.get_mut(id) {
                team.disqualified = reason;
            }
            world.rank_again();
        })
    }

    /// Changes the game, and returns every event that is another one afterwards.
    fn correct(&mut self, sequence: u64, change: impl FnOnce(&mut Self)) -> Vec<Event> {
        let before = self.events();
        change(self);
        let mut after = self.events();
        for (id, event) in before {
            match after.get(&id) {
                Some(same) if *same == event => {
                    after.remove(&id);
                }
                Some(_) => {}
                None if event.status == "void" => {}
                None => {
                    after.insert(id, Event { status: "void", ..event });
                }
            }
        }
        after.into_values().map(|event| event.versioned(sequence)).collect()
    }

    /// Judges every submission by the present rules, as if they had been those from the start.
    fn judge_again(&mut self) {
        let Some(rules) = self.rules.clone() else { return };
        for team in self.teams.values_mut() {
            team.solved.clear();
            for submission in &mut team.submissions {
                let challenge = rules.challenge(&submission.challenge);
                submission.is_right = challenge.is_some_and(|challenge| challenge.accepts(&submission.answer));
                if submission.is_right {
                    team.solved.entry(submission.challenge.clone()).or_insert_with(|| Solve {
                        sequence: submission.sequence,
                        player: submission.player.clone(),
                        at: submission.at,
                        points: 0,
                        rank: 0,
                    });
                }
            }
        }
        self.rank_again();
    }

    /// Decides again who was first, and what each solve is worth.
    fn rank_again(&mut self) {
        let Some(rules) = self.rules.clone() else { return };
        self.solvers.clear();
        for (id, team) in self.teams.iter().filter(|(_, team)| team.disqualified.is_none()) {
            for (challenge, solve) in &team.solved {
                self.solvers.entry(challenge.clone()).or_default().insert(solve.sequence, id.clone());
            }
        }
        for (id, solvers) in &self.solvers {
            let Some(challenge) = rules.challenge(id) else { continue };
            for (rank, team) in solvers.values().enumerate() {
                if let Some(solve) = self.teams.get_mut(team).and_then(|team| team.solved.get_mut(id)) {
                    solve.rank = rank;
                    solve.points = challenge.worth(rank, solve.at, rules.start);
                }
            }
        }
    }

    /// Every event of the game, by its id, without versions.
    fn events(&self) -> BTreeMap<String, Event> {
        let mut events = BTreeMap::new();
        for (id, team) in &self.teams {
            let submissions = (0..team.submissions.len()).map(|index| submission_event(id, team, index));
            let solves = team.solved.keys().map(|challenge| solve_event(id, team, challenge));
            let hints = team.hints.keys().map(|key| hint_event(id, team, key));
            let adjustments = team.adjustments.keys().map(|adjustment| adjustment_event(id, team, adjustment));
            let all = submissions.chain(solves).chain(hints).chain(adjustments);
            events.extend(all.map(|event| (event.id.clone(), event)));
        }
        events
    }
}

impl Team {
    /// The team's points now.
    pub fn points(&self) -> i64 {
        if self.disqualified.is_some() {
            return 0;
        }
        let solves: i64 = self.solved.values().map(|solve| solve.points).sum();
        let hints: i64 = self.hints.values().map(|hint| hint.price).sum();
        let adjustments: i64 = self.adjustments.values().map(|adjustment| adjustment.points).sum();
        solves - hints + adjustments
    }

    /// Whether the team may answer a challenge. What it could once answer stays open, whatever the key says since.
    pub fn may_answer(&self, challenge: &Challenge) -> bool {
        challenge.opens(|id| self.solved.contains_key(id)) || self.attempts.contains_key(&challenge.id)
    }

    /// The ids of the challenges that are open to the team.
    pub fn open<'r>(&self, rules: &'r Rules) -> BTreeSet<&'r str> {
        rules.challenges.iter().filter(|challenge| self.may_answer(challenge)).map(|c| c.id.as_str()).collect()
    }

    /// The time at which another attempt is allowed, by the clock of the moment, if none is now.
    pub fn again_at(&self, challenge: &Challenge, moment: Moment) -> Option<i64> {
        let limit = challenge.attempts?;
        let times = self.attempts.get(&challenge.id)?;
        let oldest = times.len().checked_sub(limit.count as usize)?;
        // A team's times never go back, so the one that counts is the oldest of the last `count`.
        let left = times[oldest] + limit.within_ms - moment.behind(self.last_at);
        (left > 0).then_some(moment.now + left)
    }

    fn status(&self) -> &'static str {
        if self.disqualified.is_some() { "void" } else { "final" }
    }
}

impl Event {
    fn versioned(self, version: u64) -> Self {
        Self { version, ..self }
    }
}

fn event(kind: &'static str, id: String, team: &Team, at: i64, dims: [(&'static str, &str); 4]) -> Event {
    let dims = dims.into_iter().filter(|(_, value)| !value.is_empty());
    Event {
        kind,
        id,
        version: 0,
        status: team.status(),
        at: time_text(at),
        dims: dims.map(|(name, value)| (name, value.to_owned())).collect(),
        measures: BTreeMap::new(),
    }
}

fn score(event: Event, points: i64) -> Event {
    Event { measures: BTreeMap::from([("points", points)]), ..event }
}

fn submission_event(id: &str, team: &Team, index: usize) -> Event {
    let submission = &team.submissions[index];
    let verdict = if submission.is_right { "right" } else { "wrong" };
    let dims =
        [("team", id), ("player", &submission.player), ("challenge", &submission.challenge), ("verdict", verdict)];
    event(SUBMISSION, format!("submission.{}", submission.sequence), team, submission.at, dims)
}

fn solve_event(id: &str, team: &Team, challenge: &str) -> Event {
    let solve = &team.solved[challenge];
    let dims = [("team", id), ("player", &solve.player), ("challenge", challenge), ("reason", "solve")];
    score(event(SCORE, format!("solve.{id}.{challenge}"), team, solve.at, dims), solve.points)
}

fn hint_event(id: &str, team: &Team, key: &(String, usize)) -> Event {
    let hint = &team.hints[key];
    let dims = [("team", id), ("player", &hint.player), ("challenge", &key.0), ("reason", "hint")];
    score(event(SCORE, format!("hint.{id}.{}.{}", key.0, key.1), team, hint.at, dims), -hint.price)
}

fn adjustment_event(id: &str, team: &Team, adjustment: &str) -> Event {
    let found = &team.adjustments[adjustment];
    let dims = [("team", id), ("player", ""), ("challenge", ""), ("reason", "adjustment")];
    score(event(SCORE, format!("adjustment.{id}.{adjustment}"), team, found.at, dims), found.points)
}
