//! The upkeep of remembered ids: days that have left correction are converted into runs, and runs are merged. It is done beside the live
//! work, one piece at a time, and changes nothing that is state. A crash loses at most the piece under way.
//!
//! [`PartitionState::begin_upkeep`] says what is to be done. [`Upkeep::run`] does it, with rows that it reads, on any thread.
//! [`PartitionState::end_upkeep`] puts the result in place, unless what it was made of is no more. The rows that a piece reads stay in the
//! store until it has ended.

use super::page::{Id, decode};
use super::run::Run;
use super::{Bucket, Cut, MAX_DEPTH, Remembered, Spot, cut_into_buckets, width};
use crate::PartitionState;
use crate::checkpoint::{RestoreError, id_page_key, page_key, page_of_keys};
use crate::day::Kinds;
use crate::entity::{EntityKey, KindId};
use crate::pages::PageKey;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows that are read at once: a megabyte or so.
const ROWS_AT_ONCE: usize = 64;
/// A run is made anew without the ids that are forgotten when one day in so many of it is.
const FORGOTTEN_PART: u32 = 4;
/// For fewer days it is not.
const LEAST_FORGOTTEN: u32 = 8;

/// What is to be done, in which order.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Days to be converted.
    leaving: BTreeSet<(Date, TenantId)>,
    /// Ids some of whose runs may have to be merged, with the bucket that is looked at next.
    merging: BTreeMap<(TenantId, KindId), u32>,
    /// The keys that the piece under way reads.
    reads: BTreeSet<Vec<u8>>,
    is_under_way: bool,
}

impl Agenda {
    pub fn leaves(&mut self, tenant: &TenantId, date: Date) {
        self.leaving.insert((date, tenant.clone()));
    }

    pub fn merges(&mut self, tenant: &TenantId, kind: KindId) {
        self.merging.insert((tenant.clone(), kind), 0);
    }

    /// Whether the piece under way reads that row.
    pub fn reads(&self, key: &[u8]) -> bool {
        self.reads.contains(key)
    }
}

/// A piece of the work.
#[derive(Debug)]
pub struct Upkeep {
    tenant: TenantId,
    generation: u32,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Convert(Convert),
    Merge(Merge),
}

#[derive(Debug)]
struct Convert {
    date: Date,
    count: u32,
    pages: Vec<u32>,
    kinds: Kinds,
    /// Of the kinds that are remembered: how their hashes are divided.
    wanted: Vec<(KindId, Vec<(u32, u8)>)>,
    cut: Cut,
}

#[derive(Debug)]
struct Merge {
    kind: KindId,
    start: u32,
    depth: u8,
    runs: Vec<u32>,
    /// They are all of the bucket.
    are_all: bool,
    pages: Vec<Source>,
    /// Ids of earlier days are forgotten.
    first: Date,
    cut: Cut,
}

#[derive(Debug)]
enum Source {
    Here(Arc<[u8]>),
    Stored(Vec<u8>),
}

/// What came of a piece of the work.
#[derive(Debug)]
pub struct Kept {
    tenant: TenantId,
    generation: u32,
    made: Made,
}

/// Runs of a kind, with how its hashes were divided.
#[derive(Debug)]
struct OfKind {
    kind: KindId,
    divisions: Vec<(u32, u8)>,
    runs: Vec<(u32, Run)>,
}

#[derive(Debug)]
enum Made {
    /// Of the ids of a day, by kind.
    Converted { date: Date, kinds: Vec<OfKind> },
    /// In place of some runs of a bucket: other runs, one in each of these buckets that has an id.
    Merged { kind: KindId, start: u32, runs: Vec<u32>, divisions: Vec<(u32, u8)>, made: Vec<(u32, Run)> },
}

