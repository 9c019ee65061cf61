//! What the sequencer knows of a tenant: its definition, its calendar, what is left of its rates, and which of its days have closed.

use crate::quota::Meter;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::Tenant;
use daybook_domain::time::Date;
use std::sync::Arc;

/// A tenant as the sequencer knows it.
pub(super) struct Customer {
    /// Shared with the message at hand.
    pub(super) tenant: Arc<Tenant>,
    /// Absent while its calendar has not arrived.
    pub(super) table: Option<Arc<CalendarTable>>,
    /// Made with its first message under a quota.
    pub(super) meter: Option<Meter>,
    pub(super) closed: Closed,
}

/// What is known of a tenant's closed days. They close in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Nothing: the log before this owner's time may close days.
    Unknown,
    None,
    Through(Date),
}

impl Closed {
    /// Whether an event of that date may change a day that has closed: its own, or, `if_it_moves`, the one that its entity leaves.
    pub(super) fn may_change(self, date: Date, if_it_moves: bool) -> bool {
        match self {
            Self::Unknown => true,
            Self::None => false,
            Self::Through(closed) => if_it_moves || date <= closed,
        }
    }
}
