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
pub mod closing;

use daybook_contracts::day::{DayMarker, Edge};
use daybook_domain::calendar::{BusinessDay, CalendarTable};
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

/// One tenant's place in the sequence of its markers.
#[derive(Clone, Debug)]
pub struct Plan {
    tenant: Tenant,
    table: Name,
    opened: Option<Date>,
    closed: Option<Date>,
    /// When the last day that was closed was due to be.
    closed_due_at: Option<Instant>,
    /// The entry in the queue of its clock; none while the table must be extended first.
    queued: Option<(Instant, Edge)>,
}

impl Plan {
    /// The definition in effect.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The last day that was opened.
    pub fn opened(&self) -> Option<Date> {
        self.opened
    }

    /// The last day that was closed.
    pub fn closed(&self) -> Option<Date> {
        self.closed
    }

    /// When the next marker is due; `None` until the table is extended.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queued.map(|(due_at, _)| due_at)
    }

    /// Takes note of a marker; whether it is news. A day that was closed had been opened, whether or not that marker has
    /// been seen.
    fn note(&mut self, edge: Edge, date: Date, due_at: Instant) -> bool {
        let before = (self.opened, self.closed);
        self.opened = self.opened.max(Some(date));
        if edge == Edge::Closed && self.closed < Some(date) {
            self.closed = Some(date);
            self.closed_due_at = Some(due_at);
        }
        (self.opened, self.closed) != before
    }

    /// The oldest day that is not closed, when the table has it.
    fn unclosed(&self, table: &CalendarTable) -> Option<BusinessDay> {
        table.day_from(self.closed.map_or(self.tenant.first_day, Date::next))
    }

    fn marker(&self, table: &CalendarTable, edge: Edge, day: BusinessDay, due_at: Instant) -> DayMarker {
        DayMarker {
            tenant: self.tenant.id.clone(),
            edge,
            day,
            due_at,
            tzdb: table.tzdb.clone(),
            calendar: table.name.clone(),
            calendar_revision: table.revision,
            generation: self.tenant.generation,
        }
    }

    /// The next marker, when the table has all that it says.
    fn next(&self, table: &CalendarTable) -> Option<(Instant, Edge, BusinessDay)> {
        let Some(opened) = self.opened else {
            let first = table.day_from(self.tenant.first_day)?;
            return Some((first.opens_at, Edge::Opened, first));
        };
        let opened = table.day(opened)?;
        let unclosed = self.unclosed(table)?;
        let close_at = unclosed.closes_at.after(Duration::from_millis(self.tenant.grace_ms));
        // An open day that is the last one opened is never closed here, however early it was opened: its grace ends at
        // its cut-off or after.
        if close_at < opened.closes_at {
            return Some((close_at, Edge::Closed, unclosed));
        }
        let next = table.day_from(opened.date.next())?;
        Some((opened.closes_at, Edge::Opened, next))
    }
}

/// A calendar in use under one clock.
#[derive(Debug)]
struct Calendar {
    table: Arc<CalendarTable>,
    rules: Vec<CalendarRule>,
    /// How many tenants use it.
    users: usize,
    /// Those that have no next marker before it is extended. Only they are looked at when it is.
    waiting: BTreeSet<TenantId>,
}

/// All tenants of one clock.
#[derive(Debug, Default)]
struct Clock {
    queue: BTreeSet<(Instant, TenantId, Edge)>,
    calendars: BTreeMap<Name, Calendar>,
}

impl Clock {
    /// Takes a tenant out of the queue, or from those that wait.
    fn unqueue(&mut self, plan: &mut Plan) {
        if let Some((due_at, edge)) = plan.queued.take() {
            self.queue.remove(&(due_at, plan.tenant.id.clone(), edge));
        } else if let Some(calendar) = self.calendars.get_mut(&plan.table) {
            calendar.waiting.remove(&plan.tenant.id);
        }
    }

