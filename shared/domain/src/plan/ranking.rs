//! A view's ranking, from metrics' names to their positions.

use super::{Cell, Output, Plan, RankPlan};
use crate::accumulator::Shape;
use crate::catalogue::{Grain, MAX_RANKED_BY, Ranking};
use crate::nearest::nearest;

/// Compiles the ranking of a plan whose metrics are, and adds the cell of event times that it may need.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(super) fn compile(plan: &mut Plan, ranking: &Ranking) -> Result<RankPlan, String> {
    if plan.view.grain != Grain::Day {
        return Err(format!(
            "ranking needs grain: day, and this view has grain: {}; rank in a view of its own",
            plan.view.grain.as_str()
        ));
    }
    if plan.group_by.is_empty() {
        return Err("ranking needs a dimension in group_by, whose members it ranks".to_owned());
    }
    if ranking.by.is_empty() || ranking.by.len() > MAX_RANKED_BY {
        return Err(format!("ranks by {} metrics; a ranking has 1 to {MAX_RANKED_BY}", ranking.by.len()));
    }
    let mut by = Vec::with_capacity(ranking.by.len());
    for criterion in &ranking.by {
        let name = criterion.metric.as_str();
        let metric = plan.metric(name).ok_or_else(|| unknown(plan, name))?;
        if by.iter().any(|(known, _)| *known == metric) {
            return Err(format!("ranks by {name} twice; the second time decides nothing"));
        }
        by.push((metric, criterion.direction));
    }
    let times = ranking.earliest.then(|| {
        let like = &plan.cells[plan.rows_of(by[0].0)];
        let times = Cell { shape: Shape::Times, ..like.clone() };
        plan.cell(times)
    });
    Ok(RankPlan { by, ties: ranking.ties, times })
}

fn unknown(plan: &Plan, name: &str) -> String {
    let names = || plan.view.metrics.iter().map(|metric| metric.name.as_str());
    match nearest(name, names()) {
        Some(meant) => format!("ranks by {name}, which is no metric of it; did you mean {meant}?"),
        None => format!("ranks by {name}, which is no metric of it; it has {}", names().collect::<Vec<_>>().join(", ")),
    }
}

impl Plan {
    /// A cell that takes the rows that a metric is about; for a ratio, those of its numerator.
    fn rows_of(&self, metric: usize) -> usize {
        match self.outputs[metric] {
            // A ratio names metrics above it only, so this ends.
            Output::Ratio(numerator, _) => self.rows_of(numerator),
            Output::Count(cell)
            | Output::CountOf(cell)
            | Output::Sum(cell, _)
            | Output::Average(cell, _)
            | Output::Min(cell, _)
            | Output::Max(cell, _)
            | Output::Variance(cell, _)
            | Output::Deviation(cell, _)
            | Output::Quantile(cell, ..)
            | Output::ApproxQuantile(cell, ..)
            | Output::Distinct(cell)
            | Output::ApproxDistinct(cell)
            | Output::First(cell, _)
            | Output::Last(cell, _) => cell,
        }
    }
}
