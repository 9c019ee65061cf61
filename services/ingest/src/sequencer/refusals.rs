//! Which records of the batch at hand stand for messages refused unread. Refusals that follow each other become one
//! record, so that a flood costs the log next to nothing.

use super::Source;
use daybook_contracts::log::Record;
use daybook_contracts::reject::{Code, Span};
use daybook_domain::ids::TenantId;
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

    /// Counts a refused message to the one before, if there is one for the same reason and kind; else says false.
    pub(super) fn extend(
        &self,
        records: &mut [Record],
        tenant: &TenantId,
        source: &Source<'_>,
        code: Code,
        events: u64,
    ) -> bool {
        let record = self.records.get(tenant).and_then(|place| records.get_mut(*place));
        let Some(Record::Rejected(reject)) = record else { return false };
        let is_alike = reject.code == code && reject.kind == source.kind_as_told();
        let Some(span) = reject.span.as_mut().filter(|_| is_alike) else { return false };
        *span = Span { events: span.events + events, last: source.inbox };
        true
    }
}
