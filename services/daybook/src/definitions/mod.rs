//! Definition files: what `daybook apply -f FILE…` reads.
//!
//! A file is YAML, of one document or more, each a mapping with any of the lists `kinds`, `views`, `tenants` and `groups`:
//!
//! ```yaml
//! kinds:
//!   - name: flight
//!     mode: entity                               # or fact
//!     dimensions: [carrier, { name: event, field: event }]
//!     measures: [distance, { name: fare, type: decimal, scale: 2 }]
//!     mappings:                                  # how events are made of other systems' records: docs/MAPPING.md
//!       - { name: radar, tenant: /airport, id: /flight/number, at: { path: /seen, as: epoch_s }, dims: { carrier: /carrier } }
//! views:
//!   - name: arrivals
//!     kind: flight
//!     group_by: [carrier]
//!     metrics:
//!       - flights: count                         # short for { name: flights, value: count }
//!       - { name: on_time, value: count, where: arr_delay <= 15 }
//!       - cancelled: { value: count, status: void, where: event = 'cancelled' }
//!     grain: hour                                # or quarter_hour, clock_hour, or day, which it is when it is not said
//!     late: restate                              # or carry_forward, or reject
//!     tenants: [ABQ]                             # everyone when it is not said
//!   - name: race
//!     kind: flight
//!     group_by: [carrier]
//!     metrics: [flights: count]
//!     ranking: { by: [flights desc], ties: dense, earliest: true }   # or just: flights desc
//! tenants:
//!   - id: ABQ
//!     name: Albuquerque International Sunport
//!     zone: America/Denver
//!     cutoff: "05:00"
//!     grace: 10m
//!     first_day: 2013-01-01
//!     clock: flights
//!     changes:
//!       - { from: 2013-06-01, zone: America/Phoenix, cutoff: "04:00" }
//!     seasons:
//!       - { name: summer, from: 2013-06-01T11:00:00Z, to: 2013-09-01T11:00:00Z }
//! groups:                                        # tenants that are asked together, like one
//!   - { id: west, tenants: [ABQ, PHX] }
//! ```
//!
//! The files of one command are one set: all of it is good, or [`load`] tells every mistake it finds, each with its
//! place. What only day-manager can know (whether a time zone or a view's tenant exists, what a change means for views in force) it
//! refuses itself, and [`Definitions::refused`] gives that a place too.
//!
//! A text goes through `daybook_yaml` (a tree in which every node knows its place) and `reader` (the fields of a mapping, and
//! what is wrong with them), and `kinds` with `mappings`, `views`, `tenants` and `groups` make
//! definitions of it.

mod alerts;
mod groups;
mod kinds;
mod mappings;
mod mistake;
mod ranking;
mod reader;
mod tenants;
#[cfg(test)]
mod tests;
mod views;

pub use mistake::{Mistake, Place};

use daybook_contracts::admin::{Apply, MAX_DEFINITIONS, Refusal};
use daybook_domain::catalogue::Kind;
use daybook_yaml::{Node, Source};
use reader::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use views::Draft;

/// What the files define, ready to be sent to day-manager, and where each definition stands.
#[derive(Clone, Debug)]
pub struct Definitions {
    /// In the order of the files. Only to be checked, or to be put into force, as the caller decides: `dry_run` is false.
    pub apply: Apply,
    /// By what (`kind`, `view`, `tenant` or `group`) and name.
    pub places: BTreeMap<(String, String), Place>,
}

impl Definitions {
    /// A refusal of day-manager, as a mistake at its place in the files.
    pub fn refused(&self, refusal: &Refusal) -> Mistake {
        let place = self.places.get(&(refusal.what.clone(), refusal.name.clone())).cloned();
        Mistake::new(place, format!("{} {}: {}", refusal.what, refusal.name, refusal.reason))
    }
}

/// Reads the files, each given with its text. Views are checked against the kinds in the files or else, where there is
/// none of that name, against `known_kinds`, which are those already in force.
///
/// # Errors
/// Every mistake that can be told apart, in the order of the files and their lines; there is at least one.
pub fn load(files: &[(PathBuf, String)], known_kinds: &[Kind]) -> Result<Definitions, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut sources = Vec::new();
    for (file, text) in files {
        match Source::parse(file, text) {
            Ok(source) if source.documents.is_empty() => {
                let nothing = "nothing is defined here; expected kinds, views or tenants";
                mistakes.push(Mistake::new(Some(source.start()), nothing));
            }
            Ok(source) => sources.push(source),
            Err(mistake) => mistakes.push(Mistake::new(Some(mistake.place), mistake.message)),
        }
    }
    let mut set = Set { kinds_are_complete: mistakes.is_empty(), ..Set::default() };
    for source in &sources {
        let mut reader = Reader::new(source, &mut mistakes);
        for document in &source.documents {
            set.read(document, &mut reader);
        }
    }
    set.check_views(known_kinds, &mut mistakes);
    if mistakes.is_empty() {
        return Ok(Definitions { apply: set.apply, places: set.places });
    }
    mistakes.sort_by_key(|mistake| {
        let place = mistake.place.as_ref();
        let file = place.and_then(|place| files.iter().position(|(file, _)| *file == place.file));
        (file, place.map(|place| (place.line, place.column)))
    });
    Err(mistakes)
}

