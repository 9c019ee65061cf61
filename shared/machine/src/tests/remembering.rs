//! Ids of days that can no longer be corrected: which events are rejects for them, for how long, and that this depends neither on how
//! they are kept nor on what is done to that beside the log.

use super::fixtures::*;
use super::replica::{commit, restore, run};
use super::residency::{MANY, Twins, many};
use crate::backfill::Found;
use crate::residency::PageId;
use crate::{Effect, KEEP_DAYS, PartitionState};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Event, Record};
use daybook_contracts::reject::{Code, Reject};
use daybook_contracts::report::Account;
use daybook_domain::catalogue::{Definition, Kind, Removal, Status};
use daybook_domain::ids::LogSeq;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn remembered_orders(days: u16) -> Definition {
    Definition::Kind(Kind { remember: Some(days), ..orders() })
}

fn remembered_clicks(days: u16) -> Definition {
    Definition::Kind(Kind { remember: Some(days), ..clicks() })
}

/// Days pass until day 0 can no longer be corrected.
fn beyond_correction(shard: &mut Shard) -> i32 {
    shard.close(0);
    let open = KEEP_DAYS + 2;
    shard.close(open - 1);
    shard.open(open);
    open
}

fn shard(days: u16) -> Shard {
    let mut shard = Shard::new();
    shard.define(remembered_orders(days));
    shard.define(remembered_clicks(days));
    shard.open(0);
    shard
}

#[test]
fn an_id_of_a_day_beyond_correction_is_a_reject_that_names_the_day() {
    let mut shard = shard(400);
    shard.orders(vec![order("x", Some(1), 0), order("y", None, 0)]);
    shard.clicks(vec![click(Some("c"), 0), click(None, 0)]);
    let open = beyond_correction(&mut shard);
    let void = with_status(Status::Void, order("x", Some(3), open));
    shard.orders(vec![order("x", Some(2), open), void, with_status(Status::Draft, order("y", None, open))]);
    shard.clicks(vec![click(Some("c"), open), click(None, open)]);
    shard.orders(vec![order("z", Some(1), open), order("c", Some(1), open)]);
    let told: Vec<(Code, Option<&str>)> =
        shard.rejects.iter().map(|reject| (reject.code, reject.field.as_deref())).collect();
    assert_eq!(told, [(Code::DayExpired, Some("id")); 4]);
    assert_eq!(
        shard.rejects[0].reason,
        "\"x\" is of business day 1970-01-01, which takes no corrections any more: they reach back 35 days, to 1970-01-02; publish \
         the difference as an event of its own, with another id and a time of the open day 1970-02-07"
    );
    assert_eq!(shard.rejects[0].date, Some(date(open)));
    let account = shard.accounts()[&open];
    assert_eq!((account.published, account.counted, account.rejected), (7, 3, 4));
    assert!(account.balances());
    assert_eq!(shard.rows("totals", open), ["2 2 0 0"]);
}

#[test]
fn an_id_is_known_for_as_many_days_as_its_kind_says() {
    for days in [35, 36, 40] {
        let mut shard = shard(days);
        shard.orders(vec![order("x", Some(1), 0), order("again", Some(1), 1)]);
        let mut outcomes = Vec::new();
        for day in [34, 35, 36, 39, 40, 41] {
            shard.close(day);
            let before = shard.rejects.len();
            // Of the last day before it opens: it counts, or not, and changes nothing.
            let mut probe = PartitionState::restore(PARTITION, shard.state.checkpoint().put).unwrap();
            let probe = probe.get_or_insert_with(|| unreachable!("there is a state"));
            let through = probe.through();
            let records = vec![events_of("ABQ", "order", through.inbox, vec![order("x", Some(2), day + 1)])];
            let batch = daybook_contracts::log::Batch { format: 1, through, records };
            let effects = probe.apply(LogSeq(probe.position().0 + 1), batch);
            outcomes.push((day, effects.iter().any(|effect| matches!(effect, Effect::Rejects { .. }))));
            assert_eq!(shard.rejects.len(), before);
            // All of it is dirty again, so that the next probe finds all rows.
            shard = again(shard);
        }
        let expected: Vec<(i32, bool)> =
            [34, 35, 36, 39, 40, 41].map(|day| (day, day > KEEP_DAYS && day <= i32::from(days))).into();
        assert_eq!(outcomes, expected, "{days}");
    }
}

