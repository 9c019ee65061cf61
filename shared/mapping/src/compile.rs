//! A mapping checked against its kind, and turned into what runs.

use crate::mapper::{Items, Mapper, When};
use crate::mistake::MappingMistake;
use crate::pointer::{Base, Pointer};
use crate::reading::TextRule;
use crate::rule::Origin;
use crate::shape::Shape;
use daybook_contracts::event::MAX_ID_BYTES;
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::expression::PathPredicate;
use daybook_domain::mapping::{MAX_SLOTS, Mapping, Take};

/// Most parts of an id, paths of `rows`, and paths of one value.
pub const MAX_PARTS: usize = 8;
/// Most forms of one time.
pub const MAX_FORMS: usize = 8;
/// In a condition, a quoted name that begins so is a header.
const HEADER_PREFIX: &str = "header:";

impl Mapper {
    /// Checks a mapping against its kind.
    ///
    /// # Errors
    /// Every mistake that can be told apart, each with the field it is in.
    pub fn compile(mapping: &Mapping, kind: &Kind) -> Result<Self, Vec<MappingMistake>> {
        let has_items = mapping.explode.is_some() || !mapping.rows.is_empty();
        let mut compiler =
            Compiler { record: Shape::default(), item: Shape::default(), has_items, mistakes: Vec::new() };
        let items = compiler.items(mapping);
        let when = mapping.when.as_ref().and_then(|text| compiler.when(text));
        let tenant = mapping.tenant.as_ref().and_then(|pick| compiler.tenant(pick));
        let id = compiler.id(mapping, kind);
        let version = mapping.version.as_ref().and_then(|pick| compiler.version(pick));
        let at = compiler.at(mapping.at.as_ref());
        let status = mapping.status.as_ref().and_then(|pick| compiler.status(pick, kind));
        let columns = compiler.columns(mapping, kind);
        if mapping.explode.as_ref().is_some_and(|explode| explode.slots.is_some()) {
            let heads = [
                ("tenant", tenant.as_ref().map(|rule| &rule.rule.origin)),
                ("version", version.as_ref().map(|rule| &rule.rule.origin)),
                ("at", at.as_ref().map(|rule| &rule.rule.origin)),
            ];
            let ids: Vec<&Origin> = id.iter().map(|part| &part.rule.origin).collect();
            compiler.check_slots(&heads, &ids, kind);
        }
        match at {
            Some(at) if compiler.mistakes.is_empty() => Ok(Self {
                name: mapping.name.clone(),
                record: compiler.record,
                item: compiler.item,
                items,
                when,
                tenant,
                id,
                version,
                at,
                status,
                columns,
            }),
            _ => Err(compiler.mistakes),
        }
    }
}

/// A mapping under way.
pub(crate) struct Compiler {
    record: Shape,
    item: Shape,
    /// Whether there is anything that `./` begins at.
    pub(crate) has_items: bool,
    pub(crate) mistakes: Vec<MappingMistake>,
}

impl Compiler {
    pub(crate) fn mistake(&mut self, mistake: MappingMistake) {
        self.mistakes.push(mistake);
    }

    pub(crate) fn pointer(&mut self, field: &str, text: &str) -> Option<Pointer> {
        match Pointer::parse(text) {
            Ok(pointer) if pointer.base == Base::Item && !self.has_items => {
                let hint = "begin it with /, or say with explode: { path: … } which array has the items";
                self.mistake(
                    MappingMistake::new(field, format!("{text:?} is within an item, and there are none")).hint(hint),
                );
                None
            }
            Ok(pointer) => Some(pointer),
            Err(error) => {
                let mistake = MappingMistake::new(field, error.message).at(error.position);
                self.mistake(MappingMistake { hint: error.hint, ..mistake });
                None
            }
        }
    }

    /// A path that begins at the record.
    fn record_path(&mut self, field: &str, text: &str) -> Option<usize> {
        match Pointer::parse(text) {
            Ok(pointer) if pointer.base == Base::Item => {
                let message = format!("{text:?} begins at an item; write a path from the record, such as /lines");
                self.mistake(MappingMistake::new(field, message));
                None
            }
            _ => self.pointer(field, text).map(|pointer| self.record.slot(&pointer)),
        }
    }

    pub(crate) fn slot(&mut self, pointer: &Pointer) -> Origin {
        match pointer.base {
            Base::Record => Origin::Record(self.record.slot(pointer)),
            Base::Item => Origin::Item(self.item.slot(pointer)),
        }
    }

