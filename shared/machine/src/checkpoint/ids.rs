//! Remembered ids in the store. Keys are `i`, the tenant, a zero byte and the kind, and then: `d` for days, 32 of them in a
//! row; `h` for how the hashes are divided; `p` for pages, and for the summary of a run before its pages. Of days that are being converted, the key is that of the day and `a`.

use super::{Dirty, WAITING_KEY, day_prefix, encode};
use crate::PartitionState;
use crate::entity::KindId;
use crate::remembered::days::row_of;
use crate::remembered::leaving::Leaving;
use crate::remembered::run::Run;
use crate::remembered::summary::{Summary, row_of as row_of_run};
use crate::remembered::{Remembered, Spot};
use daybook_contracts::rows::{Changes, Passed, Row, RowSum};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// What changed of remembered ids.
#[derive(Debug, Default)]
pub(super) struct DirtyIds {
    /// By tenant and kind, the rows of days that changed.
    days: BTreeMap<(TenantId, KindId), BTreeSet<i32>>,
    /// Days that are to be converted.
    leaving: BTreeSet<(Date, TenantId)>,
}

impl DirtyIds {
    fn forget_tenant(&mut self, id: &TenantId) {
        self.days.retain(|(of, _), _| of != id);
        self.leaving.retain(|(_, of)| of != id);
    }
}

fn prefix(tenant: &TenantId, kind: KindId, what: &[u8]) -> Vec<u8> {
    [b"i", tenant.as_str().as_bytes(), b"\0", &kind.to_be_bytes(), what].concat()
}

fn days_key(tenant: &TenantId, kind: KindId, row: i32) -> Vec<u8> {
    let order = (row as u32 ^ 0x8000_0000).to_be_bytes();
    [prefix(tenant, kind, b"d"), order.to_vec()].concat()
}

fn divisions_key(tenant: &TenantId, kind: KindId) -> Vec<u8> {
    prefix(tenant, kind, b"h")
}

/// The key of a page of ids.
pub(crate) fn id_page_key(tenant: &TenantId, kind: KindId, spot: Spot) -> Vec<u8> {
    let Spot { start, run, page } = spot;
    [prefix(tenant, kind, b"p"), [start, run, page].map(u32::to_be_bytes).concat()].concat()
}

/// The key of the summary of a run.
fn run_key(tenant: &TenantId, kind: KindId, start: u32, run: u32) -> Vec<u8> {
    [prefix(tenant, kind, b"p"), [start, run].map(u32::to_be_bytes).concat()].concat()
}

/// What the rest of a key behind `p` names.
pub(super) enum OfRun {
    /// A page.
    Page(Spot),
    /// The summary of a run, in the bucket that begins there.
    Summary { start: u32, run: u32 },
}

impl OfRun {
    pub(super) fn read(rest: &[u8]) -> Option<Self> {
        let (numbers, []) = rest.as_chunks::<4>() else { return None };
        match *numbers {
            [start, run, page] => {
                let [start, run, page] = [start, run, page].map(u32::from_be_bytes);
                Some(Self::Page(Spot { start, run, page }))
            }
            [start, run] => {
                let [start, run] = [start, run].map(u32::from_be_bytes);
                Some(Self::Summary { start, run })
            }
            _ => None,
        }
    }
}

/// The pages of ids that need not be read behind the summary of their run.
pub(super) fn pass((key, value): &Row) -> Option<Passed> {
    let of_tenant = key.strip_prefix(b"i")?;
    let end = of_tenant.iter().position(|byte| *byte == 0)?;
    let of_run = of_tenant[end + 1..].get(size_of::<KindId>()..)?.strip_prefix(b"p")?;
    let Some(OfRun::Summary { .. }) = OfRun::read(of_run) else { return None };
    let summary = Summary::read(value)?;
    let page_key = |page: u32| [&key[..], &page.to_be_bytes()].concat();
    let rows = (0..).zip(&summary.pages).map(|(number, page)| (page_key(number), page.row)).collect();
    Some(Passed { rows, next: page_key(summary.pages.len() as u32) })
}

pub(super) fn leaving_key(tenant: &TenantId, date: Date) -> Vec<u8> {
    [day_prefix(tenant, date), b"a".to_vec()].concat()
}

impl Dirty {
    /// Of whose ids something changed.
    pub fn kinds_of_ids(&self) -> impl Iterator<Item = &(TenantId, KindId)> {
        self.ids.days.keys()
    }

    /// Something changed of the ids of a kind.
    pub fn ids(&mut self, tenant: &TenantId, kind: KindId) {
        self.ids.days.entry((tenant.clone(), kind)).or_default();
    }

    /// A day of ids was added or forgotten.
    pub fn day_of_ids(&mut self, tenant: &TenantId, kind: KindId, date: Date) {
        self.ids.days.entry((tenant.clone(), kind)).or_default().insert(row_of(date));
    }

