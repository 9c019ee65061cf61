//! Runs: ids of some days in pages, by their hashes, with a filter. A run never changes.

use super::days::{DayOfIds, id_sum};
use super::filter::Filter;
use super::page::{Entries, Id, encode};
use daybook_domain::time::Date;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A run of one bucket.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its number among the runs of its kind and tenant. No other ever has it.
    pub number: u32,
    /// The days of its ids: the oldest, and the newest.
    pub days: (Date, Date),
    pub count: u64,
    pub filter: Filter,
    pub pages: Vec<Page>,
    /// A checkpoint has handed it out to be stored.
    pub is_handed_out: bool,
    /// Until then: how many ids of each day it has, and what they sum up to.
    pub sums: Vec<DayOfIds>,
}

/// A page of a run.
#[derive(Clone, Debug)]
pub struct Page {
    /// The hash of its first id.
    pub first: u64,
    pub count: u32,
    /// As it is stored; `None` while it is on disk only.
    pub bytes: Option<Arc<[u8]>>,
}

impl Run {
    /// The run of these ids, which are in order and at least one, with at most so many in a page.
    pub fn of(number: u32, ids: &[Id<'_>], page_ids: usize) -> Self {
        let page =
            |ids: &[Id<'_>]| Page { first: ids[0].hash, count: ids.len() as u32, bytes: Some(encode(ids).into()) };
        let mut hashes: Vec<u64> = ids.iter().map(|id| id.hash).collect();
        hashes.dedup();
        let dates = || ids.iter().map(|id| id.date);
        let days = dates().min().zip(dates().max()).expect("a run has an id");
        let mut sums: BTreeMap<Date, (u64, u128)> = BTreeMap::new();
        for id in ids {
            let (count, sum) = sums.entry(id.date).or_default();
            (*count, *sum) = (*count + 1, sum.wrapping_add(id_sum(id.hash, id.date)));
        }
        Self {
            number,
            days,
            count: ids.len() as u64,
            filter: Filter::of(&hashes),
            pages: ids.chunks(page_ids).map(page).collect(),
            is_handed_out: false,
            sums: sums.into_iter().map(|(date, (count, sum))| DayOfIds { date, count, sum }).collect(),
        }
    }

    /// Over how many days it reaches.
    pub fn span(&self) -> u32 {
        self.days.1.as_days().abs_diff(self.days.0.as_days()) + 1
    }

    /// The places of the pages in which ids with that hash are, if there are any.
    pub fn places(&self, hash: u64) -> Range<usize> {
        // Those of one hash may begin at the end of a page.
        let first = self.pages.partition_point(|page| page.first < hash).saturating_sub(1);
        first..self.pages.partition_point(|page| page.first <= hash)
    }

    /// The newest day of that id, which has that hash. The pages of the hash must be in memory.
    pub fn find(&self, hash: u64, id: &str) -> Option<Date> {
        let find = |page: &Page| {
            let bytes = page.bytes.as_ref().expect("pages of ids come back before anyone looks at them");
            let entries = Entries::of(bytes).expect("a page as it was stored");
            let entries = entries.map(|entry| entry.expect("a page as it was stored"));
            entries.filter(|(_, known)| *known == id.as_bytes()).map(|(date, _)| date).max()
        };
        self.pages[self.places(hash)].iter().filter_map(find).max()
    }

    /// About how many bytes of memory it takes without and with the pages that are in memory.
    pub fn bytes(&self) -> (u64, u64) {
        let own = size_of::<Self>() + self.filter.bytes() + self.pages.capacity() * size_of::<Page>();
        let pages: usize = self.pages.iter().filter_map(|page| page.bytes.as_ref()).map(|bytes| bytes.len()).sum();
        (own as u64, (own + pages) as u64)
    }
}
