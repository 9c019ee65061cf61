//! Random histories: a log as ingest could have written it, in batches.

use super::fixtures::*;
use super::model::{channel_spec, early_specs, late_specs};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Event, Events, Record};
use daybook_domain::catalogue::{Definition, Status};
use daybook_domain::ids::InboxSeq;
use daybook_domain::time::Instant;
use proptest::prelude::*;
use proptest::sample::Index;

pub(super) const TENANTS: [&str; 2] = ["ABQ", "JFK"];

/// One thing that happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Order(Order),
    Click {
        tenant: usize,
        id: Option<u8>,
        day: i32,
        page: u8,
        ms: Option<i64>,
    },
    /// An earlier event once more, in a message of its own.
    Repeat(Index),
    /// An event that ingest refused.
    Refused {
        tenant: usize,
        day: Option<i32>,
    },
    /// The next marker in a tenant's orderly life.
    Next(usize),
    /// A marker at the wrong time.
    Stray {
        tenant: usize,
        edge: Edge,
        day: i32,
    },
    /// The next of the late definitions.
    Define,
    /// A view that is there already, defined once more.
    DefineAgain(Index),
    /// The end of a batch.
    Cut,
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    tenant: usize,
    id: u8,
    day: i32,
    hour: i64,
    version: Option<u64>,
    status: Status,
    dims: [Option<u8>; 3],
    measures: [Option<i64>; 3],
    /// In the same message as the event before it, if it is of the same tenant and kind.
    join: bool,
}

fn maybe<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, value)
}

pub(super) fn order_step(days: std::ops::Range<i32>) -> impl Strategy<Value = Order> {
    let status = prop_oneof![3 => Just(Status::Final), 1 => Just(Status::Draft), 1 => Just(Status::Void)];
    let version = prop_oneof![1 => Just(None), 3 => (0_u64..5).prop_map(Some)];
    let dim = || maybe(0_u8..2);
    (
        (0_usize..2, 0_u8..4, days, 0_i64..2, version, status, any::<bool>()),
        [dim(), dim(), maybe(0_u8..2)],
        [maybe(-1_i64..4), maybe(100_i64..203), maybe(1_i64..3)],
    )
        .prop_map(|((tenant, id, day, hour, version, status, join), dims, measures)| Order {
            tenant,
            id,
            day,
            hour,
            version,
            status,
            dims,
            measures,
            join,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let edge = prop_oneof![Just(Edge::Opened), Just(Edge::Closed)];
    prop_oneof![
        20 => order_step(0..4).prop_map(Step::Order),
        5 => (0_usize..2, prop::option::of(0_u8..3), 0_i32..4, 0_u8..2, maybe(0_i64..3))
            .prop_map(|(tenant, id, day, page, ms)| Step::Click { tenant, id, day, page, ms }),
        4 => any::<Index>().prop_map(Step::Repeat),
        2 => (0_usize..3, prop::option::of(0_i32..4)).prop_map(|(tenant, day)| Step::Refused { tenant, day }),
        6 => (0_usize..2).prop_map(Step::Next),
        1 => (0_usize..2, edge, 0_i32..4).prop_map(|(tenant, edge, day)| Step::Stray { tenant, edge, day }),
        2 => Just(Step::Define),
        1 => any::<Index>().prop_map(Step::DefineAgain),
        10 => Just(Step::Cut),
    ]
}

/// Batches of records; the first one defines kinds, views and tenants.
pub(super) fn history(steps: usize) -> impl Strategy<Value = Vec<Vec<Record>>> {
    prop::collection::vec(step(), 0..steps).prop_map(|steps| batches(&steps))
}

/// Forty-five days one after the other, in batches of one record, with events around what is kept.
pub(super) fn long_history() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let event = (order_step(-38..3), prop::bool::weighted(0.8)).prop_map(Some);
    let days = prop::collection::vec(prop::collection::vec(event, 0..4), 45);
    days.prop_map(|days| {
        let mut steps = Vec::new();
        for (today, events) in days.into_iter().enumerate() {
            for (event, is_one) in events.into_iter().flatten() {
                let day = (event.day + today as i32).max(0);
                let order = Order { day, tenant: usize::from(!is_one), join: false, ..event };
                steps.extend([Step::Order(order), Step::Cut]);
            }
            for tenant in 0..2 {
                steps.extend([Step::Next(tenant), Step::Cut, Step::Next(tenant), Step::Cut]);
            }
        }
        batches(&steps)
    })
}

pub(super) fn batches(steps: &[Step]) -> Vec<Vec<Record>> {
    let mut writer = Writer { inbox: 0, late: late_definitions(), past: Vec::new(), next: [0; 2], is_wider: false };
    let mut batches = vec![writer.prelude()];
    let mut batch = Vec::new();
    for step in steps {
        writer.write(step, &mut batch);
        if matches!(step, Step::Cut) && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
        }
    }
    batches.push(batch);
    batches
}

