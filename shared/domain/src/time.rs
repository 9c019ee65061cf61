//! Instants and business dates. No clock is read here and no time zone converted.

use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
///
/// ```
/// use daybook_domain::time::Instant;
/// let at: Instant = "2013-03-10T09:00:00+01:00".parse().unwrap();
/// assert_eq!(at.to_string(), "2013-03-10T08:00:00Z");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

/// Why a text is not an instant or a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("{0:?} is not an RFC 3339 time such as 2013-03-10T09:00:00Z")]
    Instant(String),
    #[error("{0:?} is not a date such as 2013-03-10")]
    Date(String),
}

impl Instant {
    pub const MIN: Self = Self(-62_135_596_800_000); // 0001-01-01T00:00:00Z
    pub const MAX: Self = Self(253_402_207_200_000); // 9999-12-30T22:00:00Z, jiff's last whole second

    /// `millis` since the epoch, clamped to the years 1 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(Self::MIN.0, Self::MAX.0))
    }

    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Later by `duration`, at most [`Instant::MAX`].
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl From<jiff::Timestamp> for Instant {
    fn from(timestamp: jiff::Timestamp) -> Self {
        // Floor, so that an instant never moves past a boundary it stands before.
        let millis = timestamp.subsec_nanosecond().div_euclid(1_000_000);
        Self::from_millis(timestamp.as_second() * 1_000 + i64::from(millis))
    }
}

impl FromStr for Instant {
    type Err = TimeError;
    /// Reads exactly what RFC 3339 calls a date-time, such as `2013-03-10T09:00:00.5+01:00`. What is finer than a millisecond is
    /// left out. A leap second, `…:60`, counts as the second before it.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let (seconds, nanos) = rfc3339(text).ok_or_else(|| TimeError::Instant(shorten(text)))?;
        Ok(Self::from_millis(seconds * 1_000 + i64::from(nanos / 1_000_000)))
    }
}

/// Reads exactly what RFC 3339 calls a date-time, in the years 0 to 9999. Returns whole seconds since the epoch, and the
/// nanoseconds beyond them; further digits are left out. `jiff` takes other forms as well, and no more than nine digits.
///
/// ```
/// use daybook_domain::time::rfc3339;
/// assert_eq!(rfc3339("1970-01-01T01:00:02.5+01:00"), Some((2, 500_000_000)));
/// assert_eq!(rfc3339("1970-01-01 00:00:02Z"), None);
/// ```
pub fn rfc3339(text: &str) -> Option<(i64, u32)> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let shape = |(byte, model): (u8, u8)| match model {
        b'0' => byte.is_ascii_digit(),
        model => byte.eq_ignore_ascii_case(&model),
    };
    if !date_time.bytes().zip(*b"0000-00-00T00:00:00").all(shape) {
        return None;
    }
    let number = |from: usize, to: usize| date_time[from..to].parse::<i8>().ok();
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.split_at_checked(digits).filter(|_| digits > 0)?
        }
        None => ("", rest),
    };
    let nine_digits = fraction.bytes().chain(*b"000000000").take(9);
    let nanos = nine_digits.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    let date = civil::Date::new(date_time[..4].parse().ok()?, number(5, 7)?, number(8, 10)?).ok()?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(hour < 24 && minute < 60 && second <= 60) {
        return None;
    }
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second.min(59));
    let days = i64::from(Date::from(date).as_days());
    Some((days * 86_400 + seconds - offset_seconds(offset)?, nanos))
}

