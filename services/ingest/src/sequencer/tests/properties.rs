//! Random INBOXes, cut at random moments, and crashes: wherever the sequencer stops, the log goes on as if it had not.

use super::{
    CUTOFF_HOURS, HOUR_MS, MAX_BATCH_BYTES, Message, calendar, dimension, kind, marker, subjects, tenant, time, view,
    wide_kind,
};
use crate::quota::{MIN_BURST_BYTES, Rates};
use crate::sequencer::{Cut, Marks, Sequencer};
use daybook_contracts::day::Edge;
use daybook_contracts::event::{self, Encoding};
use daybook_contracts::log::{Batch, Record, Through};
use daybook_contracts::reject::{Code, Reject, Span};
use daybook_contracts::subjects::InboxSubject;
use daybook_domain::catalogue::{Definition, Kind};
use daybook_domain::ids::InboxSeq;
use daybook_domain::time::Instant;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const TENANTS: [&str; 2] = ["ABQ", "JFK"];
/// The quota of a flood, by which one of its messages is worth so many milliseconds.
const RATES: Rates = Rates { events_per_second: None, bytes_per_second: Some(1_000) };
const FLOOD_MESSAGE_BYTES: usize = 60;

/// Something that is published, or that the broker sources.
#[derive(Clone, Debug)]
enum Item {
    /// Events for one of the [`TENANTS`].
    Events {
        tenant: usize,
        events: Vec<Event>,
        packed: bool,
    },
    /// As many small events as make several batches.
    Many(usize),
    /// As many events of the wide kind, with texts of some length.
    Wide {
        count: usize,
        text: usize,
    },
    /// A message that takes all of the quota of bytes, then pairs of small ones, of which it has room for the first.
    Flood(usize),
    /// A payload that is no batch of events.
    Garbage(&'static [u8]),
    /// To a tenant or kind that there never is.
    Astray {
        tenant: &'static str,
        kind: &'static str,
    },
    Marker {
        tenant: usize,
        day: i32,
        edge: Edge,
    },
    Define(What),
    /// A marker or a definition that is sourced again.
    Again(Index),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Good { hour: i64 },
    NoObject,
    NoTime,
    UnknownColumn,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Calendar { days: usize },
    Tenant(usize),
    Kind { extra_columns: usize },
    View,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (-5_i64..150).prop_map(|hour| Event::Good { hour }),
        1 => Just(Event::NoObject),
        1 => Just(Event::NoTime),
        1 => Just(Event::UnknownColumn),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let what = prop_oneof![
        (4_usize..8).prop_map(|days| What::Calendar { days }),
        (0_usize..2).prop_map(What::Tenant),
        (0_usize..3).prop_map(|extra_columns| What::Kind { extra_columns }),
        Just(What::View),
    ];
    let edge = prop_oneof![Just(Edge::Opened), Just(Edge::Closed)];
    prop_oneof![
        12 => (0_usize..2, prop::collection::vec(event(), 1..20), any::<bool>())
            .prop_map(|(tenant, events, packed)| Item::Events { tenant, events, packed }),
        1 => (1_000_usize..2_500).prop_map(Item::Many),
        3 => (1_usize..28, 1_usize..512).prop_map(|(count, text)| Item::Wide { count, text }),
        1 => prop_oneof![Just(&b"["[..]), Just(&b"\xff\xfe"[..]), Just(&b"[]"[..]), Just(&b""[..])].prop_map(Item::Garbage),
        1 => prop_oneof![Just(("a~b", "order")), Just(("none", "order")), Just(("ABQ", "none"))]
            .prop_map(|(tenant, kind)| Item::Astray { tenant, kind }),
        3 => (0_usize..2, 0_i32..5, edge).prop_map(|(tenant, day, edge)| Item::Marker { tenant, day, edge }),
        3 => what.prop_map(Item::Define),
        2 => any::<Index>().prop_map(Item::Again),
    ]
}

fn item_or_flood() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => item(),
        1 => (1_usize..1_500).prop_map(Item::Flood),
    ]
}

/// A message of INBOX and how many events, or rejects in their place, it makes.
#[derive(Debug)]
struct Entry {
    message: Message,
    outcomes: u32,
}

/// INBOX, and CATALOG with the sequences in it.
#[derive(Debug, Default)]
struct Inbox {
    entries: Vec<Entry>,
    catalog: Vec<(u64, Definition)>,
    days: u64,
    sourced: Vec<Message>,
    known: [bool; TENANTS.len()],
    /// The quota of every tenant.
    rates: Rates,
}

