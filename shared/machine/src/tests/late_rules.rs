//! One small log per rule on views that come late, and on events that do.

use super::fixtures::*;
use super::replica::{commit, restore};
use crate::backfill::Found;
use daybook_contracts::ask::{AskErrorCode, DaySelector, Pieces, Query};
use daybook_contracts::day::Edge;
use daybook_contracts::log::Record;
use daybook_contracts::reject::Code;
use daybook_contracts::report::{Account, Coverage};
use daybook_domain::catalogue::{
    Definition, Direction, Earliest, Grain, LateChange, LatePolicy, RankedBy, Ranking, Status, Ties, View,
};
use std::collections::BTreeMap;

const UNKNOWN: Result<Vec<String>, AskErrorCode> = Err(AskErrorCode::UnknownView);

fn account(published: u64, counted: u64) -> Account {
    Account { published, counted, ..Account::default() }
}

/// A shard on which `order` has one view, `firm`, `carried` or `restated`, by its policy.
fn shard_with(policies: &[LatePolicy]) -> Shard {
    let mut shard = Shard::new();
    // Its own view is for somebody else.
    shard.define(Definition::View(only_for(&["JFK"], View { revision: 2, ..totals() })));
    for policy in policies {
        shard.define(Definition::View(with_policy(*policy, by_city(view_of(*policy)))));
    }
    shard
}

fn view_of(policy: LatePolicy) -> &'static str {
    match policy {
        LatePolicy::Restate => "restated",
        LatePolicy::CarryForward => "carried",
        LatePolicy::Reject => "firm",
    }
}

/// Rows of the view for that tenant on day 0.
fn rows_for(shard: &mut Shard, tenant: &str, view: &str) -> Result<Vec<String>, AskErrorCode> {
    shard.ask(tenant, view, &Query::days(DaySelector::Date(date(0)))).map(|answer| texts(&answer.rows))
}

fn changes(shard: &Shard) -> Vec<String> {
    shard.last_report().changes.iter().map(|change| change.what.to_string()).collect()
}

// --- views come into force ---

#[test]
fn a_view_that_has_missed_nothing_is_in_force_at_once() {
    let mut shard = Shard::new();
    shard.clicks(vec![click(None, 0)]);
    shard.define(Definition::View(by_city("cities")));
    assert!(!shard.state.wants_backfill());
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!(shard.rows("cities", 0), ["Bern 1 1"]);
}

#[test]
fn a_view_that_has_missed_events_is_pending_until_its_activation() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("cities")));
    assert_eq!(rows_for(&mut shard, "ABQ", "cities"), Err(AskErrorCode::Unavailable));
    shard.make_everything();
    assert_eq!(rows_for(&mut shard, "ABQ", "cities"), Err(AskErrorCode::Unavailable));
    shard.close(0);
    assert!(!shard.last_report().views.contains_key(&name("cities")));
    shard.activate("cities", 1);
    assert_eq!(shard.rows("cities", 0), ["Bern 1 1"]);
    assert_eq!(shard.versions(), [(0, 1)], "a view that comes into force seals nothing");
}

#[test]
fn what_happens_while_a_view_is_made_is_in_it_once() {
    let mut shard = Shard::new();
    shard.define(Definition::View(by_city("early")));
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 1)]);
    shard.define(Definition::View(by_city("late")));
    let scratch = shard.begin_job();
    shard.orders(vec![order("x", Some(2), 1), with_qty(5, order("z", Some(1), 0))]);
    shard.end_job(scratch);
    shard.orders(vec![with_qty(7, order("y", Some(2), 0))]);
    shard.activate("late", 1);
    shard.orders(vec![with_status(Status::Void, order("z", Some(2), 0))]);
    for day in 0..2 {
        assert_eq!(shard.rows("late", day), shard.rows("early", day));
        assert_eq!(shard.answer("late", day).coverage, Coverage::Complete);
    }
    assert_eq!(shard.rows("late", 0), ["Bern 1 7"]);
}

#[test]
fn a_late_view_of_facts_has_those_from_before_it() {
    let mut shard = Shard::new();
    shard.clicks(vec![click(None, 0), click(Some("x"), 0)]);
    shard.define_and_activate(click_totals("late"));
    shard.clicks(vec![click(None, 0)]);
    assert_eq!(shard.rows("late", 0), ["3 60"]);
    assert_eq!(shard.answer("late", 0).coverage, Coverage::Complete);
}

