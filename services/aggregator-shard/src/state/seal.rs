//! Makes the report of a closed day.

use super::day::{Day, Sealed};
use super::tenant::TenantState;
use super::{Model, SealedReport};
use daybook_contracts::log::Through;
use daybook_contracts::report::{
    Coverage, Definitions, LogRange, MAX_REPORT_ROW_BYTES, Report, Row, Supersedes, ViewRows,
};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Date;
use std::collections::BTreeMap;

/// Where in the log a report is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub partition: Partition,
    pub log: LogSeq,
    pub through: Through,
}

/// The next version of the day's report. The day must be closed.
pub fn seal(tenant: &mut TenantState, date: Date, models: &[Model], position: Position) -> SealedReport {
    let day = tenant.days.get_mut(&date).expect("a day that is sealed is kept");
    let marker = day.marker.as_ref().expect("a closed day has its marker");
    let version = day.sealed.as_ref().map_or(1, |sealed| sealed.version + 1);
    let mut budget = MAX_REPORT_ROW_BYTES;
    let views = rows_of_views(day, models, &mut budget);
    let plans = || models.iter().flat_map(|model| &model.plans);
    let report = Report {
        tenant: tenant.definition.id.clone(),
        date,
        version,
        day: marker.day,
        dispositions: day.account,
        coverage: coverage(day),
        views,
        definitions: Definitions {
            tenant: tenant.definition.revision,
            kinds: models.iter().map(|model| (model.kind.name.clone(), model.kind.revision)).collect(),
            views: plans().map(|plan| (plan.view.name.clone(), plan.view.revision)).collect(),
            calendar: Some(marker.calendar.clone()),
            calendar_revision: marker.calendar_revision,
            tzdb: marker.tzdb.clone(),
        },
        log: LogRange {
            partition: position.partition,
            from: day.from,
            through: position.log,
            inbox_through: position.through.whole(),
        },
        supersedes: day.sealed.take().map(|sealed| Supersedes { version: sealed.version, hash: sealed.hash }),
        changes: std::mem::take(&mut day.changes),
        changes_omitted: std::mem::take(&mut day.changes_omitted),
    };
    let payload = serde_json::to_vec(&report).expect("a report holds nothing that JSON cannot");
    let hash = blake3::hash(&payload).to_hex().to_string();
    day.sealed = Some(Sealed { version, hash: hash.clone() });
    SealedReport { tenant: report.tenant, date, version, hash, payload }
}

fn rows_of_views(day: &Day, models: &[Model], budget: &mut usize) -> BTreeMap<daybook_domain::ids::Name, ViewRows> {
    let empty = super::day::DayView::default();
    let plans = models.iter().flat_map(|model| &model.plans);
    let mut views = BTreeMap::new();
    for plan in plans {
        let view = day.views.get(&plan.view.name).unwrap_or(&empty);
        let rows = view.rows(plan);
        let total = rows.len() as u64;
        views.insert(
            plan.view.name.clone(),
            ViewRows { rows: fit(rows, usize::MAX, budget), total, ..ViewRows::default() },
        );
    }
    views
}

/// The first rows, as many as `count` and the budget of bytes allow; the budget is reduced by what they take.
pub fn fit(mut rows: Vec<Row>, count: usize, budget: &mut usize) -> Vec<Row> {
    let mut kept = 0;
    for row in rows.iter().take(count) {
        let bytes = serde_json::to_vec(row).map_or(usize::MAX, |json| json.len() + 1);
        match budget.checked_sub(bytes) {
            Some(rest) => *budget = rest,
            None => {
                *budget = 0;
                break;
            }
        }
        kept += 1;
    }
    rows.truncate(kept);
    rows
}

/// The least of what the views cover.
fn coverage(day: &Day) -> Coverage {
    day.views
        .iter()
        .find_map(|(name, view)| match &view.coverage {
            Coverage::Partial { from, reason } => {
                Some(Coverage::Partial { from: *from, reason: format!("view {name}: {reason}") })
            }
            Coverage::Complete => None,
        })
        .unwrap_or_default()
}
