//! Times as other systems write them.

use crate::found::FoundValue;
use crate::zones::Zones;
use daybook_contracts::reject::Code;
use daybook_domain::ids::TenantId;
use daybook_domain::time::{self, Instant};
use daybook_domain::value::{Number, pow10};
use jiff::Span;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::fmt;

/// Digits of a second that times keep here: nanoseconds.
const NANO_DIGITS: u8 = 9;
const NANOS: i128 = 1_000_000_000;
/// Longest text that can be a time, in bytes.
const MAX_TIME_BYTES: usize = 128;

/// How a time is written.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// With its offset. Second 60 is taken for 59, and digits beyond nanoseconds are cut off.
    Rfc3339,
    /// A number of seconds, or of units of `10^-digits` seconds, since 1970 in UTC.
    Epoch { word: &'static str, digits: u8 },
    /// A local date, as the number of days since 1970-01-01.
    EpochDays { zone: Option<TimeZone> },
    /// A date and time of day without offset: RFC 3339 without its end, also without seconds, or a date alone.
    Local { zone: Option<TimeZone> },
    /// A strptime pattern; local where it has no offset.
    Pattern { pattern: Box<str>, zone: Option<TimeZone> },
}

/// The words for forms; everything else is a pattern.
pub(crate) const FORM_WORDS: [&str; 7] =
    ["rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "epoch_days", "local"];

impl Form {
    /// The form that a word or pattern names.
    ///
    /// # Errors
    /// When it is no word and no pattern that gives a date, with what is wrong with it.
    pub(crate) fn parse(text: &str, zone: Option<TimeZone>) -> Result<Self, String> {
        let epoch = |word, digits| Ok(Self::Epoch { word, digits });
        match text {
            "rfc3339" => Ok(Self::Rfc3339),
            "epoch_s" => epoch("epoch_s", 0),
            "epoch_ms" => epoch("epoch_ms", 3),
            "epoch_us" => epoch("epoch_us", 6),
            "epoch_ns" => epoch("epoch_ns", 9),
            "epoch_days" => Ok(Self::EpochDays { zone }),
            "local" => Ok(Self::Local { zone }),
            pattern if !pattern.contains('%') => Err(format!("{pattern:?} is neither a form of time nor a pattern")),
            pattern => {
                check_pattern(pattern)?;
                Ok(Self::Pattern { pattern: pattern.into(), zone })
            }
        }
    }

    /// Whether a zone means anything to it.
    pub(crate) fn takes_zone(&self) -> bool {
        matches!(self, Self::EpochDays { .. } | Self::Local { .. } | Self::Pattern { .. })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rfc3339 => f.write_str("rfc3339"),
            Self::Epoch { word, .. } => f.write_str(word),
            Self::EpochDays { .. } => f.write_str("epoch_days"),
            Self::Local { .. } => f.write_str("local"),
            Self::Pattern { pattern, .. } => write!(f, "{pattern:?}"),
        }
    }
}

/// Checks that a pattern is sound and names a date, by writing a time with it and reading that again.
fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.ends_with('Z') && !pattern.ends_with("%Z") {
        let reason =
            "ends with Z, which means UTC, but would be read as a local time; use rfc3339, or %z for an offset";
        return Err(format!("the pattern {pattern:?} {reason}"));
    }
    let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    let written = strtime::format(pattern, &sample).map_err(|error| error.to_string())?;
    let read = strtime::parse(pattern, &written).map_err(|error| error.to_string())?;
    match read.to_datetime().is_ok() || read.to_timestamp().is_ok() {
        true => Ok(()),
        false => Err(format!("the pattern {pattern:?} does not give a date")),
    }
}

/// Why a value is no time.
pub(crate) struct NoTime {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl NoTime {
    fn invalid(reason: impl Into<String>) -> Self {
        Self { code: Code::InvalidTime, reason: reason.into() }
    }
}

/// Nanoseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(i128);

impl Moment {
    pub(crate) fn of(instant: Instant) -> Self {
        Self(i128::from(instant.as_millis()) * 1_000_000)
    }

