//! When a group reached its score: the earliest event time such that what happened until then, all of one millisecond
//! together, gives the present figures of all that the ranking is by.
//!
//! Cells beside those of the figures keep what that takes, and no more. Some criteria hold for ever once they hold: a
//! largest value of facts is kept with the earliest time that has it. The others come and go, such as a sum that falls and
//! rises again: of these the whole history is kept, and walked when somebody asks. The group remembers the answer until
//! it changes.

use super::output::Output;
use super::{Cell, Met, Plan};
use crate::accumulator::{Accumulator, Shape};
use crate::catalogue::Mode;
use crate::time::Instant;
use crate::value::Number;
use std::iter::Peekable;

#[cfg(test)]
mod tests;

/// Where it is kept when a group reached its score.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The cell that takes every row of the group, and remembers the answer.
    moments: usize,
    /// Criteria that hold from a time on, each with the cell that tells the time.
    lasting: Vec<(Lasting, usize)>,
    /// What is worked out as the histories of the other criteria are walked, in an order in which each rests on those before.
    steps: Vec<Step>,
    /// The steps that are criteria, each with its metric.
    walked: Vec<(usize, usize)>,
}

/// How a cell tells from when on a criterion holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    /// The first event time.
    First,
    /// The last event time.
    Last,
    /// The earliest time of the smallest value.
    Least,
    /// The earliest time of the largest value.
    Greatest,
    /// The time at which the last of all texts came first.
    Texts,
}

/// A metric whose history is walked.
#[derive(Clone, Debug)]
struct Step {
    metric: usize,
    what: Walked,
}

#[derive(Clone, Debug)]
enum Walked {
    /// Read by an output from what the history adds up to; that stands at position 0.
    History { output: Output, cell: usize },
    /// One step by another.
    Ratio(usize, usize),
}

impl Reach {
    /// Adds the cells that a ranking by these metrics needs.
    ///
    /// # Errors
    /// When one of them would cost too much, in a sentence.
    pub(super) fn compile(plan: &mut Plan, metrics: &[usize], mode: Mode) -> Result<Self, String> {
        let every_row = plan.cells.iter().fold(Met::default(), |met, cell| met.or(cell.any_of));
        let moments = plan.cell(Cell::new(Shape::Moments, every_row));
        let mut reach = Self { moments, lasting: Vec::new(), steps: Vec::new(), walked: Vec::new() };
        for metric in metrics.iter().copied() {
            match reach.lasting(plan, metric, mode) {
                Some(known) => reach.lasting.push(known),
                None => {
                    let step = reach.step(plan, metric).map_err(|metric| too_much(plan, metric))?;
                    reach.walked.push((step, metric));
                }
            }
        }
        Ok(reach)
    }

    /// The cell that tells from when on a criterion holds, if it is one that holds for ever.
    fn lasting(&self, plan: &mut Plan, metric: usize, mode: Mode) -> Option<(Lasting, usize)> {
        let timed = |measure| Shape::Timed { measure };
        Some(match (plan.outputs[metric].clone(), mode) {
            (Output::Count(cell), Mode::Fact) => (Lasting::Last, self.times(plan, cell)),
            (Output::CountOf(cell), Mode::Fact) => (Lasting::Last, history(plan, cell, timed)),
            (Output::Min(cell, _), Mode::Fact) => {
                (Lasting::Least, history(plan, cell, |measure| Shape::LeastSince { measure }))
            }
            (Output::Max(cell, _), Mode::Fact) => {
                (Lasting::Greatest, history(plan, cell, |measure| Shape::GreatestSince { measure }))
            }
            (Output::First(cell, _), _) => (Lasting::First, cell),
            (Output::Distinct(cell), _) => {
                keep_times(plan, cell);
                (Lasting::Texts, cell)
            }
            _ => return None,
        })
    }

    /// The cell with the event times of the rows that another cell counts.
    fn times(&self, plan: &mut Plan, cell: usize) -> usize {
        // Of a view without conditions every row of the group is counted.
        match plan.cells[cell].any_of == plan.cells[self.moments].any_of {
            true => self.moments,
            false => history(plan, cell, |_| Shape::Times),
        }
    }

