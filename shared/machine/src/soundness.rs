//! Whether what was stored can be a state at all. Rows that can be read may still say what no log leads to, and the code
//! that goes on from them relies on more than their form: each of its expectations is checked here once, when a state is
//! restored, so that a damaged checkpoint is refused instead of ending the shard later.

use super::alerts::Fired;
use super::day::Day;
use super::entity::{Entity, EntityKey, KindId};
use super::tenant::TenantState;
use super::window::Views;
use super::{Model, PartitionState};
use daybook_contracts::report::MAX_CHANGES;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use std::collections::BTreeSet;

/// Largest sequence, and largest count of events: a stream counts from 1, and none gets there.
const MAX_COUNT: u64 = 1 << 62;

/// What no log leads to, if there is any of it.
pub(super) fn check(state: &PartitionState) -> Result<(), String> {
    let fine = |is_fine: bool, what: &str| if is_fine { Ok(()) } else { Err(what.to_owned()) };
    fine(state.position.0 <= MAX_COUNT && state.through.inbox.0 <= MAX_COUNT, "a position")?;
    fine(state.models.len() <= usize::from(u16::MAX), "the number of kinds")?;
    let defined = || state.models.iter().filter(|model| !model.is_removed).map(|model| &model.kind.name);
    fine(defined().collect::<BTreeSet<_>>().len() == defined().count(), "a kind that is there twice")?;
    for model in &state.models {
        fine(model.events <= MAX_COUNT, "a number of events")?;
        fine(model.plans.is_sorted_by(|one, other| one.view.name < other.view.name), "the order of views")?;
    }
    let names: Vec<&Name> = state.models.iter().flat_map(Model::plans).map(|plan| &plan.view.name).collect();
    fine(names.iter().collect::<BTreeSet<_>>().len() == names.len(), "a view that is there twice")?;
    for view in state.pending.values() {
        let compiles = state.model(&view.kind).is_some_and(|model| Plan::compile(view, &model.kind).is_ok());
        fine(compiles, "a pending view")?;
    }
    for table in state.tables.values() {
        check_table(table).map_err(|what| format!("calendar {}: {what}", table.name))?;
    }
    for (id, tenant) in &state.tenants {
        check_tenant(state, id, tenant).map_err(|what| format!("tenant {id}: {what}"))?;
    }
    Ok(())
}

fn check_table(table: &CalendarTable) -> Result<(), String> {
    let last = i64::from(table.first.as_days()) + table.cutoffs.len() as i64;
    match table.cutoffs.len() >= 2 && table.cutoffs.is_sorted() && last <= Date::MAX.as_days().into() {
        true => Ok(()),
        false => Err("its cut-offs".to_owned()),
    }
}

fn check_tenant(state: &PartitionState, id: &TenantId, tenant: &TenantState) -> Result<(), String> {
    let seasons: BTreeSet<&Name> = tenant.definition.seasons.iter().map(|season| &season.name).collect();
    if seasons.len() != tenant.definition.seasons.len()
        || !tenant.complete_seasons.iter().all(|name| seasons.contains(name))
    {
        return Err("its seasons".to_owned());
    }
    if !tenant.windows.seasons.keys().all(|season| tenant.complete_seasons.contains(season)) {
        return Err("windows of a season that is not complete".to_owned());
    }
    for (kind, ids) in &tenant.remembered {
        let is_defined = state.models.get(usize::from(*kind)).is_some_and(|model| !model.is_removed);
        if !is_defined || ids.days.last().is_some_and(|last| last >= tenant.expired_before) {
            return Err(format!("remembered ids of kind {kind}"));
        }
        if ids.days.iter().any(|day| day.count > MAX_COUNT) {
            return Err(format!("a number of remembered ids of kind {kind}"));
        }
    }
    for (date, day) in &tenant.days {
        check_day(state, id, *date, day).map_err(|what| format!("{date}: {what}"))?;
    }
    // A day follows any that is kept: late changes are carried there.
    if tenant.days.keys().chain([&tenant.expired_before, &tenant.first_day]).chain(&tenant.open_day).max()
        >= Some(&Date::MAX)
    {
        return Err("the last of all days".to_owned());
    }
    let days = tenant.windows.days.values().map(|views| (views, true));
    for (views, is_day) in days.chain(tenant.windows.seasons.values().map(|views| (views, false))) {
        check_windows(state, id, views, is_day)?;
    }
    Ok(())
}

fn check_day(state: &PartitionState, id: &TenantId, date: Date, day: &Day) -> Result<(), String> {
    let is_marked = day.marker.as_ref().is_none_or(|marker| marker.tenant == *id && marker.day.date == date);
    if !is_marked || (day.is_closed() && day.marker.is_none()) {
        return Err("its marker".to_owned());
    }
    if day.is_restating && day.sealed.is_none() {
        return Err("a restatement of a day without a report".to_owned());
    }
    let counts = day.account.named().map(|(_, count)| count);
    if counts.into_iter().any(|count| count > MAX_COUNT / 8)
        || !day.account.balances()
        || day.account.pending > day.account.drafts
    {
        return Err("its account".to_owned());
    }
    if day.changes.len() > MAX_CHANGES || day.changes_omitted > MAX_COUNT {
        return Err("its changes".to_owned());
    }
    if day.sealed.as_ref().is_some_and(|sealed| sealed.version == u32::MAX) {
        return Err("the version of its report".to_owned());
    }
    let is_defined = |kind: KindId| state.models.get(usize::from(kind)).is_some_and(|model| !model.is_removed);
    match day.kinds.iter().find(|of| !is_defined(of.kind)) {
        Some(of) => Err(format!("an entity of kind {}", of.kind)),
        None => Ok(()),
    }
}

/// Whether what is held of an entity is no more than a version. Its kind is looked at with the state.
pub(super) fn check_entity((key, entity): (&EntityKey, &Entity)) -> Result<(), String> {
    let held = entity.held.as_ref().and_then(|held| held.version.as_ref());
    match held.is_none_or(|(_, version)| version.held.is_none()) {
        true => Ok(()),
        false => Err(format!("entity {:?}", key.id)),
    }
}

fn check_windows(state: &PartitionState, id: &TenantId, views: &Views, is_day: bool) -> Result<(), String> {
    for (name, window) in views {
        let is_marked = |(alert, fired): (&Name, &Fired)| {
            let is_defined = |plan: &Plan| plan.alerts().iter().any(|known| known.name == *alert);
            !fired.is_too_large()
                && is_day
                && state.models.iter().find_map(|model| model.plan(name)).is_some_and(is_defined)
        };
        if !window.fired.iter().all(is_marked) {
            return Err(format!("what has fired of view {name}"));
        }
        let plan = state.models.iter().find_map(|model| model.plan(name)).filter(|plan| plan.view.is_for(id));
        let plan = plan.ok_or_else(|| format!("figures of view {name}, which is not in force"))?;
        let fits = |piece: u16, dims: &[_], group: &[_]| (is_day || piece == 0) && plan.fits(piece, dims, group);
        if window.adjustments > MAX_COUNT || !window.groups.iter().all(|(key, group)| fits(key.piece, &key.dims, group))
        {
            return Err(format!("figures of view {name}"));
        }
    }
    Ok(())
}
