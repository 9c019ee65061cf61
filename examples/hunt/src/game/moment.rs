//! The time of a team, which several processes with different clocks agree on well enough.

/// What time it is for a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock of the process that asks: milliseconds since 1970.
    pub now: i64,
    /// For how many milliseconds that process has known the team's newest record.
    pub since: i64,
}

impl Moment {
    /// The time of a team whose newest record is of `last_at`. It goes on even when this clock is behind the one that wrote that
    /// record, so that no limit lasts longer than it says.
    pub fn behind(self, last_at: i64) -> i64 {
        self.now.max(last_at.saturating_add(self.since))
    }
}

impl From<i64> for Moment {
    fn from(now: i64) -> Self {
        Self { now, since: 0 }
    }
}
