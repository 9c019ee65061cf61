//! A view compiled against its kind: which columns group, which accumulators are kept, how metrics are read off them.
//! Metrics that need the same accumulator share it.

use crate::accumulator::{Accumulator, Multiset, Shape, Sign};
use crate::catalogue::{Direction, Kind, MAX_GROUP_BY, MAX_METRICS, Status, Ties, View};
use crate::expression::{Aggregate, ExpressionError, Predicate, Row, parse_aggregate};
use crate::ids::Name;
use crate::time::Instant;
use crate::value::{Number, RATIO_DIGITS, pow10};
use std::collections::BTreeSet;

/// A view ready to be computed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub view: View,
    /// Positions of the grouping dimensions in the kind.
    pub group_by: Vec<usize>,
    pub cells: Vec<Cell>,
    outputs: Vec<Output>,
    pub ranking: Option<RankPlan>,
}

/// The view's ranking, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankPlan {
    /// Positions of metrics, and which end of each comes first.
    pub by: Vec<(usize, Direction)>,
    pub ties: Ties,
    /// The cell that keeps the event times of what is ranked, where the earlier is before among equals.
    pub times: Option<usize>,
}

/// One accumulator of every group, and which rows it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub shape: Shape,
    statuses: BTreeSet<Status>,
    filter: Option<Predicate>,
}

impl Cell {
    /// Whether the row takes part.
    pub fn takes(&self, row: &impl Row) -> bool {
        self.statuses.contains(&row.status()) && self.filter.as_ref().is_none_or(|filter| filter.matches(row))
    }

    /// Adds the row, which [`Cell::takes`], or takes it back.
    pub fn update(&self, accumulator: &mut Accumulator, sign: Sign, row: &impl Row) {
        match self.shape {
            Shape::Count => accumulator.update(sign, None, None),
            Shape::Sum { measure } | Shape::Multiset { measure } => {
                accumulator.update(sign, row.measure(measure), None)
            }
            Shape::Distinct { dimension } => accumulator.update(sign, None, row.dimension(dimension)),
            Shape::Times => accumulator.update(sign, Some(row.at().as_millis()), None),
        }
    }
}

/// How a metric is read off the cells, or off other metrics.
#[derive(Clone, Debug)]
enum Output {
    Count(usize),
    CountOf(usize),
    Sum(usize, u8),
    Average(usize, u8),
    Min(usize, u8),
    Max(usize, u8),
    Quantile(usize, u8, Number),
    Distinct(usize),
    /// One metric by another.
    Ratio(usize, usize),
}

/// A view that cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("view {view}: kind {found} was given, but it is a view of {expected}")]
    Kind { view: Name, expected: Name, found: Name },
    #[error("view {view}: {kind} has no dimension {dimension:?} to group by{}", suggest(.known))]
    GroupBy { view: Name, kind: Name, dimension: Name, known: Vec<Name> },
    #[error("view {view}: {what}")]
    Shape { view: Name, what: String },
    #[error("view {view}, metric {metric}: {field} {source}\n{caret}")]
    Expression { view: Name, metric: Name, field: &'static str, source: Box<ExpressionError>, caret: String },
}

fn suggest(known: &[Name]) -> String {
    let known: Vec<_> = known.iter().map(Name::as_str).collect();
    if known.is_empty() { String::new() } else { format!("; it has {}", known.join(", ")) }
}

impl Plan {
    /// Compiles `view` against its kind.
    ///
    /// # Errors
    /// When a name, an expression or a number of things is wrong; the error says which and where.
    pub fn compile(view: &View, kind: &Kind) -> Result<Self, PlanError> {
        let shape = |what: String| PlanError::Shape { view: view.name.clone(), what };
        if view.kind != kind.name {
            let (view, expected, found) = (view.name.clone(), view.kind.clone(), kind.name.clone());
            return Err(PlanError::Kind { view, expected, found });
        }
        if view.metrics.is_empty() || view.metrics.len() > MAX_METRICS {
            return Err(shape(format!("{} metrics; a view has 1 to {MAX_METRICS}", view.metrics.len())));
        }
        if view.group_by.len() > MAX_GROUP_BY {
            return Err(shape(format!(
                "groups by {} dimensions; at most {MAX_GROUP_BY} are allowed",
                view.group_by.len()
            )));
        }
        let mut names = BTreeSet::new();
        for name in view.group_by.iter().chain(view.metrics.iter().map(|metric| &metric.name)) {
            if !names.insert(name) {
                return Err(shape(format!("the name {name} is used twice")));
            }
        }
        let group_by = view
            .group_by
            .iter()
            .map(|name| {
                kind.dimension(name.as_str()).ok_or_else(|| PlanError::GroupBy {
                    view: view.name.clone(),
                    kind: kind.name.clone(),
                    dimension: name.clone(),
                    known: kind.dimensions.iter().map(|d| d.name.clone()).collect(),
                })
            })
            .collect::<Result<_, _>>()?;
        let mut plan = Self { view: view.clone(), group_by, cells: Vec::new(), outputs: Vec::new(), ranking: None };
        for index in 0..view.metrics.len() {
            let output = plan.output(index, view, kind)?;
            plan.outputs.push(output);
        }
        Ok(plan)
    }

