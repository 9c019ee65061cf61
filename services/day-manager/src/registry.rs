//! What is defined, and what a change to it means. Pure: nothing is published here.

mod models;

use crate::calendar;
use crate::schedule::Schedule;
use crate::schedule::change::{self, Accepted, Counted, Standing};
use crate::seasons::check_seasons;
use daybook_contracts::admin::{Action, Applied, Apply, MAX_DEFINITIONS, Refusal, TenantSpec};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{
    Activation, CalendarRule, Clocks, DEFAULT_MAX_AHEAD_MS, DEFAULT_RESTATE_AFTER_MS, Definition, Kind,
    LARGEST_MAX_AHEAD_MS, MAX_GRACE_MS, MAX_RESTATE_AFTER_MS, SYSTEM_CLOCK, Tenant, View,
};
use daybook_domain::ids::{Name, Partition, TenantId};
use daybook_domain::plan::{Plan, PlanError};
use daybook_domain::time::{Date, Instant};
use models::{check_kind, check_view_tenants, mapping_changes, view_difference};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most kinds, and most views, of a Daybook.
pub const MAX_MODELS: usize = 256;
/// How far ahead of a tenant's clock business days are published at least: how far ahead events may be dated.
pub const HORIZON: Duration = Duration::from_secs(8 * 86_400);
/// How far days are published when the horizon has come too near.
pub const EXTENSION: Duration = Duration::from_secs(16 * 86_400);
/// How many days before the present one a tenant on the system clock may begin. Older history is replayed by a clock
/// of its own.
pub const MAX_BACKFILL_DAYS: i32 = 400;

/// Everything that is defined, and the schedule that follows from it.
#[derive(Default)]
pub struct Registry {
    pub kinds: BTreeMap<Name, Kind>,
    pub views: BTreeMap<Name, View>,
    /// The newest revision of each view that was activated in each partition, where it was not in force at once.
    pub activated: BTreeMap<(Partition, Name), u64>,
    pub tables: BTreeMap<Name, Arc<CalendarTable>>,
    pub schedule: Schedule,
    pub clocks: Clocks,
}

