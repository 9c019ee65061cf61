//! The sequencer message by message: what becomes of events. [`days`] has the days that are stamped, [`sourced`] what the broker sources,
//! [`batches`] where batches are cut, [`quotas`] what is refused unread, [`restating`] what waits for a mark, [`properties`] the random
//! INBOXes and the crashes.

mod batches;
mod days;
mod properties;
mod quotas;
mod restating;
mod sourced;

use super::{BATCH_BYTES, Closed, Cut, Inbound, Marks, Sequencer, Stop};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::event::{Encoding, MAX_REASON_CHARS};
use daybook_contracts::headers;
use daybook_contracts::log::{Event, Record, Through};
use daybook_contracts::reject::{Code, Reject};
use daybook_contracts::subjects::Subjects;
use daybook_domain::calendar::{BusinessDay, CalendarTable};
use daybook_domain::catalogue::{
    Activation, Boundary, Definition, Dimension, Kind, Measure, Metric, Mode, Status, Tenant, View, only_final,
};
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// When messages are stored for which that does not matter.
const STORED_AT: Instant = Instant::MIN;
const HOUR_MS: i64 = 3_600_000;
/// What a batch may take of the broker's 1 MiB; the rest is for headers.
const MAX_BATCH_BYTES: usize = 900_000;
/// Cut-offs of the usual calendar, in hours: days 0 to 3, of which day 1 is short and day 2 long.
const CUTOFF_HOURS: [i64; 5] = [0, 24, 47, 72, 96];

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn subjects() -> Subjects {
    Subjects::new("daybook").unwrap()
}

fn time(millis: i64) -> String {
    Instant::from_millis(millis).to_string()
}

fn measure(text: &str, scale: u8) -> Measure {
    Measure { name: name(text), scale }
}

fn dimension(text: &str) -> Dimension {
    Dimension { name: name(text), field: None }
}

