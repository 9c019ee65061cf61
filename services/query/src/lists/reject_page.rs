//! One page of rejects or alerts as it fills, from either end.

use daybook_contracts::reject::Reject;
use daybook_contracts::subjects::Subjects;
use daybook_runtime::append::Stored;
use daybook_runtime::written::{self, NotWritten};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A place between two rows of a tenant, as cursors hold it: the sequence of a message in the stream, and the number of
/// the message's rows before the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PageEdge {
    /// The page holds older rows than the place.
    Before(u64, u32),
    /// The page holds newer rows than the place.
    Behind(u64, u32),
}

/// The number of rows for a place behind all rows of a message.
pub const ALL: u32 = u32::MAX;

/// The rows of a page.
#[derive(Debug)]
pub struct Page<T> {
    room: usize,
    bytes: usize,
    pub rows: VecDeque<T>,
}

impl<T: Serialize> Page<T> {
    /// A page that takes so many rows, of so many bytes of JSON together. It takes one whatever its length.
    pub fn new(room: usize, bytes: usize) -> Self {
        Self { room, bytes, rows: VecDeque::new() }
    }

    /// Takes the last of a message's first `count` rows, as many as there is room for, to the front of the page. Returns
    /// the number of rows that remain before them.
    pub fn take_last(&mut self, rows: &mut Vec<T>, count: u32) -> u32 {
        rows.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        while let Some(row) = rows.pop_if(|row| self.has_room_for(row)) {
            self.rows.push_front(row);
        }
        count_of(rows.len())
    }

    /// Takes a message's rows from `from` on, as many as there is room for, to the end of the page. Returns the number of
    /// the message's rows before the first that is left, or [`ALL`] when none is left.
    pub fn take_first(&mut self, rows: Vec<T>, from: u32) -> u32 {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, row) in rows.into_iter().enumerate().skip(from) {
            if !self.has_room_for(&row) {
                return count_of(index);
            }
            self.rows.push_back(row);
        }
        ALL
    }

    pub fn is_full(&self) -> bool {
        self.room == 0 || self.bytes == 0
    }

    /// Counts the row if it fits. What does not fit ends the page.
    fn has_room_for(&mut self, row: &T) -> bool {
        let bytes = serde_json::to_vec(row).map_or(usize::MAX, |json| json.len());
        let fits = self.room > 0 && (bytes <= self.bytes || self.rows.is_empty());
        self.room = if fits { self.room - 1 } else { 0 };
        self.bytes = self.bytes.saturating_sub(bytes);
        fits
    }
}

fn count_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(ALL)
}

/// The rejects of a message.
///
/// # Errors
/// When no shard wrote it, or it names another tenant than its subject.
pub fn read(subjects: &Subjects, message: &Stored) -> Result<Vec<Reject>, NotWritten> {
    let rejects = written::rejects(subjects, message.into())?.rejects;
    let token = subjects.parse_rejects(&message.subject);
    match rejects.iter().all(|reject| Some(reject.tenant.as_str()) == token) {
        true => Ok(rejects),
        false => Err(NotWritten::Foreign("it names another tenant than its subject".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;
    use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
    use daybook_contracts::reject::{Code, Original, Rejects};
    use daybook_domain::ids::{InboxSeq, LogSeq};
    use daybook_domain::time::Instant;

    fn reject(index: u32) -> Reject {
        Reject {
            code: Code::Malformed,
            reason: "it is no JSON".into(),
            tenant: "acme".into(),
            kind: "order".into(),
            inbox: InboxSeq(1),
            index,
            field: None,
            date: None,
            original: Original::new(b"x"),
            span: None,
        }
    }

    fn rejects(indexes: std::ops::Range<u32>) -> Vec<Reject> {
        indexes.map(reject).collect()
    }

    fn indexes(page: &Page<Reject>) -> Vec<u32> {
        page.rows.iter().map(|reject| reject.index).collect()
    }

    #[test]
    fn a_page_fills_from_its_end() {
        let mut page = Page::new(5, 1 << 20);
        assert_eq!(page.take_last(&mut rejects(10..13), ALL), 0);
        assert!(!page.is_full());
        assert_eq!(page.take_last(&mut rejects(0..10), 9), 7);
        assert_eq!(indexes(&page), [7, 8, 10, 11, 12]);
        assert!(page.is_full());
        assert_eq!(page.take_last(&mut rejects(0..10), ALL), 10, "it takes no more");
    }

    #[test]
    fn a_page_fills_from_its_beginning() {
        let mut page = Page::new(5, 1 << 20);
        assert_eq!(page.take_first(rejects(0..3), 1), ALL);
        assert_eq!(page.take_first(rejects(3..10), 0), 3);
        assert_eq!(indexes(&page), [1, 2, 3, 4, 5]);
        assert!(page.is_full());
        let mut page = Page::new(5, 1 << 20);
        assert_eq!(page.take_first(rejects(0..3), 7), ALL, "a forged place");
        assert_eq!(page.take_first(rejects(0..3), ALL), ALL);
        assert!(page.rows.is_empty());
    }

    #[test]
    fn a_page_takes_one_reject_whatever_its_length() {
        let bytes = serde_json::to_vec(&reject(0)).unwrap().len();
        let mut page = Page::new(5, 2 * bytes);
        assert_eq!(page.take_first(rejects(0..4), 0), 2);
        assert!(page.is_full());
        let mut page = Page::new(5, 1);
        assert_eq!(page.take_last(&mut rejects(0..4), ALL), 3);
        assert_eq!((indexes(&page), page.is_full()), (vec![3], true));
    }

    #[test]
    fn what_no_service_wrote_is_skipped() {
        let message = |tenant: &str| {
            let rejects = vec![reject(0), Reject { tenant: tenant.to_owned(), ..reject(1) }];
            serde_json::to_vec(&Rejects { log: LogSeq(1), rejects }).unwrap()
        };
        let read = |payload: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "6");
            let (subject, payload) = ("daybook.rejects.acme".to_owned(), payload.to_vec().into());
            let stored = Stored { subject, sequence: 7, stored_at: Instant::from_millis(0), headers, payload };
            read(&Subjects::new("daybook").unwrap(), &stored)
        };
        assert_eq!(read(&message("acme")).unwrap().len(), 2);
        for other in [&message("evil")[..], b"", b"{}", b"\xff", b"{\"rejects\":7}"] {
            assert!(matches!(read(other), Err(NotWritten::Foreign(_))));
        }
    }
}