#[test]
fn a_revision_leaves_the_former_one_in_force_until_its_activation() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(View { revision: 2, ..by_city("totals") }));
    assert_eq!((shard.rows("totals", 0), shard.answer("totals", 0).definition), (vec!["1 1 0 0".into()], 1));
    shard.make_everything();
    shard.activate("totals", 2);
    assert_eq!((shard.rows("totals", 0), shard.answer("totals", 0).definition), (vec!["Bern 1 1".into()], 2));
}

#[test]
fn an_activation_of_another_revision_than_the_pending_one_does_nothing() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(View { revision: 2, ..by_city("totals") }));
    shard.define(Definition::View(View { revision: 3, ..by_city("totals") }));
    shard.activate("totals", 2);
    shard.activate("clicks", 1);
    assert_eq!(shard.answer("totals", 0).definition, 1);
}

#[test]
fn a_revision_that_comes_while_the_one_before_is_made_is_made_too() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(View { revision: 2, ..by_city("totals") }));
    let scratch = shard.begin_job();
    let by_sku = view("totals", "order", &["sku"], by_city("totals").metrics);
    shard.define(Definition::View(View { revision: 3, ..by_sku.clone() }));
    shard.end_job(scratch);
    shard.make_everything();
    shard.activate("totals", 3);
    assert_eq!(shard.rows("totals", 0), ["a 1 1"]);
    // So it is when the one before is ready already.
    shard.define(Definition::View(View { revision: 4, ..by_city("totals") }));
    shard.make_everything();
    shard.define(Definition::View(View { revision: 5, ..totals() }));
    shard.make_everything();
    shard.activate("totals", 5);
    assert_eq!(shard.rows("totals", 0), ["1 1 0 0"]);
}

#[test]
fn a_view_that_waits_for_its_activation_holds_up_no_other() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("one")));
    shard.make_everything();
    shard.define(Definition::View(by_city("other")));
    shard.make_everything();
    shard.activate("other", 1);
    shard.activate("one", 1);
    assert_eq!(shard.rows("other", 0), ["Bern 1 1"]);
    assert_eq!(shard.rows("one", 0), ["Bern 1 1"]);
}

#[test]
fn a_job_is_forgotten_by_a_restart_and_begins_again() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("late")));
    shard.make_everything();
    assert!(!shard.state.wants_backfill());
    let mut rows = BTreeMap::new();
    commit(&mut rows, shard.state.checkpoint());
    shard.state = restore(&rows);
    shard.make_everything();
    shard.activate("late", 1);
    assert_eq!(shard.rows("late", 0), ["Bern 1 1"]);
}

#[test]
fn a_late_view_brings_the_day_to_which_it_carries() {
    let mut shard = Shard::new();
    shard.close(0);
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!(shard.accounts().into_keys().collect::<Vec<_>>(), [0]);
    shard.define_and_activate(with_policy(LatePolicy::CarryForward, by_city("late")));
    assert_eq!(shard.rows("late", 1), ["Bern 1 1"]);
    assert_eq!(shard.accounts()[&1], Account::default());
}

#[test]
fn a_late_view_has_the_events_of_before_the_first_day_moved() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    let Definition::Tenant(moved) = tenant("ABQ") else { unreachable!("a tenant") };
    shard.define(Definition::Tenant(daybook_domain::catalogue::Tenant { first_day: date(2), revision: 2, ..moved }));
    shard.define_and_activate(by_city("late"));
    // It is no day of the tenant any more, but an event of it.
    let days = Query::days(DaySelector::Range(date(0), date(2)));
    assert_eq!(shard.ask("ABQ", "late", &days).map(|answer| texts(&answer.rows)), Ok(vec!["Bern 1 1".into()]));
}

