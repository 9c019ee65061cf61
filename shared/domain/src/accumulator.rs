//! What figures are made of. Every accumulator is an element of an abelian group: contributions are added with a sign,
//! and two accumulators merge by adding. So order, batching and retraction never change a result.

use compact_str::CompactString;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a contribution is put in or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Add,
    Retract,
}

impl Sign {
    fn of(self, n: i64) -> i64 {
        match self {
            Self::Add => n,
            Self::Retract => -n,
        }
    }

    pub fn unit(self) -> i64 {
        self.of(1)
    }
}

/// Which accumulator a metric needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// How many rows.
    Count,
    /// How many values, and their sum.
    Sum { measure: usize },
    /// Every value with how often it occurs, for exact extremes and quantiles.
    Multiset { measure: usize },
    /// Every value of a dimension with how often it occurs.
    Distinct { dimension: usize },
    /// Every event time with how often it occurs.
    Times,
}

/// An accumulator of one [`Shape`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accumulator {
    #[serde(rename = "c")]
    Count(i64),
    /// `sum` holds 2^64 values of 63 bits without overflow.
    #[serde(rename = "s")]
    Sum { n: i64, sum: i128 },
    #[serde(rename = "m")]
    Multiset(Multiset),
    #[serde(rename = "d")]
    Distinct(Distinct),
}

impl Accumulator {
    /// The neutral element.
    pub fn zero(shape: Shape) -> Self {
        match shape {
            Shape::Count => Self::Count(0),
            Shape::Sum { .. } => Self::Sum { n: 0, sum: 0 },
            Shape::Multiset { .. } | Shape::Times => Self::Multiset(Multiset::default()),
            Shape::Distinct { .. } => Self::Distinct(Distinct::default()),
        }
    }

    /// Adds or retracts one row: `measure` and `dimension` are the values of the columns that the shape names.
    pub fn update(&mut self, sign: Sign, measure: Option<i64>, dimension: Option<&str>) {
        match self {
            Self::Count(n) => *n += sign.unit(),
            Self::Sum { n, sum } => {
                if let Some(value) = measure {
                    *n += sign.unit();
                    *sum += i128::from(value) * i128::from(sign.unit());
                }
            }
            Self::Multiset(multiset) => {
                if let Some(value) = measure {
                    multiset.add(value, sign.unit());
                }
            }
            Self::Distinct(distinct) => {
                if let Some(value) = dimension {
                    distinct.add(value, sign.unit());
                }
            }
        }
    }

    /// Adds another accumulator of the same shape.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(n), Self::Count(m)) => *n += m,
            (Self::Sum { n, sum }, Self::Sum { n: m, sum: more }) => {
                *n += m;
                *sum += more;
            }
            (Self::Multiset(ours), Self::Multiset(theirs)) => {
                for (value, n) in &theirs.values {
                    ours.add(*value, *n);
                }
            }
            (Self::Distinct(ours), Self::Distinct(theirs)) => {
                for (value, n) in &theirs.values {
                    ours.add(value, *n);
                }
            }
            (ours, theirs) => unreachable!("merging {ours:?} with {theirs:?}: one plan makes both"),
        }
    }

    /// Whether this is the neutral element.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Count(n) => *n == 0,
            Self::Sum { n, sum } => *n == 0 && *sum == 0,
            Self::Multiset(multiset) => multiset.values.is_empty(),
            Self::Distinct(distinct) => distinct.values.is_empty(),
        }
    }

    /// The inverse element.
    pub fn negate(&mut self) {
        match self {
            Self::Count(n) => *n = -*n,
            Self::Sum { n, sum } => {
                *n = -*n;
                *sum = -*sum;
            }
            Self::Multiset(multiset) => {
                multiset.n = -multiset.n;
                multiset.values.values_mut().for_each(|n| *n = -*n);
            }
            Self::Distinct(distinct) => distinct.values.values_mut().for_each(|n| *n = -*n),
        }
    }
}

/// Values with how often each occurs; zero counts are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multiset {
    values: BTreeMap<i64, i64>,
    n: i64,
}

impl Multiset {
    fn add(&mut self, value: i64, n: i64) {
        self.n += n;
        let count = self.values.entry(value).or_insert(0);
        *count += n;
        if *count == 0 {
            self.values.remove(&value);
        }
    }

