//! What of a tenant may change once it is defined. Pure: what the shard has counted is an argument.
//!
//! # The rule
//! A tenant that has opened no day and of which no event was counted may change everything but its id.
//!
//! Else each date up to the last *fixed* one keeps its cut-off. A cut-off is fixed when
//! - it opens or closes a day that has opened, or a day of which an event was counted, or a day before these;
//! - an event that ingest may still stamp by the present table can be dated at it or later. That is so up to the tenant's
//!   `max_ahead` after now: by the system clock with a margin until the change arrives in INBOX, by a named clock after the
//!   end of the open day. Before a named clock has opened a day nothing limits events but the table.
//!
//! Which date names days never changes once a tenant has begun.
//!
//! The first cut-off by the new rule must lie behind all these events as well. So every event has one day, by either table.

use super::last_published;
use crate::calendar::{self, CalendarError, agree_through, check_rules};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{CalendarRule, NamedBy, SYSTEM_CLOCK, Tenant};
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};
use std::fmt;
use std::time::Duration;

/// How long after the decision a change may arrive in INBOX, and how far the broker's clock may be ahead of this one. A change
/// arrives within seconds, or its asker gets an error. Only an outage in between takes longer: what is published in it for more
/// than `max_ahead` later then keeps the day of the table before.
pub const ARRIVAL_MARGIN: Duration = Duration::from_secs(15 * 60);
/// How far a named clock may be behind the system clock when its tenant changes to that. Days in between close at once, and
/// take corrections for 35 days (the shard's `KEEP_DAYS`): from further behind, days would be closed for good without their
/// events.
pub const MAX_CLOCK_LAG_DAYS: u64 = 35;

/// What a tenant's shard says of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// None was counted; some may have been rejected.
    Nothing,
    /// This is the last day of which events were counted.
    Through(Date),
    /// The shard did not answer in time, or had not read everything yet.
    Unknown,
}

/// What is known of a tenant that is to be changed.
#[derive(Clone, Copy, Debug)]
pub struct TenantStanding<'a> {
    /// Its published days.
    pub table: &'a CalendarTable,
    /// The last day that was opened.
    pub opened: Option<Date>,
    pub counted: Counted,
    /// Where its clock stands; `None` for a named one that has not begun.
    pub now: Option<Instant>,
}

/// Why a cut-off stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The day has opened.
    Opened(Date),
    /// Events of the day were counted.
    Counted(Date),
    /// Events may be dated until then, by the tenant's `max_ahead`.
    Ahead(Instant),
    /// Events may be dated as far ahead as days are published.
    Unlimited,
    /// Nobody says whether events were counted.
    Unknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(date) => write!(f, "business day {date} has opened"),
            Self::Counted(date) => write!(f, "events of {date} were counted"),
            Self::Ahead(until) => write!(f, "its max_ahead lets events be dated up to {until}"),
            Self::Unlimited => write!(f, "events may be dated as far ahead as its days are published"),
            Self::Unknown => write!(f, "its shard does not say now whether events were counted; try again in a moment"),
        }
    }
}

