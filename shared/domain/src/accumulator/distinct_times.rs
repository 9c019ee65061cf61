//! Texts with their event times, for a count of different ones and for when each came first.

use super::distinct::Texts;
use super::multiset::Multiset;
use serde::{Deserialize, Serialize};

/// Texts, each with its event times and how often each of these occurs. Texts without any are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DistinctTimes(Texts<Multiset>);

/// Texts that are never taken back, each with its earliest event time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeenSince(Texts<i64>);

impl DistinctTimes {
    pub(super) fn add(&mut self, text: &str, at_ms: i64, n: i64) {
        match self.0.get_mut(text) {
            Some(times) => {
                times.add(at_ms, n);
                if times.is_zero() {
                    self.0.remove(text);
                }
            }
            None => {
                let mut times = Multiset::default();
                times.add(at_ms, n);
                self.0.insert(text, times);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (text, times) in other.iter() {
            match self.0.get_mut(text) {
                Some(ours) => {
                    ours.merge(times);
                    if ours.is_zero() {
                        self.0.remove(text);
                    }
                }
                None => self.0.insert(text, times.clone()),
            }
        }
    }

    pub(super) fn is_sane(&self) -> bool {
        self.iter().all(|(_, times)| !times.is_zero() && times.is_sane())
    }

    /// The texts, in no particular order, each with its times.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Multiset)> {
        self.0.iter().map(|(text, times)| (text.as_str(), times))
    }

    /// How many different texts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SeenSince {
    pub(super) fn add(&mut self, text: &str, at_ms: i64) {
        match self.0.get_mut(text) {
            Some(since) => *since = at_ms.min(*since),
            None => self.0.insert(text, at_ms),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (text, since) in other.iter() {
            self.add(text, since);
        }
    }

    /// The texts, in no particular order, each with its earliest time in milliseconds.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(text, since)| (text.as_str(), *since))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
