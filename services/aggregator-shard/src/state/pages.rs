//! A map whose rows are kept in pages, so that a checkpoint writes only the pages that changed, many rows in one value.

use super::digest::{self, Canonical};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::hash::Hash;

/// Rows per page on average, at which the number of pages doubles.
const ROWS_PER_PAGE: usize = 256;

type Rows<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A key that knows which page it belongs to, the same in every version of this program.
pub trait PageKey: Eq + Hash + Clone + Canonical {
    fn page_hash(&self) -> u64;
}

/// FNV-1a, 64 bits: fixed for ever, since stored pages are laid out by it.
pub fn fnv1a64(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The seed of [`fnv1a64`].
pub const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// The map.
///
/// # Invariants
/// The number of pages is a power of two and never shrinks; a row is in page `page_hash % pages`.
#[derive(Debug, Clone)]
pub struct Pages<K, V> {
    pages: Vec<Page<K, V>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Page<K, V> {
    rows: Rows<K, V>,
    /// Changed since it was written.
    dirty: bool,
    /// The sum of its rows' hashes, unless it changed since that was asked for.
    sum: Option<u128>,
}

impl<K, V> Page<K, V> {
    /// The rows, to be changed.
    fn change(&mut self) -> &mut Rows<K, V> {
        (self.dirty, self.sum) = (true, None);
        &mut self.rows
    }
}

impl<K, V> Default for Page<K, V> {
    fn default() -> Self {
        Self { rows: Rows::default(), dirty: false, sum: None }
    }
}

impl<K, V> Default for Pages<K, V> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<K: PageKey, V: Canonical> Pages<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pages there are, dirty or not.
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    fn page(&self, key: &K) -> usize {
        (key.page_hash() & (self.pages.len() as u64 - 1)) as usize
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        if self.pages.is_empty() {
            return None;
        }
        self.pages[self.page(key)].rows.get(key)
    }

    /// The value of `key`, made by `make` if it is not there. Its page counts as changed.
    pub fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        self.grow();
        let index = self.page(key);
        let len = &mut self.len;
        // The key is copied only for a new row.
        self.pages[index].change().entry_ref(key).or_insert_with(|| {
            *len += 1;
            make()
        })
    }

    /// The value of `key`, to be changed: its page counts as changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if self.pages.is_empty() {
            return None;
        }
        let index = self.page(key);
        self.pages[index].change().get_mut(key)
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.grow();
        let index = self.page(&key);
        let old = self.pages[index].change().insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        if self.pages.is_empty() {
            return None;
        }
        let index = self.page(key);
        let old = self.pages[index].change().remove(key)?;
        self.len -= 1;
        Some(old)
    }

    /// All rows, in no particular order: sort before anything is made of them that others see.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.rows.iter())
    }

    /// All rows, taken out, in no particular order.
    pub fn into_rows(self) -> impl Iterator<Item = (K, V)> {
        self.pages.into_iter().flat_map(|page| page.rows)
    }

    /// The sum of the hashes of all rows, modulo 2^128: it depends on the rows alone. Looks at the pages that changed since
    /// it was asked for last.
    pub fn sum(&mut self) -> u128 {
        let sum = |page: &mut Page<K, V>| match page.sum {
            Some(sum) => sum,
            None => {
                let add = |sum: u128, (key, value): (&K, &V)| sum.wrapping_add(row_hash(key, value));
                let sum = page.rows.iter().fold(0, add);
                page.sum = Some(sum);
                sum
            }
        };
        self.pages.iter_mut().map(sum).fold(0, u128::wrapping_add)
    }

    /// Exchanges all rows with those of `other`, unless that has fewer pages: a checkpoint could not tell that some of
    /// what it wrote is no longer there.
    pub fn swap_with_larger(&mut self, other: &mut Self) {
        if self.pages.len() <= other.pages.len() {
            std::mem::swap(self, other);
            self.pages.iter_mut().for_each(|page| page.dirty = true);
        }
    }

    /// Makes room for one more row.
    fn grow(&mut self) {
        if self.pages.is_empty() {
            self.pages.push(Page::default());
        }
        if self.len < self.pages.len() * ROWS_PER_PAGE {
            return;
        }
        let count = self.pages.len() * 2;
        let old =
            std::mem::replace(&mut self.pages, (0..count).map(|_| Page { dirty: true, ..Page::default() }).collect());
        for page in old {
            for (key, value) in page.rows {
                let index = self.page(&key);
                self.pages[index].rows.insert(key, value);
            }
        }
    }

    /// Hands every changed page to `write` as its number and rows, and takes them for written.
    pub fn take_dirty(&mut self, mut write: impl FnMut(u32, &HashMap<K, V, foldhash::fast::FixedState>)) {
        for (index, page) in self.pages.iter_mut().enumerate() {
            if std::mem::take(&mut page.dirty) {
                write(index as u32, &page.rows);
            }
        }
    }

    /// Puts the next stored page back. All of them must come, in their order; false, and nothing done, for any other: so a
    /// number that was damaged costs no memory.
    pub fn restore(&mut self, index: u32, rows: HashMap<K, V, foldhash::fast::FixedState>) -> bool {
        if index as usize != self.pages.len() {
            return false;
        }
        self.len += rows.len();
        self.pages.push(Page { rows, ..Page::default() });
        true
    }

    /// Whether what was restored is whole: a power of two of pages, each row in its place.
    pub fn is_sound(&self) -> bool {
        self.pages.is_empty()
            || (self.pages.len().is_power_of_two()
                && self
                    .pages
                    .iter()
                    .enumerate()
                    .all(|(index, page)| page.rows.keys().all(|key| self.page(key) == index)))
    }
}

