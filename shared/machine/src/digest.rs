//! A digest of the state, by which replicas see that they hold the same.
//!
//! It is a sum of hashes, one for each row, so it depends on neither order nor pages nor on how a view was made.
//! [`Pages`](super::pages::Pages) keep the sum of each page and know which have changed; so events cost nothing, and a
//! digest as long as a checkpoint of the same changes. It is taken at positions which the log decides, behind each multiple
//! of [`DIGEST_EVERY`].
//!
//! Left out is what may differ between replicas that are sound: jobs, windows in which nothing is, and which seasons are
//! made already. Seasons have a sum of their own, told when all of them are complete.

use super::PartitionState;
use super::alerts::Marks;
use super::day::Day;
use super::tenant::TenantState;
use super::window::{Group, GroupKey, Views, Window};
use crate::entity::{Entity, EntityKey};
use compact_str::{CompactString, format_compact};
use daybook_contracts::members::{DIGEST_FORMAT, MAX_DIGESTS, StateDigest};
use daybook_contracts::report::Coverage;
use daybook_domain::accumulator::Accumulator;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A digest is taken behind the first batch at or past each multiple of so many positions of EVENTS, which all partitions
/// count together: every ten seconds or so under full load.
pub const DIGEST_EVERY: u64 = 4_096;

/// A value with bytes that equal values share, whatever became of them before.
pub trait Canonical {
    fn write(&self, bytes: &mut Vec<u8>);
}

/// 128 bits of BLAKE3: replicas are no enemies, and what is summed up are hashes.
pub fn hash(bytes: &[u8]) -> u128 {
    let hash = blake3::hash(bytes);
    let (half, _) = hash.as_bytes().split_at(16);
    u128::from_le_bytes(half.try_into().expect("half of 32 bytes"))
}

fn pack(value: &impl Serialize, bytes: &mut Vec<u8>) {
    rmp_serde::encode::write(bytes, value).expect("the state holds nothing that MessagePack cannot");
}

fn hash_of(value: &impl Serialize) -> u128 {
    let mut bytes = Vec::new();
    pack(value, &mut bytes);
    hash(&bytes)
}

fn sum_of<T: Serialize>(values: impl Iterator<Item = T>) -> u128 {
    values.fold(0, |sum, value| sum.wrapping_add(hash_of(&value)))
}

impl Canonical for EntityKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        pack(self, bytes);
    }
}

/// Sums of these bytes are stored in summaries of closed days: they are part of the stored form.
impl Canonical for Entity {
    fn write(&self, bytes: &mut Vec<u8>) {
        pack(self, bytes);
    }
}

impl Canonical for GroupKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        pack(self, bytes);
    }
}

impl Canonical for Group {
    fn write(&self, bytes: &mut Vec<u8>) {
        for accumulator in self {
            match accumulator {
                // Texts are in no order.
                Accumulator::Distinct(distinct) => pack(&(distinct.len(), sum_of(distinct.iter())), bytes),
                Accumulator::Seen(seen) => pack(&(seen.len(), sum_of(seen.iter())), bytes),
                Accumulator::DistinctTimes(distinct) => pack(&(distinct.len(), sum_of(distinct.iter())), bytes),
                Accumulator::SeenSince(seen) => pack(&(seen.len(), sum_of(seen.iter())), bytes),
                other => pack(other, bytes),
            }
        }
    }
}

/// The sums so far, and what they do not hold yet.
#[derive(Debug, Default)]
pub struct Digests {
    /// Of tenants and their days.
    tenants: u128,
    /// Of their seasons.
    seasons: u128,
    /// Tenants with a season that is still being made.
    unfinished: usize,
    /// Of definitions that are no tenant's.
    meta: u128,
    changed: Changed,
    /// The last ones that were taken, oldest first.
    taken: Arc<[StateDigest]>,
}

