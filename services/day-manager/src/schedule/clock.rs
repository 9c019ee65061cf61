//! The tenants of one clock, by their next deadlines.

use super::progress::Progress;
use daybook_contracts::day::Edge;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::CalendarRule;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A calendar in use under one clock.
#[derive(Debug)]
pub(super) struct Calendar {
    pub(super) table: Arc<CalendarTable>,
    pub(super) rules: Vec<CalendarRule>,
    /// How many tenants use it.
    pub(super) users: usize,
    /// Those that have no next marker before it is extended. Only they are looked at when it is.
    pub(super) waiting: BTreeSet<TenantId>,
}

/// All tenants of one clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) queue: BTreeSet<(Instant, TenantId, Edge)>,
    pub(super) calendars: BTreeMap<Name, Calendar>,
}

impl Clock {
    /// Takes a tenant out of the queue, or from those that wait.
    pub(super) fn unqueue(&mut self, progress: &mut Progress) {
        if let Some((due_at, edge)) = progress.queued.take() {
            self.queue.remove(&(due_at, progress.tenant.id.clone(), edge));
        } else if let Some(calendar) = self.calendars.get_mut(&progress.table) {
            calendar.waiting.remove(&progress.tenant.id);
        }
    }

    /// Puts a tenant that is not queued where its next marker belongs.
    pub(super) fn enqueue(&mut self, progress: &mut Progress) {
        let calendar = self.calendars.get_mut(&progress.table).expect("a calendar lives while it has users");
        match progress.next(&calendar.table) {
            Some((due_at, edge, _)) => {
                self.queue.insert((due_at, progress.tenant.id.clone(), edge));
                progress.queued = Some((due_at, edge));
            }
            None => {
                calendar.waiting.insert(progress.tenant.id.clone());
            }
        }
    }

    /// Uses a newer revision of a table, and returns whom that may concern.
    pub(super) fn publish(&mut self, table: &Arc<CalendarTable>) -> BTreeSet<TenantId> {
        match self.calendars.get_mut(&table.name) {
            Some(calendar) if calendar.table.revision < table.revision => {
                calendar.table = Arc::clone(table);
                std::mem::take(&mut calendar.waiting)
            }
            _ => BTreeSet::new(),
        }
    }
}