    /// How many values there are.
    pub fn len(&self) -> i64 {
        self.n
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    pub fn min(&self) -> Option<i64> {
        self.values.first_key_value().map(|(value, _)| *value)
    }

    pub fn max(&self) -> Option<i64> {
        self.values.last_key_value().map(|(value, _)| *value)
    }

    /// The value at `rank` in ascending order, from 1.
    pub fn at_rank(&self, rank: i64) -> Option<i64> {
        if rank < 1 || rank > self.n {
            return None;
        }
        // From the nearer end.
        if rank <= self.n / 2 {
            let mut below = 0;
            self.values.iter().find(|(_, n)| {
                below += **n;
                below >= rank
            })
        } else {
            let mut above = 0;
            self.values.iter().rev().find(|(_, n)| {
                above += **n;
                self.n - above < rank
            })
        }
        .map(|(value, _)| *value)
    }
}

/// Texts with how often each occurs; zero counts are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    values: HashMap<CompactString, i64, foldhash::fast::FixedState>,
}

impl Distinct {
    fn add(&mut self, value: &str, n: i64) {
        match self.values.get_mut(value) {
            Some(count) if *count + n == 0 => {
                self.values.remove(value);
            }
            Some(count) => *count += n,
            None => {
                self.values.insert(CompactString::new(value), n);
            }
        }
    }

    /// How many different texts there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPES: [Shape; 4] =
        [Shape::Count, Shape::Sum { measure: 0 }, Shape::Multiset { measure: 0 }, Shape::Distinct { dimension: 0 }];

    type Contribution = (Option<i64>, Option<String>);

    fn contribution() -> impl Strategy<Value = Contribution> {
        (
            prop_oneof![Just(None), (-5_i64..5).prop_map(Some), any::<i64>().prop_map(Some)],
            proptest::option::of("[a-c]{1,2}"),
        )
    }

    fn of(shape: Shape, rows: &[Contribution]) -> Accumulator {
        let mut total = Accumulator::zero(shape);
        for (measure, dimension) in rows {
            total.update(Sign::Add, *measure, dimension.as_deref());
        }
        total
    }

    proptest! {
        #[test]
        fn order_and_batching_do_not_matter(rows in prop::collection::vec(contribution(), 0..40), cut in 0_usize..40) {
            for shape in SHAPES {
                let whole = of(shape, &rows);
                let mut reversed = rows.clone();
                reversed.reverse();
                prop_assert_eq!(&of(shape, &reversed), &whole);
                let (left, right) = rows.split_at(cut.min(rows.len()));
                let mut merged = of(shape, left);
                merged.merge(&of(shape, right));
                prop_assert_eq!(&merged, &whole);
            }
        }

        #[test]
        fn what_is_retracted_was_never_there(
            kept in prop::collection::vec(contribution(), 0..20),
            gone in prop::collection::vec(contribution(), 0..20),
        ) {
            for shape in SHAPES {
                let expected = of(shape, &kept);
                let mut total = Accumulator::zero(shape);
                // Retracting before adding is a group operation like any other.
                for (measure, dimension) in &gone {
                    total.update(Sign::Retract, *measure, dimension.as_deref());
                }
                total.merge(&expected);
                for (measure, dimension) in &gone {
                    total.update(Sign::Add, *measure, dimension.as_deref());
                }
                prop_assert_eq!(&total, &expected);
                let mut inverse = of(shape, &gone);
                inverse.negate();
                inverse.merge(&of(shape, &gone));
                prop_assert_eq!(&inverse, &Accumulator::zero(shape));
            }
        }

        #[test]
        fn ranks_are_those_of_the_sorted_values(mut values in prop::collection::vec(-9_i64..9, 1..60)) {
            let mut multiset = Multiset::default();
            for value in &values {
                multiset.add(*value, 1);
            }
            values.sort_unstable();
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(multiset.at_rank(index as i64 + 1), Some(*value));
            }
            prop_assert_eq!(multiset.at_rank(0), None);
            prop_assert_eq!(multiset.at_rank(values.len() as i64 + 1), None);
            prop_assert_eq!((multiset.min(), multiset.max()), (values.first().copied(), values.last().copied()));
        }

        #[test]
        fn what_is_stored_comes_back(rows in prop::collection::vec(contribution(), 0..20)) {
            for shape in SHAPES {
                let total = of(shape, &rows);
                let bytes = rmp_serde::to_vec(&total).unwrap();
                prop_assert_eq!(rmp_serde::from_slice::<Accumulator>(&bytes).unwrap(), total);
            }
        }
    }
}
