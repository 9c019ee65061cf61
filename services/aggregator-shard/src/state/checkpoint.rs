//! The stored form of the state: of what is large only the pages that changed since the last checkpoint are written, and
//! position and rows are one atomic commit. Keys begin with the day, so that a day's rows lie together and go together.

use super::day::{Day, Sealed};
use super::digest::Canonical;
use super::entity::{Entity, EntityKey};
use super::pages::{PageKey, Pages, StoredPage};
use super::tenant::TenantState;
use super::window::{Group, GroupKey, Views, Window, Windows};
use super::{Model, PartitionState};
use daybook_contracts::ask::DayState;
use daybook_contracts::day::DayMarker;
use daybook_contracts::log::Through;
use daybook_contracts::report::{Account, Change, Coverage};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Kind, Tenant, View};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::{Date, Instant};
use daybook_runtime::store::Changes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// Version of the stored form. Another one is not read: the state is made again from the log.
pub const FORMAT: u8 = 3;

const META_KEY: &[u8] = b"m";
/// Most bytes of a page that is stored in its day's head. Engines take some ten microseconds for a row, and most tenants have a
/// small day; larger pages would be written anew for things that are not in them. In tests, days are small.
pub const SMALL_PAGE_BYTES: usize = if cfg!(test) { 64 } else { 8 << 10 };
/// So many of them at most are in one head: each is written whenever anything in the day has changed.
const SMALL_PAGES: usize = 4;

/// What changed since the last checkpoint.
#[derive(Debug, Default)]
pub struct Dirty {
    pub meta: bool,
    tenants: BTreeSet<TenantId>,
    days: BTreeSet<(Date, TenantId)>,
    seasons: BTreeSet<(TenantId, Name)>,
    removed: Vec<Vec<u8>>,
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
        let prefix = day_prefix(tenant, date);
        self.removed.push(head_key(&prefix));
        self.removed.extend(day.entities.stored().map(|page| entity_key(&prefix, page)));
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

    fn removed_views(&mut self, prefix: &[u8], views: &Views) {
        for (name, window) in views {
            self.removed.extend(window.groups.stored().map(|page| view_key(prefix, name, page)));
        }
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
    #[error("stored state is not sound: {0}")]
    Unsound(String),
}

#[derive(Serialize, Deserialize)]
struct MetaRow {
    format: u8,
    partition: Partition,
    position: LogSeq,
    through: Through,
    /// With how many events of each were recorded.
    kinds: Vec<(Kind, u64)>,
    /// Those in force.
    views: Vec<View>,
    pending: Vec<View>,
    tables: Vec<CalendarTable>,
    /// How many tenants and days there are: a row that was lost is noticed.
    tenants: u64,
    days: u64,
}

#[derive(Serialize, Deserialize)]
struct TenantRow {
    definition: Tenant,
    first_day: Date,
    open_day: Option<Date>,
    expired_before: Date,
    latest_at: Instant,
    complete_seasons: BTreeSet<Name>,
    /// By season and view.
    seasons: BTreeMap<Name, BTreeMap<Name, ViewRow>>,
}

#[derive(Serialize, Deserialize)]
struct DayRow {
    state: StoredState,
    marker: Option<DayMarker>,
    account: Account,
    from: LogSeq,
    sealed: Option<Sealed>,
    changes: Vec<Change>,
    changes_omitted: u64,
    /// How many entities the pages hold.
    entities: u64,
    views: BTreeMap<Name, ViewRow>,
    /// The last field, and left out when there are none, as it was before there were any.
    #[serde(default, skip_serializing_if = "SmallPages::are_none")]
    small: SmallPages,
}

/// The state of a day in its row. A day that waits for a mark has a state of its own there, so that rows of days that wait for
/// none are as they were before there were marks.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredState {
    Upcoming,
    Open,
    Closed,
    Restating,
}

