//! What changed since the last checkpoint, and which stored rows are no longer part of the state.

use super::ids::DirtyIds;
use super::{day_prefix, entity_key, head_key, season_prefix, tenant_key, view_key};
use crate::PartitionState;
use crate::day::Day;
use crate::entity::KindId;
use crate::tenant::TenantState;
use crate::window::{Views, Windows};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use std::collections::BTreeSet;

/// So many ids take as many bytes as a usual row.
const IDS_OF_A_ROW: usize = 10;

/// What changed since the last checkpoint.
#[derive(Debug, Default)]
pub struct Dirty {
    pub meta: bool,
    pub(super) tenants: BTreeSet<TenantId>,
    pub(super) days: BTreeSet<(Date, TenantId)>,
    pub(super) seasons: BTreeSet<(TenantId, Name)>,
    pub(super) removed: Vec<Vec<u8>>,
    pub(super) ids: DirtyIds,
}

impl Dirty {
    /// Whether anything that is no tenant's changed, which tenants (also those of whose seasons something did), and which
    /// days.
    pub fn parts(&self) -> (bool, &BTreeSet<TenantId>, &BTreeSet<(Date, TenantId)>) {
        (self.meta, &self.tenants, &self.days)
    }

    pub fn tenant(&mut self, tenant: &TenantId) {
        if !self.tenants.contains(tenant) {
            self.tenants.insert(tenant.clone());
        }
    }

    pub fn day(&mut self, tenant: &TenantId, date: Date) {
        if !self.days.contains(&(date, tenant.clone())) {
            self.days.insert((date, tenant.clone()));
        }
    }

    pub fn season(&mut self, tenant: &TenantId, season: &Name) {
        // How many groups a season's windows hold stands with the tenant.
        self.tenant(tenant);
        self.seasons.insert((tenant.clone(), season.clone()));
    }

    /// The day is no longer part of the state.
    pub fn removed_day(&mut self, tenant: &TenantId, date: Date, day: &Day, windows: &Views) {
        self.left_day(tenant, date, day, windows, |_| false);
    }

    /// The day has left correction. Its entities are in pages on disk, of which those stay for a while that `stays` names.
    pub fn left_day(&mut self, tenant: &TenantId, date: Date, day: &Day, windows: &Views, stays: impl Fn(u32) -> bool) {
        let prefix = day_prefix(tenant, date);
        self.removed.push(head_key(&prefix));
        self.removed.extend(day.summary.iter().flat_map(|summary| summary.keys(&prefix)));
        let pages = day.entities.stored().filter(|page| !stays(*page));
        self.removed.extend(pages.map(|page| entity_key(&prefix, page)));
        self.removed_views(&prefix, windows);
        self.days.remove(&(date, tenant.clone()));
    }

    /// These windows are no longer part of the state, though their days are.
    pub fn removed_windows(&mut self, tenant: &TenantId, windows: &Windows) {
        for (date, views) in &windows.days {
            self.removed_views(&day_prefix(tenant, *date), views);
            self.day(tenant, *date);
        }
        for (season, views) in &windows.seasons {
            self.removed_views(&season_prefix(tenant, season), views);
            self.season(tenant, season);
        }
    }

    /// The tenant is no longer part of the state, nor is anything of it.
    pub fn removed_tenant(&mut self, id: &TenantId, tenant: &TenantState) {
        let nothing = Views::default();
        for (date, day) in &tenant.days {
            self.removed_day(id, *date, day, tenant.windows.days.get(date).unwrap_or(&nothing));
        }
        for (season, views) in &tenant.windows.seasons {
            self.removed_views(&season_prefix(id, season), views);
        }
        self.removed_ids_of(id, tenant);
        self.removed.push(tenant_key(id));
        self.tenants.remove(id);
        self.days.retain(|(_, of)| of != id);
        self.seasons.retain(|(of, _)| of != id);
    }

    fn removed_views(&mut self, prefix: &[u8], views: &Views) {
        for (name, window) in views {
            self.removed.extend(window.groups.stored().map(|page| view_key(prefix, name, page)));
        }
    }
}

impl PartitionState {
    /// About how many rows the next checkpoint writes: those of changed pages, and each changed day and tenant as one. Looks at every
    /// page of the changed days, but at none of their rows.
    pub fn unsaved_rows(&self) -> u64 {
        let of_views = |views: &Views| views.values().map(|window| window.groups.unsaved()).sum::<usize>();
        let of_day = |(date, id): &(Date, TenantId)| {
            let tenant = &self.tenants[id];
            let entities = tenant.days.get(date).map_or(0, |day| day.entities.unsaved());
            1 + entities + tenant.windows.days.get(date).map_or(0, of_views)
        };
        let of_season = |(id, season): &(TenantId, Name)| {
            self.tenants.get(id).and_then(|tenant| tenant.windows.seasons.get(season)).map_or(0, of_views)
        };
        let Dirty { tenants, days, seasons, .. } = &self.dirty;
        // An id takes much less than a row.
        let of_ids = |(id, kind): &(TenantId, KindId)| {
            let ids = self.tenants.get(id).and_then(|tenant| tenant.remembered.get(kind));
            ids.map_or(0, |ids| 1 + ids.unsaved_ids() as usize / IDS_OF_A_ROW)
        };
        let ids = self.dirty.kinds_of_ids().map(of_ids).sum::<usize>();
        let rows =
            ids + tenants.len() + days.iter().map(of_day).sum::<usize>() + seasons.iter().map(of_season).sum::<usize>();
        rows as u64
    }
}
