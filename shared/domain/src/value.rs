//! Exact numbers: an unscaled integer and the number of digits after its point. No binary floats.

use crate::rounding;
use num_bigint::BigInt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::cmp::Ordering;
use std::fmt;

/// Why a text is not an acceptable number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("{0:?} is not a decimal number such as -12.50 or 1e3")]
    Syntax(String),
    #[error(
        "{text} has more than {scale} digits after the point; round it before publishing or raise the measure's scale"
    )]
    Digits { text: String, scale: u8 },
    #[error("{0} is out of range; after scaling a measure must fit a signed 64-bit integer")]
    Overflow(String),
}

/// `unscaled / 10^scale`, exactly. It is shown with all `scale` digits after the point, so that money keeps its zeros; averages,
/// variances, quotients and roots have no zeros at the end of their fraction. Numbers of the same value are equal, whatever digits they show.
///
/// ```
/// use daybook_domain::value::Number;
/// assert_eq!(Number::new(-350, 2).to_string(), "-3.50");
/// assert_eq!(Number::new(-350, 2), Number::new(-35, 1));
/// assert_eq!(Number::ratio(1, 2, 0).to_string(), "0.5");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Number {
    unscaled: i128,
    scale: u8,
}

/// Digits that an average has beyond those of what it averages.
pub const RATIO_DIGITS: u8 = 6;

impl Number {
    /// `scale` is at most 36.
    pub fn new(unscaled: i128, scale: u8) -> Self {
        assert!(scale <= 36, "scale {scale} is more than 36 digits");
        Self { unscaled, scale }
    }

    pub fn integer(value: i128) -> Self {
        Self::new(value, 0)
    }

    /// `numerator / denominator` where the numerator has `scale` digits, rounded half to even at
    /// `scale +` [`RATIO_DIGITS`] digits. `denominator` is positive.
    pub fn ratio(numerator: i128, denominator: i128, scale: u8) -> Self {
        assert!(denominator > 0, "ratio by {denominator}");
        let factor = pow10(RATIO_DIGITS);
        // i128 holds sums of 2^64 values of 63 bits; split so that the factor cannot overflow it.
        let (whole, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
        let (fraction, tail) = match rest.checked_mul(factor) {
            Some(scaled) => (scaled / denominator, scaled % denominator),
            None => (rest / (denominator / factor), 0),
        };
        let mut quotient = whole.saturating_mul(factor).saturating_add(fraction);
        // Twice the tail could overflow.
        match tail.cmp(&(denominator - tail)) {
            Ordering::Greater => quotient += 1,
            Ordering::Equal if quotient % 2 != 0 => quotient += 1,
            _ => {}
        }
        Self::new(quotient, scale + RATIO_DIGITS).trimmed()
    }

    /// `numerator / denominator`, rounded half to even at [`RATIO_DIGITS`] digits. `None` for a denominator of zero and
    /// for a result beyond the range of a number.
    ///
    /// ```
    /// use daybook_domain::value::Number;
    /// let quotient = Number::quotient(Number::new(-20, 1), Number::integer(3)).unwrap();
    /// assert_eq!(quotient.to_string(), "-0.666667");
    /// ```
    pub fn quotient(numerator: Self, denominator: Self) -> Option<Self> {
        // Brought to a common scale the units cancel. That may take more than 128 bits.
        let common = numerator.scale.max(denominator.scale);
        let scaled = |number: Self| BigInt::from(number.unscaled) * pow10(common - number.scale);
        let (numerator, denominator) = (scaled(numerator) * pow10(RATIO_DIGITS), scaled(denominator));
        let unscaled = rounding::quotient(&numerator, &denominator)?;
        Some(Self::new(unscaled, RATIO_DIGITS).trimmed())
    }

    pub fn unscaled(self) -> i128 {
        self.unscaled
    }

    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Nearest binary float, for display and for clients that want one.
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Reads a number as JSON writes it: `-12.50`, `3`, `1e3`. No plus sign in front, no zeros before the first digit, digits on both
    /// sides of a point. Zeros at the end change nothing.
    ///
    /// ```
    /// use daybook_domain::value::Number;
    /// assert_eq!(Number::parse("2.0").unwrap(), Number::parse("2").unwrap());
    /// assert!(Number::parse("+5").is_err() && Number::parse("007").is_err());
    /// ```
    ///
    /// # Errors
    /// [`NumberError::Syntax`] for anything else, [`NumberError::Overflow`] beyond 36 digits.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let syntax = || NumberError::Syntax(text.chars().take(64).collect());
        let overflow = || NumberError::Overflow(text.chars().take(64).collect());
        let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
        let (is_negative, digits) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_number = plain(whole)
            && (whole.len() == 1 || !whole.starts_with('0'))
            && fraction.is_none_or(plain)
            && exponent.is_none_or(|e| plain(e.strip_prefix(['+', '-']).unwrap_or(e)));
        if !is_number {
            return Err(syntax());
        }
        let fraction = fraction.unwrap_or("").trim_end_matches('0');
        let unscaled = digits_of(whole.bytes().chain(fraction.bytes())).ok_or_else(overflow)?;
        if unscaled == 0 {
            return Ok(Self::integer(0));
        }
        let signed = if is_negative { -unscaled } else { unscaled };
        // An exponent that does not fit is one that no number here can have.
        let exponent: i32 = exponent.map_or(Ok(0), str::parse).map_err(|_| overflow())?;
        let scale = i32::try_from(fraction.len()).map_err(|_| overflow())?.saturating_sub(exponent);
        Self::shifted(signed, scale).ok_or_else(overflow)
    }

