//! Groups of tenants: what may be defined, and what goes with a tenant that is removed.

use super::models::check_tenants;
use super::{Check, MAX_MODELS, Registry, action};
use daybook_contracts::admin::{Action, Apply};
use daybook_domain::catalogue::{MAX_GROUP_TENANTS, TenantGroup};
use daybook_domain::ids::TenantId;
use std::collections::BTreeSet;

/// A sound group, what becomes of it, and what differs, for people.
type Checked = (TenantGroup, Action, Option<String>);

impl Check<'_> {
    /// The groups that are sound. Those that are not are refused.
    pub(super) fn groups(&mut self, apply: &Apply) -> Vec<Checked> {
        self.unique("group", apply.groups.iter().map(|group| group.id.as_str()));
        let registry = self.registry;
        let added = apply.groups.iter().filter(|group| !registry.groups.contains_key(&group.id)).count();
        if registry.groups.len() + added > MAX_MODELS {
            self.refuse("request", "", format!("there would be more than {MAX_MODELS} groups"));
        }
        let defined: BTreeSet<&TenantId> = apply.tenants.iter().map(|spec| &spec.id).collect();
        let mut checked = Vec::new();
        for group in &apply.groups {
            match registry.check_group(group, &defined) {
                Ok(()) => checked.push(registry.revised(group)),
                Err(reason) => self.refuse("group", group.id.as_str(), reason),
            }
        }
        // An id means one thing, in a token too.
        let taken = |id: &TenantId| registry.was_group(id) || apply.groups.iter().any(|group| group.id == *id);
        for id in defined.into_iter().filter(|id| taken(id)) {
            self.refuse("tenant", id.as_str(), "is or was the id of a group; give the tenant another one".to_owned());
        }
        checked
    }
}

impl Registry {
    fn check_group(&self, group: &TenantGroup, defined: &BTreeSet<&TenantId>) -> Result<(), String> {
        let count = group.tenants.len();
        if !(1..=MAX_GROUP_TENANTS).contains(&count) {
            return Err(format!("names {count} tenants; name 1 to {MAX_GROUP_TENANTS}"));
        }
        let was_tenant = self.removed.contains_key(&("tenant", group.id.to_string()));
        if was_tenant || self.schedule.get(&group.id).is_some() {
            return Err("is or was the id of a tenant; give the group another one".to_owned());
        }
        let is_group = |id: &&TenantId| self.groups.contains_key(*id);
        if let Some(id) = group.tenants.iter().find(is_group) {
            return Err(format!("names the group {id}; name its tenants instead"));
        }
        check_tenants(&group.tenants, |id| self.schedule.get(id).is_some() || defined.contains(id))
    }

    fn was_group(&self, id: &TenantId) -> bool {
        self.groups.contains_key(id) || self.removed.contains_key(&("group", id.to_string()))
    }

    fn revised(&self, group: &TenantGroup) -> Checked {
        let old = self.groups.get(&group.id);
        let revision = old.map_or_else(|| self.removed_revision("group", group.id.as_str()), |old| old.revision);
        let bare = |group: &TenantGroup| TenantGroup { revision: 0, ..group.clone() };
        let action = action(old.map(bare), &bare(group));
        let detail = old.filter(|_| action == Action::Changed).map(|old| {
            let (more, fewer) = (group.tenants.difference(&old.tenants), old.tenants.difference(&group.tenants));
            format!("{} tenants more, {} fewer", more.count(), fewer.count())
        });
        (TenantGroup { revision: revision + 1, ..group.clone() }, action, detail)
    }

    /// The groups that name a tenant, without it.
    ///
    /// # Errors
    /// When one would have no tenant then.
    pub(super) fn groups_without(&self, id: &TenantId) -> Result<Vec<TenantGroup>, String> {
        let without = |group: &TenantGroup| {
            let mut tenants = group.tenants.clone();
            tenants.remove(id).then(|| TenantGroup { tenants, revision: group.revision + 1, ..group.clone() })
        };
        let groups: Vec<TenantGroup> = self.groups.values().filter_map(without).collect();
        let empty: Vec<&str> =
            groups.iter().filter(|group| group.tenants.is_empty()).map(|group| group.id.as_str()).collect();
        match empty.is_empty() {
            true => Ok(groups),
            false => Err(format!("{} would have no tenant then; remove these groups first", empty.join(", "))),
        }
    }
}
