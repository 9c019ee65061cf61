//! A mapping checked against its kind, and turned into what runs.

use crate::amount::{Arithmetic, MAX_SHIFT, compute};
use crate::found::Found;
use crate::mapper::{AtTime, Columns, Items, Mapper, MeasureRule, TextRule, TimeRule, VersionRule, When};
use crate::mistake::MappingMistake;
use crate::moment::{FORM_WORDS, Form, Moment};
use crate::pointer::{Base, Pointer};
use crate::rule::{Origin, Rule};
use crate::shape::Shape;
use crate::zones::{self, Zones};
use compact_str::CompactString;
use daybook_contracts::event::{MAX_DIMENSION_BYTES, MAX_ID_BYTES};
use daybook_domain::catalogue::{Kind, Mode, Status};
use daybook_domain::expression::PathPredicate;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::{MAX_SLOTS, Mapping, Pick, Take};
use daybook_domain::nearest::nearest;
use daybook_domain::value::Number;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Most parts of an id, and most paths of `rows`.
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

/// What a value can be made with, besides where it comes from.
#[derive(Clone, Copy, Default)]
struct Takes {
    words: bool,
    text: bool,
    arithmetic: bool,
    forms: bool,
    arrival: bool,
}

struct Compiler {
    record: Shape,
    item: Shape,
    /// Whether there is anything that `./` begins at.
    has_items: bool,
    mistakes: Vec<MappingMistake>,
}

impl Compiler {
    fn mistake(&mut self, mistake: MappingMistake) {
        self.mistakes.push(mistake);
    }