    /// The instant, down to milliseconds.
    pub(crate) fn instant(self) -> Result<Instant, NoTime> {
        let millis = self.0.div_euclid(1_000_000);
        i64::try_from(millis)
            .ok()
            .filter(|millis| (Instant::MIN.as_millis()..=Instant::MAX.as_millis()).contains(millis))
            .map(Instant::from_millis)
            .ok_or_else(|| NoTime::invalid(format!("times are from {} to {}", Instant::MIN, Instant::MAX)))
    }

    /// As a version: nanoseconds, so that two times that differ are two versions.
    pub(crate) fn version(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// Reads a value by the first form that it has.
    ///
    /// # Errors
    /// With what the only form, or all of them, say of it.
    pub(crate) fn read(
        found: &FoundValue<'_>,
        forms: &[Form],
        tenant: Option<&TenantId>,
        zones: &Zones,
    ) -> Result<Self, NoTime> {
        let mut reasons = Vec::new();
        for form in forms {
            match Self::read_as(found, form, tenant, zones) {
                Ok(moment) => return Ok(moment),
                // Who has no zone is the reason, whatever other forms would say.
                Err(error) if error.code == Code::UnknownTenant => return Err(error),
                Err(error) => reasons.push(error),
            }
        }
        match reasons.len() {
            1 => Err(reasons.remove(0)),
            _ => {
                let names: Vec<String> = forms.iter().map(Form::to_string).collect();
                Err(NoTime::invalid(format!("it is a time by none of the forms {}", names.join(", "))))
            }
        }
    }

    fn read_as(found: &FoundValue<'_>, form: &Form, tenant: Option<&TenantId>, zones: &Zones) -> Result<Self, NoTime> {
        let text = match found {
            FoundValue::Text(text) => &**text,
            FoundValue::Number(text) => text,
            _ => return Err(NoTime { code: Code::WrongType, reason: "it must be a time".to_owned() }),
        };
        if text.len() > MAX_TIME_BYTES {
            return Err(NoTime::invalid("it is too long for a time"));
        }
        match form {
            Form::Epoch { word, digits } => epoch(text, word, *digits),
            Form::Rfc3339 => rfc3339(text)
                .ok_or_else(|| NoTime::invalid("it is not an RFC 3339 time such as 2024-03-01T09:53:06-04:00"))
                .and_then(Self::in_range),
            Form::EpochDays { zone } => {
                let date = days_since_1970(text).ok_or_else(|| {
                    NoTime::invalid("it is no number of days since 1970, such as 19783 for 2024-03-01")
                })?;
                placed(date.to_datetime(Time::midnight()), zone.as_ref(), tenant, zones)
            }
            Form::Local { zone } => {
                let local = local(text).ok_or_else(|| {
                    NoTime::invalid("it is not a local time such as 2024-03-01 09:53:06, without an offset")
                })?;
                placed(local, zone.as_ref(), tenant, zones)
            }
            Form::Pattern { pattern, zone } => {
                let read = strtime::parse(&**pattern, text)
                    .map_err(|error| NoTime::invalid(format!("it is not written as {pattern:?}: {error}")))?;
                if let Ok(timestamp) = read.to_timestamp() {
                    return Ok(Self(timestamp.as_nanosecond()));
                }
                let local = civil(&read).ok_or_else(|| NoTime::invalid("it is no date and time that exist"))?;
                placed(local, zone.as_ref(), tenant, zones)
            }
        }
    }

    fn in_range(self) -> Result<Self, NoTime> {
        self.instant().map(|_| self)
    }
}

fn civil(read: &BrokenDownTime) -> Option<DateTime> {
    let date = read.to_date().ok()?;
    Some(date.to_datetime(read.to_time().ok().or_else(|| read.hour().is_none().then_some(Time::midnight()))?))
}

/// A local time in a zone. One that the zone skips is shifted forward by the gap; of one that comes twice the first is
/// meant.
fn placed(
    local: DateTime,
    zone: Option<&TimeZone>,
    tenant: Option<&TenantId>,
    zones: &Zones,
) -> Result<Moment, NoTime> {
    let zone = match (zone, tenant) {
        (Some(zone), _) => zone,
        (None, Some(tenant)) => zones.at(tenant, local).ok_or_else(|| NoTime {
            code: Code::UnknownTenant,
            reason: format!("a local time needs the zone of tenant {tenant}, which is not defined"),
        })?,
        (None, None) => {
            let reason = "a local time needs a tenant or a zone".to_owned();
            return Err(NoTime { code: Code::UnknownTenant, reason });
        }
    };
    let timestamp = zone.to_ambiguous_timestamp(local).compatible();
    timestamp.map(|timestamp| Moment(timestamp.as_nanosecond())).map_err(|error| NoTime::invalid(error.to_string()))
}

fn epoch(text: &str, word: &str, digits: u8) -> Result<Moment, NoTime> {
    let number = Number::parse(text)
        .map_err(|_| NoTime::invalid(format!("it is no number, as {word} is, such as 1709287386")))?;
    let out_of_range = || NoTime::invalid(format!("as {word} it is out of range; seconds of today have 10 digits"));
    let factor = pow10(NANO_DIGITS - digits);
    // Down to the nanosecond, as an instant never moves past a boundary that it stands before.
    let nanos = number.unscaled().checked_mul(factor).map(|nanos| nanos.div_euclid(pow10(number.scale())));
    nanos.map(Moment).and_then(|moment| moment.in_range().ok()).ok_or_else(out_of_range)
}

fn days_since_1970(text: &str) -> Option<Date> {
    let days: i32 = text.parse().ok()?;
    Date::constant(1970, 1, 1).checked_add(Span::new().try_days(days).ok()?).ok()
}

/// Reads RFC 3339, also with the blank in the place of `T` that it mentions. Nothing else that looks like it is taken.
fn rfc3339(text: &str) -> Option<Moment> {
    let text = match text.split_at_checked(10) {
        Some((date, time)) if time.starts_with(' ') => Cow::Owned(format!("{date}T{}", &time[1..])),
        _ => Cow::Borrowed(text),
    };
    let (seconds, nanos) = time::rfc3339(&text)?;
    Some(Moment(i128::from(seconds) * NANOS + i128::from(nanos)))
}

/// Reads a date and a time of day without offset, or a date.
fn local(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let date = date(bytes)?;
    let time = match bytes.get(10) {
        None => Time::midnight(),
        Some(b'T' | b't' | b' ') => {
            let (seconds, nanos, rest) = time_of_day(&bytes[11..])?;
            if !rest.is_empty() {
                return None;
            }
            let part = |unit: i64, most: i64| i8::try_from(seconds / unit % most).ok();
            Time::new(part(3600, 24)?, part(60, 60)?, part(1, 60)?, nanos).ok()?
        }
        Some(_) => return None,
    };
    Some(date.to_datetime(time))
}

/// `YYYY-MM-DD` at the beginning.
fn date(bytes: &[u8]) -> Option<Date> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..] = *bytes else { return None };
    let year = i16::try_from(two(y1, y2)? * 100 + two(y3, y4)?).ok().filter(|year| *year > 0)?;
    Date::new(year, i8::try_from(two(m1, m2)?).ok()?, i8::try_from(two(d1, d2)?).ok()?).ok()
}