#[test]
fn a_first_day_moves_until_a_day_opens() {
    let mut rows = BTreeMap::new();
    let mut first_day_is = |shard: &mut Shard, day: i32, revision| {
        let Definition::Tenant(moved) = tenant("JFK") else { unreachable!("a tenant") };
        let moved = daybook_domain::catalogue::Tenant { first_day: date(day), revision, ..moved };
        shard.define(Definition::Tenant(moved));
        commit(&mut rows, shard.state.checkpoint());
        assert_eq!(restore(&rows).tenants["JFK"].first_day, shard.state.tenants["JFK"].first_day);
        let tenant = &shard.state.tenants["JFK"];
        (tenant.first_day, tenant.expired_before)
    };
    let mut shard = Shard::new();
    assert_eq!(first_day_is(&mut shard, 5, 1), (date(5), date(5)));
    assert_eq!(first_day_is(&mut shard, 2, 2), (date(2), date(2)));
    assert_eq!(first_day_is(&mut shard, 4, 3), (date(4), date(4)));
    // A day that opened stays, and what is before it.
    shard.apply(vec![Record::Day(marker("JFK", Edge::Opened, 4))]);
    assert_eq!(first_day_is(&mut shard, 1, 4), (date(4), date(4)));
}

// --- views for some tenants ---

#[test]
fn a_view_for_some_tenants_is_unknown_to_others() {
    let mut shard = Shard::new();
    shard.define(tenant("JFK"));
    shard.define(Definition::View(only_for(&["JFK"], by_city("some"))));
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.close(0);
    assert_eq!(rows_for(&mut shard, "ABQ", "some"), UNKNOWN);
    assert!(!shard.last_report().views.contains_key(&name("some")));
    assert_eq!(rows_for(&mut shard, "JFK", "some"), Err(AskErrorCode::UnknownDay));
}

#[test]
fn a_revision_for_a_tenant_without_events_is_in_force_at_once() {
    let mut shard = Shard::new();
    shard.define(Definition::View(only_for(&["ABQ"], by_city("some"))));
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(tenant("JFK"));
    shard.define(Definition::View(revised(only_for(&["ABQ", "JFK"], by_city("some")))));
    assert_eq!(shard.rows("some", 0), ["Bern 1 1"]);
    assert_eq!(shard.answer("some", 0).definition, 2);
    assert_eq!(rows_for(&mut shard, "JFK", "some"), Err(AskErrorCode::UnknownDay));
}

#[test]
fn a_revision_that_adds_a_tenant_with_events_keeps_the_windows_of_the_others_meanwhile() {
    let mut shard = Shard::new();
    shard.define(tenant("JFK"));
    shard.define(Definition::View(only_for(&["JFK"], by_city("some"))));
    shard.orders(vec![order("x", Some(1), 0)]);
    let record = order_of("JFK", &shard);
    shard.apply(vec![record]);
    shard.define(Definition::View(revised(only_for(&["ABQ", "JFK"], by_city("some")))));
    assert_eq!(rows_for(&mut shard, "ABQ", "some"), Err(AskErrorCode::Unavailable));
    assert_eq!(rows_for(&mut shard, "JFK", "some"), Ok(vec!["Bern 1 1".into()]));
    shard.make_everything();
    shard.activate("some", 2);
    for tenant in ["ABQ", "JFK"] {
        assert_eq!(rows_for(&mut shard, tenant, "some"), Ok(vec!["Bern 1 1".into()]));
    }
    shard.define(Definition::View(View { revision: 3, ..only_for(&["ABQ"], by_city("some")) }));
    assert_eq!((rows_for(&mut shard, "JFK", "some"), shard.rows("some", 0)), (UNKNOWN, vec!["Bern 1 1".into()]));
}

/// One order of that tenant on day 0.
fn order_of(tenant: &str, shard: &Shard) -> daybook_contracts::log::Record {
    let daybook_contracts::log::Record::Events(events) = shard.events("order", vec![order("x", Some(1), 0)]) else {
        unreachable!("made of events")
    };
    daybook_contracts::log::Record::Events(daybook_contracts::log::Events { tenant: tenant_id(tenant), ..events })
}

// --- late policies ---

#[test]
fn a_late_change_is_posted_to_the_open_day() {
    let mut shard = shard_with(&[LatePolicy::CarryForward]);
    shard.open(0);
    shard.orders(vec![with_qty(5, order("x", Some(1), 0))]);
    shard.close(0);
    shard.open(1);
    shard.orders(vec![with_qty(7, order("x", Some(2), 0))]);
    assert_eq!(
        (shard.rows("carried", 0), shard.rows("carried", 1)),
        (vec!["Bern 1 5".into()], vec!["Bern 0 2".into()])
    );
    assert_eq!(shard.accounts()[&0], Account { carried: 1, ..account(2, 1) });
    assert_eq!(shard.accounts()[&1], Account::default());
    shard.close(1);
    assert_eq!((shard.versions(), changes(&shard)), (vec![(0, 1), (1, 1)], vec!["carried from 1970-01-01".into()]));
    assert_eq!(shard.last_report().views[&name("carried")].adjustments, 2);
    // The next goes to the first day that is not closed.
    shard.orders(vec![with_qty(8, order("x", Some(3), 0))]);
    assert_eq!(shard.rows("carried", 2), ["Bern 0 1"]);
}

