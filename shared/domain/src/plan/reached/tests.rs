//! The definition, word by word, against what is kept and walked.

use crate::accumulator::{Accumulator, Sign};
use crate::catalogue::{
    Dimension, Direction, Earliest, Kind, LatePolicy, Measure, Metric, Mode, RankedBy, Ranking, Status, Ties, View,
};
use crate::expression::Row;
use crate::ids::Name;
use crate::plan::Plan;
use crate::time::Instant;
use crate::value::Number;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Every function that a ranking with `earliest` takes, with conditions and statuses of several sorts.
const METRICS: [(&str, &str, Option<&str>, &[Status]); 16] = [
    ("n", "count", None, &[Status::Final]),
    ("high", "count", Some("m > 0"), &[Status::Final]),
    ("drafts", "count", None, &[Status::Draft]),
    ("known", "count(m)", None, &[Status::Final]),
    ("total", "sum(m)", None, &[Status::Final]),
    ("other", "sum(x)", Some("d is not null"), &[Status::Final, Status::Draft]),
    ("mean", "avg(m)", None, &[Status::Final]),
    ("least", "min(m)", None, &[Status::Final]),
    ("most", "max(m)", None, &[Status::Final]),
    ("best_other", "max(x)", Some("m > 0"), &[Status::Final]),
    ("texts", "distinct(d)", None, &[Status::Final]),
    ("high_texts", "distinct(d)", Some("m > 0"), &[Status::Final]),
    ("opening", "first(m)", None, &[Status::Final]),
    ("closing", "last(m)", None, &[Status::Final]),
    ("share", "ratio(high, n)", None, &[Status::Final]),
    ("shares", "ratio(share, texts)", None, &[Status::Final]),
];
/// Those that add up, so that a view may carry them forward.
const ADDITIVE: [usize; 7] = [0, 1, 2, 3, 4, 5, 14];

fn kind(mode: Mode) -> Kind {
    let dimension = |text: &str| Dimension { name: name(text), field: None };
    Kind {
        name: name("k"),
        mode,
        dimensions: vec![dimension("g"), dimension("d")],
        measures: vec![Measure { name: name("m"), scale: 0 }, Measure { name: name("x"), scale: 2 }],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

fn view(metrics: &[usize], by: &[usize], late: LatePolicy) -> View {
    let metric = |at: &usize| {
        let (text, value, filter, status) = METRICS[*at];
        Metric { name: name(text), value: value.into(), filter: filter.map(Into::into), status: status.to_vec() }
    };
    // Of what one ranks by, the direction decides who is first, and never when that was reached.
    let direction = |at: &usize| if at.is_multiple_of(2) { Direction::Asc } else { Direction::Desc };
    let by = by.iter().map(|at| RankedBy { metric: name(METRICS[*at].0), direction: direction(at) }).collect();
    View {
        late,
        ranking: Some(Ranking { by, ties: Ties::Competition, earliest: Earliest::Reached }),
        ..View::new(name("v"), name("k"), vec![name("g")], metrics.iter().map(metric).collect())
    }
}

#[derive(Clone, Debug)]
struct Event {
    at: i64,
    text: Option<&'static str>,
    measures: [Option<i64>; 2],
    status: Status,
}

impl Row for Event {
    fn dimension(&self, index: usize) -> Option<&str> {
        if index == 0 { Some("group") } else { self.text }
    }
    fn measure(&self, index: usize) -> Option<i64> {
        self.measures[index]
    }
    fn status(&self) -> Status {
        self.status
    }
    fn at(&self) -> Instant {
        Instant::from_millis(self.at)
    }
}

fn event() -> impl Strategy<Value = Event> {
    let text = prop_oneof![Just(None), Just(Some("a")), Just(Some("b")), Just(Some("c"))];
    // Zeros, values that come again, and such that take a sum down and up.
    let value = || prop::option::weighted(0.85, prop_oneof![Just(0), -2_i64..4]);
    let status = prop_oneof![4 => Just(Status::Final), 1 => Just(Status::Draft), 1 => Just(Status::Void)];
    (0_i64..12, text, value(), value(), status).prop_map(|(at, text, m, x, status)| Event {
        at,
        text,
        measures: [m, x],
        status,
    })
}

/// The figures that the ranking is by, of what these contributions add up to.
fn score(plan: &Plan, rows: &[(Sign, &Event)]) -> Vec<Option<Number>> {
    let mut group = plan.zero();
    for (sign, row) in rows {
        plan.update(&mut group, *sign, plan.met(*row), *row);
    }
    let figures = plan.figures(&group);
    plan.ranking.as_ref().unwrap().by.iter().map(|(metric, _)| figures[*metric]).collect()
}

/// The earliest event time such that the contributions until then give the present score.
fn by_definition(plan: &Plan, rows: &[(Sign, &Event)]) -> Option<Instant> {
    let rows: Vec<(Sign, &Event)> = rows.iter().copied().filter(|(_, row)| !plan.met(*row).is_none()).collect();
    let present = score(plan, &rows);
    let times: BTreeSet<i64> = rows.iter().map(|(_, row)| row.at).collect();
    let until = |at: i64| rows.iter().copied().filter(|(_, row)| row.at <= at).collect::<Vec<_>>();
    times.into_iter().find(|at| score(plan, &until(*at)) == present).map(Instant::from_millis)
}

fn group_of<'e>(plan: &Plan, rows: impl IntoIterator<Item = (Sign, &'e Event)>) -> Box<[Accumulator]> {
    let mut group = plan.zero();
    for (sign, row) in rows {
        // Asked in between, so that an answer that is remembered too long would be seen.
        plan.earliest(&group);
        plan.update(&mut group, sign, plan.met(row), row);
    }
    group
}

