//! The sequencer message by message; [`quotas`] has what is refused unread, [`restating`] what waits for a mark,
//! [`properties`] the random INBOXes and the crashes.

mod properties;
mod quotas;
mod restating;

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
fn a_boundary_belongs_to_the_day_that_opens() {
    let mut sequencer = sequencer();
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS), Ok(1));
    assert_eq!(stamp(&mut sequencer, 47 * HOUR_MS - 1), Ok(1));
    assert_eq!(stamp(&mut sequencer, 47 * HOUR_MS), Ok(2));
    assert_eq!(stamp(&mut sequencer, 72 * HOUR_MS - 1), Ok(2));
    assert_eq!(stamp(&mut sequencer, 72 * HOUR_MS), Ok(3));
}

#[test]
fn days_before_the_first_one_are_refused() {
    let mut sequencer = sequencer();
    assert_eq!(stamp(&mut sequencer, -1), Err(Code::BeforeFirstDay), "before the table");
    assert_eq!(stamp(&mut sequencer, 0), Err(Code::BeforeFirstDay), "in the table, before the tenant's first day");
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS - 1), Err(Code::BeforeFirstDay));
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS), Ok(1));
}

#[test]
fn events_too_far_ahead_of_their_publishing_are_refused() {
    let outcome = |clock: &str, max_ahead_ms, at_ms| {
        let table = Definition::Calendar(calendar("cal", &CUTOFF_HOURS));
        let tenant = Tenant { clock: name(clock), max_ahead_ms, ..tenant("ABQ", 1) };
        let definitions = [Definition::Kind(kind()), table, Definition::Tenant(tenant)];
        let mut sequencer = Sequencer::new(subjects(), Marks::default(), definitions);
        let mut message = Message::events(1, "ABQ", "order", order("1", at_ms).to_string());
        message.stored_at = Instant::from_millis(30 * HOUR_MS);
        message.give(&mut sequencer);
        match records(&mut sequencer).as_slice() {
            [Record::Events(run)] => Ok(run.events[0].date.as_days()),
            [Record::Rejected(reject)] => Err((reject.code, reject.reason.contains("max_ahead"))),
            other => panic!("one event became {other:?}"),
        }
    };
    let hour = Some(HOUR_MS as u64);
    assert_eq!(outcome("system", hour, 31 * HOUR_MS), Ok(1));
    assert_eq!(outcome("system", hour, 31 * HOUR_MS + 1), Err((Code::TooFarAhead, true)));
    assert_eq!(outcome("system", Some(0), 30 * HOUR_MS + 1), Err((Code::TooFarAhead, true)));
    // Without a limit, and by a clock that requests drive, it is not for ingest to say.
    assert_eq!(outcome("system", None, 80 * HOUR_MS), Ok(3));
    assert_eq!(outcome("shop", hour, 80 * HOUR_MS), Ok(3));
}

#[test]
fn events_behind_a_boundary_are_of_the_next_day() {
    let table = Definition::Calendar(calendar("cal", &[0, 24, 48, 48, 72, 96]));
    let end = |date, hour| Boundary { date: Date::from_days(date), at: Instant::from_millis(hour * HOUR_MS) };
    let bounded = Tenant { boundaries: vec![end(1, 40), end(3, 70)], revision: 2, ..tenant("ABQ", 1) };
    let definitions = [Definition::Kind(kind()), table, Definition::Tenant(tenant("ABQ", 1))];
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), definitions);
    assert_eq!(stamp(&mut sequencer, 41 * HOUR_MS), Ok(1), "before the boundary is known");
    sequencer.define(Definition::Tenant(bounded), Closed::None);
    assert_eq!(stamp(&mut sequencer, 40 * HOUR_MS - 1), Ok(1));
    // Day 2 does not exist.
    assert_eq!(stamp(&mut sequencer, 40 * HOUR_MS), Ok(3));
    assert_eq!(stamp(&mut sequencer, 48 * HOUR_MS), Ok(3));
    assert_eq!(stamp(&mut sequencer, 70 * HOUR_MS), Ok(4));
    assert_eq!(stamp(&mut sequencer, 96 * HOUR_MS), Err(Code::TooFarAhead));
}

