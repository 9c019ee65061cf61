//! The rows of an answer, within its bounds.

use crate::cursor;
use crate::order::Group;
use crate::question::Question;
use crate::ranking::Place;
use daybook_contracts::ask::MAX_ANSWER_BYTES;
use daybook_contracts::report::Row;
use daybook_domain::plan::Plan;
use std::collections::VecDeque;
use std::io;

/// Some of the rows that a question is answered by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// How many rows there are on all pages; of a ranking, how many members.
    pub total: u64,
    /// The cursor of the next page, when there is one.
    pub next: Option<String>,
}

/// The page that begins with the first of `groups`: all of them, or as many as an answer holds, but one at least.
/// `more` tells whether there are groups behind them.
pub(crate) fn from_start<'g>(
    question: &Question,
    plan: &Plan,
    groups: impl Iterator<Item = (Group<'g>, Option<Place>)>,
    total: u64,
    mut more: bool,
) -> Page {
    let (mut rows, mut bytes, mut last) = (Vec::new(), 0, None);
    for (group, place) in groups {
        let row = question.row(plan, &group, place);
        bytes += json_bytes(&row);
        if bytes > MAX_ANSWER_BYTES && !rows.is_empty() {
            more = true;
            break;
        }
        rows.push(row);
        last = Some(group);
    }
    let next = last.filter(|_| more).map(|last| cursor::write(question.hash(), question.order().values(plan, &last)));
    Page { rows, total, next }
}

/// The page around the member at `centre` in `groups`: all of them, or the nearest ones that an answer holds.
pub(crate) fn around<'g>(
    question: &Question,
    plan: &Plan,
    groups: impl Iterator<Item = (Group<'g>, Option<Place>)>,
    mut centre: usize,
    total: u64,
) -> Page {
    let with_size = |(group, place): (Group<'g>, Option<Place>)| {
        let row = question.row(plan, &group, place);
        let size = json_bytes(&row);
        (row, size)
    };
    let mut rows: VecDeque<(Row, usize)> = groups.map(with_size).collect();
    let mut bytes: usize = rows.iter().map(|(_, size)| size).sum();
    while bytes > MAX_ANSWER_BYTES && rows.len() > 1 {
        let dropped = if centre > rows.len() - 1 - centre {
            centre -= 1;
            rows.pop_front()
        } else {
            rows.pop_back()
        };
        bytes -= dropped.map_or(0, |(_, size)| size);
    }
    Page { rows: rows.into_iter().map(|(row, _)| row).collect(), total, next: None }
}

/// The bytes of a row in an answer, with its comma.
fn json_bytes(row: &Row) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(1);
    serde_json::to_writer(&mut counter, row).expect("rows can be written in JSON");
    counter.0
}