fn some_criteria() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence((0..METRICS.len()).collect::<Vec<_>>(), 1..=3).prop_shuffle()
}

/// All metrics, or those alone that the ranking needs.
fn metrics_for(by: &[usize], all: bool) -> Vec<usize> {
    let needs_ratio = by.iter().any(|at| *at >= 14);
    (0..METRICS.len()).filter(|at| all || needs_ratio || by.contains(at)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn it_is_as_defined(
        rows in prop::collection::vec(event(), 0..14),
        gone in prop::collection::vec(event(), 0..6),
        by in some_criteria(),
        all in any::<bool>(),
        cut in 0_usize..30,
    ) {
        let metrics = metrics_for(&by, all);
        let kept: Vec<(Sign, &Event)> = rows.iter().map(|row| (Sign::Add, row)).collect();
        // Corrected or voided: added, and retracted later, between others.
        let mut changes = kept.clone();
        changes.extend(gone.iter().map(|row| (Sign::Add, row)));
        let turn = cut % changes.len().max(1);
        changes.rotate_left(turn);
        changes.extend(gone.iter().map(|row| (Sign::Retract, row)));
        for (mode, changes) in [(Mode::Entity, &changes), (Mode::Fact, &kept)] {
            let plan = Plan::compile(&view(&metrics, &by, LatePolicy::Restate), &kind(mode)).unwrap();
            let expected = by_definition(&plan, &kept);
            let whole = group_of(&plan, changes.iter().copied());
            prop_assert!(plan.fits(0, &[None], &whole));
            prop_assert_eq!(plan.earliest(&whole), expected, "{:?}", mode);
            // A range of days, or a scratch and what the live machine kept behind its base.
            let (left, right) = changes.split_at(cut.min(changes.len()));
            let (mut left, right) = (group_of(&plan, left.iter().copied()), group_of(&plan, right.iter().copied()));
            plan.earliest(&left);
            left.iter_mut().zip(&right).for_each(|(ours, theirs)| ours.merge(theirs));
            prop_assert_eq!(&left, &whole);
            prop_assert_eq!(plan.earliest(&left), expected, "{:?} merged", mode);
            let stored = rmp_serde::to_vec(&whole).unwrap();
            let read: Box<[Accumulator]> = rmp_serde::from_slice(&stored).unwrap();
            prop_assert_eq!(&read, &whole);
            prop_assert_eq!(plan.earliest(&read), expected, "{:?} stored", mode);
            prop_assert_eq!(plan.is_nothing(&whole), score_is_of_nothing(&plan, &whole));
        }
    }

    /// What is carried forward may be taken out of a day that it was never in.
    #[test]
    fn adjustments_count_as_they_stand(
        rows in prop::collection::vec((event(), any::<bool>()), 0..14),
        by in prop::sample::subsequence(ADDITIVE.to_vec(), 1..=3).prop_shuffle(),
    ) {
        let mut rows = rows;
        // No two at the same time: such that cancel out there are no contribution at all.
        rows.iter_mut().enumerate().for_each(|(index, (row, _))| row.at = row.at * 16 + index as i64);
        let changes: Vec<(Sign, &Event)> =
            rows.iter().map(|(row, is_added)| (if *is_added { Sign::Add } else { Sign::Retract }, row)).collect();
        let plan = Plan::compile(&view(&ADDITIVE, &by, LatePolicy::CarryForward), &kind(Mode::Entity)).unwrap();
        prop_assert_eq!(plan.earliest(&group_of(&plan, changes.iter().copied())), by_definition(&plan, &changes));
    }
}

/// Whether the same view without a ranking would have a group of nothing.
fn score_is_of_nothing(plan: &Plan, group: &[Accumulator]) -> bool {
    let plain = View { ranking: None, ..plan.view.clone() };
    let plain = Plan::compile(&plain, &kind(Mode::Entity)).unwrap();
    group[..plain.cells.len()].iter().all(Accumulator::is_zero)
}

#[test]
fn what_costs_too_much_is_refused_with_advice() {
    for value in
        ["median(m)", "quantile(m, 0.9)", "variance(m)", "stddev(m)", "approx_distinct(d)", "approx_quantile(m, 0.5)"]
    {
        for (by, metrics) in
            [("a", vec![("a", value)]), ("r", vec![("n", "count"), ("a", value), ("r", "ratio(a, n)")])]
        {
            let metric = |(text, value): (&str, &str)| Metric {
                name: name(text),
                value: value.into(),
                filter: None,
                status: vec![Status::Final],
            };
            let by = vec![RankedBy { metric: name(by), direction: Direction::Desc }];
            let ranked = |earliest| View {
                ranking: Some(Ranking { by: by.clone(), ties: Ties::Dense, earliest }),
                ..View::new(name("v"), name("k"), vec![name("g")], metrics.iter().copied().map(metric).collect())
            };
            for mode in [Mode::Entity, Mode::Fact] {
                let error = Plan::compile(&ranked(Earliest::Reached), &kind(mode)).unwrap_err().to_string();
                assert!(error.contains(&format!("ranks with earliest by a, and when {value} was reached")), "{error}");
                assert!(error.contains("leave out earliest, or rank by count, sum, avg"), "{error}");
                // The advice works, and former definitions stay.
                for earliest in [Earliest::No, Earliest::LatestTime] {
                    Plan::compile(&ranked(earliest), &kind(mode)).unwrap();
                }
            }
        }
    }
}

/// Of facts as little is kept as the definition allows.
#[test]
fn facts_keep_a_few_numbers_where_a_score_never_falls() {
    let by = [0, 7, 8].map(|at| (at, format!("{:?}", METRICS[at].1)));
    for (metric, value) in by {
        let plan = Plan::compile(&view(&[metric], &[metric], LatePolicy::Restate), &kind(Mode::Fact)).unwrap();
        let mut group = plan.zero();
        for at in 0..1_000 {
            let row = Event { at, text: None, measures: [Some(at % 7), None], status: Status::Final };
            plan.update(&mut group, Sign::Add, plan.met(&row), &row);
        }
        assert!(rmp_serde::to_vec(&group).unwrap().len() < 60, "{value}");
    }
}

/// A hundred ratios of ratios are worked out one after the other, not each for every one that rests on it.
#[test]
fn ratios_of_ratios_share_their_parts() {
    let metric =
        |text: String, value: String| Metric { name: name(&text), value, filter: None, status: vec![Status::Final] };
    let ratios = (1..60).map(|at| metric(format!("r{at}"), format!("ratio(r{0}, r{0})", at - 1)));
    let metrics: Vec<Metric> = [metric("r0".into(), "sum(m)".into())].into_iter().chain(ratios).collect();
    let by = vec![RankedBy { metric: name("r59"), direction: Direction::Desc }];
    let view = View {
        ranking: Some(Ranking { by, ties: Ties::Dense, earliest: Earliest::Reached }),
        ..View::new(name("v"), name("k"), vec![name("g")], metrics)
    };
    let plan = Plan::compile(&view, &kind(Mode::Entity)).unwrap();
    let rows: Vec<Event> = [(3, 0), (4, 2), (6, 5)]
        .map(|(at, m)| Event { at, text: None, measures: [Some(m), None], status: Status::Final })
        .into();
    let group = group_of(&plan, rows.iter().map(|row| (Sign::Add, row)));
    assert_eq!(plan.earliest(&group), Some(Instant::from_millis(4)), "0 by 0 is null, and 2 by 2 is 1");
}

/// A ratio has no cells: what only its own condition would take is in no figure, and no time of the group.
#[test]
fn a_condition_of_a_ratio_alone_takes_no_row() {
    let mut view = view(&[0, 1, 14], &[0], LatePolicy::Restate);
    view.metrics[2].status = vec![Status::Draft];
    for mode in [Mode::Entity, Mode::Fact] {
        let plan = Plan::compile(&view, &kind(mode)).unwrap();
        let row = Event { at: 3, text: None, measures: [Some(1), None], status: Status::Draft };
        let group = group_of(&plan, [(Sign::Add, &row)]);
        assert!(!plan.met(&row).is_none() && group.iter().all(Accumulator::is_zero), "{group:?}");
        assert_eq!(plan.earliest(&group), None);
    }
}