/// A change that has been found sound.
#[derive(Debug, Default)]
pub struct Change {
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
            Definition::Tenant(tenant) => {
                let name = tenant.table.as_ref().ok_or_else(|| format!("tenant {} has no calendar", tenant.id))?;
                let table = self.tables.get(name).ok_or_else(|| format!("tenant {}: no calendar {name}", tenant.id))?;
                self.schedule.define(tenant, table.clone()).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The tables that must grow for `clock` to run up to `now`, grown.
    pub fn extensions(&self, clock: &Name, now: Instant) -> Vec<CalendarTable> {
        let through = now.after(EXTENSION);
        self.schedule
            .horizon_short(clock, now, HORIZON)
            .into_iter()
            .filter_map(|(table, rules)| {
                match calendar::extend(Some(table), &table.name, rules, table.first, through) {
                    Ok(table) => table,
                    Err(error) => {
                        tracing::error!(table = %table.name, %error, "a calendar cannot be extended");
                        None
                    }
                }
            })
            .collect()
    }

    /// The tenants whose zone, cut-off, first day or clock would change: what may depends on what their shards have counted.
    pub fn to_be_moved(&self, apply: &Apply) -> BTreeSet<TenantId> {
        let is_moved = |spec: &&TenantSpec| {
            self.schedule.get(&spec.id).map(|plan| plan.tenant()).is_some_and(|old| {
                spec.first_day.is_some_and(|first_day| first_day != old.first_day)
                    || spec.clock.as_ref().is_some_and(|clock| *clock != old.clock)
                    || !calendar::agree_through(&rules_of(spec), &old.calendar, Date::MAX)
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
    ) -> Result<Change, Vec<Refusal>> {
        let (change, refusals, tables) = (Change::default(), Vec::new(), BTreeMap::new());
        let mut check = Check { registry: self, counted, change, refusals, tables };
        let count = apply.kinds.len() + apply.views.len() + apply.tenants.len();
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
        Ok(check.change)
    }
}

struct Check<'a> {
    registry: &'a Registry,
    counted: &'a BTreeMap<TenantId, Counted>,
    change: Change,
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
            let revision = old.map_or(0, |old| old.revision);
            let new = Kind { revision: revision + 1, ..kind.clone() };
            let action =
                action(old.map(|old| Kind { revision: 0, ..old.clone() }), &Kind { revision: 0, ..kind.clone() });
            let detail = old.filter(|_| action == Action::Changed).map(|old| {
                let dimensions = kind.dimensions[old.dimensions.len()..].iter().map(|d| d.name.as_str());
                let measures = kind.measures[old.measures.len()..].iter().map(|m| m.name.as_str());
                let columns: Vec<&str> = dimensions.chain(measures).collect();
                let added = (!columns.is_empty()).then(|| format!("added {}", columns.join(", ")));
                added.into_iter().chain(mapping_changes(old, kind)).collect::<Vec<_>>().join("; ")
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
        for view in &apply.views {
            let old = registry.views.get(&view.name);
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
                    .or_else(|| check_view_tenants(view, exists).err()),
            };
            if let Some(reason) = refusal {
                self.refuse("view", view.name.as_str(), reason);
                continue;
            }
            let revision = old.map_or(0, |old| old.revision);
            let action =
                action(old.map(|old| View { revision: 0, ..old.clone() }), &View { revision: 0, ..view.clone() });
            let detail = old.filter(|_| action == Action::Changed).map(|old| view_difference(old, view));
            self.change.applied.push(Applied { what: "view".into(), name: view.name.to_string(), action, detail });
            if action != Action::Unchanged {
                self.change.definitions.push(Definition::View(View { revision: revision + 1, ..view.clone() }));
            }
        }
    }

    fn tenant(&mut self, spec: &TenantSpec, system_now: Instant) -> Result<(Tenant, Action, Option<String>), String> {
        check_spec(spec)?;
        let registry = self.registry;
        let plan = registry.schedule.get(&spec.id);
        let old = plan.map(|plan| plan.tenant());
        let clock = spec.clock.clone().or_else(|| old.map(|old| old.clock.clone())).unwrap_or_else(system_clock);
        let old_table = registry.schedule.table(&spec.id).map(Arc::as_ref);
        let standing = plan.zip(old_table).map(|(plan, table)| Standing {
            table,
            opened: plan.opened(),
            counted: self.counted.get(&spec.id).copied().unwrap_or(Counted::Unknown),
            now: registry.clock_now(&plan.tenant().clock, system_now),
        });
        let known = old.zip(standing.as_ref());

        let asked = rules_of(spec);
        let accepted = match known {
            Some((old, standing)) => change::accept_calendar(old, &asked, standing),
            None => calendar::check_rules(&asked).map(|()| Accepted { rules: asked, since: None }).map_err(Into::into),
        };
        let Accepted { rules, since } = accepted.map_err(|error| error.to_string())?;
        let now = registry.clock_now(&clock, system_now);
        check_seasons(old.map_or(&[], |old| &old.seasons), &spec.seasons, now).map_err(|error| error.to_string())?;
        let first_day = match (spec.first_day, old, now) {
            (Some(first_day), _, _) => first_day,
            (None, Some(old), _) => old.first_day,
            (None, None, Some(now)) => calendar::business_date(&rules, now).map_err(|error| error.to_string())?,
            (None, None, None) => return Err(format!("needs a first_day, for the clock {clock} has not begun")),
        };
        if let Some((old, standing)) = known {
            change::check_clock(old, &clock, standing, system_now)
                .and_then(|()| change::check_first_day(old, first_day, standing))
                .map_err(|error| error.to_string())?;
        }
        let has_opened = plan.is_some_and(|plan| plan.opened().is_some());
        let is_moved = old.is_none_or(|old| old.first_day != first_day || old.clock != clock);
        if clock.as_str() == SYSTEM_CLOCK && is_moved && !has_opened {
            check_backfill(&rules, first_day, old, system_now)?;
        }
        let tenant = Tenant {
            id: spec.id.clone(),
            name: spec.name.clone(),
            table: Some(calendar::table_name(&rules, &clock)),
            calendar: rules,
            grace_ms: spec.grace_ms,
            first_day,
            clock,
            revision: old.map_or(0, |old| old.revision) + 1,
            seasons: spec.seasons.clone(),
            quotas: spec.quotas,
            restate_after_ms: Some(spec.restate_after_ms.unwrap_or(DEFAULT_RESTATE_AFTER_MS)),
            max_ahead_ms: Some(spec.max_ahead_ms.unwrap_or(DEFAULT_MAX_AHEAD_MS)),
        };
        let action = action(old.cloned().map(|old| Tenant { revision: tenant.revision, ..old }), &tenant);
        let fixed = known.and_then(|(old, standing)| standing.fixed(old));
        let stays = fixed.zip(old_table).and_then(|(fixed, table)| calendar::kept(table, fixed.last));
        self.table(&tenant, stays.as_ref(), now)?;
        let changed = old.filter(|_| action == Action::Changed).map(|old| difference(old, &tenant));
        let since = since.map(|(date, reason)| format!("days before {date} keep their hours, because {reason}"));
        let told: Vec<String> = changed.into_iter().chain(since).chain(kept_clock(spec, old)).collect();
        Ok((tenant, action, (!told.is_empty()).then(|| told.join("; "))))
    }

    /// Makes sure that the table of the tenant's calendar covers its days, making or extending it if need be. `stays` are the
    /// days that the tenant has had so far and keeps.
    fn table(&mut self, tenant: &Tenant, stays: Option<&CalendarTable>, now: Option<Instant>) -> Result<(), String> {
        let name = tenant.table.as_ref().expect("named when the tenant was made");
        let known = self.tables.get(name).or_else(|| self.registry.tables.get(name).map(Arc::as_ref));
        // Far enough for the tenant's present, and for its first days if they are still to come.
        let first_opens = calendar::extend(None, name, &tenant.calendar, tenant.first_day, Instant::MIN)
            .map_err(|error| error.to_string())?
            .map_or(Instant::MIN, |table| table.opens_at());
        let present = now.map_or(first_opens, |now| now.max(first_opens));
        let is_enough =
            |table: &&CalendarTable| table.first <= tenant.first_day && table.horizon() > present.after(HORIZON);
        let extended = match known.filter(is_enough) {
            Some(_) => None,
            None => {
                let through = present.after(EXTENSION);
                calendar::extend(known.or(stays), name, &tenant.calendar, tenant.first_day, through)
                    .map_err(|error| error.to_string())?
            }
        };
        if let (Some(stays), Some(table)) = (stays, extended.as_ref().or(known))
            && let Some(date) = calendar::disagreement(stays, table)
        {
            return Err(format!(
                "the published calendar and the new one differ on {date}, because the time zone database changed in between; \
                 choose a cut-off that differs by a minute"
            ));
        }
        if let Some(table) = extended {
            self.tables.insert(name.clone(), table);
        }
        Ok(())
    }
}

fn rules_of(spec: &TenantSpec) -> Vec<CalendarRule> {
    let first = CalendarRule { from: Date::MIN, zone: spec.zone.clone(), cutoff_minutes: spec.cutoff_minutes };
    std::iter::once(first).chain(spec.changes.iter().cloned()).collect()
}

/// Checks what needs no other definition.
fn check_spec(spec: &TenantSpec) -> Result<(), String> {
    if spec.grace_ms > MAX_GRACE_MS {
        return Err(format!("grace of {} ms is more than a day ({MAX_GRACE_MS} ms)", spec.grace_ms));
    }
    if let Some(millis) = spec.restate_after_ms.filter(|millis| *millis > MAX_RESTATE_AFTER_MS) {
        return Err(format!("restate_after of {millis} ms is more than a day ({MAX_RESTATE_AFTER_MS} ms)"));
    }
    if let Some(millis) = spec.max_ahead_ms.filter(|millis| *millis > LARGEST_MAX_AHEAD_MS) {
        return Err(format!("max_ahead of {millis} ms is more than a year ({LARGEST_MAX_AHEAD_MS} ms)"));
    }
    spec.quotas.check().map_err(|error| error.to_string())
}

/// Checks how far from today a tenant begins by the system clock.
fn check_backfill(rules: &[CalendarRule], first_day: Date, old: Option<&Tenant>, now: Instant) -> Result<(), String> {
    let today = calendar::business_date(rules, now).map_err(|error| error.to_string())?;
    if today.days_since(first_day).abs() <= MAX_BACKFILL_DAYS {
        return Ok(());
    }
    let advice = match old.filter(|old| !old.is_by_system_clock()) {
        Some(old) => {
            let clock = &old.clock;
            format!(
                "its clock {clock} has opened no day yet: replay its history by {clock}, then change to `clock: system`"
            )
        }
        None => {
            "give the tenant a clock of its own, replay its history by that, then change to `clock: system`".to_owned()
        }
    };
    Err(format!("first_day {first_day} is more than {MAX_BACKFILL_DAYS} days from today; {advice}"))
}

fn system_clock() -> Name {
    Name::new(SYSTEM_CLOCK).expect("a valid name")
}

/// What to tell of a named clock that the definition leaves out: such a tenant does not follow the system clock, as a new one would.
fn kept_clock(spec: &TenantSpec, old: Option<&Tenant>) -> Option<String> {
    let old = old.filter(|old| spec.clock.is_none() && !old.is_by_system_clock())?;
    let clock = &old.clock;
    Some(format!(
        "keeps the clock {clock}; write `clock: system` to follow the system clock, or `clock: {clock}` to keep it"
    ))
}

fn action<T: PartialEq>(old: Option<T>, new: &T) -> Action {
    match old {
        None => Action::Created,
        Some(old) if old == *new => Action::Unchanged,
        Some(_) => Action::Changed,
    }
}

fn difference(old: &Tenant, new: &Tenant) -> String {
    let mut parts = Vec::new();
    if old.name != new.name {
        parts.push("name");
    }
    if old.calendar != new.calendar {
        parts.push("calendar");
    }
    if old.first_day != new.first_day {
        parts.push("first_day");
    }
    if old.clock != new.clock {
        parts.push("clock");
    }
    if old.grace_ms != new.grace_ms {
        parts.push("grace");
    }
    if old.seasons != new.seasons {
        parts.push("seasons");
    }
    if old.quotas != new.quotas {
        parts.push("quotas");
    }
    if old.restate_after_ms != new.restate_after_ms {
        parts.push("restate_after");
    }
    if old.max_ahead_ms != new.max_ahead_ms {
        parts.push("max_ahead");
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests;
