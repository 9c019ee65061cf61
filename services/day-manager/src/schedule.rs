//! When days open and close: the deadlines of every tenant, without a clock, a broker or a time zone.
//!
//! A caller alternates between asking what is [`due`](Schedule::due), publishing it, and telling the schedule what has
//! been published ([`observe`](Schedule::observe)), by itself before a restart or by another day-manager.
//!
//! # The rules
//! - The first day opens at its `opens_at`, at once if that is past.
//! - The next day opens when the open one ends, though that one may stay open for its grace.
//! - A day closes at `closes_at` plus grace, after its successor was opened and the days before it were closed.
//!   At one instant, opening comes before closing. So a tenant always has an open day.
//! - A day that has begun may be closed by hand before that ([`closing`]): its successor opens first, unless it is open
//!   already, and the days before it close with it. The day opened early lasts until its own cut-off.
//!
//! What follows is one sequence of markers for each tenant, fixed by its table, its grace and what was closed by hand:
//! which marker is next depends on the last day opened and the last day closed, and never on `now`, on jumps of the
//! clock or on restarts. That is also why a tenant waits when its next opening is not published yet, even if a close
//! behind it is due.

pub mod change;
mod clock;
pub mod closing;
mod progress;

pub use self::progress::Progress;

use self::clock::{Calendar, Clock};
use daybook_contracts::day::DayMarker;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{CalendarRule, Tenant};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::{Date, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Why a tenant cannot be scheduled by a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefineError {
    /// Days before the table's first would be skipped.
    #[error("the table {table} begins at {first}, after the first day {first_day} of {tenant}; extend it to that day")]
    TooLate {
        /// Who was to be defined.
        tenant: TenantId,
        /// Its first day.
        first_day: Date,
        /// The table.
        table: Name,
        /// The first date of the table.
        first: Date,
    },
    /// A day that was opened or closed is none in the table.
    #[error("the table {table} has no day {date}, which {tenant} has opened; take the published days over into it")]
    Contradicts {
        /// Who was to be defined.
        tenant: TenantId,
        /// The table.
        table: Name,
        /// The date that does not exist in it.
        date: Date,
    },
}

/// What became of an observed marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It is news.
    Applied,
    /// It or a later one was seen before; nothing changed.
    Stale,
    /// The tenant is not defined; nothing changed. Define tenants first, then replay markers.
    Unknown,
    /// The tenant's table has another interval for that date, or the date is before its first day; nothing changed.
    /// Either the log or the catalogue is corrupt.
    Contradicts,
}

/// The deadlines of all tenants. Changing one tenant costs `O(log tenants)`, asking for `k` markers `O(k log tenants)`.
#[derive(Debug, Default)]
pub struct Schedule {
    tenants: BTreeMap<TenantId, Progress>,
    clocks: BTreeMap<Name, Clock>,
}

impl Schedule {
    /// A schedule of nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tenant, or changes what is known of it; the days it has opened and closed stay so. A new grace applies
    /// from the next day that is not closed yet, even if that makes it due at once.
    ///
    /// `table` is the one that [`table_name`](crate::calendar::table_name) names for the tenant's rules and clock; all
    /// tenants that use it see its newest revision, an older one is ignored. Changes must have passed the checks of
    /// [`change`].
    ///
    /// # Errors
    /// When the table begins after the tenant's first day, or lacks a day that the tenant has opened or closed. The
    /// schedule is then as before.
    pub fn define(&mut self, tenant: Tenant, table: Arc<CalendarTable>) -> Result<(), DefineError> {
        let clock = self.clocks.get(&tenant.clock);
        let table = match clock.and_then(|clock| clock.calendars.get(&table.name)) {
            Some(calendar) if calendar.table.revision > table.revision => Arc::clone(&calendar.table),
            _ => table,
        };
        let known = self.tenants.get(&tenant.id);
        let (opened, closed) = known.map_or((None, None), |progress| (progress.opened, progress.closed));
        let closed_due_at = known.and_then(|progress| progress.closed_due_at);
        check_table(&tenant, &table, [opened, closed])?;

        let id = tenant.id.clone();
        self.remove(&id);
        let clock = self.clocks.entry(tenant.clock.clone()).or_default();
        let calendar = clock.calendars.entry(table.name.clone()).or_insert_with(|| Calendar {
            table: Arc::clone(&table),
            rules: tenant.calendar.clone(),
            users: 0,
            waiting: BTreeSet::new(),
        });
        calendar.users += 1;
        let mut progress = Progress { tenant, table: table.name.clone(), opened, closed, closed_due_at, queued: None };
        let woken = clock.publish(&table);
        clock.enqueue(&mut progress);
        self.tenants.insert(id, progress);
        Self::wake(&mut self.tenants, clock, woken);
        Ok(())
    }

    /// Uses a newer revision of a table for all its tenants.
    pub fn publish(&mut self, table: &Arc<CalendarTable>) {
        for clock in self.clocks.values_mut() {
            let woken = clock.publish(table);
            Self::wake(&mut self.tenants, clock, woken);
        }
    }

    /// Takes note of a marker that stands in the log, in any order and any number of times.
    pub fn observe(&mut self, marker: &DayMarker) -> Observed {
        let Some(progress) = self.tenants.get_mut(&marker.tenant) else {
            return Observed::Unknown;
        };
        let clock = self.clocks.get_mut(&progress.tenant.clock).expect("a clock lives while it has tenants");
        let calendar = clock.calendars.get(&progress.table).expect("a calendar lives while it has users");
        if marker.generation != progress.tenant.generation {
            // It is of a tenant that was removed.
            return Observed::Stale;
        }
        let date = marker.day.date;
        let differs = date < last_published(&calendar.table) && calendar.table.day(date) != Some(marker.day);
        if differs || date < progress.tenant.first_day {
            return Observed::Contradicts;
        }
        if !progress.note(marker.edge, date, marker.due_at) {
            return Observed::Stale;
        }
        clock.unqueue(progress);
        clock.enqueue(progress);
        Observed::Applied
    }

