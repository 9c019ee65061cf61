//! A value of a record, by what it is written as.

use std::borrow::Cow;
use std::fmt;

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundValue<'r> {
    Missing,
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'r str),
    Text(Cow<'r, str>),
    Array,
    Object,
    /// A text that no string can hold, such as half of a surrogate pair.
    Broken,
}

impl<'r> FoundValue<'r> {
    /// The value that is written so.
    pub(crate) fn of(raw: Option<&'r str>) -> Self {
        let Some(raw) = raw else { return Self::Missing };
        match raw.as_bytes().first() {
            Some(b'"') if !raw.contains('\\') => Self::Text(Cow::Borrowed(&raw[1..raw.len() - 1])),
            Some(b'"') => serde_json::from_str(raw).map_or(Self::Broken, |text| Self::Text(Cow::Owned(text))),
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            _ => Self::Number(raw),
        }
    }

    /// A text, or what a number or boolean is written as.
    pub(crate) fn written(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            _ => None,
        }
    }
}

/// Longest piece of a value that a reason repeats, in characters.
const MAX_SHOWN_CHARACTERS: usize = 64;

/// As a reason says what was found.
impl fmt::Display for FoundValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &str| -> String { text.chars().take(MAX_SHOWN_CHARACTERS).collect() };
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => flag.fmt(f),
            Self::Number(text) => f.write_str(&cut(text)),
            Self::Text(text) => write!(f, "{:?}", cut(text)),
            Self::Array => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
            Self::Broken => f.write_str("a text with half of a surrogate pair"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_are_written_as() {
        assert_eq!(FoundValue::of(Some(r#""a\u00e9\n""#)), FoundValue::Text("aé\n".into()));
        assert_eq!(FoundValue::of(Some(r#""\ud800""#)), FoundValue::Broken);
        assert_eq!(FoundValue::of(Some("-0.10")), FoundValue::Number("-0.10"));
        assert_eq!(FoundValue::of(Some("false")).written(), Some("false"));
        assert_eq!((FoundValue::of(None), FoundValue::of(Some("[]"))), (FoundValue::Missing, FoundValue::Array));
    }
}
