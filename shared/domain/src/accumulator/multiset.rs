//! Keys with how often each occurs, in order: exact extremes and ranks, and what sketches are built on.

use super::counts::Counts;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Keys with how often each occurs. Counts are signed, since a key may be taken back before it is put in; zero counts
/// are not kept, so the neutral element is the empty one and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiset<K: Ord = i64> {
    values: Counts<K>,
}

impl<K: Ord> Default for Multiset<K> {
    fn default() -> Self {
        Self { values: Counts::default() }
    }
}

impl<K: Ord + Copy> Multiset<K> {
    pub(super) fn add(&mut self, value: K, n: i64) {
        self.values.add(value, n);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (value, n) in other.values.iter() {
            self.add(*value, *n);
        }
    }

    /// What several make together.
    pub(super) fn merged<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Self
    where
        K: 'a,
    {
        Self { values: Counts::merged(parts.map(|part| &part.values)) }
    }

    /// Whether it can have come about by [`Multiset::add`]: no zero is kept, and each count and their sum may be merged.
    pub(super) fn is_sane(&self) -> bool {
        let mut total = 0_i64;
        self.values.iter().all(|(_, n)| {
            total = total.saturating_add(*n);
            *n != 0 && super::is_sane(*n) && super::is_sane(total)
        })
    }

    /// Whether this is the neutral element: no key has a count. [`Multiset::len`] may be 0 without that.
    pub fn is_zero(&self) -> bool {
        self.values.is_empty()
    }

    /// How many values there are, equal ones counted as often as they occur.
    pub fn len(&self) -> i64 {
        self.values.total()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, i64)> {
        self.values.iter().map(|(value, n)| (*value, *n))
    }

    /// The value at `rank` in ascending order, from 1.
    pub fn at_rank(&self, rank: i64) -> Option<K> {
        let len = self.len();
        if rank < 1 || rank > len {
            return None;
        }
        // From the nearer end.
        if rank <= len / 2 {
            let mut below = 0;
            self.values.iter().find(|(_, n)| {
                below += **n;
                below >= rank
            })
        } else {
            let mut above = 0;
            self.values.iter().rev().find(|(_, n)| {
                above += **n;
                len - above < rank
            })
        }
        .map(|(value, _)| *value)
    }
}

/// With how many values there are, though they tell: so it has been stored from the beginning.
impl<K: Ord + Copy + Serialize> Serialize for Multiset<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut multiset = serializer.serialize_struct("Multiset", 2)?;
        multiset.serialize_field("values", &self.values)?;
        multiset.serialize_field("n", &self.len())?;
        multiset.end()
    }
}

impl<'de, K: Ord + Copy + Deserialize<'de>> Deserialize<'de> for Multiset<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "K: Ord + Copy + Deserialize<'de>")]
        struct Stored<K> {
            values: Counts<K>,
            n: i64,
        }

        let Stored { values, n } = Stored::deserialize(deserializer)?;
        match values.total() == n {
            true => Ok(Self { values }),
            false => {
                Err(de::Error::custom(format_args!("counts of {} values that are said to be {n}", values.total())))
            }
        }
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
