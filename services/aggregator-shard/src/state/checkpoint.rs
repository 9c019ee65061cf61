//! The stored form of the state: only what changed since the last checkpoint is written, and position and rows are
//! one atomic commit. Keys begin with the day, so that a day's rows lie together and go together.

use super::day::{Day, DayView, Group, GroupKey, Sealed};
use super::entity::{Entity, EntityKey};
use super::pages::{PageKey, Pages, StoredPage};
use super::tenant::TenantState;
use super::{Model, PartitionState};
use daybook_contracts::ask::DayState;
use daybook_contracts::day::DayMarker;
use daybook_contracts::log::Through;
use daybook_contracts::report::{Account, Coverage};
use daybook_domain::catalogue::{Kind, Tenant, View};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use daybook_runtime::store::Changes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

/// Version of the stored form. Another one is not read: the state is made again from the log.
pub const FORMAT: u8 = 1;

const META_KEY: &[u8] = b"m";

/// What changed since the last checkpoint.
#[derive(Debug, Default)]
pub struct Dirty {
    pub meta: bool,
    tenants: BTreeSet<TenantId>,
    days: BTreeSet<(Date, TenantId)>,
    removed: Vec<Vec<u8>>,
}

impl Dirty {
    pub fn tenant(&mut self, tenant: &TenantId) {
        self.tenants.insert(tenant.clone());
    }

    pub fn day(&mut self, tenant: &TenantId, date: Date) {
        if !self.days.contains(&(date, tenant.clone())) {
            self.days.insert((date, tenant.clone()));
        }
    }

    /// The day is no longer part of the state.
    pub fn removed_day(&mut self, tenant: &TenantId, date: Date, day: &Day) {
        let prefix = day_prefix(tenant, date);
        self.removed.push(head_key(&prefix));
        self.removed.extend((0..day.entities.page_count()).map(|page| entity_key(&prefix, page as u32)));
        for (name, view) in &day.views {
            self.removed.extend((0..view.groups.page_count()).map(|page| view_key(&prefix, name, page as u32)));
        }
        self.days.remove(&(date, tenant.clone()));
    }

    /// The view's pages on that day are about to be made anew, maybe fewer.
    pub fn removed_view(&mut self, tenant: &TenantId, date: Date, name: &Name, day: &Day) {
        let prefix = day_prefix(tenant, date);
        let pages = day.views.get(name).map_or(0, |view| view.groups.page_count());
        self.removed.extend((0..pages).map(|page| view_key(&prefix, name, page as u32)));
    }
}

/// Stored state that cannot be used: wipe it and read the log from the beginning.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("stored state has format {0}, this version reads {FORMAT}")]
    Format(u8),
    #[error("stored state belongs to partition {0}")]
    Partition(Partition),
    #[error("stored state has no position")]
    NoMeta,
    #[error("stored state has a row that cannot be read: {0}")]
    Row(String),
}

#[derive(Serialize, Deserialize)]
struct MetaRow {
    format: u8,
    partition: Partition,
    position: LogSeq,
    through: Through,
    kinds: Vec<Kind>,
    views: Vec<View>,
    /// How many tenants and days there are: a row that was lost is noticed.
    tenants: u64,
    days: u64,
}

#[derive(Serialize, Deserialize)]
struct TenantRow {
    definition: Tenant,
    open_day: Option<Date>,
    expired_before: Date,
}

#[derive(Serialize, Deserialize)]
struct DayRow {
    state: DayState,
    marker: Option<DayMarker>,
    account: Account,
    from: LogSeq,
    sealed: Option<Sealed>,
    /// How many entities the pages hold.
    entities: u64,
    views: BTreeMap<Name, ViewRow>,
}

#[derive(Serialize, Deserialize)]
struct ViewRow {
    coverage: Coverage,
    revision: u64,
    /// How many groups the pages hold.
    groups: u64,
}

/// A day being read back, and what its head says about its pages.
struct Loose {
    day: Day,
    entities: u64,
    groups: BTreeMap<Name, u64>,
}

impl Loose {
    fn is_whole(&self) -> bool {
        let views = &self.day.views;
        self.day.entities.is_sound()
            && self.day.entities.len() as u64 == self.entities
            && views.len() == self.groups.len()
            && views.iter().all(|(name, view)| {
                view.groups.is_sound() && self.groups.get(name).copied() == Some(view.groups.len() as u64)
            })
    }
}

