//! Pages that leave memory and come back: a machine of which closed days are always out says the same as one that keeps
//! everything.

use super::fixtures::*;
use super::replica::{bring_back, commit, passing};
use crate::residency::PageId;
use crate::{Effect, PartitionState};
use daybook_contracts::log::{Batch, Event, FORMAT, Record, Through};
use daybook_domain::catalogue::{Definition, Removal, Status};
use daybook_domain::ids::{InboxSeq, LogSeq};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Enough entities for some pages.
pub(super) const MANY: usize = 900;

/// Two machines that read the same log.
pub(super) struct Twins {
    /// Keeps everything in memory.
    pub(super) whole: PartitionState,
    /// Keeps as little as it can.
    pub(super) sparse: PartitionState,
    /// What the other has stored.
    pub(super) rows: Rows,
    position: u64,
    /// Open days leave memory like closed ones.
    has_open: bool,
    /// What the last batch caused.
    pub(super) effects: Vec<Effect>,
}

impl Twins {
    pub(super) fn new() -> Self {
        let [mut whole, mut sparse] = [(); 2].map(|()| PartitionState::new(PARTITION));
        whole.keep_digests();
        sparse.keep_digests();
        sparse.limit_closed(Some(0));
        let mut twins = Self { whole, sparse, rows: Rows::new(), position: 0, has_open: false, effects: Vec::new() };
        twins.apply(definitions());
        twins
    }

    pub(super) fn batch(&self, records: Vec<Record>) -> Batch {
        let through = Through { inbox: InboxSeq(self.position * 10), events: 0 };
        Batch { format: FORMAT, through, records }
    }

    /// Applies a batch to both, and returns the pages that had to come back.
    pub(super) fn apply(&mut self, records: Vec<Record>) -> BTreeSet<PageId> {
        self.position += 1;
        let batch = self.batch(records);
        assert_eq!(self.whole.needs(&batch), BTreeSet::new());
        let needs = bring_back(&mut self.sparse, &self.rows, &batch);
        assert_eq!(self.sparse.needs(&batch), BTreeSet::new());
        let position = LogSeq(self.position);
        self.effects = self.whole.apply(position, batch.clone());
        assert_eq!(self.sparse.apply(position, batch), self.effects);
        self.agree();
        needs
    }

    fn agree(&mut self) {
        assert_eq!(self.sparse.remembered().0, self.whole.remembered().0);
        assert_eq!(self.sparse.digest(), self.whole.digest());
        assert_eq!(self.sparse.sizes(), self.whole.sizes());
    }

    pub(super) fn orders(&mut self, events: Vec<Event>) -> BTreeSet<PageId> {
        let record = self.events("order", events);
        self.apply(vec![record])
    }

    pub(super) fn events(&self, kind: &str, events: Vec<Event>) -> Record {
        events_of("ABQ", kind, InboxSeq(self.position * 10 + 1), events)
    }

    pub(super) fn close(&mut self, day: i32) {
        use daybook_contracts::day::Edge;
        let edges = [Edge::Opened, Edge::Closed].map(|edge| Record::Day(marker("ABQ", edge, day)));
        assert_eq!(self.apply(edges.into()), BTreeSet::new(), "to seal a day takes none of its entities");
    }

    /// Stores what has changed, and lets go of so many rows of closed days.
    pub(super) fn store(&mut self, rows: usize) -> usize {
        let changes = self.sparse.checkpoint();
        assert_eq!(self.sparse.evict(usize::MAX), 0, "not before it is stored");
        commit(&mut self.rows, changes);
        self.sparse.stored();
        let gone = self.sparse.evict(rows);
        self.agree();
        gone
    }

    /// Begins again with what is stored.
    pub(super) fn restart(&mut self) {
        self.store(usize::MAX);
        let out = self.sparse.closed_residence().0;
        let restored = [
            PartitionState::restore_limited(PARTITION, &self.rows, Some(0)),
            PartitionState::restore_passing(PARTITION, passing(&self.rows).0, 0),
        ];
        for state in restored {
            self.sparse = state.unwrap().unwrap();
            if self.has_open {
                self.sparse =
                    std::mem::replace(&mut self.sparse, PartitionState::new(PARTITION)).with_open_days_limited();
            }
            self.sparse.keep_digests();
            assert!(self.sparse.closed_residence().0 <= out, "of closed days all that was out, of others nothing");
            self.agree();
        }
    }

    pub(super) fn out(&self) -> usize {
        self.sparse.closed_residence().0
    }
}

pub(super) fn many(day: i32) -> Vec<Event> {
    (0..MANY).map(|id| order(&format!("{day}-{id}"), Some(1), day)).collect()
}

