//! A view's ranking, from metrics' names to their positions.

use super::{Cell, Earlier, Output, Plan, RankPlan, Reach};
use crate::accumulator::Shape;
use crate::catalogue::{Earliest, Grain, MAX_RANKED_BY, Mode, Ranking};
use crate::nearest::nearest;

/// Compiles the ranking of a plan whose metrics are compiled, and adds the cells that it may need to tell the earlier of
/// equals.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(super) fn compile(plan: &mut Plan, ranking: &Ranking, mode: Mode) -> Result<RankPlan, String> {
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
    let earlier = match ranking.earliest {
        Earliest::No => None,
        Earliest::LatestTime => {
            let like = &plan.cells[plan.rows_of(by[0].0)];
            let times = Cell { shape: Shape::Times, ..like.clone() };
            let cell = plan.cell(times);
            // A group is there as long as a time of it is, as in the builds that accepted this.
            plan.telling = plan.cells.len();
            Some(Earlier::LatestTime(cell))
        }
        Earliest::Reached => {
            let metrics: Vec<usize> = by.iter().map(|(metric, _)| *metric).collect();
            Some(Earlier::Reached(Reach::compile(plan, &metrics, mode)?))
        }
    };
    Ok(RankPlan { by, ties: ranking.ties, earlier })
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