/// `HH:MM:SS` with or without a fraction: seconds since midnight, nanoseconds, and what follows. Seconds may be left out.
fn time_of_day(bytes: &[u8]) -> Option<(i64, i32, &[u8])> {
    let [h1, h2, b':', m1, m2, rest @ ..] = bytes else { return None };
    let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let minutes = hours * 60 + minutes;
    let [b':', s1, s2, rest @ ..] = rest else {
        return Some((minutes * 60, 0, rest));
    };
    let seconds = two(*s1, *s2).filter(|seconds| *seconds <= 60)?.min(59);
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((minutes * 60 + seconds, 0, rest)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let nanos = (0..usize::from(NANO_DIGITS)).fold(0, |nanos, at| {
        let digit = fraction.get(at).filter(|_| at < digits).map_or(0, |byte| i32::from(byte - b'0'));
        nanos * 10 + digit
    });
    Some((minutes * 60 + seconds, nanos, &fraction[digits..]))
}

/// Two digits.
fn two(tens: u8, ones: u8) -> Option<i64> {
    let is_digit = tens.is_ascii_digit() && ones.is_ascii_digit();
    is_digit.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::catalogue::CalendarRule;
    use proptest::prelude::*;

    fn read(value: &str, forms: &[&str]) -> Result<String, String> {
        let tenant = TenantId::new("acme").unwrap();
        let rule = CalendarRule {
            from: daybook_domain::time::Date::MIN,
            zone: "Europe/Berlin".into(),
            cutoff_minutes: 210,
            named_by: Default::default(),
        };
        let mut zones = Zones::default();
        zones.define(&tenant, &[rule]);
        let forms: Vec<Form> = forms.iter().map(|form| Form::parse(form, None).unwrap()).collect();
        Moment::read(&FoundValue::of(Some(value)), &forms, Some(&tenant), &zones)
            .and_then(Moment::instant)
            .map(|instant| instant.to_string())
            .map_err(|error| error.reason)
    }

    #[test]
    fn times_are_read_in_every_form() {
        for (value, form, expected) in [
            (r#""2024-03-01T09:53:06-04:00""#, "rfc3339", "2024-03-01T13:53:06Z"),
            (r#""2024-03-01t10:00:00.5z""#, "rfc3339", "2024-03-01T10:00:00.5Z"),
            (r#""2024-03-01 10:00:00Z""#, "rfc3339", "2024-03-01T10:00:00Z"),
            (r#""2024-03-01T12:00:00.123456789012Z""#, "rfc3339", "2024-03-01T12:00:00.123Z"),
            (r#""2024-03-01T23:59:60Z""#, "rfc3339", "2024-03-01T23:59:59Z"),
            (r#""2024-03-01T00:30:00+05:45""#, "rfc3339", "2024-02-29T18:45:00Z"),
            (r#""0001-01-01T00:00:00Z""#, "rfc3339", "0001-01-01T00:00:00Z"),
            ("1709287386", "epoch_s", "2024-03-01T10:03:06Z"),
            (r#""1709287386""#, "epoch_s", "2024-03-01T10:03:06Z"),
            ("1709287386.9999", "epoch_s", "2024-03-01T10:03:06.999Z"),
            ("1.709287386e9", "epoch_s", "2024-03-01T10:03:06Z"),
            ("-0.5", "epoch_s", "1969-12-31T23:59:59.5Z"),
            ("-0.0000000001", "epoch_s", "1969-12-31T23:59:59.999Z"),
            ("1709289000000", "epoch_ms", "2024-03-01T10:30:00Z"),
            ("1709289000000001", "epoch_us", "2024-03-01T10:30:00Z"),
            ("1709289000999999999", "epoch_ns", "2024-03-01T10:30:00.999Z"),
            ("19783", "epoch_days", "2024-02-29T23:00:00Z"),
            ("-1", "epoch_days", "1969-12-30T23:00:00Z"),
            (r#""2024-03-01T12:00:00""#, "local", "2024-03-01T11:00:00Z"),
            (r#""2024-03-01 13:23""#, "local", "2024-03-01T12:23:00Z"),
            (r#""2024-07-01""#, "local", "2024-06-30T22:00:00Z"),
            (r#""2024-03-01 13:23:59.25""#, "local", "2024-03-01T12:23:59.25Z"),
            (r#""01.03.2024 13:23""#, "%d.%m.%Y %H:%M", "2024-03-01T12:23:00Z"),
            (r#""03/01/24 01:23:59 PM""#, "%m/%d/%y %I:%M:%S %p", "2024-03-01T12:23:59Z"),
            (r#""20240301""#, "%Y%m%d", "2024-02-29T23:00:00Z"),
            ("20240301", "%Y%m%d", "2024-02-29T23:00:00Z"),
            (r#""01/Mar/2024:13:23:59 -0500""#, "%d/%b/%Y:%H:%M:%S %z", "2024-03-01T18:23:59Z"),
            (r#""2024-03-31 02:30:00""#, "local", "2024-03-31T01:30:00Z"),
            (r#""2024-10-27 02:30:00""#, "local", "2024-10-27T00:30:00Z"),
        ] {
            assert_eq!(read(value, &[form]).as_deref(), Ok(expected), "{value} as {form}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (value, form, reason) in [
            ("1709287386", "rfc3339", "not an RFC 3339 time"),
            (r#""2024-02-30T12:00:00Z""#, "rfc3339", "not an RFC 3339 time"),
            (r#""2024-03-01T12:00:00""#, "rfc3339", "not an RFC 3339 time"),
            (r#""20240301T120000Z""#, "rfc3339", "not an RFC 3339 time"),
            (r#""2024-03-01T12Z""#, "rfc3339", "not an RFC 3339 time"),
            (r#""2024-03-01T12:00:00+00:00[Mars/X]""#, "rfc3339", "not an RFC 3339 time"),
            (r#""2024-03-01T12:00:00.Z""#, "rfc3339", "not an RFC 3339 time"),
            (r#""2024-03-01T24:00:00Z""#, "rfc3339", "not an RFC 3339 time"),
            (r#""2024-03-01T12:00:00+0100""#, "rfc3339", "not an RFC 3339 time"),
            (r#""9999-12-31T23:59:59Z""#, "rfc3339", "times are from"),
            ("1709289000000", "epoch_s", "out of range"),
            ("1e400", "epoch_s", "no number"),
            (r#""soon""#, "epoch_s", "no number"),
            ("true", "epoch_s", "must be a time"),
            ("19783.5", "epoch_days", "no number of days"),
            ("2147483647", "epoch_days", "no number of days"),
            (r#""2024-03-01T12:00:00Z""#, "local", "not a local time"),
            (r#""2024-13-01""#, "local", "not a local time"),
            (r#""2024-02-30 1:00""#, "%Y-%m-%d %H:%M", "date and time that exist"),
        ] {
            let error = read(value, &[form]).expect_err(value);
            assert!(error.contains(reason), "{value} as {form}: {error}");
        }
    }

    #[test]
    fn the_first_form_that_fits_is_taken() {
        let forms = ["rfc3339", "epoch_s", "epoch_ms", "local"];
        assert_eq!(read("1709294400", &forms).as_deref(), Ok("2024-03-01T12:00:00Z"));
        assert_eq!(read("1709294400000", &forms).as_deref(), Ok("2024-03-01T12:00:00Z"));
        assert_eq!(read(r#""2024-03-01 13:00""#, &forms).as_deref(), Ok("2024-03-01T12:00:00Z"));
        assert!(read(r#""noon""#, &forms).unwrap_err().contains("rfc3339, epoch_s, epoch_ms, local"));
    }

    #[test]
    fn patterns_are_checked_when_they_are_made() {
        for bad in ["iso", "%H:%M", "%Y-%m", "%Y-%m-%d %!", "%", "%Y-%m-%dT%H:%M:%SZ"] {
            assert!(Form::parse(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_local_time_needs_a_zone() {
        let forms = [Form::parse("local", None).unwrap()];
        let found = FoundValue::of(Some("\"2024-03-01\""));
        for tenant in [None, Some(TenantId::new("other").unwrap())] {
            let error = Moment::read(&found, &forms, tenant.as_ref(), &Zones::default()).err().unwrap();
            assert_eq!(error.code, Code::UnknownTenant);
        }
        let forms = [Form::parse("local", crate::zones::named("Asia/Tokyo")).unwrap()];
        let moment = Moment::read(&found, &forms, None, &Zones::default()).ok().unwrap();
        assert_eq!(moment.instant().ok().unwrap().to_string(), "2024-02-29T15:00:00Z");
    }

    proptest! {
        #[test]
        fn every_rfc_3339_time_is_read_as_the_domain_reads_it(millis in -62_000_000_000_000_i64..253_000_000_000_000, offset in -840_i32..=840) {
            let zoned = jiff::Timestamp::from_millisecond(millis).unwrap();
            let fixed = jiff::tz::Offset::from_seconds(offset * 60).unwrap();
            let text = zoned.display_with_offset(fixed).to_string();
            prop_assert_eq!(rfc3339(&text).and_then(|moment| moment.instant().ok()), Some(Instant::from_millis(millis)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = rfc3339(&text);
            let _ = local(&text);
            let _ = epoch(&text, "epoch_s", 0);
        }
    }
}