/// The definitions of all files so far.
#[derive(Default)]
struct Set<'a> {
    apply: Apply,
    places: BTreeMap<(String, String), Place>,
    /// Views whose expressions are still to be checked, once all kinds are known.
    drafts: Vec<(&'a Source<'a>, Draft<'a>)>,
    /// Kinds that are defined, but with mistakes: nothing can be said about their views.
    broken_kinds: BTreeSet<String>,
    /// Whether every file could be read, so that a kind that is not there is really missing.
    kinds_are_complete: bool,
}

impl<'a> Set<'a> {
    fn read(&mut self, document: &'a Node, reader: &mut Reader<'a, '_>) {
        if let Some(key) = document.key("sources") {
            let hint = "give them in a file of their own to `connect --sources FILE` or `daybook up --sources FILE`";
            return reader.mistake_with_hint(key, "sources are not applied: connect reads them", hint);
        }
        let Some(fields) = reader.fields(document, "file of definitions", &["kinds", "views", "tenants", "groups"])
        else {
            return;
        };
        for node in reader.optional_list(&fields, "kinds") {
            let (name, kind) = kinds::read(node, reader);
            if let Some(name) = name {
                self.locate("kind", name, reader);
                if kind.is_none() {
                    self.broken_kinds.extend(name.as_text().map(str::to_owned));
                }
            }
            self.apply.kinds.extend(kind);
        }
        for node in reader.optional_list(&fields, "views") {
            let (name, draft) = views::read(node, reader);
            if let Some(name) = name {
                self.locate("view", name, reader);
            }
            self.drafts.extend(draft.map(|draft| (reader.source, draft)));
        }
        for node in reader.optional_list(&fields, "tenants") {
            let (name, tenant) = tenants::read(node, reader);
            if let Some(name) = name {
                self.locate("tenant", name, reader);
            }
            self.apply.tenants.extend(tenant);
        }
        for node in reader.optional_list(&fields, "groups") {
            let (name, group) = groups::read(node, reader);
            if let Some(name) = name {
                self.locate("group", name, reader);
            }
            self.apply.groups.extend(group);
        }
    }

    /// Remembers where the definition called `name` stands, which must be its only place.
    fn locate(&mut self, what: &str, name: &Node, reader: &mut Reader<'a, '_>) {
        let Some(text) = name.as_text() else { return };
        let place = reader.place(name);
        let key = (what.to_owned(), text.to_owned());
        if let Some(first) = self.places.get(&key) {
            reader.mistake(name, format!("{what} {text} is defined twice, first at {first}"));
            return;
        }
        if self.places.len() == MAX_DEFINITIONS {
            let message = format!("more than {MAX_DEFINITIONS} definitions; apply the files one after the other");
            reader.mistake(name, message);
        }
        self.places.insert(key, place);
    }

    /// Compiles the views against their kinds.
    fn check_views(&mut self, known_kinds: &[Kind], mistakes: &mut Vec<Mistake>) {
        for (source, draft) in std::mem::take(&mut self.drafts) {
            let mut reader = Reader::new(source, mistakes);
            let of_name = |kinds: &[Kind]| kinds.iter().position(|kind| kind.name == draft.view.kind);
            let kind = match (of_name(&self.apply.kinds), of_name(known_kinds)) {
                _ if self.broken_kinds.contains(draft.view.kind.as_str()) => continue,
                (Some(index), _) => &self.apply.kinds[index],
                (None, Some(index)) => &known_kinds[index],
                (None, None) if !self.kinds_are_complete => continue,
                (None, None) => {
                    let kinds = self.apply.kinds.iter().chain(known_kinds).map(|kind| kind.name.as_str());
                    let names: BTreeSet<&str> = kinds.chain(self.broken_kinds.iter().map(String::as_str)).collect();
                    draft.unknown_kind(names.iter().copied(), &mut reader);
                    continue;
                }
            };
            draft.check(kind, &mut reader);
            self.apply.views.push(draft.view);
        }
    }
}
