//! How many different texts there are, approximately: a HyperLogLog that counts what it has seen, so that it retracts.

use super::multiset::Multiset;
use serde::{Deserialize, Serialize};

/// Bits of a hash that choose its register.
const REGISTER_BITS: u32 = 12;
/// Registers. Each text takes part in one of them.
const REGISTERS: u64 = 1 << REGISTER_BITS;
/// The largest rank: one more than the bits that are left for it.
const MAX_RANK: u32 = u64::BITS - REGISTER_BITS + 1;
/// Bits that a rank takes up beside its register.
const RANK_BITS: u32 = 6;
/// Digits after the binary point of the estimate's terms; more than [`MAX_RANK`], so that every `2^−rank` is exact.
const FRACTION_BITS: u32 = 62;
/// `1 / (2 · ln 2)` with 32 binary digits after the point, the constant of the estimate.
const ALPHA: u128 = 3_098_164_009;
const ALPHA_BITS: u32 = 32;

const _: () = assert!(MAX_RANK < 1 << RANK_BITS && MAX_RANK <= FRACTION_BITS);

/// Standard error of an approximate count of different texts, in parts per million: `1.04 / √4096`. Two of three counts
/// are within it, nineteen of twenty within twice of it; counts far below the 4096 registers are nearer than that.
pub const APPROX_DISTINCT_STANDARD_ERROR_PPM: u32 = 16_250;

/// For each register and rank, how many rows fell there. A register's value is its largest rank that has any, as in
/// the sketch of Flajolet and others (2007); the counts below it are what it falls back to when rows are retracted.
///
/// It holds at most a count for each different text, and beyond 4096 of them about 4096 · (1 + log2(texts / 4096)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApproxDistinct(Multiset<u32>);

impl ApproxDistinct {
    pub(super) fn add(&mut self, value: &str, n: i64) {
        self.0.add(place(hash(value)), n);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// Also that every place is one that a hash can have.
    pub(super) fn is_sane(&self) -> bool {
        let is_place = |place: u32| {
            let (register, rank) = split(place);
            u64::from(register) < REGISTERS && (1..=MAX_RANK).contains(&rank)
        };
        self.0.is_sane() && self.0.iter().all(|(place, _)| is_place(place))
    }

    /// About how many different texts there are, with a standard error of [`APPROX_DISTINCT_STANDARD_ERROR_PPM`].
    ///
    /// In fixed point, by Ertl's improved estimate (2017, "New cardinality estimation algorithms for HyperLogLog
    /// sketches", section 4): `α · m² / (m · σ(V / m) + Σ 2^−rank)`, the sum being over the registers that have a
    /// value and `V` the number of those that have none. It needs no switch to linear counting below 2.5 · m, at
    /// which the original estimate is 2 % too high. Its correction for full registers is left out: none is full before
    /// some 2^50 texts.
    pub fn estimate(&self) -> u64 {
        let (mut taken, mut sum) = (0_u64, 0_u128);
        let mut places = self.0.iter().map(|(place, _)| split(place)).peekable();
        while let Some((register, rank)) = places.next() {
            // Places are in order: the last of a register is its largest rank.
            if places.peek().is_none_or(|(next, _)| *next != register) {
                taken += 1;
                sum += 1_u128 << (FRACTION_BITS - rank.min(MAX_RANK));
            }
        }
        let empty = REGISTERS.saturating_sub(taken);
        if empty == REGISTERS {
            return 0;
        }
        let denominator = u128::from(REGISTERS) * sigma(empty) + sum;
        // 32 + 24 + 62 bits. The denominator's digits cancel, those of α are left and rounded off.
        let estimate = (ALPHA << (2 * REGISTER_BITS + FRACTION_BITS)) / denominator;
        let rounded = (estimate + (1 << (ALPHA_BITS - 1))) >> ALPHA_BITS;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }
}

/// `σ(x) = x + Σ x^(2^k) · 2^(k−1)` for k from 1, where `x` is `empty / REGISTERS` and below 1; in fixed point.
///
/// Each squaring doubles the power's negative logarithm, which to base 2 is more than `2^−REGISTER_BITS` at first and
/// ends at [`FRACTION_BITS`]: after at most 18 rounds. The sum stays below `REGISTERS`.
fn sigma(empty: u64) -> u128 {
    let mut power = u128::from(empty) << (FRACTION_BITS - REGISTER_BITS);
    let mut sum = power;
    let mut doublings = 0;
    loop {
        power = (power * power) >> FRACTION_BITS;
        if power == 0 {
            return sum;
        }
        sum += power << doublings;
        doublings += 1;
    }
}

/// The register and rank of a hash as one number, ordered by register and then rank.
fn place(hash: u64) -> u32 {
    let register = (hash >> (u64::BITS - REGISTER_BITS)) as u32;
    // The position of the first one among the bits that are left, from 1; MAX_RANK when there is none.
    let rank = (hash << REGISTER_BITS).leading_zeros().min(MAX_RANK - 1) + 1;
    register << RANK_BITS | rank
}

fn split(place: u32) -> (u32, u32) {
    (place >> RANK_BITS, place & ((1 << RANK_BITS) - 1))
}

/// The hash of a text: FNV-1a in 64 bits over its UTF-8, then the finaliser of SplitMix64, which spreads every bit over
/// all others, as the leading bits of FNV-1a alone are poor. Stored sketches depend on it: it never changes.
fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn of(texts: impl Iterator<Item = String>) -> ApproxDistinct {
        let mut sketch = ApproxDistinct::default();
        texts.for_each(|text| sketch.add(&text, 1));
        sketch
    }

