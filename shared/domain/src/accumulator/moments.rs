//! The event times of a group, and when it reached its score.

use super::Sign;
use super::extremes::Extremes;
use super::multiset::Multiset;
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The event times of all rows of a group. Every change of the group goes through here, so this is also the place that
/// remembers when the group reached its score: any change forgets it. What is remembered is no part of the value: it is
/// neither stored nor compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moments {
    times: EventTimes,
    #[serde(skip)]
    reached: OnceLock<Option<Instant>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum EventTimes {
    /// Of rows that may be retracted: every time with how often it occurs.
    #[serde(rename = "m")]
    All(Multiset),
    /// Of rows that are never retracted.
    #[serde(rename = "e")]
    Extremes(Extremes),
}

impl Moments {
    /// None yet, of rows that may be retracted.
    pub(super) fn all() -> Self {
        Self { times: EventTimes::All(Multiset::default()), reached: OnceLock::new() }
    }

    /// None yet, of rows that are never retracted.
    pub(super) fn extremes_only() -> Self {
        Self { times: EventTimes::Extremes(Extremes::default()), reached: OnceLock::new() }
    }

    pub(super) fn add(&mut self, sign: Sign, at_ms: i64) {
        self.reached = OnceLock::new();
        match &mut self.times {
            EventTimes::All(times) => times.add(at_ms, sign.unit()),
            EventTimes::Extremes(times) if sign == Sign::Add => times.add(at_ms),
            EventTimes::Extremes(_) => unreachable!("a plan keeps extremes of facts only, and nothing retracts those"),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.reached = OnceLock::new();
        match (&mut self.times, &other.times) {
            (EventTimes::All(ours), EventTimes::All(theirs)) => ours.merge(theirs),
            (EventTimes::Extremes(ours), EventTimes::Extremes(theirs)) => ours.merge(theirs),
            (ours, theirs) => unreachable!("merging {ours:?} with {theirs:?}: one plan makes both"),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        match &self.times {
            EventTimes::All(times) => times.is_zero(),
            EventTimes::Extremes(times) => times.is_zero(),
        }
    }

    pub(super) fn is_sane(&self) -> bool {
        match &self.times {
            EventTimes::All(times) => times.is_sane(),
            EventTimes::Extremes(times) => times.is_sane(),
        }
    }

    /// Whether every time is kept.
    pub(super) fn keeps_all(&self) -> bool {
        matches!(self.times, EventTimes::All(_))
    }

    /// The earliest and the latest time.
    pub(super) fn extremes(&self) -> (Option<i64>, Option<i64>) {
        match &self.times {
            EventTimes::All(times) => (times.min(), times.max()),
            EventTimes::Extremes(times) => (times.min(), times.max()),
        }
    }

    /// The earliest time that anything is kept of, even if it is only that something was taken back.
    pub(crate) fn first(&self) -> Option<i64> {
        match &self.times {
            EventTimes::All(times) => times.iter().next().map(|(at, _)| at),
            EventTimes::Extremes(times) => times.min(),
        }
    }

    /// Every time with how often it occurs, where all are kept.
    pub(crate) fn times(&self) -> Option<&Multiset> {
        match &self.times {
            EventTimes::All(times) => Some(times),
            EventTimes::Extremes(_) => None,
        }
    }

    /// When the group reached its score: found by `find` unless that was done since the last change.
    pub(crate) fn reached(&self, find: impl FnOnce() -> Option<Instant>) -> Option<Instant> {
        *self.reached.get_or_init(find)
    }
}

impl PartialEq for Moments {
    fn eq(&self, other: &Self) -> bool {
        self.times == other.times
    }
}

impl Eq for Moments {}
