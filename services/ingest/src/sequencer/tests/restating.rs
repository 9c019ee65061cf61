//! Which events wait for a mark, and what batches say of it. When marks are due: [`crate::restating`].

use super::*;
use crate::restating::QUIET;
use daybook_contracts::log::Restate;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Times of an order of day 1, and of day 2.
const DAY_1: i64 = 30 * HOUR_MS;
const DAY_2: i64 = 50 * HOUR_MS;

fn definitions(restate_after_ms: Option<u64>) -> [Definition; 4] {
    let fact = Kind { name: name("click"), mode: Mode::Fact, ..kind() };
    let tenant = Tenant { restate_after_ms, ..tenant("ABQ", 1) };
    let table = calendar("cal", &CUTOFF_HOURS);
    [Definition::Kind(kind()), Definition::Kind(fact), Definition::Calendar(table), Definition::Tenant(tenant)]
}

fn begin(marks: Marks, restate_after_ms: Option<u64>) -> Sequencer {
    Sequencer::new(subjects(), marks, definitions(restate_after_ms))
}

/// A sequencer of a tenant with an interval of a minute, from the beginning of the log on.
fn fresh() -> Sequencer {
    begin(Marks::default(), Some(60_000))
}

/// Gives it the close of day 1.
fn close(sequencer: &mut Sequencer) {
    let sequence = sequencer.marks().through.inbox.0 + 1;
    Message::marker(sequence, 7, &marker("ABQ", Edge::Closed, 1)).give(sequencer);
    assert_eq!(records(sequencer).len(), 1);
}

/// Gives it an event, and says whether the batch with it says that a mark is to come.
fn give(sequencer: &mut Sequencer, kind: &str, at_ms: i64) -> bool {
    let sequence = sequencer.marks().through.inbox.0 + 1;
    Message::events(sequence, "ABQ", kind, order("1", at_ms).to_string()).give(sequencer);
    let [cut] = drain(sequencer).try_into().unwrap();
    assert_eq!(events_of(&cut.batch.records).len(), 1, "{:?}", cut.batch.records);
    cut.marks.restating
}

/// What is recorded when the clock stands at `now`, and whether a mark is to come then.
fn restate(sequencer: &mut Sequencer, now: Duration) -> Option<(Vec<Record>, bool)> {
    sequencer.restate(now);
    let before = sequencer.marks().through;
    let cut = sequencer.cut()?;
    assert_eq!(cut.batch.through, before, "it covers nothing of INBOX");
    Some((cut.batch.records, cut.marks.restating))
}

fn mark(tenant: Option<&str>) -> Record {
    Record::Restate(Restate { tenant: tenant.map(|id| TenantId::new(id).unwrap()) })
}

#[test]
fn an_event_waits_when_it_may_change_a_closed_day() {
    let mut sequencer = fresh();
    assert!(!give(&mut sequencer, "order", DAY_1), "no day has closed");
    close(&mut sequencer);
    assert!(!give(&mut sequencer, "click", DAY_2), "a fact of an open day");
    assert_eq!(restate(&mut sequencer, MINUTE), None);
    assert!(give(&mut sequencer, "order", DAY_2), "its entity may leave a closed day");
    assert_eq!(restate(&mut sequencer, MINUTE), None);
    assert_eq!(restate(&mut sequencer, MINUTE + QUIET), Some((vec![mark(Some("ABQ"))], false)));
    assert!(give(&mut sequencer, "click", DAY_1), "a fact of a closed day");
    assert_eq!(restate(&mut sequencer, MINUTE + QUIET), None);
    let again = 2 * MINUTE + QUIET;
    assert_eq!(restate(&mut sequencer, again - Duration::from_millis(1)), None, "once a minute");
    assert_eq!(restate(&mut sequencer, again), Some((vec![mark(Some("ABQ"))], false)));
    assert_eq!(restate(&mut sequencer, 9 * MINUTE), None);
}

