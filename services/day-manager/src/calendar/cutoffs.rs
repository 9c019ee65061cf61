//! The cut-offs of consecutive dates, and what follows from them without a table.

use super::CalendarError;
use super::nominal::Nominal;
use daybook_domain::catalogue::CalendarRule;
use daybook_domain::time::{Date, Instant};

/// How many dates back a nominal cut-off can be later than today's.
///
/// A nominal cut-off is `date + cutoff - offset`, with a cut-off of 0 to 24 h and, in the whole database, an offset
/// between -16 h and +16 h (a cut-off in a gap uses the offset before it). Two of them are out of order only if their
/// dates are less than 24 + 32 = 56 hours apart, which is two dates. One more costs little.
const LOOK_BACK: i32 = 3;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// The cut-offs of consecutive dates: the latest nominal one so far.
pub(super) struct Cutoffs<'a> {
    nominal: &'a Nominal,
    date: Date,
    pub(super) latest: Instant,
}

impl<'a> Cutoffs<'a> {
    pub(super) fn new(nominal: &'a Nominal, date: Date) -> Result<Self, CalendarError> {
        let mut latest = Instant::MIN;
        for back in 1..=LOOK_BACK {
            latest = latest.max(nominal.cutoff(date.plus(-back))?);
        }
        Ok(Self { nominal, date, latest })
    }

    pub(super) fn next(&mut self) -> Result<Instant, CalendarError> {
        self.latest = self.latest.max(self.nominal.cutoff(self.date)?);
        self.date = self.date.next();
        Ok(self.latest)
    }
}

/// The first date from `first` on whose nominal cut-off by these rules is later than `reach`, which makes all later cut-offs later too.
///
/// # Errors
/// When the rules do not pass [`check_rules`](super::check_rules), or there is no such date.
pub fn first_after(rules: &[CalendarRule], first: Date, reach: Instant) -> Result<Date, CalendarError> {
    let nominal = Nominal::new(rules)?;
    let mut date = first;
    while nominal.cutoff(date)? <= reach {
        date = date.next();
    }
    Ok(date)
}

/// The business day that holds `now`.
///
/// # Errors
/// When the rules do not pass [`check_rules`](super::check_rules), or `now` is within days of the year 10000.
pub fn business_date(rules: &[CalendarRule], now: Instant) -> Result<Date, CalendarError> {
    let nominal = Nominal::new(rules)?;
    let today = Date::from_days(now.as_millis().div_euclid(MILLIS_PER_DAY) as i32);
    // A cut-off is less than two days from its date in UTC, so this one is not after `now`.
    let mut date = today.plus(-LOOK_BACK);
    let mut cutoffs = Cutoffs::new(&nominal, date.next())?;
    while cutoffs.next()? <= now {
        date = date.next();
    }
    Ok(date)
}
