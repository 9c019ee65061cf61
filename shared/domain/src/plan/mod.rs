//! A view compiled against its kind: which columns group, which accumulators are kept, how metrics are read off them.
//! Metrics that need the same accumulator share it.
//!
//! `compile` makes a [`Plan`] with the help of `ranking` and `alerts`, `output` reads figures off it, `reached` when a score was
//! reached, `error` says what is wrong with a view.

mod alerts;
pub mod clock_hour;
mod compile;
mod error;
mod output;
mod ranking;
mod reached;
#[cfg(test)]
mod tests;

pub use alerts::AlertPlan;
pub use error::PlanError;
pub use reached::Reach;

use crate::accumulator::{Accumulator, Shape, Sign};
use crate::calendar::{BusinessDay, DayClock};
use crate::catalogue::{Direction, Grain, MAX_METRICS, Ties, View};
use crate::expression::{Predicate, Row};
use crate::time::Instant;
use crate::value::Number;
use compact_str::CompactString;
use output::Output;

/// Names that the columns of an answer have beside the view's own, so that no dimension or metric of a view may: the
/// business day, the start of a piece of it, and place and rank in a ranking.
pub const RESERVED_COLUMNS: [&str; 4] = ["day", "time", "rank", "position"];

/// A view ready to be computed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub view: View,
    /// Positions of the grouping dimensions in the kind.
    pub group_by: Vec<usize>,
    pub cells: Vec<Cell>,
    /// How many of the cells, from the first on, say whether a group has anything; those behind them only tell the earlier of
    /// equals.
    telling: usize,
    conditions: Vec<Condition>,
    outputs: Vec<Output>,
    pub ranking: Option<RankPlan>,
    alerts: Vec<AlertPlan>,
}

/// The view's ranking, compiled.
#[derive(Clone, Debug)]
pub struct RankPlan {
    /// Positions of metrics, and which end of each comes first.
    pub by: Vec<(usize, Direction)>,
    pub ties: Ties,
    /// How the earlier of two equals is found, where it ranks higher.
    pub earlier: Option<Earlier>,
}

/// Which of two equals is the earlier one.
#[derive(Clone, Debug)]
pub enum Earlier {
    /// By the latest event time that this cell keeps.
    LatestTime(usize),
    /// By when each reached its score.
    Reached(Reach),
}

/// One accumulator of every group, and which rows it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub shape: Shape,
    /// It takes the rows that meet one of these conditions: mostly it is one alone.
    any_of: Met,
    /// The position of a cell with every value that this one has [seen](Shape::Seen): what is new here is passed on to it.
    wider: Option<usize>,
    /// The conditions of the cells that pass on to this one.
    narrower: Met,
}

impl Cell {
    fn new(shape: Shape, any_of: Met) -> Self {
        Self { shape, any_of, wider: None, narrower: Met::default() }
    }
}

/// Which rows a metric takes. Metrics with the same one share it, so that it is judged once a row.
#[derive(Clone, Debug, PartialEq)]
struct Condition {
    /// By their positions in [`Status::ALL`](crate::catalogue::Status::ALL).
    statuses: [bool; 3],
    filter: Option<Predicate>,
}

impl Condition {
    fn holds(&self, row: &impl Row) -> bool {
        self.statuses[row.status() as usize] && self.filter.as_ref().is_none_or(|filter| filter.matches(row))
    }
}

/// Which conditions of a plan a row meets: a bit for each, and a plan has no more of them than metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met(u64);

const _: () = assert!(MAX_METRICS <= u64::BITS as usize);

impl Met {
    /// Whether no figure takes the row.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the cell takes the row.
    pub fn takes(self, cell: &Cell) -> bool {
        self.meets(cell.any_of)
    }

    /// Whether the cell takes the row by way of another.
    fn passes_on_to(self, cell: &Cell) -> bool {
        self.meets(cell.narrower)
    }

