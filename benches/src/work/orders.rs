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

/// So many events of so many tenants over two days, whose shares fall as 1/n: the same for the same numbers.
pub fn orders(name: &'static str, events: usize, tenants: usize) -> Work {
    Work { events: Orders::falling(events, tenants, DAYS).collect(), ..nothing(name, tenants) }
}

/// The definitions and the tenants, and no event.
pub fn nothing(name: &'static str, tenants: usize) -> Work {
    Work {
        name,
        definitions: DEFINITIONS.to_owned(),
        kind: Name::new("order").expect("a plain name"),
        tenants: (0..tenants).map(tenant).collect(),
        events: Vec::new(),
        first_day: Date::from_days(FIRST_DAY),
    }
}

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

/// So many events, spread so: the same for the same numbers.
pub fn spread(name: &'static str, events: usize, spread: Spread) -> Work {
    let Spread { tenants, first_day, days, ids, is_even } = spread;
    let first_day = FIRST_DAY + first_day;
    let orders = match is_even {
        true => Orders::new(events, days, Whose::Evenly(tenants)),
        false => Orders::falling(events, tenants, days),
    };
    let events = Orders { first_day, ids, ..orders }.collect();
    Work { events, first_day: Date::from_days(first_day), ..nothing(name, tenants) }
}

/// Makes events one after the other, for those of whom there are too many to be kept.
pub struct Orders {
    first_day: i32,
    /// What ids begin with.
    ids: &'static str,
    random: Random,
    whose: Whose,
    known: Vec<Known>,
    made: usize,
    events: usize,
    days: i64,
}

/// Of which tenant a new order is.
enum Whose {
    /// The sums of the tenants' shares up to each.
    Falling(Vec<f64>),
    /// One tenant after the other, with so many events each.
    InTurn(usize),
    /// A new one of every tenant, of so many, and again.
    Evenly(usize),
}

struct Known {
    tenant: u32,
    version: u64,
    at: i64,
    store: u64,
    customer: u64,
}

impl Orders {
    /// Of tenants whose shares fall as 1/n.
    pub fn falling(events: usize, tenants: usize, days: i64) -> Self {
        let mut sum = 0.0;
        let share = |n: usize| {
            sum += 1.0 / n as f64;
            sum
        };
        Self::new(events, days, Whose::Falling((1..=tenants).map(share).collect()))
    }

    /// About `each` events, and at least one, of every tenant, all of one day.
    pub fn in_turn(each: usize, tenants: usize) -> Self {
        Self::new(each * tenants, 1, Whose::InTurn(each))
    }

    fn new(events: usize, days: i64, whose: Whose) -> Self {
        let (first_day, ids) = (FIRST_DAY, "o");
        Self { first_day, ids, random: Random::new(42), whose, known: Vec::new(), made: 0, events, days }
    }

    /// The place in `known` of an older order that is changed now, and what becomes of it; `None` for a new order.
    fn changed(&mut self) -> Option<(usize, Status)> {
        let what = self.random.below(100);
        let is_new_tenant = matches!(self.whose, Whose::InTurn(each) if self.made.is_multiple_of(each));
        if what >= CORRECTIONS + VOIDS || self.known.len() <= 100 || is_new_tenant {
            return None;
        }
        let all = self.known.len() as u64;
        let among = if self.random.below(5) < 4 { NEWEST.min(all) } else { all };
        let index = (all - 1 - self.random.below(among)) as usize;
        self.known[index].version += 1;
        if self.random.below(20) == 0 {
            self.known[index].store = self.random.below(STORES);
        }
        Some((index, if what < CORRECTIONS { Status::Final } else { Status::Void }))
    }

    /// A new order, as the last that is known.
    fn add(&mut self, at: i64) {
        let tenant = match &self.whose {
            Whose::Falling(shares) => {
                let place = self.random.unit() * shares.last().expect("there are tenants");
                shares.partition_point(|share| *share < place).min(shares.len() - 1)
            }
            Whose::InTurn(each) => self.made / each,
            Whose::Evenly(tenants) => self.known.len() % tenants,
        };
        let (store, customer) = (self.random.below(STORES), self.random.below(CUSTOMERS));
        self.known.push(Known { tenant: tenant as u32, version: 1, at, store, customer });
    }
}

impl Iterator for Orders {
    type Item = (u32, Event);

    fn next(&mut self) -> Option<(u32, Event)> {
        if self.made == self.events {
            return None;
        }
        let now = i64::from(self.first_day) * DAY_MS + (self.days * DAY_MS) * self.made as i64 / self.events as i64;
        let (index, status) = self.changed().unwrap_or_else(|| {
            self.add(now);
            (self.known.len() - 1, Status::Final)
        });
        self.made += 1;
        let Known { tenant, version, at, store, customer } = self.known[index];
        let amount = 100 + self.random.below(6_600) as i64;
        let event = Event {
            index: 0,
            date: day_of(at),
            at: Instant::from_millis(at),
            id: Some(format_compact!("{}{index}", self.ids)),
            version: Some(version),
            status,
            dims: vec![Some(format_compact!("store-{store}")), Some(format_compact!("c{customer}"))].into(),
            measures: vec![Some(amount)].into(),
        };
        Some((tenant, event))
    }
}

fn tenant(n: usize) -> TenantId {
    let id: CompactString = format_compact!("t{n}");
    TenantId::new(&id).expect("letters and digits")
}