    /// Puts a tenant that is not queued where its next marker belongs.
    fn enqueue(&mut self, plan: &mut Plan) {
        let calendar = self.calendars.get_mut(&plan.table).expect("a calendar lives while it has users");
        match plan.next(&calendar.table) {
            Some((due_at, edge, _)) => {
                self.queue.insert((due_at, plan.tenant.id.clone(), edge));
                plan.queued = Some((due_at, edge));
            }
            None => {
                calendar.waiting.insert(plan.tenant.id.clone());
            }
        }
    }

    /// Uses a newer revision of a table, and returns whom that may concern.
    fn publish(&mut self, table: &Arc<CalendarTable>) -> BTreeSet<TenantId> {
        match self.calendars.get_mut(&table.name) {
            Some(calendar) if calendar.table.revision < table.revision => {
                calendar.table = Arc::clone(table);
                std::mem::take(&mut calendar.waiting)
            }
            _ => BTreeSet::new(),
        }
    }
}

/// The deadlines of all tenants. Changing one tenant costs `O(log tenants)`, asking for `k` markers `O(k log tenants)`.
#[derive(Debug, Default)]
pub struct Schedule {
    plans: BTreeMap<TenantId, Plan>,
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
        let known = self.plans.get(&tenant.id);
        let (opened, closed) = known.map_or((None, None), |plan| (plan.opened, plan.closed));
        let closed_due_at = known.and_then(|plan| plan.closed_due_at);
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
        let mut plan = Plan { tenant, table: table.name.clone(), opened, closed, closed_due_at, queued: None };
        let woken = clock.publish(&table);
        clock.enqueue(&mut plan);
        self.plans.insert(id, plan);
        Self::wake(&mut self.plans, clock, woken);
        Ok(())
    }

    /// Uses a newer revision of a table for all its tenants.
    pub fn publish(&mut self, table: &Arc<CalendarTable>) {
        for clock in self.clocks.values_mut() {
            let woken = clock.publish(table);
            Self::wake(&mut self.plans, clock, woken);
        }
    }

    /// Takes note of a marker that stands in the log, in any order and any number of times.
    pub fn observe(&mut self, marker: &DayMarker) -> Observed {
        let Some(plan) = self.plans.get_mut(&marker.tenant) else {
            return Observed::Unknown;
        };
        let clock = self.clocks.get_mut(&plan.tenant.clock).expect("a clock lives while it has tenants");
        let calendar = clock.calendars.get(&plan.table).expect("a calendar lives while it has users");
        if marker.generation != plan.tenant.generation {
            // It is of a tenant that was removed.
            return Observed::Stale;
        }
        let date = marker.day.date;
        let differs = date < last_published(&calendar.table) && calendar.table.day(date) != Some(marker.day);
        if differs || date < plan.tenant.first_day {
            return Observed::Contradicts;
        }
        if !plan.note(marker.edge, date, marker.due_at) {
            return Observed::Stale;
        }
        clock.unqueue(plan);
        clock.enqueue(plan);
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
    pub fn get(&self, tenant: &TenantId) -> Option<&Plan> {
        self.plans.get(tenant)
    }

    /// The table that a tenant goes by, in its newest revision.
    pub fn table(&self, tenant: &TenantId) -> Option<&Arc<CalendarTable>> {
        let plan = self.plans.get(tenant)?;
        let calendar = self.clocks.get(&plan.tenant.clock)?.calendars.get(&plan.table)?;
        Some(&calendar.table)
    }

    /// How many tenants have an open day, and how many have one in its grace besides.
    pub fn open_and_closing(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for plan in self.plans.values() {
            let first_closed = |closed: Option<Date>| closed.unwrap_or(plan.tenant.first_day.plus(-1));
            if let Some(opened) = plan.opened {
                let unclosed = opened.days_since(first_closed(plan.closed));
                counts.0 += u64::from(unclosed > 0);
                counts.1 += u64::from(unclosed > 1);
            }
        }
        counts
    }

    /// The tenants, in order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.plans.keys()
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// Whether there is no tenant.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    fn next_marker(&self, clock: &Clock, tenant: &TenantId) -> DayMarker {
        let plan = self.plans.get(tenant).expect("what is queued is planned");
        let table = &clock.calendars.get(&plan.table).expect("a calendar lives while it has users").table;
        let (due_at, edge, day) = plan.next(table).expect("published days stay published");
        plan.marker(table, edge, day, due_at)
    }

    /// Removes a tenant, and its calendar and clock if it was their last.
    pub fn remove(&mut self, tenant: &TenantId) {
        let Some(mut plan) = self.plans.remove(tenant) else {
            return;
        };
        let name = &plan.tenant.clock.clone();
        let clock = self.clocks.get_mut(name).expect("a clock lives while it has tenants");
        clock.unqueue(&mut plan);
        let calendar = clock.calendars.get_mut(&plan.table).expect("a calendar lives while it has users");
        calendar.users -= 1;
        if calendar.users == 0 {
            clock.calendars.remove(&plan.table);
        }
        if clock.calendars.is_empty() {
            self.clocks.remove(name);
        }
    }

    fn wake(plans: &mut BTreeMap<TenantId, Plan>, clock: &mut Clock, woken: BTreeSet<TenantId>) {
        for tenant in woken {
            clock.enqueue(plans.get_mut(&tenant).expect("what waits is planned"));
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
mod tests {
    use super::*;
    use crate::calendar::{extend, table_name};
    use Edge::{Closed, Opened};
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    const HOUR: i64 = 3_600_000;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn hour(hour: i64) -> Instant {
        Instant::from_millis(hour * HOUR)
    }

    /// A table with a day from each hour to the next; equal hours are dates that do not exist.
    fn table(revision: u64, hours: &[i64]) -> Arc<CalendarTable> {
        Arc::new(CalendarTable {
            name: name("table"),
            revision,
            tzdb: "test".into(),
            first: Date::from_days(0),
            cutoffs: hours.iter().copied().map(hour).collect(),
            offsets: vec![daybook_domain::calendar::Offset { from: hour(0), seconds: 0 }],
        })
    }

    fn tenant(id: &str, grace_hours: u64) -> Tenant {
        Tenant {
            generation: 0,
            boundaries: Vec::new(),
            alerts: Default::default(),
            id: TenantId::new(id).unwrap(),
            name: None,
            calendar: vec![CalendarRule {
                from: Date::from_days(0),
                zone: "Etc/UTC".into(),
                cutoff_minutes: 0,
                named_by: Default::default(),
            }],
            grace_ms: grace_hours * HOUR as u64,
            first_day: Date::from_days(0),
            clock: name("system"),
            revision: 1,
            table: None,
            seasons: Vec::new(),
            quotas: Default::default(),
            restate_after_ms: None,
            max_ahead_ms: None,
        }
    }

    fn due(schedule: &Schedule, now: i64) -> Vec<DayMarker> {
        schedule.due(&name("system"), hour(now), 100)
    }

    /// Publishes all that is due, and says what it was: edge, date and the hour it was due.
    fn run(schedule: &mut Schedule, now: i64) -> Vec<(Edge, i32, i64)> {
        let mut published = Vec::new();
        loop {
            let markers = due(schedule, now);
            if markers.is_empty() {
                return published;
            }
            for marker in markers {
                assert_eq!(schedule.observe(&marker), Observed::Applied);
                assert_eq!(schedule.observe(&marker), Observed::Stale);
                let hour = marker.due_at.as_millis() / HOUR;
                published.push((marker.edge, marker.day.date.as_days(), hour));
            }
        }
    }

    #[test]
    fn the_next_day_opens_at_the_cutoff_and_the_last_closes_after_its_grace() {
        let mut schedule = Schedule::new();
        schedule.define(tenant("a", 2), table(1, &[10, 34, 34, 58, 82])).unwrap();
        assert_eq!(schedule.next_deadline(&name("system")), Some(hour(10)));
        assert_eq!(run(&mut schedule, 9), []);
        assert_eq!(run(&mut schedule, 33), [(Opened, 0, 10)]);
        assert_eq!(run(&mut schedule, 35), [(Opened, 2, 34)]);
        assert_eq!(schedule.next_deadline(&name("system")), Some(hour(36)));
        assert_eq!(run(&mut schedule, 36), [(Closed, 0, 36)]);
        assert_eq!(run(&mut schedule, 60), [(Opened, 3, 58), (Closed, 2, 60)]);
        let plan = schedule.get(&TenantId::new("a").unwrap()).unwrap();
        assert_eq!((plan.opened(), plan.closed()), (Some(Date::from_days(3)), Some(Date::from_days(2))));
    }

    #[test]
    fn at_one_instant_opening_comes_first_even_with_a_grace_longer_than_days() {
        let mut schedule = Schedule::new();
        schedule.define(tenant("a", 0), table(1, &[0, 24, 48, 72])).unwrap();
        let all = [(Opened, 0, 0), (Opened, 1, 24), (Closed, 0, 24), (Opened, 2, 48), (Closed, 1, 48)];
        assert_eq!(run(&mut schedule, 999), all);

        let mut schedule = Schedule::new();
        schedule.define(tenant("a", 24), table(1, &[0, 24, 25, 48, 72, 96])).unwrap();
        let all = [
            (Opened, 0, 0),
            (Opened, 1, 24),
            (Opened, 2, 25),
            (Opened, 3, 48),
            (Closed, 0, 48),
            (Closed, 1, 49),
            (Opened, 4, 72),
            (Closed, 2, 72),
        ];
        assert_eq!(run(&mut schedule, 999), all);
    }

    #[test]
    fn a_marker_says_where_its_day_comes_from() {
        let mut schedule = Schedule::new();
        schedule.define(tenant("a", 1), table(7, &[0, 24, 48, 72])).unwrap();
        run(&mut schedule, 24);
        let markers = due(&schedule, 25);
        let day = BusinessDay { date: Date::from_days(0), opens_at: hour(0), closes_at: hour(24) };
        let marker = DayMarker {
            generation: 0,
            tenant: TenantId::new("a").unwrap(),
            edge: Closed,
            day,
            due_at: hour(25),
            tzdb: "test".into(),
            calendar: name("table"),
            calendar_revision: 7,
        };
        assert_eq!(markers, [marker]);
    }

    #[test]
    fn a_tenant_waits_at_the_end_of_its_table_and_goes_on_when_it_grows() {
        let system = name("system");
        let mut schedule = Schedule::new();
        // A close that comes after the next opening waits for it, so that the order is the same whenever tables grow.
        schedule.define(tenant("a", 24), table(1, &[0, 24, 25])).unwrap();
        schedule.define(tenant("b", 0), table(1, &[0, 24, 25])).unwrap();
        let all = [(Opened, 0, 0), (Opened, 0, 0), (Opened, 1, 24), (Opened, 1, 24), (Closed, 0, 24)];
        assert_eq!(run(&mut schedule, 999), all);
        assert_eq!(schedule.next_deadline(&system), None);
        assert_eq!(schedule.clocks().collect::<Vec<_>>(), [&system]);

        let short = |schedule: &Schedule, now, ahead: u64| {
            let short = schedule.horizon_short(&system, hour(now), Duration::from_secs(ahead * 3600));
            short.into_iter().map(|(table, rules)| (table.name.to_string(), rules.len())).collect::<Vec<_>>()
        };
        assert_eq!(short(&schedule, 20, 4), []);
        assert_eq!(short(&schedule, 20, 5), [("table".to_owned(), 1)]);
        schedule.publish(&table(2, &[0, 24, 25, 50]));
        assert_eq!(short(&schedule, 20, 5), []);
        schedule.publish(&table(1, &[0, 24, 25]));
        assert_eq!(schedule.table(&TenantId::new("a").unwrap()).unwrap().revision, 2);
        let all = [(Opened, 2, 25), (Opened, 2, 25), (Closed, 1, 25), (Closed, 0, 48), (Closed, 1, 49)];
        assert_eq!(run(&mut schedule, 999), all);

        // Nor does a definition with an older table take days back.
        let mut alone = Schedule::new();
        alone.define(tenant("a", 0), table(2, &[0, 24, 25, 50])).unwrap();
        alone.define(tenant("a", 1), table(1, &[0, 24])).unwrap();
        assert_eq!(alone.table(&TenantId::new("a").unwrap()).unwrap().revision, 2);

        // Defining one tenant with a longer table wakes the others too.
        schedule.define(tenant("c", 0), table(3, &[0, 24, 25, 50, 75])).unwrap();
        assert_eq!(due(&schedule, 50).len(), 3);
        assert_eq!(schedule.len(), 3);
    }

    #[test]
    fn due_is_limited_and_has_one_marker_for_each_tenant() {
        let mut schedule = Schedule::new();
        assert!(schedule.is_empty());
        for id in ["c", "a", "b"] {
            schedule.define(tenant(id, 0), table(1, &[0, 24, 48])).unwrap();
        }
        let mut other = tenant("d", 0);
        other.clock = name("replay");
        schedule.define(other, table(1, &[0, 24, 48])).unwrap();
        let system = schedule.due(&name("system"), hour(999), 2);
        assert_eq!(system.iter().map(|m| m.tenant.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(schedule.due(&name("system"), hour(999), 9).len(), 3);
        assert_eq!(schedule.due(&name("replay"), hour(999), 9).len(), 1);
        assert_eq!(schedule.due(&name("nobody"), hour(999), 9), []);
        assert_eq!(schedule.next_deadline(&name("nobody")), None);
        assert_eq!(schedule.clocks().map(Name::as_str).collect::<Vec<_>>(), ["replay", "system"]);
        // The only tenant of a clock moves to another.
        schedule.define(tenant("d", 0), table(1, &[0, 24, 48])).unwrap();
        assert_eq!(schedule.clocks().map(Name::as_str).collect::<Vec<_>>(), ["system"]);
        assert_eq!((schedule.len(), due(&schedule, 0).len()), (4, 4));
    }

    #[test]
    fn a_new_grace_applies_to_days_not_closed_yet() {
        let mut schedule = Schedule::new();
        let hours = table(1, &[0, 24, 48, 72, 96]);
        schedule.define(tenant("a", 12), Arc::clone(&hours)).unwrap();
        run(&mut schedule, 30);
        schedule.define(tenant("a", 2), Arc::clone(&hours)).unwrap();
        assert_eq!(run(&mut schedule, 30), [(Closed, 0, 26)]);
        schedule.define(tenant("a", 3), hours).unwrap();
        assert_eq!(run(&mut schedule, 51), [(Opened, 2, 48), (Closed, 1, 51)]);
    }

    #[test]
    fn markers_that_contradict_the_table_are_reported() {
        let mut schedule = Schedule::new();
        schedule.define(tenant("a", 0), table(1, &[0, 24, 24, 48])).unwrap();
        let good = due(&schedule, 0).remove(0);
        let stranger = DayMarker { tenant: TenantId::new("z").unwrap(), ..good.clone() };
        assert_eq!(schedule.observe(&stranger), Observed::Unknown);
        let day = |date, opens, closes| BusinessDay {
            date: Date::from_days(date),
            opens_at: hour(opens),
            closes_at: hour(closes),
        };
        for day in [day(0, 0, 23), day(1, 24, 24), day(-1, -24, 0)] {
            assert_eq!(schedule.observe(&DayMarker { day, ..good.clone() }), Observed::Contradicts);
        }
        assert_eq!(due(&schedule, 0).first(), Some(&good));
        // Another day-manager may be ahead of our table. A closed day was opened.
        let closed = DayMarker { edge: Closed, day: day(3, 48, 72), ..good.clone() };
        assert_eq!(schedule.observe(&closed), Observed::Applied);
        assert_eq!(schedule.observe(&good), Observed::Stale);
        assert_eq!(due(&schedule, 999), []);
        schedule.publish(&table(2, &[0, 24, 24, 48, 72, 96]));
        assert_eq!(run(&mut schedule, 72), [(Opened, 4, 72)]);

        let mut late = tenant("b", 0);
        late.first_day = Date::from_days(-1);
        let error = schedule.define(late, table(2, &[0, 24])).unwrap_err();
        assert!(matches!(error, DefineError::TooLate { .. }), "{error}");
        let error = schedule.define(tenant("a", 0), table(3, &[0, 24, 24, 48, 72, 72, 99])).unwrap_err();
        assert!(matches!(error, DefineError::Contradicts { date, .. } if date == Date::from_days(4)), "{error}");
    }

    /// What a run of the simulation is made of.
    #[derive(Clone, Debug)]
    struct Case {
        rules: Vec<Vec<CalendarRule>>,
        /// Calendar, grace in minutes, and first day of each tenant.
        tenants: Vec<(usize, u64, i32)>,
        /// Minutes that the clock moves, and what happens then.
        steps: Vec<(i64, Event)>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Publish {
            limit: usize,
        },
        /// The oldest open day, or the newest.
        Close {
            tenant: usize,
            newest: bool,
        },
        RestartFromAll,
        RestartFromLast,
        Duplicates,
    }

    fn any_rules() -> impl Strategy<Value = Vec<CalendarRule>> {
        let zones = ["Etc/UTC", "America/New_York", "Pacific/Apia", "Pacific/Pago_Pago", "Asia/Kolkata"];
        let step = (1..40i32, prop::sample::select(zones.to_vec()), 0..1440u16);
        prop::collection::vec(step, 1..5).prop_map(|steps| {
            let mut from = Date::from_days(15_310); // 2011-12-02
            let rule = |(days, zone, cutoff_minutes): (i32, &str, u16)| {
                from = from.plus(days);
                CalendarRule { from, zone: zone.to_owned(), cutoff_minutes, named_by: Default::default() }
            };
            steps.into_iter().map(rule).collect()
        })
    }

    fn any_case() -> impl Strategy<Value = Case> {
        let event = prop_oneof![
            4 => (1..9usize).prop_map(|limit| Event::Publish { limit }),
            2 => (0..4usize, any::<bool>()).prop_map(|(tenant, newest)| Event::Close { tenant, newest }),
            1 => Just(Event::RestartFromAll),
            1 => Just(Event::RestartFromLast),
            1 => Just(Event::Duplicates),
        ];
        let minutes = prop_oneof![4 => 0..600i64, 2 => 0..3000i64, 1 => 0..30_000i64];
        let grace = prop_oneof![Just(0u64), 1..120u64, 1..=1440u64, Just(1440u64)];
        (
            prop::collection::vec(any_rules(), 1..3),
            prop::collection::vec((0..2usize, grace, 15_300..15_330i32), 1..5),
            prop::collection::vec((minutes, event), 1..60),
        )
            .prop_map(|(rules, tenants, steps)| Case { rules, tenants, steps })
    }

    /// A day-manager and its log.
    struct Simulation {
        tenants: Vec<Tenant>,
        tables: BTreeMap<Name, Arc<CalendarTable>>,
        log: Vec<DayMarker>,
        /// When what was published by hand, rather than because it was due.
        by_hand: BTreeMap<(TenantId, Edge, Date), Instant>,
        schedule: Schedule,
    }

    impl Simulation {
        fn new(case: &Case, now: Instant) -> Self {
            let define = |(index, (calendar, grace_minutes, first)): (usize, &(usize, u64, i32))| {
                let mut tenant = tenant(&format!("t{index}"), 0);
                tenant.calendar = case.rules[calendar % case.rules.len()].clone();
                tenant.grace_ms = grace_minutes * 60_000;
                tenant.first_day = Date::from_days(*first);
                tenant
            };
            let tenants: Vec<_> = case.tenants.iter().enumerate().map(define).collect();
            let mut tables = BTreeMap::new();
            for tenant in &tenants {
                let name = table_name(&tenant.calendar, &tenant.clock);
                let table = tables.get(&name).map(Arc::as_ref);
                let grown = extend(table, &name, &tenant.calendar, tenant.first_day, now).unwrap();
                if let Some(grown) = grown {
                    tables.insert(name, Arc::new(grown));
                }
            }
            let mut new =
                Self { tenants, tables, log: Vec::new(), by_hand: BTreeMap::new(), schedule: Schedule::new() };
            new.restart();
            new
        }

        fn restart(&mut self) {
            self.schedule = Schedule::new();
            for tenant in &self.tenants {
                let table = &self.tables[&table_name(&tenant.calendar, &tenant.clock)];
                self.schedule.define(tenant.clone(), Arc::clone(table)).unwrap();
            }
        }

        fn extend_tables(&mut self, now: Instant) {
            let system = name("system");
            let ahead = Duration::from_secs(3 * 86_400);
            let short = self.schedule.horizon_short(&system, now, ahead).into_iter();
            let grown: Vec<_> = short
                .filter_map(|(table, rules)| {
                    extend(Some(table), &table.name, rules, table.first, now.after(ahead)).unwrap()
                })
                .collect();
            for table in grown.into_iter().map(Arc::new) {
                self.schedule.publish(&table);
                self.tables.insert(table.name.clone(), table);
            }
            assert!(self.schedule.horizon_short(&system, now, ahead).is_empty());
        }

        fn deadlines(&self) -> Vec<Option<Instant>> {
            self.schedule.plans.values().map(Plan::next_deadline).collect()
        }

        /// Closes a day by hand, which must succeed if the day has begun and is still open when all is published that is
        /// due.
        fn close(&mut self, now: Instant, tenant: usize, newest: bool) -> Result<(), TestCaseError> {
            let id = self.tenants[tenant % self.tenants.len()].id.clone();
            let plan = self.schedule.get(&id).unwrap().clone();
            let table = Arc::clone(self.schedule.table(&id).unwrap());
            let date = if newest { plan.opened() } else { plan.unclosed(&table).map(|day| day.date) };
            let Some(date) = date else { return Ok(()) };
            let day = table.day(date).unwrap();
            let grace = Duration::from_millis(plan.tenant().grace_ms);
            match self.schedule.close_by_hand(&id, date, now) {
                Ok(closing) => {
                    prop_assert!(day.opens_at <= now && now < day.closes_at.after(grace));
                    for marker in closing.opened.iter().chain(&closing.closed) {
                        self.by_hand.insert((id.clone(), marker.edge, marker.day.date), now);
                    }
                    let markers = closing.into_markers();
                    prop_assert_eq!(markers.last().map(|last| (last.edge, last.day)), Some((Closed, day)));
                    for marker in markers {
                        prop_assert_eq!(self.schedule.observe(&marker), Observed::Applied);
                        self.log.push(marker);
                    }
                }
                Err(error) => prop_assert!(now < day.opens_at || day.closes_at.after(grace) <= now, "{error}"),
            }
            Ok(())
        }

        fn step(&mut self, now: Instant, event: Event) -> Result<(), TestCaseError> {
            let deadlines = self.deadlines();
            match event {
                Event::Close { tenant, newest } => self.close(now, tenant, newest)?,
                Event::Publish { limit } => {
                    let due = self.schedule.due(&name("system"), now, limit);
                    let tenants: BTreeSet<_> = due.iter().map(|marker| &marker.tenant).collect();
                    prop_assert_eq!(tenants.len(), due.len());
                    prop_assert!(due.is_sorted_by_key(|marker| marker.due_at));
                    for marker in due {
                        prop_assert!(marker.due_at <= now);
                        prop_assert_eq!(self.schedule.observe(&marker), Observed::Applied);
                        self.log.push(marker);
                    }
                }
                Event::RestartFromAll => {
                    self.restart();
                    for marker in &self.log {
                        prop_assert_eq!(self.schedule.observe(marker), Observed::Applied);
                    }
                    prop_assert_eq!(self.deadlines(), deadlines);
                }
                Event::RestartFromLast => {
                    self.restart();
                    let last: BTreeMap<_, _> = self.log.iter().map(|m| ((m.tenant.clone(), m.edge), m)).collect();
                    for marker in last.into_values() {
                        prop_assert_eq!(self.schedule.observe(marker), Observed::Applied);
                    }
                    prop_assert_eq!(self.deadlines(), deadlines);
                }
                Event::Duplicates => {
                    for marker in self.log.iter().rev().take(9) {
                        prop_assert_eq!(self.schedule.observe(marker), Observed::Stale);
                    }
                }
            }
            Ok(())
        }
    }

    /// The whole sequence of a tenant, by sorting all markers that there will ever be.
    fn expected(
        tenant: &Tenant,
        table: &CalendarTable,
        by_hand: &BTreeMap<(TenantId, Edge, Date), Instant>,
        now: Instant,
    ) -> Vec<(Edge, BusinessDay, Instant)> {
        let dates = (0..table.cutoffs.len() as i32).map(|index| table.first.plus(index));
        let days = dates.filter(|date| *date >= tenant.first_day).filter_map(|date| table.day(date));
        let grace = Duration::from_millis(tenant.grace_ms);
        let markers = days.flat_map(|day| [(Opened, day, day.opens_at), (Closed, day, day.closes_at.after(grace))]);
        let early = |edge, date| by_hand.get(&(tenant.id.clone(), edge, date)).copied();
        let markers = markers.map(|(edge, day, due_at)| (edge, day, early(edge, day.date).unwrap_or(due_at)));
        let mut markers: Vec<_> = markers.filter(|(_, _, due_at)| *due_at <= now).collect();
        markers.sort_by_key(in_order);
        markers
    }

    fn in_order((edge, day, due_at): &(Edge, BusinessDay, Instant)) -> (Instant, Edge, Date) {
        (*due_at, *edge, day.date)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_marker_comes_once_and_in_order_whatever_happens(case in any_case()) {
            let mut now = Instant::from_millis(15_310 * 24 * HOUR);
            let mut simulation = Simulation::new(&case, now);
            for (minutes, event) in &case.steps {
                now = now.after(Duration::from_secs(*minutes as u64 * 60));
                simulation.extend_tables(now);
                simulation.step(now, *event)?;
            }
            while !simulation.schedule.due(&name("system"), now, 1).is_empty() {
                simulation.step(now, Event::Publish { limit: 3 })?;
            }
            for tenant in &simulation.tenants {
                let table = simulation.schedule.table(&tenant.id).unwrap();
                let log = simulation.log.iter().filter(|marker| marker.tenant == tenant.id);
                let log: Vec<_> = log.map(|marker| (marker.edge, marker.day, marker.due_at)).collect();
                prop_assert!(log.is_sorted_by_key(|(.., due_at)| *due_at));
                // At one instant a day closed by hand may stand before the next one's opening, and be right there.
                let mut sorted = log.clone();
                sorted.sort_by_key(in_order);
                prop_assert_eq!(&sorted, &expected(tenant, table, &simulation.by_hand, now));
                let of_edge = |edge| log.iter().filter(move |marker| marker.0 == edge).map(|(_, day, _)| *day);
                let (opened, closed): (Vec<_>, Vec<_>) = (of_edge(Opened).collect(), of_edge(Closed).collect());
                prop_assert!(opened.windows(2).all(|pair| pair[0].closes_at == pair[1].opens_at));
                prop_assert!(opened.starts_with(&closed) && closed.len() < opened.len().max(1));
                // A day closes behind its successor's opening.
                let place = |edge, date| log.iter().position(|(e, day, _)| *e == edge && day.date == date);
                for pair in opened.windows(2) {
                    let close = place(Closed, pair[0].date);
                    prop_assert!(close.is_none() || close > place(Opened, pair[1].date));
                }
            }
        }
    }
}
