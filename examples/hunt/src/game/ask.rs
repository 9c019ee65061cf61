//! What players and organisers ask for, and what becomes of it.

use super::moment::Moment;
use super::record::Record;
use super::world::{Team, World};
use crate::rules::answer::MAX_ANSWER_BYTES;
use crate::rules::{MAX_NAME_CHARACTERS, MAX_POINTS, Rules, is_id};
use serde::{Deserialize, Serialize};

/// Most teams of a hunt.
pub const MAX_TEAMS: usize = 10_000;
/// Longest id of a submission or adjustment, in bytes.
const MAX_SENDER_ID_BYTES: usize = 64;
/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 200;
/// Most submissions of a team, so that no team fills the memory of the engine.
const MAX_SUBMISSIONS: usize = 100_000;
/// Most adjustments of a team.
const MAX_ADJUSTMENTS: usize = 1_000;

/// What is asked of a team's engine. All of these may be repeated, with the same outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    Create { name: String },
    Join { player: String, name: String },
    Submit { id: String, player: String, challenge: String, answer: String },
    Hint { player: String, challenge: String, number: usize },
    Adjust { id: String, points: i64, reason: String },
    Disqualify { reason: String },
    Reinstate,
}

/// What the log says of an ask that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Reply {
    /// What was asked for is so.
    Ok,
    /// A submission, as the rules are now. `points` are those of this solve, `total` those of the team, and `open` are the
    /// challenges that the team may answer next.
    Judged {
        is_right: bool,
        points: i64,
        total: i64,
        open: Vec<String>,
    },
    Hinted {
        text: String,
        price: i64,
        total: i64,
    },
}

/// Why nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum Refusal {
    #[error("there is no hunt of this name yet")]
    NoHunt,
    #[error("there is no such team")]
    UnknownTeam,
    #[error("you are not a member of this team")]
    NotAMember,
    #[error("there is no such challenge, or it is not open to your team")]
    NotOpen,
    #[error("there is no such hint")]
    UnknownHint,
    #[error("the hunt has not started yet")]
    NotStarted { starts_at: i64 },
    #[error("the hunt is over")]
    Over,
    #[error("nobody may join any more")]
    TooLate,
    #[error("the team is full")]
    TeamIsFull,
    #[error("your team has solved this challenge")]
    Solved,
    #[error("too many attempts; try again later")]
    TooManyAttempts { again_at: i64 },
    #[error("the team is disqualified: {reason}")]
    Disqualified { reason: String },
    #[error("this id was used for something else")]
    OtherContent,
    #[error("other rules came into force at the same time; look at them, and send yours again")]
    RulesChanged,
    #[error("{what}")]
    Bad { what: String },
    #[error("too many requests; try again in a moment")]
    Busy,
    #[error("the hunt cannot be reached; try again in a moment")]
    Unavailable,
    #[error("this needs a valid token")]
    Forbidden,
}

/// What the engine does about an ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The log has it already.
    Done(Reply),
    /// To be appended behind the team's last record; then the ask is [`Decision::Done`].
    Append(Record),
    Refuse(Refusal),
}

/// Decides what an ask of a team leads to at a moment.
pub fn decide(world: &World, id: &str, ask: &Ask, moment: impl Into<Moment>) -> Decision {
    let moment = moment.into();
    let Some(rules) = world.rules.as_deref() else { return Decision::Refuse(Refusal::NoHunt) };
    let team = world.teams.get(id);
    if team.is_none() && !matches!(ask, Ask::Create { .. }) {
        return Decision::Refuse(Refusal::UnknownTeam);
    }
    let nobody = Team::default();
    let team = team.unwrap_or(&nobody);
    let outcome = match recorded(rules, team, ask) {
        Some(reply) => reply.map(Decision::Done),
        None => check(world, rules, id, team, ask, moment).map(|()| Decision::Append(record(rules, team, ask, moment))),
    };
    outcome.unwrap_or_else(Decision::Refuse)
}

