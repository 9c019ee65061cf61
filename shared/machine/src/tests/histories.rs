//! Random histories: a log as ingest could have written it, in batches.

use super::fixtures::*;
use super::specs::{channel_spec, specs};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Event, Events, Record, Restate};
use daybook_domain::alerts::{ReportAlert, ViewAlert};
use daybook_domain::catalogue::{Activation, Definition, Kind, Season, Status, Tenant, View};
use daybook_domain::ids::InboxSeq;
use daybook_domain::quotas::Quotas;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const TENANTS: [&str; 2] = ["ABQ", "JFK"];

/// One thing that happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Order(Order),
    Click {
        tenant: usize,
        id: Option<u8>,
        day: i32,
        minute: i64,
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
    /// The kind `order` gets a column more of each sort.
    Widen,
    /// A view, or the next revision of one, for some tenants.
    Define(Index, Audience),
    /// A view's newest revision, word for word once more.
    DefineAgain(Index),
    /// A view's newest revision comes into force, or an older one would.
    Activate(Index, bool),
    /// Other seasons for a tenant.
    Seasons(usize, Vec<Window>),
    /// Another quota of entities for a tenant, or none.
    Entities(usize, Option<u64>),
    /// Whether restatements of a tenant wait for marks.
    Gather(usize, bool),
    /// For how long ids of `order` or `click` are remembered.
    Remember(usize, Option<u16>),
    /// A mark for one tenant, or for all.
    Restate(Option<usize>),
    /// The end of a batch.
    Cut,
}

/// For whom a view is: everyone, or some of [`TENANTS`].
pub(super) type Audience = Option<[bool; 2]>;

/// A season: its name, the day and the minute at which it begins, and how many minutes it takes.
pub(super) type Window = (u8, i32, i64, i64);

/// Which views there are from the start, for whom, and the first seasons of each tenant.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    views: Vec<(bool, Audience)>,
    seasons: [Vec<Window>; 2],
    /// The first quota of entities of each tenant.
    entities: [Option<u64>; 2],
    /// Whether restatements of each tenant wait for marks at first.
    gathers: [bool; 2],
    /// For how long ids of each kind are remembered at first.
    remember: [Option<u16>; 2],
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    tenant: usize,
    id: u8,
    day: i32,
    minute: i64,
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
        (0_usize..2, 0_u8..4, days, minute(), version, status, any::<bool>()),
        [dim(), dim(), maybe(0_u8..2)],
        [maybe(-1_i64..4), maybe(100_i64..203), maybe(1_i64..3)],
    )
        .prop_map(|((tenant, id, day, minute, version, status, join), dims, measures)| Order {
            tenant,
            id,
            day,
            minute,
            version,
            status,
            dims,
            measures,
            join,
        })
}

/// On both sides of the borders of pieces.
fn minute() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![0, 14, 15, 59, 60, 22 * 60 + 59])
}

fn audience() -> impl Strategy<Value = Audience> {
    prop_oneof![2 => Just(None), 1 => Just(Some([true, false])), 1 => Just(Some([false, true])),
        1 => Just(Some([true, true]))]
}

fn seasons(days: std::ops::Range<i32>) -> impl Strategy<Value = Vec<Window>> {
    let window = (0_u8..2, days, minute(), prop::sample::select(vec![1_i64, 60, 24 * 60, 60 * 60]));
    // Names differ.
    prop::collection::btree_map(0_u8..2, window, 0..3).prop_map(|windows| {
        windows.into_iter().map(|(name, (_, day, minute, length))| (name, day, minute, length)).collect()
    })
}

/// Often none; else fewer than there are ids.
fn entities() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.3, 1_u64..4)
}

/// Not at all, hardly longer than days are kept, or for ever.
fn remember() -> impl Strategy<Value = Option<u16>> {
    prop::sample::select(vec![None, Some(35), Some(36), Some(37), Some(40), Some(400), Some(400)])
}

