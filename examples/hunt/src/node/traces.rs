//! One trace from a submission to the ranking that moved.
//!
//! | span | from, to | in |
//! | --- | --- | --- |
//! | `ask` | a request comes, it is answered | the process that got it, and the team's when that is another |
//! | `judge` | the ask is decided, its record is in the game | the process that carried it out |
//! | `publish` | its events are sent, Daybook has confirmed them | the process that publishes |
//! | `ranking` | Daybook has its events, a ranking includes them | the same |
//!
//! The context travels in headers: of requests between processes, of records in the log, and of messages to Daybook. Daybook's `ingest`
//! links its own trace to the first `publish` of a message; the others of the message are linked to that one. Who plays begins no
//! trace: a context in a request is believed only with a proof that a process of the hunt wrote it, and else linked.

use super::Node;
use crate::game::Event;
use async_nats::HeaderMap;
use daybook_runtime::telemetry::{context_in, context_of, inject, link, set_parent};
use opentelemetry::trace::SpanContext;
use std::collections::VecDeque;
use tokio::time::Instant;
use tracing::Span;

/// Proves that a process of the hunt wrote the trace context of a request.
const PROOF: &str = "Hunt-Proof";
/// The header whose text is proved.
const CONTEXT: &str = "traceparent";
/// Most traces that a message to Daybook continues.
const MAX_TRACES: usize = 64;
/// Most events whose ranking is awaited. Of more, only the first are measured.
const MAX_AWAITED: usize = 20_000;

/// The headers of a request to another process: the context of a span, and the proof.
pub fn request_headers(node: &Node, span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::new();
    inject(span, &mut headers);
    if let Some(context) = headers.get(CONTEXT).map(ToString::to_string) {
        headers.insert(PROOF, node.secret.proof(&context));
    }
    headers
}

/// Makes a span go on with the trace of a request.
pub fn go_on(node: &Node, span: &Span, headers: Option<&HeaderMap>) {
    let Some((headers, context)) = headers.and_then(|headers| Some((headers, context_of(headers)?))) else { return };
    let is_ours = headers
        .get(PROOF)
        .zip(headers.get(CONTEXT))
        .is_some_and(|(proof, context)| node.secret.is_proof(proof.as_str(), context.as_str()));
    if is_ours { set_parent(span, &context) } else { link(span, &context) }
}

/// The headers of a record: the context of the span in which it is written.
pub fn record_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    inject(&Span::current(), &mut headers);
    headers
}

/// The sampled trace of a record. Only processes of the hunt write records.
pub fn of_record(headers: Option<&HeaderMap>) -> Option<SpanContext> {
    headers.and_then(context_of).filter(SpanContext::is_sampled)
}

/// An event on its way to Daybook.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Where the log has the record that caused it.
    pub position: u64,
    pub event: Event,
    /// When this process learned of the record.
    pub since: Instant,
    pub trace: Option<SpanContext>,
}

/// The traces that a message to Daybook continues, as spans that end with this value.
pub struct Publishing {
    spans: Vec<(u64, Span)>,
}

impl Publishing {
    /// Begins with what the message holds.
    pub fn begin(hunt: &str, kind: &'static str, events: &[&Pending]) -> Self {
        let mut spans: Vec<(u64, Span)> = Vec::new();
        for pending in events {
            let Some(trace) = &pending.trace else { continue };
            if spans.len() >= MAX_TRACES || spans.iter().any(|(position, _)| *position == pending.position) {
                continue;
            }
            let position = pending.position;
            let span =
                tracing::info_span!("publish", hunt = %hunt, kind = kind, position = position, events = events.len());
            set_parent(&span, trace);
            if let Some((_, first)) = spans.first() {
                link(&span, &context_in(first));
            }
            spans.push((position, span));
        }
        Self { spans }
    }

    /// The headers of the message.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some((_, first)) = self.spans.first() {
            inject(first, &mut headers);
        }
        headers
    }
}

/// Events that Daybook has and that no ranking is known to include, oldest first.
#[derive(Default)]
pub struct Awaited(VecDeque<Await>);

struct Await {
    /// Where INBOX has the message.
    inbox: u64,
    since: Instant,
    /// Ends when a ranking includes the event.
    _span: Option<Span>,
}

impl Awaited {
    /// Daybook has confirmed a message.
    pub fn add(&mut self, hunt: &str, inbox: u64, events: &[&Pending]) {
        let room = MAX_AWAITED.saturating_sub(self.0.len());
        let awaited = events.iter().take(room).enumerate().map(|(index, pending)| {
            let trace = pending.trace.as_ref().filter(|_| index < MAX_TRACES);
            let span = trace.map(|trace| {
                let span = tracing::info_span!("ranking", hunt = %hunt, position = pending.position, inbox = inbox);
                set_parent(&span, trace);
                span
            });
            Await { inbox, since: pending.since, _span: span }
        });
        self.0.extend(awaited);
    }

    /// A ranking includes INBOX up to a sequence.
    pub fn included(&mut self, inbox: u64) {
        while self.0.front().is_some_and(|first| first.inbox <= inbox)
            && let Some(first) = self.0.pop_front()
        {
            metrics::histogram!("hunt_moved_seconds").record(first.since.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::world::SCORE;
    use std::collections::BTreeMap;

    #[test]
    fn events_are_awaited_until_a_ranking_includes_them_and_within_a_bound() {
        let event = |position: u64| Pending {
            position,
            event: Event {
                kind: SCORE,
                id: position.to_string(),
                version: position,
                status: "final",
                at: String::new(),
                dims: BTreeMap::new(),
                measures: BTreeMap::new(),
            },
            since: Instant::now(),
            trace: None,
        };
        let (one, other) = (event(1), event(2));
        let mut awaited = Awaited::default();
        awaited.add("h", 10, &[&one]);
        awaited.add("h", 12, &[&one, &other]);
        awaited.included(11);
        assert_eq!(awaited.0.len(), 2);
        awaited.included(9);
        assert_eq!(awaited.0.len(), 2);
        awaited.included(12);
        assert!(awaited.0.is_empty());
        let many = vec![&one; MAX_AWAITED];
        awaited.add("h", 13, &many);
        awaited.add("h", 14, &many);
        assert_eq!(awaited.0.len(), MAX_AWAITED);
    }
}
