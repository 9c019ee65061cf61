//! For how long something is kept, as a setting says it: `90d`, `36h`, or `0` for ever.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The units, the longest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// Longest retention that is not for ever: the broker counts nanoseconds in 63 bits, which is 292 years.
const MAX_DAYS: u64 = 36_500;

/// For ever, or 1 s to 36,500 days in whole seconds. Below a day it is of use in tests only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention(Option<Duration>);

impl Retention {
    /// Nothing is ever dropped.
    pub const FOR_EVER: Self = Self(None);

    /// `None` for ever.
    pub fn age(self) -> Option<Duration> {
        self.0
    }
}

/// The text is no retention.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a retention is 0 (for ever) or a number of days, hours, minutes or seconds up to {MAX_DAYS} days, such as 90d, 36h, 45m or 30s"
)]
pub struct RetentionError;

impl FromStr for Retention {
    type Err = RetentionError;
    fn from_str(text: &str) -> Result<Self, RetentionError> {
        if text == "0" {
            return Ok(Self::FOR_EVER);
        }
        let unit = text.chars().next_back().ok_or(RetentionError)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(RetentionError)?;
        let digits = &text[..text.len() - unit.len_utf8()];
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RetentionError);
        }
        let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(seconds)).ok_or(RetentionError)?;
        match seconds {
            0 => Ok(Self::FOR_EVER),
            _ if seconds <= MAX_DAYS * 86_400 => Ok(Self(Some(Duration::from_secs(seconds)))),
            _ => Err(RetentionError),
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(age) = self.0 else { return f.write_str("0") };
        let seconds = age.as_secs();
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| seconds % unit == 0).expect("a second divides all");
        write!(f, "{}{name}", seconds / unit)
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_are_read_and_written() {
        for (text, seconds, written) in [
            ("0", 0, "0"),
            ("0d", 0, "0"),
            ("1s", 1, "1s"),
            ("90d", 90 * 86_400, "90d"),
            ("36h", 36 * 3_600, "36h"),
            ("48h", 48 * 3_600, "2d"),
            ("36500d", 36_500 * 86_400, "36500d"),
        ] {
            let retention: Retention = text.parse().unwrap();
            assert_eq!(retention.age(), (seconds > 0).then(|| Duration::from_secs(seconds)), "{text}");
            assert_eq!(retention.to_string(), written);
        }
        for text in ["", "d", "90", "-1d", "+1d", "1.5h", "1w", "36501d", "99999999999999999999d", "1 d", "1µ"] {
            assert_eq!(text.parse::<Retention>(), Err(RetentionError), "{text}");
        }
    }
}
