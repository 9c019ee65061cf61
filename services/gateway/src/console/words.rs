//! Numbers, times and lengths as people read them.

use daybook_contracts::report::Figure;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{CalendarRule, Tenant};
use daybook_domain::time::{Date, Instant};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use maud::{Markup, html};
use std::time::Duration;

/// A whole number with commas: `13,543`.
pub(super) fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// A figure with all its digits, commas before the point: `5,077.30`.
pub(super) fn figure(figure: &Figure) -> String {
    match figure {
        Figure::Null => "–".to_owned(),
        Figure::Number(number) => grouped(&number.to_string()),
        Figure::Text(text) => text.to_string(),
    }
}

/// How a tenant is called: by its name, else by its id.
pub(super) fn name(tenant: &Tenant) -> String {
    tenant.name.clone().unwrap_or_else(|| tenant.id.to_string())
}

/// A column's name as a heading: `arr_delay_avg` is `arr delay avg`.
pub(super) fn heading(name: &str) -> String {
    name.replace('_', " ")
}

fn grouped(text: &str) -> String {
    let (sign, rest) = match text.strip_prefix('-') {
        // A minus sign is as wide as a digit.
        Some(rest) => ("−", rest),
        None => ("", text),
    };
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut shown = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(fraction) = fraction {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

/// The rule of a tenant's calendar that is in force on a business day.
pub(super) fn rule(tenant: &Tenant, date: Date) -> Option<&CalendarRule> {
    tenant.calendar.iter().rev().find(|rule| rule.from <= date).or(tenant.calendar.first())
}

/// The tenant's time zone on a business day; UTC when this version does not know it.
pub(super) fn zone(tenant: &Tenant, date: Date) -> TimeZone {
    let named = rule(tenant, date).and_then(|rule| TimeZoneDatabase::bundled().get(&rule.zone).ok());
    named.unwrap_or(TimeZone::UTC)
}

/// An instant in a time zone, with the zone's abbreviation: `Sun 10 Mar 05:00 EDT`. The year is in the machine's form.
pub(super) fn time(at: Instant, zone: &TimeZone) -> Markup {
    html! { time datetime=(at) { (moment(at, zone)) } }
}

/// As [`time`], as a text.
pub(super) fn moment(at: Instant, zone: &TimeZone) -> String {
    shown(at, zone, "%a %-d %b %H:%M %Z")
}

/// As [`time`], without the day.
pub(super) fn hour(at: Instant, zone: &TimeZone) -> String {
    shown(at, zone, "%H:%M")
}

/// An hour of the clock as answers write it: `2024-03-30T20:00`.
pub(super) fn clock_hour(at: Instant, zone: &TimeZone) -> String {
    shown(at, zone, "%Y-%m-%dT%H:00")
}

fn shown(at: Instant, zone: &TimeZone, form: &str) -> String {
    match Timestamp::from_millisecond(at.as_millis()) {
        Ok(timestamp) => timestamp.to_zoned(zone.clone()).strftime(form).to_string(),
        Err(_) => at.to_string(),
    }
}

/// A date with its weekday: `Sun 2013-03-10`.
pub(super) fn date(date: Date) -> String {
    format!("{} {date}", weekday(date))
}

/// `Mon` to `Sun`.
pub(super) fn weekday(date: Date) -> &'static str {
    const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    usize::try_from(date.weekday()).ok().and_then(|place| NAMES.get(place)).copied().unwrap_or_default()
}

/// How long a day is: `23 h`, `24 h 30 min`.
pub(super) fn length(day: &BusinessDay) -> String {
    span(day.closes_at.since(day.opens_at))
}

/// A length of time in its two largest units.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..172_800 if minutes == 0 => format!("{hours} h"),
        3_600..172_800 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Milliseconds: `35 ms`, `1.2 s`, `3 min`.
pub(super) fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms / 100 % 10),
        _ => span(Duration::from_millis(ms)),
    }
}

/// Bytes: `640 B`, `12.5 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).clamp(1, 5);
    let tenths = u128::from(bytes) * 10 / (1_u128 << (10 * power));
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::value::Number;

    #[test]
    fn numbers_keep_every_digit() {
        let shown = |unscaled, scale| figure(&Figure::Number(Number::new(unscaled, scale)));
        assert_eq!(shown(507_730, 2), "5,077.30");
        assert_eq!(shown(-1_234_567, 0), "−1,234,567");
        assert_eq!(shown(-12, 1), "−1.2");
        assert_eq!((count(0), count(999), count(1_000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(figure(&Figure::Null), "–");
    }

    #[test]
    fn lengths_have_two_units() {
        let of = |minutes: u64| span(Duration::from_secs(minutes * 60));
        assert_eq!(
            [of(23 * 60), of(25 * 60), of(24 * 60 + 30), of(3 * 1_440)],
            ["23 h", "25 h", "24 h 30 min", "3 d 0 h"]
        );
        assert_eq!([bytes(640), bytes(12_800), bytes(u64::MAX)], ["640 B", "12.5 KiB", "16383.9 PiB"]);
        assert_eq!([millis(35), millis(1_250), millis(61_000)], ["35 ms", "1.2 s", "1 min"]);
    }

    #[test]
    fn times_are_in_the_zone_and_say_so() {
        let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
        let at = "2013-03-10T09:00:00Z".parse().unwrap();
        assert_eq!(
            time(at, &zone).into_string(),
            "<time datetime=\"2013-03-10T09:00:00Z\">Sun 10 Mar 05:00 EDT</time>"
        );
        assert_eq!(date("2013-03-10".parse().unwrap()), "Sun 2013-03-10");
    }
}
