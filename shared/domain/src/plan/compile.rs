//! From a view and its kind to a plan, or to what is wrong with the view.

use super::{Cell, Condition, Earlier, Met, Output, Plan, PlanError, RESERVED_COLUMNS, alerts, ranking};
use crate::accumulator::Shape;
use crate::catalogue::{
    Grain, Kind, LatePolicy, MAX_GROUP_BY, MAX_LATE_CHANGES, MAX_METRICS, MAX_SCALE, MAX_VIEW_TENANTS, Measure, Mode,
    Status, View,
};
use crate::expression::{Aggregate, ExpressionError, Predicate, parse_aggregate};
use crate::ids::Name;
use std::collections::BTreeSet;

impl Plan {
    /// Compiles `view` against its kind.
    ///
    /// # Errors
    /// When a name, an expression, a number of things or their combination is wrong; the error says which and where.
    pub fn compile(view: &View, kind: &Kind) -> Result<Self, PlanError> {
        if view.kind != kind.name {
            let (view, expected, found) = (view.name.clone(), view.kind.clone(), kind.name.clone());
            return Err(PlanError::Kind { view, expected, found });
        }
        check_sizes(view)
            .and_then(|()| check_names(view))
            .and_then(|()| check_scales(kind))
            .map_err(|what| shape(view, what))?;
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
        let mut plan = Self {
            view: view.clone(),
            group_by,
            cells: Vec::new(),
            telling: 0,
            conditions: Vec::new(),
            outputs: Vec::new(),
            ranking: None,
            alerts: alerts::compile(view)?,
        };
        for index in 0..view.metrics.len() {
            let output = plan.output(index, view, kind)?;
            plan.outputs.push(output);
        }
        plan.check_late().map_err(|what| shape(view, what))?;
        plan.telling = plan.cells.len();
        if let Some(ranking) = &view.ranking {
            plan.ranking = Some(ranking::compile(&mut plan, ranking, kind.mode).map_err(|what| shape(view, what))?);
        }
        if kind.mode == Mode::Fact {
            plan.keep_what_facts_need();
            plan.look_up_once();
        }
        Ok(plan)
    }

    /// Facts are never retracted: of values off which no quantile is read, the extremes are all that is needed, and of texts
    /// that they are there. What a ranking walks stays whole. Cells stay where they are, so that what was stored before can be
    /// [adopted](Plan::adopt).
    fn keep_what_facts_need(&mut self) {
        let reach = self.ranking.as_ref().and_then(|ranking| match &ranking.earlier {
            Some(Earlier::Reached(reach)) => Some(reach),
            _ => None,
        });
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let has_quantile =
                self.outputs.iter().any(|output| matches!(output, Output::Quantile(of, ..) if *of == index));
            let is_walked = reach.is_some_and(|reach| reach.walks(index));
            cell.shape = match cell.shape {
                Shape::Multiset { measure } if !has_quantile => Shape::Extremes { measure },
                Shape::Timed { measure } if !is_walked => Shape::TimedExtremes { measure },
                Shape::Times if !is_walked => Shape::TimeExtremes,
                Shape::Moments if !is_walked => Shape::MomentExtremes,
                Shape::Distinct { dimension } => Shape::Seen { dimension },
                Shape::DistinctTimes { dimension } => Shape::SeenSince { dimension },
                other => other,
            };
        }
    }

    /// What was seen under a condition has been seen without it too, so that it need not be looked up there.
    fn look_up_once(&mut self) {
        for index in 0..self.cells.len() {
            let Cell { shape: shape @ Shape::Seen { .. }, any_of, .. } = self.cells[index] else { continue };
            let own = &self.conditions[any_of.first()];
            let is_wider = |cell: &Cell| {
                let other = &self.conditions[cell.any_of.first()];
                cell.shape == shape && other.filter.is_none() && other.statuses == own.statuses
            };
            if own.filter.is_some()
                && let Some(wider) = self.cells.iter().position(is_wider)
            {
                self.cells[index].wider = Some(wider);
                self.cells[wider].narrower = self.cells[wider].narrower.or(any_of);
            }
        }
    }

    /// The position of a cell, which is made unless there is such a one.
    pub(super) fn cell(&mut self, cell: Cell) -> usize {
        self.cells.iter().position(|known| *known == cell).unwrap_or_else(|| {
            self.cells.push(cell);
            self.cells.len() - 1
        })
    }

    fn condition(&mut self, condition: Condition) -> usize {
        self.conditions.iter().position(|known| *known == condition).unwrap_or_else(|| {
            self.conditions.push(condition);
            self.conditions.len() - 1
        })
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
            return Err(shape(view, format!("metric {} counts entities in no status", metric.name)));
        }
        let aggregate =
            parse_aggregate(&metric.value, kind).map_err(|source| failure("value", &metric.value, source))?;
        let filter = match &metric.filter {
            None => None,
            Some(text) => {
                Some(Predicate::parse_and_check(text, kind).map_err(|source| failure("where", text, source))?)
            }
        };
        let statuses = Status::ALL.map(|status| metric.status.contains(&status));
        let scale = |measure: usize| kind.measures[measure].scale;
        let condition = Met::only(self.condition(Condition { statuses, filter }));
        let mut cell = |shape: Shape| self.cell(Cell::new(shape, condition));
        Ok(match aggregate {
            Aggregate::Count => Output::Count(cell(Shape::Count)),
            Aggregate::CountOf { measure } => Output::CountOf(cell(Shape::Sum { measure })),
            Aggregate::Sum { measure } => Output::Sum(cell(Shape::Sum { measure }), scale(measure)),
            Aggregate::Avg { measure } => Output::Average(cell(Shape::Sum { measure }), scale(measure)),
            Aggregate::Min { measure } => Output::Min(cell(Shape::Multiset { measure }), scale(measure)),
            Aggregate::Max { measure } => Output::Max(cell(Shape::Multiset { measure }), scale(measure)),
            Aggregate::Variance { measure } => Output::Variance(cell(Shape::Squares { measure }), scale(measure)),
            Aggregate::Stddev { measure } => Output::Deviation(cell(Shape::Squares { measure }), scale(measure)),
            Aggregate::Quantile { measure, q } => {
                Output::Quantile(cell(Shape::Multiset { measure }), scale(measure), q)
            }
            Aggregate::ApproxQuantile { measure, q } => {
                Output::ApproxQuantile(cell(Shape::ApproxQuantile { measure }), scale(measure), q)
            }
            Aggregate::Distinct { dimension } => Output::Distinct(cell(Shape::Distinct { dimension })),
            Aggregate::ApproxDistinct { dimension } => {
                Output::ApproxDistinct(cell(Shape::ApproxDistinct { dimension }))
            }
            Aggregate::First { measure } => Output::First(cell(Shape::Timed { measure }), scale(measure)),
            Aggregate::Last { measure } => Output::Last(cell(Shape::Timed { measure }), scale(measure)),
            Aggregate::Ratio { numerator, denominator } => {
                let other = |name: &Name| {
                    view.metrics[..index].iter().position(|metric| metric.name == *name).ok_or_else(|| {
                        shape(view, format!("metric {}: ratio needs {name} to be a metric above it", metric.name))
                    })
                };
                Output::Ratio(other(&numerator)?, other(&denominator)?)
            }
        })
    }

    /// Only what adds up, and is not cut into pieces, can be carried into another day.
    fn check_late(&self) -> Result<(), String> {
        check_late_changes(&self.view)?;
        if self.view.late_policies().all(|late| late != LatePolicy::CarryForward) {
            return Ok(());
        }
        if self.view.grain != Grain::Day {
            return Err(format!(
                "late: carry_forward needs grain: day, since an adjustment belongs to no {} of the day it is posted \
                 to; choose that grain, or late: restate or reject",
                self.view.grain.as_str()
            ));
        }
        match self.view.metrics.iter().zip(&self.outputs).find(|(_, output)| !output.adds_up()) {
            None => Ok(()),
            Some((metric, _)) => Err(format!(
                "metric {}: {} does not add up over days, as late: carry_forward needs it; keep to count, sum and \
                 ratio, or move it to a view with late: restate or reject",
                metric.name, metric.value
            )),
        }
    }
}

