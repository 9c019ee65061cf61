//! The answer for a group out of what the shards have said of its tenants.

use crate::asking::Asking;
use crate::merge::roll_up_days;
use crate::ranges;
use crate::sealed::are_alike;
use daybook_contracts::ask::{Answer, AsOf, AskError, AskErrorCode, Asked, DayState};
use daybook_contracts::report::Coverage;
use daybook_contracts::totals::{Absent, Member, MemberFigures, Totals};
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::collections::BTreeMap;

/// Longest reason for a tenant that is missing, in characters.
const MAX_REASON: usize = 120;

/// Tenants with figures and those without, of all parts.
#[derive(Default)]
struct Sorted {
    found: Vec<(TenantId, MemberFigures)>,
    missing: BTreeMap<TenantId, Absent>,
    as_of: Option<AsOf>,
    freshness_ms: u64,
}

/// Sorts the parts by whether they were made with what `newest` computes.
fn sort(parts: Vec<Totals>, newest: Option<&(View, Kind)>) -> Sorted {
    let mut sorted = Sorted::default();
    for part in parts {
        let is_alike = newest
            .zip(part.definition.as_ref())
            .is_none_or(|(newest, own)| are_alike((&own.0, &own.1), (&newest.0, &newest.1)));
        if let Some((view, _)) = &part.definition {
            let own = AsOf { log: part.log, inbox: part.inbox };
            let least = |other: AsOf| AsOf { log: own.log.min(other.log), inbox: own.inbox.min(other.inbox) };
            if is_alike {
                sorted.as_of = Some(sorted.as_of.map_or(own, least));
                sorted.freshness_ms = sorted.freshness_ms.max(part.freshness_ms);
            } else {
                tracing::debug!(revision = view.revision, "a partition has another definition of the view");
            }
        }
        for Member { tenant, found } in part.members {
            match found {
                Ok(figures) if is_alike => sorted.found.push((tenant, figures)),
                Ok(_) => {
                    let why = "another definition of the view is in force there yet".to_owned();
                    sorted.missing.insert(tenant, Absent { code: AskErrorCode::Unavailable, why });
                }
                Err(absent) => drop(sorted.missing.insert(tenant, absent)),
            }
        }
    }
    sorted
}

/// The answer out of what the shards have said.
///
/// # Errors
/// When the question does not fit the view; the error of all tenants when none has figures.
pub(super) fn unite(asking: &Asking, parts: Vec<Totals>) -> Asked<Answer> {
    let definitions = parts.iter().filter_map(|part| part.definition.as_ref());
    let newest = definitions.max_by_key(|(view, kind)| (view.revision, kind.revision)).cloned();
    let Sorted { found, missing, as_of, freshness_ms } = sort(parts, newest.as_ref());
    let (Some((view, kind)), Some(as_of), Some((_, first))) = (&newest, as_of, found.first()) else {
        return Err(nothing(asking, &missing));
    };
    let figures = || found.iter().map(|(_, figures)| figures);
    let groups = figures().flat_map(|figures| &figures.days).map(|day| (&day.day, day.groups.as_slice()));
    let page = roll_up_days(&asking.query, view, kind, groups)?;
    let are_all = |state: &DayState| figures().all(|figures| figures.day == *state);
    let day = [DayState::Closed, DayState::Upcoming].into_iter().find(are_all).unwrap_or(DayState::Open);
    Ok(Answer {
        tenant: asking.tenant.clone(),
        generation: 0,
        view: asking.view.clone(),
        from: figures().map(|figures| figures.from).fold(first.from, Date::min),
        to: figures().map(|figures| figures.to).fold(first.to, Date::max),
        day,
        rows: page.rows,
        total: page.total,
        next: page.next,
        as_of,
        freshness_ms: if day == DayState::Closed { 0 } else { freshness_ms },
        stale: false,
        coverage: coverage(&found, missing),
        definition: view.revision,
        report: None,
        feed: None,
    })
}

/// Names the tenants without figures, and then those with a part of them, too. Where every tenant has figures, it is that of the one
/// whose figures reach back least.
fn coverage(found: &[(TenantId, MemberFigures)], missing: BTreeMap<TenantId, Absent>) -> Coverage {
    let of_days = |figures: &MemberFigures| ranges::coverage(figures.days.iter().map(|day| &day.coverage));
    let of_tenants = found.iter().map(|(tenant, figures)| (tenant, of_days(figures)));
    if missing.is_empty() {
        let named: Vec<Coverage> = of_tenants.map(|(tenant, coverage)| of_tenant(tenant, coverage)).collect();
        return ranges::coverage(named.iter());
    }
    let in_part = of_tenants.filter_map(|(tenant, coverage)| Some((tenant.clone(), in_part(coverage)?)));
    let without = missing.into_iter().map(|(tenant, absent)| (tenant, absent.why));
    let short = |reason: String| reason.chars().take(MAX_REASON).collect::<String>();
    Coverage::Missing { tenants: in_part.chain(without).map(|(tenant, reason)| (tenant, short(reason))).collect() }
}

/// The same, with the tenant in the reason: positions are those of its partition.
fn of_tenant(tenant: &TenantId, coverage: Coverage) -> Coverage {
    let named = |reason| format!("tenant {tenant}: {reason}");
    match coverage {
        Coverage::Partial { from, reason } => Coverage::Partial { from, reason: named(reason) },
        Coverage::Capped { from, reason } => Coverage::Capped { from, reason: named(reason) },
        other => other,
    }
}

/// What a tenant with figures lacks; `None` when it lacks nothing.
fn in_part(coverage: Coverage) -> Option<String> {
    match coverage {
        Coverage::Complete | Coverage::Missing { .. } => None,
        Coverage::Partial { from, reason } => Some(format!("in part, from log position {from} on: {reason}")),
        Coverage::Capped { from, reason } => {
            Some(format!("in part, no new groups from log position {from} on: {reason}"))
        }
    }
}

/// Why there is no answer: what is wrong with all tenants alike, else that none has figures.
fn nothing(asking: &Asking, missing: &BTreeMap<TenantId, Absent>) -> AskError {
    let Some((tenant, first)) = missing.first_key_value() else {
        return AskError::new(AskErrorCode::Internal, "no shard has said anything");
    };
    let is_common = missing.values().all(|absent| absent.code == first.code);
    let code = if is_common && first.code != AskErrorCode::Expired { first.code } else { AskErrorCode::UnknownDay };
    let message =
        format!("none of the {} tenants of {} has figures; {tenant}: {}", missing.len(), asking.tenant, first.why);
    match code {
        AskErrorCode::UnknownDay => AskError::new(code, message).hint("ask for days that the tenants' shards keep"),
        AskErrorCode::TooLarge => {
            AskError::new(code, message).hint("ask for fewer days, or a view with fewer dimensions")
        }
        code => AskError::new(code, message),
    }
}

#[cfg(test)]
mod tests;
