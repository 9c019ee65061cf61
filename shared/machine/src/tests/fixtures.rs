//! Kinds, views and tenants, and short ways to write a log.

use crate::alerts::Raised;
use crate::backfill::Found;
use crate::{Effect, PartitionState, SealedReport};
use daybook_contracts::ask::{Answer, AskErrorCode, DaySelector, Pieces, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Event, Events, FORMAT, Record, Restate, Through};
use daybook_contracts::reject::{Code, Original, Reject};
use daybook_contracts::report::{Account, Figure, Report, Row};
use daybook_domain::calendar::{BusinessDay, CalendarTable, Offset};
use daybook_domain::catalogue::{
    Activation, Definition, Dimension, Grain, Kind, LatePolicy, Measure, Metric, Mode, Season, Status, Tenant, View,
};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use std::collections::BTreeMap;

pub(super) const PARTITION: Partition = Partition(3);
const HOUR_MS: i64 = 3_600_000;
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

/// When a day opens. Day 1 has 23 hours.
pub(super) fn cutoff(day: i32) -> Instant {
    let shift = if day > 1 { 1 } else { 0 };
    Instant::from_millis((i64::from(day) * 24 - shift) * HOUR_MS)
}

/// From which hour on clocks are so many seconds ahead of UTC: on day 1 they skip an hour, on day 2 they show half an hour twice.
const OFFSETS: [(i64, i32); 3] = [(0, 0), (25, 3_600), (48, 1_800)];

/// What a clock on the wall shows, in milliseconds since 1970-01-01T00:00.
pub(super) fn local_ms(at: Instant) -> i64 {
    let ms = at.as_millis();
    match ms / HOUR_MS {
        ..25 => ms,
        25..48 => ms + HOUR_MS,
        48.. => ms + HOUR_MS / 2,
    }
}

/// The calendar of all tenants, from day 0 on.
pub(super) fn calendar(days: i32) -> Definition {
    Definition::Calendar(CalendarTable {
        name: name("cal"),
        revision: 1,
        tzdb: "test".into(),
        first: date(0),
        cutoffs: (0..=days).map(cutoff).collect(),
        offsets: OFFSETS.map(|(hour, seconds)| Offset { from: Instant::from_millis(hour * HOUR_MS), seconds }).to_vec(),
    })
}

