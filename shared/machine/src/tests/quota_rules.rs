//! Quotas of entities and of groups, one small log per rule.

use super::fixtures::*;
use crate::window::MAX_CHANGED;
use daybook_contracts::log::{Event, Record};
use daybook_contracts::reject::{Code, Original, Reject, Span};
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{InboxSeq, LogSeq};
use daybook_domain::quotas::Quotas;

fn limit(shard: &mut Shard, revision: u64, quotas: Quotas) {
    shard.define(with_quotas(quotas, tenant_with_seasons("ABQ", revision, vec![])));
}

fn entities(entities: u64) -> Quotas {
    Quotas { entities: Some(entities), ..Quotas::default() }
}

fn groups(groups: u64) -> Quotas {
    Quotas { groups: Some(groups), ..Quotas::default() }
}

fn in_city(city: &str, event: Event) -> Event {
    Event { dims: vec![Some(city.into()), Some("a".into())].into(), ..event }
}

fn codes(shard: &Shard) -> Vec<Code> {
    shard.rejects.iter().map(|reject| reject.code).collect()
}

#[test]
fn an_entity_too_many_is_refused_and_known_ones_are_corrected() {
    let mut shard = Shard::new();
    limit(&mut shard, 2, entities(2));
    shard.orders(vec![order("a", Some(1), 0), order("b", Some(1), 0), order("c", Some(1), 0), order("a", Some(2), 1)]);
    assert_eq!(codes(&shard), [Code::QuotaEntities]);
    let reject = &shard.rejects[0];
    assert_eq!((reject.index, reject.date), (2, Some(date(0))));
    assert!(reject.reason.starts_with("the tenant has 2 entities of order, as many as its quota allows"), "{reject:?}");
    let accounts = shard.accounts();
    assert_eq!((accounts[&0].published, accounts[&0].counted, accounts[&0].rejected), (3, 2, 1));
    assert_eq!(accounts[&1].counted, 1, "an entity that moves to another day is none more");
    // Of each kind so many, and facts without an id are nothing that is kept.
    shard.clicks(vec![
        click(Some("1"), 0),
        click(Some("2"), 0),
        click(None, 0),
        click(Some("3"), 0),
        click(Some("1"), 0),
    ]);
    assert_eq!(codes(&shard), [Code::QuotaEntities, Code::QuotaEntities]);
    assert_eq!((shard.rejects[1].kind.as_str(), shard.rejects[1].index), ("click", 3));
    assert_eq!(shard.rows("clicks", 0), ["3 60"]);
}

