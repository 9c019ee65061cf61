//! The alerts of a view, compiled.

use super::{Plan, PlanError};
use crate::accumulator::Accumulator;
use crate::alerts::{MAX_ALERTS, ReportAlert, ViewAlert};
use crate::catalogue::View;
use crate::expression::FigurePredicate;
use crate::ids::Name;
use crate::value::Number;
use compact_str::CompactString;
use std::collections::BTreeSet;

/// An alert of a view, ready to be tried on groups.
#[derive(Clone, Debug)]
pub struct AlertPlan {
    pub name: Name,
    when: FigurePredicate,
}

impl AlertPlan {
    /// Whether the condition is true of a group with these dimensions and [figures](Plan::figures).
    pub fn holds(&self, dims: &[Option<CompactString>], figures: &[Option<Number>]) -> bool {
        self.when.holds(dims, figures)
    }
}

/// Compiles the alerts of `view`.
pub(super) fn compile(view: &View) -> Result<Vec<AlertPlan>, PlanError> {
    check_names(&view.alerts).map_err(|what| PlanError::Shape { view: view.name.clone(), what })?;
    let metrics: Vec<Name> = view.metrics.iter().map(|metric| metric.name.clone()).collect();
    let alert = |alert: &ViewAlert| {
        let when = FigurePredicate::parse_and_check(&alert.when, &view.group_by, &metrics);
        let when = when.map_err(|source| PlanError::Alert {
            view: view.name.clone(),
            alert: alert.name.clone(),
            caret: source.caret(&alert.when),
            source: Box::new(source),
        })?;
        Ok(AlertPlan { name: alert.name.clone(), when })
    };
    view.alerts.iter().map(alert).collect()
}

fn check_names(alerts: &[ViewAlert]) -> Result<(), String> {
    if alerts.len() > MAX_ALERTS {
        return Err(format!("has {} alerts; at most {MAX_ALERTS} are allowed", alerts.len()));
    }
    let mut names = BTreeSet::new();
    for ViewAlert { name, .. } in alerts {
        if ReportAlert::ALL.iter().any(|taken| taken.as_str() == name.as_str()) {
            return Err(format!(
                "the alert {name} has the name of an alert for reports; name it otherwise, or list {name} under `alerts` of a tenant"
            ));
        }
        if !names.insert(name) {
            return Err(format!("two alerts are named {name}"));
        }
    }
    Ok(())
}

impl Plan {
    /// The view's alerts, in its order.
    pub fn alerts(&self) -> &[AlertPlan] {
        &self.alerts
    }

    /// The plan for windows whose groups fire nothing.
    #[must_use]
    pub fn without_alerts(self) -> Self {
        Self { alerts: Vec::new(), ..self }
    }

    /// The figures of a group, if an answer has a row of it.
    pub fn figures_shown(&self, group: &[Accumulator]) -> Option<Vec<Option<Number>>> {
        (!self.is_nothing(group)).then(|| self.figures(group))
    }
}