    /// The step that works a metric out, made unless it is there; or the metric that cannot be walked.
    fn step(&mut self, plan: &mut Plan, metric: usize) -> Result<usize, usize> {
        if let Some(known) = self.steps.iter().position(|step| step.metric == metric) {
            return Ok(known);
        }
        let of = |plan: &mut Plan, cell: usize, shape: fn(usize) -> Shape, output: Output| {
            let cell = history(plan, cell, shape);
            Walked::History { output, cell }
        };
        let timed = |measure| Shape::Timed { measure };
        let what = match plan.outputs[metric].clone() {
            // A ratio names metrics above it only, so this ends.
            Output::Ratio(numerator, denominator) => {
                Walked::Ratio(self.step(plan, numerator)?, self.step(plan, denominator)?)
            }
            Output::Count(cell) => {
                let cell = self.times(plan, cell);
                Walked::History { output: Output::Count(0), cell }
            }
            Output::CountOf(cell) => of(plan, cell, timed, Output::CountOf(0)),
            Output::Sum(cell, scale) => of(plan, cell, timed, Output::Sum(0, scale)),
            Output::Average(cell, scale) => of(plan, cell, timed, Output::Average(0, scale)),
            Output::Min(cell, scale) => of(plan, cell, timed, Output::Min(0, scale)),
            Output::Max(cell, scale) => of(plan, cell, timed, Output::Max(0, scale)),
            Output::First(cell, scale) => of(plan, cell, timed, Output::First(0, scale)),
            Output::Last(cell, scale) => of(plan, cell, timed, Output::Last(0, scale)),
            Output::Distinct(cell) => {
                keep_times(plan, cell);
                Walked::History { output: Output::Count(0), cell }
            }
            Output::Variance(..)
            | Output::Deviation(..)
            | Output::Quantile(..)
            | Output::ApproxQuantile(..)
            | Output::ApproxDistinct(_) => return Err(metric),
        };
        self.steps.push(Step { metric, what });
        Ok(self.steps.len() - 1)
    }

    /// Whether the history in this cell is walked, so that all of it is needed, even of facts.
    pub(super) fn walks(&self, cell: usize) -> bool {
        self.steps.iter().any(|step| matches!(step.what, Walked::History { cell: of, .. } if of == cell))
    }

    /// When the group reached its score. `None` for a group without rows, and for one whose cells contradict each other.
    pub(super) fn reached(&self, plan: &Plan, group: &[Accumulator]) -> Option<Instant> {
        match &group[self.moments] {
            Accumulator::Moments(moments) => moments.reached(|| self.find(plan, group, moments.first())),
            other => unreachable!("moments kept as {other:?}"),
        }
    }

    fn find(&self, plan: &Plan, group: &[Accumulator], first: Option<i64>) -> Option<Instant> {
        let mut walk = Walk::new(&self.steps, group);
        let first = walk.next_time().into_iter().chain(first).min()?;
        let from = self.lasting.iter().filter_map(|(lasting, cell)| lasting.since(&group[*cell])).max();
        let mut at = from.map_or(first, |from| from.max(first));
        let present = plan.figures(group);
        loop {
            walk.pass(at);
            let figures = walk.figures();
            if self.walked.iter().all(|(step, metric)| is_same(figures[*step], present[*metric])) {
                return Some(Instant::from_millis(at));
            }
            at = walk.next_time()?;
        }
    }
}

/// A cell of that shape for the rows, and the measure, of another one.
fn history(plan: &mut Plan, cell: usize, shape: fn(usize) -> Shape) -> usize {
    let like = &plan.cells[cell];
    let measure = match like.shape {
        Shape::Sum { measure } | Shape::Multiset { measure } | Shape::Timed { measure } => measure,
        // Rows are counted whatever they have.
        _ => 0,
    };
    let history = Cell::new(shape(measure), like.any_of);
    plan.cell(history)
}

/// Has the cell of a distinct count keep times too. Its metrics read it as before.
fn keep_times(plan: &mut Plan, cell: usize) {
    if let Shape::Distinct { dimension } = plan.cells[cell].shape {
        plan.cells[cell].shape = Shape::DistinctTimes { dimension };
    }
}

fn too_much(plan: &Plan, metric: usize) -> String {
    let metric = &plan.view.metrics[metric];
    format!(
        "ranks with earliest by {}, and when {} was reached would cost too much to keep; leave out earliest, or rank by \
         count, sum, avg, min, max, distinct, first, last, or ratio of these",
        metric.name, metric.value
    )
}

impl Lasting {
    /// In milliseconds; `None` for what holds from the beginning.
    fn since(self, cell: &Accumulator) -> Option<i64> {
        let ends = |cell: &Accumulator| match cell {
            Accumulator::Timed(timed) => timed.ends(),
            Accumulator::TimedExtremes(None) => (None, None),
            Accumulator::TimedExtremes(Some(ends)) => (ends.min().map(|(at, _)| at), ends.max().map(|(at, _)| at)),
            times => times.extremes(),
        };
        match (self, cell) {
            (Self::First, cell) => ends(cell).0,
            (Self::Last, cell) => ends(cell).1,
            (Self::Least, Accumulator::TimedExtremes(ends)) => ends.as_ref()?.min().map(|(_, since)| since),
            // Kept negated, so that the earliest of equal values is the largest.
            (Self::Greatest, Accumulator::TimedExtremes(ends)) => {
                ends.as_ref()?.max().map(|(_, since)| since.saturating_neg())
            }
            (Self::Texts, cell) => first_times(cell).max(),
            (lasting, cell) => unreachable!("{lasting:?} kept as {cell:?}"),
        }
    }
}

