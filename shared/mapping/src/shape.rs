//! The values at some paths of a JSON text, found in one pass: everything else is only checked to be JSON.

use crate::pointer::Pointer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The paths that are wanted, as a tree. Each wanted path has a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    root: Node,
    slots: usize,
    nodes: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Its number among the nodes, from 1; the root is 0.
    ordinal: usize,
    slot: Option<usize>,
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    key: Box<str>,
    /// The key as an index of an array, where it can be one.
    index: Option<usize>,
    node: Node,
}

impl Shape {
    /// The slot of the path's value.
    pub(crate) fn slot(&mut self, pointer: &Pointer) -> usize {
        let mut node = &mut self.root;
        for step in &pointer.steps {
            let at = node.children.iter().position(|child| *child.key == **step).unwrap_or_else(|| {
                self.nodes += 1;
                let is_index = step == "0" || !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
                let index = step.parse().ok().filter(|_| is_index);
                let fresh = Node { ordinal: self.nodes, ..Node::default() };
                node.children.push(Child { key: step.as_str().into(), index, node: fresh });
                node.children.len() - 1
            });
            node = &mut node.children[at].node;
        }
        *node.slot.get_or_insert_with(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// The value of each slot as it is written, where there is one.
    ///
    /// # Errors
    /// When the text is not one JSON value, or a key on the way to a wanted value stands twice in its object.
    pub(crate) fn read<'r>(&self, text: &'r str) -> Result<Vec<Option<&'r str>>, serde_json::Error> {
        let mut slots = Slots { values: vec![None; self.slots], seen: vec![false; self.nodes + 1] };
        let mut json = serde_json::Deserializer::from_str(text);
        Walk { node: &self.root, slots: &mut slots }.deserialize(&mut json)?;
        json.end()?;
        Ok(slots.values)
    }
}

struct Slots<'r> {
    values: Vec<Option<&'r str>>,
    /// Which nodes have been met.
    seen: Vec<bool>,
}

/// Reads the value of a node.
struct Walk<'s, 'o, 'r> {
    node: &'s Node,
    slots: &'o mut Slots<'r>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Some(slot) = self.node.slot else { return deserializer.deserialize_any(self) };
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        self.slots.values[slot] = Some(raw);
        if !self.node.children.is_empty() && raw.starts_with(['{', '[']) {
            let mut json = serde_json::Deserializer::from_str(raw);
            json.deserialize_any(self).map_err(D::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Key(&self.node.children))? {
            let Some(at) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let child = &self.node.children[at];
            if std::mem::replace(&mut self.slots.seen[child.node.ordinal], true) {
                return Err(A::Error::custom(format_args!("the key {:?} stands twice in one object", child.key)));
            }
            map.next_value_seed(Walk { node: &child.node, slots: &mut *self.slots })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let child = self.node.children.iter().find(|child| child.index == Some(index));
            let more = match child {
                Some(child) => seq.next_element_seed(Walk { node: &child.node, slots: &mut *self.slots })?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    // A single value has nothing inside.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Finds which child a key is.
struct Key<'s>(&'s [Child]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|child| *child.key == *key))
    }
}

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'r> {
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

impl<'r> Found<'r> {
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
impl fmt::Display for Found<'_> {
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

    fn read<'r>(paths: &[&str], text: &'r str) -> Result<Vec<Option<&'r str>>, String> {
        let mut shape = Shape::default();
        let slots: Vec<usize> = paths.iter().map(|path| shape.slot(&Pointer::parse(path).unwrap())).collect();
        let values = shape.read(text).map_err(|error| error.to_string())?;
        Ok(slots.into_iter().map(|slot| values[slot]).collect())
    }

    #[test]
    fn values_are_found_by_their_paths() {
        let text = r#" {"a": {"b": [1.50, {"c": "x"}], "~/": null}, "z": {"q": 1}, "": true, "n": 12e2} "#;
        let found = read(&["/a/b/0", "/a/b/1/c", "/a/b", "/a/~0~1", "/", "/n", "/n/x", "/gone", "/a/b/2"], text);
        let expected = [
            Some("1.50"),
            Some("\"x\""),
            Some(r#"[1.50, {"c": "x"}]"#),
            Some("null"),
            Some("true"),
            Some("12e2"),
            None,
            None,
            None,
        ];
        assert_eq!(found.unwrap(), expected);
        assert_eq!(read(&["", ""], "17").unwrap(), [Some("17"), Some("17")]);
        assert_eq!(read(&["/01", "/1"], "[1, 2]").unwrap(), [None, Some("2")], "an index has no leading zero");
        assert_eq!(read(&["/1"], r#"{"1": 2}"#).unwrap(), [Some("2")], "but a key may look like one");
    }

    #[test]
    fn a_key_that_stands_twice_on_the_way_is_refused() {
        assert!(read(&["/a"], r#"{"a": 1, "b": 2, "a": 3}"#).unwrap_err().contains("\"a\" stands twice"));
        assert!(read(&["/a/b"], r#"{"a": {"b": 1}, "a": {}}"#).unwrap_err().contains("\"a\" stands twice"));
        assert!(read(&["/a", "/a/b"], r#"{"a": {"b": 1, "b": 1}}"#).unwrap_err().contains("\"b\" stands twice"));
        assert_eq!(read(&["/a"], r#"{"a": 1, "b": 2, "b": 3}"#).unwrap(), [Some("1")], "nobody asks for b");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{\"a\": }", "{\"a\": 1} x", "{\"b\": tru}", "[1,]", "{\"a\": 01}", "nul"] {
            assert!(read(&["/a"], text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_what_they_are_written_as() {
        assert_eq!(Found::of(Some(r#""a\u00e9\n""#)), Found::Text("aé\n".into()));
        assert_eq!(Found::of(Some(r#""\ud800""#)), Found::Broken);
        assert_eq!(Found::of(Some("-0.10")), Found::Number("-0.10"));
        assert_eq!(Found::of(Some("false")).written(), Some("false"));
        assert_eq!((Found::of(None), Found::of(Some("[]"))), (Found::Missing, Found::Array));
    }
}
