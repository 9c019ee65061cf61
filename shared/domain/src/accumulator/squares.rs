//! How many values, their sum and the sum of their squares, exactly: all that a variance needs.

use crate::rounding;
use crate::value::{Number, RATIO_DIGITS, pow10};
use num_bigint::BigInt;
use serde::{Deserialize, Serialize};

/// `n`, `Σx` and `Σx²` of 64-bit integers, without rounding.
///
/// # Invariants
/// Exact for up to 2^62 values. A square has up to 127 bits, so `Σx²` outgrows an `i128`: it is
/// `high · 2^64 + low`, with `low` always in `0..2^64`. So equal sums have one representation, whatever their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Squares {
    n: i64,
    sum: i128,
    high: i128,
    low: u64,
}

impl Squares {
    pub(super) fn add(&mut self, value: i64, n: i64) {
        let (square, times) = (u128::from(value.unsigned_abs()).pow(2), i128::from(n));
        self.n += n;
        self.sum += i128::from(value) * times;
        self.add_square((square >> 64) as i128 * times, i128::from(square as u64) * times);
    }

    /// Adds `high · 2^64 + low` and brings the low half back into its range. Neither half of 2^62 squares has more than
    /// 126 bits.
    fn add_square(&mut self, high: i128, low: i128) {
        let low = i128::from(self.low) + low;
        self.high += high + (low >> 64);
        self.low = low as u64;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.add_square(other.high, other.low.into());
    }

    pub(super) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn is_sane(&self) -> bool {
        let is_sum = |sum: i128| sum.unsigned_abs() <= super::MAX_FOREIGN_SUM;
        super::is_sane(self.n) && is_sum(self.sum) && is_sum(self.high)
    }

    /// How many values there are.
    pub fn len(&self) -> i64 {
        self.n
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The sample variance `(n·Σx² − (Σx)²) / (n·(n − 1))` of values with `scale` digits, rounded half to even at
    /// `2 · scale + 6` digits. `None` for fewer than two values, and for one beyond the range of [`Number`] (1.7 · 10^38
    /// after scaling).
    pub fn variance(&self, scale: u8) -> Option<Number> {
        let (numerator, denominator) = self.spread()?;
        let unscaled = rounding::quotient(&(numerator * pow10(RATIO_DIGITS)), &denominator)?;
        Some(Number::new(unscaled, 2 * scale + RATIO_DIGITS))
    }

    /// The square root of the exact [`Squares::variance`], rounded once, half to even at `scale + 6` digits. `None` for
    /// fewer than two values; every other one fits.
    pub fn stddev(&self, scale: u8) -> Option<Number> {
        let (numerator, denominator) = self.spread()?;
        let unscaled = rounding::square_root(&(numerator * pow10(2 * RATIO_DIGITS)), &denominator)?;
        Some(Number::new(unscaled, scale + RATIO_DIGITS))
    }

    /// The sample variance of the unscaled values as a fraction; none has a negative one.
    fn spread(&self) -> Option<(BigInt, BigInt)> {
        if self.n < 2 {
            return None;
        }
        let (n, sum) = (BigInt::from(self.n), BigInt::from(self.sum));
        let squares = (BigInt::from(self.high) << 64_u32) + self.low;
        let numerator = &n * squares - &sum * &sum;
        (numerator >= BigInt::ZERO).then(|| (numerator, &n * (&n - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[i64]) -> Squares {
        let mut squares = Squares::default();
        for value in values {
            squares.add(*value, 1);
        }
        squares
    }

    fn shown(number: Option<Number>) -> String {
        number.map_or("null".into(), |number| number.trimmed().to_string())
    }

    #[test]
    fn known_samples() {
        let sample = of(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!(shown(sample.variance(0)), "4.571429"); // 32 / 7
        assert_eq!(shown(sample.stddev(0)), "2.13809");
        let prices = of(&[150, 151]); // 1.50 and 1.51: variance 0.00005
        assert_eq!((shown(prices.variance(2)), shown(prices.stddev(2))), ("0.00005".into(), "0.00707107".into()));
        assert_eq!((shown(of(&[7]).variance(0)), shown(of(&[]).stddev(0))), ("null".into(), "null".into()));
        assert_eq!((shown(of(&[3, 3]).variance(0)), shown(of(&[3, 3]).stddev(0))), ("0".into(), "0".into()));
    }

    #[test]
    fn the_widest_values_are_exact_or_told_to_be_too_large() {
        // (2^64 − 1)² / 2, with 6 digits beyond what an i128 holds; its root is (2^64 − 1) / √2.
        let widest = of(&[i64::MIN, i64::MAX]);
        assert_eq!(widest.variance(12), None);
        assert_eq!(shown(widest.stddev(0)), "13043817825332782211.642465");
        assert_eq!(shown(of(&[i64::MIN; 5]).variance(12)), "0");
        let mut squares = of(&[i64::MIN; 3]);
        squares.add(i64::MIN, -3);
        assert!(squares.is_zero());
    }

    #[test]
    fn more_taken_back_than_put_in_is_null() {
        let mut squares = of(&[1, 1, 1]);
        squares.add(1_000, -1);
        assert_eq!((squares.variance(0), squares.stddev(0)), (None, None));
    }

    proptest! {
        /// By deviations from the mean times n: Σ(n·x − Σx)² = n·(n·Σx² − (Σx)²), so the variance is it / n²(n − 1).
        #[test]
        fn variance_is_that_of_the_deviations(
            values in prop::collection::vec(prop_oneof![-9_i64..9, any::<i64>()], 2..30),
            scale in 0_u8..=12,
        ) {
            let n = BigInt::from(values.len());
            let sum: BigInt = values.iter().sum();
            let deviations: BigInt = values.iter().map(|x| (&n * x - &sum).pow(2)).sum();
            let denominator: BigInt = &n * &n * (&n - 1);
            let squares = of(&values);
            // v is right when it is at most half a unit away: |2·v·denominator − 2·exact| ≤ denominator.
            if let Some(variance) = squares.variance(scale) {
                prop_assert_eq!(variance.scale(), 2 * scale + 6);
                let off: BigInt = (&denominator * variance.unscaled() - &deviations * 1_000_000) * 2;
                prop_assert!(off.magnitude() <= denominator.magnitude(), "{}", variance);
            } else {
                prop_assert!(&deviations * 1_000_000 / &denominator >= BigInt::from(i128::MAX));
            }
            // s is right when the exact root lies between s − ½ and s + ½.
            let stddev = squares.stddev(scale).expect("every deviation fits");
            prop_assert_eq!(stddev.scale(), scale + 6);
            let exact = &deviations * 4 * pow10(12);
            let above: BigInt = BigInt::from(stddev.unscaled()) * 2 + 1;
            let below: BigInt = &above - 2;
            prop_assert!(&denominator * above.pow(2) >= exact);
            prop_assert!(stddev.unscaled() == 0 || &denominator * below.pow(2) <= exact);
        }
    }
}
