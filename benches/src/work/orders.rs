//! Orders of many tenants over two days, of which a fifth are corrected and a hundredth voided.

use super::{DAY_MS, Work, day_of};
use compact_str::{CompactString, format_compact};
use daybook_contracts::log::Event;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_random::Random;

/// 2026-01-01.
const FIRST_DAY: i32 = 20_454;
const STORES: u64 = 20;
const CUSTOMERS: u64 = 5_000;
/// Of a hundred events, how many correct an order, and how many void one.
const CORRECTIONS: u64 = 20;
const VOIDS: u64 = 1;
/// Four corrections of five are of an order among so many newest ones.
const NEWEST: u64 = 10_000;
const DAYS: i64 = 2;

/// The view over orders, and the columns of the kind.
pub const VIEW: &str = "stores";
pub const DIMENSIONS: &[&str] = &["store", "customer"];
pub const MEASURES: &[&str] = &["amount"];

const DEFINITIONS: &str = "
kinds:
  - name: order
    mode: entity
    dimensions: [store, customer]
    measures: [amount]
views:
  - name: stores
    kind: order
    group_by: [store]
    metrics:
      - orders: count
      - amount: sum(amount)
      - least: min(amount)
      - most: max(amount)
      - customers: distinct(customer)
      - p95: quantile(amount, 0.95)
";

/// How orders are spread over tenants and days.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub tenants: usize,
    /// The first day is so many after the first that there is.
    pub first_day: i32,
    pub days: i64,
    /// What ids begin with: orders of other letters are other orders.
    pub ids: &'static str,
    /// Whether every tenant has as many new orders as any other, one after the other; else their shares fall as 1/n.
    pub is_even: bool,
}

/// So many events of so many tenants over two days, whose shares fall as 1/n: the same for the same numbers.
pub fn orders(name: &'static str, events: usize, tenants: usize) -> Work {
    spread(name, events, Spread { tenants, first_day: 0, days: DAYS, ids: "o", is_even: false })
}

/// So many events, spread so: the same for the same numbers.
pub fn spread(name: &'static str, events: usize, spread: Spread) -> Work {
    let Spread { tenants, first_day, days, ids, is_even } = spread;
    let first_day = FIRST_DAY + first_day;
    let mut random = Random::new(42);
    let mut shares: Vec<f64> = Vec::with_capacity(tenants);
    let mut sum = 0.0;
    for n in 1..=tenants {
        sum += 1.0 / n as f64;
        shares.push(sum);
    }
    struct Known {
        tenant: u32,
        version: u64,
        at: i64,
        store: u64,
        customer: u64,
    }
    let mut known: Vec<Known> = Vec::new();
    let mut made = Vec::with_capacity(events);
    let begin = i64::from(first_day) * DAY_MS;
    for n in 0..events {
        let now = begin + (days * DAY_MS) * n as i64 / events as i64;
        let what = random.below(100);
        let (index, status) = if what < CORRECTIONS + VOIDS && known.len() > 100 {
            let all = known.len() as u64;
            let among = if random.below(5) < 4 { NEWEST.min(all) } else { all };
            let index = (all - 1 - random.below(among)) as usize;
            known[index].version += 1;
            if random.below(20) == 0 {
                known[index].store = random.below(STORES);
            }
            (index, if what < CORRECTIONS { Status::Final } else { Status::Void })
        } else {
            let tenant = if is_even {
                known.len() % tenants
            } else {
                let place = random.unit() * sum;
                shares.partition_point(|share| *share < place).min(tenants - 1)
            };
            let tenant = tenant as u32;
            let (store, customer) = (random.below(STORES), random.below(CUSTOMERS));
            known.push(Known { tenant, version: 1, at: now, store, customer });
            (known.len() - 1, Status::Final)
        };
        let Known { tenant, version, at, store, customer } = known[index];
        let amount = 100 + random.below(6_600) as i64;
        let event = Event {
            index: 0,
            date: day_of(at),
            at: Instant::from_millis(at),
            id: Some(format_compact!("{ids}{index}")),
            version: Some(version),
            status,
            dims: vec![Some(format_compact!("store-{store}")), Some(format_compact!("c{customer}"))],
            measures: vec![Some(amount)],
        };
        made.push((tenant, event));
    }
    Work {
        name,
        definitions: DEFINITIONS.to_owned(),
        kind: Name::new("order").expect("a plain name"),
        tenants: (0..tenants).map(tenant).collect(),
        events: made,
        first_day: Date::from_days(first_day),
    }
}

fn tenant(n: usize) -> TenantId {
    let id: CompactString = format_compact!("t{n}");
    TenantId::new(&id).expect("letters and digits")
}
