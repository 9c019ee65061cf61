//! How often keys occur, in their order: one list while there are not many, as in most groups; in chunks from then on.

use super::chunks::{self, CHUNK, Chunks, Full};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Counts by key; zero counts are not kept. Equal ones are so whatever they were before, and are stored the same.
#[derive(Clone, Debug)]
pub(super) enum Counts<K> {
    /// Of those that grew, at most [`CHUNK`]; of those [merged](Counts::merged), any number.
    Few(Vec<(K, i64)>),
    /// In a box, so that both are of the same size.
    Many(Box<Many<K>>),
}

/// Many counts, with their total, for which there is no need to look at all of them then.
#[derive(Clone, Debug)]
pub(super) struct Many<K> {
    counts: Chunks<K>,
    total: i64,
}

impl<K: Ord + Copy> Many<K> {
    /// Of entries in order.
    fn of(entries: impl Iterator<Item = (K, i64)> + Clone) -> Self {
        Self { total: total(entries.clone().map(|(_, n)| n)), counts: Chunks::of(entries) }
    }
}

/// Of counts that are not made here, it may be any; [`Multiset::is_sane`](super::Multiset::is_sane) tells.
fn total(counts: impl Iterator<Item = i64>) -> i64 {
    counts.fold(0, i64::wrapping_add)
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord + Copy> Counts<K> {
    pub(super) fn add(&mut self, key: K, n: i64) {
        match self {
            Self::Few(list) => {
                if let Err(Full) = chunks::add(list, CHUNK, key, n) {
                    let mut many = Many::of(list.iter().copied());
                    many.total += n;
                    many.counts.add(key, n);
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(many) => {
                many.total += n;
                many.counts.add(key, n);
            }
        }
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// What several make together, in one list.
    pub(super) fn merged<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Self
    where
        K: 'a,
    {
        let mut list = Vec::with_capacity(parts.clone().map(Self::keys).sum());
        for part in parts {
            match part {
                Self::Few(few) => list.extend_from_slice(few),
                Self::Many(many) => many.counts.chunks().for_each(|chunk| list.extend_from_slice(chunk)),
            }
        }
        // A stable sort makes use of the parts being in order.
        list.sort_by_key(|(key, _)| *key);
        list.dedup_by(|(next, n), (key, total)| {
            let is_same = next == key;
            *total += if is_same { *n } else { 0 };
            is_same
        });
        list.retain(|(_, n)| *n != 0);
        if list.len() < list.capacity() / 2 {
            list.shrink_to_fit();
        }
        Self::Few(list)
    }
}

impl<K> Counts<K> {
    fn keys(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(many) => many.counts.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys() == 0
    }

    /// The sum of all counts.
    pub(super) fn total(&self) -> i64 {
        match self {
            Self::Few(list) => total(list.iter().map(|(_, n)| *n)),
            Self::Many(many) => many.total,
        }
    }

    /// In the order of keys.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &i64)> {
        // One of the two is empty.
        let (list, many) = match self {
            Self::Few(list) => (list.as_slice(), None),
            Self::Many(many) => (&[][..], Some(many.counts.iter())),
        };
        list.iter().chain(many.into_iter().flatten()).map(|(key, n)| (key, n))
    }
}

/// A list without room for more, where a collected one would have room for four at least.
pub(super) fn list_of<T>(entries: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::with_capacity(entries.len());
    list.extend(entries);
    list
}

impl<K: PartialEq> PartialEq for Counts<K> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq> Eq for Counts<K> {}

impl<K: Serialize> Serialize for Counts<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.keys()))?;
        for (key, n) in self.iter() {
            map.serialize_entry(key, n)?;
        }
        map.end()
    }
}

impl<'de, K: Ord + Copy + Deserialize<'de>> Deserialize<'de> for Counts<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = BTreeMap::deserialize(deserializer)?;
        let entries = counts.iter().map(|(key, n)| (*key, *n));
        if counts.len() > CHUNK {
            return Ok(Self::Many(Box::new(Many::of(entries))));
        }
        Ok(Self::Few(list_of(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is added in whatever order, it is what a tree alone makes of it, and stored as that is.
        #[test]
        fn few_and_many_are_what_a_tree_is(changes in prop::collection::vec((0_i64..400, -2_i64..3), 0..900)) {
            let (mut counts, mut tree) = (Counts::default(), BTreeMap::<i64, i64>::new());
            for (key, n) in changes {
                counts.add(key, n);
                *tree.entry(key).or_insert(0) += n;
                tree.retain(|_, n| *n != 0);
                prop_assert!(counts.iter().eq(tree.iter()) && counts.iter().rev().eq(tree.iter().rev()));
                prop_assert_eq!((counts.is_empty(), counts.total()), (tree.is_empty(), tree.values().sum()));
            }
            let stored = rmp_serde::to_vec(&counts).unwrap();
            prop_assert_eq!(&stored, &rmp_serde::to_vec(&tree).unwrap());
            let read: Counts<i64> = rmp_serde::from_slice(&stored).unwrap();
            prop_assert!(read == counts, "though one may be a list and the other a tree");
            prop_assert_eq!(read.total(), counts.total());
        }
    }
}
