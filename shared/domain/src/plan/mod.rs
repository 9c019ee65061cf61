//! A view compiled against its kind: which columns group, which accumulators are kept, how metrics are read off them.
//! Metrics that need the same accumulator share it.
//!
//! `compile` makes a [`Plan`] with the help of `ranking`, `output` reads figures off it, `error` says what is wrong
//! with a view.

mod compile;
mod error;
mod output;
mod ranking;
#[cfg(test)]
mod tests;

pub use error::PlanError;

use crate::accumulator::{Accumulator, Shape, Sign};
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
    conditions: Vec<Condition>,
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
    /// The position of the plan's condition.
    condition: usize,
    /// The position of a cell with every value that this one has [seen](Shape::Seen): what is new here is passed on to it.
    wider: Option<usize>,
    /// The conditions of the cells that pass on to this one.
    narrower: Met,
}

impl Cell {
    fn new(shape: Shape, condition: usize) -> Self {
        Self { shape, condition, wider: None, narrower: Met::default() }
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
        self.0 >> cell.condition & 1 == 1
    }

    /// Whether the cell takes the row by way of another.
    fn passes_on_to(self, cell: &Cell) -> bool {
        self.0 & cell.narrower.0 != 0
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
    pub fn piece(&self, opens_at: Instant, at: Instant) -> u16 {
        match self.view.grain.duration() {
            None => 0,
            Some(length) => (at.since(opens_at).as_millis() / length.as_millis()).min(u16::MAX.into()) as u16,
        }
    }

    /// When a piece of the day that opens at `opens_at` begins: [`Plan::piece`] of it is `piece`. The opening at grain
    /// day.
    pub fn piece_start(&self, opens_at: Instant, piece: u16) -> Instant {
        match self.view.grain.duration() {
            None => opens_at,
            Some(length) => opens_at.after(length * u32::from(piece)),
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

    /// When a group reached its score, for a ranking in which the earlier is before among equals: the latest event
    /// time that is in the figures. `None` without such a ranking and for a group that it takes no row of.
    pub fn earliest(&self, group: &[Accumulator]) -> Option<Instant> {
        let times = self.ranking.as_ref()?.times?;
        group[times].extremes().1.map(Instant::from_millis)
    }

    /// What was stored or sent of a group of this plan, in the form that it has now: see [`Accumulator::adopt`].
    pub fn adopt(&self, cells: &mut [Accumulator]) {
        self.cells.iter().zip(cells).for_each(|(cell, accumulator)| accumulator.adopt(cell.shape));
    }
}