    fn output(&mut self, index: usize, view: &View, kind: &Kind) -> Result<Output, PlanError> {
        let metric = &view.metrics[index];
        let failure = |field: &'static str, text: &str, source: ExpressionError| PlanError::Expression {
            view: view.name.clone(),
            metric: metric.name.clone(),
            field,
            caret: source.caret(text),
            source: Box::new(source),
        };
        if metric.status.is_empty() {
            let what = format!("metric {} counts entities in no status", metric.name);
            return Err(PlanError::Shape { view: view.name.clone(), what });
        }
        let aggregate =
            parse_aggregate(&metric.value, kind).map_err(|source| failure("value", &metric.value, source))?;
        let filter = match &metric.filter {
            None => None,
            Some(text) => {
                Some(Predicate::parse_and_check(text, kind).map_err(|source| failure("where", text, source))?)
            }
        };
        let statuses: BTreeSet<Status> = metric.status.iter().copied().collect();
        let scale = |measure: usize| kind.measures[measure].scale;
        let mut cell = |shape: Shape| {
            let cell = Cell { shape, statuses: statuses.clone(), filter: filter.clone() };
            self.cells.iter().position(|known| *known == cell).unwrap_or_else(|| {
                self.cells.push(cell);
                self.cells.len() - 1
            })
        };
        Ok(match aggregate {
            Aggregate::Count => Output::Count(cell(Shape::Count)),
            Aggregate::CountOf { measure } => Output::CountOf(cell(Shape::Sum { measure })),
            Aggregate::Sum { measure } => Output::Sum(cell(Shape::Sum { measure }), scale(measure)),
            Aggregate::Avg { measure } => Output::Average(cell(Shape::Sum { measure }), scale(measure)),
            Aggregate::Min { measure } => Output::Min(cell(Shape::Multiset { measure }), scale(measure)),
            Aggregate::Max { measure } => Output::Max(cell(Shape::Multiset { measure }), scale(measure)),
            Aggregate::Quantile { measure, q } => {
                Output::Quantile(cell(Shape::Multiset { measure }), scale(measure), q)
            }
            Aggregate::Distinct { dimension } => Output::Distinct(cell(Shape::Distinct { dimension })),
            Aggregate::Ratio { numerator, denominator } => {
                let other = |name: &Name| {
                    view.metrics[..index].iter().position(|metric| metric.name == *name).ok_or_else(|| {
                        let what = format!("metric {}: ratio needs {name} to be a metric above it", metric.name);
                        PlanError::Shape { view: view.name.clone(), what }
                    })
                };
                Output::Ratio(other(&numerator)?, other(&denominator)?)
            }
            Aggregate::Variance { .. }
            | Aggregate::Stddev { .. }
            | Aggregate::ApproxQuantile { .. }
            | Aggregate::ApproxDistinct { .. }
            | Aggregate::First { .. }
            | Aggregate::Last { .. } => {
                let what = format!(
                    "metric {}: {} is not available in this version; there are count, sum, avg, min, max, median, \
                     quantile, distinct and ratio",
                    metric.name, metric.value
                );
                return Err(PlanError::Shape { view: view.name.clone(), what });
            }
        })
    }

    /// The position of a metric in the view.
    pub fn metric(&self, name: &str) -> Option<usize> {
        self.view.metrics.iter().position(|metric| metric.name.as_str() == name)
    }

    /// Whether any figure takes the row.
    pub fn takes(&self, row: &impl Row) -> bool {
        self.cells.iter().any(|cell| cell.takes(row))
    }

    /// Which piece of the day, from 0, an event at `at` falls into at the view's grain; always 0 at grain day.
    pub fn piece(&self, opens_at: Instant, at: Instant) -> u16 {
        match self.view.grain.duration() {
            None => 0,
            Some(length) => (at.since(opens_at).as_millis() / length.as_millis()).min(u16::MAX.into()) as u16,
        }
    }

    /// Fresh accumulators for a group.
    pub fn zero(&self) -> Box<[Accumulator]> {
        self.cells.iter().map(|cell| Accumulator::zero(cell.shape)).collect()
    }

    /// The metrics of a group, in the view's order; `None` where there is nothing to tell, as for the average of none.
    pub fn figures(&self, group: &[Accumulator]) -> Vec<Option<Number>> {
        let mut figures: Vec<Option<Number>> = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            let figure = match *output {
                Output::Ratio(numerator, denominator) => ratio(figures[numerator], figures[denominator]),
                ref output => read(output, group),
            };
            figures.push(figure);
        }
        figures
    }
}