    /// Reads a number as [`Number::parse`] does, and keeps the zeros at its end.
    ///
    /// ```
    /// use daybook_domain::value::Number;
    /// assert_eq!(Number::parse_as_shown("5077.30").unwrap().to_string(), "5077.30");
    /// assert_eq!(Number::parse_as_shown("1e3").unwrap().to_string(), "1000");
    /// ```
    ///
    /// # Errors
    /// Those of [`Number::parse`].
    pub fn parse_as_shown(text: &str) -> Result<Self, NumberError> {
        let number = Self::parse(text)?;
        let digits = match text.split_once('.') {
            Some((_, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => fraction.len(),
            _ => 0,
        };
        // Zeros that have no room are left out; the value is the same.
        Ok(u8::try_from(digits).ok().and_then(|digits| number.with_digits(digits)).unwrap_or(number))
    }

    /// The same number with at least so many digits after the point; `None` when they are too many.
    fn with_digits(self, scale: u8) -> Option<Self> {
        let more = scale.saturating_sub(self.scale);
        let unscaled = self.unscaled.checked_mul(10_i128.checked_pow(more.into())?)?;
        (scale <= 36).then(|| Self::new(unscaled, self.scale + more))
    }

    /// `unscaled / 10^scale`; `None` for a result beyond the range of a number.
    fn shifted(mut unscaled: i128, mut scale: i32) -> Option<Self> {
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        while scale < 0 {
            unscaled = unscaled.checked_mul(10)?;
            scale += 1;
        }
        (scale <= 36).then(|| Self::new(unscaled, scale as u8))
    }

    /// The number as a whole one.
    ///
    /// # Errors
    /// [`NumberError::Digits`] when it has a fraction.
    pub fn whole(self) -> Result<i128, NumberError> {
        let trimmed = self.trimmed();
        match trimmed.scale {
            0 => Ok(trimmed.unscaled),
            _ => Err(NumberError::Digits { text: self.to_string(), scale: 0 }),
        }
    }

    /// The unscaled value at exactly `scale` digits, as a measure keeps it.
    ///
    /// # Errors
    /// [`NumberError::Digits`] when it has more digits, [`NumberError::Overflow`] when it does not fit.
    pub fn at_scale(self, scale: u8) -> Result<i64, NumberError> {
        let number = if self.scale > scale { self.trimmed() } else { self };
        if number.scale > scale {
            return Err(NumberError::Digits { text: self.to_string(), scale });
        }
        number
            .unscaled
            .checked_mul(pow10(scale - number.scale))
            .and_then(|unscaled| i64::try_from(unscaled).ok())
            .ok_or_else(|| NumberError::Overflow(self.to_string()))
    }

    /// The same number without zeros at its end, as sealed reports have it.
    pub fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.unscaled % 10 == 0 {
            self.unscaled /= 10;
            self.scale -= 1;
        }
        self
    }
}

/// `10^exponent`; `exponent` is at most 38.
pub fn pow10(exponent: u8) -> i128 {
    10_i128.pow(u32::from(exponent))
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // Whole parts first, then fractions brought to the same scale: neither can overflow.
        let split = |n: &Self| {
            let unit = pow10(n.scale);
            (n.unscaled.div_euclid(unit), n.unscaled.rem_euclid(unit))
        };
        let ((whole, fraction), (other_whole, other_fraction)) = (split(self), split(other));
        whole.cmp(&other_whole).then_with(|| {
            let common = self.scale.max(other.scale);
            (fraction * pow10(common - self.scale)).cmp(&(other_fraction * pow10(common - other.scale)))
        })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = pow10(self.scale).unsigned_abs();
        let magnitude = self.unscaled.unsigned_abs();
        let mut text = (magnitude / unit).to_string();
        if self.scale > 0 {
            text.push_str(&format!(".{:0width$}", magnitude % unit, width = usize::from(self.scale)));
        }
        f.pad_integral(self.unscaled >= 0, "", &text)
    }
}

