//! One tenant in the sequence of its markers: which is next.

use daybook_contracts::day::{DayMarker, Edge};
use daybook_domain::calendar::{BusinessDay, CalendarTable};
use daybook_domain::catalogue::Tenant;
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};
use std::time::Duration;

/// One tenant's place in the sequence of its markers.
#[derive(Clone, Debug)]
pub struct Progress {
    pub(super) tenant: Tenant,
    pub(super) table: Name,
    pub(super) opened: Option<Date>,
    pub(super) closed: Option<Date>,
    /// When the last day that was closed was due to be.
    pub(super) closed_due_at: Option<Instant>,
    /// The entry in the queue of its clock; none while the table must be extended first.
    pub(super) queued: Option<(Instant, Edge)>,
}

impl Progress {
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
    pub(super) fn note(&mut self, edge: Edge, date: Date, due_at: Instant) -> bool {
        let before = (self.opened, self.closed);
        self.opened = self.opened.max(Some(date));
        if edge == Edge::Closed && self.closed < Some(date) {
            self.closed = Some(date);
            self.closed_due_at = Some(due_at);
        }
        (self.opened, self.closed) != before
    }

    /// The oldest day that is not closed, when the table has it.
    pub(super) fn unclosed(&self, table: &CalendarTable) -> Option<BusinessDay> {
        table.day_from(self.closed.map_or(self.tenant.first_day, Date::next))
    }

    pub(super) fn marker(&self, table: &CalendarTable, edge: Edge, day: BusinessDay, due_at: Instant) -> DayMarker {
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
    pub(super) fn next(&self, table: &CalendarTable) -> Option<(Instant, Edge, BusinessDay)> {
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
