//! How a metric is read off the cells of a group, or off other metrics.

use crate::accumulator::{Accumulator, ApproxQuantile, Multiset, Squares};
use crate::value::{Number, RATIO_DIGITS, pow10};

/// Where a metric's figure comes from: a cell's position, and where they matter the digits of its measure.
#[derive(Clone, Debug)]
pub(super) enum Output {
    Count(usize),
    CountOf(usize),
    Sum(usize, u8),
    Average(usize, u8),
    Min(usize, u8),
    Max(usize, u8),
    Variance(usize, u8),
    Deviation(usize, u8),
    Quantile(usize, u8, Number),
    ApproxQuantile(usize, u8, Number),
    Distinct(usize),
    ApproxDistinct(usize),
    First(usize, u8),
    Last(usize, u8),
    /// One metric by another; both stand above it.
    Ratio(usize, usize),
}

impl Output {
    /// The figure of `group`; `above` are those of the metrics above this one, which a ratio is made of. `None` where
    /// there is nothing to tell, as for the average of none.
    pub(super) fn read(&self, group: &[Accumulator], above: &[Option<Number>]) -> Option<Number> {
        let scaled = |value: i64, scale: u8| Number::new(value.into(), scale);
        match *self {
            Self::Count(cell) => match &group[cell] {
                Accumulator::Count(n) => Some(Number::integer((*n).into())),
                other => unreachable!("a count kept as {other:?}"),
            },
            Self::CountOf(cell) => Some(Number::integer(sum(group, cell).0.into())),
            Self::Sum(cell, scale) => Some(Number::new(sum(group, cell).1, scale)),
            Self::Average(cell, scale) => {
                let (n, sum) = sum(group, cell);
                (n > 0).then(|| Number::ratio(sum, n.into(), scale))
            }
            Self::Min(cell, scale) => group[cell].extremes().0.map(|value| scaled(value, scale)),
            Self::Max(cell, scale) => group[cell].extremes().1.map(|value| scaled(value, scale)),
            Self::Variance(cell, scale) => squares(group, cell).variance(scale).map(Number::trimmed),
            Self::Deviation(cell, scale) => squares(group, cell).stddev(scale).map(Number::trimmed),
            Self::Quantile(cell, scale, q) => {
                let multiset = multiset(group, cell);
                multiset.at_rank(nearest_rank(q, multiset.len())).map(|value| scaled(value, scale))
            }
            Self::ApproxQuantile(cell, scale, q) => {
                let sketch = sketch(group, cell);
                sketch.at_rank(nearest_rank(q, sketch.len())).map(|value| Number::new(value, scale))
            }
            Self::Distinct(cell) => match &group[cell] {
                Accumulator::Distinct(distinct) => Some(Number::integer(distinct.len() as i128)),
                Accumulator::Seen(seen) => Some(Number::integer(seen.len() as i128)),
                Accumulator::DistinctTimes(distinct) => Some(Number::integer(distinct.len() as i128)),
                Accumulator::SeenSince(seen) => Some(Number::integer(seen.len() as i128)),
                other => unreachable!("a distinct count kept as {other:?}"),
            },
            Self::ApproxDistinct(cell) => match &group[cell] {
                Accumulator::ApproxDistinct(sketch) => Some(Number::integer(sketch.estimate().into())),
                other => unreachable!("an approximate distinct count kept as {other:?}"),
            },
            Self::First(cell, scale) => timed(group, cell).0.map(|value| scaled(value, scale)),
            Self::Last(cell, scale) => timed(group, cell).1.map(|value| scaled(value, scale)),
            Self::Ratio(numerator, denominator) => Number::quotient(above[numerator]?, above[denominator]?),
        }
    }

    /// The most digits after the point that its figures have; `None` where they have as many as it takes.
    pub(super) fn digits(&self) -> Option<u8> {
        match *self {
            Self::Count(_) | Self::CountOf(_) | Self::Distinct(_) | Self::ApproxDistinct(_) => Some(0),
            Self::Sum(_, scale)
            | Self::Min(_, scale)
            | Self::Max(_, scale)
            | Self::Quantile(_, scale, _)
            | Self::ApproxQuantile(_, scale, _)
            | Self::First(_, scale)
            | Self::Last(_, scale) => Some(scale),
            Self::Average(_, scale) => Some(scale + RATIO_DIGITS),
            Self::Ratio(..) => Some(RATIO_DIGITS),
            Self::Variance(..) | Self::Deviation(..) => None,
        }
    }

    /// Whether the figures of two days add up to that of both, or come from such that do.
    pub(super) fn adds_up(&self) -> bool {
        matches!(self, Self::Count(_) | Self::CountOf(_) | Self::Sum(..) | Self::Ratio(..))
    }
}

fn sum(group: &[Accumulator], cell: usize) -> (i64, i128) {
    match &group[cell] {
        Accumulator::Sum { n, sum } => (*n, sum.get()),
        other => unreachable!("a sum kept as {other:?}"),
    }
}

fn squares(group: &[Accumulator], cell: usize) -> &Squares {
    match &group[cell] {
        Accumulator::Squares(squares) => squares,
        other => unreachable!("squares kept as {other:?}"),
    }
}

fn multiset(group: &[Accumulator], cell: usize) -> &Multiset {
    match &group[cell] {
        Accumulator::Multiset(multiset) => multiset,
        other => unreachable!("values kept as {other:?}"),
    }
}

fn sketch(group: &[Accumulator], cell: usize) -> &ApproxQuantile {
    match &group[cell] {
        Accumulator::ApproxQuantile(sketch) => sketch,
        other => unreachable!("a sketch of values kept as {other:?}"),
    }
}

/// The first and the last value.
fn timed(group: &[Accumulator], cell: usize) -> (Option<i64>, Option<i64>) {
    match &group[cell] {
        Accumulator::Timed(timed) => (timed.first(), timed.last()),
        Accumulator::TimedExtremes(None) => (None, None),
        Accumulator::TimedExtremes(Some(extremes)) => {
            (extremes.min().map(|(_, value)| value), extremes.max().map(|(_, value)| value))
        }
        other => unreachable!("timed values kept as {other:?}"),
    }
}

/// The nearest rank of quantile `q` among `n` values: `ceil(q * n)` (Hyndman and Fan 1996, definition 1).
fn nearest_rank(q: Number, n: i64) -> i64 {
    let unit = pow10(q.scale());
    let product = q.unscaled() * i128::from(n);
    ((product + unit - 1).div_euclid(unit)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_is_the_ceiling() {
        let rank = |q: &str, n: i64| nearest_rank(Number::parse(q).unwrap(), n);
        assert_eq!(
            [rank("0.5", 4), rank("0.5", 5), rank("0.95", 20), rank("0.95", 21), rank("1", 3)],
            [2, 3, 19, 20, 3]
        );
        assert_eq!(rank("0.000000000001", 1_000_000), 1);
    }
}