fn read(output: &Output, group: &[Accumulator]) -> Option<Number> {
    let scaled = |value: i64, scale: u8| Number::new(value.into(), scale);
    match *output {
        Output::Count(cell) => match &group[cell] {
            Accumulator::Count(n) => Some(Number::integer((*n).into())),
            other => unreachable!("a count kept as {other:?}"),
        },
        Output::CountOf(cell) => Some(Number::integer(sum(group, cell).0.into())),
        Output::Sum(cell, scale) => Some(Number::new(sum(group, cell).1, scale)),
        Output::Average(cell, scale) => {
            let (n, sum) = sum(group, cell);
            (n > 0).then(|| Number::ratio(sum, n.into(), scale))
        }
        Output::Min(cell, scale) => multiset(group, cell).min().map(|value| scaled(value, scale)),
        Output::Max(cell, scale) => multiset(group, cell).max().map(|value| scaled(value, scale)),
        Output::Quantile(cell, scale, q) => {
            let multiset = multiset(group, cell);
            multiset.at_rank(nearest_rank(q, multiset.len())).map(|value| scaled(value, scale))
        }
        Output::Distinct(cell) => match &group[cell] {
            Accumulator::Distinct(distinct) => Some(Number::integer(distinct.len() as i128)),
            other => unreachable!("a distinct count kept as {other:?}"),
        },
        Output::Ratio(..) => unreachable!("ratios are read off figures"),
    }
}

fn sum(group: &[Accumulator], cell: usize) -> (i64, i128) {
    match &group[cell] {
        Accumulator::Sum { n, sum } => (*n, *sum),
        other => unreachable!("a sum kept as {other:?}"),
    }
}

fn multiset(group: &[Accumulator], cell: usize) -> &Multiset {
    match &group[cell] {
        Accumulator::Multiset(multiset) => multiset,
        other => unreachable!("values kept as {other:?}"),
    }
}

/// The nearest rank of quantile `q` among `n` values: `ceil(q * n)` (Hyndman and Fan 1996, definition 1).
fn nearest_rank(q: Number, n: i64) -> i64 {
    let unit = pow10(q.scale());
    let product = q.unscaled() * i128::from(n);
    ((product + unit - 1).div_euclid(unit)) as i64
}

/// One figure by another, rounded half to even at six digits more than the first has.
fn ratio(numerator: Option<Number>, denominator: Option<Number>) -> Option<Number> {
    let (numerator, denominator) = (numerator?, denominator?);
    // Brought to a common scale the units cancel; what is left is a plain ratio with the digits of an average.
    let common = numerator.scale().max(denominator.scale());
    let n = numerator.unscaled().checked_mul(pow10(common - numerator.scale()))?;
    let d = denominator.unscaled().checked_mul(pow10(common - denominator.scale()))?;
    match d {
        0 => None,
        d if d < 0 => Some(Number::ratio(n.checked_neg()?, d.checked_neg()?, 0)),
        d => Some(Number::ratio(n, d, 0)),
    }
}

const _: () = assert!(RATIO_DIGITS as usize <= 36);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Dimension, Measure, Metric, Mode, only_final};

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
        fn at(&self) -> Instant {
            Instant::MIN
        }
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
        let rows = [
            Entity(Status::Final, Some(150)),
            Entity(Status::Final, Some(151)),
            Entity(Status::Final, None),
            Entity(Status::Draft, Some(9)),
            Entity(Status::Void, Some(9)),
        ];
        for row in &rows {
            for (cell, accumulator) in plan.cells.iter().zip(&mut group) {
                if cell.takes(row) {
                    cell.update(accumulator, Sign::Add, row);
                }
            }
        }
        let shown: Vec<String> =
            plan.figures(&group).iter().map(|f| f.map_or("null".into(), |n| n.to_string())).collect();
        assert_eq!(shown, ["3", "2", "3.01", "1.505", "1.5", "1.51", "1.5", "1.51", "1", "1", "0.333333", "1"]);
        let empty: Vec<_> = plan.figures(&plan.zero()).iter().map(|f| f.is_some()).collect();
        let told = [true, true, true, false, false, false, false, false, true, true, false, true];
        assert_eq!(empty, told);
    }

    #[test]
    fn nearest_rank_is_the_ceiling() {
        let rank = |q: &str, n: i64| nearest_rank(Number::parse(q).unwrap(), n);
        assert_eq!(
            [rank("0.5", 4), rank("0.5", 5), rank("0.95", 20), rank("0.95", 21), rank("1", 3)],
            [2, 3, 19, 20, 3]
        );
        assert_eq!(rank("0.000000000001", 1_000_000), 1);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |metrics: Vec<Metric>| Plan::compile(&view(metrics), &kind()).unwrap_err().to_string();
        assert!(error(vec![]).contains("0 metrics"));
        assert!(error(vec![metric("a", "count", None), metric("a", "count", None)]).contains("used twice"));
        assert!(error(vec![metric("a", "sum(prise)", None)]).contains("price"));
        assert!(error(vec![metric("a", "count", Some("delay <"))]).contains("where"));
        assert!(error(vec![metric("a", "ratio(b, c)", None)]).contains("b"));
        assert!(error(vec![metric("a", "first(price)", None)]).contains("not available"));
        let mut grouped = view(vec![metric("n", "count", None)]);
        grouped.group_by = vec![name("carier")];
        assert!(Plan::compile(&grouped, &kind()).unwrap_err().to_string().contains("carrier"));
    }
}
