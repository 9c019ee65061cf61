//! What figures are made of. Every accumulator is an element of an abelian group: contributions are added with a sign,
//! and two accumulators merge by adding. So order, batching and retraction never change a result. Only [`Extremes`],
//! [`Seen`] and [`SeenSince`] take nothing back: they are of facts, which happen once and for all.
//!
//! Each has its file: [`Multiset`] counts values and is what [`Timed`] and the sketches [`ApproxQuantile`] and
//! [`ApproxDistinct`] are built on, [`Distinct`] counts texts, [`Seen`] keeps them, [`Squares`] sums. [`Moments`] and
//! [`DistinctTimes`] serve rankings that say who reached a score first.

mod approx_distinct;
mod approx_quantile;
mod chunks;
mod counts;
mod distinct;
mod distinct_times;
mod extremes;
mod moments;
mod multiset;
#[cfg(test)]
mod properties;
mod squares;
mod timed;
mod total;

pub use approx_distinct::{APPROX_DISTINCT_STANDARD_ERROR_PPM, ApproxDistinct};
pub use approx_quantile::{APPROX_QUANTILE_ERROR_DIVISOR, ApproxQuantile};
pub use distinct::{Distinct, Seen};
pub use distinct_times::{DistinctTimes, SeenSince};
pub use extremes::Extremes;
pub use moments::Moments;
pub use multiset::Multiset;
pub use squares::Squares;
pub use timed::Timed;
pub use total::Total;

use crate::expression::Row;
use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// Largest count, up or down, of an accumulator that was not made here: far more than a log holds, and small enough that
/// thirty thousand accumulators with it can be merged.
pub const MAX_FOREIGN_COUNT: i64 = 1 << 48;
/// Largest sum likewise: [`MAX_FOREIGN_COUNT`] values of 63 bits.
const MAX_FOREIGN_SUM: u128 = (MAX_FOREIGN_COUNT as u128) << 63;

/// Whether a count is one that may be merged.
fn is_sane(n: i64) -> bool {
    n.unsigned_abs() <= MAX_FOREIGN_COUNT.unsigned_abs()
}

/// Whether a contribution is put in or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Add,
    Retract,
}

impl Sign {
    /// 1 or -1.
    pub fn unit(self) -> i64 {
        match self {
            Self::Add => 1,
            Self::Retract => -1,
        }
    }
}

/// Which accumulator a metric needs, and of which column of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// How many rows.
    Count,
    /// How many values, and their sum.
    Sum { measure: usize },
    /// How many values, their sum and the sum of their squares.
    Squares { measure: usize },
    /// Every value with how often it occurs, for exact extremes and quantiles.
    Multiset { measure: usize },
    /// How many values fall into each bucket, for approximate quantiles.
    ApproxQuantile { measure: usize },
    /// Every event time and value with how often it occurs.
    Timed { measure: usize },
    /// Every value of a dimension with how often it occurs.
    Distinct { dimension: usize },
    /// A sketch of the values of a dimension, for about how many there are.
    ApproxDistinct { dimension: usize },
    /// Every event time with how often it occurs.
    Times,
    /// Every value of a dimension with its event times, and how often each of these occurs.
    DistinctTimes { dimension: usize },
    /// Every event time of the group with how often it occurs, and when the group reached its score, once that is known.
    Moments,
    /// Of rows that are never retracted, the smallest and the largest value.
    Extremes { measure: usize },
    /// Likewise the values at the earliest and the latest event time.
    TimedExtremes { measure: usize },
    /// Likewise the earliest and the latest event time.
    TimeExtremes,
    /// Likewise every value of a dimension.
    Seen { dimension: usize },
    /// Likewise every value of a dimension with its earliest event time.
    SeenSince { dimension: usize },
    /// Likewise the smallest value with the earliest event time that has it.
    LeastSince { measure: usize },
    /// Likewise the largest value with the earliest event time that has it, which is kept negated.
    GreatestSince { measure: usize },
    /// Likewise the earliest and the latest event time of the group, and when the group reached its score.
    MomentExtremes,
}

