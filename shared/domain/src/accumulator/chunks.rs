//! Many keys with a number each, in order: a list in chunks. To add to one takes a search through the chunks' first keys,
//! which stand together, and one within a chunk, which moves half of it on average: less than the way down a tree, whose
//! nodes are all over memory. A chunk that is split moves those behind it: for a million keys in no order a few microseconds, one
//! time in sixty-four.

/// Most keys of a chunk.
pub(super) const CHUNK: usize = 128;

/// Adds `n` to what `key` has in a list in order, in which no number is zero. Tells how many keys there are more, or
/// that `most` are there already.
pub(super) fn add<K: Ord + Copy>(list: &mut Vec<(K, i64)>, most: usize, key: K, n: i64) -> Result<isize, Full> {
    match list.binary_search_by(|(known, _)| known.cmp(&key)) {
        Ok(at) if list[at].1 + n == 0 => {
            list.remove(at);
            Ok(-1)
        }
        Ok(at) => {
            list[at].1 += n;
            Ok(0)
        }
        Err(_) if n == 0 => Ok(0),
        Err(at) if list.len() < most => {
            insert(list, at, (key, n));
            Ok(1)
        }
        Err(_) => Err(Full),
    }
}

/// The list has no room for another key.
#[derive(Debug)]
pub(super) struct Full;

/// Inserts into a list that grows from one to two to four: there are millions of them.
pub(super) fn insert<T>(list: &mut Vec<T>, at: usize, entry: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(1));
    }
    list.insert(at, entry);
}

/// The list, in chunks of at most `MOST` keys.
///
/// # Invariants
/// Keys are in order, and no number is zero. No chunk is empty, and `firsts` has the first key of each.
#[derive(Clone, Debug)]
pub(super) struct Chunks<K, const MOST: usize = CHUNK> {
    firsts: Vec<K>,
    chunks: Vec<Vec<(K, i64)>>,
    len: usize,
}

impl<K: Ord + Copy, const MOST: usize> Chunks<K, MOST> {
    /// Of entries in order, none of which has zero.
    pub(super) fn of(entries: impl Iterator<Item = (K, i64)>) -> Self {
        let mut made = Self { firsts: Vec::new(), chunks: Vec::new(), len: 0 };
        let mut entries = entries.peekable();
        while let Some((first, _)) = entries.peek() {
            made.firsts.push(*first);
            // With room for what is yet to come.
            let mut chunk = Vec::with_capacity(MOST);
            chunk.extend(entries.by_ref().take(MOST / 4 * 3));
            made.len += chunk.len();
            made.chunks.push(chunk);
        }
        made
    }

    pub(super) fn add(&mut self, key: K, n: i64) {
        let mut index = self.firsts.partition_point(|first| *first <= key).saturating_sub(1);
        if self.chunks.is_empty() {
            self.firsts.push(key);
            self.chunks.push(Vec::new());
        }
        let more = add(&mut self.chunks[index], MOST, key, n).unwrap_or_else(|Full| {
            self.split(index);
            index += usize::from(self.firsts[index + 1] <= key);
            add(&mut self.chunks[index], MOST, key, n).expect("half of it has room")
        });
        self.len = self.len.saturating_add_signed(more);
        match self.chunks[index].first() {
            Some((first, _)) => self.firsts[index] = *first,
            None => drop(self.remove(index)),
        }
        if more < 0 {
            self.join(index);
        }
    }

    fn split(&mut self, index: usize) {
        let half = self.chunks[index].split_off(MOST / 2);
        self.firsts.insert(index + 1, half[0].0);
        self.chunks.insert(index + 1, half);
    }

    fn remove(&mut self, index: usize) -> Vec<(K, i64)> {
        self.firsts.remove(index);
        self.chunks.remove(index)
    }

    /// Joins a chunk that has become short with a neighbour, where both together leave room for more.
    fn join(&mut self, index: usize) {
        let length = |index: usize| self.chunks.get(index).map_or(MOST, Vec::len);
        let fits = |left: usize| length(left) + length(left + 1) <= MOST / 4 * 3;
        let left = [Some(index), index.checked_sub(1)].into_iter().flatten().find(|left| fits(*left));
        if let Some(left) = left.filter(|_| length(index) < MOST / 4) {
            let right = self.remove(left + 1);
            self.chunks[left].extend(right);
        }
    }
}

impl<K, const MOST: usize> Chunks<K, MOST> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Piece by piece, in the order of keys.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[(K, i64)]> {
        self.chunks.iter().map(Vec::as_slice)
    }

    /// In the order of keys.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &(K, i64)> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn they_are_what_a_tree_is(
            start in prop::collection::btree_map(0_i64..60, 1_i64..3, 0..40),
            changes in prop::collection::vec((0_i64..60, -2_i64..3), 0..400),
        ) {
            let mut chunks = Chunks::<i64, 8>::of(start.iter().map(|(key, n)| (*key, *n)));
            let mut tree: BTreeMap<i64, i64> = start;
            for (key, n) in changes {
                chunks.add(key, n);
                *tree.entry(key).or_insert(0) += n;
                tree.retain(|_, n| *n != 0);
                prop_assert!(chunks.iter().map(|(key, n)| (key, n)).eq(tree.iter()));
                prop_assert!(chunks.iter().rev().map(|(key, n)| (key, n)).eq(tree.iter().rev()));
                prop_assert_eq!(chunks.len(), tree.len());
                prop_assert!(chunks.chunks.iter().all(|chunk| (1..=8).contains(&chunk.len())));
                prop_assert!(chunks.firsts.iter().eq(chunks.chunks.iter().map(|chunk| &chunk[0].0)));
            }
        }
    }

    #[test]
    fn what_has_shrunk_takes_little_room() {
        let mut chunks = Chunks::<i64, 8>::of((0..8_000).map(|key| (key, 1)));
        (0..8_000).filter(|key| key % 100 != 0).for_each(|key| chunks.add(key, -1));
        assert_eq!(chunks.len(), 80);
        assert!(chunks.chunks.len() <= 80 / 3, "{} chunks", chunks.chunks.len());
    }
}