    fn pointer(&mut self, field: &str, text: &str) -> Option<Pointer> {
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

    fn slot(&mut self, pointer: &Pointer) -> Origin {
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
                let hint =
                    "leave complete out, and have who sends the record also send the lines that are gone, as void";
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
        if !has_index || ids.iter().any(|origin| matches!(origin, Origin::Item(_))) {
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

    /// Where a value comes from: exactly one of five.
    fn origin(&mut self, field: &str, pick: &Pick, takes: Takes) -> Option<(Origin, Box<str>)> {
        let places = [
            ("path", pick.path.is_some()),
            ("header", pick.header.is_some()),
            ("token", pick.token.is_some()),
            ("const", pick.constant.is_some()),
            ("take", pick.take.is_some()),
        ];
        let set: Vec<&str> = places.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        if set.len() != 1 {
            let found = if set.is_empty() { "none of them".to_owned() } else { set.join(" and ") };
            let message = format!("a value comes from one of path, header, token, const and take; found {found}");
            self.mistake(MappingMistake::new(field, message));
            return None;
        }
        if let Some(path) = &pick.path {
            let pointer = self.pointer(&format!("{field}.path"), path)?;
            let place = if path.is_empty() { "the record" } else { path.as_str() };
            return Some((self.slot(&pointer), place.into()));
        }
        if let Some(header) = &pick.header {
            if header.is_empty() || header.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
                let message = format!("{header:?} is no name of a header");
                self.mistake(MappingMistake::new(format!("{field}.header"), message));
            }
            return Some((Origin::Header(header.as_str().into()), format!("header {header}").into()));
        }
        if let Some(token) = pick.token {
            let Some(at) = token.checked_sub(1) else {
                let message = "tokens of a subject are counted from 1";
                self.mistake(MappingMistake::new(format!("{field}.token"), message));
                return None;
            };
            return Some((Origin::Token(usize::from(at)), format!("token {token} of the subject").into()));
        }
        let Some(take) = pick.take else { return Some((Origin::Constant, "const".into())) };
        let problem = match take {
            Take::Arrival if !takes.arrival => Some("the time of arrival is only for at and version".to_owned()),
            Take::Index if !self.has_items => Some("there is no index without explode".to_owned()),
            Take::Index | Take::Sequence if takes.forms && !takes.arrival => None,
            _ => None,
        };
        if let Some(message) = problem {
            self.mistake(MappingMistake::new(format!("{field}.take"), message));
        }
        Some((Origin::Take(take), take.as_str().into()))
    }

    /// Says which fields of the pick mean nothing here.
    fn check_fields(&mut self, field: &str, pick: &Pick, takes: Takes) {
        let is_constant = pick.constant.is_some() || pick.take == Some(Take::Arrival);
        let fields = [
            ("map", !pick.map.is_empty(), takes.words && !is_constant),
            ("else", pick.otherwise.is_some(), takes.words && !is_constant),
            ("default", pick.default.is_some(), !is_constant),
            ("text", pick.text, takes.text && !is_constant),
            ("shift", pick.shift.is_some(), takes.arithmetic),
            ("divide", pick.divide.is_some(), takes.arithmetic),
            ("round", pick.round.is_some(), takes.arithmetic),
            ("as", !pick.form.is_empty(), takes.forms && !is_constant),
            ("zone", pick.zone.is_some(), takes.forms && !is_constant),
        ];
        for (name, is_set, is_taken) in fields {
            if is_set && !is_taken {
                self.mistake(MappingMistake::new(format!("{field}.{name}"), format!("{name} means nothing here")));
            }
        }
        if pick.otherwise.is_some() && pick.map.is_empty() && takes.words {
            let hint = "use default for a value that is absent or null";
            let message = "else goes with a map: it stands for what the map lacks";
            self.mistake(MappingMistake::new(format!("{field}.else"), message).hint(hint));
        }
    }

    /// A rule whose fixed values are read by `constant`.
    fn rule<T: Clone>(
        &mut self,
        field: &str,
        pick: &Pick,
        takes: Takes,
        constant: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Rule<T>> {
        self.check_fields(field, pick, takes);
        let origin = self.origin(field, pick, takes);
        let mut fixed = |name: &str, text: &str| match constant(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.mistakes.push(MappingMistake::new(format!("{field}.{name}"), message));
                None
            }
        };
        let mut map = BTreeMap::new();
        for (word, meaning) in &pick.map {
            if let Some(value) = fixed(&format!("map.{word}"), meaning) {
                map.insert(word.as_str().into(), value);
            }
        }
        let otherwise = pick.otherwise.as_ref().and_then(|text| fixed("else", text));
        let default = match &pick.constant {
            Some(text) => fixed("const", text),
            None => pick.default.as_ref().and_then(|text| fixed("default", text)),
        };
        let (origin, place) = origin?;
        Some(Rule { origin, place, map, otherwise, default })
    }

    fn text(&mut self, field: &str, pick: &Pick, check: impl Fn(&str) -> Result<(), String>) -> Option<TextRule> {
        let takes = Takes { words: true, text: true, ..Takes::default() };
        let rule = self.rule(field, pick, takes, |text| check(text).map(|()| CompactString::new(text)))?;
        Some(TextRule { rule, fractions: pick.text })
    }

    fn tenant(&mut self, pick: &Pick) -> Option<TextRule> {
        self.text("tenant", pick, |text| {
            TenantId::from_str(text).map(|_| ()).map_err(|error| format!("the tenant {text:?} {error}"))
        })
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

    fn forms(&mut self, field: &str, pick: &Pick) -> Vec<Form> {
        let zone = pick.zone.as_ref().and_then(|name| {
            let zone = zones::named(name);
            if zone.is_none() {
                let message = format!("there is no time zone {name:?}; name one such as Europe/Berlin");
                self.mistake(MappingMistake::new(format!("{field}.zone"), message));
            }
            zone
        });
        if pick.form.len() > MAX_FORMS {
            let message = format!("{} forms of time; at most {MAX_FORMS} are allowed", pick.form.len());
            self.mistake(MappingMistake::new(format!("{field}.as"), message));
        }
        let mut forms = Vec::new();
        for text in &pick.form {
            match Form::parse(text, zone.clone()) {
                Ok(form) => forms.push(form),
                Err(message) => {
                    let hint = match nearest(text, FORM_WORDS) {
                        Some(word) => format!("did you mean {word:?}?"),
                        None => format!("use {}, or a pattern such as %Y-%m-%d %H:%M:%S", FORM_WORDS.join(", ")),
                    };
                    self.mistake(MappingMistake::new(format!("{field}.as"), message).hint(hint));
                }
            }
        }
        if zone.is_some() && !forms.is_empty() && !forms.iter().any(Form::takes_zone) {
            let message = "a zone is for local times; these forms have none";
            self.mistake(MappingMistake::new(format!("{field}.zone"), message));
        }
        forms
    }

    fn version(&mut self, pick: &Pick) -> Option<VersionRule> {
        let takes = Takes { forms: true, arrival: true, ..Takes::default() };
        let constant = |text: &str| match text {
            "next" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                format!("{text:?} is no version; use a whole number, or next for the last event to arrive")
            }),
        };
        let forms = self.forms("version", pick);
        let rule = self.rule("version", pick, takes, constant)?;
        Some(VersionRule { rule, forms })
    }

    fn at(&mut self, pick: Option<&Pick>) -> Option<TimeRule> {
        let Some(pick) = pick else {
            let hint = "give it one, such as at: { path: /created_at, as: rfc3339 }, or at: arrival";
            let message = "the mapping has no at, the time that decides the business day";
            self.mistake(MappingMistake::new("at", message).hint(hint));
            return None;
        };
        let takes = Takes { forms: true, arrival: true, ..Takes::default() };
        let forms = self.forms("at", pick);
        let forms = if forms.is_empty() { vec![Form::Rfc3339] } else { forms };
        let constant = |text: &str| match text {
            "arrival" => Ok(AtTime::Arrival),
            text => Moment::read(&Found::Text(text.into()), &[Form::Rfc3339], None, &Zones::default())
                .map(AtTime::Fixed)
                .map_err(|error| format!("{text:?}: {}; or use arrival", error.reason)),
        };
        let rule = self.rule("at", pick, takes, constant)?;
        if matches!(rule.origin, Origin::Take(Take::Index | Take::Sequence)) {
            self.mistake(MappingMistake::new("at.take", "a number in a row is no time"));
        }
        Some(TimeRule { rule, forms })
    }

    fn status(&mut self, pick: &Pick, kind: &Kind) -> Option<Rule<Status>> {
        if kind.mode == Mode::Fact {
            let message = format!("{} is a fact, which is always final: leave the status out", kind.name);
            self.mistake(MappingMistake::new("status", message));
        }
        let takes = Takes { words: true, ..Takes::default() };
        self.rule("status", pick, takes, |text| {
            Status::ALL
                .into_iter()
                .find(|status| status.as_str() == text)
                .ok_or_else(|| format!("{text:?} is no status; use draft, final or void"))
        })
    }

    fn columns(&mut self, mapping: &Mapping, kind: &Kind) -> Columns {
        let mut columns =
            Columns { dims: vec![None; kind.dimensions.len()], measures: vec![None; kind.measures.len()] };
        let check = |text: &str| match text.len() <= MAX_DIMENSION_BYTES {
            true => Ok(()),
            false => Err(format!("is {} bytes long; at most {MAX_DIMENSION_BYTES} are allowed", text.len())),
        };
        for (name, pick) in &mapping.dims {
            let field = format!("dims.{name}");
            match kind.dimension(name.as_str()) {
                Some(at) => columns.dims[at] = self.text(&field, pick, check),
                None => self.unknown_column(&field, name, "dimension", kind.dimensions.iter().map(|d| &d.name), kind),
            }
        }
        for (name, pick) in &mapping.measures {
            let field = format!("measures.{name}");
            match kind.measure(name.as_str()) {
                Some(at) => columns.measures[at] = self.measure(&field, pick, kind.measures[at].scale),
                None => self.unknown_column(&field, name, "measure", kind.measures.iter().map(|m| &m.name), kind),
            }
        }
        columns
    }

    fn measure(&mut self, field: &str, pick: &Pick, scale: u8) -> Option<MeasureRule> {
        let shift = pick.shift.unwrap_or(0);
        if shift.unsigned_abs() > MAX_SHIFT.unsigned_abs() {
            let message = format!("a shift is {} to {MAX_SHIFT}", -MAX_SHIFT);
            self.mistake(MappingMistake::new(format!("{field}.shift"), message));
        }
        if pick.divide == Some(0) {
            self.mistake(MappingMistake::new(format!("{field}.divide"), "nothing is divided by 0"));
        }
        let takes = Takes { words: true, arithmetic: true, ..Takes::default() };
        // What the mapping says itself is the measure's value: no arithmetic is done to it.
        let constant = |text: &str| {
            let number = Number::parse(text).map_err(|error| error.to_string())?;
            compute(number, Arithmetic::default(), scale).map_err(|error| error.reason)
        };
        let rule = self.rule(field, pick, takes, constant)?;
        let divide = pick.divide.filter(|divide| *divide > 0);
        Some(MeasureRule { rule, arithmetic: Arithmetic { shift, divide, round: pick.round }, scale })
    }

    fn unknown_column<'n>(
        &mut self,
        field: &str,
        name: &Name,
        what: &str,
        known: impl Iterator<Item = &'n Name> + Clone,
        kind: &Kind,
    ) {
        let names: Vec<&str> = known.map(Name::as_str).collect();
        let hint = match nearest(name.as_str(), names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if names.is_empty() => format!("it has no {what}s"),
            None => format!("its {what}s are {}", names.join(", ")),
        };
        self.mistake(MappingMistake::new(field, format!("{} has no {what} {name:?}", kind.name)).hint(hint));
    }
}
