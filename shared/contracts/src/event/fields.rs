//! Reads the fields of one event straight into the kind's order, without an intermediate map.

use super::scalar::{Amount, Scalar, Whole};
use super::twice::{Columns as SeenColumns, Names, Unread};
use super::{Encoding, MAX_DIMENSION_BYTES, MAX_ID_BYTES, Problem, ValidEvent};
use crate::log::{Dims, Measures};
use crate::reject::Code;
use compact_str::CompactString;
use daybook_domain::catalogue::{Kind, Mode, Status};
use daybook_domain::time::Instant;
use daybook_domain::value::{Number, NumberError};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::smallvec;
use std::borrow::Cow;
use std::fmt;

/// Deepest nesting of a MessagePack event; JSON has 128 of its own.
const MAX_DEPTH: usize = 64;

/// Reads one event.
///
/// # Errors
/// The first problem found.
pub(super) fn read_fields(bytes: &[u8], encoding: Encoding, tenant: &str, kind: &Kind) -> Result<ValidEvent, Problem> {
    let mut draft = Draft {
        kind,
        tenant,
        encoding,
        problem: None,
        names: Names::default(),
        columns: SeenColumns::new(kind.dimensions.len() + kind.measures.len()),
        at: None,
        id: None,
        version: None,
        status: None,
        dims: smallvec![None; kind.dimensions.len()],
        measures: smallvec![None; kind.measures.len()],
    };
    let read = match encoding {
        Encoding::Json => {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            json.deserialize_map(&mut draft).and_then(|()| json.end()).map_err(|error| error.to_string())
        }
        Encoding::MessagePack => {
            let mut packed = rmp_serde::Deserializer::from_read_ref(bytes);
            packed.set_max_depth(MAX_DEPTH);
            packed.deserialize_map(&mut draft).map_err(|error| error.to_string())
        }
    };
    match (draft.problem.take(), read) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) => Err(Problem::new(Code::Malformed, None, format!("not an event: {error}"))),
        (None, Ok(())) => draft.finish(),
    }
}

struct Draft<'k, 'de> {
    kind: &'k Kind,
    tenant: &'k str,
    encoding: Encoding,
    problem: Option<Problem>,
    /// The event's own fields that were read.
    names: Names<'de>,
    /// The dimensions that were read, and behind them the measures.
    columns: SeenColumns,
    at: Option<Instant>,
    id: Option<CompactString>,
    version: Option<u64>,
    status: Option<Status>,
    dims: Dims,
    measures: Measures,
}

