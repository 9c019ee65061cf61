//! Backfills and removals: what a job lets go of, and which records of the log a scratch skips, because they are of a tenant or
//! a kind that was removed before the base.

use super::{Job, Stage, Wanted};
use crate::entity::KindId;
use crate::{Model, PartitionState};
use daybook_domain::catalogue::{Definition, Kind, Removal, Tenant};
use daybook_domain::ids::{Name, TenantId};
use std::collections::{BTreeMap, BTreeSet};

/// How far a scratch has read, as far as names that were used more than once are concerned.
#[derive(Debug, Default)]
pub(crate) struct Reused {
    /// Tenants of the base whose definition is still to come: what the log has of them so far is of removed ones.
    unborn: BTreeSet<TenantId>,
    /// By name, how many kinds were removed so far.
    removed_kinds: BTreeMap<Name, usize>,
}

impl Reused {
    /// At the beginning of the log.
    pub(super) fn at_the_beginning<'t>(tenants: impl Iterator<Item = &'t Tenant>) -> Self {
        let reused = tenants.filter(|tenant| tenant.generation > 0).map(|tenant| tenant.id.clone());
        Self { unborn: reused.collect(), removed_kinds: BTreeMap::new() }
    }

    /// Behind a snapshot that has these models.
    pub(super) fn begin_behind(&mut self, models: &[Model]) {
        for model in models.iter().filter(|model| model.is_removed) {
            *self.removed_kinds.entry(model.kind.name.clone()).or_default() += 1;
        }
    }

    /// The snapshot has the tenant of the base.
    pub(super) fn is_known(&mut self, id: &TenantId) {
        self.unborn.remove(id);
    }
}

impl PartitionState {
    /// Whether the log is of that tenant here, and not of a removed one with the same id.
    pub(crate) fn is_born(&self, id: &TenantId) -> bool {
        self.tenants.contains_key(id) && !self.reused.unborn.contains(id)
    }

    /// Takes a definition into a scratch. It begins with those that it needs, but for quotas and for how long ids are remembered: an
    /// event is judged by those of its time.
    pub(crate) fn define_in_scratch(&mut self, definition: Definition) {
        match definition {
            Definition::Tenant(Tenant { id, quotas, generation, .. }) => {
                if let Some(tenant) = self.tenants.get_mut(&id)
                    && tenant.definition.generation == generation
                {
                    self.reused.unborn.remove(&id);
                    tenant.definition.quotas = quotas;
                }
            }
            Definition::Removal(Removal::Kind { name, .. }) => {
                *self.reused.removed_kinds.entry(name).or_default() += 1;
            }
            Definition::Kind(Kind { name, mode, remember, .. }) => {
                if let Some(kind) = self.kind_in_scratch(&name)
                    && self.models[usize::from(kind)].kind.mode == mode
                {
                    self.models[usize::from(kind)].kind.remember = remember;
                    self.forget_ids_of_kind(kind);
                }
            }
            _ => {}
        }
    }

    /// The place of the kind that had the name here in the log; `None` if it was removed before the base.
    pub(crate) fn kind_in_scratch(&self, name: &Name) -> Option<KindId> {
        let before = self.reused.removed_kinds.get(name).copied().unwrap_or(0);
        let of_name = self.models.iter().enumerate().filter(|(_, model)| model.kind.name == *name);
        let (index, model) = of_name.into_iter().nth(before)?;
        (!model.is_removed).then_some(index as KindId)
    }
}

impl Job {
    /// Lets go of a tenant. What the scratch finds of it is dropped, too.
    pub(crate) fn forget_tenant(&mut self, id: &TenantId) {
        self.seasons.remove(id);
        self.plans.iter_mut().for_each(|wanted| drop(wanted.windows.remove(id)));
        self.incoming.retain(|(_, of, _)| of != id);
        if self.stage == Stage::Reading {
            self.gone.insert(id.clone());
        }
    }

    /// Lets go of a view. Its plan keeps its place until the job is ready, because the scratch counts plans by place.
    pub(crate) fn forget_view(&mut self, name: &Name) {
        for (place, wanted) in self.plans.iter_mut().enumerate().filter(|(_, wanted)| wanted.plan.view.name == *name) {
            wanted.wanted = Wanted::Nothing;
            wanted.windows.clear();
            self.incoming.retain(|(of, ..)| *of != place);
        }
    }
}