/// The report that the close makes rests on its batch, and what comes later and waits is not in it.
#[test]
fn what_comes_behind_a_close_and_waits_is_in_another_batch() {
    for (restate_after_ms, batches) in [(Some(60_000), 2), (Some(0), 1)] {
        let mut sequencer = begin(Marks::default(), restate_after_ms);
        Message::marker(1, 7, &marker("ABQ", Edge::Closed, 1)).give(&mut sequencer);
        for sequence in [2, 3] {
            let order = order(&sequence.to_string(), DAY_1).to_string();
            Message::events(sequence, "ABQ", "order", order).give(&mut sequencer);
        }
        let cuts = drain(&mut sequencer);
        assert_eq!(cuts.len(), batches);
        assert_eq!(cuts.last().unwrap().batch.through, through(3, 0));
        if batches > 1 {
            assert_eq!((cuts[0].batch.through, cuts[0].batch.records.len()), (through(1, 0), 1));
        }
    }
}

#[test]
fn nothing_waits_for_tenants_that_are_restated_at_once() {
    for restate_after_ms in [None, Some(0)] {
        let mut sequencer = begin(Marks::default(), restate_after_ms);
        close(&mut sequencer);
        assert!(!give(&mut sequencer, "order", DAY_1));
        assert_eq!(restate(&mut sequencer, 9 * MINUTE), None);
    }
}

#[test]
fn what_waits_is_marked_at_once_when_its_tenant_no_longer_gathers() {
    let mut sequencer = fresh();
    close(&mut sequencer);
    assert!(give(&mut sequencer, "order", DAY_1));
    let [.., tenant] = definitions(Some(0));
    Message::definition(9, 9, &tenant).give(&mut sequencer);
    assert_eq!(records(&mut sequencer).len(), 1);
    assert_eq!(restate(&mut sequencer, Duration::ZERO), Some((vec![mark(Some("ABQ"))], false)));
}

#[test]
fn an_owner_behind_a_batch_that_says_so_marks_for_all_tenants() {
    let mut first = fresh();
    close(&mut first);
    let sequence = first.marks().through.inbox.0 + 1;
    Message::events(sequence, "ABQ", "order", order("1", DAY_1).to_string()).give(&mut first);
    let marks = first.cut().unwrap().marks;
    let mut second = begin(marks, Some(60_000));
    assert_eq!(restate(&mut second, MINUTE), None);
    assert_eq!(restate(&mut second, MINUTE + QUIET), Some((vec![mark(None)], false)));

    // Which days are closed it learns with the next marker: until then, every event may be late.
    let behind = Marks { through: through(sequence, 0), ..Marks::default() };
    let mut third = begin(behind, Some(60_000));
    assert_eq!(restate(&mut third, 9 * MINUTE), None, "nothing was left to it");
    assert!(give(&mut third, "click", DAY_2));
    assert!(restate(&mut third, 9 * MINUTE).is_none() && restate(&mut third, 10 * MINUTE).is_some());
    close(&mut third);
    assert!(!give(&mut third, "click", DAY_2));
}

#[test]
fn batches_say_that_a_mark_is_to_come_until_it_is_there() {
    let mut sequencer = fresh();
    close(&mut sequencer);
    assert!(give(&mut sequencer, "order", DAY_1));
    assert!(give(&mut sequencer, "click", DAY_2), "for the order before");
    // Together with what came meanwhile.
    sequencer.restate(Duration::ZERO);
    let sequence = sequencer.marks().through.inbox.0 + 1;
    Message::events(sequence, "ABQ", "order", order("2", DAY_1).to_string()).give(&mut sequencer);
    sequencer.restate(MINUTE);
    let [cut] = drain(&mut sequencer).try_into().unwrap();
    assert!(matches!(&cut.batch.records[..], [Record::Events(_), last] if *last == mark(Some("ABQ"))));
    assert!(!cut.marks.restating);
}
