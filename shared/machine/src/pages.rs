//! A map whose rows are kept in pages, many rows in one stored value, so that a checkpoint of a large map writes only those that
//! changed. A small one is stored with what it is a part of.

use super::digest::{self, Canonical};
use super::rows::{Entry, Rows};
use daybook_contracts::rows::{HASH_BYTES, RowSum};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::marker::PhantomData;

/// Rows per page on average, at which the number of pages doubles.
const ROWS_PER_PAGE: usize = 256;

/// A key with a hash that is the same in every version of this program: stored pages are laid out by it.
pub trait PageKey: Eq + Clone + Canonical {
    fn page_hash(&self) -> u64;
}

/// The hash of `bytes` on top of `seed`, fixed for ever: eight bytes at a time, each time the two halves of a product.
pub fn stable_hash(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    let ends = |bytes: &[u8]| Some((half(bytes.first_chunk()?), half(bytes.last_chunk()?)));
    // With the length, so that the short forms below cannot be mistaken for each other; apart from the seed, or the two could
    // make up for one another.
    let mut hash = fold(seed, 0x2d35_8dcc_aa6c_78a5) ^ bytes.len() as u64;
    if let Some(last) = bytes.last_chunk() {
        for chunk in bytes[..bytes.len() - 1].as_chunks().0 {
            hash = fold(hash, word(chunk));
        }
        // It may overlap the one before.
        return fold(hash, word(last));
    }
    match (ends(bytes), bytes) {
        (Some((first, last)), _) => fold(hash, first | last << 32),
        (None, [first, .., last]) => {
            fold(hash, u64::from(*first) | u64::from(bytes[bytes.len() / 2]) << 8 | u64::from(*last) << 16)
        }
        (None, [only]) => fold(hash, u64::from(*only)),
        (None, []) => hash,
    }
}

/// The map.
///
/// Pages that are stored by themselves and have not changed since may be *out*: not in memory. Of such a page it is known how many rows
/// it has and what they sum up to; it [comes back](Pages::supply) before any of them is looked at or anything is put there.
///
/// # Invariants
/// The number of pages is a power of two and never shrinks; a row is in the page that [`page_of`] its hash says. A page that is out
/// is not dirty, has rows, and its sum is known.
#[derive(Debug, Clone)]
pub struct Pages<K, V> {
    pages: Vec<Page<K, V>>,
    /// With the rows of pages that are out.
    len: usize,
    /// How many pages are out.
    out: u32,
    /// They are stored each by itself, for good. One that is small is stored [with other things](Pages::together) until then.
    is_apart: bool,
}

/// What is known of the row in which a page was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Of key and value.
    bytes: u32,
    /// `None` where nobody asked for it.
    hash: Option<[u8; HASH_BYTES]>,
}

impl Stored {
    /// A row of which nobody will ask for the hash.
    pub fn sized(key: &[u8], value: &[u8]) -> Self {
        Self { bytes: u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX), hash: None }
    }

    /// A row that a summary may have to name.
    pub fn hashed(key: &[u8], value: &[u8]) -> Self {
        RowSum::of(key, value).into()
    }
}

impl From<RowSum> for Stored {
    fn from(RowSum { bytes, hash }: RowSum) -> Self {
        Self { bytes, hash: Some(hash) }
    }
}

/// What is known of a page that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSum {
    pub rows: u32,
    pub stored: RowSum,
    /// The sum of its rows' hashes.
    pub sum: u128,
}

#[derive(Debug, Clone)]
struct Page<K, V> {
    rows: Rows<K, V>,
    /// How many rows it has that are out; 0 when it is in memory.
    out: u32,
    /// As it was stored last.
    stored: Stored,
    /// Changed since it was written.
    dirty: bool,
    /// The sum of its rows' hashes, unless it changed since that was asked for.
    sum: Option<u128>,
}

impl<K, V> Page<K, V> {
    /// The rows, to be looked at.
    fn rows(&self) -> &Rows<K, V> {
        assert!(self.out == 0, "a page comes back before anyone looks at its rows");
        &self.rows
    }

    /// The rows, to be changed.
    fn change(&mut self) -> &mut Rows<K, V> {
        assert!(self.out == 0, "a page comes back before anyone changes its rows");
        (self.dirty, self.sum) = (true, None);
        &mut self.rows
    }