    /// The markers to publish at `now`, earliest deadline first: at most `limit`, and at most one for each tenant, so
    /// that they can be published at the same time. The same ones until they are observed.
    pub fn due(&self, clock: &Name, now: Instant, limit: usize) -> Vec<DayMarker> {
        let Some(clock) = self.clocks.get(clock) else {
            return Vec::new();
        };
        let due = clock.queue.iter().take_while(|(due_at, ..)| *due_at <= now);
        due.take(limit).map(|(_, tenant, _)| self.next_marker(clock, tenant)).collect()
    }

    /// When something is due next under that clock.
    pub fn next_deadline(&self, clock: &Name) -> Option<Instant> {
        self.clocks.get(clock)?.queue.first().map(|(due_at, ..)| *due_at)
    }

    /// The tables of all clocks that an earlier build published without offsets, with their rules.
    pub fn bare(&self) -> impl Iterator<Item = (&Arc<CalendarTable>, &[CalendarRule])> {
        let calendars = self.clocks.values().flat_map(|clock| clock.calendars.values());
        let bare = calendars.filter(|calendar| calendar.table.offsets.is_empty());
        bare.map(|calendar| (&calendar.table, calendar.rules.as_slice()))
    }

    /// The tables under that clock that do not reach beyond `now + ahead`, with the rules to [`extend`](crate::calendar::extend) them
    /// by. Costs a look at every table, of which there are few.
    pub fn horizon_short(
        &self,
        clock: &Name,
        now: Instant,
        ahead: Duration,
    ) -> Vec<(&Arc<CalendarTable>, &[CalendarRule])> {
        let until = now.after(ahead);
        let calendars = self.clocks.get(clock).into_iter().flat_map(|clock| clock.calendars.values());
        let short = calendars.filter(|calendar| calendar.table.horizon() <= until);
        short.map(|calendar| (&calendar.table, calendar.rules.as_slice())).collect()
    }

    /// The clocks that tenants go by, in order.
    pub fn clocks(&self) -> impl Iterator<Item = &Name> {
        self.clocks.keys()
    }

    /// How a tenant stands.
    pub fn get(&self, tenant: &TenantId) -> Option<&Progress> {
        self.tenants.get(tenant)
    }

    /// The table that a tenant goes by, in its newest revision.
    pub fn table(&self, tenant: &TenantId) -> Option<&Arc<CalendarTable>> {
        let progress = self.tenants.get(tenant)?;
        let calendar = self.clocks.get(&progress.tenant.clock)?.calendars.get(&progress.table)?;
        Some(&calendar.table)
    }

    /// How many tenants have an open day, and how many have one in its grace besides.
    pub fn open_and_closing(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for progress in self.tenants.values() {
            let first_closed = |closed: Option<Date>| closed.unwrap_or(progress.tenant.first_day.plus(-1));
            if let Some(opened) = progress.opened {
                let unclosed = opened.days_since(first_closed(progress.closed));
                counts.0 += u64::from(unclosed > 0);
                counts.1 += u64::from(unclosed > 1);
            }
        }
        counts
    }

    /// The tenants, in order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.keys()
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether there is no tenant.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    fn next_marker(&self, clock: &Clock, tenant: &TenantId) -> DayMarker {
        let progress = self.tenants.get(tenant).expect("what is queued is planned");
        let table = &clock.calendars.get(&progress.table).expect("a calendar lives while it has users").table;
        let (due_at, edge, day) = progress.next(table).expect("published days stay published");
        progress.marker(table, edge, day, due_at)
    }

    /// Removes a tenant, and its calendar and clock if it was their last.
    pub fn remove(&mut self, tenant: &TenantId) {
        let Some(mut progress) = self.tenants.remove(tenant) else {
            return;
        };
        let name = &progress.tenant.clock.clone();
        let clock = self.clocks.get_mut(name).expect("a clock lives while it has tenants");
        clock.unqueue(&mut progress);
        let calendar = clock.calendars.get_mut(&progress.table).expect("a calendar lives while it has users");
        calendar.users -= 1;
        if calendar.users == 0 {
            clock.calendars.remove(&progress.table);
        }
        if clock.calendars.is_empty() {
            self.clocks.remove(name);
        }
    }

    fn wake(tenants: &mut BTreeMap<TenantId, Progress>, clock: &mut Clock, woken: BTreeSet<TenantId>) {
        for tenant in woken {
            clock.enqueue(tenants.get_mut(&tenant).expect("what waits is planned"));
        }
    }
}

/// The date of the last published cut-off, which opens a day that is not published yet.
fn last_published(table: &CalendarTable) -> Date {
    table.first.plus(table.cutoffs.len() as i32 - 1)
}

fn check_table(tenant: &Tenant, table: &CalendarTable, seen: [Option<Date>; 2]) -> Result<(), DefineError> {
    let (id, name) = (tenant.id.clone(), table.name.clone());
    if table.first > tenant.first_day {
        let (first_day, first) = (tenant.first_day, table.first);
        return Err(DefineError::TooLate { tenant: id, first_day, table: name, first });
    }
    let missing = |date: &Date| *date < last_published(table) && table.day(*date).is_none();
    match seen.into_iter().flatten().find(missing) {
        Some(date) => Err(DefineError::Contradicts { tenant: id, table: name, date }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
