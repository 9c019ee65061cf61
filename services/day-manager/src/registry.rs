//! What is defined, and what a change to it means. Pure: nothing is published here.

mod groups;
mod models;
pub mod removal;
mod tenants;

use crate::calendar;
use crate::schedule::Schedule;
use crate::schedule::change::Counted;
use crate::schedule::closing::{begins_at, begun};
use daybook_contracts::admin::{Action, Applied, Apply, MAX_DEFINITIONS, Refusal, TenantSpec};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{
    Activation, Boundary, CalendarRule, Clocks, DEFAULT_REMEMBER_DAYS, Definition, Grain, Kind, Removal, SYSTEM_CLOCK,
    Tenant, TenantGroup, View,
};
use daybook_domain::ids::{Name, Partition, TenantId};
use daybook_domain::plan::{Plan, PlanError};
use daybook_domain::time::{Date, Instant};
use models::{
    Reached, accept_late, check_kind, check_late_before, check_tenants, mapping_changes, remember_change,
    view_difference, with_present_meaning,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most kinds, and most views, of a Daybook.
pub const MAX_MODELS: usize = 256;
/// How far ahead of a tenant's clock business days are published at least: how far ahead events may be dated.
pub const HORIZON: Duration = Duration::from_secs(8 * 86_400);
/// How far ahead days are published when fewer than [`HORIZON`] are left, so about every 32 days. Published days keep the rules
/// of their time: a larger value delays new time zone data, a smaller one writes more messages to each partition.
pub const EXTENSION: Duration = Duration::from_secs(40 * 86_400);
/// How many days the boundary of a day is kept, and so at most how many boundaries a tenant has: longer than shards take events of the day
/// and of the next one, which is 35 days (their `KEEP_DAYS`).
pub const BOUNDARY_DAYS: i32 = 40;
/// How many days before the present one a tenant on the system clock may begin. Older history is replayed by a clock
/// of its own.
pub const MAX_BACKFILL_DAYS: i32 = 400;

/// Everything that is defined, and the schedule that follows from it.
#[derive(Default)]
pub struct Registry {
    pub kinds: BTreeMap<Name, Kind>,
    pub views: BTreeMap<Name, View>,
    pub groups: BTreeMap<TenantId, TenantGroup>,
    /// The newest revision of each view that was activated in each partition, where it was not in force at once.
    pub activated: BTreeMap<(Partition, Name), u64>,
    pub tables: BTreeMap<Name, Arc<CalendarTable>>,
    pub schedule: Schedule,
    pub clocks: Clocks,
    /// What was removed, by what it was and its name, with the newest removal. It stays when the name is used again.
    pub removed: BTreeMap<(&'static str, String), Removal>,
}

/// A change that has been found sound.
#[derive(Debug, Default)]
pub struct CheckedChange {
    /// What is to be published, in this order.
    pub definitions: Vec<Definition>,
    pub applied: Vec<Applied>,
}

impl Registry {
    /// The instant that a clock has reached; `system_now` for the system clock.
    pub fn clock_now(&self, clock: &Name, system_now: Instant) -> Option<Instant> {
        if clock.as_str() == SYSTEM_CLOCK { Some(system_now) } else { self.clocks.get(clock).copied() }
    }

    /// The newest revision of each view.
    pub fn revisions(&self) -> BTreeMap<Name, u64> {
        self.views.values().map(|view| (view.name.clone(), view.revision)).collect()
    }

    /// How far the tenants of either revision of a view are, of whom a day has closed.
    fn reached<'a>(&'a self, old: &'a View, new: &'a View) -> Reached<'a> {
        let tenants = self.schedule.tenants().filter(|id| old.is_for(id) || new.is_for(id));
        Reached::of(tenants.filter_map(|id| {
            let plan = self.schedule.get(id)?;
            plan.closed()?;
            Some((plan.opened()?, id))
        }))
    }

    /// The definition by which a tenant's day ends at `now`, before its cut-off; `None` where it has an end already.
    ///
    /// # Errors
    /// When the day cannot end at `now`: it would have no time at all, opens by the calendar only later, or has ended at its cut-off.
    pub fn boundary(&self, tenant: &TenantId, date: Date, now: Instant) -> Result<Option<Definition>, String> {
        let known = self.schedule.get(tenant).zip(self.schedule.table(tenant));
        let known = known.and_then(|(plan, table)| Some((plan, table, table.day(date)?)));
        let (plan, table, day) = known.ok_or_else(|| format!("{date} of {tenant} is not open"))?;
        let old = plan.tenant();
        if old.boundary(date).is_some() {
            return Ok(None);
        }
        let begins_at = begins_at(old, table, &day);
        if now <= begins_at {
            return Err(format!(
                "{date} of {tenant} begins at {begins_at} and would have no time at all; ask for a boundary later, or close the day \
                 without one"
            ));
        }
        if now < day.opens_at {
            let begun = begun(&begins_at, &day.opens_at);
            return Err(format!("{date} of {tenant} {begun}; ask for a boundary from then on"));
        }
        if day.closes_at <= now {
            return Err(format!(
                "{date} of {tenant} ended at its cut-off, {}, and is open for its grace only; close it without a boundary",
                day.closes_at
            ));
        }
        let mut boundaries = old.boundaries.clone();
        boundaries.retain(|boundary| boundary.date >= date.plus(-BOUNDARY_DAYS));
        boundaries.push(Boundary { date, at: now });
        boundaries.sort_unstable_by_key(|boundary| boundary.date);
        Ok(Some(Definition::Tenant(Tenant { revision: old.revision + 1, boundaries, ..old.clone() })))
    }

    /// Checks that the hours of the clock are known for everyone whom the view is for.
    fn check_clock_hours(&self, view: &View) -> Result<(), String> {
        let tables = self.schedule.tenants().filter(|id| view.is_for(id)).filter_map(|id| self.schedule.table(id));
        let lacking = tables.filter(|table| table.offsets.is_empty()).map(|table| table.name.as_str()).next();
        match lacking.filter(|_| view.grain == Grain::ClockHour) {
            None => Ok(()),
            Some(table) => Err(format!(
                "grain clock_hour needs calendars with the offsets of local clocks, and an earlier build published {table} without; they \
                 follow within a minute of this build's start: apply the view again then"
            )),
        }
    }

    /// Whether the activation is of a view's newest revision, and has not been published yet.
    pub fn lacks(&self, partition: Partition, activation: &Activation) -> bool {
        let view = self.views.get(&activation.view);
        let activated = self.activated.get(&(partition, activation.view.clone()));
        view.is_some_and(|view| view.revision == activation.revision) && activated < Some(&activation.revision)
    }

    /// Takes note of a published activation; there may be several for one view, in any order.
    pub fn activate(&mut self, partition: Partition, activation: &Activation) {
        let revision = self.activated.entry((partition, activation.view.clone())).or_default();
        *revision = (*revision).max(activation.revision);
    }

    /// Takes a definition in that was published for all it concerns; activations differ between partitions and are none.
    ///
    /// # Errors
    /// When a tenant contradicts what the schedule knows of its days; it then stays as it was.
    pub fn adopt(&mut self, definition: Definition) -> Result<(), String> {
        match definition {
            Definition::Kind(kind) => {
                self.kinds.insert(kind.name.clone(), kind);
            }
            Definition::View(view) => {
                self.views.insert(view.name.clone(), view);
            }
            Definition::Calendar(table) => {
                let table = Arc::new(table);
                self.schedule.publish(&table);
                self.tables.insert(table.name.clone(), table);
            }
            Definition::Activation(_) => {}
            Definition::Group(group) => {
                self.groups.insert(group.id.clone(), group);
            }
            Definition::Removal(removal) => self.adopt_removal(removal),
            Definition::Tenant(tenant) => {
                let name = tenant.table.as_ref().ok_or_else(|| format!("tenant {} has no calendar", tenant.id))?;
                let table = self.tables.get(name).ok_or_else(|| format!("tenant {}: no calendar {name}", tenant.id))?;
                self.schedule.define(tenant, table.clone()).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The tables that must grow for `clock` to run up to `now`, grown; and why some cannot.
    pub fn extensions(&self, clock: &Name, now: Instant) -> (Vec<CalendarTable>, Vec<String>) {
        extended(self.schedule.horizon_short(clock, now, HORIZON).into_iter(), now.after(EXTENSION))
    }

    /// The tables of all clocks that an earlier build published without the offsets of local clocks, with them, and with the days that
    /// they have: a named clock may stand still for long. And why some cannot.
    pub fn with_offsets(&self) -> (Vec<CalendarTable>, Vec<String>) {
        extended(self.schedule.bare(), Instant::MIN)
    }

    /// The tenants whose zone, cut-off, first day or clock would change: what may depends on what their shards have counted.
    pub fn to_be_moved(&self, apply: &Apply) -> BTreeSet<TenantId> {
        let is_moved = |spec: &&TenantSpec| {
            self.schedule.get(&spec.id).map(|plan| plan.tenant()).is_some_and(|old| {
                spec.first_day.is_some_and(|first_day| first_day != old.first_day)
                    || spec.clock.as_ref().is_some_and(|clock| *clock != old.clock)
                    || !calendar::agree_through(&spec.rules(), &old.calendar, Date::MAX)
            })
        };
        apply.tenants.iter().filter(is_moved).map(|spec| spec.id.clone()).collect()
    }

    /// What `apply` would change, where the shards say `counted` of the tenants [to be moved](Registry::to_be_moved).
    ///
    /// # Errors
    /// Every definition that is refused; nothing may be published then.
    pub fn check(
        &self,
        apply: &Apply,
        counted: &BTreeMap<TenantId, Counted>,
        system_now: Instant,
    ) -> Result<CheckedChange, Vec<Refusal>> {
        let (change, refusals, tables) = (CheckedChange::default(), Vec::new(), BTreeMap::new());
        let mut check = Check { registry: self, counted, change, refusals, tables };
        let count = apply.kinds.len() + apply.views.len() + apply.tenants.len() + apply.groups.len();
        if count > MAX_DEFINITIONS {
            let reason = format!("{count} definitions in one request; at most {MAX_DEFINITIONS} are allowed");
            return Err(vec![Refusal { what: "request".into(), name: String::new(), reason }]);
        }
        check.kinds(&apply.kinds);
        check.views(apply);
        let mut tenants = Vec::new();
        for spec in &apply.tenants {
            match check.tenant(spec, system_now) {
                Ok(tenant) => tenants.push(tenant),
                Err(reason) => check.refuse("tenant", spec.id.as_str(), reason),
            }
        }
        check.unique("tenant", apply.tenants.iter().map(|spec| spec.id.as_str()));
        let groups = check.groups(apply);
        if !check.refusals.is_empty() {
            return Err(check.refusals);
        }
        // Calendars before the tenants that follow them.
        let tables = std::mem::take(&mut check.tables);
        check.change.definitions.extend(tables.into_values().map(Definition::Calendar));
        for (tenant, action, detail) in tenants {
            check.change.applied.push(Applied { what: "tenant".into(), name: tenant.id.to_string(), action, detail });
            if action != Action::Unchanged {
                check.change.definitions.push(Definition::Tenant(tenant));
            }
        }
        // Behind the tenants that they name.
        for (group, action, detail) in groups {
            check.change.applied.push(Applied { what: "group".into(), name: group.id.to_string(), action, detail });
            if action != Action::Unchanged {
                check.change.definitions.push(Definition::Group(group));
            }
        }
        Ok(check.change)
    }
}

struct Check<'a> {
    registry: &'a Registry,
    counted: &'a BTreeMap<TenantId, Counted>,
    change: CheckedChange,
    refusals: Vec<Refusal>,
    /// Tables that this change makes or extends.
    tables: BTreeMap<Name, CalendarTable>,
}

impl Check<'_> {
    fn refuse(&mut self, what: &str, name: &str, reason: String) {
        self.refusals.push(Refusal { what: what.into(), name: name.into(), reason });
    }

    fn unique<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                self.refuse(what, name, "is defined twice in this request".to_owned());
            }
        }
    }

    fn kinds(&mut self, kinds: &[Kind]) {
        self.unique("kind", kinds.iter().map(|kind| kind.name.as_str()));
        let registry = self.registry;
        let added = kinds.iter().filter(|kind| !registry.kinds.contains_key(&kind.name)).count();
        if registry.kinds.len() + added > MAX_MODELS {
            self.refuse("request", "", format!("there would be more than {MAX_MODELS} kinds"));
        }
        for kind in kinds {
            if let Err(reason) = check_kind(kind, registry.kinds.get(&kind.name)) {
                self.refuse("kind", kind.name.as_str(), reason);
                continue;
            }
            let old = registry.kinds.get(&kind.name);
            let revision =
                old.map_or_else(|| registry.removed_revision("kind", kind.name.as_str()), |old| old.revision);
            let remember = Some(kind.remember.unwrap_or(DEFAULT_REMEMBER_DAYS));
            let new = Kind { revision: revision + 1, remember, ..kind.clone() };
            let action =
                action(old.map(|old| Kind { revision: 0, ..old.clone() }), &Kind { revision: 0, ..new.clone() });
            let detail = old.filter(|_| action == Action::Changed).map(|old| {
                let dimensions = kind.dimensions[old.dimensions.len()..].iter().map(|d| d.name.as_str());
                let measures = kind.measures[old.measures.len()..].iter().map(|m| m.name.as_str());
                let columns: Vec<&str> = dimensions.chain(measures).collect();
                let added = (!columns.is_empty()).then(|| format!("added {}", columns.join(", ")));
                let changes = mapping_changes(old, kind).into_iter().chain(remember_change(old, &new));
                added.into_iter().chain(changes).collect::<Vec<_>>().join("; ")
            });
            self.change.applied.push(Applied { what: "kind".into(), name: kind.name.to_string(), action, detail });
            if action != Action::Unchanged {
                self.change.definitions.push(Definition::Kind(new));
            }
        }
    }

    fn views(&mut self, apply: &Apply) {
        self.unique("view", apply.views.iter().map(|view| view.name.as_str()));
        let registry = self.registry;
        let added = apply.views.iter().filter(|view| !registry.views.contains_key(&view.name)).count();
        if registry.views.len() + added > MAX_MODELS {
            self.refuse("request", "", format!("there would be more than {MAX_MODELS} views"));
        }
        let kind_of =
            |name: &Name| apply.kinds.iter().find(|kind| kind.name == *name).or_else(|| registry.kinds.get(name));
        let defined: BTreeSet<&TenantId> = apply.tenants.iter().map(|spec| &spec.id).collect();
        let exists = |id: &TenantId| registry.schedule.get(id).is_some() || defined.contains(id);
        for view in apply.views.iter().map(with_present_meaning) {
            let old = registry.views.get(&view.name);
            let reached = old.map_or_else(Reached::default, |old| registry.reached(old, &view));
            let accepted = old.map_or(Ok(Cow::Borrowed(&*view)), |old| accept_late(old, &view, &reached));
            let view = match &accepted {
                Ok(accepted) => &**accepted,
                Err(reason) => {
                    self.refuse("view", view.name.as_str(), reason.clone());
                    continue;
                }
            };
            let refusal = match (kind_of(&view.kind), old) {
                (None, _) => Some(format!("there is no kind {}", view.kind)),
                (Some(_), Some(old)) if old.kind != view.kind => {
                    Some(format!("is a view of {}; give a view of {} another name", old.kind, view.kind))
                }
                (Some(kind), _) => Plan::compile(view, kind)
                    .err()
                    .map(|error| match error {
                        // The refusal names the view itself.
                        PlanError::Shape { what, .. } => what,
                        other => other.to_string(),
                    })
                    .or_else(|| check_late_before(old?, view, kind).err())
                    .or_else(|| check_tenants(view.tenants.as_ref()?, exists).err())
                    .or_else(|| registry.check_clock_hours(view).err()),
            };
            if let Some(reason) = refusal {
                self.refuse("view", view.name.as_str(), reason);
                continue;
            }
            let revision =
                old.map_or_else(|| registry.removed_revision("view", view.name.as_str()), |old| old.revision);
            let action =
                action(old.map(|old| View { revision: 0, ..old.clone() }), &View { revision: 0, ..view.clone() });
            let detail = old.filter(|_| action == Action::Changed).map(|old| view_difference(old, view, &reached));
            self.change.applied.push(Applied { what: "view".into(), name: view.name.to_string(), action, detail });
            if action != Action::Unchanged {
                self.change.definitions.push(Definition::View(View { revision: revision + 1, ..view.clone() }));
            }
        }
    }
}

fn extended<'a>(
    tables: impl Iterator<Item = (&'a Arc<CalendarTable>, &'a [CalendarRule])>,
    through: Instant,
) -> (Vec<CalendarTable>, Vec<String>) {
    let (mut grown, mut troubles) = (Vec::new(), Vec::new());
    for (table, rules) in tables {
        match calendar::extend(Some(table), &table.name, rules, table.first, through) {
            Ok(table) => grown.extend(table),
            Err(error) => troubles.push(format!("calendar {} cannot be extended: {error}", table.name)),
        }
    }
    (grown, troubles)
}

fn action<T: PartialEq>(old: Option<T>, new: &T) -> Action {
    match old {
        None => Action::Created,
        Some(old) if old == *new => Action::Unchanged,
        Some(_) => Action::Changed,
    }
}

#[cfg(test)]
mod tests;