    /// The day has left correction, and its ids are still to be converted.
    pub fn leaving(&mut self, tenant: &TenantId, date: Date) {
        self.ids.leaving.insert((date, tenant.clone()));
    }

    /// All ids of such a day are in runs, or gone.
    pub fn removed_leaving(&mut self, tenant: &TenantId, date: Date, leaving: &Leaving) {
        self.removed.push(leaving_key(tenant, date));
        self.removed.extend(leaving.pages().map(|page| super::page_key(tenant, date, page)));
        self.ids.leaving.remove(&(date, tenant.clone()));
    }

    /// A run is no more.
    pub fn removed_run(&mut self, tenant: &TenantId, kind: KindId, start: u32, run: &Run) {
        if run.is_handed_out {
            self.removed.push(run_key(tenant, kind, start, run.number));
            let spots = (0..run.pages.len() as u32).map(|page| Spot { start, run: run.number, page });
            self.removed.extend(spots.map(|spot| id_page_key(tenant, kind, spot)));
        }
    }

    /// None of the ids of a kind are remembered any more, and none will be.
    pub fn removed_ids(&mut self, tenant: &TenantId, kind: KindId, ids: &Remembered) {
        ids.runs().for_each(|(start, run)| self.removed_run(tenant, kind, start, run));
        let rows: BTreeSet<i32> = ids.days.iter().map(|day| row_of(day.date)).collect();
        // Rows of days that were forgotten since the last checkpoint, too.
        let changed = self.ids.days.remove(&(tenant.clone(), kind)).unwrap_or_default();
        self.removed.extend(rows.union(&changed).map(|row| days_key(tenant, kind, *row)));
        self.removed.push(divisions_key(tenant, kind));
    }

    /// Nothing of the tenant is remembered any more.
    pub(super) fn removed_ids_of(&mut self, id: &TenantId, tenant: &crate::tenant::TenantState) {
        tenant.remembered.iter().for_each(|(kind, ids)| self.removed_ids(id, *kind, ids));
        tenant.leaving.iter().for_each(|(date, leaving)| self.removed_leaving(id, *date, leaving));
        self.ids.forget_tenant(id);
    }
}

impl PartitionState {
    /// Writes what changed of remembered ids.
    pub(super) fn write_ids(&mut self, dirty: DirtyIds, changes: &mut Changes) {
        for (date, id) in dirty.leaving {
            let leaving = self.tenants.get(&id).and_then(|tenant| tenant.leaving.get(&date));
            let leaving = leaving.expect("a day that is converted is dirty no more");
            changes.put.push((leaving_key(&id, date), encode(&leaving.row())));
        }
        for ((id, kind), rows) in dirty.days {
            let ids = self.tenants.get_mut(&id).and_then(|tenant| tenant.remembered.get_mut(&kind));
            let ids = ids.expect("ids of what was removed are dirty no more");
            for row in rows {
                match ids.days.row(row) {
                    [] => changes.remove.push(days_key(&id, kind, row)),
                    days => changes.put.push((days_key(&id, kind, row), encode(&days))),
                }
            }
            if std::mem::take(&mut ids.is_divided_anew) {
                let depths: Vec<u8> = ids.divisions().into_iter().map(|(_, depth)| depth).collect();
                changes.put.push((divisions_key(&id, kind), encode(&ByteBuf::from(depths))));
            }
            let residency = &mut self.residency;
            ids.hand_out(|start, run| {
                let mut rows = Vec::with_capacity(run.pages.len());
                for (number, page) in (0..).zip(&run.pages) {
                    let spot = Spot { start, run: run.number, page: number };
                    let bytes = page.bytes.as_ref().expect("a run that is not stored is in memory");
                    let key = id_page_key(&id, kind, spot);
                    rows.push(RowSum::of(&key, bytes));
                    changes.put.push((key, bytes.to_vec()));
                }
                if residency.is_limited() {
                    changes.put.push((run_key(&id, kind, start, run.number), encode(&row_of_run(run, &rows))));
                }
                residency.stores_run(&id, kind, start, run.number);
            });
        }
    }

    /// Writes which rows wait to be removed: what they belonged to may be gone, so whoever reads the store must not take them for rows
    /// of the state.
    pub(super) fn write_waiting(&mut self, changes: &mut Changes) {
        if !self.dirty.removed.is_empty() {
            let waiting: Vec<ByteBuf> = self.dirty.removed.iter().cloned().map(ByteBuf::from).collect();
            changes.put.push((WAITING_KEY.to_vec(), encode(&waiting)));
            // The next checkpoint removes it, or writes it anew.
            self.dirty.removed.push(WAITING_KEY.to_vec());
        }
    }

    /// The removals that a checkpoint may make: rows that [upkeep](crate::remembered::upkeep) reads wait for a later one.
    pub(super) fn removable(&mut self, removed: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let (waiting, now) = removed.into_iter().partition(|key| self.agenda.reads(key));
        self.dirty.removed = waiting;
        now
    }
}