fn shape(view: &View, what: String) -> PlanError {
    PlanError::Shape { view: view.name.clone(), what }
}

fn check_sizes(view: &View) -> Result<(), String> {
    if view.metrics.is_empty() || view.metrics.len() > MAX_METRICS {
        return Err(format!("{} metrics; a view has 1 to {MAX_METRICS}", view.metrics.len()));
    }
    if view.group_by.len() > MAX_GROUP_BY {
        return Err(format!("groups by {} dimensions; at most {MAX_GROUP_BY} are allowed", view.group_by.len()));
    }
    match view.tenants.as_ref().map(BTreeSet::len) {
        Some(0) => Err("is for no tenants; leave tenants out for everyone, or name some".to_owned()),
        Some(n) if n > MAX_VIEW_TENANTS => Err(format!(
            "names {n} tenants; at most {MAX_VIEW_TENANTS} are allowed, and without tenants it is for everyone"
        )),
        _ => Ok(()),
    }
}

/// What a rejecting view has of an entity depends on all days before, so such a view rejects from ever.
fn check_late_changes(view: &View) -> Result<(), String> {
    let changes = &view.late_changes;
    if changes.len() > MAX_LATE_CHANGES {
        return Err(format!("has {} late_changes; at most {MAX_LATE_CHANGES} are allowed", changes.len()));
    }
    if let Some(pair) = changes.windows(2).find(|pair| pair[0].from >= pair[1].from) {
        let (before, from) = (pair[0].from, pair[1].from);
        return Err(format!("the late change from {from} follows one from {before}; put them in order"));
    }
    if !changes.is_empty() && view.late_policies().any(|late| late == LatePolicy::Reject) {
        return Err(
            "late: reject holds for all days of a view; give a view with another policy another name".to_owned()
        );
    }
    Ok(())
}

/// Figures have more digits than their measures, up to what a number can have.
fn check_scales(kind: &Kind) -> Result<(), String> {
    match kind.measures.iter().find(|measure| measure.scale > MAX_SCALE) {
        Some(Measure { name, scale }) => {
            Err(format!("measure {name} of {} has scale {scale}; at most {MAX_SCALE} is allowed", kind.name))
        }
        None => Ok(()),
    }
}

fn check_names(view: &View) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for name in view.group_by.iter().chain(view.metrics.iter().map(|metric| &metric.name)) {
        if !names.insert(name) {
            return Err(format!("the name {name} is used twice"));
        }
        if RESERVED_COLUMNS.contains(&name.as_str()) {
            return Err(format!(
                "the name {name} is taken: answers have columns {} of their own; name the dimension or metric otherwise",
                RESERVED_COLUMNS.join(", ")
            ));
        }
    }
    Ok(())
}