/// An accumulator of one [`Shape`]: four words, whatever it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accumulator {
    #[serde(rename = "c")]
    Count(i64),
    #[serde(rename = "s")]
    Sum { n: i64, sum: Total },
    #[serde(rename = "v")]
    Squares(Box<Squares>),
    #[serde(rename = "m")]
    Multiset(Multiset),
    #[serde(rename = "q")]
    ApproxQuantile(ApproxQuantile),
    #[serde(rename = "t")]
    Timed(Timed),
    #[serde(rename = "d")]
    Distinct(Distinct),
    #[serde(rename = "h")]
    ApproxDistinct(ApproxDistinct),
    #[serde(rename = "e")]
    Extremes(Extremes),
    /// Of event times, each with its value, or of values, each with an event time; `None` where there are none. In a box,
    /// so as not to be larger than the others.
    #[serde(rename = "f")]
    TimedExtremes(Option<Box<Extremes<(i64, i64)>>>),
    #[serde(rename = "n")]
    Seen(Seen),
    #[serde(rename = "o")]
    DistinctTimes(DistinctTimes),
    #[serde(rename = "w")]
    SeenSince(SeenSince),
    #[serde(rename = "r")]
    Moments(Box<Moments>),
}

const _: () = assert!(size_of::<Accumulator>() == 32);

impl Accumulator {
    /// The neutral element.
    pub fn zero(shape: Shape) -> Self {
        match shape {
            Shape::Count => Self::Count(0),
            Shape::Sum { .. } => Self::Sum { n: 0, sum: Total::default() },
            Shape::Squares { .. } => Self::Squares(Box::default()),
            Shape::Multiset { .. } | Shape::Times => Self::Multiset(Multiset::default()),
            Shape::ApproxQuantile { .. } => Self::ApproxQuantile(ApproxQuantile::default()),
            Shape::Timed { .. } => Self::Timed(Timed::default()),
            Shape::Distinct { .. } => Self::Distinct(Distinct::default()),
            Shape::ApproxDistinct { .. } => Self::ApproxDistinct(ApproxDistinct::default()),
            Shape::Extremes { .. } | Shape::TimeExtremes => Self::Extremes(Extremes::default()),
            Shape::TimedExtremes { .. } | Shape::LeastSince { .. } | Shape::GreatestSince { .. } => {
                Self::TimedExtremes(None)
            }
            Shape::Seen { .. } => Self::Seen(Seen::default()),
            Shape::DistinctTimes { .. } => Self::DistinctTimes(DistinctTimes::default()),
            Shape::SeenSince { .. } => Self::SeenSince(SeenSince::default()),
            Shape::Moments => Self::Moments(Box::new(Moments::all())),
            Shape::MomentExtremes => Self::Moments(Box::new(Moments::extremes_only())),
        }
    }

    /// Adds or retracts one row by the column that `shape` names; null is no value and changes nothing. `shape` is the
    /// one that this was made with. False when that left it as it was: a value that had been [seen](Seen) before, or none.
    ///
    /// # Panics
    /// When a row is retracted of which too little is kept for that: a [`Plan`](crate::plan::Plan) does so with facts only,
    /// and nothing retracts those.
    pub fn update(&mut self, sign: Sign, shape: Shape, row: &impl Row) -> bool {
        match shape {
            Shape::Count => match self {
                Self::Count(n) => *n += sign.unit(),
                other => unreachable!("rows counted in {other:?}: one plan makes both"),
            },
            Shape::Times | Shape::TimeExtremes | Shape::Moments | Shape::MomentExtremes => {
                self.add_value(sign, row.at().as_millis(), row.at());
            }
            Shape::Sum { measure }
            | Shape::Squares { measure }
            | Shape::Multiset { measure }
            | Shape::ApproxQuantile { measure }
            | Shape::Timed { measure }
            | Shape::Extremes { measure }
            | Shape::TimedExtremes { measure } => {
                let Some(value) = row.measure(measure) else { return false };
                self.add_value(sign, value, row.at());
            }
            Shape::LeastSince { measure } | Shape::GreatestSince { measure } => {
                let Some(value) = row.measure(measure) else { return false };
                self.add_since(sign, shape, value, row.at());
            }
            Shape::Distinct { dimension }
            | Shape::ApproxDistinct { dimension }
            | Shape::Seen { dimension }
            | Shape::DistinctTimes { dimension }
            | Shape::SeenSince { dimension } => {
                return row.dimension(dimension).is_some_and(|value| self.add_text(sign, value, row.at()));
            }
        }
        true
    }

    fn add_value(&mut self, sign: Sign, value: i64, at: Instant) {
        match self {
            Self::Sum { n, sum } => {
                *n += sign.unit();
                sum.add(i128::from(value) * i128::from(sign.unit()));
            }
            Self::Squares(squares) => squares.add(value, sign.unit()),
            Self::Multiset(multiset) => multiset.add(value, sign.unit()),
            Self::ApproxQuantile(sketch) => sketch.add(value, sign.unit()),
            Self::Timed(timed) => timed.add(at, value, sign.unit()),
            Self::Moments(moments) => moments.add(sign, value),
            Self::Extremes(extremes) if sign == Sign::Add => extremes.add(value),
            Self::TimedExtremes(extremes) if sign == Sign::Add => {
                extremes.get_or_insert_default().add((at.as_millis(), value));
            }
            other => unreachable!("{sign:?} of a value to {other:?}: one plan makes both"),
        }
    }