/// When each text came first, in no particular order.
fn first_times(cell: &Accumulator) -> Box<dyn Iterator<Item = i64> + '_> {
    match cell {
        Accumulator::DistinctTimes(texts) => Box::new(texts.iter().filter_map(|(_, times)| times.min())),
        Accumulator::SeenSince(texts) => Box::new(texts.iter().map(|(_, since)| since)),
        other => unreachable!("texts kept as {other:?}"),
    }
}

/// Histories on the way from the first event time to the last.
struct Walk<'g> {
    steps: Vec<Walking<'g>>,
    figures: Vec<Option<Number>>,
}

enum Walking<'g> {
    History(History<'g>),
    Ratio(usize, usize),
}

struct History<'g> {
    output: &'g Output,
    entries: Peekable<Entries<'g>>,
    /// What the entries so far add up to.
    sum: [Accumulator; 1],
}

/// Event time in milliseconds, value, and how often: in order of time.
type Entries<'g> = Box<dyn Iterator<Item = (i64, i64, i64)> + 'g>;

impl<'g> Walk<'g> {
    fn new(steps: &'g [Step], group: &'g [Accumulator]) -> Self {
        let walking = |step: &'g Step| match &step.what {
            Walked::Ratio(numerator, denominator) => Walking::Ratio(*numerator, *denominator),
            Walked::History { output, cell } => {
                let entries = entries(&group[*cell]).peekable();
                Walking::History(History { output, entries, sum: [Accumulator::zero(sum_shape(output))] })
            }
        };
        Self { steps: steps.iter().map(walking).collect(), figures: Vec::with_capacity(steps.len()) }
    }

    fn next_time(&mut self) -> Option<i64> {
        let next = |step: &mut Walking<'_>| match step {
            Walking::History(history) => history.entries.peek().map(|(at, ..)| *at),
            Walking::Ratio(..) => None,
        };
        self.steps.iter_mut().filter_map(next).min()
    }

    /// Takes in all that happened until `at`.
    fn pass(&mut self, at: i64) {
        for step in &mut self.steps {
            if let Walking::History(history) = step {
                while let Some((at, value, n)) = history.entries.next_if(|(next, ..)| *next <= at) {
                    history.sum[0].take(at, value, n);
                }
            }
        }
    }

    /// The figures of all steps as they were then.
    fn figures(&mut self) -> &[Option<Number>] {
        self.figures.clear();
        for step in &self.steps {
            let figure = match step {
                Walking::History(history) => history.output.read(&history.sum, &[]),
                Walking::Ratio(numerator, denominator) => {
                    match (self.figures[*numerator], self.figures[*denominator]) {
                        (Some(numerator), Some(denominator)) => Number::quotient(numerator, denominator),
                        _ => None,
                    }
                }
            };
            self.figures.push(figure);
        }
        &self.figures
    }
}

/// What a history adds up to, to be read by `output`.
fn sum_shape(output: &Output) -> Shape {
    match output {
        Output::Count(_) => Shape::Count,
        Output::CountOf(_) | Output::Sum(..) | Output::Average(..) => Shape::Sum { measure: 0 },
        Output::Min(..) | Output::Max(..) => Shape::Extremes { measure: 0 },
        Output::First(..) | Output::Last(..) => Shape::TimedExtremes { measure: 0 },
        other => unreachable!("{other:?} is not walked"),
    }
}

fn entries(cell: &Accumulator) -> Entries<'_> {
    match cell {
        Accumulator::Multiset(times) => Box::new(times.iter().map(|(at, n)| (at, 0, n))),
        Accumulator::Timed(values) => Box::new(values.iter().map(|((at, value), n)| (at, value, n))),
        Accumulator::Moments(moments) => {
            let times = moments.times().expect("of rows that may be retracted all times are kept");
            Box::new(times.iter().map(|(at, n)| (at, 0, n)))
        }
        texts => {
            let mut since: Vec<i64> = first_times(texts).collect();
            since.sort_unstable();
            Box::new(since.into_iter().map(|at| (at, 0, 1)))
        }
    }
}

/// Equal numbers mostly have the same scale, and are compared without a division then.
fn is_same(one: Option<Number>, other: Option<Number>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) if one.scale() == other.scale() => one.unscaled() == other.unscaled(),
        (one, other) => one == other,
    }
}