    fn meets(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    /// The condition at that position alone.
    fn only(condition: usize) -> Self {
        Self(1 << condition)
    }

    /// The position of the first condition.
    fn first(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Plan {
    /// The position of a metric in the view.
    pub fn metric(&self, name: &str) -> Option<usize> {
        self.view.metrics.iter().position(|metric| metric.name.as_str() == name)
    }

    /// Which of the plan's figures take the row.
    pub fn met(&self, row: &impl Row) -> Met {
        let bit = |(index, condition): (usize, &Condition)| u64::from(condition.holds(row)) << index;
        Met(self.conditions.iter().enumerate().map(bit).sum())
    }

    /// Adds a row, of which is told what it has [`Met`], to a group, or takes it back.
    pub fn update(&self, group: &mut [Accumulator], sign: Sign, met: Met, row: &impl Row) {
        for (index, cell) in self.cells.iter().enumerate().filter(|(_, cell)| met.takes(cell)) {
            if !met.passes_on_to(cell)
                && group[index].update(sign, cell.shape, row)
                && let Some(wider) = cell.wider
            {
                group[wider].update(sign, self.cells[wider].shape, row);
            }
        }
    }

    /// Which piece of the day, from 0, an event at `at` falls into at the view's grain; always 0 at grain day.
    pub fn piece(&self, day: &DayClock<'_>, at: Instant) -> u16 {
        match self.view.grain.duration() {
            _ if self.view.grain == Grain::ClockHour => clock_hour::piece(day, at),
            None => 0,
            Some(length) => (at.since(day.opens_at).as_millis() / length.as_millis()).min(u16::MAX.into()) as u16,
        }
    }

    /// A piece of the day as answers write it in the column `time`: when it begins. An instant, or the local time of an hour of the
    /// clock. The opening at grain day.
    pub fn piece_text(&self, day: &BusinessDay, piece: u16) -> String {
        match self.view.grain.duration() {
            _ if self.view.grain == Grain::ClockHour => clock_hour::text(clock_hour::hour(day.date, piece)),
            None => day.opens_at.to_string(),
            Some(length) => day.opens_at.after(length * u32::from(piece)).to_string(),
        }
    }

    /// Fresh accumulators for a group.
    pub fn zero(&self) -> Box<[Accumulator]> {
        self.cells.iter().map(|cell| Accumulator::zero(cell.shape)).collect()
    }

    /// Whether these can be the dimensions and accumulators of a group of this plan: to be asked of what was stored or
    /// sent, for everything else relies on it.
    pub fn fits(&self, piece: u16, dims: &[Option<CompactString>], cells: &[Accumulator]) -> bool {
        dims.len() == self.group_by.len()
            && (piece == 0 || self.view.grain != Grain::Day)
            && cells.len() == self.cells.len()
            && self.cells.iter().zip(cells).all(|(cell, accumulator)| {
                accumulator.fits(cell.shape) && cell.wider.is_none_or(|wider| accumulator.is_within(&cells[wider]))
            })
    }

    /// The metrics of a group, in the view's order; `None` where there is nothing to tell, as for the average of none,
    /// and for what is beyond the range of [`Number`].
    pub fn figures(&self, group: &[Accumulator]) -> Vec<Option<Number>> {
        let mut figures: Vec<Option<Number>> = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            figures.push(output.read(group, &figures));
        }
        figures
    }

    /// Of each metric, the most digits after the point that its figures have; `None` where they have as many as it takes, as variances
    /// do.
    pub fn digits(&self) -> Vec<Option<u8>> {
        self.outputs.iter().map(Output::digits).collect()
    }

    /// How many cells, from the first on, give the figures of a group and say whether it has anything. Those behind them are read by
    /// [`Plan::earliest`] alone.
    pub fn figure_cells(&self) -> usize {
        self.telling
    }

    /// Whether nothing is in a group, so that no answer has a row of it. What only tells the earlier of equals does not count.
    pub fn is_nothing(&self, group: &[Accumulator]) -> bool {
        group[..self.telling].iter().all(Accumulator::is_zero)
    }

    /// When a group reached its score, for a ranking in which the earlier ranks higher among equals. `None` without such a
    /// ranking and for a group without rows. Walks what the ranking keeps of the group, unless it has not changed since that
    /// was done last.
    pub fn earliest(&self, group: &[Accumulator]) -> Option<Instant> {
        match self.ranking.as_ref()?.earlier.as_ref()? {
            Earlier::LatestTime(cell) => group[*cell].extremes().1.map(Instant::from_millis),
            Earlier::Reached(reach) => reach.reached(self, group),
        }
    }

    /// Whether it may take long to tell when a group reached its score.
    pub fn walks(&self) -> bool {
        let earlier = self.ranking.as_ref().and_then(|ranking| ranking.earlier.as_ref());
        matches!(earlier, Some(Earlier::Reached(_)))
    }

    /// What was stored or sent of a group of this plan, in the form that it has now: see [`Accumulator::adopt`].
    pub fn adopt(&self, cells: &mut [Accumulator]) {
        self.cells.iter().zip(cells).for_each(|(cell, accumulator)| accumulator.adopt(cell.shape));
    }
}