impl PartitionState {
    /// What must be stored for the state to come back as it is now; it then counts as stored.
    pub fn checkpoint(&mut self) -> Changes {
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes = Changes { put: Vec::new(), remove: dirty.removed };
        for id in dirty.tenants {
            let tenant = &self.tenants[&id];
            let row = TenantRow {
                definition: tenant.definition.clone(),
                open_day: tenant.open_day,
                expired_before: tenant.expired_before,
            };
            changes.put.push((tenant_key(&id), encode(&row)));
        }
        for (date, id) in dirty.days {
            let day = self.tenants.get_mut(&id).and_then(|tenant| tenant.days.get_mut(&date));
            write_day(&day_prefix(&id, date), day.expect("dirty days are kept"), &mut changes);
        }
        let meta = MetaRow {
            format: FORMAT,
            partition: self.partition,
            position: self.position,
            through: self.through,
            kinds: self.models.iter().map(|model| model.kind.clone()).collect(),
            views: self.models.iter().flat_map(|model| &model.plans).map(|plan| plan.view.clone()).collect(),
            tenants: self.tenants.len() as u64,
            days: self.tenants.values().map(|tenant| tenant.days.len() as u64).sum(),
        };
        changes.put.push((META_KEY.to_vec(), encode(&meta)));
        changes
    }

    /// The state that `rows` hold, or `None` when there are none.
    ///
    /// # Errors
    /// When the rows are damaged, incomplete or of another format or partition.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        partition: Partition,
        rows: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        let mut state = Self::new(partition);
        let mut meta = None;
        let mut any = false;
        let mut loose_days: BTreeMap<(Date, TenantId), Loose> = BTreeMap::new();
        for (key, value) in rows {
            any = true;
            let (key, value) = (key.as_ref(), value.as_ref());
            match key.split_first() {
                Some((b'm', [])) => meta = Some(read_meta(value, partition)?),
                Some((b't', _)) => {
                    let row: TenantRow = decode(key, value)?;
                    let mut tenant = TenantState::new(row.definition);
                    tenant.open_day = row.open_day;
                    tenant.expired_before = row.expired_before;
                    state.tenants.insert(tenant.definition.id.clone(), tenant);
                }
                Some((b'd', rest)) => read_day_row(key, rest, value, &mut loose_days)?,
                _ => return Err(damaged(key, "unknown key")),
            }
        }
        let Some(meta) = meta else {
            return if any { Err(RestoreError::NoMeta) } else { Ok(None) };
        };
        state.position = meta.position;
        state.through = meta.through;
        state.models = models(meta.kinds, meta.views)?;
        if (state.tenants.len() as u64, loose_days.len() as u64) != (meta.tenants, meta.days) {
            return Err(RestoreError::Row("tenants or days are missing".to_owned()));
        }
        for ((date, id), loose) in loose_days {
            let tenant = state.tenants.get_mut(&id).filter(|_| loose.is_whole());
            let tenant = tenant.ok_or_else(|| damaged(id.as_str().as_bytes(), "rows of a day are missing"))?;
            tenant.days.insert(date, loose.day);
        }
        state.tenants.values_mut().for_each(TenantState::reindex);
        Ok(Some(state))
    }
}

fn models(kinds: Vec<Kind>, views: Vec<View>) -> Result<Vec<Model>, RestoreError> {
    let mut models: Vec<Model> = kinds.into_iter().map(|kind| Model { kind, plans: Vec::new() }).collect();
    for view in views {
        let model = models.iter_mut().find(|model| model.kind.name == view.kind);
        let plan = model.as_ref().and_then(|model| Plan::compile(&view, &model.kind).ok());
        match (model, plan) {
            (Some(model), Some(plan)) => model.plans.push(plan),
            _ => return Err(RestoreError::Row(format!("view {}", view.name))),
        }
    }
    Ok(models)
}

fn write_day(prefix: &[u8], day: &mut Day, changes: &mut Changes) {
    let view_row = |view: &DayView| ViewRow {
        coverage: view.coverage.clone(),
        revision: view.revision,
        groups: view.groups.len() as u64,
    };
    let views = day.views.iter().map(|(name, view)| (name.clone(), view_row(view))).collect();
    let row = DayRow {
        state: day.state,
        marker: day.marker.clone(),
        account: day.account,
        from: day.from,
        sealed: day.sealed.clone(),
        entities: day.entities.len() as u64,
        views,
    };
    changes.put.push((head_key(prefix), encode(&row)));
    write_pages(&mut day.entities, |page| entity_key(prefix, page), changes);
    for (name, view) in &mut day.views {
        write_pages(&mut view.groups, |page| view_key(prefix, name, page), changes);
    }
}

