//! Hours as a clock on the wall of the tenant shows them. An hour that a clock shows twice is one hour of two, and one that it
//! skips has nothing.
//!
//! The piece of a day says which hour of which local date it is, so that whoever has groups needs no time zone to name it.

use crate::calendar::DayClock;
use crate::time::{Date, Instant};

const HOUR_MS: i64 = 3_600_000;
const HOURS_A_DAY: i64 = 24;
/// The piece of the hour from local midnight on the day's own date. A day that is named by the date on which it closes begins up to a
/// day before that, and one in which the zone changes up to two more.
const MIDNIGHT: i64 = 72;

/// The piece of the day that holds `at`.
pub(super) fn piece(day: &DayClock<'_>, at: Instant) -> u16 {
    let local = at.as_millis().saturating_add(day.offset_at(at).saturating_mul(1_000));
    let hour = local.div_euclid(HOUR_MS) - i64::from(day.date.as_days()) * HOURS_A_DAY;
    (hour + MIDNIGHT).clamp(0, u16::MAX.into()) as u16
}

/// The hour of a piece: how many local hours it is from 1970-01-01T00:00.
pub fn hour(date: Date, piece: u16) -> i64 {
    i64::from(date.as_days()) * HOURS_A_DAY + i64::from(piece) - MIDNIGHT
}

/// The hour of the clock, 0 to 23, of an [`hour`].
pub fn of_day(hour: i64) -> i64 {
    hour.rem_euclid(HOURS_A_DAY)
}

/// An [`hour`] as answers write it: `2024-03-30T20:00`, in local time.
pub fn text(hour: i64) -> String {
    let date = Date::from_days(hour.div_euclid(HOURS_A_DAY) as i32);
    format!("{date}T{}", of_day_text(hour))
}

/// An hour of the clock as answers write it: `20:00`.
pub fn of_day_text(hour: i64) -> String {
    format!("{:02}:00", of_day(hour))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Offset;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    fn offset(from: &str, minutes: i32) -> Offset {
        Offset { from: at(from), seconds: minutes * 60 }
    }

    fn shown(offsets: &[Offset], date: &str, moment: &str) -> (String, String) {
        let day = DayClock { date: date.parse().unwrap(), opens_at: at("2024-01-01T00:00:00Z"), offsets };
        let hour = hour(day.date, piece(&day, at(moment)));
        (text(hour), of_day_text(hour))
    }

    #[test]
    fn an_hour_is_what_the_clock_shows() {
        let berlin = [offset("2024-03-01T02:30:00Z", 60), offset("2024-03-31T01:00:00Z", 120)];
        let before = |moment| shown(&berlin, "2024-03-30", moment).0;
        assert_eq!(before("2024-03-30T19:59:59.999Z"), "2024-03-30T20:00");
        assert_eq!(before("2024-03-30T20:00:00Z"), "2024-03-30T21:00");
        assert_eq!(before("2024-03-31T00:59:59Z"), "2024-03-31T01:00");
        assert_eq!(before("2024-03-31T01:00:00Z"), "2024-03-31T03:00", "two o'clock is skipped");
        // Half an hour, and the half hour from 01:30 on twice.
        let lord_howe = [offset("2024-04-01T00:00:00Z", 660), offset("2024-04-06T15:00:00Z", 630)];
        let on = |moment| shown(&lord_howe, "2024-04-07", moment).1;
        assert_eq!(on("2024-04-06T14:10:00Z"), "01:00");
        assert_eq!(on("2024-04-06T15:10:00Z"), "01:00");
        assert_eq!(on("2024-04-06T15:30:00Z"), "02:00");
        assert_eq!(on("2024-04-06T16:40:00Z"), "03:00");
        let kathmandu = [offset("2024-01-01T00:00:00Z", 345)];
        assert_eq!(shown(&kathmandu, "2024-03-01", "2024-03-01T00:14:59Z").1, "05:00");
        assert_eq!(shown(&kathmandu, "2024-03-01", "2024-03-01T00:15:00Z").1, "06:00");
    }

    #[test]
    fn a_day_may_begin_on_the_date_before_its_own() {
        let utc = [offset("1970-01-01T00:00:00Z", 0)];
        assert_eq!(shown(&utc, "2024-03-02", "2024-03-01T03:30:00Z").0, "2024-03-01T03:00");
        assert_eq!(shown(&utc, "2024-03-02", "2024-02-28T00:00:00Z").0, "2024-02-28T00:00");
        assert_eq!(shown(&[], "2024-03-02", "2024-03-02T23:00:00Z").0, "2024-03-02T23:00");
    }
}