impl Inbox {
    /// What begins with kinds, calendar and the first tenant, and goes on with `items`, each so much later in INBOX.
    fn of(items: &[(Item, u64)]) -> Self {
        let mut inbox = Self::default();
        inbox.define(1, Definition::Kind(kind()));
        inbox.define(2, Definition::Kind(wide_kind()));
        inbox.define(3, Definition::Tenant(tenant(TENANTS[0], 1)));
        inbox.define(4, Definition::Calendar(calendar("cal", &CUTOFF_HOURS)));
        inbox.known[0] = true;
        for (item, gap) in items {
            inbox.put(inbox.newest() + gap, item);
        }
        inbox
    }

    fn newest(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.message.sequence)
    }

    fn put(&mut self, sequence: u64, item: &Item) {
        match item {
            Item::Events { tenant, events, packed } => {
                let values: Vec<_> = events.iter().enumerate().map(|(id, event)| value(id, *event)).collect();
                let (encoding, payload) = match packed {
                    true => (Encoding::MessagePack, rmp_serde::to_vec(&values).unwrap()),
                    false => (Encoding::Json, Value::from(values).to_string().into_bytes()),
                };
                let outcomes = if self.known[*tenant] { events.len() as u32 } else { 1 };
                let message = Message::events(sequence, TENANTS[*tenant], "order", payload);
                self.entries.push(Entry { message: Message { encoding, ..message }, outcomes });
            }
            Item::Many(count) => {
                let event = value(0, Event::Good { hour: 30 }).to_string();
                let payload = format!("[{}]", vec![event; *count].join(","));
                self.events(sequence, TENANTS[0], "wide", payload.into_bytes(), *count as u32);
            }
            Item::Wide { count, text } => {
                let dims: serde_json::Map<_, _> =
                    (0..64).map(|n| (format!("d{n}"), "x".repeat(*text).into())).collect();
                let event = json!({"id": "w", "at": time(30 * HOUR_MS), "dims": dims}).to_string();
                let payload = format!("[{}]", vec![event; *count].join(","));
                self.events(sequence, TENANTS[0], "wide", payload.into_bytes(), *count as u32);
            }
            Item::Flood(pairs) => {
                let event = value(0, Event::Good { hour: 30 }).to_string();
                let pair = format!("{event:FLOOD_MESSAGE_BYTES$}").into_bytes();
                self.events(sequence, TENANTS[0], "order", vec![b' '; MIN_BURST_BYTES as usize], 1);
                for n in 0..*pairs as u64 * 2 {
                    self.events(sequence + n + 1, TENANTS[0], "order", pair.clone(), 1);
                }
                // The bucket is full again, and has room for a small message whenever a pair of them comes.
                for (n, entry) in self.entries.iter_mut().rev().take(pairs * 2 + 1).rev().enumerate() {
                    let pair = (n as i64 + 1) / 2;
                    entry.message.stored_at =
                        Instant::from_millis(sequence as i64 * 10_000_000 + pair * FLOOD_MESSAGE_BYTES as i64);
                }
            }
            Item::Garbage(payload) => self.events(sequence, TENANTS[0], "order", payload.to_vec(), 1),
            Item::Astray { tenant, kind } => self.events(sequence, tenant, kind, b"[{}, {}]".to_vec(), 1),
            Item::Marker { tenant, day, edge } => {
                self.days += 1;
                let message = Message::marker(sequence, self.days, &marker(TENANTS[*tenant], *edge, *day));
                self.source(message);
            }
            Item::Define(What::Calendar { days }) => {
                let hours: Vec<_> = CUTOFF_HOURS.into_iter().chain((120..).step_by(24)).take(days + 1).collect();
                self.define(sequence, Definition::Calendar(calendar("cal", &hours)));
            }
            Item::Define(What::Tenant(index)) => {
                self.known[*index] = true;
                self.define(sequence, Definition::Tenant(tenant(TENANTS[*index], *index as i32)));
            }
            Item::Define(What::Kind { extra_columns }) => {
                let extra = (0..*extra_columns).map(|n| dimension(&format!("extra{n}")));
                let dimensions = kind().dimensions.into_iter().chain(extra).collect();
                self.define(sequence, Definition::Kind(Kind { dimensions, ..kind() }));
            }
            Item::Define(What::View) => self.define(sequence, Definition::View(view())),
            Item::Again(index) => {
                let message = Message { sequence, ..index.get(&self.sourced).clone() };
                self.entries.push(Entry { message, outcomes: 0 });
            }
        }
    }

    fn events(&mut self, sequence: u64, tenant: &str, kind: &str, payload: Vec<u8>, outcomes: u32) {
        self.entries.push(Entry { message: Message::events(sequence, tenant, kind, payload), outcomes });
    }

    fn define(&mut self, sequence: u64, definition: Definition) {
        // Other partitions' definitions stand in between.
        let source = self.catalog.len() as u64 * 3 + 1;
        self.source(Message::definition(sequence, source, &definition));
        self.catalog.push((source, definition));
    }

    fn source(&mut self, message: Message) {
        self.sourced.push(message.clone());
        self.entries.push(Entry { message, outcomes: 0 });
    }

    /// What a sequencer that starts behind `marks` appends; it also cuts after those entries that `cuts` says.
    fn run(&self, marks: Marks, cuts: &[bool]) -> Vec<Cut> {
        let definitions = self.catalog.iter().filter(|(source, _)| *source <= marks.catalog);
        let definitions = definitions.map(|(_, definition)| definition.clone());
        let mut sequencer = Sequencer::new(subjects(), marks, definitions).with_default_rates(self.rates);
        let mut appended = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.message.sequence < marks.through.next() {
                continue;
            }
            entry.message.give(&mut sequencer);
            while sequencer.is_full() {
                appended.extend(sequencer.cut());
            }
            if cuts[index % cuts.len()] {
                appended.extend(sequencer.cut());
            }
        }
        appended.extend(std::iter::from_fn(|| sequencer.cut()));
        appended
    }
}