fn dates(pages: &BTreeSet<PageId>) -> BTreeSet<i32> {
    let date = |page: &PageId| match page {
        PageId::Entities { date, .. } => date.as_days(),
        PageId::Hashes { .. } | PageId::Ids { .. } => panic!("these are pages of entities"),
    };
    pages.iter().map(date).collect()
}

#[test]
fn closed_days_leave_and_what_is_needed_of_them_comes_back() {
    let mut twins = Twins::new();
    twins.orders(many(0));
    assert_eq!(twins.store(usize::MAX), 0, "the day is open");
    twins.close(0);
    assert_eq!(twins.store(usize::MAX), MANY);
    let pages = twins.out();
    assert!(pages > 2 && twins.sparse.closed_residence().1 == 0);

    assert_eq!(twins.orders(many(1)), BTreeSet::new(), "new ids");
    assert_eq!(twins.orders(vec![order("0-7", Some(1), 0)]).len(), 1, "a duplicate");
    assert_eq!(twins.store(usize::MAX) / (MANY / pages / 2), 1, "it has not changed, and goes again");
    assert_eq!(twins.orders(vec![with_qty(9, order("0-7", Some(2), 0))]).len(), 1, "a correction");
    assert_eq!(twins.orders(vec![with_qty(8, order("0-7", Some(3), 0))]).len(), 0, "another: it is here");
    assert_eq!(dates(&twins.orders(vec![order("0-8", Some(2), 1)])), [0].into(), "one that moves");
    assert_eq!(twins.orders(vec![order("0-8", Some(1), 1)]).len(), 0, "a stale version, of where it is now");
    assert!(
        twins.orders(vec![order("0-9", Some(1), 2), with_status(Status::Void, order("0-9", Some(2), 0))]).len() < 3
    );
    twins.restart();
    assert_eq!(twins.out(), pages);
    twins.close(1);
    twins.restart();
    assert!(twins.out() >= 2 * pages);
    assert_eq!(dates(&twins.orders(vec![order("0-8", Some(7), 0)])), [0, 1].into(), "back to where it was");
}

#[test]
fn a_day_that_becomes_larger_comes_back_whole() {
    let mut twins = Twins::new();
    twins.orders(many(0));
    twins.close(0);
    twins.store(usize::MAX);
    let pages = twins.out();
    let late: Vec<Event> = (0..400).map(|id| order(&format!("late-{id}"), Some(1), 0)).collect();
    assert_eq!(twins.orders(late).len(), pages);
    twins.restart();
    assert!(twins.out() > pages);
}

#[test]
fn what_is_not_stored_stays() {
    let mut twins = Twins::new();
    twins.orders(many(0));
    twins.close(0);
    twins.store(usize::MAX);
    let pages = twins.out();
    twins.orders(vec![with_qty(2, order("0-1", Some(2), 0))]);
    // A checkpoint that is under way, and one that failed.
    let changes = twins.sparse.checkpoint();
    assert_eq!((twins.sparse.evict(usize::MAX), twins.out()), (0, pages - 1));
    commit(&mut twins.rows, changes);
    twins.orders(vec![with_qty(3, order("0-1", Some(3), 0))]);
    twins.sparse.stored();
    assert_eq!((twins.sparse.evict(usize::MAX), twins.out()), (0, pages - 1), "it has changed since");
    twins.store(usize::MAX);
    assert_eq!(twins.out(), pages);
}

#[test]
fn those_that_were_not_used_for_longest_leave_first() {
    let mut twins = Twins::new();
    for day in 0..3 {
        twins.orders(many(day));
        twins.close(day);
        twins.store(usize::MAX);
    }
    twins.sparse.limit_closed(Some(u64::MAX));
    let corrections = |day: i32| (0..MANY).map(move |id| order(&format!("{day}-{id}"), Some(2), day)).collect();
    for day in [1, 2, 0] {
        twins.orders(corrections(day));
        twins.store(usize::MAX);
    }
    assert_eq!(twins.out(), 0);
    let (_, bytes) = twins.sparse.closed_residence();
    twins.sparse.limit_closed(Some(bytes - 1));
    assert!(twins.store(usize::MAX) > 0);
    let needs = twins.orders(vec![order("0-1", Some(1), 0), order("1-1", Some(1), 1), order("2-1", Some(1), 2)]);
    assert_eq!((needs.len(), dates(&needs)), (1, [1].into()));
}

