//! Names looked up in a kind's model.

use super::error::{ExpressionError, excerpt};
use super::syntax::Identifier;
use crate::catalogue::{Kind, MAX_SCALE, Status};
use crate::nearest::nearest;
use std::fmt;

/// Most names that a hint lists.
const MAX_LISTED_NAMES: usize = 12;

/// What a name in a condition stands for; indices are positions in the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Dimension(usize),
    Measure { index: usize, scale: u8 },
    Status,
}

/// As an error message calls it, without its name.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dimension(_) => "dimension",
            Self::Measure { .. } => "measure",
            Self::Status => "reserved",
        })
    }
}

/// The dimension or measure of this name, or the status.
pub(super) fn field(identifier: &Identifier, kind: &Kind) -> Result<Field, ExpressionError> {
    if identifier.is_status() {
        return Ok(Field::Status);
    }
    match (kind.dimension(&identifier.name), kind.measure(&identifier.name)) {
        (Some(index), None) => Ok(Field::Dimension(index)),
        (None, Some(index)) => checked_measure(identifier, index, kind),
        (Some(_), Some(_)) => {
            let message = format!("{identifier} is both a dimension and a measure of {}", kind.name);
            Err(identifier.place.error_with_hint(message, "rename one of them in the kind"))
        }
        (None, None) => Err(unknown_field(identifier, kind)),
    }
}

/// The measure of this name, for an aggregate called `function`.
pub(super) fn measure(identifier: &Identifier, kind: &Kind, function: &str) -> Result<usize, ExpressionError> {
    let place = identifier.place;
    match kind.measure(&identifier.name) {
        Some(index) => checked_measure(identifier, index, kind).map(|_| index),
        None if kind.dimension(&identifier.name).is_some() => Err(place.error_with_hint(
            format!("{function} needs a measure, and {identifier} is a dimension"),
            format!("distinct({identifier}) counts its values"),
        )),
        None => Err(unknown(identifier, "measure", kind.measures.iter().map(|m| m.name.as_str()))),
    }
}

/// The dimension of this name, for an aggregate called `function`.
pub(super) fn dimension(identifier: &Identifier, kind: &Kind, function: &str) -> Result<usize, ExpressionError> {
    match kind.dimension(&identifier.name) {
        Some(index) => Ok(index),
        None if kind.measure(&identifier.name).is_some() => Err(identifier.place.error_with_hint(
            format!("{function} needs a dimension, and {identifier} is a measure"),
            "only dimensions have values to tell apart",
        )),
        None => Err(unknown(identifier, "dimension", kind.dimensions.iter().map(|d| d.name.as_str()))),
    }
}

/// The error for a name that is none of `known`.
pub(super) fn unknown<'a>(
    identifier: &Identifier,
    what: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> ExpressionError {
    let message = format!("unknown {what} \"{}\"", excerpt(&identifier.name));
    let hint = match nearest(&identifier.name, known.clone()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => listed(what, known),
    };
    identifier.place.error_with_hint(message, hint)
}

fn checked_measure(identifier: &Identifier, index: usize, kind: &Kind) -> Result<Field, ExpressionError> {
    // The catalogue refuses such a kind. Checked again, because comparing measures relies on it not to overflow.
    match kind.measures[index].scale {
        scale if scale <= MAX_SCALE => Ok(Field::Measure { index, scale }),
        scale => {
            let message = format!("the measure {identifier} has a scale of {scale}; at most {MAX_SCALE} is allowed");
            Err(identifier.place.error(message))
        }
    }
}

fn unknown_field(identifier: &Identifier, kind: &Kind) -> ExpressionError {
    let name = &identifier.name;
    let columns = kind.dimensions.iter().map(|d| &d.name).chain(kind.measures.iter().map(|m| &m.name));
    let known = columns.map(|name| name.as_str()).chain(["status"]);
    let error = unknown(identifier, "field", known.clone());
    // Most often a text without its quotes, or with the wrong ones.
    let hint = if Status::ALL.iter().any(|status| status.as_str() == name) {
        format!("a status stands in single quotes: '{name}'")
    } else if nearest(name, known.clone()).is_none() {
        format!("a text stands in single quotes: '{}'; {}", excerpt(name), listed("field", known))
    } else {
        return error;
    };
    ExpressionError { hint: Some(hint), ..error }
}

fn listed<'a>(what: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let shown: Vec<_> = names.clone().take(MAX_LISTED_NAMES).collect();
    match names.count() {
        0 => format!("there is no {what}"),
        total if total > shown.len() => format!("the {what}s are {}, …", shown.join(", ")),
        _ => format!("the {what}s are {}", shown.join(", ")),
    }
}
