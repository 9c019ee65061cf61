//! Numbers as other systems write them, exact to the last digit.

use crate::found::FoundValue;
use daybook_contracts::reject::Code;
use daybook_domain::mapping::Round;
use daybook_domain::value::{Number, NumberError};
use num_bigint::{BigInt, Sign};

/// Most digits that a point is moved by.
pub(crate) const MAX_SHIFT: i8 = 18;

/// What is done to a number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arithmetic {
    /// The point moves to the right by so many digits, to the left where it is negative.
    pub(crate) shift: i8,
    /// Not zero.
    pub(crate) divide: Option<u64>,
    pub(crate) round: Option<Round>,
}

/// Why a value is no number that its measure keeps.
pub(crate) struct NoNumber {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl From<NumberError> for NoNumber {
    fn from(error: NumberError) -> Self {
        let code = match error {
            NumberError::Syntax(_) => Code::WrongType,
            NumberError::Digits { .. } => Code::TooManyDigits,
            NumberError::Overflow(_) => Code::Overflow,
        };
        let reason = match error {
            NumberError::Digits { text, scale } => format!(
                "{text} has more than {scale} digits after the point; round it in the mapping or raise the measure's scale"
            ),
            other => other.to_string(),
        };
        Self { code, reason }
    }
}

/// The unscaled value of a measure with `scale` digits.
pub(crate) fn read(found: &FoundValue<'_>, arithmetic: Arithmetic, scale: u8) -> Result<i64, NoNumber> {
    let text = match found {
        FoundValue::Number(text) => text,
        FoundValue::Text(text) => &**text,
        _ => return Err(NoNumber { code: Code::WrongType, reason: "it must be a number".to_owned() }),
    };
    let is_plain = arithmetic.shift == 0 && arithmetic.divide.is_none() && arithmetic.round.is_none();
    if is_plain
        && scale == 0
        && let Ok(integer) = text.parse()
    {
        return Ok(integer);
    }
    compute(Number::parse(text)?, arithmetic, scale)
}

/// The unscaled value of what the arithmetic makes of a number.
pub(crate) fn compute(number: Number, arithmetic: Arithmetic, scale: u8) -> Result<i64, NoNumber> {
    let Arithmetic { shift, divide, round } = arithmetic;
    if shift == 0 && divide.is_none() && round.is_none() {
        return Ok(number.at_scale(scale)?);
    }
    // unscaled · 10^(scale + shift) / (10^number.scale · divide)
    let power = |exponent: u32| BigInt::from(10).pow(exponent);
    let digits = i32::from(scale) + i32::from(shift) - i32::from(number.scale());
    let up = power(digits.max(0).unsigned_abs());
    let down = power(digits.min(0).unsigned_abs()) * divide.unwrap_or(1);
    let numerator = BigInt::from(number.unscaled()) * up;
    let (quotient, rest) = (&numerator / &down, &numerator % &down);
    let quotient = match round {
        _ if rest == BigInt::ZERO => quotient,
        None => {
            let reason = format!(
                "what the mapping makes of {number} has more than {scale} digits after the point; \
                 say how to round it, such as round: half_even"
            );
            return Err(NoNumber { code: Code::TooManyDigits, reason });
        }
        Some(round) => rounded(quotient, &rest, &down, round),
    };
    i64::try_from(quotient).map_err(|_| NumberError::Overflow(number.to_string()).into())
}

/// The quotient, which was cut off towards zero, rounded by its rest, which is not zero.
fn rounded(quotient: BigInt, rest: &BigInt, divisor: &BigInt, round: Round) -> BigInt {
    let negative = rest.sign() == Sign::Minus;
    let twice = BigInt::from(rest.magnitude().clone()) * 2;
    let away = match round {
        Round::Down => false,
        Round::Up => true,
        Round::Floor => negative,
        Round::Ceiling => !negative,
        Round::HalfUp => twice >= *divisor,
        Round::HalfEven => twice > *divisor || twice == *divisor && &quotient % 2 != BigInt::ZERO,
    };
    match (away, negative) {
        (false, _) => quotient,
        (true, false) => quotient + 1,
        (true, true) => quotient - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(raw: &str, shift: i8, divide: Option<u64>, round: Option<Round>, scale: u8) -> Result<i64, Code> {
        read(&FoundValue::of(Some(raw)), Arithmetic { shift, divide, round }, scale).map_err(|error| error.code)
    }

    #[test]
    fn numbers_are_exact() {
        for (raw, scale, expected) in [
            ("5120", 0, Ok(5_120)),
            ("\"12\"", 0, Ok(12)),
            ("9007199254740993", 0, Ok(9_007_199_254_740_993)),
            ("403.00", 2, Ok(40_300)),
            ("\"19.90\"", 2, Ok(1_990)),
            ("0.1", 12, Ok(100_000_000_000)),
            ("1e3", 0, Ok(1_000)),
            ("3.0", 0, Ok(3)),
            ("49.999", 2, Err(Code::TooManyDigits)),
            ("1e30", 0, Err(Code::Overflow)),
            ("\"1,5\"", 2, Err(Code::WrongType)),
            ("\"\"", 2, Err(Code::WrongType)),
            ("\"NaN\"", 2, Err(Code::WrongType)),
            ("true", 0, Err(Code::WrongType)),
            ("[]", 0, Err(Code::WrongType)),
        ] {
            assert_eq!(value(raw, 0, None, None, scale), expected, "{raw}");
        }
    }

    #[test]
    fn points_are_shifted_and_numbers_divided() {
        use Round::{Ceiling, Down, Floor, HalfEven, HalfUp, Up};
        for (raw, shift, divide, round, scale, expected) in [
            ("12990", -2, None, None, 2, Ok(12_990)),
            ("12990", -2, None, None, 0, Err(Code::TooManyDigits)),
            ("12900", -2, None, None, 0, Ok(129)),
            ("1.5", 3, None, None, 0, Ok(1_500)),
            ("90000", 0, Some(60_000), None, 1, Ok(15)),
            ("90000", 0, Some(60_000), None, 0, Err(Code::TooManyDigits)),
            ("90000", 0, Some(60_000), Some(HalfEven), 0, Ok(2)),
            ("150000", 0, Some(60_000), Some(HalfEven), 0, Ok(2)),
            ("150000", 0, Some(60_000), Some(HalfUp), 0, Ok(3)),
            ("-150000", 0, Some(60_000), Some(HalfUp), 0, Ok(-3)),
            ("-150000", 0, Some(60_000), Some(HalfEven), 0, Ok(-2)),
            ("-1", 0, Some(3), Some(Down), 0, Ok(0)),
            ("-1", 0, Some(3), Some(Up), 0, Ok(-1)),
            ("-1", 0, Some(3), Some(Floor), 0, Ok(-1)),
            ("-1", 0, Some(3), Some(Ceiling), 0, Ok(0)),
            ("1", 0, Some(3), Some(Ceiling), 0, Ok(1)),
            ("49.995", 0, None, Some(HalfEven), 2, Ok(5_000)),
            ("49.985", 0, None, Some(HalfEven), 2, Ok(4_998)),
            ("1", 18, None, Some(Down), 12, Err(Code::Overflow)),
        ] {
            assert_eq!(value(raw, shift, divide, round, scale), expected, "{raw} {shift} {divide:?} {round:?}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_to_a_neighbour(unscaled in -1_000_000_000_i64..1_000_000_000, divide in 1_u64..100_000, which in 0_usize..6) {
            let round = Round::ALL[which];
            let found = value(&unscaled.to_string(), 0, Some(divide), Some(round), 0).unwrap();
            let error = i128::from(unscaled) - i128::from(found) * i128::from(divide);
            let most = if matches!(round, Round::HalfEven | Round::HalfUp) { i128::from(divide) / 2 } else { i128::from(divide) - 1 };
            prop_assert!(error.abs() <= most, "{unscaled} / {divide} by {round:?} is {found}");
            match round {
                Round::Floor => prop_assert!(error >= 0),
                Round::Ceiling => prop_assert!(error <= 0),
                _ => {}
            }
        }
    }
}
