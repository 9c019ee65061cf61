//! A day-manager that publishes, closes by hand and restarts at any time writes one sequence of markers for each tenant: the one that
//! sorting all markers gives.

use super::*;
use crate::calendar::{extend, table_name};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// What a run of the simulation is made of.
#[derive(Clone, Debug)]
struct Case {
    rules: Vec<Vec<CalendarRule>>,
    /// Calendar, grace in minutes, and first day of each tenant.
    tenants: Vec<(usize, u64, i32)>,
    /// Minutes that the clock moves, and what happens then.
    steps: Vec<(i64, Event)>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Publish {
        limit: usize,
    },
    /// The oldest open day, or the newest.
    Close {
        tenant: usize,
        newest: bool,
    },
    RestartFromAll,
    RestartFromLast,
    Duplicates,
}

fn any_rules() -> impl Strategy<Value = Vec<CalendarRule>> {
    let zones = ["Etc/UTC", "America/New_York", "Pacific/Apia", "Pacific/Pago_Pago", "Asia/Kolkata"];
    let step = (1..40i32, prop::sample::select(zones.to_vec()), 0..1440u16);
    prop::collection::vec(step, 1..5).prop_map(|steps| {
        let mut from = Date::from_days(15_310); // 2011-12-02
        let rule = |(days, zone, cutoff_minutes): (i32, &str, u16)| {
            from = from.plus(days);
            CalendarRule { from, zone: zone.to_owned(), cutoff_minutes, named_by: Default::default() }
        };
        steps.into_iter().map(rule).collect()
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    let event = prop_oneof![
        4 => (1..9usize).prop_map(|limit| Event::Publish { limit }),
        2 => (0..4usize, any::<bool>()).prop_map(|(tenant, newest)| Event::Close { tenant, newest }),
        1 => Just(Event::RestartFromAll),
        1 => Just(Event::RestartFromLast),
        1 => Just(Event::Duplicates),
    ];
    let minutes = prop_oneof![4 => 0..600i64, 2 => 0..3000i64, 1 => 0..30_000i64];
    let grace = prop_oneof![Just(0u64), 1..120u64, 1..=1440u64, Just(1440u64)];
    (
        prop::collection::vec(any_rules(), 1..3),
        prop::collection::vec((0..2usize, grace, 15_300..15_330i32), 1..5),
        prop::collection::vec((minutes, event), 1..60),
    )
        .prop_map(|(rules, tenants, steps)| Case { rules, tenants, steps })
}

/// A day-manager and its log.
struct Simulation {
    tenants: Vec<Tenant>,
    tables: BTreeMap<Name, Arc<CalendarTable>>,
    log: Vec<DayMarker>,
    /// When what was published by hand, rather than because it was due.
    by_hand: BTreeMap<(TenantId, Edge, Date), Instant>,
    schedule: Schedule,
}

impl Simulation {
    fn new(case: &Case, now: Instant) -> Self {
        let define = |(index, (calendar, grace_minutes, first)): (usize, &(usize, u64, i32))| {
            let mut tenant = tenant(&format!("t{index}"), 0);
            tenant.calendar = case.rules[calendar % case.rules.len()].clone();
            tenant.grace_ms = grace_minutes * 60_000;
            tenant.first_day = Date::from_days(*first);
            tenant
        };
        let tenants: Vec<_> = case.tenants.iter().enumerate().map(define).collect();
        let mut tables = BTreeMap::new();
        for tenant in &tenants {
            let name = table_name(&tenant.calendar, &tenant.clock);
            let table = tables.get(&name).map(Arc::as_ref);
            let grown = extend(table, &name, &tenant.calendar, tenant.first_day, now).unwrap();
            if let Some(grown) = grown {
                tables.insert(name, Arc::new(grown));
            }
        }
        let mut new = Self { tenants, tables, log: Vec::new(), by_hand: BTreeMap::new(), schedule: Schedule::new() };
        new.restart();
        new
    }

    fn restart(&mut self) {
        self.schedule = Schedule::new();
        for tenant in &self.tenants {
            let table = &self.tables[&table_name(&tenant.calendar, &tenant.clock)];
            self.schedule.define(tenant.clone(), Arc::clone(table)).unwrap();
        }
    }

    fn extend_tables(&mut self, now: Instant) {
        let system = name("system");
        let ahead = Duration::from_secs(3 * 86_400);
        let short = self.schedule.horizon_short(&system, now, ahead).into_iter();
        let grown: Vec<_> = short
            .filter_map(|(table, rules)| {
                extend(Some(table), &table.name, rules, table.first, now.after(ahead)).unwrap()
            })
            .collect();
        for table in grown.into_iter().map(Arc::new) {
            self.schedule.publish(&table);
            self.tables.insert(table.name.clone(), table);
        }
        assert!(self.schedule.horizon_short(&system, now, ahead).is_empty());
    }

    fn deadlines(&self) -> Vec<Option<Instant>> {
        self.schedule.tenants.values().map(Progress::next_deadline).collect()
    }

    /// Closes a day by hand, which must succeed if the day has begun and is still open when all is published that is
    /// due.
    fn close(&mut self, now: Instant, tenant: usize, newest: bool) -> Result<(), TestCaseError> {
        let id = self.tenants[tenant % self.tenants.len()].id.clone();
        let progress = self.schedule.get(&id).unwrap().clone();
        let table = Arc::clone(self.schedule.table(&id).unwrap());
        let date = if newest { progress.opened() } else { progress.unclosed(&table).map(|day| day.date) };
        let Some(date) = date else { return Ok(()) };
        let day = table.day(date).unwrap();
        let grace = Duration::from_millis(progress.tenant().grace_ms);
        match self.schedule.close_by_hand(&id, date, now) {
            Ok(closing) => {
                prop_assert!(day.opens_at <= now && now < day.closes_at.after(grace));
                for marker in closing.opened.iter().chain(&closing.closed) {
                    self.by_hand.insert((id.clone(), marker.edge, marker.day.date), now);
                }
                let markers = closing.into_markers();
                prop_assert_eq!(markers.last().map(|last| (last.edge, last.day)), Some((Closed, day)));
                for marker in markers {
                    prop_assert_eq!(self.schedule.observe(&marker), Observed::Applied);
                    self.log.push(marker);
                }
            }
            Err(error) => prop_assert!(now < day.opens_at || day.closes_at.after(grace) <= now, "{error}"),
        }
        Ok(())
    }

    fn step(&mut self, now: Instant, event: Event) -> Result<(), TestCaseError> {
        let deadlines = self.deadlines();
        match event {
            Event::Close { tenant, newest } => self.close(now, tenant, newest)?,
            Event::Publish { limit } => {
                let due = self.schedule.due(&name("system"), now, limit);
                let tenants: BTreeSet<_> = due.iter().map(|marker| &marker.tenant).collect();
                prop_assert_eq!(tenants.len(), due.len());
                prop_assert!(due.is_sorted_by_key(|marker| marker.due_at));
                for marker in due {
                    prop_assert!(marker.due_at <= now);
                    prop_assert_eq!(self.schedule.observe(&marker), Observed::Applied);
                    self.log.push(marker);
                }
            }
            Event::RestartFromAll => {
                self.restart();
                for marker in &self.log {
                    prop_assert_eq!(self.schedule.observe(marker), Observed::Applied);
                }
                prop_assert_eq!(self.deadlines(), deadlines);
            }
            Event::RestartFromLast => {
                self.restart();
                let last: BTreeMap<_, _> = self.log.iter().map(|m| ((m.tenant.clone(), m.edge), m)).collect();
                for marker in last.into_values() {
                    prop_assert_eq!(self.schedule.observe(marker), Observed::Applied);
                }
                prop_assert_eq!(self.deadlines(), deadlines);
            }
            Event::Duplicates => {
                for marker in self.log.iter().rev().take(9) {
                    prop_assert_eq!(self.schedule.observe(marker), Observed::Stale);
                }
            }
        }
        Ok(())
    }
}

/// The whole sequence of a tenant, by sorting all markers that there will ever be.
fn expected(
    tenant: &Tenant,
    table: &CalendarTable,
    by_hand: &BTreeMap<(TenantId, Edge, Date), Instant>,
    now: Instant,
) -> Vec<(Edge, BusinessDay, Instant)> {
    let dates = (0..table.cutoffs.len() as i32).map(|index| table.first.plus(index));
    let days = dates.filter(|date| *date >= tenant.first_day).filter_map(|date| table.day(date));
    let grace = Duration::from_millis(tenant.grace_ms);
    let markers = days.flat_map(|day| [(Opened, day, day.opens_at), (Closed, day, day.closes_at.after(grace))]);
    let early = |edge, date| by_hand.get(&(tenant.id.clone(), edge, date)).copied();
    let markers = markers.map(|(edge, day, due_at)| (edge, day, early(edge, day.date).unwrap_or(due_at)));
    let mut markers: Vec<_> = markers.filter(|(_, _, due_at)| *due_at <= now).collect();
    markers.sort_by_key(in_order);
    markers
}

fn in_order((edge, day, due_at): &(Edge, BusinessDay, Instant)) -> (Instant, Edge, Date) {
    (*due_at, *edge, day.date)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_marker_comes_once_and_in_order_whatever_happens(case in any_case()) {
        let mut now = Instant::from_millis(15_310 * 24 * HOUR);
        let mut simulation = Simulation::new(&case, now);
        for (minutes, event) in &case.steps {
            now = now.after(Duration::from_secs(*minutes as u64 * 60));
            simulation.extend_tables(now);
            simulation.step(now, *event)?;
        }
        while !simulation.schedule.due(&name("system"), now, 1).is_empty() {
            simulation.step(now, Event::Publish { limit: 3 })?;
        }
        for tenant in &simulation.tenants {
            let table = simulation.schedule.table(&tenant.id).unwrap();
            let log = simulation.log.iter().filter(|marker| marker.tenant == tenant.id);
            let log: Vec<_> = log.map(|marker| (marker.edge, marker.day, marker.due_at)).collect();
            prop_assert!(log.is_sorted_by_key(|(.., due_at)| *due_at));
            // At one instant a day closed by hand may stand before the next one's opening, and be right there.
            let mut sorted = log.clone();
            sorted.sort_by_key(in_order);
            prop_assert_eq!(&sorted, &expected(tenant, table, &simulation.by_hand, now));
            let of_edge = |edge| log.iter().filter(move |marker| marker.0 == edge).map(|(_, day, _)| *day);
            let (opened, closed): (Vec<_>, Vec<_>) = (of_edge(Opened).collect(), of_edge(Closed).collect());
            prop_assert!(opened.windows(2).all(|pair| pair[0].closes_at == pair[1].opens_at));
            prop_assert!(opened.starts_with(&closed) && closed.len() < opened.len().max(1));
            // A day closes behind its successor's opening.
            let place = |edge, date| log.iter().position(|(e, day, _)| *e == edge && day.date == date);
            for pair in opened.windows(2) {
                let close = place(Closed, pair[0].date);
                prop_assert!(close.is_none() || close > place(Opened, pair[1].date));
            }
        }
    }
}
