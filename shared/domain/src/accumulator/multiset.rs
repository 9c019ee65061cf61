//! Keys with how often each occurs, in order: exact extremes and ranks, and what sketches are built on.

use super::counts::Counts;
use serde::{Deserialize, Serialize};

/// Keys with how often each occurs. Counts are signed, since a key may be taken back before it is put in; zero counts
/// are not kept, so the neutral element is the empty one and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multiset<K: Ord = i64> {
    values: Counts<K>,
    n: i64,
}

impl<K: Ord> Default for Multiset<K> {
    fn default() -> Self {
        Self { values: Counts::default(), n: 0 }
    }
}

impl<K: Ord + Copy> Multiset<K> {
    pub(super) fn add(&mut self, value: K, n: i64) {
        self.n += n;
        self.values.add(value, n);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (value, n) in other.values.iter() {
            self.add(*value, *n);
        }
    }

    pub(super) fn negate(&mut self) {
        self.n = -self.n;
        self.values.negate();
    }

    /// Whether it can have come about by [`Multiset::add`]: no zero is kept, and the total is that of the counts, each of
    /// which may be merged.
    pub(super) fn is_sane(&self) -> bool {
        let mut total = 0_i64;
        self.values.iter().all(|(_, n)| {
            total = total.saturating_add(*n);
            *n != 0 && super::is_sane(*n) && super::is_sane(total)
        }) && total == self.n
    }

    /// Whether this is the neutral element: no key has a count. [`Multiset::len`] may be 0 without that.
    pub fn is_zero(&self) -> bool {
        self.values.is_empty()
    }

    /// How many values there are, equal ones counted as often as they occur.
    pub fn len(&self) -> i64 {
        self.n
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The smallest value; what was only taken back so far is none.
    pub fn min(&self) -> Option<K> {
        self.present().next()
    }

    /// The largest value; what was only taken back so far is none.
    pub fn max(&self) -> Option<K> {
        self.present().next_back()
    }

    fn present(&self) -> impl DoubleEndedIterator<Item = K> {
        self.values.iter().filter(|(_, n)| **n > 0).map(|(value, _)| *value)
    }

    /// The different values in ascending order, each with how often it occurs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, i64)> {
        self.values.iter().map(|(value, n)| (*value, *n))
    }

    /// The value at `rank` in ascending order, from 1.
    pub fn at_rank(&self, rank: i64) -> Option<K> {
        if rank < 1 || rank > self.n {
            return None;
        }
        // From the nearer end.
        if rank <= self.n / 2 {
            let mut below = 0;
            self.values.iter().find(|(_, n)| {
                below += **n;
                below >= rank
            })
        } else {
            let mut above = 0;
            self.values.iter().rev().find(|(_, n)| {
                above += **n;
                self.n - above < rank
            })
        }
        .map(|(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranks_are_those_of_the_sorted_values(mut values in prop::collection::vec(-9_i64..9, 1..60)) {
            let mut multiset = Multiset::default();
            for value in &values {
                multiset.add(*value, 1);
            }
            values.sort_unstable();
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(multiset.at_rank(index as i64 + 1), Some(*value));
            }
            prop_assert_eq!(multiset.at_rank(0), None);
            prop_assert_eq!(multiset.at_rank(values.len() as i64 + 1), None);
            prop_assert_eq!((multiset.min(), multiset.max()), (values.first().copied(), values.last().copied()));
        }
    }

    #[test]
    fn what_is_only_taken_back_is_no_extreme() {
        let mut multiset = Multiset::default();
        for (value, n) in [(1, -1), (2, 1), (3, 2), (9, -1)] {
            multiset.add(value, n);
        }
        assert_eq!((multiset.min(), multiset.max(), multiset.len()), (Some(2), Some(3), 1));
        multiset.add(9, -1);
        assert_eq!((multiset.len(), multiset.is_empty(), multiset.is_zero()), (0, true, false));
    }
}
