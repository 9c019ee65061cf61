//! Days leave correction: their last reports are sealed, their entities and figures go, and their ids are remembered for as long as their
//! kinds say. Later these go, too, day by day.

use super::day::{Day, Kinds};
use super::entity::{EntityKey, KindId};
use super::pages::PageKey;
use super::remembered::leaving::Leaving;
use super::remembered::page::Id;
use super::remembered::{Remembered, id_sum};
use super::tenant::TenantState;
use super::{Effect, KEEP_DAYS, Model, PartitionState};
use crate::remembered::days::DayOfIds;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;

impl Model {
    /// The day before which ids of the kind are forgotten, where days before `expired` can no longer be corrected.
    fn forgotten_before(&self, expired: Date) -> Date {
        let days = self.kind.remember.map_or(KEEP_DAYS, i32::from).max(KEEP_DAYS);
        expired.plus(KEEP_DAYS - days)
    }
}

impl PartitionState {
    /// Takes what is left of drafts that are open from the pending of days before `before`: nothing can follow them any more. Days on
    /// which no id is of a kind that is remembered stay as they were before there were such kinds.
    pub(super) fn close_drafts(&mut self, id: &TenantId, before: Date) {
        let tenant = self.tenants.get_mut(id).expect("the tenant whose day was closed");
        for (_, day) in tenant.days.range_mut(..before) {
            let is_remembered = |kind: KindId| self.models[usize::from(kind)].kind.remember.is_some();
            if day.account.pending > 0 && day.kinds.iter().any(|of| is_remembered(of.kind)) {
                day.account.close_drafts();
            }
        }
    }

    /// Seals those of a tenant's days before `before` once more whose reports do not say all: what this batch changed, what
    /// waits for a mark, and what changed no figure but the account, as a duplicate does.
    pub(super) fn seal_going(&mut self, id: &TenantId, before: Date) -> Vec<Effect> {
        let tenant = &self.tenants[id];
        let is_accounted = |day: &Day| day.sealed.as_ref().is_none_or(|sealed| sealed.account == day.account);
        let mut going = Vec::new();
        for (date, day) in tenant.days.range(..before) {
            if self.reseal.remove(&(id.clone(), *date)) || day.is_restating || !is_accounted(day) {
                going.push(*date);
            }
        }
        going.into_iter().filter_map(|date| self.seal(id, date)).collect()
    }

    /// Lets go of a tenant's days before `before`; their reports remain, and their ids for as long as they are remembered.
    pub(super) fn expire(&mut self, id: &TenantId, before: Date) {
        while let Some(date) = self.tenants[id].days.keys().next().copied().filter(|date| *date < before) {
            self.leave(id, date, before);
        }
        let tenant = self.tenants.get_mut(id).expect("the tenant whose day was closed");
        // Of a day that was looked at to carry changes to it there may be windows without anything in them.
        tenant.windows.days = tenant.windows.days.split_off(&before);
        self.jobs.iter_mut().for_each(|job| job.expire(id, before));
        tenant.expired_before = tenant.expired_before.max(before);
        self.dirty.tenant(id);
        let kinds: Vec<KindId> = tenant.remembered.keys().copied().collect();
        kinds.into_iter().for_each(|kind| self.forget_ids(id, kind));
        self.keep_up_in_memory();
    }

    /// A day leaves correction, as all days before `before` do.
    fn leave(&mut self, id: &TenantId, date: Date, before: Date) {
        let tenant = self.tenants.get_mut(id).expect("the tenant whose day was closed");
        let day = tenant.take_day(date);
        if let Some(digests) = &mut self.digests {
            digests.remove(&day);
        }
        self.residency.forget(id, date, &day.counted);
        let windows = tenant.windows.days.remove(&date).unwrap_or_default();
        let is_remembered = |kind: KindId| date >= self.models[usize::from(kind)].forgotten_before(before);
        let mut kinds: Vec<KindId> = Vec::new();
        for of in day.kinds.iter().filter(|of| is_remembered(of.kind)) {
            let ids = tenant.remembered.entry(of.kind).or_insert_with(|| Remembered::new(self.id_cut));
            let is_next = ids.days.push(DayOfIds { date, count: of.count, sum: of.sum });
            assert!(is_next, "days leave correction in their order");
            ids.divide(of.count);
            self.dirty.day_of_ids(id, of.kind, date);
            self.agenda.merges(id, of.kind);
            kinds.push(of.kind);
        }
        let are_out = !day.entities.is_here() && !kinds.is_empty();
        for kind in &kinds {
            let here = day.entities.iter_here().map(|(key, _)| key).filter(|key| key.kind == *kind);
            let ids: Vec<Id<'_>> = here.map(|key| Id { hash: key.page_hash(), text: &key.id, date }).collect();
            if !ids.is_empty() {
                tenant.remembered.get_mut(kind).expect("just made").add(ids);
            }
        }
        if !are_out {
            tenant.forget_whereabouts_of(date, &day);
            return self.dirty.removed_day(id, date, &day, &windows);
        }
        let mut on_disk = day.kinds.clone();
        for (key, _) in day.entities.iter_here() {
            tenant.forget_here(key, date, &mut on_disk);
        }
        self.dirty.left_day(id, date, &day, &windows, |page| day.entities.is_out(page));
        let pages = day.entities.page_count() as u32;
        tenant.leaving.insert(date, Leaving::new(pages, day.entities.out_pages(), on_disk));
        self.dirty.leaving(id, date);
        self.agenda.leaves(id, date);
        self.residency.lacks_ids = true;
    }