fn write_pages<K, V>(pages: &mut Pages<K, V>, key: impl Fn(u32) -> Vec<u8>, changes: &mut Changes)
where
    K: PageKey + Serialize + Clone,
    V: Serialize + Clone,
{
    pages.take_dirty(|page, rows| changes.put.push((key(page), encode(rows))));
}

fn read_meta(value: &[u8], partition: Partition) -> Result<MetaRow, RestoreError> {
    // The format stands first, so that it can be told even of a row that is otherwise unreadable.
    if let [head, format, ..] = value
        && head & 0xf0 == 0x90
        && *format != FORMAT
    {
        return Err(RestoreError::Format(*format));
    }
    let meta: MetaRow = decode(META_KEY, value)?;
    if meta.partition != partition {
        return Err(RestoreError::Partition(meta.partition));
    }
    Ok(meta)
}

fn read_day_row(
    key: &[u8],
    rest: &[u8],
    value: &[u8],
    days: &mut BTreeMap<(Date, TenantId), Loose>,
) -> Result<(), RestoreError> {
    let bad = || damaged(key, "a day's key");
    let (date, rest) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
    let date = Date::from_days((u32::from_be_bytes(*date) ^ 0x8000_0000) as i32);
    let (tenant, rest) = split_name(rest).ok_or_else(bad)?;
    let tenant = TenantId::new(tenant).map_err(|_| bad())?;
    let loose = days.entry((date, tenant)).or_insert_with(|| Loose {
        day: Day::new(LogSeq(0)),
        // Until the head is read, more than there can be.
        entities: u64::MAX,
        groups: BTreeMap::new(),
    });
    let day = &mut loose.day;
    match rest.split_first().ok_or_else(bad)? {
        (b'h', []) => {
            let row: DayRow = decode(key, value)?;
            day.state = row.state;
            day.marker = row.marker;
            day.account = row.account;
            day.from = row.from;
            day.sealed = row.sealed;
            loose.entities = row.entities;
            for (name, row) in row.views {
                loose.groups.insert(name.clone(), row.groups);
                let view = day.views.entry(name).or_default();
                view.coverage = row.coverage;
                view.revision = row.revision;
            }
        }
        (b'e', page) => restore_page::<EntityKey, Entity>(&mut day.entities, key, page, value)?,
        (b'v', rest) => {
            let (name, page) = split_name(rest).ok_or_else(bad)?;
            let name = Name::new(name).map_err(|_| bad())?;
            let view = day.views.entry(name).or_default();
            restore_page::<GroupKey, Group>(&mut view.groups, key, page, value)?;
        }
        _ => return Err(bad()),
    }
    Ok(())
}

fn restore_page<K, V>(pages: &mut Pages<K, V>, key: &[u8], page: &[u8], value: &[u8]) -> Result<(), RestoreError>
where
    K: PageKey + DeserializeOwned + Hash + Eq,
    V: DeserializeOwned,
{
    let page: [u8; 4] = page.try_into().map_err(|_| damaged(key, "a page number"))?;
    let StoredPage(rows) = decode::<StoredPage<K, V>>(key, value)?;
    pages.restore(u32::from_be_bytes(page), rows);
    Ok(())
}

fn split_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn tenant_key(tenant: &TenantId) -> Vec<u8> {
    [b"t", tenant.as_str().as_bytes()].concat()
}

/// `d`, the date in an order-preserving form, the tenant and a zero byte, which no tenant id holds.
fn day_prefix(tenant: &TenantId, date: Date) -> Vec<u8> {
    let date = (date.as_days() as u32 ^ 0x8000_0000).to_be_bytes();
    [b"d", &date[..], tenant.as_str().as_bytes(), b"\0"].concat()
}

fn head_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, b"h"].concat()
}

fn entity_key(prefix: &[u8], page: u32) -> Vec<u8> {
    [prefix, b"e", &page.to_be_bytes()].concat()
}

fn view_key(prefix: &[u8], view: &Name, page: u32) -> Vec<u8> {
    [prefix, b"v", view.as_str().as_bytes(), b"\0", &page.to_be_bytes()].concat()
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(row).expect("stored rows hold nothing that MessagePack cannot")
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    rmp_serde::from_slice(value).map_err(|error| damaged(key, &error.to_string()))
}

fn damaged(key: &[u8], what: &str) -> RestoreError {
    RestoreError::Row(format!("{} ({what})", String::from_utf8_lossy(key)))
}
