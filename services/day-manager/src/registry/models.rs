//! Checks on kinds and views beyond what [`Plan::compile`](daybook_domain::plan::Plan::compile) does.

use daybook_domain::catalogue::{Kind, MAX_COLUMNS, MAX_SCALE, View};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::{MAX_MAPPINGS, MAX_MAPPINGS_BYTES};
use daybook_mapping::Mapper;
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

/// Checks that those for whom the view is exist, or are defined with it.
pub(super) fn check_view_tenants(view: &View, exists: impl Fn(&TenantId) -> bool) -> Result<(), String> {
    let Some(tenants) = &view.tenants else { return Ok(()) };
    let missing: Vec<&str> = tenants.iter().filter(|id| !exists(id)).map(TenantId::as_str).collect();
    match missing.len() {
        0 => Ok(()),
        count if count > MAX_NAMED => {
            Err(format!("is for {count} tenants that do not exist: {}, …", missing[..MAX_NAMED].join(", ")))
        }
        _ => Err(format!("is for tenants that do not exist: {}", missing.join(", "))),
    }
}

/// What a change to a view means for its figures.
pub(super) fn view_difference(old: &View, new: &View) -> String {
    if !old.computes_as(new) {
        return "backfilled from the log; the former definition stays in force until then".to_owned();
    }
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
