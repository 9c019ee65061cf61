//! Which records of the batch at hand stand for messages refused unread. Refusals that follow each other become one
//! record, so that a flood costs the log next to nothing.

use daybook_contracts::log::Record;
use daybook_contracts::reject::{Reject, Span};
use daybook_domain::ids::{InboxSeq, TenantId};
use std::collections::HashMap;

/// The record of each tenant whose last message was refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    records: HashMap<TenantId, usize>,
}

impl Refusals {
    /// The record at that place stands for the tenant's refusals from now on.
    pub(super) fn begin(&mut self, tenant: &TenantId, place: usize) {
        self.records.insert(tenant.clone(), place);
    }

    /// A message of the tenant was let in: a record stands for every message of the tenant between its first and its
    /// last, so the next refusal begins another one.
    pub(super) fn end(&mut self, tenant: &TenantId) {
        self.records.remove(tenant);
    }

    /// Counts a refused message to the one before, if there is one; else says false. Neither its kind nor which quota it
    /// is over has to be the same: a flood that alternates them would make a record of each message.
    pub(super) fn extend(&self, records: &mut [Record], tenant: &TenantId, inbox: InboxSeq, events: u64) -> bool {
        let record = self.records.get(tenant).and_then(|place| records.get_mut(*place));
        let Some(Record::Rejected(Reject { span: Some(span), .. })) = record else { return false };
        *span = Span { events: span.events + events, last: inbox };
        true
    }
}