/// The same shard, of whose state nothing is stored.
fn again(mut shard: Shard) -> Shard {
    shard.state = again_state(&shard);
    shard
}

#[test]
fn a_draft_whose_day_can_no_longer_be_corrected_is_pending_no_more() {
    let mut shard = shard(400);
    let draft = |id: &str, day| with_status(Status::Draft, order(id, Some(1), day));
    shard.orders(vec![draft("x", 0), draft("y", 0), order("z", Some(1), 0)]);
    shard.orders(vec![order("y", Some(2), 0)]);
    shard.close(0);
    assert_eq!(shard.last_report().dispositions.pending, 1);
    let open = beyond_correction(&mut shard);
    let last = shard.last_report();
    assert_eq!((last.date, last.version), (date(0), 2), "its last report says so");
    let expected = Account { published: 4, counted: 4, drafts: 2, ..Account::default() };
    assert_eq!(last.dispositions, expected);
    assert!(last.dispositions.balances() && last.changes.is_empty());
    shard.orders(vec![order("x", Some(2), open)]);
    assert_eq!(shard.rejects.last().unwrap().code, Code::DayExpired);
    assert_eq!(shard.rows("totals", open), ["0 0 0 0"]);
    // A draft of today is pending, as ever.
    shard.orders(vec![draft("new", open)]);
    assert_eq!(shard.accounts()[&open].pending, 1);
}

#[test]
fn what_is_forgotten_stays_forgotten() {
    let mut shard = shard(60);
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 20), order("z", Some(1), 22)]);
    shard.close(58);
    shard.open(59);
    assert_eq!(shard.state.remembered().0, 3);
    shard.define(remembered_orders(37));
    assert_eq!(shard.state.remembered().0, 1, "days 20 and before are more than 37 days before day 58");
    shard.define(remembered_orders(400));
    shard.orders(["x", "y", "z"].map(|id| order(id, Some(2), 59)).into());
    assert_eq!(shard.rejects.len(), 1);
    assert!(shard.rejects[0].reason.starts_with("\"z\" is of business day 1970-01-23"), "{:?}", shard.rejects);
    // From here on they are of the day on which they counted.
    shard.close(59);
    shard.close(96);
    shard.orders(vec![order("x", Some(3), 97)]);
    assert!(shard.rejects[1].reason.starts_with("\"x\" is of business day 1970-03-01"), "{:?}", shard.rejects);
}

#[test]
fn kinds_of_earlier_definitions_remember_nothing() {
    let mut shard = Shard::new();
    shard.orders(vec![with_status(Status::Draft, order("x", Some(1), 0))]);
    let open = beyond_correction(&mut shard);
    shard.orders(vec![order("x", Some(2), open)]);
    assert_eq!((shard.rejects.len(), shard.state.remembered().0), (0, 0));
    assert_eq!(shard.versions().iter().filter(|(day, _)| *day == 0).count(), 1, "the draft is pending for good");
}

#[test]
fn ids_go_with_their_kind_and_their_tenant() {
    let mut shard = shard(400);
    shard.state.keep_digests();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.clicks(vec![click(Some("x"), 0)]);
    let open = beyond_correction(&mut shard);
    let mut rows = Rows::new();
    commit(&mut rows, shard.state.checkpoint());
    assert!(rows.keys().any(|key| key.starts_with(b"iABQ")));
    let same_again = |shard: &mut Shard, rows: &mut Rows| {
        commit(rows, shard.state.checkpoint());
        let mut restored = restore(rows);
        restored.keep_digests();
        assert_eq!(restored.digest(), shard.state.digest());
    };
    shard.define(Definition::Removal(Removal::Kind { name: name("click"), revision: 2 }));
    same_again(&mut shard, &mut rows);
    assert_eq!(shard.state.remembered().0, 1);
    shard.define(remembered_clicks(400));
    shard.clicks(vec![click(Some("x"), open)]);
    assert_eq!(shard.rejects.len(), 0, "a kind of that name begins afresh");
    shard.define(Definition::Removal(Removal::Tenant {
        id: tenant_id("ABQ"),
        revision: 2,
        generation: 0,
        purge: false,
    }));
    same_again(&mut shard, &mut rows);
    assert!(!rows.keys().any(|key| key.starts_with(b"i")), "{rows:?}");
    assert_eq!(shard.state.remembered(), (0, 0));
}