impl<'de> Draft<'_, 'de> {
    fn finish(self) -> Result<ValidEvent, Problem> {
        let missing = |field: &str, why: &str| {
            Problem::new(Code::MissingField, Some(field), format!("{field} is missing; {why}"))
        };
        let at =
            self.at.ok_or_else(|| missing("at", "it decides the business day, such as \"2013-03-08T13:12:00Z\""))?;
        let status = match (self.kind.mode, self.status) {
            (Mode::Entity, status) => {
                if self.id.is_none() {
                    return Err(missing("id", "an entity is known by it"));
                }
                status.unwrap_or_default()
            }
            (Mode::Fact, None | Some(Status::Final)) => Status::Final,
            (Mode::Fact, Some(status)) => {
                let reason =
                    format!("status is {:?}, but {} is a fact, which is always final", status.as_str(), self.kind.name);
                return Err(Problem::new(Code::WrongType, Some("status"), reason));
            }
        };
        Ok(ValidEvent { at, id: self.id, version: self.version, status, dims: self.dims, measures: self.measures })
    }

    /// Notes the problem and ends the reading.
    fn fail<T, E: serde::de::Error>(&mut self, problem: Problem) -> Result<T, E> {
        self.problem = Some(problem);
        Err(E::custom("rejected"))
    }

    /// A name; MessagePack allows keys that are none.
    fn key<E: serde::de::Error>(&mut self, key: Scalar<'de>) -> Result<Cow<'de, str>, E> {
        match key {
            Scalar::Text(name) => Ok(name),
            other => self.fail(Problem::new(Code::Malformed, None, format!("the key {other} is not a text"))),
        }
    }

    /// Reads a field of the event itself.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "id" => {
                let value: Scalar<'_> = map.next_value()?;
                self.id = match value.text() {
                    None if matches!(value, Scalar::Null) => None,
                    Some(id) if !id.is_empty() && id.len() <= MAX_ID_BYTES => Some(CompactString::new(id)),
                    Some(id) => {
                        let reason = format!("id is {} bytes long; use 1 to {MAX_ID_BYTES}", id.len());
                        return self.fail(Problem::new(Code::InvalidText, Some("id"), reason));
                    }
                    None => return self.wrong_type("id", "a text", &value),
                };
            }
            "at" => {
                let value: Scalar<'_> = map.next_value()?;
                match &value {
                    Scalar::Null => self.at = None,
                    Scalar::Text(text) => match text.parse() {
                        Ok(at) => self.at = Some(at),
                        Err(error) => {
                            return self.fail(Problem::new(Code::InvalidTime, Some("at"), format!("at: {error}")));
                        }
                    },
                    _ => return self.wrong_type("at", "an RFC 3339 time as text", &value),
                }
            }
            "version" => {
                let value: Scalar<'_> = map.next_value()?;
                self.version = match value.whole() {
                    Ok(version) => version,
                    Err(Whole::Range) => {
                        let reason = format!("version {value} is out of range; use 0 to {}", u64::MAX - 1);
                        return self.fail(Problem::new(Code::Overflow, Some("version"), reason));
                    }
                    Err(Whole::Type) => return self.wrong_type("version", "a whole number", &value),
                };
            }
            "status" => {
                let value: Scalar<'_> = map.next_value()?;
                self.status = match value {
                    Scalar::Null => None,
                    Scalar::Text(ref text) => match Status::ALL.into_iter().find(|status| status.as_str() == text) {
                        Some(status) => Some(status),
                        None => return self.wrong_type("status", "\"draft\", \"final\" or \"void\"", &value),
                    },
                    _ => return self.wrong_type("status", "\"draft\", \"final\" or \"void\"", &value),
                };
            }
            "tenant" | "kind" => {
                let value: Scalar<'_> = map.next_value()?;
                let expected = if name == "tenant" { self.tenant } else { self.kind.name.as_str() };
                if !matches!(value, Scalar::Null) && value.text().as_deref() != Some(expected) {
                    let reason =
                        format!("{name} is {value} in the event but {expected:?} in the subject it was published to");
                    return self.fail(Problem::new(Code::SubjectMismatch, Some(name), reason));
                }
            }
            "dims" => map.next_value_seed(Columns { draft: self, dims: true })?,
            "measures" => map.next_value_seed(Columns { draft: self, dims: false })?,
            other => return self.other(other, map),
        }
        Ok(())
    }

    /// Reads a field that the envelope does not have: a dimension that is taken from it, or what is not read.
    fn other<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let kind = self.kind;
        let taken = kind.dimensions.iter().position(|d| d.field.as_ref().is_some_and(|f| f.as_str() == name));
        if let Some(index) = taken {
            let value: Scalar<'_> = map.next_value()?;
            return self.dimension(index, FieldPlace { object: None, name }, &value);
        }
        let object = match (kind.dimension(name), kind.measure(name)) {
            (Some(index), _) if kind.dimensions[index].field.is_none() => Some("dims"),
            (None, Some(_)) => Some("measures"),
            _ => None,
        };
        if let Some(object) = object {
            let reason =
                format!("{name} stands beside {object}; put it inside, as in {{\"{object}\": {{\"{name}\": …}}}}");
            return self.fail(Problem::new(Code::UnknownField, Some(name), reason));
        }
        let twice = map.next_value_seed(Unread)?;
        match twice {
            Some(key) => self.twice(name, &format!("{name} has the key {key:?} twice")),
            None => Ok(()),
        }
    }

    /// Refuses what is given twice: readers differ in which one counts.
    fn twice<T, E: serde::de::Error>(&mut self, field: &str, what: &str) -> Result<T, E> {
        let reason = format!("{what}; send it once, for readers differ in which one counts");
        self.fail(Problem::new(Code::Malformed, Some(field), reason))
    }

    fn dimension<E: serde::de::Error>(
        &mut self,
        index: usize,
        place: FieldPlace<'_>,
        value: &Scalar<'_>,
    ) -> Result<(), E> {
        self.dims[index] = match value.text() {
            None if matches!(value, Scalar::Null) => None,
            Some(text) if text.len() <= MAX_DIMENSION_BYTES => Some(CompactString::new(text)),
            Some(text) => {
                let reason = format!("{place} is {} bytes long; at most {MAX_DIMENSION_BYTES} are allowed", text.len());
                return self.fail(Problem::new(Code::InvalidText, Some(&place.to_string()), reason));
            }
            None => return self.wrong_type(&place.to_string(), "a text", value),
        };
        Ok(())
    }

    fn measure<E: serde::de::Error>(
        &mut self,
        index: usize,
        place: FieldPlace<'_>,
        value: &Amount<'_>,
    ) -> Result<(), E> {
        let scale = self.kind.measures[index].scale;
        let number = match value {
            Amount::Null => {
                self.measures[index] = None;
                return Ok(());
            }
            Amount::Other(found) => {
                let reason = format!("{place} is {found}; it must be a number");
                return self.fail(Problem::new(Code::WrongType, Some(&place.to_string()), reason));
            }
            Amount::Integer(integer) => Number::integer(*integer).at_scale(scale),
            Amount::Text(text) => Number::parse(text).and_then(|number| number.at_scale(scale)),
        };
        match number {
            Ok(unscaled) => {
                self.measures[index] = Some(unscaled);
                Ok(())
            }
            Err(error) => {
                let code = match error {
                    NumberError::Syntax(_) => Code::WrongType,
                    NumberError::Digits { .. } => Code::TooManyDigits,
                    NumberError::Overflow(_) => Code::Overflow,
                };
                self.fail(Problem::new(code, Some(&place.to_string()), format!("{place}: {error}")))
            }
        }
    }

    fn wrong_type<T, E: serde::de::Error>(&mut self, field: &str, expected: &str, found: &Scalar<'_>) -> Result<T, E> {
        self.fail(Problem::new(Code::WrongType, Some(field), format!("{field} is {found}; it must be {expected}")))
    }
}

