//! Tables of cut-offs, which grow and never change what was published.

use super::cutoffs::Cutoffs;
use super::nominal::Nominal;
use super::zones::tzdb_version;
use super::{CalendarError, MAX_DAYS};
use daybook_domain::calendar::{CalendarTable, Offset};
use daybook_domain::catalogue::CalendarRule;
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};

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

/// The table `name` of these rules, new or grown, so that it begins at `first` or earlier and holds the day of
/// `through` and at least one whole day after it, and at least one day from `first` on. `None` when `table` does that
/// already.
///
/// Entries of `table` are copied, never computed again, even where today's zone database would have it otherwise; the
/// entries added around them are bent to fit. A table of the same name gets the next revision. One of another name is
/// what a tenant had before its rules changed, as far as that stays ([`kept`]): its entries are taken over under the new name, as
/// revision 1. The rules must then agree with the old ones through its last date ([`agree_through`](super::agree_through)).
///
/// # Errors
/// When the rules do not pass [`check_rules`](super::check_rules), the table would have more than [`MAX_DAYS`] dates, or one of them is
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