#[test]
fn days_beyond_the_published_ones_are_refused() {
    let mut sequencer = sequencer();
    assert_eq!(stamp(&mut sequencer, 96 * HOUR_MS - 1), Ok(3));
    assert_eq!(stamp(&mut sequencer, 96 * HOUR_MS), Err(Code::TooFarAhead));
}

#[test]
fn a_date_that_does_not_exist_is_never_stamped() {
    let table = Definition::Calendar(calendar("cal", &[0, 24, 24, 48]));
    let definitions = [Definition::Kind(kind()), table, Definition::Tenant(tenant("ABQ", 0))];
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), definitions);
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS - 1), Ok(0));
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS), Ok(2));
}

#[test]
fn a_tenant_waits_for_its_calendar() {
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), [Definition::Kind(kind())]);
    Message::definition(1, 1, &Definition::Tenant(tenant("ABQ", 1))).give(&mut sequencer);
    Message::definition(2, 2, &Definition::Calendar(calendar("other", &CUTOFF_HOURS))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 30 * HOUR_MS), Err(Code::TooFarAhead));
    Message::definition(4, 3, &Definition::Calendar(calendar("cal", &CUTOFF_HOURS))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 30 * HOUR_MS), Ok(1));
}

#[test]
fn a_calendar_waits_for_its_tenants() {
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), [Definition::Kind(kind())]);
    Message::definition(1, 1, &Definition::Calendar(calendar("cal", &CUTOFF_HOURS))).give(&mut sequencer);
    Message::definition(2, 2, &Definition::Tenant(tenant("ABQ", 1))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 30 * HOUR_MS), Ok(1));
}

#[test]
fn a_table_that_grows_does_so_for_every_tenant_of_it() {
    let mut sequencer = sequencer();
    Message::definition(1, 1, &Definition::Tenant(tenant("JFK", 1))).give(&mut sequencer);
    let grown = [CUTOFF_HOURS.as_slice(), &[120]].concat();
    Message::definition(2, 2, &Definition::Calendar(calendar("cal", &grown))).give(&mut sequencer);
    Message::events(3, "JFK", "order", order("1", 100 * HOUR_MS).to_string()).give(&mut sequencer);
    let records = records(&mut sequencer);
    assert_eq!(events_of(&records)[0].date.as_days(), 4);
    assert_eq!(stamp(&mut sequencer, 100 * HOUR_MS), Ok(4));
    assert_eq!(stamp(&mut sequencer, 120 * HOUR_MS), Err(Code::TooFarAhead));
}

#[test]
fn a_tenant_that_changes_its_calendar_is_stamped_by_the_new_one() {
    let mut sequencer = sequencer();
    Message::definition(1, 1, &Definition::Calendar(calendar("new", &[0, 29, 48]))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 29 * HOUR_MS), Ok(1));
    let moved = Tenant { table: Some(name("new")), first_day: Date::from_days(0), ..tenant("ABQ", 1) };
    Message::definition(3, 2, &Definition::Tenant(moved)).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 29 * HOUR_MS - 1), Ok(0));
    assert_eq!(stamp(&mut sequencer, 29 * HOUR_MS), Ok(1));
}

// --- what is sourced ---

#[test]
fn definitions_take_effect_where_they_stand() {
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), []);
    let payload = order("1", 30 * HOUR_MS).to_string();
    let definitions = [
        Definition::Calendar(calendar("cal", &CUTOFF_HOURS)),
        Definition::Tenant(tenant("ABQ", 1)),
        Definition::Kind(kind()),
    ];
    let mut sequence = 0;
    for (index, definition) in definitions.iter().enumerate() {
        Message::definition(sequence + 1, index as u64 + 1, definition).give(&mut sequencer);
        Message::events(sequence + 2, "ABQ", "order", payload.clone()).give(&mut sequencer);
        sequence += 2;
    }
    let records = records(&mut sequencer);
    let codes: Vec<_> = rejects_of(&records).iter().map(|reject| reject.code).collect();
    assert_eq!(codes, [Code::UnknownTenant, Code::UnknownKind]);
    assert_eq!(events_of(&records).len(), 1);
}