impl<'de> Visitor<'de> for &mut Draft<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an event as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            let name = self.key(key)?;
            if self.names.has(&name) {
                return self.twice(&name, &format!("{} is given twice", shown(&name)));
            }
            self.field(&name, &mut map)?;
            self.names.add(name);
        }
        Ok(())
    }
}

/// The object in `dims` or `measures`.
struct Columns<'a, 'k, 'de> {
    draft: &'a mut Draft<'k, 'de>,
    dims: bool,
}

impl<'de> DeserializeSeed<'de> for Columns<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Columns<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object in dims and measures")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { draft, dims } = self;
        let kind = draft.kind;
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            let name = draft.key(key)?;
            let index = if dims {
                kind.dimension(&name).filter(|index| kind.dimensions[*index].field.is_none())
            } else {
                kind.measure(&name)
            };
            let place = FieldPlace { object: Some(if dims { "dims" } else { "measures" }), name: &name };
            let column = index.map(|index| if dims { index } else { kind.dimensions.len() + index });
            if column.is_some_and(|column| !draft.columns.add(column)) {
                return draft.twice(&place.to_string(), &format!("{place} is given twice"));
            }
            match index {
                Some(index) if dims => {
                    let value: Scalar<'_> = map.next_value()?;
                    draft.dimension(index, place, &value)?;
                }
                Some(index) if draft.encoding == Encoding::Json => {
                    // The number's own text: a binary float in between would lose digits.
                    let raw: &RawValue = map.next_value()?;
                    draft.measure(index, place, &Amount::of_json(raw.get()))?;
                }
                Some(index) => {
                    let value: Scalar<'_> = map.next_value()?;
                    draft.measure(index, place, &Amount::of_scalar(&value))?;
                }
                None => {
                    let what = if dims { "dimension" } else { "measure" };
                    let name = shown(&name);
                    let reason = format!("{} has no {what} {name:?}; add it to the kind or leave it out", kind.name);
                    return draft.fail(Problem::new(Code::UnknownField, Some(&place.to_string()), reason));
                }
            }
        }
        Ok(())
    }
}

/// Where a value stands in the event, to be told where it is wrong.
#[derive(Clone, Copy)]
struct FieldPlace<'n> {
    /// `dims` or `measures`, unless it is a field of the event itself.
    object: Option<&'static str>,
    name: &'n str,
}

impl fmt::Display for FieldPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object {
            Some(object) => write!(f, "{object}.{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// The beginning of a name, for a reason.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