#[test]
fn a_change_out_of_a_closed_day_into_an_open_one_is_carried_in_half() {
    let mut shard = shard_with(&[LatePolicy::CarryForward]);
    shard.orders(vec![with_qty(5, order("x", Some(1), 0))]);
    shard.close(0);
    shard.open(1);
    shard.orders(vec![with_qty(7, order("x", Some(2), 2))]);
    let rows = [0, 1, 2].map(|day| shard.rows("carried", day));
    assert_eq!(rows, [["Bern 1 5"], ["Bern -1 -5"], ["Bern 1 7"]]);
    assert_eq!(shard.accounts()[&2], Account { carried: 1, ..account(1, 0) });
}

#[test]
fn a_late_draft_that_is_carried_or_refused_is_not_pending() {
    for policy in [LatePolicy::CarryForward, LatePolicy::Reject] {
        let mut shard = shard_with(&[policy]);
        let draft = |id: &str| with_status(Status::Draft, order(id, Some(1), 0));
        shard.orders(vec![draft("open")]);
        shard.close(0);
        shard.orders(vec![draft("late")]);
        let aside = |count| match policy {
            LatePolicy::CarryForward => Account { carried: count, ..Account::default() },
            _ => Account { rejected: count, ..Account::default() },
        };
        let known = Account { published: 2, pending: 1, drafts: 1, ..aside(1) };
        assert_eq!(shard.accounts()[&0], known, "{policy:?}");
        // Both become final on the closed day: only the one that was pending is counted for it.
        let ends = ["late", "open"].map(|id| order(id, Some(2), 0));
        shard.orders(ends.into());
        assert_eq!(shard.accounts()[&0], Account { published: 4, counted: 1, drafts: 1, ..aside(3) }, "{policy:?}");
    }
}

#[test]
fn a_late_change_is_refused() {
    let mut shard = shard_with(&[LatePolicy::Reject]);
    shard.orders(vec![with_qty(5, order("x", Some(1), 0))]);
    shard.close(0);
    shard.orders(vec![with_qty(7, order("x", Some(2), 0)), order("y", Some(1), 0)]);
    assert_eq!(shard.rows("firm", 0), ["Bern 1 5"]);
    assert_eq!(shard.accounts()[&0], Account { rejected: 2, ..account(3, 1) });
    assert_eq!(shard.rejects.iter().map(|reject| reject.code).collect::<Vec<_>>(), [Code::Late; 2]);
    assert_eq!(shard.versions(), [(0, 1)]);
    // The entity's newest version advances all the same.
    shard.orders(vec![with_qty(7, order("x", Some(2), 0))]);
    assert_eq!(shard.accounts()[&0].duplicate, 1);
    // And what is held on a closed day stays where it is.
    shard.orders(vec![with_qty(9, order("x", Some(3), 1))]);
    shard.orders(vec![with_qty(10, order("x", Some(4), 1))]);
    assert_eq!((shard.rows("firm", 0), shard.rows("firm", 1)), (vec!["Bern 1 5".into()], vec![]));
    // Of this one nothing was held.
    shard.orders(vec![with_qty(3, order("y", Some(2), 1))]);
    assert_eq!(shard.rows("firm", 1), ["Bern 1 3"] as [&str; 1], "{:?}", shard.accounts());
}

#[test]
fn what_is_held_does_not_depend_on_the_views() {
    let mut shard = shard_with(&[LatePolicy::Restate]);
    shard.orders(vec![with_qty(5, order("x", Some(1), 0))]);
    shard.close(0);
    shard.orders(vec![with_qty(7, order("x", Some(2), 0))]);
    shard.define_and_activate(with_policy(LatePolicy::Reject, by_city("firm")));
    shard.orders(vec![with_qty(9, order("x", Some(3), 1))]);
    assert_eq!((shard.rows("firm", 0), shard.rows("firm", 1)), (vec!["Bern 1 5".into()], vec![]));
    assert_eq!((shard.rows("restated", 0), shard.rows("restated", 1)), (vec![], vec!["Bern 1 9".into()]));
}

