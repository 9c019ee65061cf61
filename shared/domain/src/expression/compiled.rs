//! What runs for each event: positions instead of names, integers instead of decimals.

use super::relation::Relation;
use super::syntax::joined;
use crate::catalogue::Status;
use crate::time::Instant;
use compact_str::CompactString;
use std::mem::take;

/// What a predicate looks at: the columns of one entity or fact, by their positions in its kind.
pub trait Row {
    /// The value of a dimension, or null.
    fn dimension(&self, index: usize) -> Option<&str>;
    /// The unscaled value of a measure at the measure's scale, or null.
    fn measure(&self, index: usize) -> Option<i64>;
    fn status(&self) -> Status;
    /// When it happened, by its own word.
    fn at(&self) -> Instant;
}

/// What runs. There is no `not`: it is pushed down to the leaves, where a leaf that meets a null is unknown and so is
/// its opposite. `and` and `or` never turn unknown into true, unlike `not`; so unknown can be taken for false, and the
/// three-valued logic of SQL runs on plain booleans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    All(Box<[Test]>),
    Any(Box<[Test]>),
    /// Whether it is one of `values`, which are in order, equals `member`.
    DimensionIn {
        dimension: usize,
        values: Box<[CompactString]>,
        member: bool,
    },
    DimensionCompare {
        dimension: usize,
        relation: Relation,
        value: CompactString,
    },
    DimensionPair {
        left: usize,
        relation: Relation,
        right: usize,
    },
    DimensionNull {
        dimension: usize,
        null: bool,
    },
    /// Whether it is in `low..=high` equals `inside`. Every comparison with a number is one of these, since unscaled
    /// measures are integers; an empty range has `low` 1 and `high` 0.
    MeasureRange {
        measure: usize,
        low: i64,
        high: i64,
        inside: bool,
    },
    /// Whether it is one of `values`, which are in order, equals `member`.
    MeasureIn {
        measure: usize,
        values: Box<[i64]>,
        member: bool,
    },
    /// Each side is multiplied by its factor, a power of ten, to have the same scale.
    MeasurePair {
        left: usize,
        left_factor: i64,
        relation: Relation,
        right: usize,
        right_factor: i64,
    },
    MeasureNull {
        measure: usize,
        null: bool,
    },
    /// Whether a status is accepted, by its position in [`Status::ALL`].
    Status([bool; 3]),
}

impl Test {
    /// All of one or more.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        let inner = |part: &mut Self| if let Self::All(inner) = part { Some(take(inner).into_vec()) } else { None };
        joined(parts, inner, |parts| Self::All(parts.into()))
    }

    /// Any of one or more.
    pub(super) fn any(parts: Vec<Self>) -> Self {
        let inner = |part: &mut Self| if let Self::Any(inner) = part { Some(take(inner).into_vec()) } else { None };
        joined(parts, inner, |parts| Self::Any(parts.into()))
    }

    /// True where this is false, unknown where this is.
    pub(super) fn negated(self) -> Self {
        let negate = |parts: Box<[Self]>| parts.into_iter().map(Self::negated).collect();
        match self {
            Self::All(parts) => Self::any(negate(parts)),
            Self::Any(parts) => Self::all(negate(parts)),
            Self::DimensionIn { dimension, values, member } => Self::DimensionIn { dimension, values, member: !member },
            Self::DimensionCompare { dimension, relation, value } => {
                Self::DimensionCompare { dimension, relation: relation.negated(), value }
            }
            Self::DimensionPair { left, relation, right } => {
                Self::DimensionPair { left, relation: relation.negated(), right }
            }
            Self::DimensionNull { dimension, null } => Self::DimensionNull { dimension, null: !null },
            Self::MeasureRange { measure, low, high, inside } => {
                Self::MeasureRange { measure, low, high, inside: !inside }
            }
            Self::MeasureIn { measure, values, member } => Self::MeasureIn { measure, values, member: !member },
            Self::MeasurePair { left, left_factor, relation, right, right_factor } => {
                Self::MeasurePair { left, left_factor, relation: relation.negated(), right, right_factor }
            }
            Self::MeasureNull { measure, null } => Self::MeasureNull { measure, null: !null },
            Self::Status(accepted) => Self::Status(accepted.map(|accepted| !accepted)),
        }
    }

    pub(super) fn holds(&self, row: &impl Row) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::DimensionIn { dimension, values, member } => {
                row.dimension(*dimension).is_some_and(|found| contains_text(values, found) == *member)
            }
            Self::DimensionCompare { dimension, relation, value } => {
                row.dimension(*dimension).is_some_and(|found| relation.holds(found.cmp(value)))
            }
            Self::DimensionPair { left, relation, right } => match (row.dimension(*left), row.dimension(*right)) {
                (Some(left), Some(right)) => relation.holds(left.cmp(right)),
                _ => false,
            },
            Self::DimensionNull { dimension, null } => row.dimension(*dimension).is_none() == *null,
            Self::MeasureRange { measure, low, high, inside } => {
                row.measure(*measure).is_some_and(|found| (*low <= found && found <= *high) == *inside)
            }
            Self::MeasureIn { measure, values, member } => {
                row.measure(*measure).is_some_and(|found| values.binary_search(&found).is_ok() == *member)
            }
            Self::MeasurePair { left, left_factor, relation, right, right_factor } => {
                match (row.measure(*left), row.measure(*right)) {
                    (Some(left), Some(right)) => {
                        let left = i128::from(left) * i128::from(*left_factor);
                        let right = i128::from(right) * i128::from(*right_factor);
                        relation.holds(left.cmp(&right))
                    }
                    _ => false,
                }
            }
            Self::MeasureNull { measure, null } => row.measure(*measure).is_none() == *null,
            Self::Status(accepted) => accepted[position(row.status())],
        }
    }

    pub(super) fn mentions_status(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::mentions_status),
            Self::Status(_) => true,
            _ => false,
        }
    }
}

/// A status as a dimension's value would be: exactly as it is written.
pub(super) fn status(text: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|status| status.as_str() == text)
}

/// The position of a status in [`Status::ALL`].
pub(super) fn position(status: Status) -> usize {
    match status {
        Status::Draft => 0,
        Status::Final => 1,
        Status::Void => 2,
    }
}

fn contains_text(values: &[CompactString], found: &str) -> bool {
    match values {
        // By far the commonest, and cheaper than an ordering: most texts differ in length.
        [only] => only == found,
        _ => values.binary_search_by(|value| value.as_str().cmp(found)).is_ok(),
    }
}
