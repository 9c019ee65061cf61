//! YAML as a tree in which every node knows its place.
//!
//! Plain scalars are read as YAML 1.2 has it, and no looser: `NO`, `05:00`, `007`, `1_000` and `2013-01-01` are texts.

use super::mistake::{Mistake, Place};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MessageFormatter, Options, Spanned, UserMessageFormatter};
use std::fmt;
use std::path::Path;

/// Most nodes of a file: enough for the most definitions of one apply.
const MAX_NODES: usize = 250_000;
/// Deepest nesting: definitions need six levels, and the tree is read by recursion.
const MAX_DEPTH: usize = 32;
/// Longest piece of the file that a message repeats, in characters.
const MAX_EXCERPT_CHARACTERS: usize = 40;

/// A file, read.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) documents: Vec<Node>,
}

/// A node of the tree. Where it stands is where it is written, even when an alias refers to it from elsewhere.
pub(super) struct Node(Spanned<Value>);

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
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
    pub(super) fn parse(file: &'a Path, text: &'a str) -> Result<Self, Mistake> {
        let at = |line, column| Some(Place { file: file.to_owned(), line, column });
        match serde_saphyr::from_multiple_with_options(text, options()) {
            Ok(documents) if documents.is_empty() => {
                Err(Mistake::new(at(1, 1), "nothing is defined here; expected kinds, views or tenants"))
            }
            Ok(documents) => Ok(Self { file, text, documents }),
            Err(error) => {
                let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
                let message = UserMessageFormatter.format_message(error.without_snippet());
                Err(Mistake::new(at(line, column), format!("not valid YAML: {}", message.replace('\n', " "))))
            }
        }
    }

    pub(super) fn place(&self, node: &Node) -> Place {
        let location = node.0.defined;
        Place { file: self.file.to_owned(), line: location.line(), column: location.column() }
    }

    /// Where the character stands that is `bytes` from the start of the node's text; the node itself where the file
    /// writes that text in another way, such as over several lines or with escapes.
    pub(super) fn place_within(&self, node: &Node, bytes: usize) -> Place {
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
    pub(super) fn describe(&self, node: &Node) -> String {
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
    pub(super) fn written(&self, node: &Node) -> Option<&'a str> {
        let span = node.0.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        self.text.get(start..start.checked_add(length)?)
    }
}

impl Node {
    pub(super) fn value(&self) -> &Value {
        &self.0.value
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self.value() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value(), Value::Null)
    }
}

/// A piece of text short enough to be repeated in a message.
pub(super) fn excerpt(text: &str) -> String {
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