#[test]
fn one_view_that_restates_makes_a_late_event_count() {
    let mut shard = shard_with(&LatePolicy::ALL);
    shard.open(0);
    shard.close(0);
    shard.open(1);
    shard.orders(vec![order("x", Some(1), 0), with_status(Status::Draft, order("y", Some(1), 0))]);
    assert_eq!(shard.accounts()[&0], Account { pending: 1, drafts: 1, ..account(2, 1) });
    assert_eq!(
        (shard.versions(), changes(&shard)),
        (vec![(0, 1), (0, 2)], vec!["late final".into(), "late draft".into()])
    );
    assert_eq!((shard.rows("restated", 0), shard.rows("restated", 1)), (vec!["Bern 1 1".into()], vec![]));
    assert_eq!((shard.rows("carried", 0), shard.rows("carried", 1)), (vec![], vec!["Bern 1 1".into()]));
    assert_eq!((shard.rows("firm", 0), shard.rows("firm", 1)), (Vec::<String>::new(), vec![]));
    assert!(shard.rejects.is_empty());
}

#[test]
fn without_a_view_in_force_a_late_event_counts_and_makes_a_version() {
    let mut shard = shard_with(&[]);
    shard.close(0);
    shard.orders(vec![order("x", Some(1), 0)]);
    assert_eq!((shard.accounts()[&0], shard.versions()), (account(1, 1), vec![(0, 1), (0, 2)]));
}

#[test]
fn a_draft_that_leaves_a_closed_day_is_not_late() {
    let drafts = |policy: LatePolicy| {
        let metrics = vec![metric("drafts", "count", ANY, &[Status::Draft]), metric("n", "count", ANY, FINAL)];
        Definition::View(with_policy(policy, view(view_of(policy), "order", &[], metrics)))
    };
    for (restates, versions) in [(true, vec![(0, 1), (0, 2)]), (false, vec![(0, 1)])] {
        let mut shard = shard_with(&[]);
        shard.define(drafts(LatePolicy::CarryForward));
        shard.define(drafts(LatePolicy::Reject));
        if restates {
            shard.define(drafts(LatePolicy::Restate));
        }
        shard.open(0);
        shard.orders(vec![with_status(Status::Draft, order("x", Some(1), 0))]);
        shard.close(0);
        shard.open(1);
        shard.orders(vec![order("x", Some(2), 2)]);
        assert_eq!(shard.accounts()[&2], account(1, 1), "not late");
        assert_eq!(shard.versions(), versions);
        let mut rows = |view: &str| [0, 1, 2].map(|day| shard.rows(view, day).concat());
        assert_eq!(rows("carried"), ["1 0", "-1 0", "0 1"]);
        // The draft stays frozen.
        assert_eq!(rows("firm"), ["1 0", "0 0", "0 1"]);
        if restates {
            assert_eq!(rows("restated"), ["0 0", "0 0", "0 1"]);
        }
    }
}

#[test]
fn a_late_fact_goes_by_the_policies_and_is_a_duplicate_the_second_time() {
    let mut shard = Shard::new();
    shard.define(Definition::View(revised(with_policy(LatePolicy::Reject, click_totals("clicks")))));
    shard.close(0);
    shard.clicks(vec![click(Some("x"), 0), click(Some("x"), 0), click(None, 0)]);
    assert_eq!(shard.rows("clicks", 0), ["0 0"]);
    assert_eq!(shard.accounts()[&0], Account { duplicate: 1, rejected: 2, ..account(3, 0) });
    assert_eq!(shard.rejects.iter().map(|reject| reject.code).collect::<Vec<_>>(), [Code::Late; 2]);
}

#[test]
fn what_is_held_on_a_day_that_is_gone_can_be_stored() {
    let mut shard = shard_with(&[LatePolicy::Reject]);
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.close(0);
    shard.orders(vec![order("x", Some(2), 40)]);
    shard.close(36);
    shard.orders(vec![order("x", Some(3), 41)]);
    let mut rows = BTreeMap::new();
    commit(&mut rows, shard.state.checkpoint());
    assert_eq!(shard.rows("firm", 41), [""; 0], "still held on the day that is gone");
    assert_eq!(restore(&rows).days(&tenant_id("ABQ")), shard.state.days(&tenant_id("ABQ")));
}

