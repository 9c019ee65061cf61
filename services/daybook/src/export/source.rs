//! Asks for the rows of a view on a sealed day, as the newest report has them.

use crate::asker::Asker;
use daybook_contracts::ask::{Answer, Asked, DaySelector, Query};
use daybook_contracts::lists::{ReportEntry, ViewEntry};
use daybook_contracts::report::Row;
use daybook_domain::ids::TenantId;

/// How often a day is asked for whose figures change meanwhile.
const TRIES: usize = 5;

/// What there is of a day.
pub enum DayRows {
    Rows(Vec<Row>),
    /// Nothing that belongs into the table, and why.
    Without(String),
}

/// The rows of the report that `entry` names, made by the view as it is now. A report holds no more rows of a view than fit a message, none
/// of a view that came later, and those of the revision of its time: then the query service is asked, and its pages must be of that
/// version and that revision.
///
/// # Errors
/// Those of the query service.
pub async fn rows(asker: &Asker, tenant: &TenantId, view: &ViewEntry, entry: &ReportEntry) -> Asked<DayRows> {
    let report = asker.report(tenant, entry.date, Some(entry.version)).await?.report;
    if report.definitions.views.get(&view.name) == Some(&view.definition)
        && let Some(found) = report.views.get(&view.name)
        && found.total == found.rows.len() as u64
    {
        return Ok(DayRows::Rows(found.rows.clone()));
    }
    for _ in 0..TRIES {
        if let Some(found) = pages(asker, tenant, view, entry).await? {
            return Ok(found);
        }
    }
    Ok(DayRows::Without("its next report is to come; export it again later".to_owned()))
}

/// All pages; `None` if they are not of the report's version and of one state.
async fn pages(asker: &Asker, tenant: &TenantId, view: &ViewEntry, entry: &ReportEntry) -> Asked<Option<DayRows>> {
    let mut query = Query { accept_stale: false, ..Query::days(DaySelector::Date(entry.date)) };
    let mut answer: Answer = asker.query(tenant, view.name.as_str(), &query).await?;
    if answer.definition != view.definition {
        let reason =
            format!("they were made by revision {} of the view, which is {} now", answer.definition, view.definition);
        return Ok(Some(DayRows::Without(reason)));
    }
    let state = |answer: &Answer| (answer.report, answer.definition, answer.total, answer.generation);
    let first = state(&answer);
    let mut rows = Vec::new();
    loop {
        if answer.report != Some(entry.version) || state(&answer) != first {
            return Ok(None);
        }
        rows.append(&mut answer.rows);
        let Some(cursor) = answer.next.take() else { break };
        query.cursor = Some(cursor);
        answer = asker.query(tenant, view.name.as_str(), &query).await?;
    }
    let (kept, total) = (rows.len() as u64, first.2);
    if kept < total {
        return Ok(Some(DayRows::Without(format!("only {kept} of {total} rows were kept"))));
    }
    // Figures of a day that waits for its next report are ahead of this one.
    let sealed = asker.report(tenant, entry.date, None).await?;
    let is_same = sealed.report.version == entry.version && !sealed.is_restating;
    Ok(is_same.then_some(DayRows::Rows(rows)))
}
