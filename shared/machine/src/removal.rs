//! Takes removed tenants, views and kinds out of the state, at one position of the log.
//!
//! Nothing of a removed tenant stays. A later tenant of the same id begins like any other; its generation tells its records in
//! the log from those of the removed one. The place of a removed kind among the models stays and is never used again, because
//! entities are stored with the number of that place.

use super::entity::{EntityKey, KindId};
use super::pages::PageKey;
use super::tenant::TenantState;
use super::{Effect, Model, PartitionState};
use daybook_contracts::reject::Reject;
use daybook_domain::catalogue::{Kind, Removal, View};
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::time::Date;
use std::collections::BTreeMap;

/// What the broker holds of a removed tenant, to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    pub tenant: TenantId,
    /// Reports and figures of this generation and of earlier ones are deleted.
    pub generation: u32,
    /// Rejects and alerts of batches before this one are deleted.
    pub before: LogSeq,
}

impl PartitionState {
    /// Takes out what is removed. `rejects` are those of the batch so far, by the token of their subject.
    pub(super) fn remove(
        &mut self,
        removal: Removal,
        rejects: &mut BTreeMap<String, Vec<Reject>>,
        effects: &mut Vec<Effect>,
    ) {
        match removal {
            Removal::Tenant { id, generation, purge, .. } => {
                self.remove_tenant(&id);
                if purge {
                    // They would be written behind the purge.
                    rejects.remove(id.as_str());
                    self.alerts.forget(&id);
                    effects.push(Effect::Purge(Purge { tenant: id, generation, before: self.position }));
                }
            }
            Removal::View { name, .. } => self.remove_view(&name),
            Removal::Kind { name, revision } => self.remove_kind(&name, revision),
            Removal::Group { .. } => {}
        }
    }

    fn remove_tenant(&mut self, id: &TenantId) {
        let Some(tenant) = self.tenants.remove(id) else { return };
        if let Some(digests) = &mut self.digests {
            digests.remove_tenant(&tenant);
        }
        tenant.days.iter().for_each(|(date, day)| self.residency.forget(id, *date, &day.counted));
        self.dirty.removed_tenant(id, &tenant);
        self.unfinished.remove(id);
        self.reseal.retain(|(of, _)| of != id);
        self.jobs.iter_mut().for_each(|job| job.forget_tenant(id));
    }

    fn remove_view(&mut self, name: &Name) {
        self.pending.remove(name);
        self.models.iter_mut().for_each(|model| model.plans.retain(|plan| plan.view.name != *name));
        self.take_windows(name, |_| true);
        self.partial_views.remove(name);
        self.jobs.iter_mut().for_each(|job| job.forget_view(name));
        self.end_jobs();
    }

    /// day-manager removes the views of a kind first.
    fn remove_kind(&mut self, name: &Name, revision: u64) {
        let Some(kind) = self.kind_id(name) else { return };
        let model = &mut self.models[usize::from(kind)];
        let views: Vec<Name> = model.plans.iter().map(|plan| plan.view.name.clone()).collect();
        model.kind = Kind { dimensions: Vec::new(), measures: Vec::new(), revision, ..model.kind.clone() };
        model.is_removed = true;
        let is_of_kind = |view: &&View| view.kind == *name;
        let pending: Vec<Name> = self.pending.values().filter(is_of_kind).map(|view| view.name.clone()).collect();
        views.iter().chain(&pending).for_each(|view| self.remove_view(view));
        self.remove_ids_of_kind(kind);
        for (id, tenant) in &mut self.tenants {
            for date in tenant.forget_kind(kind) {
                self.dirty.day(id, date);
            }
        }
    }

    /// Takes out the windows of a view for the tenants that `goes` names.
    pub(super) fn take_windows(&mut self, view: &Name, goes: impl Fn(&TenantId) -> bool) {
        for (id, tenant) in self.tenants.iter_mut().filter(|(id, _)| goes(id)) {
            let mut gone = tenant.windows.take_view(view);
            // A day to which a change was nearly carried may have an empty window, and nothing else.
            gone.days.retain(|date, _| tenant.days.contains_key(date));
            self.dirty.removed_windows(id, &gone);
        }
    }

    /// The places of removed kinds.
    pub(super) fn removed_kinds(&self) -> Vec<KindId> {
        (0..).zip(&self.models).filter(|(_, model)| model.is_removed).map(|(kind, _)| kind).collect()
    }

    /// The place of a kind that is defined now.
    pub(super) fn kind_id(&self, name: &Name) -> Option<KindId> {
        let is_it = |model: &Model| !model.is_removed && model.kind.name == *name;
        self.models.iter().position(is_it).map(|index| index as KindId)
    }
}

impl TenantState {
    /// Takes out the entities of a kind, and returns the days that had some.
    pub(super) fn forget_kind(&mut self, kind: KindId) -> Vec<Date> {
        let mut touched = Vec::new();
        let mut gone = Vec::new();
        for (date, day) in self.days.iter_mut().filter(|(_, day)| day.kinds.has(kind)) {
            touched.push(*date);
            // Those that were stored have come back by now.
            let is_of_kind = |key: &&EntityKey| key.kind == kind;
            let keys: Vec<EntityKey> =
                day.entities.iter_here().map(|(key, _)| key).filter(is_of_kind).cloned().collect();
            for key in keys {
                let hash = key.page_hash();
                if day.entities.take(hash, |known| *known == key).is_some_and(|(_, entity)| entity.is_pending()) {
                    day.account.close_draft();
                }
                gone.push((hash, *date));
            }
        }
        gone.into_iter().for_each(|(hash, date)| self.forget(kind, hash, date));
        let are_left = self.days.values().any(|day| day.kinds.has(kind));
        assert!(!are_left, "all pages with a kind come back before it is removed");
        touched
    }
}
