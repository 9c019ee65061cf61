//! The groups of several tenants at once.

use super::fixtures::*;
use daybook_contracts::ask::{AskErrorCode, Asked, DaySelector, DayState, MAX_ANSWER_BYTES};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Event, Record};
use daybook_contracts::totals::{MemberFigures, Totals};
use daybook_domain::accumulator::Accumulator;
use daybook_domain::catalogue::View;
use daybook_domain::ids::InboxSeq;

/// Two tenants on day 0, with the view `cities`.
fn shard() -> Shard {
    let mut shard = Shard::new();
    shard.define(tenant("JFK"));
    shard.define_and_activate(View { revision: 3, ..by_city("cities") });
    for id in ["ABQ", "JFK"] {
        shard.apply(vec![Record::Day(marker(id, Edge::Opened, 0))]);
    }
    shard
}

/// An order in a city whose name has so many letters.
fn in_city(letters: usize, id: &str) -> Event {
    Event { dims: vec![Some("x".repeat(letters).into()), Some("a".into())].into(), ..order(id, None, 0) }
}

fn sell(shard: &mut Shard, id: &str, event: Event) {
    shard.apply(vec![events_of(id, "order", InboxSeq(1_000), vec![event])]);
}

fn totals(shard: &Shard, tenants: &[&str]) -> Asked<Totals> {
    let tenants: Vec<_> = tenants.iter().map(|id| tenant_id(id)).collect();
    let totals = shard.state.totals(&tenants, &name("cities"), &DaySelector::Today)?;
    Ok(Totals::decode(&totals.finish(20)).unwrap())
}

/// How many orders each group of a tenant has, or why there are none.
fn counts(totals: &Totals) -> Vec<Result<Vec<i64>, AskErrorCode>> {
    let count = |cells: &[Accumulator]| match cells[0] {
        Accumulator::Count(count) => count,
        _ => panic!("the first metric is a count"),
    };
    let counts = |figures: &MemberFigures| {
        let groups = figures.days.iter().flat_map(|day| &day.groups);
        groups.map(|group| count(&group.cells)).collect::<Vec<_>>()
    };
    let found = totals.members.iter().map(|member| member.found.as_ref());
    found.map(|found| found.map(counts).map_err(|absent| absent.code)).collect()
}

#[test]
fn each_tenant_has_its_groups_or_a_reason() {
    let mut shard = shard();
    sell(&mut shard, "ABQ", order("1", None, 0));
    sell(&mut shard, "ABQ", in_city(3, "2"));
    sell(&mut shard, "JFK", order("1", None, 0));
    let read = totals(&shard, &["ABQ", "LAX", "JFK"]).unwrap();
    assert_eq!(counts(&read), [Ok(vec![1, 1]), Err(AskErrorCode::UnknownTenant), Ok(vec![1])]);
    assert_eq!((read.log, read.freshness_ms), (shard.state.position(), 20));
    assert_eq!(read.definition.unwrap().0.revision, 3);
    let first = read.members[0].found.as_ref().unwrap();
    assert_eq!((first.from, first.to, first.day), (date(0), date(0), DayState::Open));
}

#[test]
fn a_tenant_that_is_too_large_alone_does_not_take_the_others_with_it() {
    let mut shard = shard();
    sell(&mut shard, "ABQ", in_city(MAX_ANSWER_BYTES, "1"));
    sell(&mut shard, "JFK", order("1", None, 0));
    for tenants in [["ABQ", "JFK"], ["JFK", "ABQ"]] {
        let mut found = counts(&totals(&shard, &tenants).unwrap());
        found.sort_by_key(|found| found.is_err());
        assert_eq!(found, [Ok(vec![1]), Err(AskErrorCode::TooLarge)]);
    }
}

#[test]
fn tenants_that_are_too_large_together_are_to_be_asked_for_one_by_one() {
    let mut shard = shard();
    for id in ["ABQ", "JFK"] {
        sell(&mut shard, id, in_city(MAX_ANSWER_BYTES / 2, "1"));
    }
    assert_eq!(totals(&shard, &["ABQ", "JFK"]).unwrap_err().code, AskErrorCode::TooLarge);
    for id in ["ABQ", "JFK"] {
        assert_eq!(counts(&totals(&shard, &[id]).unwrap()), [Ok(vec![1])]);
    }
}