fn remembering(days: u16) -> Twins {
    let mut twins = Twins::new();
    twins.apply(vec![Record::Define(remembered_orders(days)), Record::Define(remembered_clicks(days))]);
    twins
}

fn rejects(twins: &Twins) -> Vec<&Reject> {
    fn rejects(effect: &Effect) -> &[Reject] {
        match effect {
            Effect::Rejects { rejects, .. } => rejects,
            _ => &[],
        }
    }
    twins.effects.iter().flat_map(rejects).collect()
}

/// All of the upkeep, in pieces, each of which another follows only when it is in place.
fn keep_up(twins: &mut Twins) {
    while let Some(upkeep) = twins.sparse.begin_upkeep() {
        let kept = run(upkeep, &twins.rows);
        twins.sparse.end_upkeep(kept);
        twins.store(usize::MAX);
    }
}

#[test]
fn a_day_leaves_correction_while_its_pages_are_on_disk() {
    let mut twins = remembering(400);
    twins.orders(many(0));
    let click = twins.events("click", vec![click(Some("0-1"), 0)]);
    twins.apply(vec![click]);
    twins.close(0);
    twins.store(usize::MAX);
    let pages = twins.out();
    // One page is in memory, and has changed.
    twins.orders(vec![with_qty(7, order("0-7", Some(2), 0))]);
    twins.close(36);
    assert_eq!((twins.sparse.leaving_days(), twins.whole.leaving_days(), twins.out()), (1, 0, 0));
    assert_eq!(twins.sparse.remembered().0, MANY as u64 + 1);
    let probe = |twins: &mut Twins| {
        let ids = ["0-7", "0-8", "new", "0-899"];
        let needs = twins.orders(ids.map(|id| order(id, Some(9), 37)).into());
        let told: Vec<String> = rejects(twins).iter().map(|reject| reject.reason.clone()).collect();
        assert!(told.len() == 3 && told.iter().all(|told| told.contains("business day 1970-01-01")), "{told:?}");
        // That counted, and goes, so that the next probe is like this one.
        needs.iter().filter(|page| matches!(page, PageId::Entities { .. })).count()
    };
    assert!(probe(&mut twins) > 0, "pages of the day that left are looked at as they are");
    twins.store(usize::MAX);
    let kept = twins.rows.keys().filter(|key| key.starts_with(b"d\x80\0\0\0ABQ\0e")).count();
    assert_eq!(kept, pages - 1, "the page that was in memory is not needed any more");
    // A piece that is lost begins again.
    let lost = twins.sparse.begin_upkeep().unwrap();
    assert!(twins.sparse.begin_upkeep().is_none());
    drop(lost);
    twins.sparse.give_up_upkeep();
    keep_up(&mut twins);
    assert_eq!(twins.sparse.leaving_days(), 0);
    assert!(!twins.rows.keys().any(|key| key.starts_with(b"d\x80\0\0\0")), "nothing of the day is left");
    assert_eq!(probe(&mut twins), 0);
    twins.restart();
    assert_eq!(probe(&mut twins), 0);
}

#[test]
fn a_restart_converts_days_that_had_left() {
    let mut twins = remembering(400);
    twins.orders(many(0));
    twins.close(0);
    twins.store(usize::MAX);
    twins.close(36);
    twins.restart();
    assert_eq!(twins.sparse.leaving_days(), 0);
    twins.orders(vec![order("0-7", Some(9), 37), order("0-8", Some(9), 37)]);
    assert_eq!(rejects(&twins).len(), 2);
    twins.restart();
    assert!(!twins.rows.keys().any(|key| key.starts_with(b"d\x80\0\0\0")), "nothing of the day is left");
    // Of a day that is left, but whose pages are not what they were, nothing is used.
    let mut twins = remembering(400);
    twins.orders(many(0));
    twins.close(0);
    twins.store(usize::MAX);
    twins.close(36);
    twins.store(usize::MAX);
    let page = twins.rows.keys().find(|key| key.starts_with(b"d\x80\0\0\0ABQ\0e")).unwrap().clone();
    twins.rows.remove(&page);
    assert!(PartitionState::restore(PARTITION, &twins.rows).is_err());
}

