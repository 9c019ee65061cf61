//! Ids that are remembered: of days that can no longer be corrected, and whose ids must not count a second time.
//!
//! What is state is which ids are remembered, each with its business day; see [`Days`]. How they are arranged is none, and may differ
//! between replicas. Hashes are divided into [buckets](Bucket), so that a bucket is never large. A bucket has [runs](run), one for each
//! day that left correction, which are [merged](upkeep) later: so a bucket has at most one run of each level, where each level is eight
//! times as long as the next. A run is in memory as a [filter], and as the first hash of each of its [pages](page). The filter says that an id is not in
//! the run, or that its page must be looked at; the page decides.
//!
//! Days go one by one, as a whole, and for good. What runs still have of them counts as gone, and goes for good when they are merged.

pub mod days;
pub mod filter;
pub mod leaving;
pub mod page;
pub mod restore;
pub mod run;
pub mod summary;
pub mod upkeep;

pub use self::days::{Days, id_sum};

use self::page::Id;
use self::run::Run;
use daybook_domain::time::Date;
use std::collections::BTreeSet;

/// How ids are cut. No figure depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Ids of a page. Each page takes some 100 bytes of memory: here, and for the store's ledger.
    pub page: usize,
    /// Ids of a bucket; beyond that it is divided. A merge holds one bucket in memory.
    pub bucket: u64,
    /// Ids of a bucket on the first day that has any: with more days there will be more.
    pub first: u64,
}

/// In tests, days are small.
pub const CUT: Cut = if cfg!(test) { SMALL_CUT } else { Cut { page: 1_024, bucket: 1 << 19, first: 512 } };

impl Default for Cut {
    fn default() -> Self {
        CUT
    }
}

/// For tests, whose days are small.
pub const SMALL_CUT: Cut = Cut { page: 3, bucket: 16, first: 4 };

/// A bucket is divided at most so often: ids that share more bits of their hashes share them by intent.
const MAX_DEPTH: u8 = 20;

/// The ids of one kind of a tenant.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub days: Days,
    /// In order of hashes; all hashes are in one of them.
    buckets: Vec<Bucket>,
    /// The number of the next run.
    next: u32,
    /// The bucket and number of runs that no checkpoint has handed out.
    unsaved: BTreeSet<(u32, u32)>,
    /// The buckets have changed since they were stored.
    pub is_divided_anew: bool,
    cut: Cut,
}

/// The ids whose hashes begin with the same bits.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The upper half of the least hash.
    start: u32,
    /// How many bits the hashes have in common.
    depth: u8,
    /// The oldest first.
    runs: Vec<Run>,
}

impl Bucket {
    fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    fn holds(&self, hash: u64) -> bool {
        let upper = u64::from(upper(hash));
        let start = u64::from(self.start);
        (start..start + width(self.depth)).contains(&upper)
    }

    /// Puts a run behind those that are older.
    fn put(&mut self, run: Run) {
        let at = self.runs.partition_point(|known| known.days.1 <= run.days.1);
        self.runs.insert(at, run);
    }
}

/// How many values of the upper half of a hash a bucket of that depth has.
fn width(depth: u8) -> u64 {
    1 << (32 - u32::from(depth))
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Where a page of ids is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// That of the bucket.
    pub start: u32,
    pub run: u32,
    pub page: u32,
}

impl Remembered {
    /// None, which are to be cut like that.
    pub fn new(cut: Cut) -> Self {
        Self {
            days: Days::default(),
            buckets: Vec::new(),
            next: 0,
            unsaved: BTreeSet::new(),
            is_divided_anew: false,
            cut,
        }
    }

    /// From now on, ids are cut like that.
    pub fn set_cut(&mut self, cut: Cut) {
        self.cut = cut;
    }

    /// Divides the hashes, if they are not yet, for so many ids a day.
    pub fn divide(&mut self, ids: u64) {
        if !self.buckets.is_empty() {
            return;
        }
        let depth =
            ids.div_ceil(self.cut.first).max(1).next_power_of_two().trailing_zeros().min(MAX_DEPTH.into()) as u8;
        let starts = (0..1_u64 << depth).map(|number| number * width(depth));
        self.buckets = starts.map(|start| Bucket { start: start as u32, depth, runs: Vec::new() }).collect();
        self.is_divided_anew = true;
    }

    /// Adds ids of a remembered day, in any order.
    pub fn add(&mut self, mut ids: Vec<Id<'_>>) {
        self.divide(ids.len() as u64);
        ids.sort_unstable();
        for run in cut_into_buckets(&ids, &self.divisions(), self.cut) {
            self.install(run);
        }
    }

    /// Adds a run of a bucket, with a number of its own.
    fn install(&mut self, (start, run): (u32, Run)) {
        let number = self.next;
        self.next = self.next.checked_add(1).expect("fewer runs than there are numbers");
        let bucket = self.bucket_mut(start).expect("a bucket that is there");
        bucket.put(Run { number, is_handed_out: false, ..run });
        self.unsaved.insert((start, number));
    }

    /// The start and the depth of each bucket.
    pub fn divisions(&self) -> Vec<(u32, u8)> {
        self.buckets.iter().map(|bucket| (bucket.start, bucket.depth)).collect()
    }

    fn bucket_of(&self, hash: u64) -> Option<&Bucket> {
        let behind = self.buckets.partition_point(|bucket| bucket.start <= upper(hash));
        self.buckets.get(behind.checked_sub(1)?)
    }