/// What checkpoints took for stored that the sums do not hold yet.
#[derive(Debug, Default)]
pub struct Changed {
    pub meta: bool,
    pub tenants: BTreeSet<TenantId>,
    pub days: BTreeSet<(Date, TenantId)>,
}

/// What a tenant puts into the sums, its days apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantDigest {
    own: u128,
    seasons: u128,
    is_unfinished: bool,
}

impl Digests {
    /// These changes are about to be forgotten.
    pub fn keep(&mut self, meta: bool, tenants: &BTreeSet<TenantId>, days: &BTreeSet<(Date, TenantId)>) {
        self.changed.meta |= meta;
        self.changed.tenants.extend(tenants.iter().cloned());
        self.changed.days.extend(days.iter().cloned());
    }

    /// The day is no longer part of the state.
    pub fn remove(&mut self, day: &Day) {
        self.tenants = self.tenants.wrapping_sub(day.digest);
    }

    /// The tenant is no longer part of the state.
    pub fn remove_tenant(&mut self, tenant: &TenantState) {
        let TenantDigest { own, seasons, is_unfinished } = tenant.digest;
        self.tenants = self.tenants.wrapping_sub(own);
        self.seasons = self.seasons.wrapping_sub(seasons);
        self.unfinished -= usize::from(is_unfinished);
        tenant.days.values().for_each(|day| self.remove(day));
    }
}

impl PartitionState {
    /// Keeps digests from now on: the whole state is looked at once. Machines of which none is asked go without.
    pub fn keep_digests(&mut self) {
        if self.digests.is_some() {
            return;
        }
        let mut digests = Digests::default();
        let days = self.tenants.iter().flat_map(|(id, tenant)| tenant.days.keys().map(|date| (*date, id.clone())));
        digests.changed = Changed { meta: true, tenants: self.tenants.keys().cloned().collect(), days: days.collect() };
        self.digests = Some(Box::new(digests));
        self.digest();
    }

    /// The last digests that were taken, oldest first; at most [`MAX_DIGESTS`].
    pub fn digests(&self) -> Arc<[StateDigest]> {
        self.digests.as_ref().map(|digests| digests.taken.clone()).unwrap_or_default()
    }

    /// Takes a digest at this position, for others to see.
    pub(super) fn take_digest(&mut self) {
        let Some(digest) = self.digest() else { return };
        if let Some(digests) = &mut self.digests {
            let newest = digests.taken.len().saturating_sub(MAX_DIGESTS - 1);
            digests.taken = digests.taken[newest..].iter().cloned().chain([digest]).collect();
        }
    }

    /// The digest of the present state, where digests are kept.
    pub fn digest(&mut self) -> Option<StateDigest> {
        let mut digests = self.digests.take()?;
        let (meta, tenants, days) = self.dirty.parts();
        digests.keep(meta, tenants, days);
        let Changed { meta, tenants, days } = std::mem::take(&mut digests.changed);
        if meta {
            digests.meta = self.meta_hash();
        }
        for id in tenants {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let (before, after) = (tenant.digest, tenant_digest(&id, tenant));
            tenant.digest = after;
            digests.tenants = digests.tenants.wrapping_sub(before.own).wrapping_add(after.own);
            digests.seasons = digests.seasons.wrapping_sub(before.seasons).wrapping_add(after.seasons);
            digests.unfinished =
                digests.unfinished + usize::from(after.is_unfinished) - usize::from(before.is_unfinished);
        }
        for (date, id) in days {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let Some(day) = tenant.days.get_mut(&date) else { continue };
            let fired = tenant.windows.days.get(&date).map_or(0, |views| fired_hash(&id, date, views));
            let after = day_hash(&id, date, day, tenant.windows.days.get_mut(&date)).wrapping_add(fired);
            digests.tenants = digests.tenants.wrapping_sub(day.digest).wrapping_add(after);
            day.digest = after;
        }
        // Counts of events grow without a definition that changes.
        let events: Vec<u64> = self.models.iter().map(|model| model.events).collect();
        let state = hash_of(&(self.partition, self.position, self.through, events, digests.meta, digests.tenants));
        let seasons = (digests.unfinished == 0).then(|| hex(digests.seasons));
        self.digests = Some(digests);
        Some(StateDigest { log: self.position, format: DIGEST_FORMAT, state: hex(state), seasons })
    }

