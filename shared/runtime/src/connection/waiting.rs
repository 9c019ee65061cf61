//! What a service says while it waits for its broker.

use crate::backoff::Backoff;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often a reason that lasts is told again.
const REMIND: Duration = Duration::from_secs(60);
/// Most reasons that are remembered: more than there are kinds of them. Beyond, the list begins anew.
const MAX_REASONS: usize = 32;
/// Pauses between two attempts: a broker that has come is used within a second.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(1));

/// Decides when a reason to wait is worth a line: at once, and every minute for as long as it lasts. Reasons that take
/// turns, because the servers of a cluster fail differently, are told as seldom.
#[derive(Debug)]
pub(crate) struct WaitLog {
    said: BTreeMap<String, Instant>,
    pauses: Backoff,
}

impl Default for WaitLog {
    fn default() -> Self {
        Self { said: BTreeMap::new(), pauses: PAUSES }
    }
}

impl WaitLog {
    /// Whether to tell of `reason` at the time `now`.
    pub(crate) fn is_news(&mut self, reason: &str, now: Instant) -> bool {
        if self.said.get(reason).is_some_and(|said| now.saturating_duration_since(*said) < REMIND) {
            return false;
        }
        if self.said.len() >= MAX_REASONS {
            self.said.clear();
        }
        self.said.insert(reason.to_owned(), now);
        true
    }

    /// How long to wait before the next attempt.
    pub(crate) fn next_pause(&mut self) -> Duration {
        self.pauses.next_pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_at_once_and_then_every_minute() {
        let mut waiting = WaitLog::default();
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let told: Vec<u64> = (0..200)
            .filter(|at| waiting.is_news(if at % 2 == 0 { "nobody answers" } else { "refused" }, second(*at)))
            .collect();
        assert_eq!(told, [0, 1, 60, 61, 120, 121, 180, 181]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut waiting = WaitLog::default();
        let now = Instant::now();
        assert!((0..1000).all(|reason| waiting.is_news(&reason.to_string(), now)));
        assert!(waiting.said.len() <= MAX_REASONS);
    }

    #[test]
    fn pauses_grow_up_to_a_second() {
        let mut waiting = WaitLog::default();
        let pauses: Vec<u128> = (0..5).map(|_| waiting.next_pause().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 1000, 1000]);
    }
}
