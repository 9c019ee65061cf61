//! How fast a tenant may publish: a token bucket for its events and one for its bytes. Pure: time is that of the broker,
//! which stamps every message of INBOX, so what is refused does not depend on when ingest reads it.
//!
//! A bucket is not part of the log. It begins full with a new owner of the partition, after a restart and when the quota
//! changes: then a tenant may publish a burst more. What was decided stands in the log and is never decided again.

use daybook_contracts::event::MAX_MESSAGE_EVENTS;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::Instant;

/// How long the quota may be saved up: a tenant that was quiet may publish so many seconds' worth at once.
pub const BURST_SECONDS: u64 = 10;
/// What a bucket of bytes holds at least, so that the largest message that the broker takes fits into it.
pub const MIN_BURST_BYTES: u64 = 1 << 20;
/// What a bucket of events holds at least, so that the largest message fits into it.
pub const MIN_BURST_EVENTS: u64 = MAX_MESSAGE_EVENTS as u64;

/// What a tenant may publish on average, `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub events_per_second: Option<u64>,
    pub bytes_per_second: Option<u64>,
}

impl Rates {
    /// The tenant's own rates, and those of the cluster where it has none.
    pub fn of(quotas: &Quotas, default: Self) -> Self {
        Self {
            events_per_second: quotas.events_per_second.or(default.events_per_second),
            bytes_per_second: quotas.bytes_per_second.or(default.bytes_per_second),
        }
    }

    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// What a message is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// So many events a second.
    Events(u64),
    /// So many bytes a second.
    Bytes(u64),
}

/// The buckets of a tenant.
#[derive(Clone, Debug)]
pub struct Meter {
    pub rates: Rates,
    events: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    /// Full buckets.
    pub fn new(rates: Rates, now: Instant) -> Self {
        let bucket = |rate: Option<u64>, least: u64| rate.map(|rate| Bucket::new(rate, least, now));
        Self {
            rates,
            events: bucket(rates.events_per_second, MIN_BURST_EVENTS),
            bytes: bucket(rates.bytes_per_second, MIN_BURST_BYTES),
        }
    }

    /// Takes a message in, or says what it is over; then it costs nothing.
    ///
    /// # Errors
    /// The quota that has not enough left for all of the message.
    pub fn take(&mut self, events: u64, bytes: u64, now: Instant) -> Result<(), Over> {
        for bucket in self.events.iter_mut().chain(&mut self.bytes) {
            bucket.fill(now);
        }
        if let Some(bucket) = self.events.as_ref().filter(|bucket| !bucket.holds(events)) {
            return Err(Over::Events(bucket.per_second));
        }
        if let Some(bucket) = self.bytes.as_ref().filter(|bucket| !bucket.holds(bytes)) {
            return Err(Over::Bytes(bucket.per_second));
        }
        if let Some(bucket) = &mut self.events {
            bucket.spend(events);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.spend(bytes);
        }
        Ok(())
    }
}

/// A token bucket, in thousandths, so that a millisecond's worth is a whole number.
#[derive(Clone, Debug)]
struct Bucket {
    per_second: u64,
    /// Thousandths that it holds when it is full.
    capacity: u64,
    level: u64,
    filled_at: Instant,
}

impl Bucket {
    fn new(per_second: u64, least: u64, now: Instant) -> Self {
        let capacity = burst(per_second, least).saturating_mul(1_000);
        Self { per_second, capacity, level: capacity, filled_at: now }
    }

    /// Puts in what has come since. A broker's clock that goes back (a new leader of the stream) puts nothing in, and
    /// the bucket goes on from there.
    fn fill(&mut self, now: Instant) {
        let elapsed_ms = u64::try_from(now.as_millis().saturating_sub(self.filled_at.as_millis())).unwrap_or(0);
        self.level = self.level.saturating_add(self.per_second.saturating_mul(elapsed_ms)).min(self.capacity);
        self.filled_at = now;
    }

    fn holds(&self, amount: u64) -> bool {
        amount.saturating_mul(1_000) <= self.level
    }

    fn spend(&mut self, amount: u64) {
        self.level -= amount.saturating_mul(1_000).min(self.level);
    }
}

