//! One small log per rule on restatements that are gathered.

use super::fixtures::*;
use super::replica::{commit, restore};
use crate::KEEP_DAYS;
use daybook_domain::catalogue::Status;

/// A shard with day 0 closed and day 1 open, of a tenant that gathers restatements.
fn shard() -> Shard {
    let mut shard = Shard::new();
    shard.define(gathered(tenant("ABQ")));
    shard.open(0);
    shard.open(1);
    shard.close(0);
    shard
}

fn late(shard: &mut Shard, id: &str) {
    shard.orders(vec![order(id, Some(1), 0)]);
}

#[test]
fn late_events_make_one_version_at_the_mark_and_answers_show_them_at_once() {
    let mut shard = shard();
    for (number, id) in ["x", "y", "z"].into_iter().enumerate() {
        late(&mut shard, id);
        assert_eq!(shard.rows("totals", 0), [format!("{0} {0} 0 0", number + 1)]);
    }
    assert_eq!((shard.versions(), shard.restating()), (vec![(0, 1)], vec![0]));
    shard.restate(Some("ABQ"));
    assert_eq!((shard.versions(), shard.restating()), (vec![(0, 1), (0, 2)], vec![]));
    let report = shard.last_report();
    assert_eq!((report.changes.len(), report.dispositions.counted), (3, 3));
    assert_eq!(report.log.through, shard.state.position());
    assert_eq!(report.supersedes.map(|old| old.version), Some(1));
}

#[test]
fn a_mark_with_nothing_to_restate_does_nothing() {
    let mut shard = shard();
    shard.restate(Some("ABQ"));
    shard.restate(None);
    // A tenant that is not known.
    shard.restate(Some("JFK"));
    late(&mut shard, "x");
    shard.restate(Some("JFK"));
    assert_eq!((shard.versions(), shard.restating()), (vec![(0, 1)], vec![0]));
    shard.restate(None);
    shard.restate(None);
    assert_eq!(shard.versions(), [(0, 1), (0, 2)]);
    // What changes no figure waits for nothing.
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!(shard.restating(), [0; 0]);
}

#[test]
fn the_day_that_an_order_leaves_waits_too() {
    let mut shard = shard();
    late(&mut shard, "x");
    shard.restate(None);
    shard.orders(vec![order("x", Some(2), 1)]);
    assert_eq!((shard.rows("totals", 0), shard.restating()), (vec!["0 0 0 0".to_owned()], vec![0]));
    shard.restate(None);
    assert_eq!(shard.versions(), [(0, 1), (0, 2), (0, 3)]);
    assert_eq!(shard.last_report().changes[0].what, "moved to 1970-01-02");
}

#[test]
fn the_first_version_of_a_day_waits_for_no_mark() {
    let mut shard = shard();
    shard.orders(vec![order("x", Some(1), 1)]);
    shard.close(1);
    assert_eq!((shard.versions(), shard.restating()), (vec![(0, 1), (1, 1)], vec![]));
}

#[test]
fn a_day_that_waits_is_sealed_before_it_can_no_longer_change() {
    let mut shard = shard();
    late(&mut shard, "x");
    shard.restate(None);
    late(&mut shard, "y");
    // Its account stays as it is when an order leaves it.
    shard.orders(vec![order("x", Some(2), 1)]);
    shard.open(KEEP_DAYS + 1);
    shard.close(KEEP_DAYS + 1);
    assert_eq!(shard.versions(), [(0, 1), (0, 2), (KEEP_DAYS + 1, 1), (0, 3)]);
    assert_eq!(shard.last_report().changes.len(), 2);
    shard.restate(None);
    assert_eq!(shard.versions().len(), 4);
}

#[test]
fn days_wait_through_a_restart() {
    let mut shard = shard();
    late(&mut shard, "x");
    let mut rows = Default::default();
    commit(&mut rows, shard.state.checkpoint());
    shard.state = restore(&rows);
    assert_eq!(shard.restating(), [0]);
    shard.restate(None);
    assert_eq!(shard.versions(), [(0, 1), (0, 2)]);
}

#[test]
fn a_tenant_that_no_longer_gathers_has_its_days_restated_at_once() {
    let mut shard = shard();
    late(&mut shard, "x");
    shard.define(tenant("ABQ"));
    assert_eq!((shard.versions(), shard.restating()), (vec![(0, 1), (0, 2)], vec![]));
    shard.orders(vec![with_status(Status::Void, order("x", Some(2), 0))]);
    assert_eq!(shard.versions(), [(0, 1), (0, 2), (0, 3)]);
}
