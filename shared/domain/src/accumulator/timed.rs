//! Values with the times of their events, for the first and the last of them.

use super::extremes::Extremes;
use super::multiset::Multiset;
use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// Every event time and value, in order of time and then value, with how often it occurs. All of them are kept, so that
/// the next one is known when the first or the last is retracted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timed(Multiset<(i64, i64)>);

impl Timed {
    pub(super) fn add(&mut self, at: Instant, value: i64, n: i64) {
        self.0.add((at.as_millis(), value), n);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    pub(super) fn is_sane(&self) -> bool {
        self.0.is_sane()
    }

    /// Its first and last, of what is never taken back.
    pub(super) fn extremes(&self) -> Extremes<(i64, i64)> {
        Extremes::of(self.0.min(), self.0.max())
    }

    /// Every time in milliseconds, and value, in order, with how often it occurs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ((i64, i64), i64)> {
        self.0.iter()
    }

    /// The earliest and the latest time in milliseconds.
    pub(crate) fn ends(&self) -> (Option<i64>, Option<i64>) {
        (self.0.min().map(|(at, _)| at), self.0.max().map(|(at, _)| at))
    }

    /// The value at the earliest time; the smallest among those at the same millisecond.
    pub fn first(&self) -> Option<i64> {
        self.0.min().map(|(_, value)| value)
    }

    /// The value at the latest time; the largest among those at the same millisecond.
    pub fn last(&self) -> Option<i64> {
        self.0.max().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn first_and_last_are_those_of_the_sorted_events(events in prop::collection::vec((-3_i64..3, -9_i64..9), 0..20)) {
            let mut timed = Timed::default();
            for (at, value) in &events {
                timed.add(Instant::from_millis(*at), *value, 1);
            }
            let earliest = events.iter().map(|(at, _)| at).min();
            let latest = events.iter().map(|(at, _)| at).max();
            let first = events.iter().filter(|(at, _)| Some(at) == earliest).map(|(_, value)| *value).min();
            let last = events.iter().filter(|(at, _)| Some(at) == latest).map(|(_, value)| *value).max();
            prop_assert_eq!((timed.first(), timed.last()), (first, last));
        }
    }
}
