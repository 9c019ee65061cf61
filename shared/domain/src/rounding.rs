//! Quotients and roots of integers of any size, rounded once and half to even. For reading figures, not for state.

use num_bigint::{BigInt, BigUint, Sign};
use std::cmp::Ordering;

/// The integer nearest to `numerator / denominator`, half to even. `None` for a denominator of zero and where the result is
/// beyond an `i128`.
pub(crate) fn quotient(numerator: &BigInt, denominator: &BigInt) -> Option<i128> {
    if denominator.sign() == Sign::NoSign {
        return None;
    }
    let (dividend, divisor) = (numerator.magnitude(), denominator.magnitude());
    let down = dividend / divisor;
    let rest = dividend - &down * divisor;
    // Half to even is symmetric, so the magnitude is rounded and gets its sign back.
    let magnitude = half_to_even(down, (rest * 2_u32).cmp(divisor));
    let sign = if numerator.sign() == denominator.sign() { Sign::Plus } else { Sign::Minus };
    i128::try_from(BigInt::from_biguint(sign, magnitude)).ok()
}

/// `√(numerator / denominator)`, as [`quotient`]; also `None` when there is no real one.
pub(crate) fn square_root(numerator: &BigInt, denominator: &BigInt) -> Option<i128> {
    if denominator.sign() != Sign::Plus || numerator.sign() == Sign::Minus {
        return None;
    }
    let (dividend, divisor) = (numerator.magnitude(), denominator.magnitude());
    // The floor of a root is that of the root of the floor.
    let down = (dividend / divisor).sqrt();
    // The root against down + ½: squared and times four, dividend · 4 against divisor · (2 · down + 1)².
    let half: BigUint = &down * 2_u32 + 1_u32;
    let rounded = half_to_even(down, (dividend * 4_u32).cmp(&(divisor * &half * &half)));
    i128::try_from(BigInt::from_biguint(Sign::Plus, rounded)).ok()
}

/// `down` or the next integer, by how what was cut off compares with one half.
fn half_to_even(down: BigUint, rest: Ordering) -> BigUint {
    match rest {
        Ordering::Less => down,
        Ordering::Equal if !down.bit(0) => down,
        Ordering::Equal | Ordering::Greater => down + 1_u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_round_half_to_even_on_both_sides_of_zero() {
        let unscaled = |n: i64, d: i64| quotient(&n.into(), &d.into());
        for (n, d, expected) in [(1, 2, 0), (3, 2, 2), (5, 2, 2), (7, 3, 2), (8, 3, 3), (0, 5, 0)] {
            assert_eq!(unscaled(n, d), Some(expected), "{n}/{d}");
            assert_eq!(unscaled(-n, d), Some(-expected), "-{n}/{d}");
            assert_eq!(unscaled(n, -d), Some(-expected), "{n}/-{d}");
            assert_eq!(unscaled(-n, -d), Some(expected), "-{n}/-{d}");
        }
        assert_eq!(unscaled(1, 0), None);
        let most = BigInt::from(i128::MAX);
        assert_eq!(quotient(&most, &1.into()), Some(i128::MAX));
        assert_eq!(quotient(&(most + 1), &1.into()), None);
    }

    #[test]
    fn roots_round_half_to_even() {
        let unscaled = |n: i64, d: i64| square_root(&n.into(), &d.into());
        // √(9/4) = 1.5 and √(25/4) = 2.5 are ties; √6.24 and √6.26 lie to their sides.
        for (n, d, expected) in
            [(9, 4, 2), (25, 4, 2), (624, 100, 2), (626, 100, 3), (1, 4, 0), (0, 1, 0), (16, 1, 4), (2, 1, 1)]
        {
            assert_eq!(unscaled(n, d), Some(expected), "√({n}/{d})");
        }
        assert_eq!((unscaled(-1, 1), unscaled(1, 0), unscaled(1, -1)), (None, None, None));
    }
}
