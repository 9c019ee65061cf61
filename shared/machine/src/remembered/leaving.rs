//! Days that have left correction while some of their pages were on disk only. Their ids are remembered from then on; until they are
//! [converted](super::upkeep), they are looked up in those pages, which are as they were stored.

use crate::day::Kinds;
use crate::entity::{EntityKey, KindId};
use crate::pages::page_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is left of such a day.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// How many pages the day had.
    count: u32,
    /// Those on disk, by number; with the ids of those that were brought back.
    pages: BTreeMap<u32, Option<Vec<EntityKey>>>,
    /// What the ids of these pages count and sum up to.
    pub kinds: Kinds,
}

/// The same, as it is stored.
#[derive(Serialize, Deserialize)]
pub struct LeavingRow {
    pub count: u32,
    pub pages: Vec<u32>,
}

impl Leaving {
    /// Of a day with so many pages, of which these are on disk.
    pub fn new(count: u32, pages: impl Iterator<Item = u32>, kinds: Kinds) -> Self {
        Self { count, pages: pages.map(|page| (page, None)).collect(), kinds }
    }

    pub fn row(&self) -> LeavingRow {
        LeavingRow { count: self.count, pages: self.pages().collect() }
    }

    /// How many pages the day had.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The numbers of its pages on disk.
    pub fn pages(&self) -> impl Iterator<Item = u32> {
        self.pages.keys().copied()
    }

    /// The number of the page of a hash, if that must be brought back before anyone looks at it.
    pub fn out_page(&self, hash: u64) -> Option<u32> {
        let page = page_of(hash, self.count as usize) as u32;
        self.pages.get(&page).is_some_and(Option::is_none).then_some(page)
    }

    /// Whether the id is one of its pages, which has that hash.
    pub fn holds(&self, hash: u64, kind: KindId, id: &str) -> bool {
        let page = self.pages.get(&(page_of(hash, self.count as usize) as u32));
        let is_it = |key: &EntityKey| key.kind == kind && key.id == id;
        page.is_some_and(|keys| {
            keys.as_ref().expect("pages of ids come back before anyone looks at them").iter().any(is_it)
        })
    }

    /// Whether that page must be brought back before anyone looks at it.
    pub fn is_out(&self, page: u32) -> bool {
        self.pages.get(&page).is_some_and(Option::is_none)
    }

    /// Brings the ids of a page back.
    pub fn supply(&mut self, page: u32, keys: Vec<EntityKey>) {
        if let Some(known) = self.pages.get_mut(&page) {
            *known = Some(keys);
        }
    }

    /// Has the ids of a page leave memory.
    pub fn evict(&mut self, page: u32) {
        if let Some(known) = self.pages.get_mut(&page) {
            *known = None;
        }
    }
}
