//! The index of a tenant's reports: the days that have one, and the newest versions that were read. It is kept between
//! requests, so that a page costs two small requests to the broker instead of a read of every report.

use daybook_contracts::lists::ReportEntry;
use daybook_domain::time::Date;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes in memory of a date, and of a report's entry, roughly.
const DATE_BYTES: usize = 32;
const ENTRY_BYTES: usize = size_of::<ReportEntry>() + 200;

/// The newest version of a day's report.
#[derive(Clone, Debug)]
pub struct Known {
    pub sequence: u64,
    pub entry: Arc<ReportEntry>,
}

/// The reports of one tenant.
#[derive(Clone, Debug)]
pub struct Index {
    /// The start of the reading. Everything stored before is in the index.
    pub began: Instant,
    /// The sequence of the stream up to which every message of the tenant is taken into account.
    pub through: u64,
    /// `None` for a day whose report has not been read.
    days: BTreeMap<Date, Option<Known>>,
}

impl Index {
    /// An index of these days, with none of their reports read.
    pub fn new(began: Instant, through: u64, dates: impl IntoIterator<Item = Date>) -> Self {
        Self { began, through, days: dates.into_iter().map(|date| (date, None)).collect() }
    }

    /// The index of the days that have a report now. It keeps the versions that are known.
    pub fn renewed(&self, began: Instant, dates: impl IntoIterator<Item = Date>) -> Self {
        let known = |date: Date| (date, self.days.get(&date).cloned().flatten());
        Self { began, through: self.through, days: dates.into_iter().map(known).collect() }
    }

    /// Takes a version of a report into account, unless a newer one is known.
    pub fn note(&mut self, known: Known) {
        let place = self.days.entry(known.entry.date).or_default();
        if place.as_ref().is_none_or(|old| old.sequence < known.sequence) {
            *place = Some(known);
        }
    }

    /// The days from one date to another, the newest first, each with its newest known version.
    pub fn newest_first(&self, dates: RangeInclusive<Date>) -> impl Iterator<Item = (Date, Option<&Known>)> {
        self.days.range(dates).rev().map(|(date, known)| (*date, known.as_ref()))
    }

    /// Bytes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.days.len() * DATE_BYTES + self.days.values().flatten().count() * ENTRY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::super::document::tests::stored;
    use super::*;
    use daybook_contracts::subjects::Subjects;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn known(date: &str, version: u32, sequence: u64) -> Known {
        let document = Document::read(&Subjects::new("daybook").unwrap(), &stored(date, version)).unwrap();
        Known { sequence, entry: Arc::new(document.entry) }
    }

    fn shown(index: &Index) -> Vec<(String, Option<u32>)> {
        let days = index.newest_first(Date::MIN..=Date::MAX);
        days.map(|(date, known)| (date.to_string(), known.map(|known| known.entry.version))).collect()
    }

    #[test]
    fn the_newest_version_stays_whatever_is_read_last() {
        let mut index = Index::new(Instant::now(), 5, [date("2024-03-01"), date("2024-03-02")]);
        let empty = index.bytes();
        index.note(known("2024-03-01", 2, 9));
        index.note(known("2024-03-01", 1, 4));
        index.note(known("2024-03-03", 1, 8));
        let expected = [("2024-03-03", Some(1)), ("2024-03-02", None), ("2024-03-01", Some(2))];
        assert_eq!(shown(&index), expected.map(|(date, version)| (date.to_owned(), version)));
        assert!(index.bytes() > empty);
    }

    #[test]
    fn a_renewed_index_drops_days_that_are_gone() {
        let mut index = Index::new(Instant::now(), 5, [date("2024-03-01"), date("2024-03-02")]);
        index.note(known("2024-03-01", 1, 4));
        index.note(known("2024-03-02", 1, 5));
        let renewed = index.renewed(Instant::now(), [date("2024-03-02"), date("2024-03-04")]);
        let expected = [("2024-03-04", None), ("2024-03-02", Some(1))];
        assert_eq!(shown(&renewed), expected.map(|(date, version)| (date.to_owned(), version)));
        assert_eq!(renewed.through, 5);
    }
}