    fn bucket(&self, start: u32) -> Option<&Bucket> {
        self.buckets.binary_search_by_key(&start, |bucket| bucket.start).ok().map(|at| &self.buckets[at])
    }

    fn bucket_mut(&mut self, start: u32) -> Option<&mut Bucket> {
        self.buckets.binary_search_by_key(&start, |bucket| bucket.start).ok().map(|at| &mut self.buckets[at])
    }

    /// The day of an id that is remembered, which has that hash. The pages that it [needs](Remembered::needs) must be in memory.
    pub fn find(&self, hash: u64, id: &str) -> Option<Date> {
        let first = self.days.first()?;
        let runs = &self.bucket_of(hash)?.runs;
        let date = runs.iter().filter(|run| run.filter.may_hold(hash)).filter_map(|run| run.find(hash, id)).max()?;
        (date >= first).then_some(date)
    }

    /// Tells `need` each page on disk that may have an id with that hash.
    pub fn needs(&self, hash: u64, mut need: impl FnMut(Spot)) {
        let Some(bucket) = self.bucket_of(hash) else { return };
        for run in bucket.runs.iter().filter(|run| run.filter.may_hold(hash)) {
            for page in run.places(hash) {
                if run.pages[page].bytes.is_none() {
                    need(Spot { start: bucket.start, run: run.number, page: page as u32 });
                }
            }
        }
    }

    fn run(&self, start: u32, number: u32) -> Option<&Run> {
        self.bucket(start)?.runs.iter().find(|run| run.number == number)
    }

    fn run_mut(&mut self, start: u32, number: u32) -> Option<&mut Run> {
        self.bucket_mut(start)?.runs.iter_mut().find(|run| run.number == number)
    }

    /// Brings a page back. One that is here or is no more changes nothing; false if it is not the page that left.
    pub fn supply(&mut self, spot: Spot, bytes: &[u8]) -> bool {
        let run = self.run_mut(spot.start, spot.run);
        let Some(page) = run.and_then(|run| run.pages.get_mut(spot.page as usize)) else { return true };
        if page.bytes.is_some() {
            return true;
        }
        let is_it = page::Entries::of(bytes).is_ok_and(|entries| entries.left() == page.count);
        if is_it {
            page.bytes = Some(bytes.into());
        }
        is_it
    }

    /// Has a page leave memory that was handed out to be stored, if it is here.
    pub fn evict_page(&mut self, spot: Spot) {
        let run = self.run_mut(spot.start, spot.run).filter(|run| run.is_handed_out);
        if let Some(page) = run.and_then(|run| run.pages.get_mut(spot.page as usize)) {
            page.bytes = None;
        }
    }

    /// Likewise all pages of a run. Returns how many ids they have.
    pub fn evict_run(&mut self, start: u32, number: u32) -> u64 {
        let Some(run) = self.run_mut(start, number).filter(|run| run.is_handed_out) else { return 0 };
        run.pages.iter_mut().for_each(|page| page.bytes = None);
        run.count
    }

    /// All runs, with the starts of their buckets.
    pub fn runs(&self) -> impl Iterator<Item = (u32, &Run)> {
        self.buckets.iter().flat_map(|bucket| bucket.runs.iter().map(|run| (bucket.start, run)))
    }

    /// Takes runs out that have no id of a remembered day any more, and returns them.
    pub fn drop_forgotten(&mut self) -> Vec<(u32, Run)> {
        let first = self.days.first();
        let is_forgotten = |run: &Run| first.is_none_or(|first| run.days.1 < first);
        let mut dropped = Vec::new();
        for bucket in &mut self.buckets {
            let start = bucket.start;
            dropped.extend(bucket.runs.extract_if(.., |run| is_forgotten(run)).map(|run| (start, run)));
        }
        for (start, run) in &dropped {
            self.unsaved.remove(&(*start, run.number));
        }
        dropped
    }

    /// Hands out each run that was not yet, with the start of its bucket, to be stored.
    pub fn hand_out(&mut self, mut store: impl FnMut(u32, &Run)) {
        for (start, number) in std::mem::take(&mut self.unsaved) {
            let run = self.run_mut(start, number).expect("runs that are no more are not unsaved");
            store(start, run);
            (run.is_handed_out, run.sums) = (true, Vec::new());
        }
    }

    /// How many ids were not handed out yet.
    pub fn unsaved_ids(&self) -> u64 {
        self.unsaved.iter().filter_map(|(start, number)| self.run(*start, *number)).map(|run| run.count).sum()
    }

    /// About how many bytes of memory it takes without and with the pages that are in memory.
    pub fn bytes(&self) -> (u64, u64) {
        let own = (self.buckets.capacity() * size_of::<Bucket>() + self.days.bytes()) as u64;
        self.runs().map(|(_, run)| run.bytes()).fold((own, own), |(low, high), (own, all)| (low + own, high + all))
    }
}

/// Cuts ids, which are in order, into runs: one for each bucket that has some. Their numbers are still to be given.
pub(super) fn cut_into_buckets(ids: &[Id<'_>], divisions: &[(u32, u8)], cut: Cut) -> Vec<(u32, Run)> {
    let mut rest = ids;
    let mut runs = Vec::new();
    for (start, depth) in divisions {
        let end = u64::from(*start) + width(*depth);
        let (ids, behind) = rest.split_at(rest.partition_point(|id| u64::from(upper(id.hash)) < end));
        rest = behind;
        if !ids.is_empty() {
            runs.push((*start, Run::of(0, ids, cut.page)));
        }
    }
    runs
}

#[cfg(test)]
mod tests;
