//! A plain recomputation of the rules over a whole log: what every figure must be. It shares the types of records and rules with the
//! engine, and none of its code.

use crate::game::{Entry, Record};
use crate::rules::{Challenge, Each, Rules};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    pub points: i64,
    pub solves: i64,
    /// The earliest time at which the points were what they are at the end.
    pub reached_at: i64,
    /// From 1; whoever reached the same points earlier ranks higher.
    pub rank: u64,
}

/// What must come out of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub teams: BTreeMap<String, Score>,
    /// By player, for whoever solved something.
    pub players: BTreeMap<String, Score>,
    /// By challenge: submissions, and right ones.
    pub challenges: BTreeMap<String, (i64, i64)>,
    /// Submissions that the log holds, by team and id. None is there twice.
    pub submissions: BTreeSet<(String, String)>,
    /// What must not be in any log.
    pub faults: Vec<String>,
}

type Changes = BTreeMap<String, Vec<(i64, i64)>>;

/// Works out everything again.
pub fn recompute(log: &[Entry]) -> Expected {
    let mut expected = Expected::default();
    let Some(rules) = final_rules(log) else { return expected };
    let out = disqualified(log);
    let counts = |team: &Option<String>| team.as_ref().filter(|team| !out.contains(*team)).cloned();
    let (mut teams, mut players) = (Changes::new(), Changes::new());
    let (mut team_solves, mut player_solves) = (BTreeMap::new(), BTreeMap::new());
    let mut solved: BTreeSet<(String, String)> = BTreeSet::new();
    let mut solvers: BTreeMap<String, i64> = BTreeMap::new();
    for (sequence, place, record) in log {
        if let (Record::Submitted { id, at, .. }, Some(team)) = (record, place) {
            if !expected.submissions.insert((team.clone(), id.clone())) {
                expected.faults.push(format!("{team} has the submission {id} twice, again at {sequence}"));
            }
            if *at < rules.start || *at >= rules.end {
                expected.faults.push(format!("the submission at {sequence} is outside the hunt"));
            }
        }
        let Some(team) = counts(place) else { continue };
        let changes = teams.entry(team.clone()).or_default();
        match record {
            Record::Submitted { player, challenge, answer, at, .. } => {
                let figures = expected.challenges.entry(challenge.clone()).or_default();
                figures.0 += 1;
                let Some(known) = rules.challenges.iter().find(|known| known.id == *challenge) else { continue };
                let is_right = known.answers.iter().any(|key| key.accepts(answer));
                figures.1 += i64::from(is_right);
                if !is_right || !solved.insert((team.clone(), challenge.clone())) {
                    continue;
                }
                let before = solvers.entry(challenge.clone()).or_insert(0);
                let points = worth(known, *before, *at, rules.start);
                *before += 1;
                changes.push((*at, points));
                players.entry(player.clone()).or_default().push((*at, points));
                *team_solves.entry(team.clone()).or_insert(0) += 1;
                *player_solves.entry(player.clone()).or_insert(0) += 1;
            }
            Record::Hinted { price, at, .. } => changes.push((*at, -price)),
            Record::Adjusted { points, at, .. } => changes.push((((*at).max(rules.start)).min(rules.end - 1), *points)),
            _ => {}
        }
    }
    expected.teams = scores(&teams, &team_solves);
    expected.players = scores(&players, &player_solves);
    expected
}

fn final_rules(log: &[Entry]) -> Option<&Rules> {
    log.iter().rev().find_map(|(_, _, record)| match record {
        Record::Rules { rules, .. } => Some(rules.as_ref()),
        _ => None,
    })
}

fn disqualified(log: &[Entry]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (_, team, record) in log {
        match (record, team) {
            (Record::Disqualified { .. }, Some(team)) => drop(out.insert(team.clone())),
            (Record::Reinstated { .. }, Some(team)) => drop(out.remove(team)),
            _ => {}
        }
    }
    out
}

fn worth(challenge: &Challenge, before: i64, at: i64, start: i64) -> i64 {
    let bonus = usize::try_from(before).ok().and_then(|place| challenge.first.get(place)).copied().unwrap_or(0);
    let Some(decay) = challenge.decay else { return challenge.points + bonus };
    let lost = match decay.each {
        Each::Solver => decay.by * before,
        Each::Millis(each) => decay.by * ((at - start) / each),
    };
    (challenge.points - lost).max(decay.to) + bonus
}

fn scores(changes: &Changes, solves: &BTreeMap<String, i64>) -> BTreeMap<String, Score> {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for (id, changes) in changes.iter().filter(|(_, changes)| !changes.is_empty()) {
        let points = changes.iter().map(|(_, points)| points).sum();
        let reached = changes.iter().map(|(time, _)| *time).filter(|time| {
            let until: i64 = changes.iter().filter(|(at, _)| at <= time).map(|(_, points)| points).sum();
            until == points
        });
        let reached_at = reached.min().unwrap_or(0);
        scores.insert(id.clone(), Score { points, solves: solves.get(id).copied().unwrap_or(0), reached_at, rank: 0 });
    }
    let order: Vec<(i64, i64)> = scores.values().map(|score| (-score.points, score.reached_at)).collect();
    for score in scores.values_mut() {
        let better = order.iter().filter(|other| **other < (-score.points, score.reached_at)).count();
        score.rank = better as u64 + 1;
    }
    scores
}
