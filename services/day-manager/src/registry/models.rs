//! Checks on kinds and views beyond what [`Plan::compile`](daybook_domain::plan::Plan::compile) does.

use daybook_domain::alerts::ViewAlert;
use daybook_domain::catalogue::{
    Earliest, Kind, LEAST_REMEMBER_DAYS, LatePolicy, MAX_COLUMNS, MAX_LATE_CHANGES, MAX_SCALE, Ranking, View,
};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::{MAX_MAPPINGS, MAX_MAPPINGS_BYTES};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use daybook_mapping::Mapper;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Most tenants that a refusal names.
const MAX_NAMED: usize = 8;

/// Whether a kind is sound, and may follow the one that is in force.
pub(super) fn check_kind(kind: &Kind, old: Option<&Kind>) -> Result<(), String> {
    if kind.dimensions.len() > MAX_COLUMNS || kind.measures.len() > MAX_COLUMNS {
        return Err(format!("has more than {MAX_COLUMNS} dimensions or measures"));
    }
    let mut names = BTreeSet::new();
    let columns = kind.dimensions.iter().map(|d| &d.name).chain(kind.measures.iter().map(|m| &m.name));
    for name in columns {
        if !names.insert(name) {
            return Err(format!("has two columns named {name}"));
        }
        if name.as_str() == "status" {
            return Err("status is the entity's state; name the column otherwise".to_owned());
        }
    }
    if let Some(measure) = kind.measures.iter().find(|measure| measure.scale > MAX_SCALE) {
        return Err(format!("measure {} has scale {}; at most {MAX_SCALE} is allowed", measure.name, measure.scale));
    }
    const ENVELOPE: [&str; 8] = ["id", "at", "version", "status", "tenant", "kind", "dims", "measures"];
    let taken =
        kind.dimensions.iter().filter_map(|d| d.field.as_ref()).find(|field| ENVELOPE.contains(&field.as_str()));
    if let Some(field) = taken {
        return Err(format!("a dimension cannot be taken from the event's own field {field}"));
    }
    let mut fields = BTreeSet::new();
    if let Some(field) = kind.dimensions.iter().filter_map(|d| d.field.as_ref()).find(|field| !fields.insert(*field)) {
        return Err(format!("two dimensions are taken from the field {field}"));
    }
    kind.remember.map_or(Ok(()), Kind::check_remember).map_err(|error| error.to_string())?;
    check_mappings(kind)?;
    let Some(old) = old else { return Ok(()) };
    if old.mode != kind.mode {
        return Err("was defined with the other mode; give the new kind another name".to_owned());
    }
    if !kind.dimensions.starts_with(&old.dimensions) || !kind.measures.starts_with(&old.measures) {
        return Err(
            "columns can only be added at the end of dimensions and of measures, and must keep name, field and \
                    scale; give a kind with other columns another name"
                .to_owned(),
        );
    }
    Ok(())
}

/// Checks that every mapping of the kind can be compiled, and that there is room for them.
fn check_mappings(kind: &Kind) -> Result<(), String> {
    if kind.mappings.len() > MAX_MAPPINGS {
        return Err(format!("has {} mappings; at most {MAX_MAPPINGS} are allowed", kind.mappings.len()));
    }
    let mut names = BTreeSet::new();
    let mut bytes = 0;
    for mapping in &kind.mappings {
        if !names.insert(&mapping.name) {
            return Err(format!("has two mappings named {}", mapping.name));
        }
        bytes += serde_json::to_vec(mapping).expect("a mapping is plain values").len();
        if bytes > MAX_MAPPINGS_BYTES {
            return Err(format!("has mappings of more than {MAX_MAPPINGS_BYTES} bytes; give some a kind of their own"));
        }
        if let Err(mistakes) = Mapper::compile(mapping, kind) {
            return Err(format!("mapping {}: {}", mapping.name, mistakes[0]));
        }
    }
    Ok(())
}

/// What of a kind's mappings a newer definition adds, changes or removes, for people.
pub(super) fn mapping_changes(old: &Kind, new: &Kind) -> Vec<String> {
    let find = |kind: &Kind, name: &Name| kind.mappings.iter().find(|mapping| mapping.name == *name).cloned();
    let mut changes = Vec::new();
    for mapping in &new.mappings {
        match find(old, &mapping.name) {
            None => changes.push(format!("added mapping {}", mapping.name)),
            Some(known) if known != *mapping => changes.push(format!("changed mapping {}", mapping.name)),
            Some(_) => {}
        }
    }
    let gone = old.mappings.iter().filter(|mapping| find(new, &mapping.name).is_none());
    changes.extend(gone.map(|mapping| format!("removed mapping {}", mapping.name)));
    changes
}

