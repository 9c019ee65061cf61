//! Which alerts a batch raises.
//!
//! A group of a view fires an alert when its figures behind a batch meet the condition, once on each business day. So the figures
//! between two events of one batch fire nothing, and all replicas agree, because the log decides where batches end. What has
//! fired is [`Marks`] of the day's window: part of the state, stored and compared with it, and gone with the window.
//!
//! Only groups that a batch changed are looked at. While a view has alerts, its windows of days note them in
//! [`Window::touched`](super::window::Window::touched).

use super::answer::{bare_row, interval};
use super::backfill::table_of;
use super::tenant::TenantState;
use super::window::{GroupKey, Window};
use super::{Effect, Model, PartitionState, SealedReport};
use daybook_contracts::alert::{MAX_FIRED_BYTES, MAX_FIRED_GROUPS, MAX_GROUP_ALERTS_OF_BATCH, ReportVersion};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::alerts::ReportAlert;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::View;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use daybook_domain::value::Number;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An alert that a batch raises for a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    pub day: Date,
    /// That of the tenant.
    pub generation: u32,
    pub about: About,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A group met the condition of an alert, with these figures behind the batch.
    Group { view: Name, alert: Name, group: Row, figures: Row },
    /// One group more met it than may fire on a day. It is the last one for that day.
    MoreGroups { view: Name, alert: Name },
    /// A version of the day's report was sealed.
    Report { alert: ReportAlert, report: ReportVersion },
}

impl About {
    /// What it is about, for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Group { .. } => "group",
            Self::MoreGroups { .. } => "more_groups",
            Self::Report { alert, .. } => alert.as_str(),
        }
    }
}

/// Which groups have fired an alert on a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// At most [`MAX_FIRED_GROUPS`], with at most [`MAX_FIRED_BYTES`].
    pub groups: BTreeSet<GroupKey>,
    /// One more would have: no group fires any more.
    pub more: bool,
}

impl Fired {
    /// Whether one of the bounds is passed.
    pub(super) fn is_too_large(&self) -> bool {
        self.groups.len() > MAX_FIRED_GROUPS || self.bytes() > MAX_FIRED_BYTES
    }

    /// Of the keys.
    fn bytes(&self) -> usize {
        self.groups.iter().map(GroupKey::bytes).sum()
    }
}

/// What has fired in a window, by alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<Name, Fired>);

impl Marks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order of the alerts' names.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Fired)> {
        self.0.iter()
    }

    /// Whether the group fires the alert no more, whatever its figures are.
    fn has(&self, alert: &Name, group: &GroupKey) -> bool {
        self.0.get(alert).is_some_and(|fired| fired.more || fired.groups.contains(group))
    }

    /// Marks that the group fires the alert. False when it is one more than may.
    fn fire(&mut self, alert: &Name, group: &GroupKey) -> bool {
        let fired = self.0.entry(alert.clone()).or_default();
        if fired.groups.len() < MAX_FIRED_GROUPS && fired.bytes() + group.bytes() <= MAX_FIRED_BYTES {
            fired.groups.insert(group.clone());
        } else {
            fired.more = true;
        }
        !fired.more
    }

    /// Keeps the marks of the alerts that `view` has. Tells whether any went.
    fn keep(&mut self, view: &View) -> bool {
        let before = self.0.len();
        self.0.retain(|name, _| view.alerts.iter().any(|alert| alert.name == *name));
        self.0.len() < before
    }
}