    /// Forgets the ids of a kind whose days are too long ago: for good, for replicas may have removed them from their disks.
    pub(super) fn forget_ids(&mut self, id: &TenantId, kind: KindId) {
        let before = |tenant: &TenantState| self.models[usize::from(kind)].forgotten_before(tenant.expired_before);
        let Some(tenant) = self.tenants.get_mut(id) else { return };
        let before = before(tenant);
        let Some(ids) = tenant.remembered.get_mut(&kind) else { return };
        let gone = ids.days.forget_before(before);
        if gone.is_empty() {
            return;
        }
        gone.iter().for_each(|day| self.dirty.day_of_ids(id, kind, day.date));
        for (start, run) in ids.drop_forgotten() {
            self.dirty.removed_run(id, kind, start, &run);
        }
        self.dirty.tenant(id);
        self.agenda.merges(id, kind);
    }

    /// The kind is remembered for another time: what is too long ago by that goes, for all tenants.
    pub(super) fn forget_ids_of_kind(&mut self, kind: KindId) {
        let of_kind = self.tenants.iter().filter(|(_, tenant)| tenant.remembered.contains_key(&kind));
        let tenants: Vec<TenantId> = of_kind.map(|(id, _)| id.clone()).collect();
        tenants.iter().for_each(|id| self.forget_ids(id, kind));
    }

    /// Nothing of the kind is remembered any more.
    pub(super) fn remove_ids_of_kind(&mut self, kind: KindId) {
        for (id, tenant) in &mut self.tenants {
            if let Some(ids) = tenant.remembered.remove(&kind) {
                self.dirty.removed_ids(id, kind, &ids);
                self.dirty.tenant(id);
            }
        }
    }

    fn keep_up_in_memory(&mut self) {
        if !self.residency.is_limited() {
            self.keep_up();
        }
    }
}

impl TenantState {
    /// Of each kind with remembered ids, how many there are and what they sum up to.
    pub(super) fn remembered_sums(&self) -> impl Iterator<Item = (KindId, u64, u128)> {
        self.remembered.iter().map(|(kind, ids)| {
            let (count, sum) = ids.days.sums();
            (*kind, count, sum)
        })
    }

    /// The day of an id that is remembered, which has that hash. The pages that it [needs](PartitionState::needs) are in memory.
    pub(super) fn remembered_on(&self, hash: u64, key: &EntityKey) -> Option<Date> {
        let ids = self.remembered.get(&key.kind)?;
        ids.find(hash, &key.id).or_else(|| self.leaving_on(ids, hash, key))
    }

    fn leaving_on(&self, ids: &Remembered, hash: u64, key: &EntityKey) -> Option<Date> {
        if self.leaving.is_empty() {
            return None;
        }
        let holds = |date: &Date| {
            let leaving = self.leaving.get(date).filter(|_| ids.days.get(*date).is_some());
            leaving.is_some_and(|leaving| leaving.holds(hash, key.kind, &key.id))
        };
        self.days_of(hash).find(holds)
    }

    /// Takes an entity in memory out of what is known of a day that has left correction.
    fn forget_here(&mut self, key: &EntityKey, date: Date, kinds: &mut Kinds) {
        let hash = key.page_hash();
        self.forget_mark(hash, date);
        kinds.remove(key.kind, id_sum(hash, date));
    }
}
