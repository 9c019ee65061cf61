//! The rows of a page: one after the other in a list, and a table of their places by hash. A table of the rows themselves would
//! have room for up to twice as many as there are, and most of the state are rows.

use super::pages::PageKey;
use hashbrown::HashTable;
use hashbrown::hash_table::{self, OccupiedEntry, VacantEntry};

/// Rows with different keys. Whoever asks for one has the key's hash.
///
/// # Invariants
/// `places` holds every index into `list` once, by the hash of the key there.
#[derive(Debug, Clone)]
pub struct Rows<K, V> {
    list: Vec<(K, V)>,
    places: HashTable<u32>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { list: Vec::new(), places: HashTable::new() }
    }
}

/// Where a key is, or belongs.
pub enum Entry<'r, K, V> {
    Occupied(&'r mut (K, V)),
    Vacant(Vacant<'r, K, V>),
}

/// Where a key belongs.
pub struct Vacant<'r, K, V> {
    list: &'r mut Vec<(K, V)>,
    place: VacantEntry<'r, u32>,
}

impl<'r, K, V> Vacant<'r, K, V> {
    /// Puts the row there, whose key must be the one that was asked for.
    pub fn insert(self, row: (K, V)) -> &'r mut (K, V) {
        let Self { list, place } = self;
        let at = list.len();
        place.insert(u32::try_from(at).expect("a page of fewer rows than there is memory for"));
        if at == list.capacity() {
            // By a quarter: doubled, a third of it would be empty on average.
            list.reserve_exact((at / 4).max(1));
        }
        list.push(row);
        &mut list[at]
    }
}

impl<K: PageKey, V> Rows<K, V> {
    /// The row of the key that `is` tells, whose hash is `hash`.
    pub fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&(K, V)> {
        let at = self.places.find(hash, |at| is(&self.list[*at as usize].0))?;
        Some(&self.list[*at as usize])
    }

    /// Likewise, to be changed or made.
    pub fn entry(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Entry<'_, K, V> {
        let list = &self.list;
        let is = |at: &u32| is(&list[*at as usize].0);
        match self.places.entry(hash, is, |at| list[*at as usize].0.page_hash()) {
            hash_table::Entry::Occupied(place) => Entry::Occupied(&mut self.list[*place.get() as usize]),
            hash_table::Entry::Vacant(place) => Entry::Vacant(Vacant { list: &mut self.list, place }),
        }
    }

    /// Takes it out.
    pub fn take(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let list = &self.list;
        let place = self.places.find_entry(hash, |at| is(&list[*at as usize].0)).ok()?;
        let (at, _) = OccupiedEntry::remove(place);
        let row = self.list.swap_remove(at as usize);
        // The last row is in its place now.
        if let Some((moved, _)) = self.list.get(at as usize) {
            let last = self.list.len() as u32;
            *self.places.find_mut(moved.page_hash(), |at| *at == last).expect("a place for every row") = at;
        }
        Some(row)
    }

    /// Of rows in any order; `None` when a key is there twice.
    pub fn of(list: Vec<(K, V)>) -> Option<Self> {
        let mut rows = Self { list, places: HashTable::new() };
        let list = &rows.list;
        let hash = |at: &u32| list[*at as usize].0.page_hash();
        rows.places.reserve(list.len(), hash);
        for (at, (key, _)) in list.iter().enumerate() {
            match rows.places.entry(key.page_hash(), |at| list[*at as usize].0 == *key, hash) {
                hash_table::Entry::Occupied(_) => return None,
                hash_table::Entry::Vacant(place) => place.insert(u32::try_from(at).ok()?),
            };
        }
        Some(rows)
    }
}

impl<K, V> Rows<K, V> {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// In no particular order.
    pub fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.list.iter()
    }

    /// In no particular order. Keys stay as they are.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.list.iter_mut().map(|(_, value)| value)
    }

    /// In no particular order.
    pub fn into_list(self) -> Vec<(K, V)> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Canonical;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Ten keys have a hash in common.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Key(u64);

    impl PageKey for Key {
        fn page_hash(&self) -> u64 {
            self.0 % 4
        }
    }

    impl Canonical for Key {
        fn write(&self, bytes: &mut Vec<u8>) {
            bytes.extend(self.0.to_be_bytes());
        }
    }

    proptest! {
        /// Whatever is put in and taken out, also of keys with the same hash.
        #[test]
        fn they_are_what_a_map_is(steps in prop::collection::vec((0_u64..40, 0_u8..3), 0..300)) {
            let (mut rows, mut map) = (Rows::<Key, usize>::default(), BTreeMap::new());
            for (step, (number, what)) in steps.into_iter().enumerate() {
                let key = Key(number);
                match what {
                    0 => prop_assert_eq!(rows.take(key.page_hash(), |known| *known == key).map(|(_, v)| v), map.remove(&number)),
                    _ => {
                        let before = map.insert(number, step);
                        match rows.entry(key.page_hash(), |known| *known == key) {
                            Entry::Occupied((_, value)) => prop_assert_eq!(Some(std::mem::replace(value, step)), before),
                            Entry::Vacant(place) => {
                                prop_assert_eq!(*place.insert((key, step)), (key, step));
                                prop_assert_eq!(before, None);
                            }
                        }
                    }
                }
                for number in 0..40 {
                    let key = Key(number);
                    prop_assert_eq!(rows.find(key.page_hash(), |known| *known == key).map(|(_, v)| v), map.get(&number));
                }
                prop_assert_eq!((rows.len(), rows.places.len()), (map.len(), map.len()));
            }
            let again = Rows::of(rows.clone().into_list()).unwrap();
            prop_assert!(rows.iter().all(|(key, _)| again.find(key.page_hash(), |known| known == key).is_some()));
        }
    }
}