/// Why a tenant cannot be redefined like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The tenant has begun, and its clock may change to the system clock only.
    #[error(
        "the clock cannot be changed from {old} to {new}, because {reason}; a tenant that has begun may only change to `system`"
    )]
    Clock {
        /// The clock until now.
        old: Name,
        /// The clock asked for.
        new: Name,
        /// What has begun.
        reason: Reason,
    },
    /// Events were counted, and no day has opened.
    #[error(
        "events were counted before the clock {clock} opened a day; drive it past the first day, then change to `system`"
    )]
    NotBegun {
        /// The clock until now.
        clock: Name,
    },
    /// The open day is still to come by the system clock.
    #[error(
        "the clock {clock} is ahead of the system clock: its open day begins at {opens_at}; change to `system` after that time"
    )]
    ClockAhead {
        /// The clock until now.
        clock: Name,
        /// When the open day opens.
        opens_at: Instant,
    },
    /// Too many days would close at once.
    #[error(
        "the clock {clock} stands at {stands_at}, more than {MAX_CLOCK_LAG_DAYS} days behind the system clock; the days in between \
         would close for good without their events: replay them first, or drive the clock to {needed} or later"
    )]
    ClockBehind {
        /// The clock until now.
        clock: Name,
        /// Where it stands.
        stands_at: Instant,
        /// Where it has to stand at least.
        needed: Instant,
    },
    /// The first days differ.
    #[error(
        "the first day cannot be moved from {old} to {new}, because {reason}; leave it as it is, or define a new tenant"
    )]
    FirstDay {
        /// The first day until now.
        old: Date,
        /// The first day asked for.
        new: Date,
        /// What has begun.
        reason: Reason,
    },
    /// Days would be named otherwise.
    #[error(
        "day_named_by cannot be changed from {} to {}, because {reason}; leave it as it is, or define a new tenant",
        .old.as_str(), .new.as_str()
    )]
    Naming {
        /// Which date names days until now.
        old: NamedBy,
        /// Which was asked for.
        new: NamedBy,
        /// What has begun.
        reason: Reason,
    },
    /// The new rules are no calendar.
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    /// The new rules differ on dates that stay.
    #[error(
        "days before {earliest} stay as they are, because {reason}; keep the rules of those days, and let the new one begin with \
         `from: {earliest}` or later in `changes`"
    )]
    Published {
        /// The first date on which a rule may differ.
        earliest: Date,
        /// Why not earlier.
        reason: Reason,
    },
}

/// The dates whose cut-offs stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The last of them.
    pub last: Date,
    /// The latest time of an event that is stamped by the present table. The first new cut-off must be later.
    reach: Instant,
    /// Why the last one stays.
    pub reason: Reason,
}

/// The calendar that a tenant gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub rules: Vec<CalendarRule>,
    /// Where the rules asked for begin, and why not earlier, if they do not hold from ever as they were asked for.
    pub since: Option<(Date, Reason)>,
}

impl TenantStanding<'_> {
    /// What has begun of the tenant; `None` when it is as new.
    pub fn begun(&self) -> Option<Reason> {
        match (self.opened, self.counted) {
            (Some(opened), _) => Some(Reason::Opened(opened)),
            (None, Counted::Through(date)) => Some(Reason::Counted(date)),
            (None, Counted::Unknown) => Some(Reason::Unknown),
            (None, Counted::Nothing) => None,
        }
    }

    /// What stays; `None` when everything may change.
    pub fn fixed(&self, tenant: &Tenant) -> Option<Fixed> {
        let published = last_published(self.table);
        let mut fixed: Option<Fixed> = None;
        let mut through = |last: Date, reason: Reason| {
            if fixed.is_none_or(|fixed| fixed.last < last) {
                fixed = Some(Fixed { last, reach: Instant::MIN, reason });
            }
        };
        // The cut-off of the next date closes a day.
        if let Some(opened) = self.opened {
            through(opened.next(), Reason::Opened(opened));
        }
        let mut reach = Instant::MIN;
        match self.counted {
            Counted::Nothing => {}
            Counted::Unknown => through(published, Reason::Unknown),
            Counted::Through(date) => {
                through(date.next(), Reason::Counted(date));
                match self.reach(tenant) {
                    Some(until) => {
                        // Beyond what is published nothing is stamped.
                        reach = until.min(self.table.horizon());
                        let before = self.table.cutoffs.partition_point(|cutoff| *cutoff <= until);
                        through(self.table.first.plus(before as i32 - 1), Reason::Ahead(until));
                    }
                    None => through(published, Reason::Unlimited),
                }
            }
        }
        fixed.map(|fixed| Fixed { reach, ..fixed })
    }

    /// How late an event may be that is stamped before a change of the tenant arrives; `None` where only the table limits it.
    fn reach(&self, tenant: &Tenant) -> Option<Instant> {
        let max_ahead = tenant.max_ahead()?;
        if tenant.is_by_system_clock() {
            return Some(self.now?.after(max_ahead).after(ARRIVAL_MARGIN));
        }
        Some(self.table.day(self.opened?)?.closes_at.after(max_ahead))
    }
}

