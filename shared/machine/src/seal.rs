//! Makes the report of a closed day.

use super::Model;
use super::SealedReport;
use super::day::{Day, Sealed};
use super::tenant::TenantState;
use super::window::{Group, GroupKey, Window, Windows};
use daybook_contracts::ask::Query;
use daybook_contracts::figures::{self, DayFigures, Figures, GroupFigures};
use daybook_contracts::log::Through;
use daybook_contracts::report::{
    Coverage, Definitions, LogRange, MAX_REPORT_ROW_BYTES, Report, Row, Supersedes, ViewRows,
};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::{LogSeq, Name, Partition};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use daybook_rollup::{Question, Rollup};
use std::collections::BTreeMap;

/// Most groups of a view whose figures are published with a report: more would not fit a message even at one byte each.
pub(super) const MAX_FIGURES_GROUPS: usize = 2 * figures::MAX_FIGURES_BYTES / 10;

/// Where in the log a report is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub partition: Partition,
    pub log: LogSeq,
    pub through: Through,
}

/// The next version of the day's report. The day must be closed.
pub fn seal(tenant: &mut TenantState, date: Date, models: &[Model], position: Position) -> SealedReport {
    let id = tenant.definition.id.clone();
    let in_force = || models.iter().flat_map(|model| model.plans().map(|plan| (plan, &model.kind)));
    let plans = || in_force().filter(|(plan, _)| plan.view.is_for(&id));
    let defined = models.iter().filter(|model| !model.is_removed);
    let generation = tenant.definition.generation;
    let day = tenant.days.get_mut(&date).expect("a day that is sealed is kept");
    let marker = day.marker.clone().expect("a closed day has its marker");
    let version = day.sealed.as_ref().map_or(1, |sealed| sealed.version + 1);
    let report = Report {
        tenant: id.clone(),
        date,
        version,
        day: marker.day,
        dispositions: day.account,
        coverage: coverage(&tenant.windows, date),
        views: rows_of_views(&tenant.windows, &marker.day, plans()),
        definitions: Definitions {
            tenant: tenant.definition.revision,
            kinds: defined.map(|model| (model.kind.name.clone(), model.kind.revision)).collect(),
            views: plans().map(|(plan, _)| (plan.view.name.clone(), plan.view.revision)).collect(),
            calendar: Some(marker.calendar),
            calendar_revision: marker.calendar_revision,
            tzdb: marker.tzdb,
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
        generation,
        ended_at: tenant.definition.boundary(date),
    };
    let payload = serde_json::to_vec(&report).expect("a report holds nothing that JSON cannot");
    let hash = blake3::hash(&payload).to_hex().to_string();
    day.is_restating = false;
    day.sealed = Some(Sealed { version, hash: hash.clone(), account: day.account });
    let day = &tenant.days[&date];
    let figures = plans()
        .filter_map(|(plan, kind)| {
            let window = tenant.windows.day(date, &plan.view.name);
            // Nothing need be said of what has never been anything, but the figures of an earlier version must not stay.
            if version == 1 && window.is_none_or(|window| window.groups.is_empty()) {
                return None;
            }
            let day = day_figures(day, marker.day, window);
            let figures = day.map(|day| figures(plan, kind, position.log, position.through, vec![day]));
            Some((plan.view.name.clone(), figures))
        })
        .collect();
    SealedReport { tenant: id, date, version, generation, hash, payload, figures }
}

/// The groups of a view, with what is needed to read them.
pub fn figures(plan: &Plan, kind: &Kind, log: LogSeq, through: Through, days: Vec<DayFigures>) -> Figures {
    // No figure depends on alerts.
    let view = View { alerts: Vec::new(), ..plan.view.clone() };
    Figures { format: figures::FORMAT, view, kind: kind.clone(), log, inbox: through.whole(), days }
}

/// The groups of a day; `None` when there are too many to be sent.
pub fn day_figures(day: &Day, interval: BusinessDay, window: Option<&Window>) -> Option<DayFigures> {
    if window.is_some_and(|window| window.groups.len() > MAX_FIGURES_GROUPS) {
        return None;
    }
    Some(DayFigures {
        day: interval,
        closed: day.is_closed(),
        version: day.sealed.as_ref().map(|sealed| sealed.version),
        coverage: window.map(|window| window.coverage.clone()).unwrap_or_default(),
        groups: window.map_or_else(Vec::new, group_figures),
    })
}

/// The groups of a window, in order of their keys.
fn group_figures(window: &Window) -> Vec<GroupFigures> {
    let group = |(key, cells): (&GroupKey, &Group)| GroupFigures {
        piece: key.piece,
        dims: key.dims[..].into(),
        cells: cells.clone(),
    };
    window.sorted().into_iter().map(group).collect()
}

fn rows_of_views<'p>(
    windows: &Windows,
    day: &BusinessDay,
    plans: impl Iterator<Item = (&'p Plan, &'p Kind)>,
) -> BTreeMap<Name, ViewRows> {
    let mut budget = MAX_REPORT_ROW_BYTES;
    let empty = Window::default();
    plans
        .map(|(plan, kind)| {
            let window = windows.day(day.date, &plan.view.name).unwrap_or(&empty);
            let question = whole_view(plan, kind).for_report();
            let mut rollup = Rollup::new(&question, plan);
            let added = window.groups.iter().try_for_each(|(key, group)| rollup.add(day, key.piece, &key.dims, group));
            let page = added.and_then(|()| rollup.finish()).unwrap_or_default();
            let rows = fit(page.rows, &mut budget);
            let rows = ViewRows {
                rows,
                total: page.total,
                groups: window.groups.iter().filter(|(_, group)| !plan.is_nothing(group)).count() as u64,
                late_policy: plan.view.late_on(day.date),
                adjustments: window.adjustments,
            };
            (plan.view.name.clone(), rows)
        })
        .collect()
}

/// The question for everything that a view has, as finely as it has it.
pub fn whole_view(plan: &Plan, kind: &Kind) -> Question {
    let query = Query { grain: plan.view.grain.into(), ..Query::default() };
    Question::compile(&query, plan, kind).expect("a view can be asked for as it is")
}

/// The first rows, as many as the budget of bytes allows, which is reduced by what they take.
fn fit(mut rows: Vec<Row>, budget: &mut usize) -> Vec<Row> {
    let mut kept = 0;
    for row in &rows {
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
fn coverage(windows: &Windows, date: Date) -> Coverage {
    let views = windows.days.get(&date).into_iter().flatten();
    views
        .filter_map(|(name, window)| match &window.coverage {
            Coverage::Partial { from, reason } => {
                Some(Coverage::Partial { from: *from, reason: format!("view {name}: {reason}") })
            }
            Coverage::Capped { from, reason } => {
                Some(Coverage::Capped { from: *from, reason: format!("view {name}: {reason}") })
            }
            Coverage::Complete | Coverage::Missing { .. } => None,
        })
        .next()
        .unwrap_or_default()
}
