//! How often keys occur, in their order: a sorted list while there are few, for a tree's node has room for eleven and most
//! groups hold a value or two; a tree from then on.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, btree_map};
use std::slice;

/// Most keys of a list.
const FEW: usize = 16;

/// Counts by key; zero counts are not kept. Equal ones are so whatever they were before, and are stored the same.
#[derive(Clone, Debug)]
pub(super) enum Counts<K> {
    Few(Vec<(K, i64)>),
    /// In a box, so that both are of the same size.
    Many(Box<Tree<K>>),
}

/// Many counts, with their total, for which there is no need to look at all of them then.
#[derive(Clone, Debug)]
pub(super) struct Tree<K> {
    counts: BTreeMap<K, i64>,
    total: i64,
}

impl<K> Tree<K> {
    fn of(counts: BTreeMap<K, i64>) -> Self {
        let total = total(counts.values());
        Self { counts, total }
    }
}

/// Of counts that are not made here, it may be any; [`Multiset::is_sane`](super::Multiset::is_sane) tells.
fn total<'a>(counts: impl Iterator<Item = &'a i64>) -> i64 {
    counts.fold(0, |total, n| total.wrapping_add(*n))
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord + Copy> Counts<K> {
    pub(super) fn add(&mut self, key: K, n: i64) {
        match self {
            Self::Few(list) => match list.binary_search_by(|(known, _)| known.cmp(&key)) {
                Ok(at) if list[at].1 + n == 0 => {
                    list.remove(at);
                }
                Ok(at) => list[at].1 += n,
                Err(_) if n == 0 => {}
                Err(at) if list.len() < FEW => insert(list, at, (key, n)),
                Err(_) => {
                    let counts = std::mem::take(list).into_iter().chain([(key, n)]).collect();
                    *self = Self::Many(Box::new(Tree::of(counts)));
                }
            },
            Self::Many(tree) => {
                tree.total += n;
                let count = tree.counts.entry(key).or_insert(0);
                *count += n;
                if *count == 0 {
                    tree.counts.remove(&key);
                }
            }
        }
    }
}

impl<K> Counts<K> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(tree) => tree.counts.is_empty(),
        }
    }

    /// The sum of all counts.
    pub(super) fn total(&self) -> i64 {
        match self {
            Self::Few(list) => total(list.iter().map(|(_, n)| n)),
            Self::Many(tree) => tree.total,
        }
    }

    /// In the order of keys.
    pub(super) fn iter(&self) -> Iter<'_, K> {
        match self {
            Self::Few(list) => Iter::Few(list.iter()),
            Self::Many(tree) => Iter::Many(tree.counts.iter()),
        }
    }
}

/// Inserts into a list that grows from one to two to four: there are millions of them.
pub(super) fn insert<T>(list: &mut Vec<T>, at: usize, entry: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(1));
    }
    list.insert(at, entry);
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
        serializer.collect_map(self.iter())
    }
}

impl<'de, K: Ord + Deserialize<'de>> Deserialize<'de> for Counts<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = BTreeMap::deserialize(deserializer)?;
        if counts.len() > FEW {
            return Ok(Self::Many(Box::new(Tree::of(counts))));
        }
        Ok(Self::Few(list_of(counts.into_iter())))
    }
}

/// Keys with their counts, in order.
pub(super) enum Iter<'a, K> {
    Few(slice::Iter<'a, (K, i64)>),
    Many(btree_map::Iter<'a, K, i64>),
}

impl<'a, K> Iterator for Iter<'a, K> {
    type Item = (&'a K, &'a i64);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(list) => list.next().map(|(key, n)| (key, n)),
            Self::Many(tree) => tree.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(list) => list.size_hint(),
            Self::Many(tree) => tree.size_hint(),
        }
    }
}

impl<K> DoubleEndedIterator for Iter<'_, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(list) => list.next_back().map(|(key, n)| (key, n)),
            Self::Many(tree) => tree.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is added in whatever order, it is what a tree alone makes of it, and stored as that is.
        #[test]
        fn few_and_many_are_what_a_tree_is(changes in prop::collection::vec((0_i64..40, -2_i64..3), 0..200)) {
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