// --- pieces of the day ---

#[test]
fn pieces_are_counted_from_the_opening_of_the_day() {
    let mut shard = Shard::new();
    let at = |grain: Grain, text: &str| Definition::View(View { grain, ..by_city(text) });
    shard.define(at(Grain::Hour, "hours"));
    shard.define(at(Grain::QuarterHour, "quarters"));
    // Day 2 has no marker, and opens an hour early after one of 23 hours.
    let events = [(0, "a"), (14, "b"), (15, "c"), (60, "d")];
    shard.orders(events.map(|(minutes, id)| after_minutes(minutes, order(id, Some(1), 2))).to_vec());
    let hours = ["1970-01-02T23:00:00Z Bern 3 3", "1970-01-03T00:00:00Z Bern 1 1"];
    assert_eq!(shard.pieces("hours", 2, Grain::Hour), hours);
    assert_eq!(shard.rows("hours", 2), ["Bern 4 4"], "rolled up");
    let quarters = ["1970-01-02T23:00:00Z Bern 2 2", "1970-01-02T23:15:00Z Bern 1 1", "1970-01-03T00:00:00Z Bern 1 1"];
    assert_eq!(shard.pieces("quarters", 2, Grain::QuarterHour), quarters);
    assert_eq!(shard.pieces("quarters", 2, Grain::Hour), hours);
    shard.close(2);
    assert_eq!(texts(&shard.last_report().views[&name("hours")].rows), hours);
    let columns = shard.last_report().views[&name("hours")].rows[0].0[0].0.to_string();
    assert_eq!(columns, "time");
}

/// As of a day before which another one was ended by hand.
#[test]
fn what_comes_before_the_regular_opening_counts_in_the_first_hour() {
    let mut shard = Shard::new();
    shard.define(Definition::View(View { grain: Grain::Hour, ..by_city("hours") }));
    shard.orders(vec![after_minutes(-90, order("a", Some(1), 2)), order("b", Some(1), 2)]);
    assert_eq!(shard.pieces("hours", 2, Grain::Hour), ["1970-01-02T23:00:00Z Bern 2 2"]);
    shard.orders(vec![after_minutes(60, order("a", Some(2), 2))]);
    let moved = ["1970-01-02T23:00:00Z Bern 1 1", "1970-01-03T00:00:00Z Bern 1 1"];
    assert_eq!(shard.pieces("hours", 2, Grain::Hour), moved);
}

#[test]
fn hours_of_the_clock_are_what_local_clocks_show() {
    let mut shard = Shard::new();
    shard.define(Definition::View(View { grain: Grain::ClockHour, ..by_city("clock") }));
    // Day 1: from 00:59 to 02:00. Day 2 opens at midnight of an hour ahead; at 01:00 its clocks go back to 00:30.
    let events = [(1, 59, "a"), (1, 60, "b"), (2, 59, "c"), (2, 60, "d"), (2, 89, "e"), (2, 90, "f")];
    shard.orders(events.map(|(day, minutes, id)| after_minutes(minutes, order(id, Some(1), day))).to_vec());
    assert_eq!(shard.pieces("clock", 1, Grain::ClockHour), ["1970-01-02T00:00 Bern 1 1", "1970-01-02T02:00 Bern 1 1"]);
    let day_2 = ["1970-01-03T00:00 Bern 3 3", "1970-01-03T01:00 Bern 1 1"];
    assert_eq!(shard.pieces("clock", 2, Grain::ClockHour), day_2);
    // A correction leaves the hour in which it was.
    shard.orders(vec![after_minutes(95, order("d", Some(2), 2))]);
    let moved = ["1970-01-03T00:00 Bern 2 2", "1970-01-03T01:00 Bern 2 2"];
    assert_eq!(shard.pieces("clock", 2, Grain::ClockHour), moved);
    let query = Query { grain: Pieces::HourOfDay, ..Query::days(DaySelector::Range(date(1), date(2))) };
    let by_hour = texts(&shard.ask("ABQ", "clock", &query).unwrap().rows);
    assert_eq!(by_hour, ["00:00 Bern 3 3", "01:00 Bern 2 2", "02:00 Bern 1 1"]);
    shard.close(2);
    assert_eq!(texts(&shard.last_report().views[&name("clock")].rows), moved);
}