/// The calendar of a tenant after `asked` for. Rules that differ in the past only are the ones that it has. Where a day has
/// opened, but no event was counted, the new rules begin as early as they may.
///
/// # Errors
/// When the rules are no calendar, or they differ on a date that stays while events were counted, or may have been.
pub fn accept_calendar(
    old: &Tenant,
    asked: &[CalendarRule],
    standing: &TenantStanding<'_>,
) -> Result<Accepted, ChangeError> {
    check_rules(asked)?;
    let (named_by, new) = (old.named_by(), asked[0].named_by);
    if let Some(reason) = standing.begun().filter(|_| named_by != new) {
        return Err(ChangeError::Naming { old: named_by, new, reason });
    }
    let as_asked = Accepted { rules: asked.to_vec(), since: None };
    let Some(fixed) = standing.fixed(old) else { return Ok(as_asked) };
    let earliest = calendar::first_after(asked, fixed.last.next(), fixed.reach)?;
    let past = earliest.plus(-1);
    if agree_through(&old.calendar, asked, past) {
        return Ok(as_asked);
    }
    // Where the next cut-off by the new rule is not behind all events, these are the reason.
    let reason = if past > fixed.last { Reason::Ahead(fixed.reach) } else { fixed.reason };
    let since = Some((earliest, reason));
    let joined = calendar::joined(&old.calendar, asked, past);
    if agree_through(&old.calendar, &joined, Date::MAX) {
        return Ok(Accepted { rules: old.calendar.clone(), since });
    }
    if standing.counted != Counted::Nothing {
        return Err(ChangeError::Published { earliest, reason });
    }
    check_rules(&joined)?;
    Ok(Accepted { rules: joined, since })
}

/// Checks that a tenant may begin with that day.
///
/// # Errors
/// When it is another one than until now, and the tenant has begun or may have.
pub fn check_first_day(old: &Tenant, new: Date, standing: &TenantStanding<'_>) -> Result<(), ChangeError> {
    match standing.begun() {
        Some(reason) if old.first_day != new => Err(ChangeError::FirstDay { old: old.first_day, new, reason }),
        _ => Ok(()),
    }
}

/// Checks that a tenant may go on by that clock.
///
/// # Errors
/// When the tenant has begun or may have, unless it changes from a named clock to the system clock, and that clock is neither
/// ahead nor far behind.
pub fn check_clock(
    old: &Tenant,
    new: &Name,
    standing: &TenantStanding<'_>,
    system_now: Instant,
) -> Result<(), ChangeError> {
    let Some(reason) = standing.begun().filter(|_| old.clock != *new) else { return Ok(()) };
    let clock = old.clock.clone();
    if new.as_str() != SYSTEM_CLOCK {
        return Err(ChangeError::Clock { old: clock, new: new.clone(), reason });
    }
    let (Some(opened), Some(stands_at)) = (standing.opened, standing.now) else {
        return Err(match standing.counted {
            Counted::Unknown => ChangeError::Clock { old: clock, new: new.clone(), reason },
            _ => ChangeError::NotBegun { clock },
        });
    };
    let opens_at = standing.table.day(opened).map_or(stands_at, |day| day.opens_at);
    if opens_at > system_now {
        return Err(ChangeError::ClockAhead { clock, opens_at });
    }
    let lag = Duration::from_secs(MAX_CLOCK_LAG_DAYS * 86_400);
    if stands_at.after(lag) < system_now {
        let needed = Instant::from_millis(system_now.as_millis() - lag.as_millis() as i64);
        return Err(ChangeError::ClockBehind { clock, stands_at, needed });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
