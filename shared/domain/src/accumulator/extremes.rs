//! The ends of keys that are never taken back.

use serde::{Deserialize, Serialize};

/// The smallest and the largest key, or that there is none. Of rows that are never retracted nothing else is needed for
/// extremes: two words, where a [`Multiset`](super::Multiset) keeps every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extremes<K = i64>(Option<(K, K)>);

impl<K> Default for Extremes<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Ord + Copy> Extremes<K> {
    pub(super) fn of(least: Option<K>, greatest: Option<K>) -> Self {
        Self(least.zip(greatest))
    }

    pub(super) fn add(&mut self, key: K) {
        match &mut self.0 {
            Some((least, greatest)) => (*least, *greatest) = (key.min(*least), key.max(*greatest)),
            None => self.0 = Some((key, key)),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if let Some((least, greatest)) = other.0 {
            self.add(least);
            self.add(greatest);
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it can have come about by [`Extremes::add`].
    pub(super) fn is_sane(&self) -> bool {
        self.0.is_none_or(|(least, greatest)| least <= greatest)
    }

    /// The smallest key.
    pub fn min(&self) -> Option<K> {
        self.0.map(|(least, _)| least)
    }

    /// The largest key.
    pub fn max(&self) -> Option<K> {
        self.0.map(|(_, greatest)| greatest)
    }
}