#[test]
fn definitions_enter_the_log_and_move_the_marks() {
    let mut sequencer = sequencer();
    let calendar = Definition::Calendar(calendar("cal", &CUTOFF_HOURS));
    Message::definition(1, 8, &calendar).give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records, [Record::Define(calendar)]);
    assert_eq!(cut.marks, Marks { through: through(1, 0), catalog: 8, days: 0, restating: false });
    let activation = Activation { view: name("totals"), revision: 1, since: None };
    let others = [
        Definition::Kind(kind()),
        Definition::View(view()),
        Definition::Tenant(tenant("JFK", 1)),
        Definition::Activation(activation),
    ];
    for (index, definition) in others.iter().enumerate() {
        Message::definition(index as u64 + 2, index as u64 + 9, definition).give(&mut sequencer);
    }
    let recorded: Vec<_> = others.into_iter().map(Record::Define).collect();
    assert_eq!(records(&mut sequencer), recorded);
}

#[test]
fn a_definition_that_is_sourced_again_is_passed_over() {
    let mut sequencer = sequencer();
    let two_columns = Kind { dimensions: vec![dimension("city"), dimension("sku")], revision: 2, ..kind() };
    Message::definition(1, 5, &Definition::Kind(two_columns)).give(&mut sequencer);
    assert_eq!(records(&mut sequencer).len(), 1);
    for (sequence, source) in [(2, 5), (3, 4), (4, 0)] {
        Message::definition(sequence, source, &Definition::Kind(kind())).give(&mut sequencer);
    }
    let unsourced = Message { source: None, ..Message::definition(5, 0, &Definition::Kind(kind())) };
    unsourced.give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records, []);
    assert_eq!(cut.marks, Marks { through: through(5, 0), catalog: 5, days: 0, restating: false });
    Message::events(6, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    assert_eq!(events_of(&records(&mut sequencer))[0].dims.len(), 2, "the newer kind stands");
}

#[test]
fn a_marker_that_is_sourced_again_is_passed_over() {
    let mut sequencer = sequencer();
    let (opened, closed) = (marker("ABQ", Edge::Opened, 1), marker("ABQ", Edge::Closed, 1));
    Message::marker(1, 3, &opened).give(&mut sequencer);
    Message::marker(2, 7, &closed).give(&mut sequencer);
    for (sequence, source) in [(3, 3), (4, 7), (5, 0)] {
        Message::marker(sequence, source, &opened).give(&mut sequencer);
    }
    let unsourced = Message { source: None, ..Message::marker(6, 0, &opened) };
    unsourced.give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records, [Record::Day(opened), Record::Day(closed)]);
    assert_eq!(cut.marks, Marks { through: through(6, 0), catalog: 0, days: 7, restating: false });
}

#[test]
fn days_and_catalogue_have_marks_of_their_own() {
    let mut sequencer = sequencer();
    Message::marker(1, 50, &marker("ABQ", Edge::Opened, 1)).give(&mut sequencer);
    Message::definition(2, 1, &Definition::View(view())).give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records.len(), 2);
    assert_eq!((cut.marks.days, cut.marks.catalog), (50, 1));
}

#[test]
fn what_day_manager_did_not_publish_is_passed_over_and_named() {
    let opened = marker("ABQ", Edge::Opened, 1);
    let sound = || Message::marker(1, 5, &opened);
    let view = Definition::View(view());
    let view = || Message::definition(1, 5, &view);
    let puback = br#"{"stream":"DAYBOOK_INBOX","seq":7}"#;
    for (message, why) in [
        (Message { named: None, payload: puback.into(), ..sound() }, "read"),
        (Message { named: None, payload: puback.into(), ..view() }, "read"),
        // Another tenant's marker, another edge, another name: copies that say what they are, or do not.
        (Message { subject: "daybook.inbox.0.evil.day.opened".into(), ..sound() }, "copy"),
        (Message { subject: "daybook.inbox.0.evil.day.opened".into(), named: None, ..sound() }, "fit"),
        (Message { subject: "daybook.inbox.0.ABQ.day.closed".into(), named: None, ..sound() }, "fit"),
        (Message { subject: "daybook.inbox.0.other.catalog.view".into(), named: None, ..view() }, "fit"),
        (Message { subject: "daybook.inbox.0.v.catalog.kind".into(), named: None, ..view() }, "fit"),
        (Message { named: Some("daybook.days.evil.opened".into()), ..sound() }, "copy"),
        (Message { subject: "daybook.inbox.0.ABQ.day.other".into(), ..sound() }, "subject"),
        (Message { source: Some(("DAYBOOK_CATALOG", 5)), ..sound() }, "sourced"),
        (Message { source: None, ..sound() }, "sourced"),
        (Message { subject: "daybook.inbox.0.x".into(), ..Message::events(1, "ABQ", "order", "{}") }, "subject"),
    ] {
        let mut sequencer = sequencer();
        message.give(&mut sequencer);
        let told = sequencer.passed_over().unwrap_or_else(|| panic!("{message:?}"));
        assert!(told.contains(why), "{told}: {message:?}");
        assert_eq!(sequencer.passed_over(), None);
        let cut = sequencer.cut().unwrap();
        assert_eq!(cut.batch.records, []);
        assert_eq!(cut.marks.through, through(1, 0), "{message:?}");
        // What day-manager publishes behind it is taken in.
        Message::marker(2, 6, &opened).give(&mut sequencer);
        assert_eq!(records(&mut sequencer), [Record::Day(opened.clone())]);
    }
}