/// Says that ids are remembered for another time, for people.
pub(super) fn remember_change(old: &Kind, new: &Kind) -> Option<String> {
    let days = |kind: &Kind| kind.remember.unwrap_or(LEAST_REMEMBER_DAYS);
    let is_other = old.remember != new.remember;
    is_other.then(|| format!("ids are remembered for {} days instead of {}", days(new), days(old)))
}

/// Checks that the tenants of a view or group exist, or are defined with it.
pub(super) fn check_tenants(tenants: &BTreeSet<TenantId>, exists: impl Fn(&TenantId) -> bool) -> Result<(), String> {
    let missing: Vec<&str> = tenants.iter().filter(|id| !exists(id)).map(TenantId::as_str).collect();
    match missing.len() {
        0 => Ok(()),
        count if count > MAX_NAMED => {
            Err(format!("is for {count} tenants that do not exist: {}, …", missing[..MAX_NAMED].join(", ")))
        }
        _ => Err(format!("is for tenants that do not exist: {}", missing.join(", "))),
    }
}

/// The view with `earliest: true`, which is also how former definitions stand in the catalogue, in its present meaning.
pub(super) fn with_present_meaning(view: &View) -> Cow<'_, View> {
    match &view.ranking {
        Some(ranking) if ranking.earliest == Earliest::LatestTime => {
            let ranking = Some(Ranking { earliest: Earliest::Reached, ..ranking.clone() });
            Cow::Owned(View { ranking, ..view.clone() })
        }
        _ => Cow::Borrowed(view),
    }
}

/// How far the tenants of a view are, of whom a day has closed: what is late for these days has been decided.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached<'a> {
    /// In order of their newest days, each of which has opened.
    newest: Vec<(Date, &'a TenantId)>,
}

