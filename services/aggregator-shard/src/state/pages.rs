//! A map whose rows are kept in pages, so that a checkpoint writes only the pages that changed, many rows in one value.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::hash::Hash;

/// Rows per page on average, at which the number of pages doubles.
const ROWS_PER_PAGE: usize = 256;

type Rows<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A key that knows which page it belongs to, the same in every version of this program.
pub trait PageKey: Eq + Hash {
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
    dirty: bool,
}

impl<K, V> Default for Page<K, V> {
    fn default() -> Self {
        Self { rows: Rows::default(), dirty: false }
    }
}

impl<K, V> Default for Pages<K, V> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<K: PageKey, V> Pages<K, V> {
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
    pub fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Clone,
    {
        self.grow();
        let index = self.page(key);
        let page = &mut self.pages[index];
        page.dirty = true;
        let len = &mut self.len;
        // The key is copied only for a new row.
        page.rows.entry_ref(key).or_insert_with(|| {
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
        let page = &mut self.pages[index];
        let value = page.rows.get_mut(key)?;
        page.dirty = true;
        Some(value)
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.grow();
        let index = self.page(&key);
        let page = &mut self.pages[index];
        page.dirty = true;
        let old = page.rows.insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        if self.pages.is_empty() {
            return None;
        }
        let index = self.page(key);
        let page = &mut self.pages[index];
        let old = page.rows.remove(key)?;
        page.dirty = true;
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
        let old = std::mem::replace(
            &mut self.pages,
            (0..count).map(|_| Page { rows: Rows::default(), dirty: true }).collect(),
        );
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

    /// Puts a stored page back. Pages may come in any order, but all of them must come.
    pub fn restore(&mut self, index: u32, rows: HashMap<K, V, foldhash::fast::FixedState>) {
        let index = index as usize;
        if self.pages.len() <= index {
            self.pages.resize_with(index + 1, Page::default);
        }
        self.len += rows.len();
        self.pages[index].rows = rows;
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

impl<K: PageKey, V> FromIterator<(K, V)> for Pages<K, V> {
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
    use std::collections::{BTreeMap, HashMap as StdMap};

    impl PageKey for u64 {
        fn page_hash(&self) -> u64 {
            fnv1a64(FNV_BASIS, &self.to_be_bytes())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_written_is_what_is_there(
            steps in prop::collection::vec((0_u64..2_000, any::<bool>(), 0_u8..50), 0..4_000),
        ) {
            let mut pages = Pages::<u64, u64>::default();
            let mut model = BTreeMap::new();
            let mut stored: StdMap<u32, BTreeMap<u64, u64>> = StdMap::new();
            for (at, (key, keep, checkpoint)) in steps.into_iter().enumerate() {
                if keep {
                    pages.insert(key, at as u64);
                    model.insert(key, at as u64);
                } else {
                    prop_assert_eq!(pages.remove(&key), model.remove(&key));
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
            for (index, rows) in stored {
                restored.restore(index, rows.into_iter().collect());
            }
            prop_assert!(restored.is_sound());
            prop_assert_eq!(restored.len(), model.len());
            let rows: BTreeMap<u64, u64> = restored.iter().map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(rows, model);
        }
    }
}