impl Upkeep {
    /// The keys of the rows that it reads.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        match &self.work {
            Work::Convert(Convert { date, pages, .. }) => {
                pages.iter().map(|page| page_key(&self.tenant, *date, *page)).collect()
            }
            Work::Merge(merge) => {
                let stored = |source: &Source| match source {
                    Source::Here(_) => None,
                    Source::Stored(key) => Some(key.clone()),
                };
                merge.pages.iter().filter_map(stored).collect()
            }
        }
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> u64 {
        const ID_BYTES: u64 = 120;
        const OF_A_PAGE: u64 = 1_024;
        match &self.work {
            Work::Convert(convert) => convert.kinds.iter().map(|of| of.count).sum::<u64>() * ID_BYTES,
            Work::Merge(merge) => merge.pages.len() as u64 * OF_A_PAGE * ID_BYTES,
        }
    }

    /// Does it. `read` gives the values of keys.
    ///
    /// # Errors
    /// That of `read`; or when the rows are not those that were stored.
    pub fn run<E: From<RestoreError>>(
        self,
        read: impl FnMut(Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, E>,
    ) -> Result<Kept, E> {
        let Self { tenant, generation, work } = self;
        let made = match work {
            Work::Convert(convert) => convert.run(&tenant, read)?,
            Work::Merge(merge) => merge.run(read)?,
        };
        Ok(Kept { tenant, generation, made })
    }
}

impl Convert {
    fn run<E: From<RestoreError>>(
        self,
        tenant: &TenantId,
        mut read: impl FnMut(Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, E>,
    ) -> Result<Made, E> {
        let Self { date, count, pages, kinds, wanted, cut } = self;
        let mut keys: Vec<EntityKey> = Vec::new();
        let mut found = Kinds::default();
        for pages in pages.chunks(ROWS_AT_ONCE) {
            let rows = read(pages.iter().map(|page| page_key(tenant, date, *page)).collect())?;
            for (page, row) in pages.iter().zip(rows) {
                keys.extend(page_of_keys(tenant, date, *page, count, &row)?);
            }
        }
        keys.iter().for_each(|key| found.add(key.kind, super::id_sum(key.page_hash(), date)));
        if !found.is_same(&kinds) {
            let what = format!("the ids of {tenant}'s day {date} are not those that it had");
            return Err(RestoreError::Unsound(what).into());
        }
        let kinds = wanted.into_iter().map(|(kind, divisions)| {
            let of_kind = keys.iter().filter(|key| key.kind == kind);
            let mut ids: Vec<Id<'_>> = of_kind.map(|key| Id { hash: key.page_hash(), text: &key.id, date }).collect();
            ids.sort_unstable();
            let runs = cut_into_buckets(&ids, &divisions, cut);
            OfKind { kind, divisions, runs }
        });
        Ok(Made::Converted { date, kinds: kinds.collect() })
    }
}

impl Merge {
    fn run<E: From<RestoreError>>(
        self,
        mut read: impl FnMut(Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, E>,
    ) -> Result<Made, E> {
        let Self { kind, start, depth, runs, are_all, pages, first, cut } = self;
        let mut rows: Vec<Arc<[u8]>> = Vec::with_capacity(pages.len());
        for pages in pages.chunks(ROWS_AT_ONCE) {
            let stored = |source: &Source| match source {
                Source::Here(_) => None,
                Source::Stored(key) => Some(key.clone()),
            };
            let mut read = read(pages.iter().filter_map(stored).collect())?.into_iter();
            for source in pages {
                rows.push(match source {
                    Source::Here(bytes) => bytes.clone(),
                    Source::Stored(_) => read.next().expect("a value for every key").into(),
                });
            }
        }
        let damaged = || RestoreError::Row(format!("a page of the ids of kind {kind} in bucket {start:08x}"));
        let mut ids: Vec<Id<'_>> = Vec::new();
        for row in &rows {
            ids.extend(decode(kind, row).map_err(|_| damaged())?.into_iter().filter(|id| id.date >= first));
        }
        // The stable sort makes use of what is in order already.
        ids.sort();
        let mut deeper = 0;
        while are_all && depth + deeper < MAX_DEPTH && (ids.len() as u64) >> deeper > cut.bucket / 2 {
            deeper += 1;
        }
        // One that is as large as it may be stays as it is.
        if ids.len() as u64 <= cut.bucket {
            deeper = 0;
        }
        let depth = depth + deeper;
        let divisions: Vec<(u32, u8)> =
            (0..1_u64 << deeper).map(|number| ((u64::from(start) + number * width(depth)) as u32, depth)).collect();
        let made = cut_into_buckets(&ids, &divisions, cut);
        Ok(Made::Merged { kind, start, runs, divisions, made })
    }
}

/// How long a run is: each level is eight times as long as the one before. With more runs, a look-up asks more filters; with fewer, ids are
/// written anew more often, which is some dozen times in 400 days.
fn level(days: u32) -> u32 {
    days.max(1).ilog2() / 3
}

impl Bucket {
    /// The places of the runs that are to be merged next, if any are.
    fn plan(&self, first: Option<Date>, cut: Cut) -> Option<std::ops::Range<usize>> {
        let all = 0..self.runs.len();
        if self.count() > cut.bucket && self.depth < MAX_DEPTH {
            return Some(all);
        }
        for newest in (1..self.runs.len()).rev() {
            let span = |from: usize| {
                let runs = &self.runs[from..=newest];
                let oldest = runs.iter().map(|run| run.days.0).min().expect("there is one");
                self.runs[newest].days.1.as_days().abs_diff(oldest.as_days()) + 1
            };
            let mut oldest = newest;
            while oldest > 0 && level(span(oldest)) >= level(self.runs[oldest - 1].span()) {
                oldest -= 1;
            }
            if oldest < newest {
                return Some(oldest..newest + 1);
            }
        }
        let is_worn = |run: &Run| {
            let forgotten = first.map_or(0, |first| first.as_days().saturating_sub(run.days.0.as_days()).max(0)) as u32;
            forgotten >= LEAST_FORGOTTEN && forgotten.saturating_mul(FORGOTTEN_PART) >= run.span()
        };
        let worn = self.runs.iter().position(is_worn)?;
        Some(worn..worn + 1)
    }
}

impl Remembered {
    /// The next merge, of the bucket `from` or of one behind it.
    fn plan(&self, tenant: &TenantId, kind: KindId, from: u32) -> Option<Merge> {
        let first = self.days.first();
        let buckets = &self.buckets[self.buckets.partition_point(|bucket| bucket.start < from)..];
        let (bucket, places) = buckets.iter().find_map(|bucket| Some((bucket, bucket.plan(first, self.cut)?)))?;
        let are_all = places.len() == bucket.runs.len();
        let runs = &bucket.runs[places];
        let source = |run: &Run, place: usize| match &run.pages[place].bytes {
            Some(bytes) => Source::Here(bytes.clone()),
            None => {
                let spot = Spot { start: bucket.start, run: run.number, page: place as u32 };
                Source::Stored(id_page_key(tenant, kind, spot))
            }
        };
        let pages = runs.iter().flat_map(|run| (0..run.pages.len()).map(move |place| source(run, place)));
        Some(Merge {
            kind,
            start: bucket.start,
            depth: bucket.depth,
            are_all,
            pages: pages.collect(),
            runs: runs.iter().map(|run| run.number).collect(),
            first: first.unwrap_or(Date::MAX),
            cut: self.cut,
        })
    }

