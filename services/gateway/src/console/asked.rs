//! The query of a page's URL.

use crate::http::pieces;
use crate::problem::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a URL's query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b',');

/// The pieces of a query, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Reads a query.
    ///
    /// # Errors
    /// It has too many pieces, or is not UTF-8.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        pieces(query).map(Self)
    }

    /// The first text of that name that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, text)| known == name && !text.is_empty()).map(|(_, text)| text.as_str())
    }

    /// Whether there is such a piece.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A whole number; none when it is not one.
    pub(super) fn whole(&self, name: &str) -> Option<u32> {
        self.text(name)?.parse().ok()
    }

    /// The same without these.
    pub(super) fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// The same with another value of one piece.
    pub(super) fn with(&self, name: &str, text: &str) -> Self {
        let mut changed = self.without(&[name]);
        changed.0.push((name.to_owned(), text.to_owned()));
        changed
    }

    /// As a URL's query, without the question mark. Pieces without a text are kept: `dimensions=` is an empty list.
    pub(super) fn query(&self) -> String {
        let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let pieces: Vec<_> = self.0.iter().map(|(name, text)| format!("{}={}", escape(name), escape(text))).collect();
        pieces.join("&")
    }

    /// A link to `path` with this query.
    pub(super) fn link(&self, path: &str) -> String {
        match self.0.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", self.query()),
        }
    }

    /// The pieces, for hidden fields of a form.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written() {
        let asked = Asked::read("where=store+in+%28%27%C3%A4%27%29&page=2&dimensions=&x").unwrap();
        assert_eq!(asked.text("where"), Some("store in ('ä')"));
        assert_eq!((asked.whole("page"), asked.text("dimensions"), asked.has("x")), (Some(2), None, true));
        assert_eq!(Asked::read(&asked.query()).unwrap(), asked);
        assert_eq!(asked.without(&["where", "x"]).with("page", "3").query(), "dimensions=&page=3");
        assert!(Asked::read("a=%ff").is_err() && Asked::read(&"a&".repeat(65)).is_err());
    }
}
