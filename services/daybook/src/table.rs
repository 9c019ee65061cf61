//! Lists for people, on standard output: tables, and how numbers and times are written in them.
//!
//! A terminal gets a light rule under the headings and no wider a table than it is; a pipe gets neither, so that
//! `grep` and `awk` see a row a line. There is no colour.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle, Width};
use daybook_contracts::report::Figure;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

/// The look in a terminal; elsewhere there are no lines at all.
const RULED: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));
/// A terminal that does not tell its width.
const DEFAULT_WIDTH: u16 = 80;
/// Longest text that is never wrapped, in characters: a date.
const SHORT_TEXT: u16 = 10;
/// Spaces between columns.
const GAP: u16 = 2;

/// Rows under headings. Columns of numbers are aligned to the right.
///
/// ```
/// use daybook::table::{Table, count};
/// let mut table = Table::new(["TENANT", "EVENTS"]);
/// table.row(["ABQ", &count(1_234)]);
/// assert_eq!(table.render(None), "TENANT  EVENTS\nABQ      1,234\n");
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self { headings: headings.into_iter().map(|heading| plain(&heading.into())).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the headings are left out, and missing ones are empty.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut row: Vec<String> =
            cells.into_iter().take(self.headings.len()).map(|cell| plain(cell.as_ref())).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table to standard output, as wide as the terminal at most.
    ///
    /// # Errors
    /// When standard output cannot be written to, except because its reader has seen enough.
    pub fn print(&self) -> io::Result<()> {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| comfy_table::Table::new().width().unwrap_or(DEFAULT_WIDTH));
        print(&self.render(width))
    }

    /// The table as text, with a line feed at its end: for a terminal of that width, or else for a pipe.
    pub fn render(&self, width: Option<u16>) -> String {
        let mut table = comfy_table::Table::new();
        table.force_no_tty().load_style(TableStyle::new());
        if let Some(width) = width {
            // The last column's gap is cut off again.
            table
                .load_style(RULED)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width.saturating_add(GAP));
        }
        let numeric: Vec<bool> = (0..self.headings.len()).map(|column| self.is_numeric(column)).collect();
        let aligned = |cells: &[String]| -> Vec<Cell> {
            let right = |(cell, numeric): (&String, &bool)| {
                let alignment = if *numeric { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(cell).set_alignment(alignment)
            };
            cells.iter().zip(&numeric).map(right).collect()
        };
        let headings = aligned(&self.headings).into_iter().zip(&self.headings);
        table.set_header(headings.map(|(cell, heading)| cell.set_delimiter(word_delimiter(heading))));
        table.add_rows(self.rows.iter().map(|row| aligned(row)));
        let least = self.least_widths(&numeric, width.unwrap_or(u16::MAX));
        for (column, least) in table.column_iter_mut().zip(least) {
            column.set_padding((0, GAP));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        let mut text = String::new();
        for line in table.lines() {
            let line = line.trim_end();
            // The rule reaches over the last column's gap.
            let is_rule = width.is_some() && !line.is_empty() && line.chars().all(|c| c == '─');
            let end = if is_rule { line.len() - usize::from(GAP) * '─'.len_utf8() } else { line.len() };
            text.push_str(&line[..end]);
            text.push('\n');
        }
        text
    }

    /// How wide columns stay where room is short, with their gaps. A number cut in two reads as another one, and short
    /// texts gain nothing: only longer texts are wrapped, and headings, between words if that is possible.
    fn least_widths(&self, numeric: &[bool], width: u16) -> Vec<u16> {
        let characters = |text: &str| u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        let (mut least, mut whole_words) = (Vec::new(), Vec::new());
        for (column, heading) in self.headings.iter().enumerate() {
            let widest = self.rows.iter().map(|row| characters(&row[column])).max().unwrap_or(0);
            let cells = if numeric[column] || widest <= SHORT_TEXT { widest.max(1) } else { 1 };
            let word = heading.split(word_delimiter(heading)).map(characters).max().unwrap_or(0);
            least.push(cells.saturating_add(GAP));
            whole_words.push(cells.max(word).saturating_add(GAP));
        }
        let needed: u64 = whole_words.iter().copied().map(u64::from).sum();
        if needed <= u64::from(width) + u64::from(GAP) { whole_words } else { least }
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().map(|row| row[column].as_str()).filter(|cell| !matches!(*cell, "" | "-"));
        let mut numbers = 0;
        cells.all(|cell| {
            numbers += 1;
            is_number(cell)
        }) && numbers > 0
    }
}