    /// About how many bytes of memory its rows take.
    fn bytes(&self) -> u64 {
        const BESIDE_A_ROW: usize = size_of::<u32>() + 2;
        let rows = self.rows.len() * (size_of::<(K, V)>() + BESIDE_A_ROW);
        // Texts that are too long for their row take about as much as they do on disk.
        if self.out == 0 { rows as u64 + u64::from(self.stored.bytes) } else { 0 }
    }
}

impl<K: PageKey + Canonical, V: Canonical> Page<K, V> {
    /// The sum of the hashes of its rows.
    fn sum(&mut self) -> u128 {
        let add = |sum: u128, (key, value): &(K, V)| sum.wrapping_add(row_hash(key, value));
        *self.sum.get_or_insert_with(|| self.rows.iter().fold(0, add))
    }
}

impl<K, V> Default for Page<K, V> {
    fn default() -> Self {
        Self { rows: Rows::default(), out: 0, stored: Stored::default(), dirty: false, sum: None }
    }
}

impl<K, V> Default for Pages<K, V> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0, out: 0, is_apart: false }
    }
}

/// The page of a hash: by its upper half, for the tables within go by the lower one.
pub(crate) fn page_of(hash: u64, pages: usize) -> usize {
    (hash >> 32) as usize & (pages - 1)
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

    /// The value of the key that `is` tells, whose hash is `hash`: for those who have the hash, or no such key.
    pub fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&V> {
        if self.pages.is_empty() {
            return None;
        }
        let (_, value) = self.pages[page_of(hash, self.pages.len())].rows().find(hash, is)?;
        Some(value)
    }

    /// The row of the key that `is` tells, whose hash is `hash`; made by `make` if it is not there. Its page counts as
    /// changed.
    pub fn find_or_make(&mut self, hash: u64, is: impl Fn(&K) -> bool, make: impl FnOnce() -> (K, V)) -> (&K, &mut V) {
        self.grow();
        let index = page_of(hash, self.pages.len());
        let (key, value) = match self.pages[index].change().entry(hash, is) {
            Entry::Occupied(row) => row,
            Entry::Vacant(place) => {
                self.len += 1;
                place.insert(make())
            }
        };
        (key, value)
    }

    /// Takes the key that `is` tells out, whose hash is `hash`.
    pub fn take(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<(K, V)> {
        if self.pages.is_empty() {
            return None;
        }
        let index = page_of(hash, self.pages.len());
        let page = &mut self.pages[index];
        assert!(page.out == 0, "a page comes back before anyone takes a row out");
        let row = page.rows.take(hash, is)?;
        (page.dirty, page.sum) = (true, None);
        self.len -= 1;
        Some(row)
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key.page_hash(), |known| known == key)
    }

    /// The value of `key`, to be changed: its page counts as changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if self.pages.is_empty() {
            return None;
        }
        let hash = key.page_hash();
        let index = page_of(hash, self.pages.len());
        match self.pages[index].change().entry(hash, |known| known == key) {
            Entry::Occupied((_, value)) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.put(key.page_hash(), key, value)
    }

    /// As [`Pages::insert`], for those who have the hash.
    pub fn put(&mut self, hash: u64, key: K, value: V) -> Option<V> {
        self.grow();
        let index = page_of(hash, self.pages.len());
        match self.pages[index].change().entry(hash, |known| *known == key) {
            Entry::Occupied((_, known)) => Some(std::mem::replace(known, value)),
            Entry::Vacant(place) => {
                self.len += 1;
                place.insert((key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.take(key.page_hash(), |known| known == key).map(|(_, value)| value)
    }

    /// All rows, in no particular order: sort before anything is made of them that others see. None of them may be out.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        assert!(self.out == 0, "pages come back before anyone looks at all rows");
        self.iter_here()
    }

    /// The rows that are in memory, in no particular order.
    pub fn iter_here(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.rows.iter()).map(|(key, value)| (key, value))
    }

    /// All rows, taken out, in no particular order.
    pub fn into_rows(self) -> impl Iterator<Item = (K, V)> {
        assert!(self.out == 0, "pages come back before anyone takes all rows out");
        self.pages.into_iter().flat_map(|page| page.rows.into_list())
    }

    /// The sum of the hashes of all rows, modulo 2^128: it depends on the rows alone. Looks at the pages that changed since
    /// it was asked for last.
    pub fn sum(&mut self) -> u128 {
        self.pages.iter_mut().map(Page::sum).fold(0, u128::wrapping_add)
    }

    /// Exchanges all rows with those of `other`, unless that has fewer pages: a checkpoint could not tell that some of
    /// what it wrote is no longer there.
    pub fn swap_with_larger(&mut self, other: &mut Self) {
        if self.pages.len() <= other.pages.len() {
            std::mem::swap(self, other);
            self.is_apart |= other.is_apart;
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
        assert!(self.out == 0, "all pages come back before there are more");
        let count = self.pages.len() * 2;
        let old =
            std::mem::replace(&mut self.pages, (0..count).map(|_| Page { dirty: true, ..Page::default() }).collect());
        for row in old.into_iter().flat_map(|page| page.rows.into_list()) {
            let hash = row.0.page_hash();
            match self.pages[page_of(hash, count)].rows.entry(hash, |_| false) {
                Entry::Vacant(place) => place.insert(row),
                Entry::Occupied(_) => unreachable!("no key is any other"),
            };
        }
    }

    /// All rows, to be stored with other things, whenever any of those has changed: if they make a page at most that has not
    /// been stored by itself.
    pub fn together(&self) -> Option<PageRows<'_, K, V>> {
        match &self.pages[..] {
            [page] if !self.is_apart => Some(PageRows(&page.rows)),
            _ => None,
        }
    }

    /// Hands every changed page to `write` as its number and rows, which returns what the row is known by that it makes of them, and takes
    /// them for written: from now on each is stored by itself.
    pub fn take_dirty(&mut self, mut write: impl FnMut(u32, PageRows<'_, K, V>) -> Stored) {
        let are_new = !self.is_apart && !self.pages.is_empty();
        self.is_apart |= are_new;
        for (index, page) in self.pages.iter_mut().enumerate() {
            if std::mem::take(&mut page.dirty) || are_new {
                page.stored = write(index as u32, PageRows(&page.rows));
            }
        }
    }

    /// How many rows the next checkpoint writes, if it writes anything of what this map is a part of.
    pub fn unsaved(&self) -> usize {
        let is_written = |page: &&Page<K, V>| page.dirty || !self.is_apart;
        self.pages.iter().filter(is_written).map(|page| page.rows.len()).sum()
    }

    /// Puts the next stored page back. All of them must come, in their order; false, and nothing done, for any other: so a
    /// number that was damaged costs no memory.
    pub fn restore(&mut self, index: u32, page: StoredPage<K, V>, stored: Stored) -> bool {
        if index as usize != self.pages.len() {
            return false;
        }
        self.len += page.0.len();
        self.pages.push(Page { rows: page.0, stored, ..Page::default() });
        self.is_apart = true;
        true
    }

    /// Likewise the only page, which was stored [with other things](Pages::together).
    pub fn restore_together(&mut self, page: StoredPage<K, V>) -> bool {
        let is_first = self.restore(0, page, Stored::default());
        self.is_apart &= !is_first;
        is_first
    }

    /// Puts pages back that are out; false, and nothing done, unless they can be all pages of a map that nothing was put in.
    pub fn restore_out(&mut self, pages: &[PageSum]) -> bool {
        let is_sound = pages.iter().all(|page| page.rows > 0 || page.sum == 0);
        if !self.pages.is_empty() || !pages.len().is_power_of_two() || !is_sound {
            return false;
        }
        let page = |page: &PageSum| Page {
            out: page.rows,
            stored: page.stored.into(),
            sum: Some(page.sum),
            ..Page::default()
        };
        self.pages = pages.iter().map(page).collect();
        self.len = pages.iter().map(|page| page.rows as usize).sum();
        self.out = pages.iter().filter(|page| page.rows > 0).count() as u32;
        self.is_apart = true;
        true
    }

    /// What is known of each page, if all of them are stored by themselves, as they are, in rows that are known.
    pub fn sums(&mut self) -> Option<Vec<PageSum>> {
        let sum = |page: &mut Page<K, V>| {
            let stored = RowSum { bytes: page.stored.bytes, hash: page.stored.hash.filter(|_| !page.dirty)? };
            let rows = if page.out == 0 { page.rows.len() as u32 } else { page.out };
            Some(PageSum { rows, stored, sum: page.sum() })
        };
        self.pages.iter_mut().map(sum).collect::<Option<_>>().filter(|_| self.is_apart)
    }

    /// Whether no page is out.
    pub fn is_here(&self) -> bool {
        self.out == 0
    }

    /// How many pages are out, and about how many bytes of memory the others take, if they could leave.
    pub fn residence(&self) -> Residence {
        let bytes = if self.is_apart { self.pages.iter().map(Page::bytes).sum() } else { 0 };
        Residence { out: self.out, bytes }
    }

    /// About how many bytes of memory a page takes.
    pub fn bytes_of(&self, page: u32) -> u64 {
        self.pages.get(page as usize).map_or(0, Page::bytes)
    }

    /// Whether the page is out.
    pub fn is_out(&self, page: u32) -> bool {
        self.pages.get(page as usize).is_some_and(|page| page.out > 0)
    }

    /// The number of the page that a hash belongs to, if that is out.
    pub fn out_page(&self, hash: u64) -> Option<u32> {
        let index = (self.out > 0).then(|| page_of(hash, self.pages.len()))?;
        (self.pages[index].out > 0).then_some(index as u32)
    }

    /// The numbers of all pages that are out.
    pub fn out_pages(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.pages).filter(|(_, page)| page.out > 0).map(|(index, _)| index)
    }

    /// Whether all pages must be here before so many rows are put in, some of which may be there already.
    pub fn may_grow(&self, rows: usize) -> bool {
        rows > 0 && self.len + rows > self.pages.len() * ROWS_PER_PAGE
    }

    /// Lets go of pages that are stored by themselves and unchanged since, until so many rows have gone, and returns how many have. The
    /// caller knows that what was handed out to be written is on disk.
    pub fn evict(&mut self, rows: usize) -> usize {
        let mut gone = 0;
        if !self.is_apart {
            return gone;
        }
        for page in self.pages.iter_mut().filter(|page| !page.dirty && page.out == 0 && page.rows.len() > 0) {
            if gone >= rows {
                break;
            }
            page.sum();
            let rows = std::mem::take(&mut page.rows).len();
            page.out = rows as u32;
            self.out += 1;
            gone += rows;
        }
        gone
    }

    /// Brings a page back that is out, from a row that is known by `row`; false for any other than the one that went.
    pub fn supply(&mut self, index: u32, stored: StoredPage<K, V>, row: RowSum) -> bool {
        let count = self.pages.len();
        let Some(page) = self.pages.get_mut(index as usize) else { return false };
        let is_in_place = |(key, _): &(K, V)| page_of(key.page_hash(), count) == index as usize;
        let is_it = page.stored.hash.is_none_or(|hash| hash == row.hash);
        if page.out == 0 || page.out as usize != stored.0.len() || !is_it || !stored.0.iter().all(is_in_place) {
            return false;
        }
        (page.rows, page.out, page.stored) = (stored.0, 0, row.into());
        self.out -= 1;
        true
    }

    /// Brings every value that was restored into another form, which is not worth writing it anew.
    pub fn adopt(&mut self, mut adopt: impl FnMut(&mut V)) {
        self.pages.iter_mut().flat_map(|page| page.rows.values_mut()).for_each(&mut adopt);
    }

    /// The numbers of the pages that are stored by themselves, or would be had that not failed.
    pub fn stored(&self) -> impl Iterator<Item = u32> + use<K, V> {
        0..if self.is_apart { self.pages.len() as u32 } else { 0 }
    }

    /// Whether what was restored is whole: a power of two of pages, each row in its place.
    pub fn is_sound(&self) -> bool {
        let count = self.pages.len();
        let is_in_place = |(index, page): (usize, &Page<K, V>)| {
            page.rows.iter().all(|(key, _)| page_of(key.page_hash(), count) == index)
        };
        self.pages.is_empty() || (count.is_power_of_two() && self.pages.iter().enumerate().all(is_in_place))
    }
}

/// What is in memory of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// Pages that are not.
    pub out: u32,
    /// About how many bytes the others take; 0 for a map that is stored with other things, and stays.
    pub bytes: u64,
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

/// The rows of a page, to be stored: a map.
pub struct PageRows<'p, K, V>(&'p Rows<K, V>);