// --- rankings ---

#[test]
fn a_report_has_the_rows_of_a_ranking_in_its_order() {
    let mut shard = Shard::new();
    let by = vec![RankedBy { metric: name("qty"), direction: Direction::Desc }];
    let ranking = Some(Ranking { by, ties: Ties::Competition, earliest: Earliest::No });
    shard.define(Definition::View(View { ranking, ..view("skus", "order", &["sku"], by_city("skus").metrics) }));
    let of_sku = |sku: &str, qty: i64| {
        let event = with_qty(qty, order(sku, Some(1), 0));
        daybook_contracts::log::Event { dims: vec![None, Some(sku.into())].into(), ..event }
    };
    shard.orders(vec![of_sku("a", 3), of_sku("b", 9), of_sku("c", 3), of_sku("d", 1)]);
    shard.close(0);
    let expected = ["1 1 b 1 9", "2 2 a 1 3", "3 2 c 1 3", "4 4 d 1 1"];
    assert_eq!(texts(&shard.last_report().views[&name("skus")].rows), expected);
    let row = &shard.last_report().views[&name("skus")].rows[0];
    assert_eq!(row.0[..2].iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["position", "rank"]);
    assert_eq!(shard.rows("skus", 0), expected);
}

// --- seasons ---

#[test]
fn a_season_goes_over_days_also_those_that_are_gone() {
    let mut shard = Shard::new();
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 41)]));
    shard.define(Definition::View(by_city("cities")));
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 1), order("z", Some(1), 41)]);
    assert_eq!(shard.season("cities", "hunt"), Ok(vec!["Bern 2 2".into()]));
    shard.close(40);
    shard.orders(vec![order("z", Some(2), 40)]);
    assert_eq!(shard.season("cities", "hunt"), Ok(vec!["Bern 3 3".into()]));
    assert_eq!(shard.season("cities", "chase"), Err(AskErrorCode::UnknownSeason));
}

#[test]
fn a_season_has_the_newest_version_or_what_is_held() {
    let mut shard = shard_with(&LatePolicy::ALL);
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 3)]));
    shard.orders(vec![order("x", Some(1), 0), with_status(Status::Draft, order("y", Some(1), 0))]);
    shard.close(0);
    shard.orders(vec![with_qty(5, order("x", Some(2), 0)), with_qty(7, order("y", Some(2), 1))]);
    for view in ["restated", "carried"] {
        assert_eq!(shard.season(view, "hunt"), Ok(vec!["Bern 2 12".into()]));
    }
    assert_eq!(shard.season("firm", "hunt"), Ok(vec!["Bern 2 8".into()]));
}

#[test]
fn a_season_that_has_not_begun_is_complete_at_once() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 1, 2)]));
    assert!(!shard.state.wants_backfill());
    shard.orders(vec![order("y", Some(1), 1)]);
    assert_eq!(shard.season("totals", "hunt"), Ok(vec!["1 1 0 0".into()]));
}

#[test]
fn a_season_that_has_begun_is_made_from_the_log() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0), order("y", Some(1), 1)]);
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 1, 3)]));
    assert_eq!(shard.season("totals", "hunt"), Err(AskErrorCode::Unavailable));
    let scratch = shard.begin_job();
    shard.orders(vec![order("y", Some(2), 2), order("z", Some(1), 2)]);
    shard.end_job(scratch);
    assert_eq!(shard.season("totals", "hunt"), Ok(vec!["2 2 0 0".into()]));
    // Another interval is another season.
    shard.define(tenant_with_seasons("ABQ", 3, vec![season("hunt", 0, 2)]));
    assert_eq!(shard.season("totals", "hunt"), Err(AskErrorCode::Unavailable));
    shard.make_everything();
    assert_eq!(shard.season("totals", "hunt"), Ok(vec!["1 1 0 0".into()]));
    shard.define(tenant("ABQ"));
    assert_eq!(shard.season("totals", "hunt"), Err(AskErrorCode::UnknownSeason));
}

#[test]
fn a_view_that_comes_into_force_has_its_seasons() {
    let mut shard = Shard::new();
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 3)]));
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define_and_activate(by_city("late"));
    shard.orders(vec![order("y", Some(1), 1)]);
    assert_eq!(shard.season("late", "hunt"), Ok(vec!["Bern 2 2".into()]));
}

