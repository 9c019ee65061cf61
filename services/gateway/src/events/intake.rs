//! Makes messages for `daybook.in.<tenant>.<kind>` of what a client sends, and tells what is wrong with the rest. Pure: the
//! same code as in ingest decides whether an event is sound.

use crate::definitions::{Definitions, KnownKind};
use bytes::Bytes;
use daybook_contracts::event::{Encoding, MAX_EVENT_BYTES, Message, Problem};
use daybook_contracts::reject::Code;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::{Mapper, Outcome, Record, Zones, envelope};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most problems that an answer lists; the others are counted.
pub(crate) const MAX_PROBLEMS: usize = 100;
/// Most events of a message: a reject names its place in the message.
const FULL_EVENTS: u32 = 1_000;

/// What is wrong with one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventProblem {
    /// Its place in the request, from 0: that of its record where a mapping makes the events.
    pub index: u64,
    /// Its line, from 1, of NDJSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its item in the record, from 0, where a mapping makes several events of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    pub code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub reason: String,
}

/// Counts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Events found in the request.
    pub events: u64,
    /// Events that are wrong and were not published.
    pub refused: u64,
    /// Records of which the mapping makes no event by its `when`.
    pub skipped: u64,
    pub problems: Vec<EventProblem>,
    /// Problems that are not listed.
    pub problems_omitted: u64,
}

/// What the events of a request are.
#[derive(Clone)]
pub(crate) struct Form {
    pub tenant: TenantId,
    pub kind: Arc<KnownKind>,
    /// A mapping of the kind; without one, events are in Daybook's own form.
    pub mapping: Option<Name>,
    /// When the request came.
    pub arrived: Instant,
}

/// A message to publish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub payload: Bytes,
    pub events: u32,
}

/// Takes events in and gives messages.
pub(crate) struct Intake {
    pub tally: Tally,
    /// Most bytes of a message: the tenant's share of INBOX counts messages.
    payload_bytes: usize,
    /// Records or events so far.
    index: u64,
    /// A JSON array without its end.
    begun: Vec<u8>,
    events: u32,
    ready: VecDeque<Batch>,
}

impl Intake {
    /// Takes nothing in yet; messages have at most `payload_bytes`.
    pub(crate) fn new(payload_bytes: usize) -> Self {
        let (tally, begun, ready) = Default::default();
        Self { tally, payload_bytes, index: 0, begun, events: 0, ready }
    }

    /// Takes one JSON value in: an event, a foreign record, or an array of either.
    pub(crate) fn take(&mut self, value: &[u8], form: &Form, definitions: &Definitions) {
        match form.mapping.as_ref().and_then(|name| form.kind.mapper(name.as_str())) {
            Some(mapper) => self.map(value, None, form, mapper, &definitions.zones()),
            None => self.read(value, None, form),
        }
    }

    /// Takes a line of NDJSON in.
    pub(crate) fn take_line(&mut self, line: &[u8], number: u64, form: &Form, definitions: &Definitions) {
        let mapper = form.mapping.as_ref().and_then(|name| form.kind.mapper(name.as_str()));
        match mapper {
            Some(mapper) => self.map(line, Some(number), form, mapper, &definitions.zones()),
            None if line.starts_with(b"[") => {
                let reason = "the line holds an array; put one event on each line";
                self.refuse(Problem::new(Code::Malformed, None, reason), Some(number), None);
                self.index += 1;
            }
            None => self.read(line, Some(number), form),
        }
    }

    /// A line of so many bytes, which is too long.
    pub(crate) fn refuse_line(&mut self, number: u64, bytes: usize, longest: usize) {
        let reason = format!("the line is {bytes} bytes long; at most {longest} are allowed");
        self.refuse(Problem::new(Code::TooLarge, None, reason), Some(number), None);
        self.index += 1;
    }

    /// Closes the message that has begun: nothing more is to be waited for.
    pub(crate) fn flush(&mut self) {
        if self.events > 0 {
            let mut payload = std::mem::take(&mut self.begun);
            payload.push(b']');
            self.ready.push_back(Batch { payload: payload.into(), events: std::mem::take(&mut self.events) });
        }
    }