#[test]
fn what_an_earlier_day_manager_published_is_taken_in() {
    let mut sequencer = sequencer();
    let (opened, view) = (marker("ABQ", Edge::Opened, 1), Definition::View(view()));
    Message { named: None, ..Message::marker(1, 1, &opened) }.give(&mut sequencer);
    Message { named: None, ..Message::definition(2, 1, &view) }.give(&mut sequencer);
    assert_eq!(records(&mut sequencer), [Record::Day(opened), Record::Define(view)]);
}

#[test]
fn what_a_newer_day_manager_published_stops_the_partition() {
    let mut sequencer = sequencer();
    let opened = marker("ABQ", Edge::Opened, 1);
    Message::marker(1, 1, &opened).give(&mut sequencer);
    let newer_marker = Message { payload: b"{\"new\":1}".into(), ..Message::marker(2, 2, &opened) };
    let newer_view = Message { payload: b"{\"new\":1}".into(), ..Message::definition(2, 9, &Definition::View(view())) };
    for (message, told) in [(newer_marker, "day marker at 2 of DAYBOOK_DAYS"), (newer_view, "definition at 9")] {
        let before = sequencer.marks();
        let stop = message.try_give(&mut sequencer).unwrap_err().to_string();
        assert!(stop.contains(told) && stop.contains("upgrade"), "{stop}");
        assert_eq!(sequencer.marks(), before);
    }
    assert_eq!(records(&mut sequencer), [Record::Day(opened)], "what stands before it is recorded");
}

