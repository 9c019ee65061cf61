//! Facts of a day that are taken together, against the same ones taken one by one.

use super::fixtures::*;
use daybook_contracts::log::{Event, Events, Record};
use daybook_domain::catalogue::{
    Definition, Direction, Earliest, Grain, LatePolicy, RankedBy, Ranking, Status, Ties, View,
};
use daybook_domain::quotas::Quotas;
use proptest::prelude::*;

fn a_click() -> impl Strategy<Value = Event> {
    let id = prop::option::weighted(0.15, prop::sample::select(vec!["x", "y"]));
    // Mostly of a day or two, so that stretches are long.
    let when = (prop::sample::select(vec![0, 0, 0, 1, 1, 2]), 0_i64..1_400);
    let page = prop::option::weighted(0.9, prop::sample::select(vec!["home", "cart", "about", "help"]));
    let status = prop::sample::select(vec![Status::Final, Status::Final, Status::Draft]);
    (id, when, page, prop::option::weighted(0.9, -3_i64..4), status).prop_map(
        |(id, (day, minutes), page, ms, status)| {
            let event = Event { dims: vec![page.map(Into::into)].into(), measures: vec![ms].into(), ..click(id, day) };
            with_status(status, after_minutes(minutes, event))
        },
    )
}

/// A shard with views over clicks of every policy, with a ranking, and by the hour.
fn shard(groups: Option<u64>) -> Shard {
    let values = ["count", "min(ms)", "max(ms)", "first(ms)", "last(ms)", "quantile(ms, 0.5)", "distinct(page)"];
    let metrics = || {
        let metrics = values.iter().enumerate().map(|(at, value)| metric(&format!("m{at}"), value, ANY, FINAL));
        metrics.chain([metric("drafts", "count", Some("ms > 0"), &[Status::Draft])]).collect::<Vec<_>>()
    };
    let sums = || vec![metric("n", "count", ANY, FINAL), metric("ms", "sum(ms)", ANY, FINAL)];
    let by = vec![RankedBy { metric: name("ms"), direction: Direction::Desc }];
    let views = [
        View { grain: Grain::Hour, ..view("hours", "click", &["page"], metrics()) },
        View {
            ranking: Some(Ranking { by, ties: Ties::Dense, earliest: Earliest::Reached }),
            ..view("ranked", "click", &["page"], sums())
        },
        with_policy(LatePolicy::CarryForward, view("carried", "click", &["page"], sums())),
        with_policy(LatePolicy::Reject, view("refused", "click", &[], metrics())),
    ];
    let mut shard = Shard::new();
    views.into_iter().for_each(|view| shard.define(Definition::View(view)));
    let seasons = vec![season("first", 0, 1), season("both", 0, 3)];
    let quotas = Quotas { groups, ..Quotas::default() };
    shard.define(with_quotas(quotas, tenant_with_seasons("ABQ", 2, seasons)));
    shard.state.keep_digests();
    shard
}

/// The same events, each a record of its own.
fn one_by_one(record: Record) -> Vec<Record> {
    let Record::Events(events) = record else { unreachable!("these are events") };
    let Events { inbox, tenant, kind, events } = events;
    let alone =
        |event| Record::Events(Events { inbox, tenant: tenant.clone(), kind: kind.clone(), events: vec![event] });
    events.into_iter().map(alone).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn together_they_are_what_they_are_one_by_one(
        messages in prop::collection::vec(prop::collection::vec(a_click(), 1..16), 1..8),
        closes_after in 0_usize..8,
        groups in prop::option::of(1_u64..6),
    ) {
        let (mut together, mut alone) = (shard(groups), shard(groups));
        for (at, message) in messages.into_iter().enumerate() {
            if at == closes_after {
                together.close(0);
                alone.close(0);
            }
            let record = together.events("click", message);
            let effects = alone.apply(one_by_one(record.clone()));
            prop_assert_eq!(together.apply(vec![record]), effects);
            prop_assert_eq!(together.state.digest(), alone.state.digest());
        }
        prop_assert_eq!(together.reports, alone.reports);
    }
}