    /// The next message that is complete.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }

    fn read(&mut self, value: &[u8], line: Option<u64>, form: &Form) {
        for read in Message::split(value, Encoding::Json).read(form.tenant.as_str(), &form.kind.kind) {
            match read.outcome {
                Ok(_) => self.add(read.original, line, None),
                Err(problem) => self.refuse(problem, line, None),
            }
            self.index += 1;
        }
    }

    fn map(&mut self, value: &[u8], line: Option<u64>, form: &Form, mapper: &Mapper, zones: &Zones) {
        let record = Record { tenant: Some(&form.tenant), arrived: Some(form.arrived), ..Record::of(value) };
        let first = self.index;
        for (number, outcome) in mapper.map_numbered(&record, zones) {
            self.index = first + u64::from(number);
            match outcome {
                Outcome::Event(made) => {
                    let event = envelope(&made, &form.kind.kind);
                    self.add(&event, line, made.item);
                }
                Outcome::Unmapped(unmapped) => self.refuse(unmapped.problem, line, unmapped.item),
                Outcome::PassedOver(_) => self.tally.skipped += 1,
            }
        }
        self.index += 1;
    }

    fn add(&mut self, event: &[u8], line: Option<u64>, item: Option<u32>) {
        // In brackets, it is a message.
        let longest = MAX_EVENT_BYTES.min(self.payload_bytes - 2);
        if event.len() > longest {
            let reason = format!("the event is {} bytes long; at most {longest} are allowed", event.len());
            return self.refuse(Problem::new(Code::TooLarge, None, reason), line, item);
        }
        self.tally.events += 1;
        if self.events > 0 && (self.begun.len() + event.len() + 2 > self.payload_bytes || self.events >= FULL_EVENTS) {
            self.flush();
        }
        self.begun.push(if self.events == 0 { b'[' } else { b',' });
        self.begun.extend_from_slice(event);
        self.events += 1;
    }

