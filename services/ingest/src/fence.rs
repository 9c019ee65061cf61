//! What the end of the log tells the owner of a partition: how far the log reaches, and what became of an append.

use crate::sequencer::Marks;
use async_nats::HeaderMap;
use daybook_contracts::headers;
use daybook_runtime::append::header_number;
use daybook_runtime::log;

/// The headers that every batch carries: which one it follows (0 for none), and how far the log reaches with it.
pub fn headers(last: u64, marks: Marks) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::FOLLOWS, last.to_string());
    map.insert(headers::INBOX_SEQ, marks.through.inbox.to_string());
    map.insert(headers::INBOX_EVENTS, marks.through.events.to_string());
    map.insert(headers::CATALOG_SEQ, marks.catalog.to_string());
    map.insert(headers::DAYS_SEQ, marks.days.to_string());
    map
}

/// How far the log reaches with the batch that carries these headers.
///
/// # Panics
/// When they are not a batch's: only ingest writes to EVENTS.
pub fn marks_of(map: &HeaderMap) -> Marks {
    let number = |name| header_number(map, name);
    let through = log::through(map).expect("ingest puts its marks on every batch");
    let (catalog, days) = (number(headers::CATALOG_SEQ).unwrap_or(0), number(headers::DAYS_SEQ).unwrap_or(0));
    Marks { through, catalog, days }
}

/// What became of an append that the broker did not confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not there, and nothing else is: try again.
    Absent,
    /// It is there, at this sequence.
    Stored(u64),
    /// Another owner's batch stands where it should be: begin again from the log.
    Lost,
}

/// What became of `payload`, to be appended behind `last` (0 for none), as the partition's last batch tells, given by its
/// sequence, headers and payload.
///
/// The same payload is not enough to know it by: of an owner that slept while INBOX was trimmed, the next batch can look
/// like that of another one, though it has not seen the definitions in the batches between.
pub fn standing(last: u64, payload: &[u8], end: Option<(u64, &HeaderMap, &[u8])>) -> Standing {
    match end {
        None if last == 0 => Standing::Absent,
        Some((sequence, ..)) if sequence == last => Standing::Absent,
        Some((sequence, map, stored))
            if sequence > last && stored == payload && header_number(map, headers::FOLLOWS) == Some(last) =>
        {
            Standing::Stored(sequence)
        }
        _ => Standing::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::log::Through;
    use daybook_domain::ids::InboxSeq;

    #[test]
    fn marks_come_back_from_headers() {
        let marks = Marks { through: Through { inbox: InboxSeq(7), events: 3 }, catalog: 5, days: 9 };
        assert_eq!(marks_of(&headers(4, marks)), marks);
    }

    #[test]
    fn the_end_of_the_log_tells_what_became_of_an_append() {
        let follows = |last| headers(last, Marks::default());
        assert_eq!(standing(0, b"a", None), Standing::Absent);
        assert_eq!(standing(4, b"a", Some((4, &follows(2), b"a"))), Standing::Absent);
        assert_eq!(standing(4, b"a", Some((6, &follows(4), b"a"))), Standing::Stored(6));
        assert_eq!(standing(0, b"a", Some((6, &follows(0), b"b"))), Standing::Lost);
        // It looks the same, but another owner's batch stands between.
        assert_eq!(standing(4, b"a", Some((6, &follows(5), b"a"))), Standing::Lost);
        assert_eq!(standing(4, b"a", Some((6, &HeaderMap::new(), b"a"))), Standing::Lost);
        // A log that ends before what was known is another log.
        assert_eq!(standing(4, b"a", None), Standing::Lost);
        assert_eq!(standing(4, b"a", Some((3, &follows(2), b"a"))), Standing::Lost);
    }
}
