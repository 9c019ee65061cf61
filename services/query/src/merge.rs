//! From the groups of several days to one page of rows.

use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Query};
use daybook_contracts::figures::Figures;
use daybook_domain::plan::Plan;
pub use daybook_rollup::Page;
use daybook_rollup::{Question, Rollup};

/// The rows that `query` asks for, out of figures that are alike. The last one's definitions are the ones that count.
///
/// # Errors
/// When the question does not fit the view, or is too large.
pub fn roll_up(query: &Query, figures: &[&Figures]) -> Asked<Page> {
    let Some(newest) = figures.last() else {
        return Err(AskError::new(AskErrorCode::Internal, "there are no figures to merge"));
    };
    let plan = Plan::compile(&newest.view, &newest.kind).map_err(|error| {
        AskError::new(AskErrorCode::Internal, format!("the figures' own definition is wrong: {error}"))
    })?;
    let question = Question::compile(query, &plan, &newest.kind)?;
    let mut rollup = Rollup::new(&question, &plan);
    for day in figures.iter().flat_map(|figures| &figures.days) {
        for group in &day.groups {
            // What is stored is judged before it is merged: a group of another form would not fit the plan's cells.
            if group.dims.len() != plan.group_by.len() || group.cells.len() != plan.cells.len() {
                let message = format!("the figures of {} do not fit their definition", day.day.date);
                return Err(AskError::new(AskErrorCode::Internal, message));
            }
            rollup.add(&day.day, group.piece, &group.dims, &group.cells)?;
        }
    }
    rollup.finish()
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