#[test]
fn entities_expire_and_make_room() {
    let mut shard = Shard::new();
    limit(&mut shard, 2, entities(1));
    shard.orders(vec![order("a", Some(1), 0)]);
    shard.open(0);
    shard.close(0);
    shard.orders(vec![order("b", Some(1), 30)]);
    shard.close(36);
    shard.orders(vec![order("c", Some(1), 37)]);
    assert_eq!(codes(&shard), [Code::QuotaEntities], "b, for a was there; not c");
    // A smaller quota takes nothing away, and a larger one lets more in.
    limit(&mut shard, 3, entities(2));
    shard.orders(vec![order("d", Some(1), 37), order("e", Some(1), 37)]);
    limit(&mut shard, 4, entities(1));
    shard.orders(vec![order("f", Some(1), 37), order("d", Some(2), 37)]);
    limit(&mut shard, 5, Quotas::default());
    shard.orders(vec![order("g", Some(1), 37)]);
    assert_eq!(shard.rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(shard.rows("totals", 37), ["3 3 0 0"]);
}

#[test]
fn a_view_that_comes_later_does_not_count_what_was_refused() {
    let mut shard = Shard::new();
    shard.orders(vec![order("a", Some(1), 0)]);
    limit(&mut shard, 2, entities(1));
    shard.orders(vec![order("b", Some(1), 0)]);
    // Raised later: what was refused before stays so.
    limit(&mut shard, 3, entities(5));
    shard.orders(vec![order("c", Some(1), 0)]);
    limit(&mut shard, 4, Quotas::default());
    shard.define_and_activate(by_city("cities"));
    assert_eq!(codes(&shard), [Code::QuotaEntities]);
    assert_eq!(shard.rows("cities", 0), ["Bern 2 2"]);
}

#[test]
fn groups_beyond_the_quota_are_left_out_for_the_rest_of_the_day_and_it_says_so() {
    let mut shard = Shard::new();
    shard.define(Definition::View(by_city("cities")));
    // The kind had no events: the view is in force at once.
    limit(&mut shard, 2, groups(2));
    shard.orders(vec![in_city("Bern", order("a", Some(1), 0)), in_city("Rome", order("b", Some(1), 0))]);
    assert_eq!(shard.answer("cities", 0).coverage, Coverage::Complete);
    shard.orders(vec![in_city("Oslo", order("c", Some(1), 0)), in_city("Rome", order("d", Some(1), 0))]);
    assert_eq!(shard.rows("cities", 0), ["Bern 1 1", "Rome 2 2"]);
    let Coverage::Capped { from, reason } = shard.answer("cities", 0).coverage else { panic!("not capped") };
    assert_eq!(from, LogSeq(10));
    assert_eq!(reason, "the tenant's quota of 2 groups a view and day is used up");
    // The event counts all the same, in every view that has room.
    assert!(shard.rejects.is_empty());
    assert_eq!((shard.accounts()[&0].counted, shard.rows("totals", 0)), (4, vec!["4 4 0 0".to_owned()]));
    assert_eq!(shard.answer("totals", 0).coverage, Coverage::Complete);

    // Room that comes to be is not taken: Oslo would not be whole. What was left out is not taken back from anything.
    shard.orders(vec![in_city("Rome", order("a", Some(2), 0)), in_city("Oslo", order("e", Some(1), 0))]);
    assert_eq!(shard.rows("cities", 0), ["Rome 3 3"]);
    limit(&mut shard, 3, Quotas::default());
    shard.orders(vec![in_city("Rome", order("c", Some(2), 0)), in_city("Bern", order("b", Some(2), 0))]);
    assert_eq!(shard.rows("cities", 0), ["Rome 3 3"], "one came and one left");
    // Another day has room, and so has the view made anew.
    shard.orders(vec![in_city("Oslo", order("f", Some(1), 1))]);
    assert_eq!(
        (shard.rows("cities", 1), shard.answer("cities", 1).coverage),
        (vec!["Oslo 1 1".to_owned()], Coverage::Complete)
    );

    shard.open(0);
    shard.close(0);
    let report = shard.last_report();
    let Coverage::Capped { from: LogSeq(10), reason } = &report.coverage else { panic!("{report:?}") };
    assert!(reason.starts_with("view cities: "), "{reason}");
    shard.define_and_activate(revised(with_policy(daybook_domain::catalogue::LatePolicy::Reject, by_city("cities"))));
    assert_eq!(shard.rows("cities", 0), ["Bern 1 1", "Oslo 1 1", "Rome 3 3"]);
    assert_eq!(shard.answer("cities", 0).coverage, Coverage::Complete);
}

#[test]
fn a_reject_for_many_events_counts_as_many() {
    let mut shard = Shard::new();
    let over = Reject {
        code: Code::QuotaEvents,
        original: Original::new(b""),
        span: Some(Span { events: 700, last: InboxSeq(9) }),
        ..reject("ABQ", 7, None)
    };
    shard.apply(vec![Record::Rejected(over.clone()), Record::Rejected(reject("ABQ", 10, None))]);
    let account = shard.accounts()[&0];
    assert_eq!((account.published, account.rejected), (701, 701));
    assert!(account.balances());
    assert_eq!(shard.rejects[0], over);
}

#[test]
fn changes_that_are_not_pushed_are_put_together_and_bounded() {
    let mut shard = Shard::new();
    shard.define(Definition::View(by_city("cities")));
    shard.orders(vec![order("a", Some(1), 0)]);
    let (id, view) = (tenant_id("ABQ"), name("cities"));
    shard.state.watch(&id, &view, date(0));
    for version in 2..5 {
        shard.orders(vec![with_qty(version, order("a", Some(version as u64), 0))]);
    }
    let changed = shard.state.changed_rows(&id, &view, date(0)).unwrap();
    assert_eq!((texts(&changed.rows), changed.is_cut), (vec!["Bern 1 4".to_owned()], false));
    let many = |from: usize, to: usize| {
        (from..to).map(|number| in_city(&format!("city {number}"), order(&number.to_string(), Some(1), 0))).collect()
    };
    shard.orders(many(0, MAX_CHANGED + 5));
    let changed = shard.state.changed_rows(&id, &view, date(0)).unwrap();
    assert_eq!((changed.rows.len(), changed.removed.len(), changed.is_cut), (0, 0, true));
    assert_eq!(shard.state.changed_rows(&id, &view, date(0)).map(|changed| changed.rows.len()), None);
}
