//! The rules of a hunt. Everything here is pure.
//!
//! - [`read`]: a file as [`Rules`], with all mistakes;
//! - [`graph`]: which challenges can ever open; [`answer`]: the key of a challenge; [`hashing`]: hides the key in the file;
//!   [`changes`]: which rules may follow others.

pub mod answer;
pub mod changes;
pub mod graph;
pub mod hashing;
pub mod read;

use answer::Answer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Most challenges of a hunt.
pub const MAX_CHALLENGES: usize = 500;
/// Most hints of a challenge.
pub const MAX_HINTS: usize = 10;
/// Most ways to answer a challenge.
pub const MAX_ANSWERS: usize = 16;
/// Most bonuses for first solvers.
pub const MAX_FIRST: usize = 10;
/// Longest text of a challenge or hint, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Longest name of a hunt, team, challenge or player, in characters.
pub const MAX_NAME_CHARACTERS: usize = 80;
/// Longest id of a hunt, team or challenge, in bytes.
pub const MAX_ID_BYTES: usize = 40;
/// Most points of a challenge, bonus, price or adjustment.
pub const MAX_POINTS: i64 = 1_000_000;
/// Most attempts of a limit.
pub const MAX_ATTEMPTS: u32 = 1000;
/// Most members of a team.
pub const MAX_TEAM_SIZE: u32 = 1000;

/// The rules of a hunt, checked. Times are milliseconds since 1970 in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Also the tenant of Daybook.
    pub hunt: String,
    pub name: String,
    pub start: i64,
    /// Submissions at this time or later are refused.
    pub end: i64,
    /// From here on the public ranking stands still, until the organiser reveals it.
    pub freeze: Option<i64>,
    /// Teams and players may join until then.
    pub join_until: i64,
    pub team_size: u32,
    /// IANA time zone, and minutes after midnight at which a business day begins.
    pub zone: String,
    pub cutoff_minutes: u16,
    /// In the order of the file, which is the order in which players see them.
    pub challenges: Vec<Challenge>,
}

/// Something to solve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    pub id: String,
    pub title: String,
    pub text: String,
    /// Any of them is right.
    pub answers: Vec<Answer>,
    pub points: i64,
    /// What the first, second, … solver gets on top.
    pub first: Vec<i64>,
    pub decay: Option<Decay>,
    /// The challenges that open this one; it is open from the start when there are none.
    pub after: Vec<String>,
    /// How many of `after` must be solved.
    pub of: usize,
    pub hints: Vec<Hint>,
    pub attempts: Option<Attempts>,
}

/// How the points of a challenge fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decay {
    pub by: i64,
    /// The points do not fall below this.
    pub to: i64,
    /// With every solver, or with every so many milliseconds since the start.
    pub each: Each,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    Solver,
    Millis(i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    pub text: String,
    pub price: i64,
}

/// At most `count` submissions of a team for a challenge within any `within_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub count: u32,
    pub within_ms: i64,
}

impl Rules {
    /// The challenge of this id.
    pub fn challenge(&self, id: &str) -> Option<&Challenge> {
        self.challenges.iter().find(|challenge| challenge.id == id)
    }
}

impl Challenge {
    /// Whether solving these opens it.
    pub fn opens(&self, is_solved: impl Fn(&str) -> bool) -> bool {
        self.after.iter().filter(|id| is_solved(id)).count() >= self.of
    }

    /// What the solver number `rank` (from 0) gets at `at`, in a hunt that began at `start`.
    pub fn worth(&self, rank: usize, at: i64, start: i64) -> i64 {
        let falls = |decay: &Decay| {
            let steps = match decay.each {
                Each::Solver => i64::try_from(rank).unwrap_or(i64::MAX),
                Each::Millis(millis) => (at - start).max(0) / millis,
            };
            self.points.saturating_sub(decay.by.saturating_mul(steps)).max(decay.to)
        };
        self.decay.as_ref().map_or(self.points, falls) + self.first.get(rank).copied().unwrap_or(0)
    }

    /// Whether this answer is right.
    pub fn accepts(&self, answer: &str) -> bool {
        self.answers.iter().any(|key| key.accepts(answer))
    }
}

/// A time for people and for Daybook: RFC 3339 in UTC.
pub fn time_text(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}

/// Whether a text can be the id of a hunt, team or challenge: it becomes part of subjects and event ids.
pub fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
