//! Picks checked, each for what it is to give.

use crate::amount::{Arithmetic, MAX_SHIFT, compute};
use crate::compile::{Compiler, MAX_FORMS, MAX_PARTS};
use crate::found::FoundValue;
use crate::mistake::MappingMistake;
use crate::moment::{FORM_WORDS, Form, Moment};
use crate::reading::{AtTime, Columns, MeasureRule, TextRule, TimeRule, VersionRule};
use crate::rule::{Origin, Rule};
use crate::zones::{self, Zones};
use compact_str::CompactString;
use daybook_contracts::event::MAX_DIMENSION_BYTES;
use daybook_domain::catalogue::{Kind, Mode, Status};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::{Mapping, Pick, Take};
use daybook_domain::nearest::nearest;
use daybook_domain::value::Number;
use std::collections::BTreeMap;
use std::str::FromStr;

/// What a value can be made with, besides where it comes from.
#[derive(Clone, Copy, Default)]
struct Takes {
    words: bool,
    text: bool,
    arithmetic: bool,
    forms: bool,
    arrival: bool,
}

impl Compiler {
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
            return self.first_of(field, path, &pick.or);
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

    /// The value at a path, or at the first of several.
    fn first_of(&mut self, field: &str, path: &str, or: &[String]) -> Option<(Origin, Box<str>)> {
        if or.len() >= MAX_PARTS {
            let message = format!("a value of {} paths; at most {MAX_PARTS} are allowed", or.len() + 1);
            self.mistake(MappingMistake::new(format!("{field}.or"), message));
            return None;
        }
        let first = self.pointer(&format!("{field}.path"), path).map(|pointer| self.slot(&pointer));
        let others = or.iter().enumerate().map(|(at, path)| {
            let pointer = self.pointer(&format!("{field}.or[{at}]"), path)?;
            Some(self.slot(&pointer))
        });
        let others: Vec<Option<Origin>> = others.collect();
        let mut origins = std::iter::once(first).chain(others).collect::<Option<Vec<_>>>()?;
        let named = |path: &str| if path.is_empty() { "the record".to_owned() } else { path.to_owned() };
        let places: Vec<String> = std::iter::once(path).chain(or.iter().map(String::as_str)).map(named).collect();
        let origin = if or.is_empty() { origins.remove(0) } else { Origin::FirstOf(origins.into()) };
        Some((origin, places.join(" or ").into()))
    }

    /// Says which fields of the pick mean nothing here.
    fn check_fields(&mut self, field: &str, pick: &Pick, takes: Takes) {
        let is_constant = pick.constant.is_some() || pick.take == Some(Take::Arrival);
        let fields = [
            ("or", !pick.or.is_empty(), pick.path.is_some()),
            ("map", !pick.map.is_empty(), takes.words && !is_constant),
            ("else", pick.otherwise.is_some(), takes.words && !is_constant),
            ("default", pick.default.is_some(), !is_constant),
            ("text", pick.text, takes.text && !is_constant),
            ("shift", pick.shift.is_some(), takes.arithmetic),
            ("shift_by", pick.shift_by.is_some(), takes.arithmetic && pick.shift.is_none() && !is_constant),
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
        if pick.otherwise.is_some() && pick.map.is_empty() && pick.default.is_none() && takes.words {
            let hint = "use default for a value that is absent or null";
            let message = "else goes with a map, for what that lacks, or with a default, for whatever is there";
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

    pub(crate) fn text(
        &mut self,
        field: &str,
        pick: &Pick,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<TextRule> {
        let takes = Takes { words: true, text: true, ..Takes::default() };
        let rule = self.rule(field, pick, takes, |text| check(text).map(|()| CompactString::new(text)))?;
        Some(TextRule { rule, fractions: pick.text })
    }

    pub(crate) fn tenant(&mut self, pick: &Pick) -> Option<TextRule> {
        self.text("tenant", pick, |text| {
            TenantId::from_str(text).map(|_| ()).map_err(|error| format!("the tenant {text:?} {error}"))
        })
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

    pub(crate) fn version(&mut self, pick: &Pick) -> Option<VersionRule> {
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

    pub(crate) fn at(&mut self, pick: Option<&Pick>) -> Option<TimeRule> {
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
            text => Moment::read(&FoundValue::Text(text.into()), &[Form::Rfc3339], None, &Zones::default())
                .map(AtTime::Fixed)
                .map_err(|error| format!("{text:?}: {}; or use arrival", error.reason)),
        };
        let rule = self.rule("at", pick, takes, constant)?;
        if matches!(rule.origin, Origin::Take(Take::Index | Take::Sequence)) {
            self.mistake(MappingMistake::new("at.take", "a number in a row is no time"));
        }
        Some(TimeRule { rule, forms })
    }

    pub(crate) fn status(&mut self, pick: &Pick, kind: &Kind) -> Option<Rule<Status>> {
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

    pub(crate) fn columns(&mut self, mapping: &Mapping, kind: &Kind) -> Columns {
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
        let rule = self.rule(field, pick, takes, constant);
        let shift_by = match &pick.shift_by {
            Some(by) => Some(self.shift_by(&format!("{field}.shift_by"), by)?),
            None => None,
        };
        let divide = pick.divide.filter(|divide| *divide > 0);
        Some(MeasureRule { rule: rule?, arithmetic: Arithmetic { shift, divide, round: pick.round }, shift_by, scale })
    }

    /// How far the point moves, by a word such as a currency.
    fn shift_by(&mut self, field: &str, pick: &Pick) -> Option<Rule<i8>> {
        if pick.map.is_empty() {
            let hint = "write it as shift: { path: /currency, map: { JPY: 0 }, else: -2 }";
            let message = "a shift that differs between records needs a map";
            self.mistake(MappingMistake::new(field, message).hint(hint));
        }
        let shifts = -MAX_SHIFT..=MAX_SHIFT;
        self.rule(field, pick, Takes { words: true, ..Takes::default() }, |text| {
            let shift = text.parse().ok().filter(|shift| shifts.contains(shift));
            shift.ok_or_else(|| format!("{text:?} is no shift; use a whole number, {} to {MAX_SHIFT}", -MAX_SHIFT))
        })
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