/// What is stored while upkeep reads rows that are no longer part of the state can be read, and those rows go.
fn check_waiting_rows(mut twins: Twins, gone: Removal) {
    let reads = twins.sparse.begin_upkeep().expect("there is something to do");
    assert!(!reads.keys().is_empty(), "it reads rows");
    twins.apply(vec![Record::Define(Definition::Removal(gone))]);
    // Without `stored`, as in a crash behind the commit.
    commit(&mut twins.rows, twins.sparse.checkpoint());
    assert!(reads.keys().iter().all(|key| twins.rows.contains_key(key)), "they wait");
    let mut restored = restore(&twins.rows);
    restored.keep_digests();
    assert_eq!(restored.digest(), twins.sparse.digest());
    let mut rows = twins.rows.clone();
    commit(&mut rows, restored.checkpoint());
    assert!(reads.keys().iter().all(|key| !rows.contains_key(key)), "a restart removes them");
    // So does a checkpoint when the piece has ended, and what it reads has been converted.
    drop(reads);
    twins.sparse.give_up_upkeep();
    twins.sparse.stored();
    keep_up(&mut twins);
    twins.store(usize::MAX);
    assert_eq!(twins.rows.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>());
    assert!(!rows.contains_key(&b"a"[..]));
}

#[test]
fn rows_that_wait_for_upkeep_do_not_make_the_store_unreadable() {
    let tenant = || Removal::Tenant { id: tenant_id("ABQ"), revision: 2, generation: 0, purge: false };
    let kind = || Removal::Kind { name: name("order"), revision: 2 };
    // A day that is converted.
    for gone in [tenant(), kind()] {
        let mut twins = remembering(400);
        twins.orders(many(0));
        twins.close(0);
        twins.store(usize::MAX);
        twins.close(36);
        twins.store(usize::MAX);
        check_waiting_rows(twins, gone);
    }
    // Runs that are merged.
    for gone in [tenant(), kind()] {
        let mut twins = remembering(400);
        for day in 0..12 {
            twins.orders((0..20).map(|id| order(&format!("{day}-{id}"), Some(1), day)).collect());
            twins.close(day);
        }
        twins.store(usize::MAX);
        twins.close(60);
        twins.store(usize::MAX);
        while twins.sparse.leaving_days() > 0 {
            let kept = run(twins.sparse.begin_upkeep().unwrap(), &twins.rows);
            twins.sparse.end_upkeep(kept);
        }
        twins.store(usize::MAX);
        check_waiting_rows(twins, gone);
    }
}

/// What is stored of ids is refused when any of it is missing or another.
#[test]
fn ids_that_are_not_all_that_there_were_are_refused() {
    let mut twins = remembering(400);
    for day in 0..3 {
        twins.orders((0..20).map(|id| order(&format!("{day}-{id}"), Some(1), day)).collect());
    }
    twins.close(40);
    twins.store(usize::MAX);
    let of_ids: Vec<Vec<u8>> = twins.rows.keys().filter(|key| key.starts_with(b"i")).cloned().collect();
    assert!(of_ids.len() > 6);
    for key in &of_ids {
        let mut rows = twins.rows.clone();
        let row = rows.remove(key).unwrap();
        // Without a summary it is a run of an earlier build.
        let is_summary = key.len() == b"iABQ\0kkpbbbbrrrr".len();
        let refused = PartitionState::restore(PARTITION, &rows).is_err();
        assert!(refused != is_summary, "without {:?}", String::from_utf8_lossy(key));
        if key.contains(&b'p') {
            let last = row.len() - 1;
            let other = [&row[..last], &[row[last] ^ 1]].concat();
            rows.insert(key.clone(), other);
            assert!(PartitionState::restore(PARTITION, &rows).is_err(), "with another {key:?}");
        }
    }
}