#[test]
fn a_season_that_comes_while_a_view_is_made_is_whole_in_it() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(Definition::View(by_city("late")));
    let scratch = shard.begin_job();
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 1, 3)]));
    shard.orders(vec![order("y", Some(1), 1)]);
    shard.end_job(scratch);
    shard.activate("late", 1);
    shard.make_everything();
    assert_eq!(shard.season("late", "hunt"), Ok(vec!["Bern 1 1".into()]));
    assert_eq!(shard.season("totals", "hunt"), Ok(vec!["1 1 0 0".into()]));
}

#[test]
fn a_view_that_is_in_force_at_once_is_in_a_season_that_is_being_made() {
    let mut shard = Shard::new();
    shard.orders(vec![order("x", Some(1), 0)]);
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 0, 3)]));
    let scratch = shard.begin_job();
    shard.define(Definition::View(click_totals("more-clicks")));
    shard.clicks(vec![click(None, 0)]);
    shard.end_job(scratch);
    shard.make_everything();
    assert_eq!(shard.season("more-clicks", "hunt"), Ok(vec!["1 20".into()]));
    assert_eq!(shard.season("clicks", "hunt"), Ok(vec!["1 20".into()]));
}

/// A view of clicks that carries from day 1 on.
fn turned(view: View) -> View {
    View { late_changes: vec![LateChange { from: date(1), late: LatePolicy::CarryForward }], ..view }
}

#[test]
fn a_day_that_closes_while_a_revision_is_made_is_late_by_the_policy_of_that_revision() {
    let few = || View { metrics: click_totals("ms").metrics[..1].to_vec(), ..click_totals("ms") };
    let undated = with_policy(LatePolicy::CarryForward, revised(click_totals("ms")));
    for (is_closed_before, next) in [(true, turned(revised(click_totals("ms")))), (false, undated)] {
        let mut shard = Shard::new();
        shard.define(Definition::View(few()));
        shard.clicks(vec![click(None, 0), click(None, 1)]);
        if is_closed_before {
            shard.close(0);
        }
        shard.define(Definition::View(next));
        shard.close(1);
        shard.clicks(vec![click(None, 1)]);
        let open = if is_closed_before { 2 } else { 0 };
        assert_eq!(shard.rows("ms", 1), ["1"], "no version of its report has the late one");
        shard.make_everything();
        shard.activate("ms", 2);
        assert_eq!(shard.rows("ms", 1), ["1 20"]);
        let carried = shard.rows("ms", open);
        assert_eq!(carried, if is_closed_before { ["1 20"] } else { ["2 40"] });
    }
}

#[test]
fn what_does_not_add_up_keeps_its_policy_until_a_revision_that_carries_is_made() {
    let mut shard = Shard::new();
    let least =
        view("ms", "click", &[], vec![metric("n", "count", ANY, FINAL), metric("least", "min(ms)", ANY, FINAL)]);
    shard.define(Definition::View(least));
    shard.clicks(vec![click(None, 0), click(None, 1)]);
    shard.close(0);
    shard.define(Definition::View(turned(revised(click_totals("ms")))));
    shard.close(1);
    shard.clicks(vec![click(None, 1)]);
    assert_eq!(shard.rows("ms", 1), ["2 20"]);
}

#[test]
fn a_revision_for_more_tenants_and_with_another_policy_keeps_the_windows_of_the_others() {
    let mut shard = Shard::new();
    shard.define(tenant("JFK"));
    shard.define(Definition::View(only_for(&["ABQ"], click_totals("ms"))));
    shard.clicks(vec![click(None, 0)]);
    let Record::Events(events) = shard.events("click", vec![click(None, 0)]) else { unreachable!("made of events") };
    shard.apply(vec![Record::Events(daybook_contracts::log::Events { tenant: tenant_id("JFK"), ..events })]);
    shard.close(0);
    shard.define(Definition::View(revised(turned(only_for(&["ABQ", "JFK"], click_totals("ms"))))));
    let scratch = shard.begin_job();
    assert!(!Found::of(scratch, None).is_for(&tenant_id("ABQ")), "its windows go on");
    shard.state.give_up_backfill();
    shard.make_everything();
    shard.activate("ms", 2);
    for tenant in ["ABQ", "JFK"] {
        assert_eq!(rows_for(&mut shard, tenant, "ms"), Ok(vec!["1 20".into()]));
    }
}