impl<'a> Reached<'a> {
    pub(super) fn of(tenants: impl Iterator<Item = (Date, &'a TenantId)>) -> Self {
        let mut newest: Vec<_> = tenants.collect();
        newest.sort_unstable();
        Self { newest }
    }

    /// Those whose next day is before `from`, so that something else holds for some of their days to come.
    fn behind(&self, from: Date) -> impl Iterator<Item = &(Date, &'a TenantId)> {
        self.newest.iter().filter(move |(newest, _)| newest.next() < from)
    }
}

/// The view with the late policies that it gets. Those of days that have opened stay, once a day has closed: sealed reports rest on
/// them. Policies that differ for such days only are the ones that the view has.
///
/// # Errors
/// When `reject` would begin or end with a day, since what a rejecting view leaves out depends on all days before; or when there would be
/// more than [`MAX_LATE_CHANGES`] changes.
pub(super) fn accept_late<'v>(old: &View, asked: &'v View, reached: &Reached<'_>) -> Result<Cow<'v, View>, String> {
    let Some((last, tenant)) = reached.newest.last() else { return Ok(Cow::Borrowed(asked)) };
    if old.late_agrees(asked, Date::MIN, last.next()) {
        return Ok(Cow::Borrowed(asked));
    }
    let accepted = asked.with_late_of(old, *last);
    let rejects = accepted.late_policies().any(|late| late == LatePolicy::Reject);
    if rejects && !accepted.late_changes.is_empty() {
        return Err(format!(
            "late cannot change from `{}` to `{}`, because days of {tenant} have closed, and what a rejecting view leaves out depends on all \
             days before; give the view with the other policy another name",
            old.late_text(),
            asked.late_text()
        ));
    }
    if accepted.late_changes.len() > MAX_LATE_CHANGES {
        return Err(format!(
            "late has changed {MAX_LATE_CHANGES} times, and a view keeps each change, because its closed days rest on it; give the view \
             with the policies that you want now another name"
        ));
    }
    Ok(Cow::Owned(accepted))
}

/// Checks that the view before can have the new late policies: it counts by them until the new revision is made, so that days that close
/// meanwhile are sealed by the policies that the revision has for them.
pub(super) fn check_late_before(old: &View, new: &View, kind: &Kind) -> Result<(), String> {
    let followed = View { late: new.late, late_changes: new.late_changes.clone(), ..old.clone() };
    if followed.late_agrees(old, Date::MIN, Date::MAX) || Plan::compile(old, kind).is_err() {
        return Ok(());
    }
    Plan::compile(&followed, kind).map(drop).map_err(|_| {
        format!(
            "late cannot change from `{}` to `{}` together with what it is made of, because the present revision cannot have that policy, and \
             days may close before the new one is made; apply the other changes first, and late once `daybook get views` shows no backfill",
            old.late_text(),
            new.late_text()
        )
    })
}

/// From which day on late policies are others, and for whom; `kept` says what stays.
fn late_difference(old: &View, new: &View, reached: &Reached<'_>, kept: &str) -> Option<String> {
    let whose = whose(new);
    let Some((last, _)) = reached.newest.last() else {
        let (before, after) = (old.late_text(), new.late_text());
        let told = || format!("late changes from {before} to {after} for {whose}; none of their days has closed yet");
        return (before != after).then(told);
    };
    let next = last.next();
    let changes = old.late_changes.iter().chain(&new.late_changes).map(|change| change.from);
    let later = std::iter::once(next).chain(changes.filter(|from| *from > next));
    let from = later.filter(|date| old.late_on(*date) != new.late_on(*date)).min()?;
    let mut told = format!(
        "late changes from {} to {} from business day {from} on for {whose}; earlier days keep theirs{kept}",
        old.late_on(from).as_str(),
        new.late_on(from).as_str()
    );
    let behind: Vec<String> = reached.behind(from).map(|(newest, id)| format!("{id} ({newest})")).collect();
    if !behind.is_empty() {
        let shown = behind[..behind.len().min(MAX_NAMED)].join(", ");
        let more = behind.len().checked_sub(MAX_NAMED).filter(|more| *more > 0);
        let more = more.map_or_else(String::new, |more| format!(" and {more} more"));
        told.push_str(&format!("; these have to reach that day first, by their newest days: {shown}{more}"));
    }
    Some(told)
}

/// What a change to a view means for its figures.
pub(super) fn view_difference(old: &View, new: &View, reached: &Reached<'_>) -> String {
    let is_backfilled = !old.adds_up_with(new);
    let has_others = old.tenants != new.tenants;
    let kept = if is_backfilled || has_others { "" } else { ", and no figure and no sealed report changes" };
    let late = late_difference(old, new, reached, kept);
    let figures = is_backfilled.then(|| backfilled(old, new));
    let tenants = (has_others && !is_backfilled).then(|| tenant_difference(old, new));
    let alerts = (old.alerts != new.alerts).then(|| alert_difference(old, new));
    let told: Vec<String> = figures.into_iter().chain(late).chain(tenants).chain(alerts).collect();
    match told.is_empty() {
        true => "written otherwise, with the same meaning".to_owned(),
        false => told.join("; "),
    }
}

/// Which alerts come, change and go.
fn alert_difference(old: &View, new: &View) -> String {
    let names = |alerts: Vec<&ViewAlert>| alerts.iter().map(|alert| alert.name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |view: &View, name: &Name| view.alerts.iter().find(|alert| alert.name == *name).cloned();
    let mut parts = [("adds", Vec::new()), ("changes", Vec::new()), ("drops", Vec::new())];
    for alert in &new.alerts {
        match find(old, &alert.name) {
            None => parts[0].1.push(alert),
            Some(known) if known != *alert => parts[1].1.push(alert),
            Some(_) => {}
        }
    }
    parts[2].1 = old.alerts.iter().filter(|alert| find(new, &alert.name).is_none()).collect();
    let told: Vec<String> = parts
        .into_iter()
        .filter(|(_, alerts)| !alerts.is_empty())
        .map(|(verb, alerts)| {
            format!("{verb} {} {}", if alerts.len() == 1 { "alert" } else { "alerts" }, names(alerts))
        })
        .collect();
    match told.is_empty() {
        true => "alerts in another order".to_owned(),
        false => format!("{}; no figure changes", told.join(", ")),
    }
}

fn whose(view: &View) -> String {
    match &view.tenants {
        None => "everyone".to_owned(),
        Some(of) => tenants(of.len(), ""),
    }
}

fn backfilled(old: &View, new: &View) -> String {
    let earliest = |view: &View| view.ranking.as_ref().map(|ranking| ranking.earliest);
    let meaning = match (earliest(old), earliest(new)) {
        (Some(Earliest::LatestTime), Some(Earliest::Reached)) => {
            "with earliest, whoever reached the present score first ranks higher now; "
        }
        _ => "",
    };
    format!(
        "{meaning}backfilled from the log for {}; the former definition stays in force until then. Answers for closed days follow the new \
         one, and sealed reports stay as they are",
        whose(new)
    )
}

fn tenant_difference(old: &View, new: &View) -> String {
    let (old, new) = match (&old.tenants, &new.tenants) {
        (_, None) => return "for everyone".to_owned(),
        (None, Some(new)) => return format!("for {} rather than everyone", tenants(new.len(), "")),
        (Some(old), Some(new)) => (old, new),
    };
    let (more, fewer) = (new.difference(old).count(), old.difference(new).count());
    match (more, fewer) {
        (more, 0) => format!("for {}", tenants(more, "more ")),
        (0, fewer) => format!("for {}", tenants(fewer, "fewer ")),
        (more, fewer) => format!("for {} and {fewer} fewer", tenants(more, "more ")),
    }
}

fn tenants(count: usize, which: &str) -> String {
    format!("{count} {which}tenant{}", if count == 1 { "" } else { "s" })
}
