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
//!
//! - [`rules`]: what rules mean, and the name of their table; [`zones`]: the database; [`nominal`]: the cut-off of a date by itself;
//! - [`cutoffs`]: those of all dates; [`table`]: tables of them that grow.

mod cutoffs;
mod nominal;
mod rules;
mod table;
mod zones;

pub use self::cutoffs::{business_date, first_after};
pub use self::rules::{agree_through, check_rules, joined, table_name};
pub use self::table::{disagreement, extend, kept};
pub use self::zones::tzdb_version;

use daybook_domain::time::{Date, Instant};

/// Most rules of a calendar: more than the zone changes of any place since 1970, and a bound on what a tenant's
/// definition costs. A calendar with more is refused.
pub const MAX_RULES: usize = 64;

/// Most dates of a table: over a century. Keeps a table, one record of the catalogue, under a megabyte. A table that
/// would grow beyond it is refused.
pub const MAX_DAYS: usize = 40_000;

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

#[cfg(test)]
mod tests;
