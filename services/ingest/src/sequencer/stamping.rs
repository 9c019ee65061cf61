//! The business day of an event, by the published calendar of its tenant and the limits of that.

use super::customer::Customer;
use daybook_contracts::event::Problem;
use daybook_contracts::reject::Code;
use daybook_domain::calendar::{CalendarTable, Lookup};
use daybook_domain::catalogue::Tenant;
use daybook_domain::time::{Date, Instant};
use std::sync::Arc;
use std::time::Duration;

/// The business days that events of a tenant may be of.
pub(super) struct Days {
    tenant: Arc<Tenant>,
    /// Absent while it has not arrived.
    table: Option<Arc<CalendarTable>>,
    /// When the events were published.
    published_at: Instant,
    /// How far ahead of that they may be; `None` where ingest sets no limit.
    max_ahead: Option<Duration>,
}

impl Days {
    /// Those of a tenant, for events that were published at that time.
    pub(super) fn of(customer: &Customer, published_at: Instant) -> Self {
        let Customer { tenant, table, .. } = customer;
        // A named clock does not run by itself: the shard, which knows the open day, judges by that.
        let max_ahead = tenant.max_ahead().filter(|_| tenant.is_by_system_clock());
        Self { tenant: tenant.clone(), table: table.clone(), published_at, max_ahead }
    }

    /// The business day of an event at that time.
    ///
    /// # Errors
    /// The reject: there is no such day, or it is too far ahead.
    pub(super) fn stamp(&self, at: Instant) -> Result<Date, Problem> {
        let Self { tenant: definition, table, published_at, max_ahead } = self;
        let Tenant { id: tenant, first_day: first, .. } = &**definition;
        let Some(table) = table else {
            let reason = format!("the calendar of tenant {tenant} is not published yet; publish again in a moment");
            return Err(Problem::new(Code::TooFarAhead, Some("at"), reason));
        };
        let before = || {
            let reason = format!(
                "{at} is before the tenant's first business day {first}, so it is not counted; publish events from that day on, or \
                 move first_day with `daybook apply`, which is possible until a day of {tenant} opens or an event is counted"
            );
            Problem::new(Code::BeforeFirstDay, Some("at"), reason)
        };
        if let Some(max_ahead) = max_ahead.filter(|max_ahead| at > published_at.after(*max_ahead)) {
            let reason = format!(
                "{at} is more than {} s ahead of {published_at}, when it was published; mend the clock of the producer, or raise \
                 max_ahead of tenant {tenant}",
                max_ahead.as_secs()
            );
            return Err(Problem::new(Code::TooFarAhead, Some("at"), reason));
        }
        match definition.day_at(table, at) {
            Lookup::Before => Err(before()),
            Lookup::Day(day) if day.date < *first => Err(before()),
            Lookup::Day(day) => Ok(day.date),
            Lookup::Beyond => {
                let reason = format!(
                    "{at} is too far ahead; business days are published up to {}. Mend the time, or publish it again when the tenant's \
                     days have come nearer",
                    table.horizon()
                );
                Err(Problem::new(Code::TooFarAhead, Some("at"), reason))
            }
        }
    }
}
