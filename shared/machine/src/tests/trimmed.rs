//! Views that are made of a trimmed log.

use super::fixtures::*;
use crate::PartitionState;
use crate::backfill::Found;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::{Activation, Definition, LatePolicy, View};
use daybook_domain::ids::LogSeq;

/// An order and a click on each of two days, the first of which has closed, and the state of then, to which the log is trimmed.
fn trimmed() -> (Shard, PartitionState) {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 1)]);
    shard.clicks(vec![click(Some("c"), 0), click(None, 1)]);
    shard.open(0);
    shard.open(1);
    shard.close(0);
    let rows = shard.state.checkpoint().put;
    let before = PartitionState::restore(PARTITION, rows).unwrap().unwrap();
    (shard, before)
}

/// Makes what is wanted from what stands behind `before`.
fn make(shard: &mut Shard, before: PartitionState) -> LogSeq {
    let (position, since) = (before.position(), LogSeq(before.position().0 + 1));
    let mut scratch = shard.state.begin_backfill();
    scratch.begin_with(before);
    for (position, batch) in shard.log.iter().filter(|(at, _)| *at > position).cloned() {
        scratch.apply(position, batch);
    }
    shard.state.finish_backfill(Found::of(scratch, Some(since)));
    while shard.state.add_backfill() {}
    since
}

fn activate(shard: &mut Shard, view: &str, since: LogSeq) {
    shard.define(Definition::Activation(Activation { view: name(view), revision: 1, since: Some(since) }));
}

#[test]
fn replicas_agree_on_a_view_of_a_trimmed_log_wherever_their_bases_are() {
    let policies = [LatePolicy::Restate, LatePolicy::CarryForward, LatePolicy::Reject];
    for late in policies {
        let said = [false, true].map(|is_late| {
            let (mut shard, before) = trimmed();
            shard.define(Definition::View(with_policy(late, by_city("later"))));
            shard.define(Definition::View(with_policy(late, click_totals("clicked"))));
            let mut before = Some(before);
            let mut since = LogSeq(0);
            if !is_late {
                since = make(&mut shard, before.take().unwrap());
            }
            shard.orders(vec![with_qty(5, order("x", Some(2), 0))]);
            // The one with an id says again what stands before the beginning of the log.
            shard.clicks(vec![click(None, 0), click(Some("c"), 0)]);
            if let Some(before) = before {
                since = make(&mut shard, before);
            }
            let views = ["later", "clicked"];
            views.into_iter().for_each(|view| activate(&mut shard, view, since));
            views.map(|view| [0, 1].map(|day| shard.rows(view, day)))
        });
        assert_eq!(said[0], said[1], "{late:?}");
        let expected = match late {
            LatePolicy::Restate => [["Bern 1 5", "Bern 1 1"], ["1 20", "0 0"]],
            LatePolicy::CarryForward => [["Bern 1 1", "Bern 1 5"], ["0 0", "1 20"]],
            LatePolicy::Reject => [["Bern 1 1", "Bern 1 1"], ["0 0", "0 0"]],
        };
        assert_eq!(said[0], expected.map(|days| days.map(|row| vec![row.to_owned()])), "{late:?}");
    }
}

#[test]
fn only_what_was_made_of_a_trimmed_log_is_partial() {
    let (mut shard, before) = trimmed();
    shard.define(tenant("SEA"));
    let sea = |shard: &Shard, id: &str| {
        let mut record = shard.events("click", vec![click(Some(id), 0)]);
        if let daybook_contracts::log::Record::Events(events) = &mut record {
            events.tenant = tenant_id("SEA");
        }
        record
    };
    let record = sea(&shard, "s");
    shard.apply(vec![record]);
    shard.define(Definition::View(only_for(&["ABQ"], click_totals("some"))));
    let since = make(&mut shard, before);
    activate(&mut shard, "some", since);
    let coverage = |shard: &mut Shard, tenant: &str, day: i32| {
        shard.ask(tenant, "some", &Query::days(DaySelector::Date(date(day)))).unwrap().coverage
    };
    assert!(matches!(coverage(&mut shard, "ABQ", 0), Coverage::Partial { from, .. } if from == since));
    shard.clicks(vec![click(None, 2)]);
    assert_eq!(coverage(&mut shard, "ABQ", 2), Coverage::Complete, "it began behind the beginning of the log");

    // For more tenants: those that have it keep what they have.
    shard.define(Definition::View(View { revision: 2, ..click_totals("some") }));
    let mut scratch = shard.state.begin_backfill();
    for (position, batch) in shard.log.iter().cloned() {
        scratch.apply(position, batch);
    }
    let later = LogSeq(shard.state.position().0 + 1);
    shard.state.finish_backfill(Found::of(scratch, Some(later)));
    while shard.state.add_backfill() {}
    shard.define(Definition::Activation(Activation { view: name("some"), revision: 2, since: Some(later) }));
    assert!(matches!(coverage(&mut shard, "ABQ", 0), Coverage::Partial { from, .. } if from == since));
    assert_eq!(coverage(&mut shard, "ABQ", 2), Coverage::Complete);
    assert!(matches!(coverage(&mut shard, "SEA", 0), Coverage::Partial { from, .. } if from == later));
}
