//! What a change to a tenant means: whether its calendar, first day and clock may be so, and the table that it needs.

use super::{Check, EXTENSION, HORIZON, MAX_BACKFILL_DAYS, action};
use crate::calendar;
use crate::schedule::change::{self, Accepted, Counted, TenantStanding};
use crate::seasons::check_seasons;
use daybook_contracts::admin::{Action, TenantSpec};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{
    CalendarRule, DEFAULT_MAX_AHEAD_MS, DEFAULT_RESTATE_AFTER_MS, LARGEST_MAX_AHEAD_MS, MAX_GRACE_MS,
    MAX_RESTATE_AFTER_MS, SYSTEM_CLOCK, Tenant,
};
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};
use std::sync::Arc;

impl Check<'_> {
    /// The tenant as it would be defined, what that changes, and what is told of it.
    pub(super) fn tenant(
        &mut self,
        spec: &TenantSpec,
        system_now: Instant,
    ) -> Result<(Tenant, Action, Option<String>), String> {
        check_spec(spec)?;
        let registry = self.registry;
        let plan = registry.schedule.get(&spec.id);
        let old = plan.map(|plan| plan.tenant());
        let removed = registry.removed_tenant(&spec.id);
        let clock = spec.clock.clone().or_else(|| old.map(|old| old.clock.clone())).unwrap_or_else(system_clock);
        let old_table = registry.schedule.table(&spec.id).map(Arc::as_ref);
        let standing = plan.zip(old_table).map(|(plan, table)| TenantStanding {
            table,
            opened: plan.opened(),
            counted: self.counted.get(&spec.id).copied().unwrap_or(Counted::Unknown),
            now: registry.clock_now(&plan.tenant().clock, system_now),
        });
        let known = old.zip(standing.as_ref());

        let asked = spec.rules();
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
            revision: old.map_or(removed.revision, |old| old.revision) + 1,
            generation: old.map_or(removed.next_generation, |old| old.generation),
            boundaries: old.map_or_else(Vec::new, |old| old.boundaries.clone()),
            seasons: spec.seasons.clone(),
            quotas: spec.quotas,
            restate_after_ms: Some(spec.restate_after_ms.unwrap_or(DEFAULT_RESTATE_AFTER_MS)),
            max_ahead_ms: Some(spec.max_ahead_ms.unwrap_or(DEFAULT_MAX_AHEAD_MS)),
            alerts: spec.alerts.clone(),
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
        let is_enough = |table: &&CalendarTable| {
            table.first <= tenant.first_day && table.horizon() > present.after(HORIZON) && !table.offsets.is_empty()
        };
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

fn difference(old: &Tenant, new: &Tenant) -> String {
    let parts = [
        ("name", old.name != new.name),
        ("calendar", old.calendar != new.calendar && old.named_by() == new.named_by()),
        ("day_named_by", old.named_by() != new.named_by()),
        ("first_day", old.first_day != new.first_day),
        ("clock", old.clock != new.clock),
        ("grace", old.grace_ms != new.grace_ms),
        ("seasons", old.seasons != new.seasons),
        ("quotas", old.quotas != new.quotas),
        ("restate_after", old.restate_after_ms != new.restate_after_ms),
        ("max_ahead", old.max_ahead_ms != new.max_ahead_ms),
        ("alerts", old.alerts != new.alerts),
    ];
    let changed: Vec<&str> = parts.into_iter().filter_map(|(part, is_changed)| is_changed.then_some(part)).collect();
    changed.join(", ")
}
