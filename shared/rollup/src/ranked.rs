//! A set that knows the place of each of its keys.

use std::borrow::Borrow;
use std::iter;

/// An ordered set with places: how many keys are before a key, and which key is at a place, while keys come and go.
///
/// The keys stand in order in chunks of at most `CHUNK`, and these in one list. With `n` keys, to insert or remove one
/// takes `O(log n)` comparisons and moves at most a chunk's worth of keys, and now and then the list of chunks; a place
/// takes `O(n / CHUNK)` additions on top, which for a million keys are a few thousand lengths in a row of memory. That
/// is less than the pointers of a tree cost, and a key takes its own size and a third more.
///
/// ```
/// use daybook_rollup::RankedSet;
/// let mut set: RankedSet<&str> = ["b", "d", "a"].into_iter().collect();
/// assert!(set.insert("c") && !set.insert("c"));
/// assert_eq!((set.len(), set.rank("c"), set.nth(3)), (4, 2, Some(&"d")));
/// assert!(set.remove("a"));
/// assert_eq!(set.iter_from(1).copied().collect::<Vec<_>>(), ["c", "d"]);
/// assert_eq!(set.partition_point(|key| *key < "d"), 2);
/// ```
#[derive(Clone, Debug)]
pub struct RankedSet<K, const CHUNK: usize = 512> {
    /// In order, none empty, none longer than `CHUNK`.
    chunks: Vec<Vec<K>>,
    len: usize,
}

impl<K, const CHUNK: usize> Default for RankedSet<K, CHUNK> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord, const CHUNK: usize> RankedSet<K, CHUNK> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a key in; false when it is there already.
    pub fn insert(&mut self, key: K) -> bool {
        let (index, within) = self.locate(|other| *other < key);
        if index == self.chunks.len() {
            self.push(key);
        } else {
            let chunk = &mut self.chunks[index];
            if chunk[within] == key {
                return false;
            }
            chunk.insert(within, key);
            if chunk.len() > CHUNK {
                let half = chunk.split_off(chunk.len() / 2);
                self.chunks.insert(index + 1, half);
            }
        }
        self.len += 1;
        true
    }

    /// Takes a key out; false when it is not there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let (index, within) = self.locate(|other| other.borrow() < key);
        let Some(chunk) = self.chunks.get_mut(index).filter(|chunk| chunk[within].borrow() == key) else {
            return false;
        };
        chunk.remove(within);
        self.len -= 1;
        self.join(index);
        true
    }

    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let (index, within) = self.locate(|other| other.borrow() < key);
        self.chunks.get(index).is_some_and(|chunk| chunk[within].borrow() == key)
    }

    /// How many keys are less than `key`, which need not be in the set.
    pub fn rank<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.partition_point(|other| other.borrow() < key)
    }

    /// How many keys `before` is true of; it is so of all keys up to some place and of none behind it.
    pub fn partition_point(&self, before: impl Fn(&K) -> bool) -> usize {
        let (index, within) = self.locate(before);
        self.chunks[..index].iter().map(Vec::len).sum::<usize>() + within
    }

    /// The key that `place` keys are less than.
    pub fn nth(&self, place: usize) -> Option<&K> {
        let (index, within) = self.chunk_at(place)?;
        self.chunks[index].get(within)
    }

    /// The first key that `before` is not true of; the same holds for it as for [`RankedSet::partition_point`].
    pub fn first_not(&self, before: impl Fn(&K) -> bool) -> Option<&K> {
        let (index, within) = self.locate(before);
        self.chunks.get(index)?.get(within)
    }

    /// The keys in order, without the first `place`.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = &K> + Clone {
        let (index, within) = self.chunk_at(place).unwrap_or((self.chunks.len(), 0));
        let rest = self.chunks.get(index + 1..).unwrap_or_default();
        let first = self.chunks.get(index).map(|chunk| &chunk[within..]).unwrap_or_default();
        iter::once(first).chain(rest.iter().map(Vec::as_slice)).flatten()
    }

    /// The chunk and the place in it of the first key that `before` is not true of.
    fn locate(&self, before: impl Fn(&K) -> bool) -> (usize, usize) {
        let index = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&before));
        (index, self.chunks.get(index).map_or(0, |chunk| chunk.partition_point(before)))
    }

    /// The chunk and the place in it of the key at `place`.
    fn chunk_at(&self, mut place: usize) -> Option<(usize, usize)> {
        if place >= self.len {
            return None;
        }
        for (index, chunk) in self.chunks.iter().enumerate() {
            if place < chunk.len() {
                return Some((index, place));
            }
            place -= chunk.len();
        }
        None
    }

    /// Adds a key behind all others. Full chunks stay full, so that keys that come in order are kept densely.
    fn push(&mut self, key: K) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(key),
            _ => self.chunks.push(vec![key]),
        }
    }

    /// Joins a chunk that has become short with a neighbour, where both leave room for more.
    fn join(&mut self, index: usize) {
        if self.chunks[index].len() >= CHUNK / 4 {
            return;
        }
        let left = if index + 1 < self.chunks.len() { index } else { index.saturating_sub(1) };
        let lengths = (self.chunks[left].len(), self.chunks.get(left + 1).map(Vec::len));
        match lengths {
            (left_length, Some(right_length)) if left_length + right_length <= CHUNK / 4 * 3 => {
                let right = self.chunks.remove(left + 1);
                self.chunks[left].extend(right);
            }
            _ if self.chunks[index].is_empty() => {
                self.chunks.remove(index);
            }
            _ => {}
        }
    }
}