pub(super) fn minutes_after(instant: Instant, minutes: i64) -> Instant {
    Instant::from_millis(instant.as_millis() + minutes * 60_000)
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
    Kind { name: name(text), mode, dimensions, measures, revision, mappings: Vec::new(), remember: None }
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

/// The view with that policy.
pub(super) fn with_policy(late: LatePolicy, view: View) -> View {
    View { late, ..view }
}

/// The next revision of the view.
pub(super) fn revised(view: View) -> View {
    View { revision: view.revision + 1, ..view }
}

/// The view for these tenants only.
pub(super) fn only_for(tenants: &[&str], view: View) -> View {
    View { tenants: Some(tenants.iter().map(|id| tenant_id(id)).collect()), ..view }
}

/// A tenant whose first day is day 0.
pub(super) fn tenant(id: &str) -> Definition {
    tenant_with_seasons(id, 1, vec![])
}

/// From the beginning of one day to that of another.
pub(super) fn season(text: &str, from: i32, to: i32) -> Season {
    Season { name: name(text), from: cutoff(from), to: cutoff(to) }
}

pub(super) fn tenant_with_seasons(id: &str, revision: u64, seasons: Vec<Season>) -> Definition {
    Definition::Tenant(Tenant {
        generation: 0,
        boundaries: Vec::new(),
        alerts: Default::default(),
        id: tenant_id(id),
        name: Some(format!("The {id}")),
        calendar: vec![],
        grace_ms: 0,
        first_day: date(0),
        clock: name("system"),
        revision,
        table: Some(name("cal")),
        seasons,
        quotas: Quotas::default(),
        restate_after_ms: None,
        max_ahead_ms: None,
    })
}

/// The tenant whose restatements wait for marks; another definition as it is.
pub(super) fn gathered(definition: Definition) -> Definition {
    match definition {
        Definition::Tenant(tenant) => Definition::Tenant(Tenant { restate_after_ms: Some(60_000), ..tenant }),
        other => other,
    }
}

/// The tenant with these quotas; another definition as it is.
pub(super) fn with_quotas(quotas: Quotas, definition: Definition) -> Definition {
    match definition {
        Definition::Tenant(tenant) => Definition::Tenant(Tenant { quotas, ..tenant }),
        other => other,
    }
}

pub(super) fn marker(tenant: &str, edge: Edge, day: i32) -> DayMarker {
    DayMarker {
        generation: 0,
        tenant: tenant_id(tenant),
        edge,
        day: BusinessDay { date: date(day), opens_at: cutoff(day), closes_at: cutoff(day + 1) },
        due_at: cutoff(if edge == Edge::Opened { day } else { day + 1 }),
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
        at: cutoff(day),
        id: Some(id.into()),
        version,
        status: Status::Final,
        dims: vec![Some("Bern".into()), Some("a".into())].into(),
        measures: vec![Some(1), Some(150)].into(),
    }
}

pub(super) fn with_qty(qty: i64, event: Event) -> Event {
    Event { measures: vec![Some(qty), Some(150)].into(), ..event }
}

pub(super) fn after_minutes(minutes: i64, event: Event) -> Event {
    Event { at: minutes_after(event.at, minutes), ..event }
}

pub(super) fn with_status(status: Status, event: Event) -> Event {
    Event { status, ..event }
}

pub(super) fn click(id: Option<&str>, day: i32) -> Event {
    Event {
        id: id.map(Into::into),
        version: None,
        dims: vec![Some("home".into())].into(),
        measures: vec![Some(20)].into(),
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
        span: None,
    }
}

/// A replica that is written to in short.
pub(super) struct Shard {
    pub(super) state: PartitionState,
    /// All report versions, oldest first.
    pub(super) reports: Vec<SealedReport>,
    pub(super) rejects: Vec<Reject>,
    pub(super) alerts: Vec<Raised>,
    position: u64,
    inbox: u64,
    /// The log so far.
    pub(super) log: Vec<(LogSeq, Batch)>,
}

/// Kinds `order` and `click`, with the views `totals` and `clicks`, and tenant `ABQ`.
pub(super) fn definitions() -> Vec<Record> {
    let definitions = [
        // Other days are never divided.
        calendar(3),
        Definition::Kind(orders()),
        Definition::Kind(clicks()),
        Definition::View(totals()),
        Definition::View(click_totals("clicks")),
        tenant("ABQ"),
    ];
    definitions.into_iter().map(Record::Define).collect()
}

/// The events of one message.
pub(super) fn events_of(tenant: &str, kind: &str, inbox: InboxSeq, events: Vec<Event>) -> Record {
    let events = events.into_iter().zip(0..).map(|(event, index)| Event { index, ..event }).collect();
    Record::Events(Events { inbox, tenant: tenant_id(tenant), kind: name(kind), events })
}

impl Shard {
    /// Knows `order` and `click`, with the views `totals` and `clicks`, and tenant `ABQ`.
    pub(super) fn new() -> Self {
        let mut shard = Self {
            state: PartitionState::new(PARTITION),
            reports: Vec::new(),
            rejects: Vec::new(),
            alerts: Vec::new(),
            position: 0,
            inbox: 0,
            log: Vec::new(),
        };
        shard.apply(definitions());
        shard
    }

    pub(super) fn events(&self, kind: &str, events: Vec<Event>) -> Record {
        events_of("ABQ", kind, InboxSeq(self.inbox + 1), events)
    }

    /// One batch of `records`.
    pub(super) fn apply(&mut self, records: Vec<Record>) -> Vec<Effect> {
        // Sequences of other partitions lie in between.
        self.position += 2;
        self.inbox += 3;
        let through = Through { inbox: InboxSeq(self.inbox), events: 0 };
        let (position, batch) = (LogSeq(self.position), Batch { format: FORMAT, through, records });
        self.log.push((position, batch.clone()));
        assert!(!self.state.awaits_backfill(&batch), "the job has to be done first");
        let effects = self.state.apply(position, batch);
        for effect in effects.iter().cloned() {
            match effect {
                Effect::Report(report) => self.reports.push(report),
                Effect::Rejects { rejects, .. } => self.rejects.extend(rejects),
                Effect::Alerts { alerts, .. } => self.alerts.extend(alerts),
                Effect::Purge(_) => {}
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

    /// Begins a job, and returns the scratch, which has read the log so far.
    pub(super) fn begin_job(&mut self) -> PartitionState {
        assert!(self.state.wants_backfill());
        let mut scratch = self.state.begin_backfill();
        for (position, batch) in self.log.iter().cloned() {
            scratch.apply(position, batch);
        }
        scratch
    }

    pub(super) fn end_job(&mut self, scratch: PartitionState) {
        self.state.finish_backfill(Found::of(scratch, None));
        while self.state.add_backfill() {}
    }

    pub(super) fn make_everything(&mut self) {
        while self.state.wants_backfill() {
            let scratch = self.begin_job();
            self.end_job(scratch);
        }
    }

    pub(super) fn activate(&mut self, view: &str, revision: u64) {
        self.define(Definition::Activation(Activation { view: name(view), revision, since: None }));
    }

    /// Defines a view, makes it and takes it into force.
    pub(super) fn define_and_activate(&mut self, view: View) {
        let (text, revision) = (view.name.to_string(), view.revision);
        self.define(Definition::View(view));
        self.make_everything();
        self.activate(&text, revision);
    }

    pub(super) fn open(&mut self, day: i32) {
        self.apply(vec![Record::Day(marker("ABQ", Edge::Opened, day))]);
    }

    pub(super) fn close(&mut self, day: i32) {
        self.apply(vec![Record::Day(marker("ABQ", Edge::Closed, day))]);
    }

    /// A mark for the tenant, or for all of them.
    pub(super) fn restate(&mut self, tenant: Option<&str>) {
        self.apply(vec![Record::Restate(Restate { tenant: tenant.map(tenant_id) })]);
    }

    /// The days whose next report version waits for a mark.
    pub(super) fn restating(&self) -> Vec<i32> {
        let days = self.state.days(&tenant_id("ABQ")).unwrap().days;
        days.into_iter().filter(|day| day.restating).map(|day| day.date.as_days()).collect()
    }

    pub(super) fn ask(&mut self, tenant: &str, view: &str, query: &Query) -> Result<Answer, AskErrorCode> {
        self.state.view(&tenant_id(tenant), &name(view), query).map_err(|error| error.code)
    }

    pub(super) fn answer(&mut self, view: &str, day: i32) -> Answer {
        self.ask("ABQ", view, &Query::days(DaySelector::Date(date(day)))).unwrap()
    }

    /// The rows of a view as texts, cells apart by blanks.
    pub(super) fn rows(&mut self, view: &str, day: i32) -> Vec<String> {
        texts(&self.answer(view, day).rows)
    }

    /// The same, in pieces of the day.
    pub(super) fn pieces(&mut self, view: &str, day: i32, grain: Grain) -> Vec<String> {
        let query = Query { grain: Pieces::from(grain), ..Query::days(DaySelector::Date(date(day))) };
        texts(&self.ask("ABQ", view, &query).unwrap().rows)
    }

    pub(super) fn season(&mut self, view: &str, season: &str) -> Result<Vec<String>, AskErrorCode> {
        let query = Query::days(DaySelector::Season(name(season)));
        self.ask("ABQ", view, &query).map(|answer| texts(&answer.rows))
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

/// A figure as reports have it.
pub(super) fn text(figure: &Figure) -> String {
    match figure {
        Figure::Number(number) => number.trimmed().to_string(),
        other => other.to_string(),
    }
}

/// Rows as texts, cells apart by blanks.
pub(super) fn texts(rows: &[Row]) -> Vec<String> {
    let cells = |row: &Row| row.0.iter().map(|(_, figure)| text(figure)).collect::<Vec<_>>().join(" ");
    rows.iter().map(cells).collect()
}