    fn add_since(&mut self, sign: Sign, shape: Shape, value: i64, at: Instant) {
        let since = if matches!(shape, Shape::GreatestSince { .. }) { -at.as_millis() } else { at.as_millis() };
        match self {
            Self::TimedExtremes(extremes) if sign == Sign::Add => {
                extremes.get_or_insert_default().add((value, since));
            }
            other => unreachable!("{sign:?} of a value to {other:?}: one plan makes both"),
        }
    }

    fn add_text(&mut self, sign: Sign, value: &str, at: Instant) -> bool {
        match self {
            Self::Seen(seen) if sign == Sign::Add => return seen.add(value),
            Self::SeenSince(seen) if sign == Sign::Add => seen.add(value, at.as_millis()),
            Self::DistinctTimes(distinct) => distinct.add(value, at.as_millis(), sign.unit()),
            Self::Distinct(distinct) => distinct.add(value, sign.unit()),
            Self::ApproxDistinct(sketch) => sketch.add(value, sign.unit()),
            other => unreachable!("{sign:?} of a text to {other:?}: one plan makes both"),
        }
        true
    }

    /// Adds `n` times a value of events at `at_ms`. Only of what is walked when it is asked who reached a score first.
    ///
    /// # Panics
    /// When it is an accumulator of another shape.
    pub(crate) fn take(&mut self, at_ms: i64, value: i64, n: i64) {
        match self {
            Self::Count(count) => *count += n,
            Self::Sum { n: count, sum } => {
                *count += n;
                sum.add(i128::from(value) * i128::from(n));
            }
            // What was only taken back so far is no extreme.
            Self::Extremes(_) | Self::TimedExtremes(_) if n <= 0 => {}
            Self::Extremes(extremes) => extremes.add(value),
            Self::TimedExtremes(extremes) => extremes.get_or_insert_default().add((at_ms, value)),
            other => unreachable!("{other:?} is not walked"),
        }
    }