/// What is still to be told behind a batch. Nothing is left between two batches.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Days on which windows with alerts changed.
    days: BTreeSet<(TenantId, Date)>,
    raised: BTreeMap<TenantId, Vec<Raised>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.days.is_empty() && self.raised.is_empty()
    }

    /// The batch changed these days of a kind with alerts.
    pub(super) fn look_at(&mut self, tenant: &TenantId, days: impl Iterator<Item = Date>) {
        self.days.extend(days.map(|date| (tenant.clone(), date)));
    }

    /// Raises what the tenant wants to be told of a report.
    pub(super) fn note_report(&mut self, tenant: &TenantState, sealed: &SealedReport) {
        let alert = if sealed.version == 1 { ReportAlert::DaySealed } else { ReportAlert::ReportRestated };
        if !tenant.definition.alerts.contains(&alert) {
            return;
        }
        let report = ReportVersion { version: sealed.version, hash: sealed.hash.clone() };
        let (day, generation) = (sealed.date, sealed.generation);
        let raised = Raised { day, generation, about: About::Report { alert, report } };
        self.raised.entry(sealed.tenant.clone()).or_default().push(raised);
    }

    /// The tenant was purged: what the batch has raised for it so far is not told.
    pub(super) fn forget(&mut self, tenant: &TenantId) {
        self.raised.remove(tenant);
    }
}

impl PartitionState {
    /// Looks at the groups that the batch changed, and returns all that it raised.
    pub(super) fn raise_alerts(&mut self, effects: &mut Vec<Effect>) {
        for (id, date) in std::mem::take(&mut self.alerts.days) {
            let Self { tenants, models, tables, alerts, .. } = self;
            // Either may have gone in the batch.
            let Some(tenant) = tenants.get_mut(&id).filter(|tenant| tenant.days.contains_key(&date)) else { continue };
            let day = interval(tenant, table_of(tables, tenant), date);
            let generation = tenant.definition.generation;
            let raised = alerts.raised.entry(id).or_default();
            for (view, window) in tenant.windows.days.get_mut(&date).into_iter().flatten() {
                let Some(touched) = window.touched.take() else { continue };
                if let Some(plan) = models.iter().find_map(|model: &Model| model.plan(view)) {
                    look_at_groups(plan, (&day, generation), window, &touched, raised);
                }
            }
        }
        let raised = std::mem::take(&mut self.alerts.raised).into_iter().filter(|(_, raised)| !raised.is_empty());
        effects.extend(raised.map(|(tenant, alerts)| Effect::Alerts { tenant, alerts }));
    }

    /// Has the windows of a view keep the marks of the alerts that it has now.
    pub(super) fn forget_marks(&mut self, view: &View) {
        for (id, tenant) in &mut self.tenants {
            for (date, views) in &mut tenant.windows.days {
                if views.get_mut(&view.name).is_some_and(|window| window.fired.keep(view)) {
                    self.dirty.day(id, *date);
                }
            }
        }
    }
}

/// Has the groups of a window that changed fire, in order of their keys and of the view's alerts. A group for which the batch has no
/// room keeps no mark, and fires with its next change.
fn look_at_groups(
    plan: &Plan,
    (day, generation): (&BusinessDay, u32),
    window: &mut Window,
    touched: &BTreeSet<GroupKey>,
    raised: &mut Vec<Raised>,
) {
    let Window { groups, fired, .. } = window;
    for key in touched {
        let Some(group) = groups.get(key) else { continue };
        let mut figures = None;
        for alert in plan.alerts() {
            if fired.has(&alert.name, key) || raised.len() >= MAX_GROUP_ALERTS_OF_BATCH {
                continue;
            }
            let shown = figures.get_or_insert_with(|| plan.figures_shown(group));
            // Of a group that no answer has a row of there is nothing to tell.
            let Some(shown) = shown.as_deref() else { break };
            if !alert.holds(&key.dims, shown) {
                continue;
            }
            let (view, name) = (plan.view.name.clone(), alert.name.clone());
            let about = match fired.fire(&name, key) {
                true => {
                    let (group, figures) = (bare_row(plan, day, key), figures_row(plan, shown));
                    About::Group { view, alert: name, group, figures }
                }
                false => About::MoreGroups { view, alert: name },
            };
            raised.push(Raised { day: day.date, generation, about });
        }
    }
}

/// The metrics of a group by name.
fn figures_row(plan: &Plan, figures: &[Option<Number>]) -> Row {
    let names = plan.view.metrics.iter().map(|metric| metric.name.clone());
    Row(names.zip(figures.iter().map(|figure| figure.map_or(Figure::Null, Figure::Number))).collect())
}