fn late_definitions() -> Vec<Definition> {
    let [cities, clicks]: [_; 2] = late_specs().try_into().ok().expect("two views");
    // Taken from the end.
    vec![
        Definition::View(channel_spec().view),
        Definition::View(clicks.view),
        Definition::Kind(wider_orders()),
        Definition::View(cities.view),
    ]
}

struct Writer {
    inbox: u64,
    late: Vec<Definition>,
    past: Vec<(usize, &'static str, Event)>,
    /// How many markers of its orderly life each tenant has had.
    next: [i32; 2],
    is_wider: bool,
}

impl Writer {
    fn prelude(&mut self) -> Vec<Record> {
        self.inbox = 10;
        let kinds = [orders(), clicks()].map(Definition::Kind);
        let views = early_specs().into_iter().map(|spec| Definition::View(spec.view));
        kinds.into_iter().chain(views).chain(TENANTS.map(tenant)).map(Record::Define).collect()
    }

    fn write(&mut self, step: &Step, batch: &mut Vec<Record>) {
        match step {
            Step::Order(order) => {
                let event = self.order(order);
                self.event(order.tenant, "order", event, order.join, batch);
            }
            Step::Click { tenant, id, day, page, ms } => {
                let event = Event {
                    id: id.map(|id| id.to_string().into()),
                    dims: vec![Some(page.to_string().into())],
                    measures: vec![*ms],
                    ..click(None, *day)
                };
                self.event(*tenant, "click", event, true, batch);
            }
            Step::Repeat(index) if !self.past.is_empty() => {
                let (tenant, kind, event) = index.get(&self.past).clone();
                self.event(tenant, kind, event, false, batch);
            }
            Step::Refused { tenant, day } => {
                self.inbox += 1;
                let tenant = TENANTS.get(*tenant).copied().unwrap_or("nobody");
                batch.push(Record::Rejected(reject(tenant, self.inbox, *day)));
            }
            Step::Next(tenant) => {
                // Day 0 opens, closes, day 1 opens …
                let edge = if self.next[*tenant] % 2 == 0 { Edge::Opened } else { Edge::Closed };
                self.inbox += 1;
                batch.push(Record::Day(marker(TENANTS[*tenant], edge, self.next[*tenant] / 2)));
                self.next[*tenant] += 1;
            }
            Step::Stray { tenant, edge, day } => {
                self.inbox += 1;
                batch.push(Record::Day(marker(TENANTS[*tenant], *edge, *day)));
            }
            Step::Define => {
                let Some(definition) = self.late.pop() else { return };
                self.is_wider |= matches!(definition, Definition::Kind(_));
                self.inbox += 1;
                batch.push(Record::Define(definition));
            }
            Step::DefineAgain(index) => {
                self.inbox += 1;
                batch.push(Record::Define(Definition::View(index.get(&early_specs()).view.clone())));
            }
            Step::Repeat(_) | Step::Cut => {}
        }
    }

    fn order(&self, order: &Order) -> Event {
        let columns = if self.is_wider { 3 } else { 2 };
        let text = |(place, value): (usize, &Option<u8>)| {
            value.map(|value| ["ab", "ab", "wx"][place][usize::from(value)..][..1].into())
        };
        Event {
            index: 0,
            date: date(order.day),
            at: Instant::from_millis(i64::from(order.day) * DAY_MS + order.hour),
            id: Some(order.id.to_string().into()),
            version: order.version,
            status: order.status,
            dims: order.dims[..columns].iter().enumerate().map(text).collect(),
            measures: order.measures[..columns].to_vec(),
        }
    }

    fn event(&mut self, tenant: usize, kind: &'static str, event: Event, join: bool, batch: &mut Vec<Record>) {
        // What ingest stamps has the columns of the kind as it is then.
        let columns = if kind == "order" { if self.is_wider { 3 } else { 2 } } else { 1 };
        let mut event = event;
        event.dims.resize(columns, None);
        event.measures.resize(columns, None);
        self.past.push((tenant, kind, event.clone()));
        if let Some(Record::Events(run)) = batch.last_mut()
            && join
            && run.tenant.as_str() == TENANTS[tenant]
            && run.kind.as_str() == kind
        {
            event.index = run.events.len() as u32;
            run.events.push(event);
            return;
        }
        self.inbox += 1;
        event.index = 0;
        batch.push(Record::Events(Events {
            inbox: InboxSeq(self.inbox),
            tenant: tenant_id(TENANTS[tenant]),
            kind: name(kind),
            events: vec![event],
        }));
    }
}

/// The same records in other batches.
pub(super) fn recut(batches: &[Vec<Record>], sizes: &[usize]) -> Vec<Vec<Record>> {
    let mut records = batches.concat().into_iter().peekable();
    let mut sizes = sizes.iter().cycle();
    let mut recut = Vec::new();
    while records.peek().is_some() {
        let size = sizes.next().copied().unwrap_or(1).max(1);
        recut.push(records.by_ref().take(size).collect());
    }
    recut
}