fn beginning() -> impl Strategy<Value = Beginning> {
    let views = prop::collection::vec((prop::bool::weighted(0.6), audience()), specs().len());
    let tenants = ([seasons(0..5), seasons(0..5)], [entities(), entities()], any::<[bool; 2]>());
    (views, tenants, [remember(), remember()]).prop_map(|(views, (seasons, entities, gathers), remember)| Beginning {
        views,
        seasons,
        entities,
        gathers,
        remember,
    })
}

/// A definition, or an activation of what was defined.
fn definition(days: std::ops::Range<i32>) -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Widen),
        6 => (any::<Index>(), audience()).prop_map(|(index, audience)| Step::Define(index, audience)),
        1 => any::<Index>().prop_map(Step::DefineAgain),
        8 => (any::<Index>(), prop::bool::weighted(0.1)).prop_map(|(index, older)| Step::Activate(index, older)),
        3 => (0_usize..2, seasons(days)).prop_map(|(tenant, seasons)| Step::Seasons(tenant, seasons)),
        1 => (0_usize..2, entities()).prop_map(|(tenant, quota)| Step::Entities(tenant, quota)),
        1 => (0_usize..2, any::<bool>()).prop_map(|(tenant, gathers)| Step::Gather(tenant, gathers)),
        1 => (0_usize..2, remember()).prop_map(|(kind, days)| Step::Remember(kind, days)),
        3 => prop::option::of(0_usize..2).prop_map(Step::Restate),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let edge = prop_oneof![Just(Edge::Opened), Just(Edge::Closed)];
    prop_oneof![
        20 => order_step(0..4).prop_map(Step::Order),
        5 => (0_usize..2, prop::option::of(0_u8..3), 0_i32..4, minute(), 0_u8..2, maybe(0_i64..3))
            .prop_map(|(tenant, id, day, minute, page, ms)| Step::Click { tenant, id, day, minute, page, ms }),
        4 => any::<Index>().prop_map(Step::Repeat),
        2 => (0_usize..3, prop::option::of(0_i32..4)).prop_map(|(tenant, day)| Step::Refused { tenant, day }),
        6 => (0_usize..2).prop_map(Step::Next),
        1 => (0_usize..2, edge, 0_i32..4).prop_map(|(tenant, edge, day)| Step::Stray { tenant, edge, day }),
        8 => definition(0..5),
        2 => prop::option::of(0_usize..2).prop_map(Step::Restate),
        12 => Just(Step::Cut),
    ]
}

/// Batches of records; the first one defines kinds, views and tenants.
pub(super) fn history(steps: usize) -> impl Strategy<Value = Vec<Vec<Record>>> {
    (beginning(), prop::collection::vec(step(), 0..steps)).prop_map(|(beginning, steps)| batches(&beginning, &steps))
}

/// Forty-five days one after the other, in batches of one record, with events around what is kept.
pub(super) fn long_history() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let event = (order_step(-38..3), prop::bool::weighted(0.8));
    let day = (prop::collection::vec(event, 0..4), prop::option::weighted(0.3, definition(0..47)));
    (beginning(), prop::collection::vec(day, 45)).prop_map(|(beginning, days)| {
        let mut steps = Vec::new();
        for (today, (events, definition)) in days.into_iter().enumerate() {
            for (event, is_one) in events {
                let day = (event.day + today as i32).max(0);
                let order = Order { day, tenant: usize::from(!is_one), join: false, ..event };
                steps.extend([Step::Order(order), Step::Cut]);
            }
            steps.extend(definition.into_iter().flat_map(|definition| [definition, Step::Cut]));
            for tenant in 0..2 {
                steps.extend([Step::Next(tenant), Step::Cut, Step::Next(tenant), Step::Cut]);
            }
        }
        batches(&beginning, &steps)
    })
}

pub(super) fn batches(beginning: &Beginning, steps: &[Step]) -> Vec<Vec<Record>> {
    let mut writer = Writer::default();
    let mut batches = vec![writer.prelude(beginning)];
    let mut batch = Vec::new();
    for step in steps {
        writer.write(step, &mut batch);
        if matches!(step, Step::Cut) && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            writer.defined_now.clear();
        }
    }
    batches.push(batch);
    batches
}

