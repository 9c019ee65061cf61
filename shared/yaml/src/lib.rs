//! YAML as a tree in which every node knows its place, so that a mistake is shown where it is written. Pure.
//!
//! Plain scalars are read as YAML 1.2 has it, and no looser: `NO`, `05:00`, `007`, `1_000` and `2013-01-01` are texts.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MessageFormatter, Options, Spanned, UserMessageFormatter};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most nodes of a file: enough for the most definitions of one apply.
const MAX_NODES: usize = 250_000;
/// Deepest nesting: definitions and rules need six levels, and the tree is read by recursion.
const MAX_DEPTH: usize = 32;
/// Longest piece of the file that a message repeats, in characters.
const MAX_EXCERPT_CHARACTERS: usize = 40;

/// A place in a file; written `examples/x.yaml:12:9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// What is wrong in a file, and where; written `rules.yaml:12:9: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub place: Place,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for Mistake {}

/// A file, read.
pub struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
    /// None for an empty file.
    pub documents: Vec<Node>,
}

/// A node of the tree. Where it stands is where it is written, even when an alias refers to it from elsewhere.
pub struct Node(Spanned<Value>);

/// What a node is.
#[derive(Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// A number that is no integer; none is expected anywhere.
    Fraction,
    Text(String),
    List(Vec<Node>),
    /// In the file's order; keys may be of any type and may repeat.
    Mapping(Vec<(Node, Node)>),
}

impl<'a> Source<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no YAML, or has too many nodes or too deep ones.
    pub fn parse(file: &'a Path, text: &'a str) -> Result<Self, Mistake> {
        match serde_saphyr::from_multiple_with_options(text, options()) {
            Ok(documents) => Ok(Self { file, text, documents }),
            Err(error) => {
                let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
                let message = UserMessageFormatter.format_message(error.without_snippet()).replace('\n', " ");
                let place = Place { file: file.to_owned(), line, column };
                Err(Mistake { place, message: format!("not valid YAML: {message}") })
            }
        }
    }

    /// The beginning of the file.
    pub fn start(&self) -> Place {
        Place { file: self.file.to_owned(), line: 1, column: 1 }
    }

    /// A mistake at this node.
    pub fn mistake(&self, node: &Node, message: impl Into<String>) -> Mistake {
        Mistake { place: self.place(node), message: message.into() }
    }

    /// Where a node is written.
    pub fn place(&self, node: &Node) -> Place {
        let location = node.0.defined;
        Place { file: self.file.to_owned(), line: location.line(), column: location.column() }
    }

    /// Where the character stands that is `bytes` from the start of the node's text; the node itself where the file
    /// writes that text in another way, such as over several lines or with escapes.
    pub fn place_within(&self, node: &Node, bytes: usize) -> Place {
        let mut place = self.place(node);
        let (Some(written), Some(text)) = (self.written(node), node.as_text()) else { return place };
        let quoted = written.strip_prefix(['\'', '"']).and_then(|rest| rest.strip_suffix(['\'', '"']));
        let before = text.get(..bytes).unwrap_or(text);
        if !text.contains('\n') && (written == text || quoted == Some(text)) {
            place.column += before.chars().count() as u64 + u64::from(quoted == Some(text));
        }
        place
    }

    /// What was found where something else was expected.
    pub fn describe(&self, node: &Node) -> String {
        let written = || self.written(node).map_or_else(String::new, excerpt);
        match node.value() {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(_) | Value::Fraction => format!("the number {}", written()),
            Value::Text(text) => format!("{:?}", excerpt(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }

    /// The scalar as the file has it.
    pub fn written(&self, node: &Node) -> Option<&'a str> {
        self.text.get(self.span(node)?)
    }

    /// Where a scalar stands in the text, in bytes.
    pub fn span(&self, node: &Node) -> Option<Range<usize>> {
        let span = node.0.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        self.text.get(start..end).map(|_| start..end)
    }
}

impl Node {
    /// What the node is.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The text, where the node is one.
    pub fn as_text(&self) -> Option<&str> {
        match self.value() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The key of that name, where the node is a mapping that has it.
    pub fn key(&self, name: &str) -> Option<&Self> {
        match self.value() {
            Value::Mapping(entries) => entries.iter().map(|(key, _)| key).find(|key| key.as_text() == Some(name)),
            _ => None,
        }
    }

    /// The items of a list; of anything else itself.
    pub fn one_or_many(&self) -> &[Self] {
        match self.value() {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        matches!(self.value(), Value::Null)
    }
}

/// A piece of text short enough to be repeated in a message.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT_CHARACTERS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        // Repeated keys are told by the reader, with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = mapping.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Mapping(entries))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Source<'_>, Mistake> {
        Source::parse(Path::new("f.yaml"), text)
    }

    #[test]
    fn every_node_knows_its_place() {
        let source = parse("a: NO\nb: ['x y', 007, 1_000, 12, 0.5, true, ~]\n---\nc: {}\n").unwrap();
        assert_eq!(source.documents.len(), 2);
        let Value::Mapping(entries) = source.documents[0].value() else { panic!() };
        let (key, list) = &entries[1];
        assert_eq!((source.place(key).to_string(), source.span(key)), ("f.yaml:2:1".to_owned(), Some(6..7)));
        let items = list.one_or_many();
        let texts: Vec<Option<&str>> = items.iter().map(Node::as_text).collect();
        assert_eq!(texts, [Some("x y"), Some("007"), Some("1_000"), None, None, None, None]);
        let shown: Vec<String> = items.iter().map(|item| source.describe(item)).collect();
        assert_eq!(shown, ["\"x y\"", "\"007\"", "\"1_000\"", "the number 12", "the number 0.5", "true", "nothing"]);
        assert_eq!(source.written(&items[0]), Some("'x y'"));
        assert_eq!(source.place_within(&items[0], 2).column, source.place(&items[0]).column + 3);
        assert_eq!(entries[0].1.as_text(), Some("NO"));
        assert!(source.documents[0].key("b").is_some() && source.documents[0].key("c").is_none());
    }

    #[test]
    fn what_is_no_yaml_is_refused_at_its_place() {
        let error = parse("a: 1\nb: [\n").map(drop).unwrap_err();
        assert!(error.to_string().starts_with("f.yaml:") && error.message.starts_with("not valid YAML: "), "{error}");
        assert!(parse("").unwrap().documents.is_empty());
        let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("[{}]", "1,".repeat(MAX_NODES + 1))).is_err());
    }
}
