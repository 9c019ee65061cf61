//! Tells the format of a file by its name and its first lines.

use super::format::Format;
use super::json::Value;
use super::line_number::is_line_end;

/// What separates the cells of a row, in the order of preference.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// The column that every header has: it tells a header from a broken line of JSON.
const TIME_COLUMN: &str = "at";

/// The format of a text that begins with `head`; `None` while more of it is needed. `is_all`: there is no more to be had.
pub(super) fn format(head: &[u8], is_all: bool, ending: &str, wanted: Format) -> Option<Format> {
    let mut segments = segments(head);
    let Some((first, is_ended)) = segments.next() else { return is_all.then(|| certain(wanted, ending)) };
    let is_whole = is_ended || is_all;
    match (wanted, first[0]) {
        (Format::Ndjson | Format::Json, _) => Some(wanted),
        (Format::Csv, _) => is_whole.then_some(Format::Csv),
        (Format::Auto, _) if is_csv_ending(ending) => is_whole.then_some(Format::Csv),
        (Format::Auto, b'[') => Some(Format::Json),
        (Format::Auto, _) if !is_whole => None,
        (Format::Auto, b'{') if Value::is_one(first) => Some(Format::Ndjson),
        (Format::Auto, b'{') => match segments.next() {
            // The first line is cut off, or the first lines are one event.
            Some((second, _)) if matches!(second[0], b'{' | b'[') => Some(Format::Ndjson),
            Some(_) => Some(Format::Json),
            None => is_all.then_some(Format::Ndjson),
        },
        (Format::Auto, _) if is_header(first) => Some(Format::Csv),
        (Format::Auto, _) => Some(Format::Ndjson),
    }
}

fn certain(wanted: Format, ending: &str) -> Format {
    match wanted {
        Format::Auto if is_csv_ending(ending) => Format::Csv,
        Format::Auto => Format::Ndjson,
        wanted => wanted,
    }
}

fn is_csv_ending(ending: &str) -> bool {
    ["csv", "tsv"].iter().any(|csv| ending.eq_ignore_ascii_case(csv))
}

/// Lines that are not blank, without the blanks before and behind them, and whether the end of each is there.
fn segments(text: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let is_ended = text.last().is_some_and(|byte| is_line_end(*byte));
    let mut parts = text.split(|byte| is_line_end(*byte)).peekable();
    std::iter::from_fn(move || {
        let part = parts.next()?;
        Some((part.trim_ascii(), is_ended || parts.peek().is_some()))
    })
    .filter(|(part, _)| !part.is_empty())
}

fn is_header(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let delimiter = char::from(delimiter(line.as_bytes()));
    let mut cells = line.split(delimiter).map(|cell| cell.trim().trim_matches('"').trim());
    cells.any(|cell| cell == TIME_COLUMN) || named_delimiter(line.as_bytes()).is_some()
}

/// What separates the cells of a table whose text begins with `head`, and how many bytes of a first line say so.
pub(super) fn table(head: &[u8]) -> (u8, usize) {
    let first = head.split(|byte| is_line_end(*byte)).next().unwrap_or_default();
    match named_delimiter(first) {
        Some(delimiter) => (delimiter, first.len()),
        None => {
            let header = segments(head).next().map_or(&b""[..], |(header, _)| header);
            (delimiter(header), 0)
        }
    }
}

/// The delimiter in `sep=;`, with which some spreadsheets begin a file.
fn named_delimiter(line: &[u8]) -> Option<u8> {
    let text = line.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    match text.strip_prefix(b"sep=") {
        Some([delimiter]) => Some(*delimiter),
        // A tab at the end is blank.
        Some([]) if line.ends_with(b"\t") => Some(b'\t'),
        _ => None,
    }
}

/// The delimiter that the header holds most often outside of quotes.
fn delimiter(header: &[u8]) -> u8 {
    let count = |delimiter: u8| {
        let mut is_quoted = false;
        header
            .iter()
            .filter(|byte| {
                is_quoted ^= **byte == b'"';
                **byte == delimiter && !is_quoted
            })
            .count()
    };
    let mut best = (DELIMITERS[0], count(DELIMITERS[0]));
    for delimiter in &DELIMITERS[1..] {
        let found = count(*delimiter);
        if found > best.1 {
            best = (*delimiter, found);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(head: &str, ending: &str) -> Option<Format> {
        format(head.as_bytes(), true, ending, Format::Auto)
    }

    #[test]
    fn the_format_is_told_by_name_or_first_line() {
        for (head, ending, expected) in [
            ("{\"a\":1}\n{\"a\":2}\n", "ndjson", Format::Ndjson),
            ("\u{1e}{\"a\":1}\n", "seq", Format::Ndjson),
            ("{\"a\":1}\r{\"a\":2}", "", Format::Ndjson),
            ("{\"a\":\n{\"a\":2}\n", "", Format::Ndjson),
            ("{\n  \"a\": 1\n}\n", "json", Format::Json),
            ("\n [\n{\"a\":1}]", "json", Format::Json),
            ("id;at;store\n", "", Format::Csv),
            ("\"id\",\"at\"\n", "txt", Format::Csv),
            ("sep=;\nid;at\n", "", Format::Csv),
            ("when,who\n", "csv", Format::Csv),
            ("id\tat\n", "tsv", Format::Csv),
            ("oops\n{\"a\":1}\n", "ndjson", Format::Ndjson),
            ("", "csv", Format::Csv),
            ("", "", Format::Ndjson),
        ] {
            assert_eq!(told(head, ending), Some(expected), "{head:?} {ending:?}");
        }
    }

    #[test]
    fn no_more_is_waited_for_than_is_needed() {
        let part = |head: &str, ending: &str| format(head.as_bytes(), false, ending, Format::Auto);
        assert_eq!(part("", "ndjson"), None);
        assert_eq!(part("{\"a\":1}", ""), None);
        assert_eq!(part("{\"a\":1}\n", ""), Some(Format::Ndjson));
        assert_eq!(part("[", ""), Some(Format::Json));
        assert_eq!(part("{\n", ""), None);
        assert_eq!(part("id,a", "csv"), None);
        assert_eq!(part("id,at\n", "csv"), Some(Format::Csv));
    }

    #[test]
    fn the_delimiter_is_told_by_the_header() {
        assert_eq!(table(b"id,at\n1,2;3;4\n"), (b',', 0));
        assert_eq!(table(b"id;at;\"a,b,c,d\"\n"), (b';', 0));
        assert_eq!(table(b"id\tat\n"), (b'\t', 0));
        assert_eq!(table(b"sep=|\r\nid|at\r\n"), (b'|', 5));
        assert_eq!(table(b"id\n"), (b',', 0));
    }
}
