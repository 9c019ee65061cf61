//! A sketch of values from which any quantile is read with a bounded relative error. Unlike most sketches it is a group
//! element, since it only counts: values that fall into the same bucket are taken for equal.

use super::multiset::Multiset;
use serde::{Deserialize, Serialize};

/// Significant bits of a value that the sketch keeps, the leading one included. So there are 128 buckets of small
/// integers and 64 for each power of two above: with negative ones 7 424 for all 64-bit integers.
const SIGNIFICANT_BITS: u32 = 7;
/// The buckets of one power of two.
const BUCKETS_PER_OCTAVE: u64 = 1 << (SIGNIFICANT_BITS - 1);

/// An approximate quantile differs from the exact one by at most one part in so many of the exact one.
///
/// A value `x` with `2^e ≤ |x| < 2^(e+1)` falls into a bucket of `2^(e−6)` integers, as 7 significant bits are kept. The
/// bucket's middle is at most half of that away: `2^(e−7) ≤ |x| / 128`. Below 128 in magnitude a bucket is one integer
/// and the quantile exact. Buckets are in the order of their values, so the value at a rank lies in the bucket at
/// that rank.
pub const APPROX_QUANTILE_ERROR_DIVISOR: u64 = 1 << SIGNIFICANT_BITS;

/// Buckets with how many values each holds. Negative values mirror positive ones; 0 has a bucket of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApproxQuantile(Multiset<i16>);

impl ApproxQuantile {
    pub(super) fn add(&mut self, value: i64, n: i64) {
        self.0.add(bucket(value), n);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    pub(super) fn is_sane(&self) -> bool {
        self.0.is_sane()
    }

    /// How many values there are.
    pub fn len(&self) -> i64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle of the bucket of the value at `rank` in ascending order, from 1: within
    /// [`APPROX_QUANTILE_ERROR_DIVISOR`] of that value. May lie outside an `i64` near its ends.
    pub fn at_rank(&self, rank: i64) -> Option<i128> {
        self.0.at_rank(rank).map(middle)
    }
}

/// The bucket of a value: its order is that of the values.
fn bucket(value: i64) -> i16 {
    let magnitude = value.unsigned_abs();
    // How many low bits are dropped; none below 2^7.
    let dropped = (u64::BITS - magnitude.leading_zeros()).saturating_sub(SIGNIFICANT_BITS);
    let index = u64::from(dropped) * BUCKETS_PER_OCTAVE + (magnitude >> dropped);
    // 2^63 drops 57 bits and has 64 left: index 3 712.
    let index = i16::try_from(index).expect("57 octaves of 64 buckets fit 16 bits");
    if value < 0 { -index } else { index }
}

/// The middle of a bucket.
fn middle(bucket: i16) -> i128 {
    let index = u64::from(bucket.unsigned_abs());
    let dropped = (index / BUCKETS_PER_OCTAVE).saturating_sub(1);
    let bits = index - dropped * BUCKETS_PER_OCTAVE;
    // `dropped` is 57 for any bucket that a value has, and at most 511 in what was not written by this code.
    let width = 1_i128 << dropped.min(i64::BITS.into());
    let magnitude = i128::from(bits) * width + width / 2;
    if bucket < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_one_another() {
        assert_eq!([0, 1, 127, 128, 129, 130, 255, 256].map(bucket), [0, 1, 127, 128, 128, 129, 191, 192]);
        assert_eq!((bucket(i64::MAX), bucket(i64::MIN)), (3_711, -3_712));
        assert_eq!([0, 127, -127, 128, 192].map(middle), [0, 127, -127, 129, 258]);
        let mut previous = 0;
        for value in 0..100_000 {
            let bucket = bucket(value);
            assert!(bucket == previous || bucket == previous + 1, "{value}");
            previous = bucket;
        }
    }

    /// Values over the whole range, with small ones and the ends.
    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![
            -300_i64..300,
            (0_u32..63, any::<i64>()).prop_map(|(bits, value)| value >> bits),
            Just(i64::MIN),
            Just(i64::MAX)
        ]
    }

    proptest! {
        #[test]
        fn every_rank_is_within_the_bound(mut values in prop::collection::vec(value(), 1..200)) {
            let mut sketch = ApproxQuantile::default();
            for value in &values {
                sketch.add(*value, 1);
            }
            values.sort_unstable();
            for (index, exact) in values.iter().map(|value| i128::from(*value)).enumerate() {
                let approximate = sketch.at_rank(index as i64 + 1).unwrap();
                let error = (approximate - exact).abs();
                prop_assert!(error * i128::from(APPROX_QUANTILE_ERROR_DIVISOR) <= exact.abs(), "{approximate} for {exact}");
                prop_assert!(exact.abs() >= 128 || error == 0, "{approximate} for {exact}");
            }
            prop_assert_eq!(sketch.at_rank(0), None);
            prop_assert_eq!(sketch.at_rank(values.len() as i64 + 1), None);
        }

        #[test]
        fn the_order_of_buckets_is_that_of_values(one in value(), other in value()) {
            prop_assert!(one > other || bucket(one) <= bucket(other));
        }
    }
}