/// What a full bucket holds.
fn burst(per_second: u64, least: u64) -> u64 {
    per_second.saturating_mul(BURST_SECONDS).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Instant {
        Instant::from_millis(1_700_000_000_000 + ms)
    }

    fn events(per_second: u64) -> Rates {
        Rates { events_per_second: Some(per_second), ..Rates::default() }
    }

    #[test]
    fn a_full_bucket_takes_a_burst_and_then_what_comes_in() {
        let mut meter = Meter::new(events(5_000), at(0));
        assert_eq!(meter.take(10_000, 1, at(0)), Ok(()));
        assert_eq!(meter.take(40_000, 1, at(0)), Ok(()));
        assert_eq!(meter.take(1, 1, at(0)), Err(Over::Events(5_000)));
        assert_eq!(meter.take(6, 1, at(1)), Err(Over::Events(5_000)));
        assert_eq!(meter.take(5, 1, at(1)), Ok(()), "what was refused cost nothing");
        assert_eq!(meter.take(50_000, 1, at(10_001)), Ok(()));
        assert_eq!(meter.take(50_000, 1, at(20_000)), Err(Over::Events(5_000)), "a millisecond short");
        assert_eq!(meter.take(50_000, 1, at(20_001)), Ok(()));
        assert_eq!(meter.take(50_001, 1, at(1_000_000)), Err(Over::Events(5_000)), "more than it ever holds");
    }

    #[test]
    fn the_smallest_quota_takes_the_largest_message() {
        let rates = Rates { events_per_second: Some(1), bytes_per_second: Some(1_000) };
        let mut meter = Meter::new(rates, at(0));
        assert_eq!(meter.take(MIN_BURST_EVENTS, MIN_BURST_BYTES, at(0)), Ok(()));
        assert_eq!(meter.take(1, 1, at(500)), Err(Over::Events(1)));
        assert_eq!(meter.take(1, 1_000, at(1_000)), Ok(()));
    }

    #[test]
    fn what_is_over_one_quota_costs_nothing_of_the_other() {
        let rates = Rates { events_per_second: Some(1), bytes_per_second: Some(1_000) };
        let mut meter = Meter::new(rates, at(0));
        assert_eq!(meter.take(1, MIN_BURST_BYTES + 1, at(0)), Err(Over::Bytes(1_000)));
        assert_eq!(meter.take(MIN_BURST_EVENTS, 1, at(0)), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_neither_fills_nor_stops_a_bucket() {
        let mut meter = Meter::new(events(1_000), at(3_600_000));
        assert_eq!(meter.take(10_000, 1, at(3_600_000)), Ok(()));
        assert_eq!(meter.take(1, 1, at(0)), Err(Over::Events(1_000)));
        assert_eq!(meter.take(1, 1, at(1)), Ok(()));
    }

    #[test]
    fn the_cluster_s_rates_are_for_those_that_have_none() {
        let default = Rates { events_per_second: Some(7), bytes_per_second: None };
        assert_eq!(Rates::of(&Quotas::default(), default), default);
        let quotas = Quotas { events_per_second: Some(9), bytes_per_second: Some(1_000), ..Quotas::default() };
        assert_eq!(Rates::of(&quotas, default), Rates { events_per_second: Some(9), bytes_per_second: Some(1_000) });
        assert!(Rates::default().is_none() && !default.is_none());
    }

    proptest! {
        /// Over every stretch of time, never more than it is worth and a burst; and never refused what is left.
        #[test]
        fn never_more_than_the_rate_and_a_burst(
            rate in prop_oneof![1_u64..50, 500_u64..20_000],
            steps in prop::collection::vec((0_i64..4_000, 1_u64..10_000), 1..80),
        ) {
            let mut meter = Meter::new(events(rate), at(0));
            let mut taken: Vec<(i64, u64)> = Vec::new();
            let mut now = 0;
            for (gap, amount) in steps {
                now += gap;
                // What would be left by the definition: the least over all beginnings of the stretch.
                let left = |from: i64, used: u64| {
                    burst(rate, MIN_BURST_EVENTS) * 1_000 + rate * (now - from) as u64 - used * 1_000
                };
                let stretches = (0..taken.len()).map(|begin| {
                    left(taken[begin].0, taken[begin..].iter().map(|(_, amount)| amount).sum())
                });
                let least = stretches.min().unwrap_or(u64::MAX).min(burst(rate, MIN_BURST_EVENTS) * 1_000);
                let fits = amount * 1_000 <= least;
                prop_assert_eq!(meter.take(amount, 1, at(now)).is_ok(), fits);
                if fits {
                    taken.push((now, amount));
                }
            }
        }
    }
}