#[test]
fn golden_bytes_of_remembered_ids() {
    let mut shard = shard(400);
    shard.orders(vec![order("x", Some(2), 0), order("yy", Some(1), 1)]);
    beyond_correction(&mut shard);
    shard.close(KEEP_DAYS + 2);
    let mut rows = Rows::new();
    commit(&mut rows, shard.state.checkpoint());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of_ids: Vec<(String, String)> =
        rows.iter().filter(|(key, _)| key[0] == b'i').map(|(key, value)| (hex(key), hex(value))).collect();
    let texts: Vec<(&str, &str)> = of_ids.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(texts, GOLDEN);
    let head = hex(&rows[&b"tABQ"[..]]);
    assert!(head.starts_with("98") && head.contains("9193"), "with their sums: {head}");
}

/// Days, buckets, and a page.
const GOLDEN: [(&str, &str); 3] = [
    (
        "694142510000006480000000",
        "92930001c410516f92c1248acb888fa83d3c87dfae87930101c410f2722155ba3c713b629ac38f8976da9a",
    ),
    ("6941425100000068", "c40100"),
    ("6941425100000070000000000000000200000000", "01000000000201027979000178"),
];

/// The filter, a page, and the days.
#[test]
fn golden_bytes_of_the_summary_of_a_run() {
    let mut twins = remembering(400);
    twins.orders(vec![order("x", Some(2), 0), order("yy", Some(1), 0)]);
    twins.close(0);
    twins.close(KEEP_DAYS + 1);
    twins.store(usize::MAX);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_summary = |key: &&Vec<u8>| key[0] == b'i' && key.len() == b"iABQ\0kkpbbbbrrrr".len();
    let summaries: Vec<(String, String)> =
        twins.rows.keys().filter(is_summary).map(|key| (hex(key), hex(&twins.rows[key]))).collect();
    assert_eq!(summaries, GOLDEN_SUMMARY.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

const GOLDEN_SUMMARY: [(&str, &str); 1] = [(
    "69414251000000700000000000000000",
    "940194cf2545f4914f6cdd1d000ac41200000000000a02000000000000008c000000c420418cb29e1c01da090000000200000021fb896ade055c9a2c25fd4bb954f8\
     97d891930002c410d359117b1fc41ca5caa6de4bf893da31",
)];

/// Which orders a scratch counts does not depend on whether it begins with the log or with a snapshot, nor on what is remembered since.
#[test]
fn a_view_that_comes_later_knows_the_same_ids() {
    let counted = |begin: usize| {
        let mut shard = shard(400);
        shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 2)]);
        beyond_correction(&mut shard);
        let states = |shard: &mut Shard| {
            let mut rows = Rows::new();
            let mut state = again_state(shard);
            commit(&mut rows, state.checkpoint());
            restore(&rows)
        };
        let mut before = vec![states(&mut shard)];
        shard.orders(vec![order("x", Some(2), 38)]);
        shard.define(remembered_orders(36));
        shard.close(38);
        before.push(states(&mut shard));
        shard.orders(vec![order("x", Some(3), 39), order("y", Some(2), 39)]);
        shard.define(remembered_orders(400));
        assert_eq!(shard.rejects.len(), 2, "{:?}", shard.rejects);
        shard.define(Definition::View(by_city("later")));
        let mut scratch = shard.state.begin_backfill();
        let since = match before.into_iter().nth(begin) {
            Some(before) => {
                let position = before.position();
                scratch.begin_with(before);
                position
            }
            None => LogSeq(0),
        };
        for (position, batch) in shard.log.iter().filter(|(at, _)| *at > since).cloned() {
            scratch.apply(position, batch);
        }
        shard.state.finish_backfill(Found::of(scratch, None));
        while shard.state.add_backfill() {}
        shard.activate("later", 1);
        [38, 39].map(|day| (shard.rows("later", day), shard.rows("totals", day)))
    };
    for begin in 0..3 {
        let [(later_38, totals_38), (later_39, totals_39)] = counted(begin);
        assert_eq!((later_38.len(), totals_38), (0, vec!["0 0 0 0".to_owned()]), "{begin}");
        assert_eq!((later_39, totals_39), (vec!["Bern 1 1".to_owned()], vec!["1 1 0 0".to_owned()]), "{begin}");
    }
}