fn row_hash(key: &impl Canonical, value: &impl Canonical) -> u128 {
    let mut bytes = Vec::with_capacity(128);
    key.write(&mut bytes);
    value.write(&mut bytes);
    digest::hash(&bytes)
}

impl<K: PageKey, V: Canonical> FromIterator<(K, V)> for Pages<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let mut pages = Self::default();
        for (key, value) in rows {
            pages.insert(key, value);
        }
        pages
    }
}

/// The stored form of a page.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Eq + Hash, V: Serialize",
    deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"
))]
pub struct StoredPage<K, V>(pub HashMap<K, V, foldhash::fast::FixedState>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl PageKey for u64 {
        fn page_hash(&self) -> u64 {
            fnv1a64(FNV_BASIS, &self.to_be_bytes())
        }
    }

    impl Canonical for u64 {
        fn write(&self, bytes: &mut Vec<u8>) {
            bytes.extend(self.to_be_bytes());
        }
    }

    #[test]
    fn the_sum_is_that_of_the_rows_and_of_nothing_else() {
        let mut sorted = Pages::<u64, u64>::default();
        for key in 0..1_000 {
            sorted.insert(key, key * 7);
        }
        let mut other = Pages::<u64, u64>::default();
        assert_eq!(other.sum(), 0);
        // More rows than are left, so more pages; asked for in between.
        for key in (0..3_000_u64).rev() {
            other.insert(key, key);
            if key.is_multiple_of(500) {
                other.sum();
            }
        }
        for key in 1_000..3_000 {
            other.remove(&key);
        }
        assert_ne!(other.sum(), sorted.sum());
        for key in 0..1_000 {
            *other.get_mut(&key).unwrap() = 0;
            *other.entry(&key, || unreachable!("it is there")) = key * 7;
        }
        assert!(other.page_count() > sorted.page_count());
        assert_eq!(other.sum(), sorted.sum());
        *other.get_mut(&999).unwrap() += 1;
        assert_ne!(other.sum(), sorted.sum());
        *other.get_mut(&999).unwrap() -= 1;
        assert_eq!(other.sum(), sorted.sum());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_written_is_what_is_there(
            steps in prop::collection::vec((0_u64..2_000, any::<bool>(), 0_u8..50), 0..4_000),
        ) {
            let mut pages = Pages::<u64, u64>::default();
            let mut model = BTreeMap::new();
            let mut stored: BTreeMap<u32, BTreeMap<u64, u64>> = BTreeMap::new();
            for (at, (key, keep, checkpoint)) in steps.into_iter().enumerate() {
                if keep {
                    pages.insert(key, at as u64);
                    model.insert(key, at as u64);
                } else {
                    prop_assert_eq!(pages.remove(&key), model.remove(&key));
                }
                if checkpoint == 1 {
                    pages.sum();
                }
                if checkpoint == 0 {
                    pages.take_dirty(|index, rows| {
                        stored.insert(index, rows.iter().map(|(k, v)| (*k, *v)).collect());
                    });
                }
            }
            pages.take_dirty(|index, rows| {
                stored.insert(index, rows.iter().map(|(k, v)| (*k, *v)).collect());
            });
            let mut restored = Pages::<u64, u64>::default();
            prop_assert!(!restored.restore(1, Rows::default()), "the first comes first");
            for (index, rows) in stored {
                prop_assert!(restored.restore(index, rows.into_iter().collect()));
            }
            prop_assert!(restored.is_sound());
            prop_assert_eq!(restored.len(), model.len());
            prop_assert_eq!(restored.sum(), pages.sum());
            let rows: BTreeMap<u64, u64> = restored.iter().map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(rows, model);
        }
    }
}