fn kind() -> Kind {
    Kind {
        name: name("order"),
        mode: Mode::Entity,
        dimensions: vec![dimension("city")],
        measures: vec![measure("qty", 0), measure("price", 2)],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

/// A kind with as many columns as there may be.
fn wide_kind() -> Kind {
    Kind {
        name: name("wide"),
        mode: Mode::Entity,
        dimensions: (0..64).map(|n| dimension(&format!("d{n}"))).collect(),
        measures: (0..64).map(|n| measure(&format!("m{n}"), 0)).collect(),
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

fn view() -> View {
    let count = Metric { name: name("n"), value: "count".into(), filter: None, status: only_final() };
    View { revision: 1, ..View::new(name("totals"), name("order"), vec![], vec![count]) }
}

fn calendar(text: &str, hours: &[i64]) -> CalendarTable {
    CalendarTable {
        name: name(text),
        revision: hours.len() as u64,
        tzdb: "test".into(),
        first: Date::from_days(0),
        cutoffs: hours.iter().map(|hour| Instant::from_millis(hour * HOUR_MS)).collect(),
        offsets: Vec::new(),
    }
}

/// A tenant that follows the table `cal` from day `first_day` on.
fn tenant(id: &str, first_day: i32) -> Tenant {
    Tenant {
        generation: 0,
        boundaries: Vec::new(),
        alerts: Default::default(),
        id: TenantId::new(id).unwrap(),
        name: None,
        calendar: vec![],
        grace_ms: 0,
        first_day: Date::from_days(first_day),
        clock: name("system"),
        revision: 1,
        table: Some(name("cal")),
        seasons: Vec::new(),
        quotas: Default::default(),
        restate_after_ms: None,
        max_ahead_ms: None,
    }
}

fn marker(id: &str, edge: Edge, days: i32) -> DayMarker {
    let at = |days: i32| Instant::from_millis(i64::from(days) * 24 * HOUR_MS);
    let day = BusinessDay { date: Date::from_days(days), opens_at: at(days), closes_at: at(days + 1) };
    DayMarker {
        generation: 0,
        tenant: TenantId::new(id).unwrap(),
        edge,
        day,
        due_at: at(days),
        calendar: name("cal"),
        calendar_revision: 1,
        tzdb: "test".into(),
    }
}

fn order(id: &str, at_ms: i64) -> Value {
    json!({"id": id, "at": time(at_ms), "dims": {"city": "Bern"}, "measures": {"qty": 3}})
}

/// A message as INBOX holds it.
#[derive(Clone, Debug)]
struct Message {
    sequence: u64,
    subject: String,
    encoding: Encoding,
    /// The stream and sequence that it was sourced from.
    source: Option<(&'static str, u64)>,
    named: Option<String>,
    unmapped: Option<String>,
    stored_at: Instant,
    payload: Vec<u8>,
}

impl Message {
    fn events(sequence: u64, tenant: &str, kind: &str, payload: impl Into<Vec<u8>>) -> Self {
        let subject = format!("daybook.inbox.0.{tenant}.event.{kind}");
        Self {
            sequence,
            subject,
            encoding: Encoding::Json,
            source: None,
            named: None,
            unmapped: None,
            stored_at: STORED_AT,
            payload: payload.into(),
        }
    }

    fn marker(sequence: u64, source_sequence: u64, marker: &DayMarker) -> Self {
        let subject = format!("daybook.inbox.0.{}.day.{}", marker.tenant, marker.edge.as_str());
        let payload = serde_json::to_vec(marker).unwrap();
        Self {
            sequence,
            subject,
            encoding: Encoding::Json,
            source: Some(("DAYBOOK_DAYS", source_sequence)),
            named: Some(format!("daybook.days.{}.{}", marker.tenant, marker.edge.as_str())),
            unmapped: None,
            stored_at: STORED_AT,
            payload,
        }
    }

    fn definition(sequence: u64, source_sequence: u64, definition: &Definition) -> Self {
        let (what, name) = (definition.what(), definition.name());
        let subject = format!("daybook.inbox.0.{name}.catalog.{what}");
        let payload = serde_json::to_vec(definition).unwrap();
        Self {
            sequence,
            subject,
            encoding: Encoding::Json,
            source: Some(("DAYBOOK_CATALOG", source_sequence)),
            named: Some(format!("daybook.catalog.0.{what}.{name}")),
            unmapped: None,
            stored_at: STORED_AT,
            payload,
        }
    }

    fn give(&self, sequencer: &mut Sequencer) {
        self.try_give(sequencer).unwrap();
    }

    fn try_give(&self, sequencer: &mut Sequencer) -> Result<(), Stop> {
        sequencer.take(Inbound {
            sequence: self.sequence,
            subject: &self.subject,
            encoding: self.encoding,
            source: self.source.map(|(stream, sequence)| headers::Source { stream, sequence }),
            named: self.named.as_deref(),
            unmapped: self.unmapped.as_deref(),
            stored_at: self.stored_at,
            payload: &self.payload,
        })
    }
}

/// Knows the kinds, the calendar and tenant ABQ, whose first day is day 1.
fn sequencer() -> Sequencer {
    sequencer_at(Marks::default())
}

fn sequencer_at(marks: Marks) -> Sequencer {
    let definitions = [
        Definition::Kind(kind()),
        Definition::Kind(wide_kind()),
        Definition::Calendar(calendar("cal", &CUTOFF_HOURS)),
        Definition::Tenant(tenant("ABQ", 1)),
    ];
    Sequencer::new(subjects(), marks, definitions)
}

fn through(inbox: u64, events: u32) -> Through {
    Through { inbox: InboxSeq(inbox), events }
}

/// Everything that waits, batch by batch.
fn drain(sequencer: &mut Sequencer) -> Vec<Cut> {
    std::iter::from_fn(|| sequencer.cut()).collect()
}

fn records(sequencer: &mut Sequencer) -> Vec<Record> {
    drain(sequencer).into_iter().flat_map(|cut| cut.batch.records).collect()
}

fn events_of(records: &[Record]) -> Vec<&Event> {
    records
        .iter()
        .filter_map(|record| if let Record::Events(run) = record { Some(run) } else { None })
        .flat_map(|run| &run.events)
        .collect()
}

fn rejects_of(records: &[Record]) -> Vec<&Reject> {
    records
        .iter()
        .filter_map(|record| if let Record::Rejected(reject) = record { Some(reject) } else { None })
        .collect()
}

/// The one outcome of a message of ABQ with one order at `at_ms`: its day, or the code of its reject.
fn stamp(sequencer: &mut Sequencer, at_ms: i64) -> Result<i32, Code> {
    let sequence = sequencer.marks().through.inbox.0 + 1;
    Message::events(sequence, "ABQ", "order", order("1", at_ms).to_string()).give(sequencer);
    let records = records(sequencer);
    match records.as_slice() {
        [Record::Events(run)] => Ok(run.events[0].date.as_days()),
        [Record::Rejected(reject)] => Err(reject.code),
        other => panic!("one event became {other:?}"),
    }
}

/// The one reject that a message of `payload` becomes.
fn only_reject(sequencer: &mut Sequencer, tenant: &str, kind: &str, payload: &[u8]) -> Reject {
    Message::events(1, tenant, kind, payload).give(sequencer);
    match records(sequencer).as_slice() {
        [Record::Rejected(reject)] => reject.clone(),
        other => panic!("the message became {other:?}"),
    }
}

/// Every event of a message of `count` is in the batches once, as event, as reject of its own, or as one of those that a reject
/// stands for; and every batch fits the broker.
fn assert_whole_and_small(cuts: &[Cut], count: u32) {
    let (mut indices, mut events) = (BTreeSet::new(), 0);
    for cut in cuts {
        let bytes = cut.batch.encode().len();
        assert!(bytes < MAX_BATCH_BYTES, "a batch of {bytes} bytes");
        for event in events_of(&cut.batch.records) {
            assert!(indices.insert(event.index) && event.index < count);
            events += 1;
        }
        for reject in rejects_of(&cut.batch.records) {
            assert!(indices.insert(reject.index) && reject.index < count);
            events += reject.events();
        }
    }
    assert_eq!(events, u64::from(count));
}

// --- what becomes of an event ---

#[test]
fn a_valid_event_is_recorded_as_its_kind_reads_it() {
    let mut sequencer = sequencer();
    let payload = json!({"id": "x", "version": 7, "status": "void", "at": time(30 * HOUR_MS),
                         "dims": {"city": "Bern"}, "measures": {"price": 1.5}});
    Message::events(9, "ABQ", "order", payload.to_string()).give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.through, through(9, 0));
    let [Record::Events(run)] = cut.batch.records.as_slice() else { panic!("{:?}", cut.batch.records) };
    assert_eq!((run.inbox, run.tenant.as_str(), run.kind.as_str()), (InboxSeq(9), "ABQ", "order"));
    let event = Event {
        index: 0,
        date: Date::from_days(1),
        at: Instant::from_millis(30 * HOUR_MS),
        id: Some("x".into()),
        version: Some(7),
        status: Status::Void,
        dims: vec![Some("Bern".into())].into(),
        measures: vec![None, Some(150)].into(),
    };
    assert_eq!(run.events, [event]);
}

#[test]
fn messagepack_is_read_where_the_header_says_so() {
    let mut sequencer = sequencer();
    let payload = rmp_serde::to_vec(&vec![order("1", 30 * HOUR_MS), order("2", 50 * HOUR_MS)]).unwrap();
    let message = Message { encoding: Encoding::MessagePack, ..Message::events(1, "ABQ", "order", payload) };
    message.give(&mut sequencer);
    let records = records(&mut sequencer);
    let dates: Vec<_> = events_of(&records).iter().map(|event| event.date.as_days()).collect();
    assert_eq!(dates, [1, 2]);
}

#[test]
fn one_bad_event_does_not_take_the_others_with_it() {
    let mut sequencer = sequencer();
    let late = json!({"id": "c", "at": time(500 * HOUR_MS)});
    let payload = json!([order("a", 30 * HOUR_MS), 5, late, order("d", 30 * HOUR_MS)]).to_string();
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    let records = records(&mut sequencer);
    assert_eq!(events_of(&records).iter().map(|event| event.index).collect::<Vec<_>>(), [0, 3]);
    let rejects = rejects_of(&records);
    let seen: Vec<_> = rejects.iter().map(|reject| (reject.index, reject.code)).collect();
    assert_eq!(seen, [(1, Code::Malformed), (2, Code::TooFarAhead)]);
    assert_eq!(rejects[0].original.bytes(), b"5");
    assert_eq!(rejects[1].original.bytes(), late.to_string().as_bytes());
    assert_eq!(rejects[1].inbox, InboxSeq(1));
}

#[test]
fn a_message_that_cannot_be_split_is_one_reject() {
    let reject = only_reject(&mut sequencer(), "ABQ", "order", b"[{}, ");
    assert_eq!((reject.code, reject.index), (Code::Malformed, 0));
    assert_eq!(only_reject(&mut sequencer(), "ABQ", "order", b"\xff").code, Code::InvalidUtf8);
    assert_eq!(only_reject(&mut sequencer(), "ABQ", "order", b"[]").code, Code::BatchSize);
    assert_eq!(only_reject(&mut sequencer(), "ABQ", "order", b"").code, Code::Malformed);
}

#[test]
fn an_unknown_tenant_is_one_reject_a_message() {
    let payload = json!([order("a", 0), order("b", 0), order("c", 0)]).to_string();
    let reject = only_reject(&mut sequencer(), "JFK", "order", payload.as_bytes());
    assert_eq!((reject.code, reject.index), (Code::UnknownTenant, 0));
    assert_eq!((reject.tenant.as_str(), reject.kind.as_str()), ("JFK", "order"));
    assert_eq!(reject.original.bytes(), payload.as_bytes());
    assert_eq!(reject.date, None);
}

#[test]
fn a_tenant_token_that_is_no_id_is_told_as_it_was_written() {
    for token in ["a~b", "é", &"x".repeat(65), &"y".repeat(10_000)] {
        let reject = only_reject(&mut sequencer(), token, "order", b"{}");
        assert_eq!(reject.code, Code::InvalidTenant, "{token}");
        assert_eq!(reject.tenant, token.chars().take(256).collect::<String>());
    }
}

#[test]
fn an_unknown_kind_is_told_with_those_that_there_are() {
    let reject = only_reject(&mut sequencer(), "ABQ", "ordr", b"{}");
    assert_eq!((reject.code, reject.kind.as_str()), (Code::UnknownKind, "ordr"));
    assert!(reject.reason.contains("[order, wide]"), "{}", reject.reason);
}

#[test]
fn an_unknown_tenant_is_named_before_an_unknown_kind() {
    assert_eq!(only_reject(&mut sequencer(), "JFK", "ordr", b"{}").code, Code::UnknownTenant);
}

// --- days ---

#[test]
fn a_record_that_a_door_could_not_map_is_rejected_for_the_doors_reason() {
    let why = r#"{"code":"wrong_type","field":"/lines/2/price","reason":"/price is \"abc\": it must be a number"}"#;
    let good = |sequence, tenant| Message {
        unmapped: Some(why.to_owned()),
        // It would be a sound event, and no JSON array of two.
        ..Message::events(sequence, tenant, "order", r#"[{"id":"1","at":"1970-01-02T12:00:00Z"},{}]"#)
    };
    let mut sequencer = sequencer();
    good(1, "ABQ").give(&mut sequencer);
    good(2, "~unmapped").give(&mut sequencer);
    Message { unmapped: Some("{".into()), ..good(3, "ABQ") }.give(&mut sequencer);
    good(4, "nobody").give(&mut sequencer);
    let records = records(&mut sequencer);
    let shown: Vec<_> = rejects_of(&records)
        .iter()
        .map(|reject| (reject.inbox.0, reject.tenant.as_str(), reject.code, reject.field.as_deref()))
        .collect();
    assert_eq!(
        shown,
        [
            (1, "ABQ", Code::WrongType, Some("/lines/2/price")),
            (2, "~unmapped", Code::WrongType, Some("/lines/2/price")),
            (3, "ABQ", Code::Malformed, None),
            (4, "nobody", Code::UnknownTenant, Some("subject")),
        ]
    );
    assert!(rejects_of(&records)[0].original.bytes().starts_with(b"[{"));
    assert_eq!(events_of(&records).len(), 0);
}