/// One alert that stays, and one that comes and goes with revisions.
fn alerts(view: &View, revision: u64) -> Vec<ViewAlert> {
    let alert = |text: &str, when: &str| ViewAlert { name: name(text), when: when.to_owned() };
    let all = [alert("many", "n > 1"), alert("any", "n is not null")];
    let counts = view.metrics.iter().any(|metric| metric.name.as_str() == "n");
    all.into_iter().take(if counts { 1 + revision as usize % 2 } else { 0 }).collect()
}

#[derive(Default)]
struct Writer {
    inbox: u64,
    past: Vec<(usize, &'static str, Event)>,
    /// How many markers of its orderly life each tenant has had.
    next: [i32; 2],
    /// The newest revision of each view.
    views: BTreeMap<String, View>,
    /// Views defined in the batch at hand: an activation never stands in the same one.
    defined_now: BTreeSet<String>,
    /// Revisions of the tenants.
    tenants: [u64; 2],
    /// Their seasons and quotas as they stand.
    windows: [Vec<Window>; 2],
    entities: [Option<u64>; 2],
    gathers: [bool; 2],
    remember: [Option<u16>; 2],
    is_wider: bool,
}

impl Writer {
    fn prelude(&mut self, beginning: &Beginning) -> Vec<Record> {
        self.inbox = 10;
        self.remember = beginning.remember;
        let mut definitions = vec![calendar(60), self.kind(0), self.kind(1)];
        for (spec, (_, audience)) in specs().into_iter().zip(&beginning.views).filter(|(_, (is_there, _))| *is_there) {
            definitions.push(self.view(spec.view, *audience));
        }
        self.windows = beginning.seasons.clone();
        self.entities = beginning.entities;
        self.gathers = beginning.gathers;
        definitions.extend([0, 1].map(|tenant| self.tenant(tenant)));
        self.defined_now.clear();
        definitions.into_iter().map(Record::Define).collect()
    }

    /// `order` or `click` as it stands.
    fn kind(&self, kind: usize) -> Definition {
        let orders = if self.is_wider { wider_orders() } else { orders() };
        let known = if kind == 0 { orders } else { clicks() };
        Definition::Kind(Kind { remember: self.remember[kind], ..known })
    }

    /// The next revision of a view.
    fn view(&mut self, view: View, audience: Audience) -> Definition {
        let text = view.name.to_string();
        let revision = self.views.get(&text).map_or(0, |view| view.revision) + 1;
        let some = |chosen: [bool; 2]| {
            TENANTS.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(id, _)| tenant_id(id))
        };
        let alerts = alerts(&view, revision);
        let view = View { revision, tenants: audience.map(|chosen| some(chosen).collect()), alerts, ..view };
        self.views.insert(text.clone(), view.clone());
        self.defined_now.insert(text);
        Definition::View(view)
    }

    fn tenant(&mut self, tenant: usize) -> Definition {
        self.tenants[tenant] += 1;
        let season = |(text, day, minute, length): &Window| {
            let from = minutes_after(cutoff(*day), *minute);
            Season { name: name(["hunt", "spring"][usize::from(*text)]), from, to: minutes_after(from, *length) }
        };
        let seasons = self.windows[tenant].iter().map(season).collect();
        let quotas = Quotas { entities: self.entities[tenant], ..Quotas::default() };
        let definition = with_quotas(quotas, tenant_with_seasons(TENANTS[tenant], self.tenants[tenant], seasons));
        let definition = if self.gathers[tenant] { gathered(definition) } else { definition };
        match definition {
            Definition::Tenant(of) if tenant == 0 => {
                Definition::Tenant(Tenant { alerts: ReportAlert::ALL.into(), ..of })
            }
            other => other,
        }
    }

    fn define(&mut self, definition: Definition, batch: &mut Vec<Record>) {
        self.inbox += 1;
        batch.push(Record::Define(definition));
    }

