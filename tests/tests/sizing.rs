//! `daybook size` against a partition that really holds so much: memory of the process, as the system tells it.
//!
//! One test in a binary of its own, for memory is the whole process's.
#![allow(clippy::unwrap_used)]

use daybook::sizing::estimate::{SizingEstimate, estimate};
use daybook::sizing::load::{Installation, KindLoad, SizingLoad, ViewLoad};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, Event, Events, FORMAT, Record, Through};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Definition, Kind, Status, View};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::PartitionState;
use daybook_runtime::store::Backend;
use serde_json::json;

const DAY_MS: i64 = 86_400_000;
const TENANTS: u64 = 20;
const ORDERS_OF_TENANT: u64 = 10_000;
const TOGETHER: u64 = 500;

const SHOP: &str = "
kinds:
  - { name: order, mode: entity, dimensions: [store, customer], measures: [total] }
views:
  - { name: stores, kind: order, group_by: [store], metrics: [orders: count, revenue: sum(total)] }
  - { name: customers, kind: order, group_by: [customer], metrics: [orders: count, revenue: sum(total)] }
  - { name: medians, kind: order, metrics: [median: \"quantile(total, 0.5)\", buyers: distinct(customer)] }
";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

struct Shop {
    state: PartitionState,
    position: u64,
}

impl Shop {
    fn apply(&mut self, records: Vec<Record>) {
        self.position += 1;
        let through = Through { inbox: InboxSeq(self.position), events: 0 };
        self.state.apply(LogSeq(self.position), Batch { format: FORMAT, through, records });
    }
}

fn opened(tenant: &TenantId) -> Record {
    let instant = |date: Date| Instant::from_millis(i64::from(date.as_days()) * DAY_MS);
    let date = Date::from_days(20_000);
    let day = BusinessDay { date, opens_at: instant(date), closes_at: instant(date.next()) };
    Record::Day(DayMarker {
        generation: 0,
        tenant: tenant.clone(),
        edge: Edge::Opened,
        due_at: day.opens_at,
        day,
        calendar: name("utc"),
        calendar_revision: 1,
        tzdb: "none".to_owned(),
    })
}

fn order(number: u64, index: u32) -> Event {
    let date = Date::from_days(20_000);
    Event {
        index,
        date,
        at: Instant::from_millis(i64::from(date.as_days()) * DAY_MS + number as i64 * 8_000),
        id: Some(format!("order-{number:010}").into()),
        version: Some(1),
        status: Status::Final,
        dims: vec![Some(format!("store-{}", number % 20).into()), Some(format!("customer-{}", number % 2_000).into())]
            .into(),
        measures: vec![Some(100 + (number as i64 * 37) % 90_000)].into(),
    }
}

/// The state of a day of orders in memory.
fn filled(kind: &Kind, views: &[View], tenants: &[TenantId]) -> PartitionState {
    let mut shop = Shop { state: PartitionState::new(Partition(0)), position: 0 };
    let tenant = |id: &TenantId| {
        let tenant = json!({"id": id, "calendar": [], "first_day": "2020-01-01", "clock": "system", "revision": 1, "table": "utc"});
        serde_json::from_value(tenant).unwrap()
    };
    let mut defined: Vec<Record> = tenants.iter().map(|id| Record::Define(Definition::Tenant(tenant(id)))).collect();
    defined.push(Record::Define(Definition::Kind(kind.clone())));
    defined.extend(views.iter().map(|view| Record::Define(Definition::View(view.clone()))));
    shop.apply(defined);
    shop.apply(tenants.iter().map(opened).collect());
    for from in (0..ORDERS_OF_TENANT).step_by(TOGETHER as usize) {
        for tenant in tenants {
            let events = (from..from + TOGETHER).zip(0..).map(|(number, index)| order(number, index)).collect();
            let inbox = InboxSeq(shop.position + 1);
            shop.apply(vec![Record::Events(Events { inbox, tenant: tenant.clone(), kind: kind.name.clone(), events })]);
        }
    }
    shop.state
}

fn estimated(kind: &Kind, views: &[View]) -> SizingEstimate {
    let load = KindLoad::new(kind, TENANTS * ORDERS_OF_TENANT, 1, false, Some(35));
    let groups = |view: &View| match view.group_by.first().map(Name::as_str) {
        Some("store") => 20,
        Some(_) => 2_000,
        None => 1,
    };
    let views =
        views.iter().map(|view| ViewLoad::new(view, kind, &load, TENANTS, Some(groups(view))).unwrap()).collect();
    let installation = Installation {
        partitions: 1,
        replicas: 1,
        stream_replicas: 1,
        shard_memory: 1 << 30,
        store: Backend::Sled,
        log_days: None,
        id_bytes: 16,
    };
    estimate(&SizingLoad { tenants: TENANTS, kinds: vec![load], views, installation })
}

#[test]
fn a_day_of_orders_takes_about_what_the_estimate_says() {
    let files = [("shop.yaml".into(), SHOP.to_owned())];
    let defined = daybook::definitions::load(&files, &[]).unwrap().apply;
    let (kind, views) = (&defined.kinds[0], &defined.views);
    let tenants: Vec<TenantId> = (0..TENANTS).map(|n| TenantId::new(&format!("t{n}")).unwrap()).collect();
    let before = resident();
    let state = filled(kind, views, &tenants);
    let taken = resident() - before;
    let sizes = state.sizes();
    assert_eq!((sizes.entities as u64, sizes.groups as u64), (TENANTS * ORDERS_OF_TENANT, TENANTS * (20 + 2_000 + 1)));
    let found = estimated(kind, views);
    let of = |what: &str| found.memory.iter().find(|item| item.what.starts_with(what)).unwrap().bytes;
    // Groups and values of this day alone; closed days there are none.
    let days = 36;
    let expected = of("entities of the open day") + (of("groups") + of("values")) / days + of("tenants");
    println!("{taken} bytes taken, {expected} estimated");
    assert!(taken < expected * 2 && expected < taken * 2, "{taken} bytes taken, {expected} estimated: {found:?}");
}
