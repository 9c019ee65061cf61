//! How fresh figures are: for how long they may have been without something that the log has.

use daybook_runtime::reader::HEARD_WITHIN;
use std::time::Duration;

/// What is known of a partition's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Since they were level with the log; `None` when they have not been yet.
    pub since: Option<Duration>,
    /// Nothing was behind the last batch when it was read.
    pub is_level: bool,
    pub is_connected: bool,
    /// Since the log was heard of, be it only that there is nothing more.
    pub heard: Duration,
}

/// Milliseconds since the figures were known to be level; 0 while they are. A log that is not heard of, for the broker that
/// delivers it is gone, shows after [`HEARD_WITHIN`].
pub(crate) fn milliseconds(level: Level) -> u64 {
    let Some(since) = level.since else { return u64::MAX };
    let age = match level.is_level {
        true if level.is_connected && level.heard < HEARD_WITHIN => Duration::ZERO,
        true => since.min(level.heard),
        false => since,
    };
    age.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_fresh_while_the_log_is_heard_of() {
        let hour = Duration::from_secs(3_600);
        let quiet = Level { since: Some(hour), is_level: true, is_connected: true, heard: Duration::from_secs(4) };
        assert_eq!(milliseconds(quiet), 0, "a quiet partition is not stale");
        assert_eq!(milliseconds(Level { heard: Duration::from_secs(30), ..quiet }), 30_000);
        assert_eq!(milliseconds(Level { is_connected: false, ..quiet }), 4_000);
        assert_eq!(milliseconds(Level { is_level: false, ..quiet }), 3_600_000);
        assert_eq!(milliseconds(Level { since: None, ..quiet }), u64::MAX);
    }
}