// JSON: a plain number with all digits that it shows. MessagePack: an integer where it shows no fraction, else its text.
impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.scale, i64::try_from(self.unscaled)) {
            (0, Ok(integer)) => serializer.serialize_i64(integer),
            _ if serializer.is_human_readable() => {
                let raw =
                    serde_json::value::RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
            return Self::parse_as_shown(raw.get().trim_matches('"')).map_err(de::Error::custom);
        }
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an integer or a decimal number as text")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
                Ok(Number::integer(value.into()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number::integer(value.into()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                Number::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The whole number that digits stand for; `None` when it does not fit.
fn digits_of(mut digits: impl Iterator<Item = u8> + Clone) -> Option<i128> {
    // Nineteen digits fit a machine word, and nearly every number has fewer.
    let count = digits.clone().count();
    if count < 19 {
        return Some(digits.fold(0_u64, |number, byte| number * 10 + u64::from(byte - b'0')).into());
    }
    digits.try_fold(0_i128, |number, byte| number.checked_mul(10)?.checked_add(i128::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_exactly() {
        for (text, printed) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("12.50", "12.5"),
            ("-3", "-3"),
            ("1e3", "1000"),
            ("1.5E-2", "0.015"),
            ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
            ("0.000000000001", "0.000000000001"),
            ("0e999999999", "0"),
        ] {
            assert_eq!(Number::parse(text).unwrap().to_string(), printed);
        }
        for bad in ["", "-", "1.", ".5", "1,5", "0x10", "NaN", "1e", "--1", "+1"] {
            assert!(Number::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Number::parse("1e40"), Err(NumberError::Overflow(_))));
    }

    #[test]
    fn scaling_refuses_what_it_cannot_hold() {
        let number = |text: &str| Number::parse(text).unwrap();
        assert_eq!(number("12.5").at_scale(2), Ok(1250));
        assert_eq!(number("12.500").at_scale(1), Ok(125));
        assert!(matches!(number("12.345").at_scale(2), Err(NumberError::Digits { scale: 2, .. })));
        assert_eq!(number("9223372036854775807").at_scale(0), Ok(i64::MAX));
        assert!(matches!(number("9223372036854775808").at_scale(0), Err(NumberError::Overflow(_))));
        assert!(matches!(number("92233720368547758.08").at_scale(3), Err(NumberError::Overflow(_))));
    }

    #[test]
    fn ratios_round_half_to_even() {
        assert_eq!(Number::ratio(-7, 2, 0).to_string(), "-3.5");
        assert_eq!(Number::ratio(1174, 43, 0).to_string(), "27.302326");
        assert_eq!(Number::ratio(-2, 3, 0).to_string(), "-0.666667");
        assert_eq!(Number::ratio(1, 2_000_000, 0).to_string(), "0");
        assert_eq!(Number::ratio(3, 2_000_000, 0).to_string(), "0.000002");
        assert_eq!(Number::ratio(-1, 2_000_000, 0).to_string(), "0");
    }

    #[test]
    fn quotients_of_any_size_are_exact() {
        let quotient = |n: Number, d: Number| Number::quotient(n, d).map_or("null".into(), |number| number.to_string());
        assert_eq!(quotient(Number::new(301, 2), Number::integer(2)), "1.505");
        assert_eq!(quotient(Number::integer(1), Number::integer(0)), "null");
        assert_eq!(quotient(Number::integer(1), Number::integer(-2_000_000)), "0");
        assert_eq!(quotient(Number::integer(3), Number::integer(-2_000_000)), "-0.000002");
        // Brought to 30 digits the count has more than 128 bits.
        assert_eq!(quotient(Number::new(5 * pow10(35), 30), Number::integer(10_000_000_000)), "0.00005");
        assert_eq!(quotient(Number::integer(i128::MAX), Number::new(i128::MAX, 6)), "1000000");
        assert_eq!(quotient(Number::integer(i128::MAX), Number::integer(1)), "null");
    }

    #[test]
    fn ordering_ignores_scale() {
        assert_eq!(Number::new(150, 2), Number::new(15, 1));
        assert!(Number::new(-151, 2) < Number::new(-15, 1));
        assert!(Number::new(i128::MAX, 0) > Number::new(i128::MAX, 36));
    }

    #[test]
    fn json_and_messagepack_round_trip() {
        for text in ["-3.5", "27.302326", "12", "18446744073709551616"] {
            let number = Number::parse(text).unwrap();
            let json = serde_json::to_string(&number).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_str::<Number>(&json).unwrap(), number);
            let packed = rmp_serde::to_vec(&number).unwrap();
            assert_eq!(rmp_serde::from_slice::<Number>(&packed).unwrap(), number);
        }
    }
}