    /// Puts merged runs in the place of those that they were made of, and returns these. `None`, and nothing done, if one of them is no
    /// more, or there are others in a bucket that is to be divided.
    fn replace(
        &mut self,
        start: u32,
        runs: &[u32],
        divisions: &[(u32, u8)],
        made: Vec<(u32, Run)>,
    ) -> Option<Vec<Run>> {
        let at = self.buckets.binary_search_by_key(&start, |bucket| bucket.start).ok()?;
        let bucket = &mut self.buckets[at];
        let are_there = runs.iter().all(|number| bucket.runs.iter().any(|run| run.number == *number));
        let is_divided = divisions.len() > 1;
        if !are_there || (is_divided && bucket.runs.len() > runs.len()) {
            return None;
        }
        let gone: Vec<Run> = bucket.runs.extract_if(.., |run| runs.contains(&run.number)).collect();
        if is_divided {
            let buckets = divisions.iter().map(|(start, depth)| Bucket { start: *start, depth: *depth, runs: vec![] });
            self.buckets.splice(at..=at, buckets);
            self.is_divided_anew = true;
        }
        for number in runs {
            self.unsaved.remove(&(start, *number));
        }
        made.into_iter().for_each(|run| self.install(run));
        Some(gone)
    }
}

impl PartitionState {
    /// What is to be done next, if anything is; at most one piece is under way. It is begun until it has
    /// [ended](PartitionState::end_upkeep) or was [given up](PartitionState::give_up_upkeep).
    pub fn begin_upkeep(&mut self) -> Option<Upkeep> {
        if self.agenda.is_under_way {
            return None;
        }
        let upkeep = self.next_conversion().or_else(|| self.next_merge())?;
        self.agenda.is_under_way = true;
        self.agenda.reads = upkeep.keys().into_iter().collect();
        Some(upkeep)
    }