/// What stands between the words of a heading, such as `ARR_DELAY_AVG` or `FIRST DAY`.
fn word_delimiter(heading: &str) -> char {
    if heading.contains(' ') { ' ' } else { '_' }
}

/// Digits with separators, a point and a sign; `%` may follow.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let digits = digits.strip_suffix('%').unwrap_or(digits);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.'))
}

/// Without characters that would move a terminal's cursor or end the line: what producers sent may hold any.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Writes to standard output.
///
/// # Errors
/// When that fails, except because the reader has seen enough, as in `daybook get tenants | head`.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    unless_closed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// A reader that went away is no error of the writer.
fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A cell of a report, exactly: `-` for null, no thousands separators.
pub fn figure(figure: &Figure) -> String {
    match figure {
        Figure::Null => "-".to_owned(),
        figure => figure.to_string(),
    }
}

/// `340 ms`, `4.2 s`, `1m 20s`, `2h 05m` or `3d 04h`: two units at most, what is smaller is cut off.
pub fn duration(duration: Duration) -> String {
    let (millis, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds}.{} s", millis / 100 % 10),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// With a comma between thousands: `1,002,073`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something, such as `1 view` or `1,002 views`.
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::value::Number;

    fn airports() -> Table {
        let mut table = Table::new(["TENANT", "NAME", "DATE", "FLIGHTS", "AVERAGE"]);
        table.row(["ABQ", "Albuquerque International Sunport", "2013-03-08", "1", "-3.5"]);
        table.row(["ATL", "Hartsfield Jackson Atlanta Intl", "2013-03-08", "1,017", "-"]);
        table
    }

    #[test]
    fn a_pipe_gets_bare_rows() {
        assert_eq!(
            airports().render(None),
            "TENANT  NAME                               DATE        FLIGHTS  AVERAGE\n\
             ABQ     Albuquerque International Sunport  2013-03-08        1     -3.5\n\
             ATL     Hartsfield Jackson Atlanta Intl    2013-03-08    1,017        -\n"
        );
    }

    #[test]
    fn a_terminal_gets_a_rule() {
        assert_eq!(
            airports().render(Some(72)),
            "TENANT  NAME                               DATE        FLIGHTS  AVERAGE\n\
             ───────────────────────────────────────────────────────────────────────\n\
             ABQ     Albuquerque International Sunport  2013-03-08        1     -3.5\n\
             ATL     Hartsfield Jackson Atlanta Intl    2013-03-08    1,017        -\n"
        );
    }

    #[test]
    fn a_table_is_no_wider_than_its_terminal() {
        for width in [60, 40] {
            let text = airports().render(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}\n{text}");
            assert!(text.contains("ABQ"), "{text}");
        }
        // Narrower than numbers and dates are: those stay whole.
        for width in [0, 3, 20] {
            let text = airports().render(Some(width));
            assert!(["ABQ", "2013-03-08", "1,017"].iter().all(|cell| text.contains(cell)), "{width}\n{text}");
        }
    }

    #[test]
    fn rows_fit_their_headings() {
        let mut table = Table::new(["A", "B"]);
        assert!(table.is_empty());
        assert_eq!(table.render(None), "A  B\n");
        table.row(["1"]).row(["2", "x", "y"]);
        assert_eq!(table.render(None), "A  B\n1\n2  x\n");
        assert_eq!(Table::new(Vec::<String>::new()).render(None).trim(), "");
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        let mut table = Table::new(["CARRIER"]);
        table.row(["\u{1b}[31mB6\nUA\t"]);
        assert_eq!(table.render(None), "CARRIER\n\\u{1b}[31mB6\\nUA\\t\n");
    }

    #[test]
    fn numbers_are_known_by_their_looks() {
        for number in ["0", "-3.5", "1,234", "98.5%"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["2013-03-08", "05:00", "B6", "", "-", "1m 20s", "340 ms", "-x", ".", "1e3"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert!(unless_closed(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(unless_closed(Err(io::ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn figures_are_exact() {
        assert_eq!(figure(&Figure::Null), "-");
        assert_eq!(figure(&Figure::Text("B6".into())), "B6");
        assert_eq!(figure(&Figure::Number(Number::new(-350, 2))), "-3.50");
        assert_eq!(figure(&Figure::integer(344_081_194)), "344081194");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (4_290, "4.2 s"),
            (59_999, "59.9 s"),
            (80_000, "1m 20s"),
            (3_599_999, "59m 59s"),
            (7_500_000, "2h 05m"),
            (273_600_000, "3d 04h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert!(duration(Duration::MAX).ends_with('h'));
    }

    #[test]
    fn counts_have_separators() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_002_073, "1,002,073"), (100_000, "100,000")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }
}