    fn meta_hash(&self) -> u128 {
        let kinds: Vec<_> = self.models.iter().map(|model| &model.kind).collect();
        let views: Vec<_> = self.models.iter().flat_map(super::Model::plans).map(|plan| &plan.view).collect();
        let pending: Vec<_> = self.pending.values().collect();
        // Each cut-off by itself: digests do not depend on the stored form.
        let tables: Vec<_> = self
            .tables
            .values()
            .map(|table| (&table.name, table.revision, &table.tzdb, table.first, &table.cutoffs))
            .collect();
        let removed = self.removed_kinds();
        match removed.is_empty() {
            // As it was before kinds could be removed.
            true => hash_of(&(kinds, views, pending, tables)),
            false => hash_of(&(kinds, views, pending, tables, removed)),
        }
    }
}

fn hex(sum: u128) -> CompactString {
    format_compact!("{sum:032x}")
}

fn tenant_digest(id: &TenantId, tenant: &mut TenantState) -> TenantDigest {
    let own = hash_of(&(
        "tenant",
        &tenant.definition,
        tenant.first_day,
        tenant.open_day,
        tenant.expired_before,
        tenant.latest_at,
    ));
    let remembered: Vec<_> = tenant.remembered_sums().filter(|(_, count, _)| *count > 0).collect();
    // As it was before ids were remembered.
    let remembered = if remembered.is_empty() { 0 } else { hash_of(&("remembered", id, remembered)) };
    let own = own.wrapping_add(remembered);
    let is_unfinished = tenant.is_unfinished();
    let seasons: Vec<_> = tenant
        .windows
        .seasons
        .iter_mut()
        .map(|(season, views)| (season, views_of(views)))
        .filter(|(_, views)| !views.is_empty())
        .collect();
    let seasons = if seasons.is_empty() { 0 } else { hash_of(&("seasons", id, seasons)) };
    TenantDigest { own, seasons, is_unfinished }
}

fn day_hash(id: &TenantId, date: Date, day: &mut Day, views: Option<&mut Views>) -> u128 {
    let entities = (day.entities.len(), day.entities.sum());
    let views: Vec<_> = views.map(views_of).unwrap_or_default();
    let account = (&day.account, &day.sealed, &day.changes, day.changes_omitted);
    // Days that wait for no mark have the hash that they had before there were marks.
    let what = if day.is_restating { "restating day" } else { "day" };
    hash_of(&(what, id, date, day.state, &day.marker, day.from, account, entities, views))
}

/// Of what has fired on a day; 0 of nothing, as before there were alerts.
fn fired_hash(id: &TenantId, date: Date, views: &Views) -> u128 {
    let fired = views.iter().map(|(view, window)| (view, &window.fired)).filter(|(_, fired)| !fired.is_empty());
    let fired: Vec<(&Name, &Marks)> = fired.collect();
    if fired.is_empty() { 0 } else { hash_of(&("fired", id, date, fired)) }
}

/// What a view's window is known by: coverage, adjustments, and how many groups with what sum.
type ViewSum<'w> = (&'w Name, &'w Coverage, u64, usize, u128);

/// The windows that hold anything: others may be there or not.
fn views_of(views: &mut Views) -> Vec<ViewSum<'_>> {
    let sum = |(name, window): (_, _)| {
        let window: &mut Box<Window> = window;
        let is_empty = window.is_untouched() && window.coverage == Coverage::Complete;
        let sum = window.groups.sum();
        (!is_empty).then_some((name, &window.coverage, window.adjustments, window.groups.len(), sum))
    };
    views.iter_mut().filter_map(sum).collect()
}