fn value(id: usize, event: Event) -> Value {
    match event {
        Event::Good { hour } => json!({"id": id.to_string(), "at": time(hour * HOUR_MS)}),
        Event::NoObject => json!(7),
        Event::NoTime => json!({"id": id.to_string()}),
        Event::UnknownColumn => json!({"id": id.to_string(), "at": time(30 * HOUR_MS), "dims": {"colour": "red"}}),
    }
}

/// All records in order, with the runs of one message put together however they were cut.
fn log<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Vec<Record> {
    let mut log: Vec<Record> = Vec::new();
    for record in batches.into_iter().flat_map(|batch| &batch.records) {
        match (log.last_mut(), record) {
            (Some(Record::Events(run)), Record::Events(more)) if run.inbox == more.inbox => {
                assert_eq!((&run.tenant, &run.kind), (&more.tenant, &more.kind));
                run.events.extend(more.events.iter().cloned());
            }
            _ => log.push(record.clone()),
        }
    }
    log
}

/// How many events of each message are in the log, as events or as rejects, and that none is there twice.
fn outcomes(log: &[Record]) -> BTreeMap<u64, u64> {
    let (mut outcomes, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for record in log {
        let (inbox, indices, events) = match record {
            Record::Events(run) => {
                let indices: Vec<u32> = run.events.iter().map(|event| event.index).collect();
                (run.inbox, indices, run.events.len() as u64)
            }
            Record::Rejected(reject) if !is_unread(reject) => (reject.inbox, vec![reject.index], reject.events()),
            Record::Rejected(_) | Record::Day(_) | Record::Define(_) | Record::Restate(_) => continue,
        };
        for index in indices {
            assert!(seen.insert((inbox, index)), "event {index} of {inbox} is there twice");
        }
        *outcomes.entry(inbox.0).or_insert(0) += events;
    }
    outcomes
}

/// Whether the reject stands for messages refused unread.
fn is_unread(reject: &Reject) -> bool {
    matches!(reject.code, Code::QuotaEvents | Code::QuotaBytes)
}

/// What stands for messages refused unread.
fn refusals(log: &[Record]) -> Vec<(&Reject, Span)> {
    let unread = super::rejects_of(log).into_iter().filter(|reject| is_unread(reject));
    unread.map(|reject| (reject, reject.span.expect("it stands for messages"))).collect()
}

/// The last message of INBOX that a record tells of.
fn last_of(record: &Record) -> Option<InboxSeq> {
    match record {
        Record::Events(run) => Some(run.inbox),
        Record::Rejected(reject) => Some(reject.span.map_or(reject.inbox, |span| span.last)),
        Record::Day(_) | Record::Define(_) | Record::Restate(_) => None,
    }
}

/// How far a mark is: a message that is covered as a whole is further than any of its events.
fn reach(through: Through) -> (u64, u32) {
    (through.inbox.0, if through.events == 0 { u32::MAX } else { through.events })
}

fn reach_of(marks: Marks) -> ((u64, u32), u64, u64) {
    (reach(marks.through), marks.catalog, marks.days)
}

fn cuts() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.3), 1..12)
}

