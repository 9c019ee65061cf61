//! The rows of an answer, within its bounds.

use crate::cursor;
use crate::order::Group;
use crate::question::Question;
use crate::ranking::RankPlace;
use daybook_contracts::ask::MAX_ANSWER_BYTES;
use daybook_contracts::report::{Figure, Row};
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
    groups: impl Iterator<Item = (Group<'g>, Option<RankPlace>)>,
    total: u64,
    mut more: bool,
) -> Page {
    let (mut rows, mut room, mut last) = (Vec::new(), Room::default(), None);
    for (group, place) in groups {
        let row = question.row(plan, &group, place);
        if !room.takes(&rows, &row) && !rows.is_empty() {
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
    groups: impl Iterator<Item = (Group<'g>, Option<RankPlace>)>,
    mut centre: usize,
    total: u64,
) -> Page {
    let with_size = |(group, place): (Group<'g>, Option<RankPlace>)| {
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

/// What the rows of a page take, against [`MAX_ANSWER_BYTES`]. Rows are counted byte by byte only from where they may take too much:
/// that costs as much as writing them.
#[derive(Default)]
struct Room {
    /// At least as much as they take.
    at_most: usize,
    /// What they take, once that is counted.
    counted: Option<usize>,
}

impl Room {
    /// Whether a further row has room behind the others.
    fn takes(&mut self, rows: &[Row], next: &Row) -> bool {
        self.at_most += most_json_bytes(next);
        if self.at_most <= MAX_ANSWER_BYTES {
            return true;
        }
        let before = self.counted.unwrap_or_else(|| rows.iter().map(json_bytes).sum());
        let bytes = before + json_bytes(next);
        self.counted = Some(bytes);
        bytes <= MAX_ANSWER_BYTES
    }
}

/// More than the bytes of a row in an answer, or as many.
fn most_json_bytes(row: &Row) -> usize {
    /// Quotes, a colon and a comma of a cell; a sign, a point and at most 39 digits of a number.
    const FRAME: usize = 6;
    const NUMBER: usize = 48;
    /// Of one byte in a text: `\u0000`.
    const ESCAPED: usize = 6;
    let figure = |figure: &Figure| match figure {
        Figure::Text(text) => 2 + ESCAPED * text.len(),
        Figure::Null | Figure::Number(_) => NUMBER,
    };
    3 + row.0.iter().map(|(name, value)| FRAME + name.as_str().len() + figure(value)).sum::<usize>()
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

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::Name;
    use daybook_domain::value::Number;

    fn row(figures: Vec<Figure>) -> Row {
        let name = |n: usize| Name::new(&format!("column-{n}")).unwrap();
        Row(figures.into_iter().enumerate().map(|(n, figure)| (name(n), figure)).collect())
    }

    #[test]
    fn what_a_row_takes_at_most_is_never_less_than_what_it_takes() {
        let numbers = [(0, 0), (i128::MIN, 0), (i128::MAX, 36), (i128::MIN, 36), (-1, 36), (-5, 1)];
        let numbers = numbers.map(|(unscaled, scale)| Figure::Number(Number::new(unscaled, scale)));
        let texts = ["", "plain", "\u{0}\u{1}\"\\\n", "é漢", "\u{7f}\u{2028}"].map(|text| Figure::Text(text.into()));
        let figures: Vec<Figure> = numbers.into_iter().chain(texts).chain([Figure::Null]).collect();
        for figure in &figures {
            let row = row(vec![figure.clone()]);
            assert!(most_json_bytes(&row) >= json_bytes(&row), "{figure:?}");
        }
        for count in [0, figures.len()] {
            let row = row(figures[..count].to_vec());
            assert!(most_json_bytes(&row) >= json_bytes(&row));
        }
    }

    #[test]
    fn a_page_holds_exactly_what_fits() {
        // Both are far from their bound at first, and one of them is much shorter than it might be.
        for text in ["x".repeat(1_000), "\u{1}".repeat(1_000)] {
            let row = row(vec![Figure::Text(text.into())]);
            let fits = MAX_ANSWER_BYTES / json_bytes(&row);
            let (mut room, mut rows) = (Room::default(), Vec::new());
            while room.takes(&rows, &row) {
                rows.push(row.clone());
            }
            assert_eq!(rows.len(), fits);
        }
    }
}
