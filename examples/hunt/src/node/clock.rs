//! The one place that reads the clock.

use crate::game::Moment;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the one place where it is allowed")]
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Whole milliseconds of a duration.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Since when this process has known the newest record of each team. As many teams as the hunt has.
#[derive(Default)]
pub struct Seen(Mutex<HashMap<String, Instant>>);

impl Seen {
    /// The game has a new record of a team.
    pub fn note(&self, team: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(team) {
            Some(at) => *at = Instant::now(),
            None => drop(seen.insert(team.to_owned(), Instant::now())),
        }
    }

    /// What time it is for a team.
    pub fn moment(&self, team: &str) -> Moment {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(team).copied();
        Moment { now: now(), since: seen.map_or(0, |seen| millis(seen.elapsed())) }
    }
}