    fn write(&mut self, step: &Step, batch: &mut Vec<Record>) {
        match step {
            Step::Order(order) => {
                let event = self.order(order);
                self.event(order.tenant, "order", event, order.join, batch);
            }
            Step::Click { tenant, id, day, minute, page, ms } => {
                let event = Event {
                    id: id.map(|id| id.to_string().into()),
                    dims: vec![Some(page.to_string().into())].into(),
                    measures: vec![*ms].into(),
                    ..after_minutes(*minute, click(None, *day))
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
            Step::Widen if !self.is_wider => {
                self.is_wider = true;
                self.define(self.kind(0), batch);
            }
            Step::Define(index, audience) => {
                let known = [specs(), if self.is_wider { vec![channel_spec()] } else { vec![] }].concat();
                let definition = self.view(index.get(&known).view.clone(), *audience);
                self.define(definition, batch);
            }
            Step::DefineAgain(index) if !self.views.is_empty() => {
                let (text, view) = self.views.iter().nth(index.index(self.views.len())).expect("one of them");
                let (text, view) = (text.clone(), view.clone());
                self.defined_now.insert(text);
                self.define(Definition::View(view), batch);
            }
            Step::Activate(index, is_older) if !self.views.is_empty() => {
                let (text, view) = self.views.iter().nth(index.index(self.views.len())).expect("one of them");
                if self.defined_now.contains(text) {
                    return;
                }
                let revision = view.revision.saturating_sub(u64::from(*is_older));
                let activation = Activation { view: view.name.clone(), revision, since: None };
                self.define(Definition::Activation(activation), batch);
            }
            Step::Seasons(tenant, windows) => {
                self.windows[*tenant] = windows.clone();
                let definition = self.tenant(*tenant);
                self.define(definition, batch);
            }
            Step::Entities(tenant, quota) => {
                self.entities[*tenant] = *quota;
                let definition = self.tenant(*tenant);
                self.define(definition, batch);
            }
            Step::Gather(tenant, gathers) => {
                self.gathers[*tenant] = *gathers;
                let definition = self.tenant(*tenant);
                self.define(definition, batch);
            }
            Step::Remember(kind, days) => {
                self.remember[*kind] = *days;
                self.define(self.kind(*kind), batch);
            }
            Step::Restate(tenant) => {
                let tenant = tenant.map(|tenant| tenant_id(TENANTS[tenant]));
                batch.push(Record::Restate(Restate { tenant }));
            }
            Step::Widen | Step::DefineAgain(_) | Step::Activate(..) => {}
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
            at: minutes_after(cutoff(order.day), order.minute),
            id: Some(order.id.to_string().into()),
            version: order.version,
            status: order.status,
            dims: order.dims[..columns].iter().enumerate().map(text).collect(),
            measures: order.measures[..columns].into(),
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

/// The same history under quotas of groups: each definition of a tenant has the next of these, round and round.
pub(super) fn capped(batches: &[Vec<Record>], groups: &[Option<u64>]) -> Vec<Vec<Record>> {
    let mut next = groups.iter().copied().cycle();
    let mut cap = |record: &Record| match record {
        Record::Define(Definition::Tenant(tenant)) => {
            let quotas = Quotas { groups: next.next().flatten(), ..tenant.quotas };
            Record::Define(Definition::Tenant(Tenant { quotas, ..tenant.clone() }))
        }
        other => other.clone(),
    };
    batches.iter().map(|batch| batch.iter().map(&mut cap).collect()).collect()
}

/// The same records in other batches, none of which holds a view's definition and its activation.
pub(super) fn recut(batches: &[Vec<Record>], sizes: &[usize]) -> Vec<Vec<Record>> {
    let mut records = batches.concat().into_iter().peekable();
    let mut sizes = sizes.iter().cycle();
    let mut recut = Vec::new();
    while let Some(record) = records.next() {
        let mut batch = vec![record];
        let size = sizes.next().copied().unwrap_or(1);
        let is_apart = |record: &Record| matches!(record, Record::Define(Definition::Activation(_)));
        while batch.len() < size
            && let Some(record) = records.next_if(|record| !is_apart(record))
        {
            batch.push(record);
        }
        recut.push(batch);
    }
    recut
}
