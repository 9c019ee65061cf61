//! How fast events of a source are published. Pure: the caller tells the time.
//!
//! A tenant that publishes faster than its quota has events refused, and connect could not know which: so an operator gives a source a
//! rate below the quotas of its tenants.

use std::time::Duration;
use tokio::time::Instant;

/// A share of a second's events is published at once.
const BURSTS_PER_SECOND: u32 = 10;

/// A rate, and when it allows to go on.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    events_per_second: Option<u32>,
    next: Instant,
}

impl Pace {
    /// Without a rate everything is allowed at once.
    pub fn of(events_per_second: Option<u32>, now: Instant) -> Self {
        Self { events_per_second, next: now }
    }

    /// How many events may be published together. The last message of a burst may make more.
    pub fn burst(&self) -> u64 {
        self.events_per_second.map_or(u64::MAX, |rate| u64::from((rate / BURSTS_PER_SECOND).max(1)))
    }

    /// Notes that so many events were published at `now`.
    pub fn published(&mut self, events: u64, now: Instant) {
        if let Some(rate) = self.events_per_second {
            let takes = Duration::from_secs_f64(events as f64 / f64::from(rate));
            self.next = self.next.max(now) + takes;
        }
    }

    /// How long to wait at `now` before more is published.
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_keeps_to_its_rate_over_any_time() {
        let began = Instant::now();
        let (mut pace, mut now, mut events) = (Pace::of(Some(500), began), began, 0);
        assert_eq!(pace.burst(), 50);
        while events < 5_000 {
            assert_eq!(pace.wait(now), Duration::ZERO);
            // A message may make more events than are left of a burst.
            pace.published(pace.burst() + 3, now);
            events += pace.burst() + 3;
            now += pace.wait(now);
        }
        let rate = events as f64 / (now - began).as_secs_f64();
        assert!((499.0..501.0).contains(&rate), "{rate}");
        // What was not used is not saved up.
        now += Duration::from_secs(60);
        pace.published(500, now);
        assert_eq!(pace.wait(now), Duration::from_secs(1));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let now = Instant::now();
        let mut pace = Pace::of(None, now);
        pace.published(u64::MAX, now);
        assert_eq!((pace.burst(), pace.wait(now)), (u64::MAX, Duration::ZERO));
    }
}
