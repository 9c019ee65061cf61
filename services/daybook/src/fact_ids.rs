//! Ids for facts that have none: without one, a fact counts again each time it is published.
//!
//! The id says where the fact stands: in which file, by the hash of all its bytes, on which line, and as which of that line.
//! So a fact counts once, however often a publish is repeated or the same file replayed. Two files count apart, unless they
//! are the same byte by byte.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_domain::catalogue::{Kind, Mode};
use std::collections::BTreeSet;

/// What such an id begins with.
const PREFIX: &str = "r~";
/// Bytes of the hash in an id: no two of 2⁶⁴ facts have the same by chance, and the id is short enough to be kept in place.
const ID_BYTES: usize = 16;

/// Gives ids to the facts of one source.
#[derive(Clone, Debug)]
pub struct FactIds {
    /// The kinds that are facts.
    facts: BTreeSet<String>,
    source: [u8; 32],
    /// The line of the newest event, and how many came from it before.
    line: u64,
    nth: u64,
}

/// What an event says about its own id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnId {
    /// There is none, in an event with or without other fields.
    #[default]
    Absent,
    /// It is null; where that stands in the event, in bytes.
    Null {
        at: usize,
    },
    Present,
}

impl FactIds {
    /// For the facts among `kinds`, from a source that `source` tells from all others.
    pub fn new(kinds: &[Kind], source: [u8; 32]) -> Self {
        let facts = kinds.iter().filter(|kind| kind.mode == Mode::Fact).map(|kind| kind.name.as_str().to_owned());
        Self { facts: facts.collect(), source, line: 0, nth: 0 }
    }

    /// The event on `line`, with an id where it is a fact without one. Every event of the source must come here, in order.
    pub fn complete(&mut self, kind: &str, line: u64, own: OwnId, event: Vec<u8>) -> Vec<u8> {
        self.nth = if line == self.line { self.nth + 1 } else { 0 };
        self.line = line;
        if own == OwnId::Present || !self.facts.contains(kind) {
            return event;
        }
        let id = self.id();
        let mut completed = Vec::with_capacity(event.len() + id.len() + 8);
        if let OwnId::Null { at } = own {
            let (before, behind) = (&event[..at], &event[at + "null".len()..]);
            completed.extend_from_slice(before);
            completed.extend_from_slice(format!("\"{id}\"").as_bytes());
            completed.extend_from_slice(behind);
            return completed;
        }
        let begins = event.iter().position(|byte| *byte == b'{').expect("an event is an object") + 1;
        let (before, behind) = event.split_at(begins);
        let is_empty = behind.trim_ascii_start().starts_with(b"}");
        completed.extend_from_slice(before);
        completed.extend_from_slice(format!("\"id\":\"{id}\"{}", if is_empty { "" } else { "," }).as_bytes());
        completed.extend_from_slice(behind);
        completed
    }

    fn id(&self) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.source);
        hasher.update(&self.line.to_le_bytes()).update(&self.nth.to_le_bytes());
        let hash = hasher.finalize();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&hash.as_bytes()[..ID_BYTES]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::Name;

    fn ids(source: u8) -> FactIds {
        let kind = |name: &str, mode| Kind {
            name: Name::new(name).unwrap(),
            mode,
            dimensions: Vec::new(),
            measures: Vec::new(),
            revision: 1,
            mappings: Vec::new(),
            remember: None,
        };
        FactIds::new(&[kind("click", Mode::Fact), kind("order", Mode::Entity)], [source; 32])
    }

    fn completed(ids: &mut FactIds, kind: &str, line: u64, own: OwnId, event: &str) -> serde_json::Value {
        serde_json::from_slice(&ids.complete(kind, line, own, event.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn an_id_says_where_the_fact_stands() {
        let all = |source| {
            let mut ids = ids(source);
            [1, 2, 2, 3].map(|line| completed(&mut ids, "click", line, OwnId::Absent, "{}")["id"].clone())
        };
        let (first, again, other) = (all(1), all(1), all(2));
        assert_eq!(first, again);
        let different: BTreeSet<&str> = first.iter().chain(&other).map(|id| id.as_str().unwrap()).collect();
        assert_eq!(different.len(), 8);
        assert!(different.iter().all(|id| id.len() == 24 && id.starts_with(PREFIX)), "{different:?}");
    }

    #[test]
    fn the_rest_of_the_event_stays() {
        let event = r#" { "at": "T", "dims": {"id": "x"} }"#;
        let mut ids = ids(1);
        let with = completed(&mut ids, "click", 1, OwnId::Absent, event);
        assert_eq!((&with["at"], &with["dims"]["id"]), (&"T".into(), &"x".into()));
        assert!(with["id"].as_str().is_some());
        let null = r#"{"at":"T","id": null ,"x":1}"#;
        let with = completed(&mut ids, "click", 2, OwnId::Null { at: null.find("null").unwrap() }, null);
        assert!(with["id"].as_str().is_some() && with["x"] == 1, "{with}");
        for (kind, own, event) in [("click", OwnId::Present, r#"{"id":"x"}"#), ("order", OwnId::Absent, "{}")] {
            assert_eq!(ids.complete(kind, 3, own, event.as_bytes().to_vec()), event.as_bytes(), "{kind}");
        }
    }
}