/// What the log says of an ask, if it holds it.
fn recorded(rules: &Rules, team: &Team, ask: &Ask) -> Option<Result<Reply, Refusal>> {
    let same = |is_same: bool, reply: Reply| Some(if is_same { Ok(reply) } else { Err(Refusal::OtherContent) });
    match ask {
        Ask::Create { name } if team.last > 0 => same(team.name == *name, Reply::Ok),
        Ask::Join { player, name } => same(team.members.get(player)? == name, Reply::Ok),
        Ask::Submit { id, player, challenge, answer } => {
            let found = &team.submissions[*team.ids.get(id)?];
            let is_same = (&found.player, &found.challenge, &found.answer) == (player, challenge, answer);
            let solve = team.solved.get(challenge).filter(|solve| solve.sequence == found.sequence);
            let points = solve.map_or(0, |solve| solve.points);
            let not_solved = |id: &&&str| !team.solved.contains_key(**id);
            let open = team.open(rules).iter().filter(not_solved).map(|id| (*id).to_owned()).collect();
            let total = team.points();
            same(is_same, Reply::Judged { is_right: found.is_right, points, total, open })
        }
        Ask::Hint { challenge, number, .. } => {
            let hint = team.hints.get(&(challenge.clone(), *number))?;
            let text = rules.challenge(challenge).and_then(|challenge| challenge.hints.get(*number));
            let text = text.map_or_else(String::new, |hint| hint.text.clone());
            same(true, Reply::Hinted { text, price: hint.price, total: team.points() })
        }
        Ask::Adjust { id, points, reason } => {
            let found = team.adjustments.get(id)?;
            same(found.points == *points && found.reason == *reason, Reply::Ok)
        }
        Ask::Disqualify { .. } => team.disqualified.is_some().then_some(Ok(Reply::Ok)),
        Ask::Reinstate => team.disqualified.is_none().then_some(Ok(Reply::Ok)),
        Ask::Create { .. } => None,
    }
}

/// Whether an ask that the log does not hold may be recorded.
fn check(world: &World, rules: &Rules, id: &str, team: &Team, ask: &Ask, moment: Moment) -> Result<(), Refusal> {
    let now = moment.now;
    check_texts(id, ask)?;
    match ask {
        Ask::Create { .. } if world.teams.len() >= MAX_TEAMS => bad(format!("a hunt has at most {MAX_TEAMS} teams")),
        Ask::Create { .. } | Ask::Join { .. } if now >= rules.join_until => Err(Refusal::TooLate),
        Ask::Join { .. } if team.members.len() >= rules.team_size as usize => Err(Refusal::TeamIsFull),
        Ask::Submit { player, challenge, .. } => {
            check_play(rules, team, player, now)?;
            let challenge = rules.challenge(challenge).filter(|c| team.may_answer(c)).ok_or(Refusal::NotOpen)?;
            if team.solved.contains_key(&challenge.id) {
                return Err(Refusal::Solved);
            }
            if team.submissions.len() >= MAX_SUBMISSIONS {
                return bad(format!("a team has at most {MAX_SUBMISSIONS} submissions"));
            }
            team.again_at(challenge, moment).map_or(Ok(()), |again_at| Err(Refusal::TooManyAttempts { again_at }))
        }
        Ask::Hint { player, challenge, number } => {
            check_play(rules, team, player, now)?;
            let challenge = rules.challenge(challenge).filter(|c| team.may_answer(c)).ok_or(Refusal::NotOpen)?;
            if team.solved.contains_key(&challenge.id) {
                return Err(Refusal::Solved);
            }
            // One after the other: whoever wants the second has paid for the first.
            let has_those_before = (0..*number).all(|before| team.hints.contains_key(&(challenge.id.clone(), before)));
            if *number >= challenge.hints.len() || !has_those_before {
                return Err(Refusal::UnknownHint);
            }
            Ok(())
        }
        Ask::Adjust { .. } if team.adjustments.len() >= MAX_ADJUSTMENTS => {
            bad(format!("a team has at most {MAX_ADJUSTMENTS} adjustments"))
        }
        _ => Ok(()),
    }
}

