//! The fields of a mapping by name and type, and what is wrong with them.

use super::mistake::{Mistake, Place};
use daybook_domain::expression::ExpressionError;
use daybook_domain::ids::NameError;
use daybook_domain::nearest::nearest;
use daybook_yaml::{Node, Source, Value, excerpt};
use std::str::FromStr;

/// Longest line of an expression that is shown with carets under it, in characters: a terminal's line or two.
const MAX_CARET_CHARACTERS: usize = 200;
/// Most names that a hint lists.
const MAX_LISTED_NAMES: usize = 12;

/// Reads nodes of one file. What is wrong with one is noted, and reading goes on, so that all mistakes are told at once:
/// whoever gets `None` knows that it has been.
pub(super) struct Reader<'a, 'm> {
    pub(super) source: &'a Source<'a>,
    mistakes: &'m mut Vec<Mistake>,
}

/// The entries of a mapping whose keys have been checked.
pub(super) struct Fields<'a> {
    /// What the mapping describes, such as `tenant`.
    what: &'static str,
    node: &'a Node,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// The field, if it is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(known, node)| *known == key && !node.is_null()).map(|(_, node)| *node)
    }
}

impl<'a, 'm> Reader<'a, 'm> {
    pub(super) fn new(source: &'a Source<'a>, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self { source, mistakes }
    }

    pub(super) fn place(&self, node: &Node) -> Place {
        self.source.place(node)
    }

    /// How many mistakes there are so far: as many afterwards means that all went well.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    pub(super) fn push(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Notes what is wrong in the expression `text`, which stands at `node`.
    pub(super) fn expression_mistake(&mut self, node: &Node, text: &str, error: ExpressionError) {
        let caret = Some(error.caret(text)).filter(|caret| caret.chars().count() <= 2 * MAX_CARET_CHARACTERS);
        let place = self.source.place_within(node, error.position);
        self.push(Mistake { place: Some(place), message: error.message, hint: error.hint, caret });
    }

    pub(super) fn mistake(&mut self, node: &Node, message: impl Into<String>) {
        self.push(Mistake::new(Some(self.place(node)), message));
    }

    pub(super) fn mistake_with_hint(&mut self, node: &Node, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Mistake { hint: Some(hint.into()), ..Mistake::new(Some(self.place(node)), message) });
    }

    /// The node is not what it should be; `expected` completes "expected …".
    pub(super) fn wrong_type(&mut self, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", self.source.describe(node));
        self.mistake(node, message);
    }

    /// `name` is none of `known`, which are called `what`.
    pub(super) fn unknown<'k>(
        &mut self,
        node: &Node,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        self.unknown_at(self.place(node), what, name, known);
    }

    /// As [`Reader::unknown`], of a word within a node.
    pub(super) fn unknown_at<'k>(
        &mut self,
        place: Place,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let message = format!("unknown {what} {:?}", excerpt(name));
        let hint = match nearest(name, known.clone()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => match known.clone().take(MAX_LISTED_NAMES).collect::<Vec<_>>() {
                listed if listed.is_empty() => format!("there is no {what}"),
                listed if known.count() > listed.len() => format!("the {what}s are {}, …", listed.join(", ")),
                listed => format!("the {what}s are {}", listed.join(", ")),
            },
        };
        self.push(Mistake { hint: Some(hint), ..Mistake::new(Some(place), message) });
    }

    /// The fields of a mapping that describes a `what`. Keys that are not `known` are mistakes, but what is known of
    /// the mapping is read all the same.
    pub(super) fn fields(&mut self, node: &'a Node, what: &'static str, known: &[&'static str]) -> Option<Fields<'a>> {
        let Value::Mapping(entries) = node.value() else {
            self.wrong_type(node, &format!("a {what} with {}", known.join(", ")));
            return None;
        };
        let mut fields = Fields { what, node, entries: Vec::with_capacity(entries.len()) };
        let mut seen: Vec<(&str, &Node)> = Vec::new();
        for (key, value) in entries {
            let Some(name) = key.as_text() else {
                self.wrong_type(key, &format!("one of the keys {}", known.join(", ")));
                continue;
            };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let first = self.place(first);
                let message = format!("the key {:?} stands here twice, first in line {}", excerpt(name), first.line);
                self.mistake(key, message);
            } else if known.contains(&name) {
                fields.entries.push((name, value));
            } else if value.is_null() && nearest(name, known.iter().copied()).is_none() {
                // What is left of `{ value: quantile(arr_delay, 0.95) }` after its comma.
                let hint = "within { } a comma ends a value: put a text that holds commas in quotes";
                self.mistake_with_hint(key, format!("unknown key {:?}", excerpt(name)), hint);
            } else {
                self.unknown(key, "key", name, known.iter().copied());
            }
            seen.push((name, key));
        }
        Some(fields)
    }

    /// The field that must be there; `example` says how it may look.
    pub(super) fn required(&mut self, fields: &Fields<'a>, key: &str, example: &str) -> Option<&'a Node> {
        let found = fields.get(key);
        if found.is_none() {
            let message = format!("the {} has no {key}", fields.what);
            self.mistake_with_hint(fields.node, message, format!("give it one, such as {key}: {example}"));
        }
        found
    }

    /// The items of a field that may be absent.
    pub(super) fn optional_list(&mut self, fields: &Fields<'a>, key: &str) -> &'a [Node] {
        fields.get(key).and_then(|node| self.list(node, key)).unwrap_or_default()
    }

    /// The items of a list; `what` names the field.
    pub(super) fn list(&mut self, node: &'a Node, what: &str) -> Option<&'a [Node]> {
        match node.value() {
            Value::List(items) => Some(items),
            _ => {
                self.wrong_type(node, &format!("a list of {what}"));
                None
            }
        }
    }

    /// A text; `what` names the field.
    pub(super) fn text(&mut self, node: &'a Node, what: &str) -> Option<&'a str> {
        if let Value::Bool(_) | Value::Integer(_) | Value::Fraction = node.value() {
            let written = self.source.written(node).unwrap_or_default();
            let message = format!("expected {what} as text, found {}", self.source.describe(node));
            self.mistake_with_hint(node, message, format!("put it in quotes: \"{}\"", excerpt(written)));
            return None;
        }
        if node.as_text().is_none() {
            self.wrong_type(node, &format!("{what} as text"));
        }
        node.as_text()
    }

    /// A name or id; `what` names the field.
    pub(super) fn name<T: FromStr<Err = NameError>>(&mut self, node: &'a Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.mistake(node, format!("{what} {:?} {error}", excerpt(text)));
                None
            }
        }
    }

    /// One of a few words; `what` says what they are called.
    pub(super) fn word<T: Copy>(&mut self, node: &'a Node, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            self.unknown(node, what, text, words.iter().map(|(word, _)| *word));
        }
        found
    }

    /// The names or ids of a list, with their nodes; `what` says what each is.
    pub(super) fn names<T: FromStr<Err = NameError>>(
        &mut self,
        nodes: &'a [Node],
        what: &'static str,
    ) -> Vec<(&'a Node, T)> {
        nodes.iter().filter_map(|node| Some((node, self.name(node, what)?))).collect()
    }

    /// True or false; `what` names the field.
    pub(super) fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.value() {
            Value::Bool(flag) => Some(*flag),
            _ => {
                self.wrong_type(node, &format!("{what} to be true or false"));
                None
            }
        }
    }

    /// A text that is parsed; the error says what is wrong with it.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, node: &'a Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(node, format!("{what} {error}"));
                None
            }
        }
    }
}
