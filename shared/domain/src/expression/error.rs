//! What is wrong with an expression, and where.

use std::fmt;

/// Longest piece of an expression that a message repeats, in characters.
const MAX_EXCERPT_CHARACTERS: usize = 40;

/// A mistake in an expression, with its place.
///
/// ```
/// use daybook_domain::expression::Aggregate;
/// let source = "quantile(delay 0.95)";
/// let error = Aggregate::parse(source).unwrap_err();
/// assert_eq!(error.to_string(), r#"at 15: expected "," and then q, found 0.95; such as quantile(delay, 0.95)"#);
/// assert_eq!(error.caret(source), "quantile(delay 0.95)\n               ^^^^");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Where the mistake starts: bytes from the start of the text.
    pub position: usize,
    /// How many bytes are wrong; 0 when something is missing at the end.
    pub length: usize,
    /// What was found and what was expected.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
}

impl ExpressionError {
    /// The offending line of `source`, and under it `^^^` below the mistake.
    ///
    /// Columns are counted in characters; tabs before the mistake are repeated, so that the two lines stay aligned.
    pub fn caret(&self, source: &str) -> String {
        let start = floor_boundary(source, self.position);
        let end = floor_boundary(source, self.position.saturating_add(self.length));
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let line = source[line_start..line_end].trim_end_matches('\r');
        let mut carets: String =
            source[line_start..start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let width = source[start..end.min(line_end)].chars().count().max(1);
        carets.extend(std::iter::repeat_n('^', width));
        format!("{line}\n{carets}")
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {}", self.position, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ExpressionError {}

/// A piece of the source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub(super) fn error(self, message: impl Into<String>) -> ExpressionError {
        ExpressionError { position: self.start, length: self.end - self.start, message: message.into(), hint: None }
    }

    pub(super) fn error_with_hint(self, message: impl Into<String>, hint: impl Into<String>) -> ExpressionError {
        ExpressionError { hint: Some(hint.into()), ..self.error(message) }
    }
}

/// A piece of text short enough to be repeated in a message.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT_CHARACTERS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

fn floor_boundary(source: &str, position: usize) -> usize {
    let mut position = position.min(source.len());
    while !source.is_char_boundary(position) {
        position -= 1;
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: usize, length: usize) -> ExpressionError {
        ExpressionError { position, length, message: "wrong".to_owned(), hint: None }
    }

    #[test]
    fn display_says_place_and_hint() {
        assert_eq!(at(3, 1).to_string(), "at 3: wrong");
        let error =
            Span { start: 12, end: 20 }.error_with_hint(r#"unknown field "arr_dela""#, r#"did you mean "arr_delay"?"#);
        assert_eq!(error.to_string(), r#"at 12: unknown field "arr_dela"; did you mean "arr_delay"?"#);
        assert_eq!((error.position, error.length), (12, 8));
    }

    #[test]
    fn carets_stand_under_the_mistake() {
        assert_eq!(at(4, 3).caret("a = bcd"), "a = bcd\n    ^^^");
        assert_eq!(at(3, 0).caret("a ="), "a =\n   ^", "the end");
        assert_eq!(at(0, 0).caret(""), "\n^");
        assert_eq!(at(7, 9).caret("'é' = 'ü'"), "'é' = 'ü'\n      ^^^", "characters, not bytes; past the end");
        assert_eq!(at(8, 1).caret("a = 1\r\n\tb = 2\r\nc"), "\tb = 2\n\t^");
        assert_eq!(at(0, 9).caret("abc\ndef"), "abc\n^^^", "only the first line of a longer piece");
        assert_eq!(at(99, usize::MAX).caret("é"), "é\n ^");
        assert_eq!(at(1, 1).caret("é"), "é\n^", "inside a character");
    }

    #[test]
    fn excerpts_are_short() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
    }
}