impl StoredState {
    fn of(day: &Day) -> Self {
        match day.state {
            DayState::Upcoming => Self::Upcoming,
            DayState::Open => Self::Open,
            DayState::Closed if day.is_restating => Self::Restating,
            DayState::Closed => Self::Closed,
        }
    }

    /// The state, and whether the day waits for a mark.
    fn parts(self) -> (DayState, bool) {
        match self {
            Self::Upcoming => (DayState::Upcoming, false),
            Self::Open => (DayState::Open, false),
            Self::Closed => (DayState::Closed, false),
            Self::Restating => (DayState::Closed, true),
        }
    }
}

/// Pages of a day that are stored in its head.
#[derive(Default, Serialize, Deserialize)]
struct SmallPages {
    entities: Option<ByteBuf>,
    views: BTreeMap<Name, ByteBuf>,
}

impl SmallPages {
    fn are_none(&self) -> bool {
        self.entities.is_none() && self.views.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
struct ViewRow {
    coverage: Coverage,
    adjustments: u64,
    /// How many groups the pages hold.
    groups: u64,
    /// The last field, and left out when false: then a row is as it was before there were quotas.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_full: bool,
}

impl ViewRow {
    fn of(window: &Window) -> Self {
        let Window { groups, coverage, adjustments, is_full, .. } = window;
        let (coverage, groups) = (coverage.clone(), groups.len() as u64);
        Self { coverage, adjustments: *adjustments, groups, is_full: *is_full }
    }
}

/// Views being read back, and how many groups their head says they have.
#[derive(Default)]
struct LooseViews {
    windows: Views,
    groups: BTreeMap<Name, u64>,
}

impl LooseViews {
    fn head(&mut self, rows: BTreeMap<Name, ViewRow>) {
        for (name, row) in rows {
            self.groups.insert(name.clone(), row.groups);
            let window = self.windows.entry(name).or_default();
            window.coverage = row.coverage;
            window.adjustments = row.adjustments;
            window.is_full = row.is_full;
        }
    }

    fn is_whole(&self) -> bool {
        self.windows.len() == self.groups.len()
            && self.windows.iter().all(|(name, window)| {
                window.groups.is_sound() && self.groups.get(name).copied() == Some(window.groups.len() as u64)
            })
    }
}

/// A day being read back, and what its head says about its pages.
struct Loose {
    day: Day,
    entities: u64,
    views: LooseViews,
}

impl Loose {
    fn is_whole(&self) -> bool {
        let entities = &self.day.entities;
        entities.is_sound() && entities.len() as u64 == self.entities && self.views.is_whole()
    }
}

impl PartitionState {
    /// What must be stored for the state to come back as it is now; it then counts as stored.
    pub fn checkpoint(&mut self) -> Changes {
        debug_assert!(self.tenants.iter().all(|(id, tenant)| tenant.is_unfinished() == self.unfinished.contains(id)));
        let dirty = std::mem::take(&mut self.dirty);
        if let Some(digests) = &mut self.digests {
            let (meta, tenants, days) = dirty.parts();
            digests.keep(meta, tenants, days);
        }
        let mut changes = Changes { put: Vec::new(), remove: dirty.removed };
        for id in dirty.tenants {
            let tenant = &self.tenants[&id];
            let views =
                |views: &Views| views.iter().map(|(name, window)| (name.clone(), ViewRow::of(window))).collect();
            let row = TenantRow {
                definition: tenant.definition.clone(),
                first_day: tenant.first_day,
                open_day: tenant.open_day,
                expired_before: tenant.expired_before,
                latest_at: tenant.latest_at,
                complete_seasons: tenant.complete_seasons.clone(),
                seasons: tenant.windows.seasons.iter().map(|(season, of)| (season.clone(), views(of))).collect(),
            };
            changes.put.push((tenant_key(&id), encode(&row)));
        }
        for (id, season) in dirty.seasons {
            let windows = self.tenants.get_mut(&id).and_then(|tenant| tenant.windows.seasons.get_mut(&season));
            let prefix = season_prefix(&id, &season);
            for (view, window) in windows.into_iter().flatten() {
                window.groups.take_dirty(|page, rows| changes.put.push((view_key(&prefix, view, page), encode(&rows))));
            }
        }
        for (date, id) in dirty.days {
            let tenant = self.tenants.get_mut(&id).expect("days of tenants that are known");
            let day = tenant.days.get_mut(&date).expect("dirty days are kept");
            let room = Room { page: self.small_page_bytes, head: self.small_page_bytes * SMALL_PAGES };
            write_day(&day_prefix(&id, date), day, tenant.windows.days.get_mut(&date), room, &mut changes);
        }
        let meta = MetaRow {
            format: FORMAT,
            partition: self.partition,
            position: self.position,
            through: self.through,
            kinds: self.models.iter().map(|model| (model.kind.clone(), model.events)).collect(),
            views: self.models.iter().flat_map(Model::plans).map(|plan| plan.view.clone()).collect(),
            pending: self.pending.values().cloned().collect(),
            tables: self.tables.values().cloned().collect(),
            tenants: self.tenants.len() as u64,
            days: self.tenants.values().map(|tenant| tenant.days.len() as u64).sum(),
        };
        changes.put.push((META_KEY.to_vec(), encode(&meta)));
        changes
    }

    /// The same state, which stores pages of more than so many bytes apart from their day's head, instead of
    /// [`SMALL_PAGE_BYTES`]: for tests, whose days are small.
    pub fn with_small_pages(self, bytes: usize) -> Self {
        Self { small_page_bytes: bytes, ..self }
    }

    /// Forgets what changed: for machines of which no checkpoint is made and no digest kept, so that it does not gather.
    pub fn forget_changes(&mut self) {
        self.dirty = Dirty::default();
    }

    /// The state that `rows` hold, or `None` when there are none.
    ///
    /// # Errors
    /// When the rows are damaged, incomplete, of another format or partition, or say what no log leads to. The pages of a
    /// map must come in their order, as they do in the order of keys.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        partition: Partition,
        rows: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        let mut state = Self::new(partition);
        let mut meta = None;
        let mut any = false;
        let mut loose_days: BTreeMap<(Date, TenantId), Loose> = BTreeMap::new();
        let mut loose_seasons: BTreeMap<(TenantId, Name), LooseViews> = BTreeMap::new();
        for (key, value) in rows {
            any = true;
            let (key, value) = (key.as_ref(), value.as_ref());
            match key.split_first() {
                Some((b'm', [])) => meta = Some(read_meta(value, partition)?),
                Some((b't', _)) => {
                    let row: TenantRow = decode(key, value)?;
                    let mut tenant = TenantState::since(row.first_day, row.definition);
                    tenant.open_day = row.open_day;
                    tenant.expired_before = row.expired_before;
                    tenant.latest_at = row.latest_at;
                    tenant.complete_seasons = row.complete_seasons;
                    let id = tenant.definition.id.clone();
                    if key != tenant_key(&id) {
                        return Err(damaged(key, "the row of another tenant"));
                    }
                    for (season, views) in row.seasons {
                        loose_seasons.entry((id.clone(), season)).or_default().head(views);
                    }
                    if tenant.is_unfinished() {
                        state.unfinished.insert(id.clone());
                    }
                    state.tenants.insert(id, Box::new(tenant));
                }
                Some((b's', rest)) => read_season_row(key, rest, value, &mut loose_seasons)?,
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
        state.pending = meta.pending.into_iter().map(|view| (view.name.clone(), view)).collect();
        state.tables = meta.tables.into_iter().map(|table| (table.name.clone(), table)).collect();
        if (state.tenants.len() as u64, loose_days.len() as u64) != (meta.tenants, meta.days) {
            return Err(RestoreError::Row("tenants or days are missing".to_owned()));
        }
        for ((date, id), loose) in loose_days {
            let tenant = state.tenants.get_mut(&id).filter(|_| loose.is_whole());
            let tenant = tenant.ok_or_else(|| damaged(id.as_str().as_bytes(), "rows of a day are missing"))?;
            tenant.days.insert(date, Box::new(loose.day));
            tenant.windows.days.insert(date, loose.views.windows);
        }
        for ((id, season), loose) in loose_seasons {
            let tenant = state.tenants.get_mut(&id).filter(|_| loose.is_whole());
            let tenant = tenant.ok_or_else(|| damaged(id.as_str().as_bytes(), "rows of a season are missing"))?;
            tenant.windows.seasons.insert(season, loose.windows);
        }
        let windows = state.tenants.values().flat_map(|tenant| tenant.windows.days.values()).flatten();
        let partial = windows.filter(|(_, window)| matches!(window.coverage, Coverage::Partial { .. }));
        state.partial_views = partial.map(|(view, _)| view.clone()).collect();
        adopt(&state.models, &mut state.tenants);
        super::soundness::check(&state).map_err(RestoreError::Unsound)?;
        state.tenants.values_mut().for_each(|tenant| tenant.reindex());
        Ok(Some(state))
    }
}

fn models(kinds: Vec<(Kind, u64)>, views: Vec<View>) -> Result<Vec<Model>, RestoreError> {
    let mut models: Vec<Model> = kinds.into_iter().map(|(kind, events)| Model { events, ..Model::new(kind) }).collect();
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

/// Brings the groups of all windows into the form that they have now.
fn adopt(models: &[Model], tenants: &mut BTreeMap<TenantId, Box<TenantState>>) {
    let plans: BTreeMap<&Name, &Plan> =
        models.iter().flat_map(Model::plans).map(|plan| (&plan.view.name, plan)).collect();
    for Windows { days, seasons } in tenants.values_mut().map(|tenant| &mut tenant.windows) {
        for (view, window) in days.values_mut().chain(seasons.values_mut()).flatten() {
            if let Some(plan) = plans.get(view) {
                window.groups.adopt(|group| plan.adopt(group));
            }
        }
    }
}

/// How many bytes a page in a day's head may have, and how many all that are still to come.
struct Room {
    page: usize,
    head: usize,
}

fn write_day(prefix: &[u8], day: &mut Day, views: Option<&mut Views>, mut room: Room, changes: &mut Changes) {
    let entities = write_pages(&mut day.entities, |page| entity_key(prefix, page), &mut room, changes);
    let (mut rows, mut pages) = (BTreeMap::new(), BTreeMap::new());
    for (name, window) in views.into_iter().flatten() {
        let page = write_pages(&mut window.groups, |page| view_key(prefix, name, page), &mut room, changes);
        pages.extend(page.map(|page| (name.clone(), page)));
        rows.insert(name.clone(), ViewRow::of(window));
    }
    let row = DayRow {
        state: StoredState::of(day),
        marker: day.marker.clone(),
        account: day.account,
        from: day.from,
        sealed: day.sealed.clone(),
        changes: day.changes.clone(),
        changes_omitted: day.changes_omitted,
        entities: day.entities.len() as u64,
        views: rows,
        small: SmallPages { entities, views: pages },
    };
    day.is_noted = false;
    changes.put.push((head_key(prefix), encode(&row)));
}

/// The only page, if there is room for it in the day's head; else writes those that changed by themselves, for good.
fn write_pages<K, V>(
    pages: &mut Pages<K, V>,
    key: impl Fn(u32) -> Vec<u8>,
    room: &mut Room,
    changes: &mut Changes,
) -> Option<ByteBuf>
where
    K: PageKey + Serialize,
    V: Serialize + Canonical,
{
    if let Some(bytes) = pages.together().map(|rows| encode(&rows))
        && bytes.len() <= room.page.min(room.head)
    {
        room.head -= bytes.len();
        return Some(ByteBuf::from(bytes));
    }
    pages.take_dirty(|page, rows| changes.put.push((key(page), encode(&rows))));
    None
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
        views: LooseViews::default(),
    });
    let day = &mut loose.day;
    match rest.split_first().ok_or_else(bad)? {
        (b'h', []) => {
            let row: DayRow = decode(key, value)?;
            (day.state, day.is_restating) = row.state.parts();
            day.marker = row.marker;
            day.account = row.account;
            day.from = row.from;
            day.sealed = row.sealed;
            day.changes = row.changes;
            day.changes_omitted = row.changes_omitted;
            loose.entities = row.entities;
            loose.views.head(row.views);
            let mut are_whole = match row.small.entities {
                None => true,
                Some(page) => day.entities.restore_together(decode(key, &page)?),
            };
            for (name, page) in row.small.views {
                let window = loose.views.windows.entry(name).or_default();
                are_whole &= window.groups.restore_together(decode(key, &page)?);
            }
            if !are_whole {
                return Err(damaged(key, "a page that is there twice"));
            }
        }
        (b'e', page) => restore_page::<EntityKey, Entity>(&mut day.entities, key, page, value)?,
        (b'v', rest) => read_view_page(key, rest, value, &mut loose.views)?,
        _ => return Err(bad()),
    }
    Ok(())
}

fn read_season_row(
    key: &[u8],
    rest: &[u8],
    value: &[u8],
    seasons: &mut BTreeMap<(TenantId, Name), LooseViews>,
) -> Result<(), RestoreError> {
    let bad = || damaged(key, "a season's key");
    let (tenant, rest) = split_name(rest).ok_or_else(bad)?;
    let (season, rest) = split_name(rest).ok_or_else(bad)?;
    let tenant = TenantId::new(tenant).map_err(|_| bad())?;
    let season = Name::new(season).map_err(|_| bad())?;
    match rest.split_first().ok_or_else(bad)? {
        (b'v', rest) => read_view_page(key, rest, value, seasons.entry((tenant, season)).or_default()),
        _ => Err(bad()),
    }
}

fn read_view_page(key: &[u8], rest: &[u8], value: &[u8], views: &mut LooseViews) -> Result<(), RestoreError> {
    let bad = || damaged(key, "a view's key");
    let (name, page) = split_name(rest).ok_or_else(bad)?;
    let name = Name::new(name).map_err(|_| bad())?;
    restore_page::<GroupKey, Group>(&mut views.windows.entry(name).or_default().groups, key, page, value)
}

fn restore_page<K, V>(pages: &mut Pages<K, V>, key: &[u8], page: &[u8], value: &[u8]) -> Result<(), RestoreError>
where
    K: PageKey + DeserializeOwned,
    V: DeserializeOwned + Canonical,
{
    let page: [u8; 4] = page.try_into().map_err(|_| damaged(key, "a page number"))?;
    let rows = decode::<StoredPage<K, V>>(key, value)?;
    match pages.restore(u32::from_be_bytes(page), rows) {
        true => Ok(()),
        false => Err(damaged(key, "a page whose predecessor is missing")),
    }
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

/// `s`, the tenant, a zero byte, the season and another.
fn season_prefix(tenant: &TenantId, season: &Name) -> Vec<u8> {
    [b"s", tenant.as_str().as_bytes(), b"\0", season.as_str().as_bytes(), b"\0"].concat()
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
    let mut bytes = rmp_serde::to_vec(row).expect("stored rows hold nothing that MessagePack cannot");
    // All that changed is held until it is committed.
    bytes.shrink_to_fit();
    bytes
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    rmp_serde::from_slice(value).map_err(|error| damaged(key, &error.to_string()))
}

fn damaged(key: &[u8], what: &str) -> RestoreError {
    RestoreError::Row(format!("{} ({what})", String::from_utf8_lossy(key)))
}
