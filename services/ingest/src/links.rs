//! The traces that a batch is linked to: those of the producers whose events it holds. A link decides nothing. A batch holds
//! events of many tenants, so no producer's trace is its parent.

use daybook_contracts::subjects::InboxSubject;
use opentelemetry::trace::SpanContext;

/// Most links of a batch: exporters cut longer lists.
const MAX_LINKS: usize = 64;
/// Most links of a batch to traces of one tenant, so that others have theirs.
const MAX_LINKS_OF_A_TENANT: usize = 8;

/// Who began a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Producer(String),
    /// day-manager, by a marker or definition.
    Service,
}

/// The contexts that a batch is linked to, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: Vec<(Origin, SpanContext)>,
}

impl Links {
    /// Adds the context that came with a message, unless it is there already or a bound is reached.
    pub(crate) fn note(&mut self, subject: Option<InboxSubject<'_>>, context: SpanContext) {
        let origin = match subject {
            Some(InboxSubject::Event { tenant, .. }) => Origin::Producer(tenant.into()),
            Some(InboxSubject::Day { .. } | InboxSubject::Catalog { .. }) => Origin::Service,
            // Nothing that a tenant is known by.
            Some(InboxSubject::Wildcard { .. }) | None => return,
        };
        let of_origin = self.links.iter().filter(|(other, _)| *other == origin).count();
        let is_known = self.links.iter().any(|(_, other)| *other == context);
        if self.links.len() < MAX_LINKS && of_origin < MAX_LINKS_OF_A_TENANT && !is_known {
            self.links.push((origin, context));
        }
    }

    pub(crate) fn contexts(&self) -> impl Iterator<Item = &SpanContext> {
        self.links.iter().map(|(_, context)| context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    fn context(number: u64) -> SpanContext {
        let (trace, span) = (TraceId::from_bytes(u128::from(number).to_be_bytes()), SpanId::from_bytes([1; 8]));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
    }

    #[test]
    fn a_flood_of_one_tenants_traces_leaves_room_for_others() {
        let mut links = Links::default();
        for number in 1..=1_000 {
            links.note(Some(InboxSubject::Event { tenant: "greedy", kind: "order" }), context(number));
        }
        assert_eq!(links.contexts().count(), MAX_LINKS_OF_A_TENANT);
        links.note(Some(InboxSubject::Event { tenant: "modest", kind: "order" }), context(2_000));
        links.note(Some(InboxSubject::Day { tenant: "greedy", edge: "closed" }), context(2_001));
        let last: Vec<_> = links.contexts().skip(MAX_LINKS_OF_A_TENANT).cloned().collect();
        assert_eq!(last, [context(2_000), context(2_001)]);
        for number in 0..1_000_u64 {
            let tenant = number.to_string();
            links.note(Some(InboxSubject::Event { tenant: &tenant, kind: "order" }), context(3_000 + number));
        }
        assert_eq!(links.contexts().count(), MAX_LINKS);
    }

    #[test]
    fn one_trace_of_many_messages_is_linked_once() {
        let mut links = Links::default();
        for tenant in ["one", "one", "other"] {
            links.note(Some(InboxSubject::Event { tenant, kind: "order" }), context(7));
        }
        links.note(Some(InboxSubject::Wildcard { tokens: "*.order" }), context(8));
        assert_eq!(links.contexts().collect::<Vec<_>>(), [&context(7)]);
    }
}
