//! What may be removed, and what goes with it.

use super::Registry;
use daybook_contracts::admin::Target;
use daybook_domain::catalogue::{Definition, Removal, View};
use daybook_domain::ids::{Name, TenantId};

/// What a removal publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovalPlan {
    /// In this order; the last one is the removal. None when it was removed before and nothing is left.
    pub definitions: Vec<Definition>,
    /// Views that name the tenant that is removed, and are for one tenant fewer then.
    pub views: Vec<Name>,
    /// Groups that name it, and have one tenant fewer then.
    pub groups: Vec<TenantId>,
    /// Only what an earlier removal left on the broker goes.
    pub is_repeated: bool,
}

/// What is known of removed tenants of an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// That of the removal; 0 when there was none.
    pub revision: u64,
    /// The generation of the next tenant of the id.
    pub next_generation: u32,
}

impl Registry {
    /// What is to be published to remove the target.
    ///
    /// # Errors
    /// When there never was such a thing, or something still uses it.
    pub fn plan_removal(&self, target: &Target) -> Result<RemovalPlan, String> {
        match target {
            Target::Tenant { id, purge } => self.plan_tenant(id, *purge),
            Target::View { name } => {
                let Some(view) = self.views.get(name) else { return self.absent(target) };
                let removal = Removal::View { name: name.clone(), revision: view.revision + 1 };
                Ok(RemovalPlan { definitions: vec![Definition::Removal(removal)], ..RemovalPlan::default() })
            }
            Target::Group { id } => {
                let Some(group) = self.groups.get(id) else { return self.absent(target) };
                let removal = Removal::Group { id: id.clone(), revision: group.revision + 1 };
                Ok(RemovalPlan { definitions: vec![Definition::Removal(removal)], ..RemovalPlan::default() })
            }
            Target::Kind { name } => {
                let Some(kind) = self.kinds.get(name) else { return self.absent(target) };
                let views: Vec<&str> =
                    self.views.values().filter(|view| view.kind == *name).map(|view| view.name.as_str()).collect();
                if !views.is_empty() {
                    let views = views.join(", ");
                    return Err(format!("kind {name} is used by {views}; remove these views first"));
                }
                let removal = Removal::Kind { name: name.clone(), revision: kind.revision + 1 };
                Ok(RemovalPlan { definitions: vec![Definition::Removal(removal)], ..RemovalPlan::default() })
            }
        }
    }

    fn plan_tenant(&self, id: &TenantId, purge: bool) -> Result<RemovalPlan, String> {
        let Some(plan) = self.schedule.get(id) else {
            return match self.removed.get(&("tenant", id.to_string())) {
                // A purge may have failed half-way. To repeat it is harmless.
                Some(Removal::Tenant { revision, generation, .. }) if purge => {
                    let removal =
                        Removal::Tenant { id: id.clone(), revision: revision + 1, generation: *generation, purge };
                    let definitions = vec![Definition::Removal(removal)];
                    Ok(RemovalPlan { definitions, is_repeated: true, ..RemovalPlan::default() })
                }
                _ => self.absent(&Target::Tenant { id: id.clone(), purge }),
            };
        };
        let tenant = plan.tenant();
        let without = |view: &View| {
            let mut tenants = view.tenants.clone()?;
            tenants.remove(id).then(|| View { tenants: Some(tenants), revision: view.revision + 1, ..view.clone() })
        };
        let views: Vec<View> = self.views.values().filter_map(without).collect();
        let is_of_nobody = |view: &&View| view.tenants.as_ref().is_some_and(|tenants| tenants.is_empty());
        let alone: Vec<&str> = views.iter().filter(is_of_nobody).map(|view| view.name.as_str()).collect();
        if !alone.is_empty() {
            return Err(format!("{} would be for no tenant then; remove these views first", alone.join(", ")));
        }
        let groups = self.groups_without(id)?;
        let (revision, generation) = (tenant.revision + 1, tenant.generation);
        let removal = Removal::Tenant { id: id.clone(), revision, generation, purge };
        Ok(RemovalPlan {
            views: views.iter().map(|view| view.name.clone()).collect(),
            groups: groups.iter().map(|group| group.id.clone()).collect(),
            definitions: (views.into_iter().map(Definition::View))
                .chain(groups.into_iter().map(Definition::Group))
                .chain([Definition::Removal(removal)])
                .collect(),
            is_repeated: false,
        })
    }

    /// There is nothing to remove: it was removed before, or never there.
    fn absent(&self, target: &Target) -> Result<RemovalPlan, String> {
        let (what, name) = (target.what(), target.name());
        match self.removed.contains_key(&(what, name.to_owned())) {
            true => Ok(RemovalPlan { is_repeated: true, ..RemovalPlan::default() }),
            false => Err(format!("there is no {what} {name}")),
        }
    }

    /// Takes a published removal in.
    pub(super) fn adopt_removal(&mut self, removal: Removal) {
        match &removal {
            Removal::Tenant { id, .. } => self.schedule.remove(id),
            Removal::View { name, .. } => drop(self.views.remove(name)),
            Removal::Kind { name, .. } => drop(self.kinds.remove(name)),
            Removal::Group { id, .. } => drop(self.groups.remove(id)),
        }
        self.removed.insert((removal.what(), removal.name().to_owned()), removal);
    }

    /// The revision of the newest removal of that name; 0 when there was none.
    pub(super) fn removed_revision(&self, what: &'static str, name: &str) -> u64 {
        self.removed.get(&(what, name.to_owned())).map_or(0, Removal::revision)
    }

    pub(super) fn removed_tenant(&self, id: &TenantId) -> Removed {
        match self.removed.get(&("tenant", id.to_string())) {
            Some(Removal::Tenant { revision, generation, .. }) => {
                Removed { revision: *revision, next_generation: generation + 1 }
            }
            _ => Removed::default(),
        }
    }
}
