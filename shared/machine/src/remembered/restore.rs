//! Brings remembered ids back from what was stored. Pages are read one by one, and stay in memory only if they are to.

use super::days::DayOfIds;
use super::filter::Filter;
use super::page::{Id, decode};
use super::run::{Page, Run};
use super::summary::{PageOfRun, Summary};
use super::{Bucket, Cut, MAX_DEPTH, Remembered, Spot, id_sum, width};
use crate::entity::{EntityKey, KindId};
use crate::pages::PageKey;
use daybook_contracts::rows::RowSum;
use daybook_domain::time::Date;
use std::collections::BTreeMap;

/// Ids of one kind of a tenant that are being read back.
#[derive(Debug)]
pub struct Restoring {
    kind: KindId,
    ids: Remembered,
    /// Pages stay in memory.
    keeps: bool,
    /// The run that is being read.
    reading: Option<Reading>,
    /// What a summary says of the next run, with the start of its bucket and its number.
    expected: Option<(u32, u32, Summary)>,
    /// The last id of the run that is being read.
    last: Option<(u64, String)>,
    /// Of each day, how many ids were read, and what they sum up to.
    found: BTreeMap<Date, (u64, u128)>,
}

/// A run that is being read.
#[derive(Debug)]
struct Reading {
    /// That of its bucket.
    start: u32,
    run: Run,
    /// What a summary says of it.
    summary: Option<Summary>,
    hashes: Vec<u64>,
    /// Of its pages, where there is a summary.
    pages: Vec<PageOfRun>,
    /// Of each day, how many ids were read, and what they sum up to.
    found: BTreeMap<Date, (u64, u128)>,
}

impl Reading {
    /// Whether the summary is of it, if it has one.
    fn is_as_summarized(&self) -> bool {
        self.summary.as_ref().is_none_or(|Summary { filter, pages, days }| {
            let found =
                self.found.iter().map(|(date, (count, sum))| DayOfIds { date: *date, count: *count, sum: *sum });
            *pages == self.pages
                && days.iter().copied().eq(found)
                && self.hashes.iter().all(|hash| filter.may_hold(*hash))
        })
    }
}

impl Restoring {
    pub fn new(kind: KindId, cut: Cut, keeps: bool) -> Self {
        let ids = Remembered::new(cut);
        Self { kind, ids, keeps, reading: None, expected: None, last: None, found: BTreeMap::new() }
    }