    fn next_conversion(&mut self) -> Option<Upkeep> {
        while let Some((date, id)) = self.agenda.leaving.first() {
            if let Some(tenant) = self.tenants.get(id)
                && let Some(leaving) = tenant.leaving.get(date)
            {
                let wanted = tenant.remembered.iter().filter(|(_, of)| of.days.get(*date).is_some());
                let convert = Convert {
                    date: *date,
                    count: leaving.count(),
                    pages: leaving.pages().collect(),
                    kinds: leaving.kinds.clone(),
                    wanted: wanted.map(|(kind, of)| (*kind, of.divisions())).collect(),
                    cut: self.id_cut,
                };
                let generation = tenant.definition.generation;
                return Some(Upkeep { tenant: id.clone(), generation, work: Work::Convert(convert) });
            }
            self.agenda.leaving.pop_first();
        }
        None
    }

    fn next_merge(&mut self) -> Option<Upkeep> {
        while let Some(mut entry) = self.agenda.merging.first_entry() {
            let (id, kind) = entry.key().clone();
            let tenant = self.tenants.get(&id);
            let merge = tenant.and_then(|tenant| tenant.remembered.get(&kind)?.plan(&id, kind, *entry.get()));
            let Some((merge, tenant)) = merge.zip(tenant) else {
                entry.remove();
                continue;
            };
            entry.insert(merge.start);
            return Some(Upkeep { tenant: id, generation: tenant.definition.generation, work: Work::Merge(merge) });
        }
        None
    }

    /// The piece under way came to nothing.
    pub fn give_up_upkeep(&mut self) {
        (self.agenda.is_under_way, self.agenda.reads) = (false, BTreeSet::new());
    }

    /// Puts what came of a piece in place. What it was made of may be no more, because a day was forgotten or something was removed: then
    /// nothing is done, and what is left to do begins anew.
    pub fn end_upkeep(&mut self, kept: Kept) {
        self.give_up_upkeep();
        let Kept { tenant: id, generation, made } = kept;
        let tenant = self.tenants.get_mut(&id);
        let Some(tenant) = tenant.filter(|tenant| tenant.definition.generation == generation) else { return };
        match made {
            Made::Converted { date, kinds } => {
                let is_as_it_was =
                    |made: &OfKind| tenant.remembered.get(&made.kind).is_none_or(|of| of.divisions() == made.divisions);
                if !kinds.iter().all(is_as_it_was) {
                    return;
                }
                let Some(leaving) = tenant.leaving.remove(&date) else { return };
                tenant.forget_whereabouts(date);
                for OfKind { kind, runs, .. } in kinds {
                    // The day may be forgotten, or the kind removed.
                    let of = tenant.remembered.get_mut(&kind).filter(|of| of.days.get(date).is_some());
                    let Some(of) = of else { continue };
                    runs.into_iter().for_each(|run| of.install(run));
                    self.dirty.ids(&id, kind);
                    self.agenda.merges(&id, kind);
                }
                self.dirty.removed_leaving(&id, date, &leaving);
            }
            Made::Merged { kind, start, runs, divisions, made } => {
                let Some(of) = tenant.remembered.get_mut(&kind) else { return };
                let Some(gone) = of.replace(start, &runs, &divisions, made) else { return };
                gone.iter().for_each(|run| self.dirty.removed_run(&id, kind, start, run));
                self.dirty.ids(&id, kind);
            }
        }
    }

    /// Does all that needs no row, where nothing leaves memory.
    pub(crate) fn keep_up(&mut self) {
        while self.agenda.reads.is_empty()
            && let Some(upkeep) = self.begin_upkeep()
        {
            if !upkeep.keys().is_empty() {
                return self.give_up_upkeep();
            }
            let done: Result<Kept, RestoreError> = upkeep.run(|_| Ok(Vec::new()));
            self.end_upkeep(done.expect("pages in memory are as they were made"));
        }
    }

    /// How many remembered ids wait for a checkpoint to store them.
    pub fn unsaved_ids(&self) -> u64 {
        let ids = |(id, kind): &(TenantId, KindId)| {
            let ids = self.tenants.get(id).and_then(|tenant| tenant.remembered.get(kind));
            ids.map_or(0, Remembered::unsaved_ids)
        };
        self.dirty.kinds_of_ids().map(ids).sum()
    }

    /// How many days are still to be converted, for tests.
    pub fn leaving_days(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.leaving.len()).sum()
    }
}
