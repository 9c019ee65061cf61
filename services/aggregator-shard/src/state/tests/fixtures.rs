//! Kinds, views and tenants, and short ways to write a log.

use crate::state::{Effect, PartitionState, SealedReport};
use daybook_contracts::ask::{Answer, DaySelector, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Event, Events, FORMAT, Record, Through};
use daybook_contracts::reject::{Code, Original, Reject};
use daybook_contracts::report::{Account, Report};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Definition, Dimension, Kind, Measure, Metric, Mode, Status, Tenant, View};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use std::collections::BTreeMap;

pub(super) const PARTITION: Partition = Partition(3);
pub(super) const DAY_MS: i64 = 86_400_000;
pub(super) const FINAL: &[Status] = &[Status::Final];
/// No condition.
pub(super) const ANY: Option<&str> = None;

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn tenant_id(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

pub(super) fn date(days: i32) -> Date {
    Date::from_days(days)
}

/// The entity `order`.
pub(super) fn orders() -> Kind {
    kind("order", Mode::Entity, &["city", "sku"], &[("qty", 0), ("price", 2)], 1)
}

/// `order` with a column more of each sort.
pub(super) fn wider_orders() -> Kind {
    kind("order", Mode::Entity, &["city", "sku", "channel"], &[("qty", 0), ("price", 2), ("fee", 2)], 2)
}

/// The fact `click`.
pub(super) fn clicks() -> Kind {
    kind("click", Mode::Fact, &["page"], &[("ms", 0)], 1)
}

fn kind(text: &str, mode: Mode, dimensions: &[&str], measures: &[(&str, u8)], revision: u64) -> Kind {
    let dimensions = dimensions.iter().map(|text| Dimension { name: name(text), field: None }).collect();
    let measures = measures.iter().map(|(text, scale)| Measure { name: name(text), scale: *scale }).collect();
    Kind { name: name(text), mode, dimensions, measures, revision }
}

pub(super) fn view(text: &str, kind: &str, group_by: &[&str], metrics: Vec<Metric>) -> View {
    let group_by = group_by.iter().map(|text| name(text)).collect();
    View { revision: 1, ..View::new(name(text), name(kind), group_by, metrics) }
}

pub(super) fn metric(text: &str, value: &str, filter: Option<&str>, status: &[Status]) -> Metric {
    Metric { name: name(text), value: value.into(), filter: filter.map(str::to_owned), status: status.to_vec() }
}

/// Orders and what they sum up to, and how many are drafts or void.
pub(super) fn totals() -> View {
    let metrics = vec![
        metric("n", "count", ANY, FINAL),
        metric("qty", "sum(qty)", ANY, FINAL),
        metric("drafts", "count", ANY, &[Status::Draft]),
        metric("voids", "count", ANY, &[Status::Void]),
    ];
    view("totals", "order", &[], metrics)
}

/// Final orders by city.
pub(super) fn by_city(text: &str) -> View {
    view(text, "order", &["city"], vec![metric("n", "count", ANY, FINAL), metric("qty", "sum(qty)", ANY, FINAL)])
}

pub(super) fn click_totals(text: &str) -> View {
    view(text, "click", &[], vec![metric("n", "count", ANY, FINAL), metric("ms", "sum(ms)", ANY, FINAL)])
}

/// A tenant whose first day is day 0.
pub(super) fn tenant(id: &str) -> Definition {
    Definition::Tenant(Tenant {
        id: tenant_id(id),
        name: Some(format!("The {id}")),
        calendar: vec![],
        grace_ms: 0,
        first_day: date(0),
        clock: name("system"),
        revision: 1,
        table: Some(name("cal")),
        seasons: Vec::new(),
    })
}

pub(super) fn marker(tenant: &str, edge: Edge, day: i32) -> DayMarker {
    let at = |day: i32| Instant::from_millis(i64::from(day) * DAY_MS);
    DayMarker {
        tenant: tenant_id(tenant),
        edge,
        day: BusinessDay { date: date(day), opens_at: at(day), closes_at: at(day + 1) },
        due_at: at(if edge == Edge::Opened { day } else { day + 1 }),
        calendar: name("cal"),
        calendar_revision: 1,
        tzdb: "test".into(),
    }
}

/// A final order in Bern of one `a`.
pub(super) fn order(id: &str, version: Option<u64>, day: i32) -> Event {
    Event {
        index: 0,
        date: date(day),
        at: Instant::from_millis(i64::from(day) * DAY_MS),
        id: Some(id.into()),
        version,
        status: Status::Final,
        dims: vec![Some("Bern".into()), Some("a".into())],
        measures: vec![Some(1), Some(150)],
    }
}

pub(super) fn with_qty(qty: i64, event: Event) -> Event {
    Event { measures: vec![Some(qty), Some(150)], ..event }
}

pub(super) fn with_status(status: Status, event: Event) -> Event {
    Event { status, ..event }
}

pub(super) fn click(id: Option<&str>, day: i32) -> Event {
    Event {
        id: id.map(Into::into),
        version: None,
        dims: vec![Some("home".into())],
        measures: vec![Some(20)],
        ..order("", None, day)
    }
}

pub(super) fn reject(tenant: &str, inbox: u64, day: Option<i32>) -> Reject {
    Reject {
        code: Code::Malformed,
        reason: "not an event".into(),
        tenant: tenant.into(),
        kind: "order".into(),
        inbox: InboxSeq(inbox),
        index: 0,
        field: None,
        date: day.map(date),
        original: Original::new(b"?"),
    }
}

/// A replica that is written to in short.
pub(super) struct Shard {
    pub(super) state: PartitionState,
    /// All report versions, oldest first.
    pub(super) reports: Vec<SealedReport>,
    pub(super) rejects: Vec<Reject>,
    position: u64,
    inbox: u64,
}

impl Shard {
    /// Knows `order` and `click`, with the views `totals` and `clicks`, and tenant `ABQ`.
    pub(super) fn new() -> Self {
        let mut shard = Self {
            state: PartitionState::new(PARTITION),
            reports: Vec::new(),
            rejects: Vec::new(),
            position: 0,
            inbox: 0,
        };
        let definitions = [
            Definition::Kind(orders()),
            Definition::Kind(clicks()),
            Definition::View(totals()),
            Definition::View(click_totals("clicks")),
            tenant("ABQ"),
        ];
        shard.apply(definitions.into_iter().map(Record::Define).collect());
        shard
    }

    pub(super) fn events(&self, kind: &str, events: Vec<Event>) -> Record {
        let events = events.into_iter().zip(0..).map(|(event, index)| Event { index, ..event }).collect();
        Record::Events(Events { inbox: InboxSeq(self.inbox + 1), tenant: tenant_id("ABQ"), kind: name(kind), events })
    }

    /// One batch of `records`.
    pub(super) fn apply(&mut self, records: Vec<Record>) -> Vec<Effect> {
        // Sequences of other partitions lie in between.
        self.position += 2;
        self.inbox += 3;
        let through = Through { inbox: InboxSeq(self.inbox), events: 0 };
        let effects = self.state.apply(LogSeq(self.position), Batch { format: FORMAT, through, records });
        for effect in effects.iter().cloned() {
            match effect {
                Effect::Report(report) => self.reports.push(report),
                Effect::Rejects { rejects, .. } => self.rejects.extend(rejects),
            }
        }
        effects
    }

    pub(super) fn orders(&mut self, events: Vec<Event>) {
        let record = self.events("order", events);
        self.apply(vec![record]);
    }

    pub(super) fn clicks(&mut self, events: Vec<Event>) {
        let record = self.events("click", events);
        self.apply(vec![record]);
    }

    pub(super) fn define(&mut self, definition: Definition) {
        self.apply(vec![Record::Define(definition)]);
    }

    pub(super) fn open(&mut self, day: i32) {
        self.apply(vec![Record::Day(marker("ABQ", Edge::Opened, day))]);
    }

    pub(super) fn close(&mut self, day: i32) {
        self.apply(vec![Record::Day(marker("ABQ", Edge::Closed, day))]);
    }

    pub(super) fn answer(&self, view: &str, day: i32) -> Answer {
        let query = Query::days(DaySelector::Date(date(day)));
        self.state.view(&tenant_id("ABQ"), &name(view), query).unwrap()
    }

    /// The rows of a view as texts, cells apart by blanks.
    pub(super) fn rows(&self, view: &str, day: i32) -> Vec<String> {
        let texts = |row: &daybook_contracts::report::Row| row.0.iter().map(|(_, figure)| figure.to_string()).collect();
        self.answer(view, day).rows.iter().map(texts).map(|cells: Vec<String>| cells.join(" ")).collect()
    }

    pub(super) fn accounts(&self) -> BTreeMap<i32, Account> {
        let days = self.state.days(&tenant_id("ABQ")).unwrap().days;
        days.into_iter().map(|day| (day.date.as_days(), day.account)).collect()
    }

    /// Date and version of each report so far.
    pub(super) fn versions(&self) -> Vec<(i32, u32)> {
        self.reports.iter().map(|report| (report.date.as_days(), report.version)).collect()
    }

    pub(super) fn last_report(&self) -> Report {
        serde_json::from_slice(&self.reports.last().unwrap().payload).unwrap()
    }
}