/// The state that the log so far leads to.
fn again_state(shard: &Shard) -> PartitionState {
    let mut state = PartitionState::new(PARTITION);
    for (position, batch) in shard.log.clone() {
        state.apply(position, batch);
    }
    state
}

/// What comes next: orders and clicks with these ids on the open day; so many days pass; some of the upkeep; everything is stored and
/// leaves; a restart; or orders are remembered for another time.
#[derive(Clone, Debug)]
enum Step {
    Events(Vec<u16>),
    Pass(i32),
    Upkeep(usize),
    Store(usize),
    Restart,
    Remember(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec(0_u16..120, 1..40).prop_map(Step::Events),
        6 => prop_oneof![Just(1), 1_i32..20].prop_map(Step::Pass),
        6 => (1_usize..6).prop_map(Step::Upkeep),
        4 => prop_oneof![Just(usize::MAX), Just(1)].prop_map(Step::Store),
        1 => Just(Step::Restart),
        1 => prop::sample::select(vec![36_u16, 50, 80, 400]).prop_map(Step::Remember),
    ];
    prop::collection::vec(step, 1..90)
}

/// The naive model: the day of each id, and from which day on ids are remembered.
struct Naive {
    days: BTreeMap<u16, i32>,
    expired: i32,
    floor: i32,
    remember: i32,
}

impl Naive {
    fn pass(&mut self, closed: i32) {
        self.expired = self.expired.max(closed - KEEP_DAYS);
        self.forget();
    }

    fn forget(&mut self) {
        self.floor = self.floor.max(self.expired + KEEP_DAYS - self.remember);
    }

    /// Whether an event of the id is a reject on that day.
    fn refuses(&mut self, id: u16, on: i32) -> bool {
        let known = self.days.get(&id).copied().unwrap_or(i32::MIN);
        let is_refused = known < self.expired && known >= self.floor;
        if !is_refused {
            self.days.insert(id, on);
        }
        is_refused
    }
}

fn check(steps: Vec<Step>) {
    let mut twins = remembering(50);
    let mut naive = Naive { days: BTreeMap::new(), expired: 0, floor: 0, remember: 50 };
    let (mut today, mut version, mut kept) = (0, 0, None);
    for step in steps {
        match step {
            Step::Events(ids) => {
                version += 1;
                let event = |id: &u16| order(&format!("o-{id}"), Some(version), today);
                let mut ids = ids;
                ids.sort_unstable();
                ids.dedup();
                let expected = ids.iter().filter(|id| naive.refuses(**id, today)).count();
                let events: Vec<Event> = ids.iter().map(event).collect();
                twins.orders(events);
                let refused: u64 = rejects(&twins).iter().map(|reject| reject.events()).sum();
                assert_eq!(refused, expected as u64, "on day {today}");
            }
            Step::Pass(days) => {
                let edges = [Edge::Opened, Edge::Closed].map(|edge| Record::Day(marker("ABQ", edge, today)));
                twins.apply(edges.into());
                naive.pass(today);
                today += days;
            }
            Step::Upkeep(pieces) => {
                for _ in 0..pieces {
                    match kept.take() {
                        Some(done) => twins.sparse.end_upkeep(done),
                        None => kept = twins.sparse.begin_upkeep().map(|upkeep| run(upkeep, &twins.rows)),
                    }
                }
            }
            Step::Store(rows) => {
                twins.store(rows);
            }
            Step::Restart => {
                kept = None;
                twins.restart();
            }
            Step::Remember(days) => {
                twins.apply(vec![Record::Define(remembered_orders(days))]);
                naive.remember = i32::from(days);
                naive.forget();
            }
        }
    }
    if let Some(kept) = kept {
        twins.sparse.end_upkeep(kept);
    }
    keep_up(&mut twins);
    twins.restart();
    let live = naive.days.values().filter(|day| **day < naive.expired && **day >= naive.floor).count();
    assert_eq!(twins.sparse.remembered().0, live as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(2), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_runs_the_ids_are_those_of_the_model(steps in steps()) {
        check(steps);
    }
}