    fn items(&mut self, mapping: &Mapping) -> Items {
        if mapping.explode.is_some() && !mapping.rows.is_empty() {
            self.mistake(MappingMistake::new("rows", "a mapping has explode or rows, not both"));
        }
        if let Some(path) = mapping.rows.get(MAX_PARTS) {
            self.mistake(MappingMistake::new(
                "rows",
                format!("{path:?} is one too many; at most {MAX_PARTS} are allowed"),
            ));
        }
        if let Some(explode) = &mapping.explode {
            if explode.complete {
                let hint = "write slots: N in its place, as many as a record has items at most, with id: [/id, index]";
                let message = "complete is not there yet: items that a later record lacks do not become void";
                self.mistake(MappingMistake::new("explode.complete", message).hint(hint));
            }
            let slot = self.record_path("explode.path", &explode.path);
            if explode.slots.is_some_and(|slots| !(1..=MAX_SLOTS).contains(&slots)) {
                self.mistake(MappingMistake::new("explode.slots", format!("slots are 1 to {MAX_SLOTS}")));
            }
            let (path, slots) = (explode.path.as_str().into(), explode.slots);
            return slot.map_or(Items::None, |slot| Items::Explode { slot, path, slots });
        }
        let paths = mapping.rows.iter().enumerate().filter_map(|(at, path)| {
            let slot = self.record_path(&format!("rows[{at}]"), path)?;
            Some((slot, path.as_str().into()))
        });
        let rows: Vec<(usize, Box<str>)> = paths.collect();
        if rows.is_empty() { Items::None } else { Items::Rows(rows) }
    }

    /// A slot without an item has all of its event but status and columns from the record.
    fn check_slots(&mut self, heads: &[(&str, Option<&Origin>)], ids: &[&Origin], kind: &Kind) {
        if kind.mode == Mode::Fact {
            let message = format!("{} is a fact: none of them can become void", kind.name);
            self.mistake(MappingMistake::new("explode.slots", message));
        }
        for (field, origin) in heads {
            if origin.is_some_and(Origin::is_of_item) {
                let message = format!("with slots the {field} comes from the record: a slot may have no item");
                self.mistake(MappingMistake::new(*field, message));
            }
        }
        let has_index = ids.iter().any(|origin| **origin == Origin::Take(Take::Index));
        if !has_index || ids.iter().any(|origin| origin.is_in_item()) {
            let message = "with slots events are known by the record's id and the index, not by ids of items";
            self.mistake(MappingMistake::new("id", message).hint("write id: [/id, index]"));
        }
    }

    fn when(&mut self, text: &str) -> Option<When> {
        let predicate = match PathPredicate::parse(text) {
            Ok(predicate) => predicate,
            Err(error) => {
                let mistake = MappingMistake::new("when", error.message).at(error.position);
                self.mistake(MappingMistake { hint: error.hint, ..mistake });
                return None;
            }
        };
        let mut origins = Vec::new();
        for name in predicate.names() {
            let origin = match name.name.strip_prefix(HEADER_PREFIX) {
                Some(header) if name.quoted => Origin::Header(header.into()),
                // A plain word, or a key that looks like none, is a field of the record.
                _ if !name.quoted || !name.name.starts_with(['/', '.', '$']) => {
                    let pointer = Pointer { base: Base::Record, steps: vec![name.name.clone()] };
                    Origin::Record(self.record.slot(&pointer))
                }
                _ => {
                    let before = self.mistakes.len();
                    let pointer = self.pointer("when", &name.name);
                    if let Some(mistake) = self.mistakes.get_mut(before) {
                        mistake.position = Some(name.position + 1 + mistake.position.unwrap_or(0));
                    }
                    self.slot(&pointer?)
                }
            };
            origins.push(origin);
        }
        let of_item = origins.iter().any(Origin::is_of_item);
        Some(When { predicate, origins, of_item })
    }

    fn id(&mut self, mapping: &Mapping, kind: &Kind) -> Vec<TextRule> {
        if let Some(message) = match (mapping.id.len(), kind.mode) {
            (0, Mode::Entity) => Some(format!("the mapping has no id, by which a {} is known", kind.name)),
            (parts, _) if parts > MAX_PARTS => Some(format!("an id of {parts} parts; at most {MAX_PARTS} are allowed")),
            _ => None,
        } {
            self.mistake(MappingMistake::new("id", message).hint("give it one, such as id: [/id]"));
        }
        let check = |text: &str| match text.len() {
            1..=MAX_ID_BYTES => Ok(()),
            length => Err(format!("is {length} bytes long; use 1 to {MAX_ID_BYTES}")),
        };
        let before = self.mistakes.len();
        let picks = mapping.id.iter().enumerate();
        let id: Vec<TextRule> = picks.filter_map(|(at, pick)| self.text(&format!("id[{at}]"), pick, check)).collect();
        let is_same = !id.iter().any(|part| part.rule.origin.is_of_item());
        if mapping.explode.is_some() && !id.is_empty() && is_same && self.mistakes.len() == before {
            let message = "every item of a record gets the same id";
            self.mistake(MappingMistake::new("id", message).hint("add what tells items apart, such as ./id or index"));
        }
        id
    }
}