    /// Adds another accumulator of the same shape.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(n), Self::Count(m)) => *n += m,
            (Self::Sum { n, sum }, Self::Sum { n: m, sum: more }) => {
                *n += m;
                sum.add(more.get());
            }
            (Self::Squares(ours), Self::Squares(theirs)) => ours.merge(theirs),
            (Self::Multiset(ours), Self::Multiset(theirs)) => ours.merge(theirs),
            (Self::ApproxQuantile(ours), Self::ApproxQuantile(theirs)) => ours.merge(theirs),
            (Self::Timed(ours), Self::Timed(theirs)) => ours.merge(theirs),
            (Self::Distinct(ours), Self::Distinct(theirs)) => ours.merge(theirs),
            (Self::ApproxDistinct(ours), Self::ApproxDistinct(theirs)) => ours.merge(theirs),
            (Self::Extremes(ours), Self::Extremes(theirs)) => ours.merge(theirs),
            (Self::TimedExtremes(ours), Self::TimedExtremes(theirs)) => {
                if let Some(theirs) = theirs {
                    ours.get_or_insert_default().merge(theirs);
                }
            }
            (Self::Seen(ours), Self::Seen(theirs)) => ours.merge(theirs),
            (Self::DistinctTimes(ours), Self::DistinctTimes(theirs)) => ours.merge(theirs),
            (Self::SeenSince(ours), Self::SeenSince(theirs)) => ours.merge(theirs),
            (Self::Moments(ours), Self::Moments(theirs)) => ours.merge(theirs),
            (ours, theirs) => ours.differs_from(theirs),
        }
    }

    fn differs_from(&self, other: &Self) -> ! {
        unreachable!("merging {self:?} with {other:?}: one plan makes both")
    }

    /// What this and others of the same shape make together: what [merging](Self::merge) one after the other makes, made at once where
    /// each keeps many values. It is to be read, and costs more to change than one that has grown.
    pub fn merged<'a>(&'a self, others: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let all = std::iter::once(self).chain(others.clone());
        match self {
            Self::Multiset(_) => Self::Multiset(Multiset::merged(all.map(|one| match one {
                Self::Multiset(multiset) => multiset,
                other => self.differs_from(other),
            }))),
            Self::Distinct(_) => Self::Distinct(Distinct::merged(all.map(|one| match one {
                Self::Distinct(distinct) => distinct,
                other => self.differs_from(other),
            }))),
            Self::Seen(_) => Self::Seen(Seen::merged(all.map(|one| match one {
                Self::Seen(seen) => seen,
                other => self.differs_from(other),
            }))),
            _ => {
                let mut merged = self.clone();
                others.for_each(|other| merged.merge(other));
                merged
            }
        }
    }

    /// Whether this is the neutral element.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Count(n) => *n == 0,
            Self::Sum { n, sum } => *n == 0 && sum.is_zero(),
            Self::Squares(squares) => squares.is_zero(),
            Self::Multiset(multiset) => multiset.is_zero(),
            Self::ApproxQuantile(sketch) => sketch.is_zero(),
            Self::Timed(timed) => timed.is_zero(),
            Self::Distinct(distinct) => distinct.is_empty(),
            Self::ApproxDistinct(sketch) => sketch.is_zero(),
            Self::Extremes(extremes) => extremes.is_zero(),
            Self::TimedExtremes(extremes) => extremes.is_none(),
            Self::Seen(seen) => seen.is_empty(),
            Self::DistinctTimes(distinct) => distinct.is_empty(),
            Self::SeenSince(seen) => seen.is_empty(),
            Self::Moments(moments) => moments.is_zero(),
        }
    }

    /// The smallest and the largest value, or event time.
    ///
    /// # Panics
    /// When it is an accumulator that keeps neither all of them nor these: one plan makes what is kept and what is read.
    pub fn extremes(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Multiset(multiset) => (multiset.min(), multiset.max()),
            Self::Extremes(extremes) => (extremes.min(), extremes.max()),
            Self::Moments(moments) => moments.extremes(),
            other => unreachable!("extremes kept as {other:?}"),
        }
    }

    /// Whether every text that was [seen](Seen) here was seen there.
    pub(crate) fn is_within(&self, wider: &Self) -> bool {
        match (self, wider) {
            (Self::Seen(seen), Self::Seen(wider)) => seen.is_within(wider),
            _ => false,
        }
    }

    /// What was stored or sent, in the form that `shape` has now: versions before this one kept all keys of facts
    /// too, and how often each text occurred.
    pub fn adopt(&mut self, shape: Shape) {
        match (&*self, shape) {
            (Self::Multiset(keys), Shape::Extremes { .. } | Shape::TimeExtremes) => {
                *self = Self::Extremes(Extremes::of(keys.min(), keys.max()));
            }
            (Self::Timed(timed), Shape::TimedExtremes { .. }) => {
                *self = Self::TimedExtremes((!timed.is_zero()).then(|| Box::new(timed.extremes())));
            }
            (Self::Distinct(distinct), Shape::Seen { .. }) => {
                *self = Self::Seen(Seen::of(distinct.iter().map(|(text, _)| text)));
            }
            _ => {}
        }
    }

    /// Whether this is an accumulator of `shape` that can have come about by adding and retracting rows, with counts of at
    /// most [`MAX_FOREIGN_COUNT`]. To be asked of what was stored or sent: updating and merging rely on it.
    pub fn fits(&self, shape: Shape) -> bool {
        match (self, shape) {
            (Self::Count(n), Shape::Count) => is_sane(*n),
            (Self::Sum { n, sum }, Shape::Sum { .. }) => is_sane(*n) && sum.get().unsigned_abs() <= MAX_FOREIGN_SUM,
            (Self::Squares(squares), Shape::Squares { .. }) => squares.is_sane(),
            (Self::Multiset(multiset), Shape::Multiset { .. } | Shape::Times) => multiset.is_sane(),
            (Self::ApproxQuantile(sketch), Shape::ApproxQuantile { .. }) => sketch.is_sane(),
            (Self::Timed(timed), Shape::Timed { .. }) => timed.is_sane(),
            (Self::Distinct(distinct), Shape::Distinct { .. }) => distinct.is_sane(),
            (Self::ApproxDistinct(sketch), Shape::ApproxDistinct { .. }) => sketch.is_sane(),
            (Self::Extremes(extremes), Shape::Extremes { .. } | Shape::TimeExtremes) => extremes.is_sane(),
            (
                Self::TimedExtremes(extremes),
                Shape::TimedExtremes { .. } | Shape::LeastSince { .. } | Shape::GreatestSince { .. },
            ) => extremes.as_ref().is_none_or(|extremes| !extremes.is_zero() && extremes.is_sane()),
            (Self::Seen(_), Shape::Seen { .. }) | (Self::SeenSince(_), Shape::SeenSince { .. }) => true,
            (Self::DistinctTimes(distinct), Shape::DistinctTimes { .. }) => distinct.is_sane(),
            (Self::Moments(moments), Shape::Moments | Shape::MomentExtremes) => {
                moments.keeps_all() == (shape == Shape::Moments) && moments.is_sane()
            }
            _ => false,
        }
    }
}