    fn refuse(&mut self, problem: Problem, line: Option<u64>, item: Option<u32>) {
        self.tally.events += 1;
        self.tally.refused += 1;
        if self.tally.problems.len() >= MAX_PROBLEMS {
            self.tally.problems_omitted += 1;
            return;
        }
        let Problem { code, field, reason } = problem;
        self.tally.problems.push(EventProblem { index: self.index, line, item, code, field, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode};

    fn form() -> Form {
        let name = |text: &str| Name::new(text).unwrap();
        let kind = Kind {
            name: name("order"),
            mode: Mode::Entity,
            dimensions: vec![Dimension { name: name("store"), field: None }],
            measures: vec![Measure { name: name("total"), scale: 2 }],
            revision: 1,
            mappings: Vec::new(),
            remember: None,
        };
        Form {
            tenant: TenantId::new("acme").unwrap(),
            kind: Arc::new(KnownKind::new(kind)),
            mapping: None,
            arrived: Instant::from_millis(0),
        }
    }

    fn event(id: u32) -> String {
        format!(r#"{{"id":"{id}","at":"2024-03-01T12:00:00Z","measures":{{"total":1.50}}}}"#)
    }

    fn messages(intake: &mut Intake) -> Vec<String> {
        intake.flush();
        std::iter::from_fn(|| intake.next_batch())
            .map(|batch| String::from_utf8(batch.payload.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn sound_events_are_published_as_they_came_and_the_others_are_told_with_their_place() {
        let (good, form) = (event(1), form());
        let mut intake = Intake::new(128 << 10);
        let wrong = r#"{"id":"2","at":"yesterday"}"#;
        let finer = r#"{"id":"3","at":"2024-03-01T12:00:00Z","measures":{"total":"1.005"}}"#;
        intake.read(format!(" [{good}, {wrong},{finer} , {good}]").as_bytes(), None, &form);
        assert_eq!(messages(&mut intake), [format!("[{good},{good}]")]);
        let tally = &intake.tally;
        assert_eq!((tally.events, tally.refused, tally.problems_omitted), (4, 2, 0));
        let told: Vec<_> = tally.problems.iter().map(|p| (p.index, p.code.as_str(), p.field.as_deref())).collect();
        assert_eq!(told, [(1, "invalid_time", Some("at")), (2, "too_many_digits", Some("measures.total"))]);
    }

    #[test]
    fn a_problem_of_a_record_in_an_array_has_the_place_of_the_record() {
        let mut form = form();
        let mut kind = form.kind.kind.clone();
        let mapping = serde_json::json!({"name": "shop", "id": [{"path": "/id"}, {"path": "./line"}], "at": {"path": "/at"},
            "explode": {"path": "/lines"}, "measures": {"total": {"path": "./price"}}});
        kind.mappings = vec![serde_json::from_value(mapping).unwrap()];
        form.kind = Arc::new(KnownKind::new(kind));
        let mapper = &Mapper::compile(&form.kind.kind.mappings[0], &form.kind.kind).unwrap();
        let record = |id: u32, lines: &str| format!(r#"{{"id":"{id}","at":"2024-03-01T12:00:00Z","lines":{lines}}}"#);
        let good = record(1, r#"[{"line":1,"price":1},{"line":2,"price":2}]"#);
        let body = format!(
            "[{good},{},{},{good}]",
            record(2, "[]"),
            record(3, r#"[{"line":1,"price":1},{"line":2,"price":"x"}]"#)
        );
        let mut intake = Intake::new(128 << 10);
        intake.map(body.as_bytes(), None, &form, mapper, &Zones::default());
        intake.map(b"{}", None, &form, mapper, &Zones::default());
        let told: Vec<_> = intake.tally.problems.iter().map(|problem| (problem.index, problem.item)).collect();
        assert_eq!(told, [(2, Some(1)), (4, None)], "{:?}", intake.tally.problems);
    }

    #[test]
    fn messages_are_bounded_and_hold_every_event_once() {
        let (mut intake, form) = (Intake::new(128 << 10), form());
        let all: Vec<String> = (0..2_500).map(event).collect();
        for (number, event) in all.iter().enumerate() {
            intake.read(event.as_bytes(), Some(number as u64 + 1), &form);
        }
        let messages = messages(&mut intake);
        assert!(messages.iter().all(|message| message.len() <= 128 << 10), "bounded");
        let inner: Vec<&str> = messages.iter().map(|message| &message[1..message.len() - 1]).collect();
        assert_eq!(inner.join(","), all.join(","));
    }

    #[test]
    fn an_event_that_is_larger_than_a_message_is_refused() {
        let (mut intake, form) = (Intake::new(1_024), form());
        for bytes in [1_022, 1_023] {
            let text = format!(r#"{{"id":"{}","at":"2024-03-01T12:00:00Z","note":"#, bytes);
            let note = "x".repeat(bytes - text.len() - 3);
            intake.read(format!("{text}\"{note}\"}}").as_bytes(), None, &form);
        }
        assert_eq!((intake.tally.events, intake.tally.refused), (2, 1));
        assert_eq!(messages(&mut intake).iter().map(String::len).collect::<Vec<_>>(), [1_024]);
    }

    #[test]
    fn problems_are_listed_up_to_a_bound_and_counted_beyond() {
        let (mut intake, form) = (Intake::new(128 << 10), form());
        for number in 1..=150 {
            intake.read(b"{}", Some(number), &form);
        }
        let tally = &intake.tally;
        assert_eq!((tally.events, tally.refused, tally.problems.len(), tally.problems_omitted), (150, 150, 100, 50));
        assert_eq!((tally.problems[99].index, tally.problems[99].line), (99, Some(100)));
    }

    #[test]
    fn what_is_no_json_is_one_problem() {
        for text in ["", "[", "[]", "{\"id\":", "7", "\u{feff}{}", "[1,2"] {
            let (mut intake, form) = (Intake::new(128 << 10), form());
            intake.read(text.as_bytes(), None, &form);
            assert!(intake.tally.refused > 0 && messages(&mut intake).is_empty(), "{text:?}");
        }
    }
}