/// So few that most batches are full.
fn rare_cuts() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(0_usize..4_000, 0..4).prop_map(|places| {
        let mut cuts = vec![false; 4_000];
        places.into_iter().for_each(|place| cuts[place] = true);
        cuts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_crash_anywhere_changes_nothing(
        items in prop::collection::vec((item(), 1_u64..4), 0..24),
        first_cuts in cuts(),
        crashes in prop::collection::vec((any::<Index>(), cuts()), 2),
    ) {
        let inbox = Inbox::of(&items);
        let appended = inbox.run(Marks::default(), &first_cuts);
        let whole = log(appended.iter().map(|cut| &cut.batch));
        for (survivors, cuts) in crashes {
            let survivors = survivors.index(appended.len() + 1);
            let marks = survivors.checked_sub(1).map_or_else(Marks::default, |last| appended[last].marks);
            let rest = inbox.run(marks, &cuts);
            let batches = appended[..survivors].iter().chain(&rest).map(|cut| &cut.batch);
            prop_assert_eq!(&log(batches), &whole);
            prop_assert_eq!(rest.last().map_or(marks, |cut| cut.marks), appended.last().unwrap().marks);
        }
    }

    #[test]
    fn every_event_is_in_one_batch_and_every_batch_moves_the_marks(
        items in prop::collection::vec((item(), 1_u64..4), 0..24),
        cuts in cuts(),
    ) {
        let inbox = Inbox::of(&items);
        let appended = inbox.run(Marks::default(), &cuts);
        let mut last = Marks::default();
        for cut in &appended {
            let bytes = cut.batch.encode();
            prop_assert!(bytes.len() < MAX_BATCH_BYTES, "{} bytes", bytes.len());
            prop_assert_eq!(&Batch::decode(&bytes).unwrap(), &cut.batch);
            prop_assert_eq!(cut.batch.through, cut.marks.through);
            prop_assert!(cut.batch.records.iter().filter_map(last_of).all(|last| last <= cut.marks.through.inbox));
            prop_assert!(reach(cut.marks.through) > reach(last.through) || last == Marks::default());
            prop_assert!(reach_of(cut.marks) > reach_of(last) || last == Marks::default());
            prop_assert!(cut.marks.catalog >= last.catalog && cut.marks.days >= last.days);
            last = cut.marks;
        }
        let newest = inbox.entries.last().unwrap().message.sequence;
        prop_assert_eq!(last.through, Through { inbox: InboxSeq(newest), events: 0 });
        let expected: BTreeMap<_, _> = inbox
            .entries
            .iter()
            .filter(|entry| entry.outcomes > 0)
            .map(|entry| (entry.message.sequence, u64::from(entry.outcomes)))
            .collect();
        prop_assert_eq!(outcomes(&log(appended.iter().map(|cut| &cut.batch))), expected);
    }
}

proptest! {
    // A flood makes thousands of messages.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn under_a_quota_every_message_is_let_in_or_refused_once_wherever_it_stops(
        items in prop::collection::vec((item_or_flood(), 1_u64..4), 1..8),
        first_cuts in rare_cuts(),
        survivors in any::<Index>(),
        cuts in rare_cuts(),
    ) {
        let inbox = Inbox { rates: RATES, ..Inbox::of(&items) };
        let mut appended = inbox.run(Marks::default(), &first_cuts);
        // The next owner begins with full buckets.
        appended.truncate(survivors.index(appended.len() + 1));
        let marks = appended.last().map_or_else(Marks::default, |last| last.marks);
        appended.extend(inbox.run(marks, &cuts));
        for cut in &appended {
            let through = cut.batch.through.inbox;
            prop_assert!(cut.batch.records.iter().filter_map(last_of).all(|last| last <= through), "beyond {through}");
        }
        let log = log(appended.iter().map(|cut| &cut.batch));
        let refusals = refusals(&log);
        let mut refused_events = vec![0; refusals.len()];
        let mut outcomes = outcomes(&log);
        for Entry { message, outcomes: expected } in &inbox.entries {
            let Some(InboxSubject::Event { tenant, .. }) = subjects().parse_inbox(&message.subject) else { continue };
            let sequence = message.sequence;
            let is_of = |(reject, span): &(&Reject, Span)| {
                (reject.inbox.0..=span.last.0).contains(&sequence) && reject.tenant == tenant
            };
            let refused: Vec<usize> = (0..refusals.len()).filter(|index| is_of(&refusals[*index])).collect();
            let read = outcomes.remove(&sequence);
            match refused.as_slice() {
                [] => prop_assert_eq!(read.unwrap_or(0), u64::from(*expected), "message {}", sequence),
                [refusal] => {
                    prop_assert!(read.is_none(), "message {sequence} was refused, too");
                    refused_events[*refusal] += event::Message::split(&message.payload, message.encoding).events();
                }
                several => prop_assert!(false, "message {sequence} was refused {} times", several.len()),
            }
        }
        prop_assert_eq!(outcomes, BTreeMap::new());
        prop_assert_eq!(refused_events, refusals.iter().map(|(_, span)| span.events).collect::<Vec<_>>());
    }
}
