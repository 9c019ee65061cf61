//! What the targets work on: the definitions of `seeds/definitions.yaml` in force, and a short log with events of two
//! business days, late ones among them. Made by the real cores: definitions are read, checked and sequenced as in
//! production.

use day_manager::registry::Registry;
use daybook::definitions;
use daybook_contracts::admin::Apply;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::event::Encoding;
use daybook_contracts::headers::Source;
use daybook_contracts::log::{Batch, FORMAT, Marks, Record, Through};
use daybook_contracts::subjects::Subjects;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Definition, Kind, View};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::PartitionState;
use ingest::sequencer::{Inbound, Sequencer};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The file with the definitions.
pub const DEFINITIONS: &str = include_str!("../seeds/definitions.yaml");
/// The partition in which everything happens.
pub const PARTITION: Partition = Partition(3);

/// Rows of a checkpoint.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What there is.
pub struct World {
    pub apply: Apply,
    /// As day-manager publishes them.
    pub definitions: Vec<Definition>,
    pub log: Vec<(LogSeq, Batch)>,
    /// The checkpoint at the end of the log.
    pub rows: Rows,
}

/// Payloads of events, each with its kind, before and after the first day's close.
pub const EVENTS: [(&str, &str); 9] = [
    (
        "order",
        r#"{"id":"a-1","status":"final","version":3,"at":"2013-03-08T13:12:00Z","channel":"web","dims":{"city":"Bern","sku":"s1"},"measures":{"qty":4,"price":"19.90"}}"#,
    ),
    ("order", r#"{"id":"a-2","status":"draft","at":"2013-03-08T14:00:00Z","dims":{"city":null},"measures":{"qty":2}}"#),
    (
        "order",
        r#"[{"id":"a-3","at":"2013-03-08T15:00:00.5Z","dims":{"city":"Zug","sku":"s2"},"measures":{"qty":-7,"price":1e1}},
            {"id":"a-4","at":"2013-03-08T15:00:00+01:00","tenant":"ABQ","kind":"order","dims":{"city":"Bern"}},
            {"id":"a-5","at":"2013-03-08T17:30:00Z","channel":"app","dims":{"city":"Chur","sku":"s3"},"measures":{"qty":1,"price":7}},
            {"id":"a-6","at":"2013-03-08T18:45:00Z","dims":{"city":"Basel","sku":"s4"},"measures":{"qty":1,"price":7.5}}]"#,
    ),
    ("click", r#"{"at":"2013-03-08T16:00:00Z","dims":{"page":"home"},"measures":{"ms":120},"note":[1,{"a":null}]}"#),
    (
        "order",
        r#"{"id":"a-1","status":"final","version":4,"at":"2013-03-08T13:12:00Z","dims":{"city":"Bern","sku":"s1"},"measures":{"qty":5,"price":20.25}}"#,
    ),
    ("order", r#"{"id":"a-3","status":"void","version":9,"at":"2013-03-09T15:00:00Z","dims":{"city":"Zug"}}"#),
    ("order", r#"{"id":"a-4","version":1,"at":"2013-03-08T15:00:00Z","measures":{"price":0.001}}"#),
    ("click", r#"{"id":"c","at":"2013-03-09T16:00:00Z","dims":{"page":"é"},"measures":{"ms":9223372036854775807}}"#),
    ("order", r#"{"id":7,"at":"2013-03-10T12:00:00Z","dims":{"sku":true},"measures":{"qty":"12"}}"#),
];

/// The world, made once.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(make)
}

/// A moment at which definitions are applied.
pub fn now() -> Instant {
    Instant::from_millis(1_362_700_000_000)
}

pub fn tenant() -> TenantId {
    TenantId::new("ABQ").expect("a valid id")
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

impl World {
    pub fn kinds(&self) -> &[Kind] {
        &self.apply.kinds
    }

    pub fn views(&self) -> &[View] {
        &self.apply.views
    }

    pub fn kind(&self, name: &Name) -> &Kind {
        self.kinds().iter().find(|kind| kind.name == *name).expect("views are of kinds that are there")
    }

    /// The calendar of [`tenant`].
    pub fn table(&self) -> &CalendarTable {
        let id = tenant();
        let of = self.definitions.iter().find_map(|definition| match definition {
            Definition::Tenant(tenant) if tenant.id == id => tenant.table.as_ref(),
            _ => None,
        });
        let table = self.definitions.iter().find_map(|definition| match definition {
            Definition::Calendar(table) if Some(&table.name) == of => Some(table),
            _ => None,
        });
        table.expect("a tenant's calendar is published with it")
    }

    /// A sequencer that knows the definitions, at the beginning of INBOX.
    pub fn sequencer(&self) -> Sequencer {
        sequencer(&self.definitions, 0)
    }

    /// The state at the end of the log.
    pub fn state(&self) -> PartitionState {
        PartitionState::restore(PARTITION, &self.rows).expect("sound rows").expect("there are rows")
    }

    pub fn marker(&self, edge: Edge, date: Date) -> DayMarker {
        let table = self.table();
        let day = table.day(date).expect("a day of the table");
        DayMarker {
            generation: 0,
            tenant: tenant(),
            edge,
            day,
            due_at: if edge == Edge::Opened { day.opens_at } else { day.closes_at },
            calendar: table.name.clone(),
            calendar_revision: table.revision,
            tzdb: table.tzdb.clone(),
        }
    }
}

fn sequencer(definitions: &[Definition], through: u64) -> Sequencer {
    let marks = Marks { through: Through { inbox: InboxSeq(through), events: 0 }, ..Marks::default() };
    Sequencer::new(Subjects::new("daybook").expect("a valid prefix"), marks, definitions.iter().cloned())
}

/// A message of events to [`tenant`].
pub fn message<'a>(sequence: u64, subject: &'a str, encoding: Encoding, payload: &'a [u8]) -> Inbound<'a> {
    Inbound { sequence, subject, encoding, source: None, unmapped: None, named: None, stored_at: Instant::MIN, payload }
}

pub fn subject(kind: &str) -> String {
    format!("daybook.inbox.{PARTITION}.{}.event.{kind}", tenant())
}

fn make() -> World {
    let loaded = definitions::load(&[("definitions.yaml".into(), DEFINITIONS.to_owned())], &[]);
    let apply = loaded.expect("the seeds are sound").apply;
    let change = Registry::default().check(&apply, &BTreeMap::new(), now()).expect("the seeds can be applied");
    let mut world = World { apply, definitions: change.definitions, log: Vec::new(), rows: Rows::new() };
    let first: Date = "2013-03-08".parse().expect("a date");

    let records = world.definitions.iter().cloned().map(Record::Define).collect();
    world.log.push((LogSeq(1), Batch { format: FORMAT, through: Through { inbox: InboxSeq(1), events: 0 }, records }));
    let mut sequencer = sequencer(&world.definitions, 1);
    let marks = [(0, Edge::Opened, first), (4, Edge::Closed, first), (5, Edge::Opened, first.next())];
    let (mut sequence, mut source) = (1, 0);
    for (index, (kind, payload)) in EVENTS.iter().enumerate() {
        for (_, edge, date) in marks.iter().filter(|(before, ..)| *before == index) {
            sequence += 1;
            source += 1;
            let payload = serde_json::to_vec(&world.marker(*edge, *date)).expect("a marker is plain values");
            let subject = format!("daybook.inbox.{PARTITION}.{}.day.{}", tenant(), edge.as_str());
            let source = Some(Source { stream: "DAYBOOK_DAYS", sequence: source });
            let marker = Inbound { source, ..message(sequence, &subject, Encoding::Json, &payload) };
            sequencer.take(marker).expect("a marker of this version");
        }
        sequence += 1;
        let subject = subject(kind);
        let events = message(sequence, &subject, Encoding::Json, payload.as_bytes());
        sequencer.take(events).expect("events are never in the way");
        if let Some(cut) = sequencer.cut() {
            world.log.push((LogSeq(world.log.len() as u64 * 2 + 1), cut.batch));
        }
    }
    // Of some pages each form.
    let mut state = PartitionState::new(PARTITION).with_small_pages(100);
    for (position, batch) in world.log.iter().cloned() {
        state.apply(position, batch);
    }
    // One that is still to be made.
    let mut late = world.views()[0].clone();
    late.name = name("late");
    late.revision = 1;
    let through = Through { inbox: InboxSeq(sequence + 1), events: 0 };
    let records = vec![Record::Define(Definition::View(late))];
    let (position, batch) = (LogSeq(world.log.len() as u64 * 2 + 1), Batch { format: FORMAT, through, records });
    world.log.push((position, batch.clone()));
    state.apply(position, batch);
    world.rows = state.checkpoint().put.into_iter().collect();
    world
}