#[test]
fn a_message_that_is_covered_is_passed_over() {
    let mut sequencer = sequencer_at(Marks { through: through(7, 0), catalog: 4, days: 4, restating: false });
    for sequence in [1, 6, 7] {
        Message::events(sequence, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
        assert!(sequencer.is_empty());
    }
    Message::events(8, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    Message::events(8, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    assert_eq!(events_of(&records(&mut sequencer)).len(), 1);
}

#[test]
fn there_is_nothing_to_cut_before_something_was_taken() {
    let mut sequencer = sequencer();
    assert!(sequencer.is_empty() && !sequencer.is_full());
    assert!(sequencer.cut().is_none());
    Message::events(1, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    assert!(!sequencer.is_empty() && !sequencer.is_full());
    assert_eq!(sequencer.marks().through, through(1, 0));
    assert!(sequencer.cut().is_some());
    assert!(sequencer.is_empty() && sequencer.cut().is_none());
}

#[test]
fn messages_share_a_batch_but_not_a_run_of_events() {
    let mut sequencer = sequencer();
    for sequence in 1..=3 {
        Message::events(sequence, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    }
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records.len(), 3);
    assert_eq!((cut.batch.through, cut.marks.through), (through(3, 0), through(3, 0)));
    assert!(sequencer.cut().is_none());
}

/// A message of `count` events of the wide kind, each of some 20 kB.
fn big_message(sequence: u64, count: u32) -> Message {
    let dims: serde_json::Map<_, _> = (0..40).map(|n| (format!("d{n}"), "x".repeat(500).into())).collect();
    let events: Vec<_> =
        (0..count).map(|id| json!({"id": id.to_string(), "at": time(30 * HOUR_MS), "dims": dims})).collect();
    Message::events(sequence, "ABQ", "wide", Value::from(events).to_string())
}

#[test]
fn a_big_message_is_split_and_the_marks_say_how_far_it_is_covered() {
    let mut sequencer = sequencer();
    big_message(1, 50).give(&mut sequencer);
    assert!(sequencer.is_full());
    let cuts = drain(&mut sequencer);
    assert!(cuts.len() > 2, "{} batches", cuts.len());
    let mut covered = 0;
    for cut in &cuts {
        covered += events_of(&cut.batch.records).len() as u32;
        let events = if covered == 50 { 0 } else { covered };
        assert_eq!((cut.batch.through, cut.marks.through), (through(1, events), through(1, events)));
    }
    assert_whole_and_small(&cuts, 50);
}

#[test]
fn a_split_message_is_taken_up_where_the_log_ends() {
    let mut whole = sequencer();
    big_message(1, 50).give(&mut whole);
    let cuts = drain(&mut whole);
    for (index, cut) in cuts.iter().enumerate() {
        let mut again = sequencer_at(cut.marks);
        big_message(1, 50).give(&mut again);
        let rest: Vec<_> = drain(&mut again).into_iter().map(|cut| cut.batch).collect();
        assert_eq!(rest, cuts[index + 1..].iter().map(|cut| cut.batch.clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_cut_right_behind_the_last_event_leaves_a_mark_to_move_on() {
    let mut first = sequencer();
    big_message(1, 50).give(&mut first);
    let count = events_of(&first.cut().unwrap().batch.records).len() as u32;

    let mut sequencer = sequencer();
    big_message(1, count).give(&mut sequencer);
    let full = sequencer.cut().unwrap();
    assert_eq!(full.marks.through, through(1, count));
    assert!(!sequencer.is_empty(), "the message is not covered as a whole yet");
    let rest = sequencer.cut().unwrap();
    assert_eq!((rest.batch.records.len(), rest.marks.through), (0, through(1, 0)));
    assert!(sequencer.is_empty());

    let mut again = sequencer_at(full.marks);
    big_message(1, count).give(&mut again);
    let rest = again.cut().unwrap();
    assert_eq!((rest.batch.records.len(), rest.marks.through), (0, through(1, 0)));
}

// --- hostile input ---

#[test]
fn ten_thousand_bad_events_of_one_byte_make_small_batches() {
    let mut sequencer = sequencer();
    let payload = format!("[{}]", vec!["1"; 10_000].join(","));
    let bytes = payload.len();
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert_whole_and_small(&cuts, 10_000);
    let stored: usize = cuts.iter().map(|cut| cut.batch.encode().len()).sum();
    assert!(stored < bytes + 4_096, "{stored} bytes for {bytes}");
}

#[test]
fn ten_thousand_events_without_any_column_make_small_batches() {
    let mut sequencer = sequencer();
    let event = json!({"id": "1", "at": time(30 * HOUR_MS)}).to_string();
    Message::events(1, "ABQ", "wide", format!("[{}]", vec![event; 10_000].join(","))).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 10_000);
}

#[test]
fn columns_filled_to_the_brim_make_small_batches() {
    let mut sequencer = sequencer();
    let dims: serde_json::Map<_, _> = (0..64).map(|n| (format!("d{n}"), "x".repeat(512).into())).collect();
    let measures: serde_json::Map<_, _> = (0..64).map(|n| (format!("m{n}"), i64::MIN.into())).collect();
    let event = json!({"id": "i".repeat(256), "version": u64::MAX - 1, "at": time(30 * HOUR_MS),
                       "dims": dims, "measures": measures});
    Message::events(1, "ABQ", "wide", Value::from(vec![event; 28]).to_string()).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 28);
}

#[test]
fn long_originals_make_small_batches() {
    let mut sequencer = sequencer();
    let long = "x".repeat(64 * 1024 - 20);
    let payload = json!(vec![json!({"id": long}); 15]).to_string();
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 15);
}

#[test]
fn reasons_that_quote_their_originals_are_cut() {
    // A text in place of an event is told in the reason, where DEL takes six bytes.
    let mut sequencer = sequencer();
    let text = format!("\"{}\"", "\u{7f}".repeat(64 * 1024 - 2));
    Message::events(1, "ABQ", "order", format!("[{}]", vec![text; 15].join(","))).give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert_eq!(rejects_of(&cuts[0].batch.records)[0].reason.chars().count(), MAX_REASON_CHARS);
    assert_whole_and_small(&cuts, 15);
}

#[test]
fn a_message_beyond_all_limits_is_one_reject_of_which_the_beginning_is_kept() {
    let mut sequencer = sequencer();
    let payload = format!("[{}]", vec!["{}"; 100_000].join(","));
    Message::events(1, "ABQ", "order", payload.clone()).give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert_whole_and_small(&cuts, 1);
    let reject = rejects_of(&cuts[0].batch.records)[0];
    assert_eq!((reject.code, reject.original.total()), (Code::BatchSize, payload.len() as u64));
    assert!(reject.original.is_cut());
}

#[test]
fn a_batch_is_cut_at_its_size_and_not_before() {
    let mut sequencer = sequencer();
    let mut sequence = 0;
    while !sequencer.is_full() {
        sequence += 1;
        big_message(sequence, 1).give(&mut sequencer);
    }
    let bytes = sequencer.cut().unwrap().batch.encode().len();
    assert!(bytes > BATCH_BYTES / 2 && bytes < MAX_BATCH_BYTES, "{bytes}");
}

#[test]
fn a_message_covered_as_a_whole_reaches_further_than_its_parts() {
    let mut sequencer = sequencer();
    big_message(1, 50).give(&mut sequencer);
    let reached: Vec<_> = drain(&mut sequencer).iter().map(|cut| cut.batch.through).collect();
    assert!(reached.len() > 1 && reached.is_sorted(), "{reached:?}");
}

fn assert_small_when_taken(messages: impl Iterator<Item = Message>) {
    let (mut sequencer, mut cuts) = (sequencer(), Vec::new());
    for message in messages {
        message.give(&mut sequencer);
        while sequencer.is_full() {
            cuts.extend(sequencer.cut());
        }
    }
    cuts.extend(drain(&mut sequencer));
    for cut in cuts {
        let bytes = cut.batch.encode().len();
        assert!(bytes < MAX_BATCH_BYTES, "a batch of {bytes} bytes");
    }
}

#[test]
fn messages_refused_as_a_whole_make_small_batches() {
    assert_small_when_taken((1..=20).map(|n| Message::events(n, "JFK", "order", vec![b'x'; 64 * 1024])));
}

#[test]
fn many_markers_make_small_batches() {
    assert_small_when_taken((1..=20_000).map(|n| Message::marker(n, n, &marker("ABQ", Edge::Opened, n as i32))));
}

#[test]
fn many_definitions_make_small_batches() {
    let tenant = |n| Tenant { name: Some("n".repeat(200)), ..tenant(&format!("T{n}"), 1) };
    assert_small_when_taken((1..=5_000).map(|n| Message::definition(n, n, &Definition::Tenant(tenant(n)))));
}

#[test]
fn one_message_cannot_make_a_batch_that_the_broker_refuses() {
    let mut sequencer = sequencer();
    let unknown = json!({"dims": {"x".repeat(65_150): 1}}).to_string();
    let text = format!("\"{}\"", "\u{7f}".repeat(64 * 1024 - 2));
    let payload = format!("[{}]", [vec![unknown; 5], vec![text]].concat().join(","));
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    for cut in drain(&mut sequencer) {
        let bytes = cut.batch.encode().len();
        assert!(bytes < MAX_BATCH_BYTES, "a batch of {bytes} bytes");
    }
}

#[test]
fn long_names_of_unknown_columns_make_small_batches() {
    let mut sequencer = sequencer();
    let unknown = json!({"dims": {"x".repeat(65_150): 1}}).to_string();
    Message::events(1, "ABQ", "order", format!("[{}]", vec![unknown; 14].join(","))).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 14);
}

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

#[test]
fn mappings_do_not_reach_the_log() {
    let mapping = daybook_domain::mapping::Mapping::new(name("shop"));
    let definition = Definition::Kind(Kind { mappings: vec![mapping], revision: 2, ..kind() });
    let mut sequencer = sequencer();
    Message::definition(1, 5, &definition).give(&mut sequencer);
    let [Record::Define(Definition::Kind(kept))] = &records(&mut sequencer)[..] else { panic!() };
    assert_eq!(*kept, Kind { revision: 2, ..kind() });
}