fn check_play(rules: &Rules, team: &Team, player: &str, now: i64) -> Result<(), Refusal> {
    if !team.members.contains_key(player) {
        return Err(Refusal::NotAMember);
    }
    if let Some(reason) = &team.disqualified {
        return Err(Refusal::Disqualified { reason: reason.clone() });
    }
    // Whoever has played before does not wait for the start again, wherever a clock stands.
    if now < rules.start && team.submissions.is_empty() {
        return Err(Refusal::NotStarted { starts_at: rules.start });
    }
    // A clock that is behind writes no time after the end, and one that is ahead refuses nothing in time.
    if now.max(team.last_at) >= rules.end { Err(Refusal::Over) } else { Ok(()) }
}

fn check_texts(id: &str, ask: &Ask) -> Result<(), Refusal> {
    if !is_id(id) {
        return bad("the id of a team must be 1 to 40 of A-Z, a-z, 0-9, - and _".to_owned());
    }
    let is_name = |name: &str| {
        !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARACTERS && !name.chars().any(char::is_control)
    };
    match ask {
        Ask::Create { name } | Ask::Join { name, .. } if !is_name(name) => {
            bad(format!("a name must have 1 to {MAX_NAME_CHARACTERS} characters in one line"))
        }
        Ask::Join { player, .. } if !is_id(player) => bad("this is no id of a player".to_owned()),
        Ask::Submit { id, .. } | Ask::Adjust { id, .. } if id.is_empty() || id.len() > MAX_SENDER_ID_BYTES => {
            bad(format!("an id must have 1 to {MAX_SENDER_ID_BYTES} bytes"))
        }
        Ask::Submit { answer, .. } if answer.trim().is_empty() || answer.len() > MAX_ANSWER_BYTES => {
            bad(format!("an answer must have 1 to {MAX_ANSWER_BYTES} bytes"))
        }
        Ask::Adjust { points, .. } if points.unsigned_abs() > MAX_POINTS.unsigned_abs() => {
            bad(format!("at most {MAX_POINTS} points are given or taken at once"))
        }
        Ask::Adjust { reason, .. } | Ask::Disqualify { reason } if reason.len() > MAX_REASON_BYTES => {
            bad(format!("a reason has at most {MAX_REASON_BYTES} bytes"))
        }
        _ => Ok(()),
    }
}

fn bad(what: String) -> Result<(), Refusal> {
    Err(Refusal::Bad { what })
}

/// The record of an ask that may be recorded.
fn record(rules: &Rules, team: &Team, ask: &Ask, moment: Moment) -> Record {
    // Two processes may have different clocks; a team's times never go back. What is played counts for the hunt, which is not over by
    // this clock.
    let is_played = matches!(ask, Ask::Submit { .. } | Ask::Hint { .. });
    let at = if is_played {
        moment.behind(team.last_at).min(rules.end - 1).max(team.last_at)
    } else {
        moment.behind(team.last_at)
    };
    match ask.clone() {
        Ask::Create { name } => Record::Created { name, at },
        Ask::Join { player, name } => Record::Joined { player, name, at },
        Ask::Submit { id, player, challenge, answer } => Record::Submitted { id, player, challenge, answer, at },
        Ask::Hint { player, challenge, number } => {
            let hint = rules.challenge(&challenge).and_then(|challenge| challenge.hints.get(number));
            let price = hint.map_or(0, |hint| hint.price);
            Record::Hinted { player, challenge, number, price, at }
        }
        Ask::Adjust { id, points, reason } => Record::Adjusted { id, points, reason, at },
        Ask::Disqualify { reason } => Record::Disqualified { reason, at },
        Ask::Reinstate => Record::Reinstated { at },
    }
}
