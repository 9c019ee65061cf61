//! The log of a hunt that nobody played: people as `players` has them, in a time that runs as fast as it is computed. So a rehearsal
//! without an earlier hunt plays what one would have recorded. Pure.

use super::generated::{HuntPlan, answer, yaml};
use super::players::{HINTS, pause, team};
use crate::game::ask::decide;
use crate::game::{Ask, Decision, Entry, Record, World};
use crate::rules::read::read;
use daybook_random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

/// Players join within this time before the start, in milliseconds.
const JOINING: i64 = 60_000;

/// Who plays, and how.
#[derive(Clone, Debug)]
pub struct Profile {
    pub players: usize,
    pub teams: usize,
    /// Mean milliseconds between two turns of a player.
    pub think_ms: f64,
    /// Percent of answers that are right.
    pub right: u8,
}

/// The log of a hunt of this plan.
///
/// # Errors
/// When the generated rules have mistakes.
pub fn log(plan: &HuntPlan, profile: &Profile) -> anyhow::Result<Vec<Entry>> {
    let rules = read(Path::new("generated"), &yaml(plan), &mut || "salt".to_owned())?;
    let mut play = Play { world: World::default(), log: Vec::new() };
    play.append(None, Record::Rules { rules: Box::new(rules), at: plan.start - 2 * JOINING });
    for index in 0..profile.teams {
        play.ask(&team(index), &Ask::Create { name: format!("Team {index}") }, plan.start - 2 * JOINING);
    }
    let mut random = Random::new(plan.seed);
    let mut turns = BinaryHeap::with_capacity(profile.players);
    let team_of = |player: usize| team(player % profile.teams);
    for player in 0..profile.players {
        let join = Ask::Join { player: format!("p{player}"), name: format!("Player {player}") };
        play.ask(&team_of(player), &join, plan.start - 1 - random.below(JOINING));
        turns.push(Reverse((plan.start + random.below(profile.think_ms as i64 + 1), player)));
    }
    let length = (plan.end - plan.start) as f64;
    let mut count = 0_u64;
    while let Some(Reverse((now, player))) = turns.pop() {
        if now >= plan.end {
            continue;
        }
        let id = team_of(player);
        let open: Vec<String> = play.open(&id);
        if !open.is_empty() {
            let challenge = random.pick(&open).clone();
            let ask = if random.percent(HINTS) {
                Ask::Hint { player: format!("p{player}"), challenge, number: 0 }
            } else {
                count += 1;
                let is_right = random.percent(profile.right.into());
                let guess = || format!("guess {}", count % 1_000);
                let answer = if is_right { answer(plan.seed, &challenge) } else { guess() };
                Ask::Submit { id: format!("{player}-{count}"), player: format!("p{player}"), challenge, answer }
            };
            play.ask(&id, &ask, now);
        }
        let left = (plan.end - now) as f64 / length;
        let pause = profile.think_ms * pause(&mut random, left);
        turns.push(Reverse((now + (pause as i64).max(1), player)));
    }
    Ok(play.log)
}

struct Play {
    world: World,
    log: Vec<Entry>,
}

impl Play {
    fn append(&mut self, team: Option<&str>, record: Record) {
        let sequence = self.log.len() as u64 + 1;
        self.log.push((sequence, team.map(str::to_owned), record.clone()));
        self.world.apply(sequence, team, record);
    }

    /// What is refused is in no log.
    fn ask(&mut self, team: &str, ask: &Ask, now: i64) {
        if let Decision::Append(record) = decide(&self.world, team, ask, now) {
            self.append(Some(team), record);
        }
    }

    /// What a team has not solved yet.
    fn open(&self, team: &str) -> Vec<String> {
        let Some((rules, team)) = self.world.rules.as_deref().zip(self.world.teams.get(team)) else {
            return Vec::new();
        };
        team.open(rules).into_iter().filter(|id| !team.solved.contains_key(*id)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::recording::Recording;
    use crate::play::reference::recompute;

    #[test]
    fn a_profile_is_a_hunt_that_could_have_been() {
        let plan = HuntPlan {
            hunt: "h".to_owned(),
            seed: 3,
            challenges: 20,
            start: 1_000_000,
            end: 1_600_000,
            freezes: true,
            bounds_attempts: true,
        };
        let profile = Profile { players: 100, teams: 10, think_ms: 15_000.0, right: 5 };
        let made = log(&plan, &profile).unwrap();
        let expected = recompute(&made);
        assert!(expected.faults.is_empty() && expected.teams.len() == 10, "{:?}", expected.faults);
        assert_eq!(log(&plan, &profile).unwrap(), made, "the seed alone decides");
        let recording = Recording::of(&made).unwrap();
        assert_eq!((recording.teams.len(), recording.players.len()), (10, 100));
        // Some 100 · 600 / 15 turns, and the rush.
        assert!((2_000..8_000).contains(&recording.submissions), "{}", recording.submissions);
        assert!(recording.rates().0 as f64 >= recording.rates().1);
    }
}