#[test]
fn a_kind_is_removed_from_days_that_are_out() {
    let mut twins = Twins::new();
    let clicks = |day| (0..300).map(|id| click(Some(&format!("{day}-{id}")), day)).collect::<Vec<_>>();
    let record = twins.events("click", clicks(0));
    twins.apply(vec![record]);
    twins.orders(many(0));
    twins.orders(many(1));
    twins.close(0);
    twins.close(1);
    twins.store(usize::MAX);
    let pages = twins.out();
    twins.restart();
    // One of the kind comes to a day that has none, and the kind comes again, with another number.
    let before = twins.events("click", vec![click(Some("x"), 1)]);
    let removal = Record::Define(Definition::Removal(Removal::Kind { name: name("click"), revision: 2 }));
    let again =
        Record::Define(Definition::Kind(daybook_domain::catalogue::Kind { revision: 3, ..super::fixtures::clicks() }));
    let behind = twins.events("click", vec![click(Some("0-1"), 0), click(Some("y"), 1)]);
    let needs = twins.apply(vec![before, removal, again, behind]);
    assert!(needs.len() <= pages && dates(&needs).contains(&0));
    twins.restart();
    assert_eq!(twins.sparse.sizes().entities, 2 * MANY + 2);
}

#[test]
fn a_tenant_is_removed_and_days_expire_while_they_are_out() {
    let mut twins = Twins::new();
    twins.orders(many(0));
    twins.close(0);
    twins.orders(many(1));
    twins.close(1);
    twins.restart();
    assert!(twins.out() > 0);
    let needs = twins.apply(vec![Record::Day(marker("ABQ", daybook_contracts::day::Edge::Closed, 36))]);
    assert_eq!(needs, BTreeSet::new());
    twins.restart();
    assert_eq!(twins.sparse.sizes().entities, MANY, "day 0 is over");
    assert_eq!(twins.orders(vec![order("0-1", Some(5), 2)]).len(), 0, "an id of a day that is over is new");
    twins.store(usize::MAX);
    let removal = Removal::Tenant { id: tenant_id("ABQ"), revision: 9, generation: 0, purge: false };
    assert_eq!(twins.apply(vec![Record::Define(Definition::Removal(removal))]), BTreeSet::new());
    assert_eq!((twins.out(), twins.sparse.closed_residence().1), (0, 0));
    twins.restart();
}

#[test]
fn a_page_that_is_not_the_one_that_left_is_refused() {
    let mut twins = Twins::new();
    twins.orders(many(0));
    twins.close(0);
    twins.store(usize::MAX);
    let batch = twins.batch(vec![twins.events("order", vec![order("0-1", Some(2), 0)])]);
    let needs = twins.sparse.needs(&batch);
    let page = needs.first().unwrap();
    let PageId::Entities { tenant, date: day, page: number } = page.clone() else { panic!("{page:?}") };
    let other = PageId::Entities { tenant: tenant.clone(), date: day, page: (number + 1) % 2 };
    assert!(twins.sparse.supply(page, &twins.rows[&other.key()]).is_err());
    assert!(twins.sparse.supply(page, b"\x93").is_err());
    twins.sparse.supply(page, &twins.rows[&page.key()]).unwrap();
    twins.sparse.supply(page, b"\x93").expect("it is here");
    let gone = PageId::Entities { tenant, date: date(9), page: number };
    twins.sparse.supply(&gone, b"\x93").expect("the day is gone");
}

/// What comes next: an order's number, its day and version; or a day closes; or so many rows leave; or a restart.
#[derive(Clone, Debug)]
enum Step {
    Orders(Vec<(u16, i32, u64, u8)>),
    Close(i32),
    Store(usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let order = (0_u16..500, 0_i32..4, 0_u64..6, 0_u8..4);
    let step = prop_oneof![
        6 => prop::collection::vec(order, 1..120).prop_map(Step::Orders),
        2 => (0_i32..4).prop_map(Step::Close),
        4 => prop_oneof![Just(usize::MAX), Just(1)].prop_map(Step::Store),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(4), ..ProptestConfig::default() })]

    #[test]
    fn pages_that_come_and_go_change_nothing(steps in steps(), of_open_days in any::<bool>()) {
        let mut twins = Twins::new();
        if of_open_days {
            twins.has_open = true;
            twins.sparse = twins.sparse.with_open_days_limited();
        }
        for step in steps {
            match step {
                Step::Orders(orders) => {
                    let status = |what| [Status::Final, Status::Final, Status::Draft, Status::Void][usize::from(what)];
                    let event = |(id, day, version, what): (u16, i32, u64, u8)| {
                        with_status(status(what), order(&id.to_string(), Some(version), day))
                    };
                    twins.orders(orders.into_iter().map(event).collect());
                }
                Step::Close(day) => twins.close(day),
                Step::Store(rows) => {
                    twins.store(rows);
                }
                Step::Restart => twins.restart(),
            }
        }
        twins.restart();
    }
}
