use super::*;
use crate::catalogue::Status;
use crate::catalogue::{
    Dimension, Earliest, Grain, Kind, LatePolicy, MAX_RANKED_BY, MAX_VIEW_TENANTS, Measure, Metric, Mode, RankedBy,
    Ranking, only_final,
};
use crate::ids::{Name, TenantId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn kind() -> Kind {
    Kind {
        name: name("flight"),
        mode: Mode::Entity,
        dimensions: vec![Dimension { name: name("carrier"), field: None }],
        measures: vec![Measure { name: name("delay"), scale: 0 }, Measure { name: name("price"), scale: 2 }],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

fn metric(text: &str, value: &str, filter: Option<&str>) -> Metric {
    Metric { name: name(text), value: value.into(), filter: filter.map(str::to_owned), status: only_final() }
}

fn view(metrics: Vec<Metric>) -> View {
    View::new(name("v"), name("flight"), vec![name("carrier")], metrics)
}

struct Entity(Status, Option<i64>);

impl Row for Entity {
    fn dimension(&self, _: usize) -> Option<&str> {
        Some("B6")
    }
    fn measure(&self, _: usize) -> Option<i64> {
        self.1
    }
    fn status(&self) -> Status {
        self.0
    }
    /// Later the smaller the measure.
    fn at(&self) -> Instant {
        Instant::from_millis(-self.1.unwrap_or(0))
    }
}

fn add(plan: &Plan, group: &mut [Accumulator], sign: Sign, row: &impl Row) {
    plan.update(group, sign, plan.met(row), row);
}

fn shown(figures: &[Option<Number>]) -> Vec<String> {
    figures.iter().map(|figure| figure.map_or("null".into(), |number| number.to_string())).collect()
}

#[test]
fn metrics_share_accumulators_and_read_exactly() {
    let mut drafts = metric("drafts", "count", None);
    drafts.status = vec![Status::Draft];
    let plan = Plan::compile(
        &view(vec![
            metric("n", "count", None),
            metric("known", "count(price)", None),
            metric("total", "sum(price)", None),
            metric("mean", "avg(price)", None),
            metric("low", "min(price)", None),
            metric("high", "max(price)", None),
            metric("p50", "median(price)", None),
            metric("p95", "quantile(price, 0.95)", None),
            metric("cheap", "count", Some("price <= 1.5")),
            metric("who", "distinct(carrier)", None),
            metric("share", "ratio(cheap, n)", None),
            drafts,
        ]),
        &kind(),
    )
    .unwrap();
    assert_eq!(plan.cells.len(), 6, "count, sum, values, cheap, distinct, drafts");
    let mut group = plan.zero();
    for row in [
        Entity(Status::Final, Some(150)),
        Entity(Status::Final, Some(151)),
        Entity(Status::Final, None),
        Entity(Status::Draft, Some(9)),
        Entity(Status::Void, Some(9)),
    ] {
        add(&plan, &mut group, Sign::Add, &row);
    }
    let shown = shown(&plan.figures(&group));
    assert_eq!(shown, ["3", "2", "3.01", "1.505", "1.50", "1.51", "1.50", "1.51", "1", "1", "0.333333", "1"]);
    let empty: Vec<_> = plan.figures(&plan.zero()).iter().map(|f| f.is_some()).collect();
    let told = [true, true, true, false, false, false, false, false, true, true, false, true];
    assert_eq!(empty, told);
}

#[test]
fn mistakes_are_named() {
    let error = |metrics: Vec<Metric>| Plan::compile(&view(metrics), &kind()).unwrap_err().to_string();
    assert!(error(vec![]).contains("0 metrics"));
    assert!(error(vec![metric("a", "count", None), metric("a", "count", None)]).contains("used twice"));
    assert!(error(vec![metric("a", "sum(prise)", None)]).contains("price"));
    assert!(error(vec![metric("a", "count", Some("delay <"))]).contains("where"));
    assert!(error(vec![metric("a", "ratio(b, c)", None)]).contains("b"));
    let mut grouped = view(vec![metric("n", "count", None)]);
    grouped.group_by = vec![name("carier")];
    assert!(Plan::compile(&grouped, &kind()).unwrap_err().to_string().contains("carrier"));
}

#[test]
fn every_function_is_computed() {
    let plan = Plan::compile(
        &view(vec![
            metric("spread", "variance(price)", None),
            metric("deviation", "stddev(price)", None),
            metric("p50", "approx_quantile(price, 0.5)", None),
            metric("p100", "approx_quantile(price, 1)", None),
            metric("who", "approx_distinct(carrier)", None),
            metric("opening", "first(price)", None),
            metric("closing", "last(price)", None),
            metric("rise", "ratio(closing, opening)", None),
        ]),
        &kind(),
    )
    .unwrap();
    assert_eq!(plan.cells.len(), 4, "squares, buckets, registers, timed");
    let mut group = plan.zero();
    assert_eq!(shown(&plan.figures(&group)), ["null", "null", "null", "null", "0", "null", "null", "null"]);
    for price in [Some(100), Some(150), Some(200), None] {
        add(&plan, &mut group, Sign::Add, &Entity(Status::Final, price));
    }
    // 1.00, 1.50, 2.00: 1.50 stands in the bucket 150..=151 and 2.00 in 200..=201.
    assert_eq!(shown(&plan.figures(&group)), ["0.25", "0.5", "1.51", "2.01", "1", "2.00", "1.00", "0.5"]);
    add(&plan, &mut group, Sign::Retract, &Entity(Status::Final, Some(200)));
    assert_eq!(shown(&plan.figures(&group)), ["0.125", "0.35355339", "1.00", "1.51", "1", "1.50", "1.00", "0.666667"]);
}

fn ranked(by: &[&str], earliest: Earliest) -> View {
    let by = by.iter().map(|metric| RankedBy { metric: name(metric), direction: Direction::Desc }).collect();
    View {
        ranking: Some(Ranking { by, ties: Ties::Dense, earliest }),
        ..view(vec![
            metric("n", "count", Some("price > 1")),
            metric("total", "sum(price)", None),
            metric("share", "ratio(n, total)", None),
            metric("of_share", "ratio(share, total)", None),
        ])
    }
}

#[test]
fn rankings_name_metrics_and_former_ones_keep_the_times_of_the_first() {
    let plan = Plan::compile(&ranked(&["total", "n"], Earliest::No), &kind()).unwrap();
    let RankPlan { by, ties, earlier } = plan.ranking.as_ref().unwrap();
    assert_eq!((&by[..], ties), (&[(1, Direction::Desc), (0, Direction::Desc)][..], &Ties::Dense));
    assert!(earlier.is_none());
    assert_eq!(plan.earliest(&plan.zero()), None);

    // A ratio is reached when its numerator is, through as many ratios as there are.
    for (first, taken) in [("n", 1), ("total", 3), ("share", 1), ("of_share", 1)] {
        let plan = Plan::compile(&ranked(&[first], Earliest::LatestTime), &kind()).unwrap();
        assert_eq!(plan.cells.len(), 3, "{first}");
        let Some(Earlier::LatestTime(times)) = plan.ranking.as_ref().unwrap().earlier else { panic!("no times") };
        assert_eq!(plan.cells[times].shape, Shape::Times);
        let rows = [Some(150), Some(20), Some(30)].map(|price| Entity(Status::Final, price));
        assert_eq!(rows.iter().filter(|row| plan.met(*row).takes(&plan.cells[times])).count(), taken, "{first}");
        let mut group = plan.zero();
        assert_eq!(plan.earliest(&group), None);
        for row in &rows {
            add(&plan, &mut group, Sign::Add, row);
        }
        let latest = if taken == 3 { -20 } else { -150 };
        assert_eq!(plan.earliest(&group), Some(Instant::from_millis(latest)), "{first}");
        add(&plan, &mut group, Sign::Retract, &rows[1]);
        let latest = if taken == 3 { -30 } else { -150 };
        assert_eq!(plan.earliest(&group), Some(Instant::from_millis(latest)), "{first}");
    }
}

#[test]
fn a_scale_that_no_figure_could_have_is_refused() {
    let mut wide = kind();
    wide.measures[1].scale = 13;
    let error = Plan::compile(&view(vec![metric("n", "count", None)]), &wide).unwrap_err().to_string();
    assert!(error.contains("price") && error.contains("at most 12"), "{error}");
}

#[test]
fn groups_of_a_plan_fit_it_and_no_others_do() {
    let metrics =
        ["count", "sum(delay)", "variance(delay)", "min(delay)", "approx_quantile(delay, 0.5)", "first(delay)"];
    let metrics = metrics.iter().chain(&["distinct(carrier)", "approx_distinct(carrier)"]);
    let metrics = metrics.enumerate().map(|(at, value)| metric(&format!("m{at}"), value, None)).collect();
    let plan = Plan::compile(&view(metrics), &kind()).unwrap();
    let mut group = plan.zero();
    let dims = [None];
    assert!(plan.fits(0, &dims, &group));
    (0..5).for_each(|n| add(&plan, &mut group, Sign::Add, &Entity(Status::Final, Some(n))));
    assert!(plan.fits(0, &dims, &group));
    (0..5).for_each(|_| {
        (0..5).for_each(|n| add(&plan, &mut group, Sign::Retract, &Entity(Status::Final, Some(n))));
    });
    assert!(plan.fits(0, &dims, &group), "more taken back than put in");
    assert!(!plan.fits(1, &dims, &group) && !plan.fits(0, &[], &group) && !plan.fits(0, &dims, &group[1..]));
    for at in 0..group.len() {
        for other in (0..group.len()).filter(|other| *other != at) {
            let mut mixed = group.clone();
            mixed[at] = group[other].clone();
            assert!(!plan.fits(0, &dims, &mixed), "{at} is {other}");
        }
    }
    let zero_kept: Accumulator = rmp_serde::from_slice(b"\x81\xa1m\x92\x81\x05\x00\x00").unwrap();
    assert!(!zero_kept.fits(Shape::Multiset { measure: 0 }), "{zero_kept:?}");
    assert!(!Accumulator::Count(i64::MIN).fits(Shape::Count));
}

#[test]
fn of_facts_only_extremes_are_kept_where_no_quantile_is_read_off() {
    let facts = Kind { mode: Mode::Fact, ..kind() };
    let metrics = [
        ("least", "min(delay)", None),
        ("most", "max(delay)", None),
        ("first", "first(price)", None),
        ("cheapest", "min(price)", None),
        ("median", "quantile(price, 0.5)", None),
        ("cheapest_late", "min(price)", Some("delay > 15")),
    ];
    let ranking = Ranking {
        by: vec![RankedBy { metric: name("least"), direction: Direction::Asc }],
        ties: Ties::Dense,
        earliest: Earliest::LatestTime,
    };
    let metrics = metrics.map(|(name, value, filter)| metric(name, value, filter));
    let view = View { ranking: Some(ranking), ..view(metrics.into()) };
    let shapes = |kind: &Kind| {
        let plan = Plan::compile(&view, kind).unwrap();
        plan.cells.iter().map(|cell| cell.shape).collect::<Vec<_>>()
    };
    let entities = shapes(&kind());
    assert_eq!(entities[..2], [Shape::Multiset { measure: 0 }, Shape::Timed { measure: 1 }]);
    // As many, and in the same places: what was stored before is adopted cell by cell.
    assert_eq!(
        shapes(&facts),
        [
            Shape::Extremes { measure: 0 },
            Shape::TimedExtremes { measure: 1 },
            Shape::Multiset { measure: 1 },
            Shape::Extremes { measure: 1 },
            Shape::TimeExtremes,
        ]
    );
    assert_eq!(entities.len(), 5);

    let (plan, other) = (Plan::compile(&view, &facts).unwrap(), Plan::compile(&view, &kind()).unwrap());
    let (mut group, mut stored) = (plan.zero(), other.zero());
    for price in [30, 10, 20] {
        add(&plan, &mut group, Sign::Add, &Entity(Status::Final, Some(price)));
        add(&other, &mut stored, Sign::Add, &Entity(Status::Final, Some(price)));
    }
    assert_eq!(plan.figures(&group), other.figures(&stored));
    assert_eq!(plan.earliest(&group), other.earliest(&stored));
    assert!(plan.earliest(&group).is_some() && !plan.fits(0, &[None], &stored));
    plan.adopt(&mut stored);
    assert_eq!(stored, group);
    assert!(plan.fits(0, &[None], &stored));
}

struct Bid(String, i64);

impl Row for Bid {
    fn dimension(&self, _: usize) -> Option<&str> {
        Some(&self.0)
    }
    fn measure(&self, _: usize) -> Option<i64> {
        Some(self.1)
    }
    fn status(&self) -> Status {
        Status::Final
    }
    fn at(&self) -> Instant {
        Instant::MIN
    }
}

proptest! {
    /// Conditions that exclude each other, overlap, lie within each other, and none; also where nothing is without one.
    #[test]
    fn texts_of_facts_are_those_that_each_condition_takes(
        bids in prop::collection::vec(("[a-e]", 0_i64..100), 0..60),
        cut in 0_usize..60,
        has_all in prop::bool::ANY,
    ) {
        let filters = [Some("delay < 10"), Some("delay >= 10 and delay < 60"), Some("delay >= 50"), Some("delay < 30"), None];
        let takes = |filter: usize, delay: i64| match filter {
            0 => delay < 10,
            1 => (10..60).contains(&delay),
            2 => delay >= 50,
            3 => delay < 30,
            _ => true,
        };
        let filters = &filters[..filters.len() - usize::from(!has_all)];
        let metrics = filters.iter().enumerate();
        let metrics = metrics.map(|(at, filter)| metric(&format!("m{at}"), "distinct(carrier)", *filter)).collect();
        let facts = Kind { mode: Mode::Fact, ..kind() };
        let plan = Plan::compile(&view(metrics), &facts).unwrap();
        let bids: Vec<_> = bids.into_iter().map(|(text, delay)| Bid(text, delay)).collect();
        // Of two groups that are merged, as a backfill's and the live one.
        let (left, right) = bids.split_at(cut.min(bids.len()));
        let of = |bids: &[Bid]| {
            let mut group = plan.zero();
            bids.iter().for_each(|bid| add(&plan, &mut group, Sign::Add, bid));
            group
        };
        let mut group = of(left);
        group.iter_mut().zip(&of(right)).for_each(|(ours, theirs)| ours.merge(theirs));
        left.iter().for_each(|bid| add(&plan, &mut group, Sign::Add, bid));
        let expected = (0..filters.len()).map(|filter| {
            let texts: BTreeSet<_> = bids.iter().filter(|bid| takes(filter, bid.1)).map(|bid| &bid.0).collect();
            texts.len().to_string()
        });
        prop_assert_eq!(shown(&plan.figures(&group)), expected.collect::<Vec<_>>());
        prop_assert!(plan.fits(0, &[None], &group));
        if let Some(all) = group.get_mut(4).filter(|all| !all.is_zero()) {
            *all = Accumulator::zero(Shape::Seen { dimension: 0 });
            prop_assert!(!plan.fits(0, &[None], &group), "what is seen under a condition is seen without it");
        }
    }
}

#[test]
fn what_cannot_be_ranked_is_refused() {
    let error = |view: View| Plan::compile(&view, &kind()).unwrap_err().to_string();
    assert!(error(ranked(&["totl"], Earliest::No)).contains("did you mean total?"));
    assert!(error(ranked(&["everything"], Earliest::No)).contains("it has n, total, share, of_share"));
    assert!(error(ranked(&["n", "total", "n"], Earliest::No)).contains("ranks by n twice"));
    assert!(error(ranked(&[], Earliest::No)).contains("0 metrics"));
    assert!(error(ranked(&["n"; MAX_RANKED_BY + 1], Earliest::No)).contains("9 metrics; a ranking has 1 to 8"));
    assert!(error(View { grain: Grain::Hour, ..ranked(&["n"], Earliest::No) }).contains("needs grain: day"));
    assert!(error(View { group_by: vec![], ..ranked(&["n"], Earliest::No) }).contains("a dimension in group_by"));
}

#[test]
fn only_what_adds_up_is_carried_forward() {
    let carried = |metrics: Vec<Metric>| View { late: LatePolicy::CarryForward, ..view(metrics) };
    let additive = || {
        vec![
            metric("n", "count", Some("price > 1")),
            metric("known", "count(price)", None),
            metric("total", "sum(price)", None),
            metric("mean", "ratio(total, known)", None),
        ]
    };
    assert!(Plan::compile(&carried(additive()), &kind()).is_ok());
    for value in [
        "avg(price)",
        "min(price)",
        "max(price)",
        "median(price)",
        "variance(price)",
        "stddev(price)",
        "approx_quantile(price, 0.5)",
        "distinct(carrier)",
        "approx_distinct(carrier)",
        "first(price)",
        "last(price)",
    ] {
        let mut metrics = additive();
        metrics.push(metric("other", value, None));
        assert!(Plan::compile(&view(metrics.clone()), &kind()).is_ok(), "{value}");
        let error = Plan::compile(&carried(metrics), &kind()).unwrap_err().to_string();
        assert!(error.contains(&format!("metric other: {value} does not add up")), "{error}");
        assert!(error.contains("restate or reject"), "{error}");
    }
    let error = Plan::compile(&View { grain: Grain::Hour, ..carried(additive()) }, &kind()).unwrap_err();
    assert!(error.to_string().contains("needs grain: day"), "{error}");
}

#[test]
fn some_names_and_numbers_of_tenants_are_refused() {
    let error = |view: &View| Plan::compile(view, &kind()).unwrap_err().to_string();
    let mut kind_with_time = kind();
    kind_with_time.dimensions.push(Dimension { name: name("time"), field: None });
    for reserved in RESERVED_COLUMNS {
        assert!(error(&view(vec![metric(reserved, "count", None)])).contains(&format!("the name {reserved} is taken")));
    }
    let by_time = View { group_by: vec![name("time")], ..view(vec![metric("n", "count", None)]) };
    let error_of_kind = Plan::compile(&by_time, &kind_with_time).unwrap_err().to_string();
    assert!(error_of_kind.contains("the name time is taken"), "{error_of_kind}");

    let mut limited = view(vec![metric("n", "count", None)]);
    let tenants = |n: usize| Some((0..n).map(|i| TenantId::new(&format!("t{i}")).unwrap()).collect());
    limited.tenants = tenants(0);
    assert!(error(&limited).contains("for no tenants"));
    limited.tenants = tenants(MAX_VIEW_TENANTS + 1);
    assert!(error(&limited).contains("names 1001 tenants"));
    limited.tenants = tenants(MAX_VIEW_TENANTS);
    assert!(Plan::compile(&limited, &kind()).is_ok());
}

#[test]
fn pieces_begin_where_they_are_said_to() {
    let opens_at: Instant = "2013-03-10T05:00:00Z".parse().unwrap();
    for (grain, piece, expected) in [
        (Grain::Day, 0, "2013-03-10T05:00:00Z"),
        (Grain::Hour, 22, "2013-03-11T03:00:00Z"),
        (Grain::QuarterHour, 3, "2013-03-10T05:45:00Z"),
    ] {
        let plan = Plan::compile(&View { grain, ..view(vec![metric("n", "count", None)]) }, &kind()).unwrap();
        let date = "2013-03-10".parse().unwrap();
        let day = BusinessDay { date, opens_at, closes_at: opens_at };
        let clock = DayClock { date, opens_at, offsets: &[] };
        let start: Instant = plan.piece_text(&day, piece).parse().unwrap();
        assert_eq!(start.to_string(), expected);
        assert_eq!(plan.piece(&clock, start), piece);
        if grain != Grain::Day {
            let before = Instant::from_millis(start.as_millis() - 1);
            assert_eq!(plan.piece(&clock, before), piece - 1);
        }
    }
}

/// An event of a kind with one measure and one dimension.
#[derive(Clone, Debug)]
struct Event {
    price: Option<i64>,
    carrier: Option<String>,
    at: i64,
}

impl Row for Event {
    fn dimension(&self, _: usize) -> Option<&str> {
        self.carrier.as_deref()
    }
    fn measure(&self, _: usize) -> Option<i64> {
        self.price
    }
    fn status(&self) -> Status {
        Status::Final
    }
    fn at(&self) -> Instant {
        Instant::from_millis(self.at)
    }
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = (proptest::option::weighted(0.8, -200_i64..200), proptest::option::of("[a-e]"), 0_i64..6);
    prop::collection::vec(event.prop_map(|(price, carrier, at)| Event { price, carrier, at }), 0..most)
}

proptest! {
    /// Rows are put in and some taken back, before or after; the figures are those of the rest, worked out from a list.
    #[test]
    fn figures_are_those_of_the_rows_that_are_left(kept in events(40), gone in events(20), early in any::<bool>()) {
        let values = [
            "count", "count(price)", "sum(price)", "avg(price)", "min(price)", "max(price)", "quantile(price, 0.3)",
            "variance(price)", "stddev(price)", "approx_quantile(price, 0.3)", "distinct(carrier)",
            "approx_distinct(carrier)", "first(price)", "last(price)",
        ];
        let metrics = values.iter().enumerate().map(|(i, value)| metric(&format!("m{i}"), value, None)).collect();
        let plan = Plan::compile(&view(metrics), &kind()).unwrap();
        let mut group = plan.zero();
        let signs = if early { [Sign::Retract, Sign::Add] } else { [Sign::Add, Sign::Retract] };
        gone.iter().for_each(|row| add(&plan, &mut group, signs[0], row));
        kept.iter().for_each(|row| add(&plan, &mut group, Sign::Add, row));
        gone.iter().for_each(|row| add(&plan, &mut group, signs[1], row));
        let figures: BTreeMap<&str, Option<Number>> = values.into_iter().zip(plan.figures(&group)).collect();

        let mut prices: Vec<i64> = kept.iter().filter_map(|row| row.price).collect();
        prices.sort_unstable();
        let (n, sum) = (prices.len() as i64, prices.iter().sum::<i64>());
        let carriers: BTreeSet<&str> = kept.iter().filter_map(|row| row.carrier.as_deref()).collect();
        let integer = |n: i64| Some(Number::integer(n.into()));
        let price = |cents: Option<i64>| cents.map(|cents| Number::new(cents.into(), 2));
        prop_assert_eq!(figures["count"], integer(kept.len() as i64));
        prop_assert_eq!(figures["count(price)"], integer(n));
        prop_assert_eq!(figures["sum(price)"], price(Some(sum)));
        prop_assert_eq!(figures["min(price)"], price(prices.first().copied()));
        prop_assert_eq!(figures["max(price)"], price(prices.last().copied()));
        prop_assert_eq!(figures["distinct(carrier)"], integer(carriers.len() as i64));
        // Five letters have five registers.
        prop_assert_eq!(figures["approx_distinct(carrier)"], integer(carriers.len() as i64));
        let mut timed: Vec<(i64, i64)> = kept.iter().filter_map(|row| Some((row.at, row.price?))).collect();
        timed.sort_unstable();
        prop_assert_eq!(figures["first(price)"], price(timed.first().map(|timed| timed.1)));
        prop_assert_eq!(figures["last(price)"], price(timed.last().map(|timed| timed.1)));

        let at_rank = (0..prices.len()).find(|index| (*index as i64 + 1) * 10 >= n * 3).map(|index| prices[index]);
        prop_assert_eq!(figures["quantile(price, 0.3)"], price(at_rank));
        match (figures["approx_quantile(price, 0.3)"], at_rank) {
            (Some(approximate), Some(exact)) => {
                let error = (approximate.unscaled() - i128::from(exact)).abs();
                prop_assert!(error * 128 <= i128::from(exact.abs()), "{} for {}", approximate, exact);
            }
            (approximate, exact) => prop_assert!(approximate.is_none() && exact.is_none()),
        }
        // With floats, whose 53 bits are plenty for these values: right to the last digit but one.
        let near = |figure: Option<Number>, expected: f64| (figure.unwrap().to_f64() - expected).abs() < 1e-7;
        let mean = sum as f64 / n as f64 / 100.0;
        match n {
            0 => prop_assert_eq!(figures["avg(price)"], None),
            _ => prop_assert!(near(figures["avg(price)"], mean)),
        }
        if n < 2 {
            prop_assert_eq!((figures["variance(price)"], figures["stddev(price)"]), (None, None));
        } else {
            let squares: f64 = prices.iter().map(|price| (*price as f64 / 100.0 - mean).powi(2)).sum();
            let variance = squares / (n - 1) as f64;
            prop_assert!(near(figures["variance(price)"], variance), "{:?}", figures["variance(price)"]);
            prop_assert!(near(figures["stddev(price)"], variance.sqrt()), "{:?}", figures["stddev(price)"]);
        }
    }
}