    /// Parts per million between the estimate and the truth.
    fn error_ppm(sketch: &ApproxDistinct, exact: u64) -> u64 {
        sketch.estimate().abs_diff(exact) * 1_000_000 / exact
    }

    /// Three standard errors: passed by 99.7 % of samples, and these are fixed.
    const TOLERATED_PPM: u64 = 3 * APPROX_DISTINCT_STANDARD_ERROR_PPM as u64;

    #[test]
    fn the_hash_never_changes() {
        // Computed apart from this code.
        assert_eq!(hash(""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash("B6"), 0x61e9_82a3_a376_a5c0);
        assert_eq!(hash("Zürich"), 0xc65e_9341_af28_3a5d);
    }

    #[test]
    fn places_are_register_and_rank() {
        assert_eq!(split(place(0)), (0, MAX_RANK));
        assert_eq!(split(place(u64::MAX)), (4_095, 1));
        assert_eq!(split(place(1)), (0, MAX_RANK - 1));
        assert_eq!(split(place(0x0018_0000_0000_0000)), (1, 1));
    }

    #[test]
    fn estimates_stay_within_three_standard_errors() {
        assert_eq!(ApproxDistinct::default().estimate(), 0);
        // Also around 10 000, where HyperLogLog without its correction is biased.
        for n in [10, 100, 1_000, 5_000, 9_000, 10_000, 11_000, 20_000, 100_000] {
            for prefix in ["customer-", "", "https://example.org/pages/"] {
                let sketch = of((0..n).map(|i| format!("{prefix}{i}")));
                assert!(error_ppm(&sketch, n) <= TOLERATED_PPM, "{} for {n} of {prefix:?}", sketch.estimate());
            }
        }
    }

    #[test]
    fn the_standard_error_is_as_stated() {
        // Mean square over 60 disjoint samples at the place where it is worst; 20 % are the slack of so few.
        let (samples, n) = (60, 10_000);
        let squares: u64 = (0..samples)
            .map(|sample| of((0..n).map(|i| format!("{sample}:{i}"))))
            .map(|sketch| error_ppm(&sketch, n).pow(2))
            .sum();
        let stated = u64::from(APPROX_DISTINCT_STANDARD_ERROR_PPM) * 12 / 10;
        assert!(squares / samples <= stated.pow(2), "{} ppm", (squares / samples).isqrt());
    }

    #[test]
    fn retracting_most_leaves_the_sketch_of_the_rest() {
        let texts = |range: std::ops::Range<u64>| range.map(|i| format!("customer-{i}"));
        let mut sketch = of(texts(0..100_000));
        for (before, left) in [(100_000, 10_000), (10_000, 1_000), (1_000, 10)] {
            texts(left..before).for_each(|text| sketch.add(&text, -1));
            assert_eq!(sketch, of(texts(0..left)));
            assert!(error_ppm(&sketch, left) <= TOLERATED_PPM, "{} for {left}", sketch.estimate());
        }
        texts(0..10).for_each(|text| sketch.add(&text, -1));
        assert!(sketch.is_zero());
    }

    proptest! {
        #[test]
        fn small_counts_are_those_of_a_set(texts in prop::collection::vec("[a-f]{1,4}", 0..60)) {
            let exact = texts.iter().collect::<HashSet<_>>().len() as u64;
            let estimate = of(texts.into_iter()).estimate();
            // Of 60 texts one in three samples has two in a register, which then counts for one.
            prop_assert!(estimate.abs_diff(exact) <= 3, "{} for {}", estimate, exact);
        }
    }
}