    /// Takes a row of days in, in order.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn days(&mut self, days: Vec<DayOfIds>) -> Result<(), &'static str> {
        match days.into_iter().all(|day| day.count > 0 && self.ids.days.push(day)) {
            true => Ok(()),
            false => Err("days of ids in disorder"),
        }
    }

    /// Takes in how the hashes are divided: the depth of each bucket, in order.
    ///
    /// # Errors
    /// Why it cannot be so.
    pub fn divisions(&mut self, depths: &[u8]) -> Result<(), &'static str> {
        let mut start = 0_u64;
        for depth in depths {
            let is_bucket = *depth <= MAX_DEPTH && start.is_multiple_of(width(*depth)) && start < width(0);
            if !is_bucket {
                return Err("buckets of ids in disorder");
            }
            self.ids.buckets.push(Bucket { start: start as u32, depth: *depth, runs: Vec::new() });
            start += width(*depth);
        }
        match start == width(0) || depths.is_empty() {
            true => Ok(()),
            false => Err("buckets of ids are missing"),
        }
    }

    /// Takes in what a summary says of the next run. If it `passes`, no pages of the run come.
    ///
    /// # Errors
    /// Why it cannot be so.
    pub fn summary(&mut self, start: u32, number: u32, value: &[u8], passes: bool) -> Result<(), &'static str> {
        self.finish_run()?;
        let summary = Summary::read(value).ok_or("a summary of ids that cannot be read")?;
        if !passes {
            self.expected = Some((start, number, summary));
            return Ok(());
        }
        let bucket = self.ids.bucket(start).ok_or("a summary of ids in no bucket")?;
        if !summary.pages.iter().all(|page| bucket.holds(page.first)) {
            return Err("ids in disorder");
        }
        for DayOfIds { date, count, sum } in &summary.days {
            self.note(*date, *count, *sum);
        }
        self.put(start, summary.into_run(number))
    }

    /// Takes the next page in, whose row has that key.
    ///
    /// # Errors
    /// Why it cannot be the next one.
    pub fn page(&mut self, spot: Spot, key: &[u8], bytes: &[u8]) -> Result<(), &'static str> {
        let ids = decode(self.kind, bytes).map_err(|_| "a page of ids that cannot be read")?;
        let is_next = self.reading.as_ref().is_some_and(|of| (of.start, of.run.number) == (spot.start, spot.run));
        let is_of = |(start, number, _): &mut (u32, u32, Summary)| (*start, *number) == (spot.start, spot.run);
        let summary = self.expected.take_if(is_of).map(|(.., summary)| summary);
        if !is_next {
            self.finish_run()?;
        }
        let bucket = self.ids.bucket(spot.start).ok_or("a page of ids in no bucket")?;
        let first = ids.first().ok_or("a page without ids")?;
        let new = || {
            let run = Run {
                number: spot.run,
                days: (first.date, first.date),
                count: 0,
                filter: Filter::of(&[]),
                pages: Vec::new(),
                is_handed_out: true,
                sums: Vec::new(),
            };
            let (hashes, pages, found) = (Vec::new(), Vec::new(), BTreeMap::new());
            Reading { start: spot.start, run, summary, hashes, pages, found }
        };
        let Reading { run, summary, hashes, pages, found, .. } = self.reading.get_or_insert_with(new);
        if run.pages.len() != spot.page as usize {
            return Err("a page of ids whose predecessor is missing");
        }
        for Id { hash, text, date } in &ids {
            let is_behind = self.last.as_ref().is_none_or(|(last, id)| (*last, id.as_str()) <= (*hash, text));
            if !is_behind || !bucket.holds(*hash) {
                return Err("ids in disorder");
            }
            self.last = Some((*hash, (*text).to_owned()));
            run.days = (run.days.0.min(*date), run.days.1.max(*date));
            let (count, sum) = found.entry(*date).or_default();
            (*count, *sum) = (*count + 1, sum.wrapping_add(id_sum(*hash, *date)));
            hashes.push(*hash);
        }
        let (first, count) = (first.hash, ids.len() as u32);
        if summary.is_some() {
            pages.push(PageOfRun { first, count, row: RowSum::of(key, bytes) });
        }
        run.count += u64::from(count);
        run.pages.push(Page { first, count, bytes: self.keeps.then(|| bytes.into()) });
        Ok(())
    }

    fn finish_run(&mut self) -> Result<(), &'static str> {
        self.last = None;
        if self.expected.is_some() {
            return Err("a run of ids is missing");
        }
        let Some(reading) = self.reading.take() else { return Ok(()) };
        if !reading.is_as_summarized() {
            return Err("a summary of other ids");
        }
        let Reading { start, mut run, mut hashes, summary, found, .. } = reading;
        run.filter = match summary {
            Some(summary) => summary.filter,
            None => {
                hashes.dedup();
                Filter::of(&hashes)
            }
        };
        run.pages.shrink_to_fit();
        found.into_iter().for_each(|(date, (count, sum))| self.note(date, count, sum));
        self.put(start, run)
    }

    /// Takes note of ids of a day.
    fn note(&mut self, date: Date, more: u64, of_more: u128) {
        let (count, sum) = self.found.entry(date).or_default();
        (*count, *sum) = (*count + more, sum.wrapping_add(of_more));
    }

    /// Puts a run into its bucket.
    fn put(&mut self, start: u32, run: Run) -> Result<(), &'static str> {
        self.ids.next = self.ids.next.max(run.number.checked_add(1).ok_or("a run of ids that is the last of all")?);
        let bucket = self.ids.bucket_mut(start).ok_or("a page of ids in no bucket")?;
        if bucket.runs.iter().any(|known| known.number == run.number) {
            return Err("a run of ids that is there twice");
        }
        bucket.put(run);
        Ok(())
    }

    /// The day is remembered, of whose ids some are still in pages of its own: takes these in.
    pub fn leaving(&mut self, date: Date, keys: &[EntityKey]) {
        if self.ids.days.get(date).is_none() {
            return;
        }
        let of_kind = keys.iter().filter(|key| key.kind == self.kind);
        let ids: Vec<Id<'_>> = of_kind.map(|key| Id { hash: key.page_hash(), text: &key.id, date }).collect();
        for id in &ids {
            let (count, sum) = self.found.entry(date).or_default();
            (*count, *sum) = (*count + 1, sum.wrapping_add(id_sum(id.hash, date)));
        }
        if !ids.is_empty() {
            self.ids.add(ids);
        }
    }

    /// No more pages come.
    ///
    /// # Errors
    /// Why they are not all that there were.
    pub fn end_pages(&mut self) -> Result<(), &'static str> {
        self.finish_run()
    }

    /// All ids.
    ///
    /// # Errors
    /// When they are not those of the days, or `sums` says something else.
    pub fn finish(self, sums: (u64, u128)) -> Result<Remembered, &'static str> {
        let Self { ids, found, .. } = self;
        let first = ids.days.first();
        let is_remembered = |date: &Date| first.is_some_and(|first| *date >= first);
        let found = found.into_iter().filter(|(date, _)| is_remembered(date));
        let days = ids.days.iter().map(|day| (day.date, (day.count, day.sum)));
        match found.eq(days) && ids.days.sums() == sums {
            true => Ok(ids),
            false => Err("ids are missing, or others are there"),
        }
    }
}