/// The seconds east of Greenwich of `Z` or `±HH:MM`.
fn offset_seconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    match bytes {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit) => {
            let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let (hours, minutes) = (two(h1, h2), two(m1, m2));
            let seconds = (hours * 60 + minutes) * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a business day: a calendar date, kept as days since 1970-01-01. Written `YYYY-MM-DD`.
///
/// ```
/// use daybook_domain::time::Date;
/// let date: Date = "2013-02-28".parse().unwrap();
/// assert_eq!(date.next().to_string(), "2013-03-01");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

const EPOCH: civil::Date = civil::date(1970, 1, 1);

impl Date {
    pub const MIN: Self = Self(-719_162); // 0001-01-01
    pub const MAX: Self = Self(2_932_896); // 9999-12-31

    /// `days` since 1970-01-01, clamped to the years 1 to 9999.
    pub fn from_days(days: i32) -> Self {
        Self(days.clamp(Self::MIN.0, Self::MAX.0))
    }

    pub fn as_days(self) -> i32 {
        self.0
    }

    /// The date `days` later, or earlier when negative.
    pub fn plus(self, days: i32) -> Self {
        Self::from_days(self.0.saturating_add(days))
    }

    #[allow(clippy::should_implement_trait, reason = "a date is not an iterator")]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// 0 for Monday to 6 for Sunday.
    pub fn weekday(self) -> i32 {
        // 1970-01-01 was a Thursday.
        (self.0 + 3).rem_euclid(7)
    }

    /// 1 to 31.
    pub fn day_of_month(self) -> i32 {
        i32::from(civil::Date::from(self).day())
    }

    /// Calendar days from `earlier` to here, negative when it is later.
    pub fn days_since(self, earlier: Self) -> i32 {
        self.0 - earlier.0
    }
}

impl From<civil::Date> for Date {
    fn from(date: civil::Date) -> Self {
        let days = EPOCH.until(date).map_or(0, |span| span.get_days());
        Self::from_days(days)
    }
}

impl From<Date> for civil::Date {
    fn from(date: Date) -> Self {
        EPOCH.saturating_add(jiff::Span::new().days(date.0))
    }
}

impl FromStr for Date {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        if text.len() != 10 {
            return Err(TimeError::Date(shorten(text)));
        }
        let date: civil::Date = text.parse().map_err(|_| TimeError::Date(shorten(text)))?;
        Ok(Self::from(date))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        civil::Date::from(*self).fmt(f)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// At most 64 characters of a bad input, for an error text.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

// Text where people read it (JSON, YAML), numbers where machines do (MessagePack).
macro_rules! serde_text_or_number {
    ($type:ident, $number:ty, $from:path) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    <$number>::deserialize(deserializer).map($from)
                }
            }
        }
    };
}

serde_text_or_number!(Instant, i64, Instant::from_millis);
serde_text_or_number!(Date, i32, Date::from_days);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_over_four_centuries() {
        for days in (-80_000..80_000).step_by(7) {
            let date = Date::from_days(days);
            assert_eq!(date.to_string().parse::<Date>().unwrap(), date);
        }
        assert_eq!("1970-01-01".parse::<Date>().unwrap().as_days(), 0);
        assert_eq!("2013-03-10".parse::<Date>().unwrap().as_days(), 15_774);
        assert_eq!(("2013-03-10".parse::<Date>().unwrap().weekday(), Date::from_days(4).weekday()), (6, 0));
        assert_eq!("2013-02-28".parse::<Date>().unwrap().day_of_month(), 28);
        assert_eq!(Date::MIN.to_string(), "0001-01-01");
        assert_eq!(Date::MAX.to_string(), "9999-12-31");
        assert!("2013-02-30".parse::<Date>().is_err());
        assert!("2013-2-3".parse::<Date>().is_err());
    }

    #[test]
    fn instants_floor_to_milliseconds() {
        let at: Instant = "2013-01-01T00:00:00.9999Z".parse().unwrap();
        assert_eq!(at.to_string(), "2013-01-01T00:00:00.999Z");
        let before: Instant = "1969-12-31T23:59:59.9999Z".parse().unwrap();
        assert_eq!(before.as_millis(), -1);
    }

    #[test]
    fn exactly_what_rfc_3339_allows_is_an_instant() {
        for (text, expected) in [
            ("2013-03-10T09:00:00Z", "2013-03-10T09:00:00Z"),
            ("2013-03-10t09:00:00z", "2013-03-10T09:00:00Z"),
            ("2013-03-10T09:00:00.5+05:45", "2013-03-10T03:15:00.5Z"),
            ("2013-03-10T09:00:00.123456789012345Z", "2013-03-10T09:00:00.123Z"),
            ("2013-03-10T00:30:00-23:59", "2013-03-11T00:29:00Z"),
            ("2013-03-10T09:00:00-00:00", "2013-03-10T09:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.25Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(text.parse::<Instant>().unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "2013-03-10",
            "2013-03-10T09:00:00",
            "2013-03-10 09:00:00Z",
            "2013-03-10T09:00Z",
            "2013-03-10T09Z",
            "20130310T090000Z",
            "2013-03-10T09:00:00,5Z",
            "2013-03-10T09:00:00.Z",
            "2013-03-10T09:00:00+01",
            "2013-03-10T09:00:00+0100",
            "2013-03-10T09:00:00+24:00",
            "2013-03-10T09:00:00+00:00[Europe/Berlin]",
            "2013-03-10T09:00:00Z ",
            " 2013-03-10T09:00:00Z",
            "2013-03-10T24:00:00Z",
            "2013-03-10T09:60:00Z",
            "2013-03-10T09:00:61Z",
            "2013-02-29T09:00:00Z",
            "2013-13-01T09:00:00Z",
            "+002013-03-10T09:00:00Z",
            "2013-03-10T09:00:0é",
            "1709294400",
        ] {
            assert!(text.parse::<Instant>().is_err(), "{text}");
        }
    }
}