impl<K: Serialize, V: Serialize> Serialize for PageRows<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// A page that was stored.
pub struct StoredPage<K, V>(Rows<K, V>);

impl<K, V> StoredPage<K, V> {
    /// Its rows, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Its keys, in no particular order.
    pub fn into_keys(self) -> impl Iterator<Item = K> {
        self.0.into_list().into_iter().map(|(key, _)| key)
    }
}

impl<'de, K: PageKey + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for StoredPage<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<K, V>(PhantomData<(K, V)>);
        impl<'de, K: PageKey + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for List<K, V> {
            type Value = Rows<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the rows of a page")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // A number that was damaged costs no more memory than a page has.
                let most = map.size_hint().unwrap_or_default().min(2 * ROWS_PER_PAGE);
                let mut list = Vec::with_capacity(most);
                while let Some(row) = map.next_entry()? {
                    list.push(row);
                }
                Rows::of(list).ok_or_else(|| de::Error::custom("a key that is there twice"))
            }
        }
        deserializer.deserialize_map(List(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl PageKey for u64 {
        fn page_hash(&self) -> u64 {
            stable_hash(0, &self.to_be_bytes())
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
            *other.find_or_make(key.page_hash(), |known| *known == key, || unreachable!("it is there")).1 = key * 7;
        }
        assert!(other.page_count() > sorted.page_count());
        assert_eq!(other.sum(), sorted.sum());
        *other.get_mut(&999).unwrap() += 1;
        assert_ne!(other.sum(), sorted.sum());
        *other.get_mut(&999).unwrap() -= 1;
        assert_eq!(other.sum(), sorted.sum());
    }

    fn row(page: u32, value: &[u8]) -> RowSum {
        RowSum::of(&page.to_be_bytes(), value)
    }

    fn bring(pages: &mut Pages<u64, u64>, stored: &BTreeMap<u32, Vec<u8>>, page: u32) {
        let rows = &stored[&page];
        assert!(pages.supply(page, rmp_serde::from_slice(rows).unwrap(), row(page, rows)), "page {page}");
    }

    /// A few pages that are stored, and what is stored.
    fn stored_pages() -> (Pages<u64, u64>, BTreeMap<u32, Vec<u8>>) {
        let mut pages: Pages<u64, u64> = (0..1_000_u64).map(|key| (key, key)).collect();
        let mut stored = BTreeMap::new();
        pages.take_dirty(|index, rows| {
            stored.insert(index, rmp_serde::to_vec(&rows).unwrap());
            row(index, &stored[&index]).into()
        });
        (pages, stored)
    }

    #[test]
    fn only_pages_that_are_stored_and_unchanged_go_and_only_they_come_back() {
        let (mut pages, stored) = stored_pages();
        let (here, sum, count) = (pages.residence(), pages.sum(), pages.page_count() as u32);
        *pages.get_mut(&7).unwrap() = 8;
        let dirty = page_of(7_u64.page_hash(), pages.page_count()) as u32;
        let first = pages.evict(1);
        assert_eq!((pages.residence().out, pages.iter_here().count()), (1, 1_000 - first));
        let rest = pages.evict(usize::MAX);
        assert_eq!(pages.iter_here().count(), 1_000 - first - rest);
        assert_eq!(pages.out_pages().collect::<Vec<_>>(), (0..count).filter(|page| *page != dirty).collect::<Vec<_>>());
        assert!(pages.residence().bytes < here.bytes / 2 && pages.unsaved() == pages.iter_here().count());
        assert_eq!((pages.len(), pages.get(&7)), (1_000, Some(&8)));
        *pages.get_mut(&7).unwrap() = 7;
        assert_eq!(pages.sum(), sum, "of those that are out too");
        let page = |index: u32| rmp_serde::from_slice::<StoredPage<u64, u64>>(&stored[&index]).unwrap();
        let (one, other) = (u32::from(dirty == 0), u32::from(dirty <= 1) + 1);
        let of = |index: u32| row(index, &stored[&index]);
        assert!(!pages.supply(dirty, page(dirty), of(dirty)), "it is here");
        assert!(!pages.supply(count, page(one), of(one)), "there is none of that number");
        assert!(!pages.supply(one, page(other), of(one)), "another one");
        assert!(!pages.supply(one, page(one), of(other)), "from another row");
        assert!(!pages.supply(one, StoredPage(Rows::default()), of(one)), "one that has lost its rows");
        for index in (0..count).filter(|index| *index != dirty) {
            bring(&mut pages, &stored, index);
        }
        assert!(pages.is_here() && pages.iter().all(|(key, value)| key == value));
        assert_eq!(pages.sum(), sum);
    }

    #[test]
    #[should_panic(expected = "a page comes back before anyone looks at its rows")]
    fn nobody_looks_at_what_is_out() {
        let (mut pages, _) = stored_pages();
        pages.evict(usize::MAX);
        pages.get(&7);
    }

    #[test]
    fn a_page_with_a_key_twice_is_refused() {
        assert!(rmp_serde::from_slice::<StoredPage<u64, u64>>(&[0x82, 1, 7, 2, 8]).is_ok());
        assert!(rmp_serde::from_slice::<StoredPage<u64, u64>>(&[0x82, 1, 7, 1, 8]).is_err());
    }

    /// Stored pages rest on them.
    #[test]
    fn hashes_are_what_they_were() {
        let text = b"a text of many words";
        let hashes: Vec<u64> = [0, 1, 2, 3, 4, 7, 8, 9, 16, 20].map(|len| stable_hash(7, &text[..len])).into();
        let expected = [
            7_209_787_048_439_521_465,
            13_555_987_382_462_228_774,
            14_128_048_435_979_494_359,
            5_276_699_913_369_203_785,
            628_041_655_963_162_617,
            3_739_327_142_310_686_713,
            1_030_047_934_213_121_588,
            5_003_119_137_093_293_077,
            1_459_664_082_534_839_417,
            847_808_089_047_200_442,
        ];
        assert_eq!(hashes, expected);
        // Of texts of one length and other bytes, of other lengths and the same ones, and of another seed.
        let mut others: Vec<u64> = (0..10_000_u32).map(|n| stable_hash(0, format!("o{n}").as_bytes())).collect();
        others.extend((0..64).map(|len| stable_hash(0, &[0; 64][..len])));
        others.extend((1..64).map(|seed| stable_hash(seed, b"o1")));
        let count = others.len();
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), count);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_written_is_what_is_there(
            steps in prop::collection::vec((0_u64..2_000, any::<bool>(), 0_u8..50), 0..4_000),
        ) {
            let mut pages = Pages::<u64, u64>::default();
            let mut model = BTreeMap::new();
            let mut stored: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut small = None;
            let store = |pages: &mut Pages<u64, u64>, stored: &mut BTreeMap<u32, Vec<u8>>, small: &mut Option<Vec<u8>>| {
                *small = pages.together().map(|rows| rmp_serde::to_vec(&rows).unwrap()).filter(|bytes| bytes.len() < 100);
                if small.is_none() {
                    pages.take_dirty(|index, rows| {
                        stored.insert(index, rmp_serde::to_vec(&rows).unwrap());
                        row(index, &stored[&index]).into()
                    });
                }
            };
            for (at, (key, keep, checkpoint)) in steps.into_iter().enumerate() {
                let needed: Vec<u32> = match keep && pages.may_grow(1) {
                    true => pages.out_pages().collect(),
                    false => pages.out_page(key.page_hash()).into_iter().collect(),
                };
                needed.into_iter().for_each(|page| bring(&mut pages, &stored, page));
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
                    store(&mut pages, &mut stored, &mut small);
                    let evicted = pages.evict(if at % 2 == 0 { usize::MAX } else { 1 });
                    prop_assert_eq!(evicted > 0, stored.values().any(|page| page.len() > 1) && small.is_none());
                }
            }
            store(&mut pages, &mut stored, &mut small);
            prop_assert_eq!(pages.residence().out as usize, pages.out_pages().count());
            prop_assert_eq!(pages.len(), model.len());
            prop_assert_eq!(pages.stored().count(), stored.len());
            let mut restored = Pages::<u64, u64>::default();
            prop_assert!(!restored.restore(1, StoredPage(Rows::default()), Stored::default()), "the first comes first");
            if let Some(rows) = small {
                let again = || rmp_serde::from_slice(&rows).unwrap();
                prop_assert!(stored.is_empty() && restored.restore_together(again()) && !restored.restore_together(again()));
                prop_assert_eq!(restored.stored().count(), 0);
            }
            for (index, rows) in &stored {
                prop_assert!(restored.restore(*index, rmp_serde::from_slice(rows).unwrap(), row(*index, rows).into()));
                prop_assert!(restored.together().is_none());
            }
            let sums = pages.sums();
            prop_assert_eq!(sums.is_some(), !stored.is_empty());
            if let Some(sums) = sums {
                prop_assert_eq!(restored.sums(), Some(sums.clone()));
                let mut out = Pages::<u64, u64>::default();
                prop_assert!(out.restore_out(&sums) && !out.restore_out(&sums));
                prop_assert_eq!((out.len(), out.sum()), (restored.len(), restored.sum()));
                prop_assert_eq!(out.sums(), Some(sums));
                for page in out.out_pages().collect::<Vec<_>>() {
                    bring(&mut out, &stored, page);
                }
                prop_assert!(out.is_here() && out.iter().all(|(key, value)| model.get(key) == Some(value)));
            }
            prop_assert!(restored.is_sound());
            prop_assert_eq!(restored.len(), model.len());
            prop_assert_eq!(restored.sum(), pages.sum());
            let rows: BTreeMap<u64, u64> = restored.iter().map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(rows, model);
        }
    }
}
