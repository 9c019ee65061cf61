//! From the groups of several days to one page of rows.

use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Query};
use daybook_contracts::figures::{Figures, GroupFigures};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::plan::Plan;
pub use daybook_rollup::Page;
use daybook_rollup::{Question, Rollup};

/// A business day, and groups of it.
pub type DayGroups<'f> = (&'f BusinessDay, &'f [GroupFigures]);

/// The rows that `query` asks for, out of figures that are alike. The last one's definitions are the ones that count.
///
/// # Errors
/// When the question does not fit the view, or is too large.
pub fn roll_up(query: &Query, figures: &[&Figures]) -> Asked<Page> {
    let Some(newest) = figures.last() else {
        return Err(AskError::new(AskErrorCode::Internal, "there are no figures to merge"));
    };
    let days = figures.iter().flat_map(|figures| &figures.days);
    roll_up_days(query, &newest.view, &newest.kind, days.map(|day| (&day.day, day.groups.as_slice())))
}

/// The rows that `query` asks for, out of groups that were made with `view`.
///
/// # Errors
/// As [`roll_up`].
pub fn roll_up_days<'f>(
    query: &Query,
    view: &View,
    kind: &Kind,
    days: impl Iterator<Item = DayGroups<'f>>,
) -> Asked<Page> {
    let plan = plan(view, kind)?;
    let question = Question::compile(query, &plan, kind)?;
    let mut rollup = Rollup::new(&question, &plan);
    for (day, groups) in days {
        for group in groups {
            // What is stored is judged before it is merged: a group of another form would not fit the plan's cells.
            if group.dims.len() != plan.group_by.len() || group.cells.len() != plan.cells.len() {
                let message = format!("the figures of {} do not fit their definition", day.date);
                return Err(AskError::new(AskErrorCode::Internal, message));
            }
            rollup.add(day, group.piece, &group.dims, &group.cells)?;
        }
    }
    rollup.finish()
}

/// Checks that `query` fits a view.
///
/// # Errors
/// When it does not.
pub fn check(query: &Query, view: &View, kind: &Kind) -> Asked<()> {
    Question::compile(query, &plan(view, kind)?, kind).map(drop)
}

fn plan(view: &View, kind: &Kind) -> Asked<Plan> {
    Plan::compile(view, kind).map_err(|error| {
        AskError::new(AskErrorCode::Internal, format!("the figures' own definition is wrong: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tests::figures;
    use daybook_contracts::ask::Pieces;

    #[test]
    fn days_add_up_or_stand_side_by_side() {
        let days = [figures("2013-03-09", 3), figures("2013-03-10", 4)];
        let days: Vec<&Figures> = days.iter().collect();
        let text = |query: &Query| serde_json::to_string(&roll_up(query, &days).unwrap().rows).unwrap();
        assert_eq!(text(&Query::default()), r#"[{"carrier":"B6","flights":7}]"#);
        let by_day = Query { grain: Pieces::Day, ..Query::default() };
        let rows =
            r#"[{"day":"2013-03-09","carrier":"B6","flights":3},{"day":"2013-03-10","carrier":"B6","flights":4}]"#;
        assert_eq!(text(&by_day), rows);
    }

    #[test]
    fn figures_that_do_not_fit_are_refused() {
        let mut bad = figures("2013-03-09", 3);
        bad.days[0].groups[0].cells = Box::new([]);
        assert_eq!(roll_up(&Query::default(), &[&bad]).unwrap_err().code, AskErrorCode::Internal);
        assert_eq!(roll_up(&Query::default(), &[]).unwrap_err().code, AskErrorCode::Internal);
    }
}