impl<K: Ord, const CHUNK: usize> FromIterator<K> for RankedSet<K, CHUNK> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        // Sorted at once, which for many is several times faster than one after the other.
        let mut keys: Vec<K> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let len = keys.len();
        let mut chunks = Vec::with_capacity(len.div_ceil(CHUNK));
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            chunks.push(keys.by_ref().take(CHUNK).collect());
        }
        Self { chunks, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u16),
        Remove(u16),
        Run(u16, u16),
        Clear(u16, u16),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0_u16..300).prop_map(Change::Insert),
            4 => (0_u16..300).prop_map(Change::Remove),
            1 => (0_u16..300, 0_u16..60).prop_map(|(from, count)| Change::Run(from, count)),
            1 => (0_u16..300, 0_u16..60).prop_map(|(from, count)| Change::Clear(from, count)),
        ]
    }

    fn check<const CHUNK: usize>(set: &RankedSet<u16, CHUNK>, model: &BTreeSet<u16>) {
        assert!(set.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK), "{set:?}");
        assert_eq!(set.len(), model.len());
        assert_eq!(set.is_empty(), model.is_empty());
        let keys: Vec<u16> = model.iter().copied().collect();
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(set.rank(key), place);
            assert_eq!(set.nth(place), Some(key));
            assert!(set.contains(key));
        }
        assert_eq!(set.nth(keys.len()), None);
        for place in 0..=keys.len() + 1 {
            let expected = keys.get(place..).unwrap_or_default();
            assert_eq!(set.iter_from(place).copied().collect::<Vec<_>>(), expected);
        }
        for tens in 0..40 {
            assert_eq!(set.partition_point(|key| key / 10 < tens), keys.partition_point(|key| key / 10 < tens));
        }
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_set(changes in prop::collection::vec(change(), 0..60)) {
            let mut set = RankedSet::<u16, 8>::default();
            let mut model = BTreeSet::new();
            for change in changes {
                match change {
                    Change::Insert(key) => prop_assert_eq!(set.insert(key), model.insert(key)),
                    Change::Remove(key) => prop_assert_eq!(set.remove(&key), model.remove(&key)),
                    Change::Run(from, count) => {
                        (from..from + count).for_each(|key| assert_eq!(set.insert(key), model.insert(key)));
                    }
                    Change::Clear(from, count) => {
                        (from..from + count).for_each(|key| assert_eq!(set.remove(&key), model.remove(&key)));
                    }
                }
                check(&set, &model);
            }
        }
    }

    #[test]
    fn keys_in_order_fill_their_chunks() {
        let set: RankedSet<u16, 8> = (0..80).collect();
        assert_eq!(set.chunks.len(), 10);
        let mut set: RankedSet<u16, 8> = (0..80).rev().collect();
        assert!(set.chunks.len() <= 20);
        (0..80).for_each(|key| assert!(set.remove(&key)));
        assert!(set.chunks.is_empty());
    }
}
