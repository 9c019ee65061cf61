//! Summaries of runs: a restart reads one in the place of a run's pages, and a page when an id is looked up in it
//! (docs/decisions/0037). A run never changes, so its summary is written with it, once.

use super::days::DayOfIds;
use super::filter::{Filter, FilterRow};
use super::run::{Page, Run};
use daybook_contracts::rows::{ROW_SUM_BYTES, RowSum};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Version of the form.
const FORMAT: u8 = 1;
/// Bytes of a page: its first hash, how many ids it has, and the length and the hash of its stored row.
const PAGE_BYTES: usize = 8 + 4 + ROW_SUM_BYTES;

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct SummaryRow {
    format: u8,
    filter: FilterRow,
    pages: ByteBuf,
    days: Vec<DayOfIds>,
}

/// What a summary says of a run.
#[derive(Debug)]
pub struct Summary {
    pub filter: Filter,
    pub pages: Vec<PageOfRun>,
    /// How many ids of each day there are, and what they sum up to.
    pub days: Vec<DayOfIds>,
}

/// A page of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOfRun {
    /// The hash of its first id.
    pub first: u64,
    pub count: u32,
    pub row: RowSum,
}

/// The row of the summary of a run that has not been handed out before, whose pages are in these rows.
pub fn row_of(run: &Run, rows: &[RowSum]) -> impl Serialize + use<> {
    let mut pages = Vec::with_capacity(rows.len() * PAGE_BYTES);
    for (page, row) in run.pages.iter().zip(rows) {
        pages.extend(page.first.to_be_bytes());
        pages.extend(page.count.to_be_bytes());
        pages.extend(row.to_bytes());
    }
    SummaryRow { format: FORMAT, filter: run.filter.row(), pages: pages.into(), days: run.sums.clone() }
}

impl Summary {
    /// What a stored row says; `None` if that can be said of no run.
    pub fn read(value: &[u8]) -> Option<Self> {
        let SummaryRow { format, filter, pages, days } = rmp_serde::from_slice(value).ok()?;
        let (pages, []) = pages.as_chunks::<PAGE_BYTES>() else { return None };
        let page = |page: &[u8; PAGE_BYTES]| {
            let (first, rest) = page.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            let row = RowSum::from_bytes(rest.try_into().ok()?);
            Some(PageOfRun { first: u64::from_be_bytes(*first), count: u32::from_be_bytes(*count), row })
        };
        let pages: Vec<PageOfRun> = pages.iter().map(page).collect::<Option<_>>()?;
        let summary = Self { filter: filter.read()?, pages, days };
        (format == FORMAT && summary.is_sound()).then_some(summary)
    }

    fn is_sound(&self) -> bool {
        let in_pages = self.pages.iter().map(|page| u64::from(page.count)).sum::<u64>();
        let in_days = self.days.iter().map(|day| day.count).fold(0, u64::saturating_add);
        in_pages > 0
            && in_pages == in_days
            && self.pages.is_sorted_by_key(|page| page.first)
            && self.days.is_sorted_by(|one, next| one.date < next.date)
            && self.days.iter().all(|day| day.count > 0)
    }

    /// The run with that number, whose pages are on disk.
    pub fn into_run(self, number: u32) -> Run {
        let Self { filter, pages, days } = self;
        let count = days.iter().map(|day| day.count).sum();
        let dates = days.first().zip(days.last()).expect("a run has an id");
        let page = |page: &PageOfRun| Page { first: page.first, count: page.count, bytes: None };
        Run {
            number,
            days: (dates.0.date, dates.1.date),
            count,
            filter,
            pages: pages.iter().map(page).collect(),
            is_handed_out: true,
            sums: Vec::new(),
        }
    }
}
