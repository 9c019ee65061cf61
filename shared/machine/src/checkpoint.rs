//! The stored form of the state: of what is large only the pages that changed since the last checkpoint are written, and
//! position and rows are one atomic commit. Keys begin with the day, so that a day's rows lie together and go together.

mod dirty;
mod ids;
mod restore;
mod summary;

pub use self::dirty::Dirty;
pub(crate) use self::ids::id_page_key;
use self::restore::{damaged, decode};
pub(crate) use self::restore::{page_of_keys, stored_page};
pub(crate) use self::summary::hash_row_key;
pub(crate) use self::summary::{HASH_CUT, HashCut};
pub use self::summary::{Summary, pass};

use super::alerts::Marks;
use super::day::{Day, Sealed};
use super::digest::Canonical;
use super::entity::KindId;
use super::pages::{PageKey, Pages, Stored};
use super::window::{Views, Window};
use super::{Model, PartitionState};
use daybook_contracts::ask::DayState;
use daybook_contracts::day::DayMarker;
use daybook_contracts::log::Through;
use daybook_contracts::report::{Account, Change, Coverage};
use daybook_contracts::rows::Changes;
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Kind, Tenant, View};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// Version of the stored form. Another one is not read: the state is made again from the log.
pub const FORMAT: u8 = 3;

const META_KEY: &[u8] = b"m";
/// Rows that are no longer part of the state, and wait to be removed. Its row comes before all others.
const WAITING_KEY: &[u8] = b"a";
/// Most bytes of a page that is stored in its day's head. Engines take some ten microseconds for a row, and most tenants have a
/// small day; larger pages would be written anew for things that are not in them. In tests, days are small.
pub const SMALL_PAGE_BYTES: usize = if cfg!(test) { 64 } else { 8 << 10 };
/// Fewest entities of a closed day that are stored in pages of their own where memory is limited: what is in a head stays in memory.
const LEAST_APART: usize = 16;
/// So many of them at most are in one head: each is written whenever anything in the day has changed.
const SMALL_PAGES: usize = 4;

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
    /// The places of removed kinds. The last field, and left out when there are none, as it was before kinds could be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed_kinds: Vec<KindId>,
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
    /// Of each kind with remembered ids, how many there are and what they sum up to. The last field, and left out when there are none, as
    /// it was before any were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remembered: Vec<(KindId, u64, u128)>,
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

#[derive(Deserialize)]
struct ViewRow {
    coverage: Coverage,
    adjustments: u64,
    /// How many groups the pages hold.
    groups: u64,
    /// Left out when false and nothing follows: then a row is as it was before there were quotas.
    #[serde(default)]
    is_full: bool,
    /// The last field, and left out when there are none: then a row is as it was before there were alerts.
    #[serde(default)]
    fired: Marks,
}

impl ViewRow {
    fn of(window: &Window) -> Self {
        let Window { groups, coverage, adjustments, is_full, fired, .. } = window;
        let (coverage, groups) = (coverage.clone(), groups.len() as u64);
        Self { coverage, adjustments: *adjustments, groups, is_full: *is_full, fired: fired.clone() }
    }
}

impl Serialize for ViewRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_fired = !self.fired.is_empty();
        let says_full = self.is_full || has_fired;
        let mut row = serializer.serialize_struct("ViewRow", 3 + usize::from(says_full) + usize::from(has_fired))?;
        row.serialize_field("coverage", &self.coverage)?;
        row.serialize_field("adjustments", &self.adjustments)?;
        row.serialize_field("groups", &self.groups)?;
        match says_full {
            true => row.serialize_field("is_full", &self.is_full)?,
            false => row.skip_field("is_full")?,
        }
        match has_fired {
            true => row.serialize_field("fired", &self.fired)?,
            false => row.skip_field("fired")?,
        }
        row.end()
    }
}

impl PartitionState {
    /// What must be stored for the state to come back as it is now; it then counts as stored.
    pub fn checkpoint(&mut self) -> Changes {
        debug_assert!(self.tenants.iter().all(|(id, tenant)| tenant.is_unfinished() == self.unfinished.contains(id)));
        self.residency.begin_storing();
        let dirty = std::mem::take(&mut self.dirty);
        if let Some(digests) = &mut self.digests {
            let (meta, tenants, days) = dirty.parts();
            digests.keep(meta, tenants, days);
        }
        let mut changes = Changes { put: Vec::new(), remove: self.removable(dirty.removed) };
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
                remembered: tenant.remembered_sums().collect(),
            };
            changes.put.push((tenant_key(&id), encode(&row)));
        }
        for (id, season) in dirty.seasons {
            let windows = self.tenants.get_mut(&id).and_then(|tenant| tenant.windows.seasons.get_mut(&season));
            let prefix = season_prefix(&id, &season);
            for (view, window) in windows.into_iter().flatten() {
                window
                    .groups
                    .take_dirty(|page, rows| put(view_key(&prefix, view, page), &rows, Stored::sized, &mut changes));
            }
        }
        for (date, id) in dirty.days {
            let tenant = self.tenants.get_mut(&id).expect("days of tenants that are known");
            let day = tenant.days.get_mut(&date).expect("dirty days are kept");
            let room = Room { page: self.small_page_bytes, head: self.small_page_bytes * SMALL_PAGES };
            let is_apart = self.residency.takes(day) && day.entities.len() >= LEAST_APART;
            let entities = Room { page: if is_apart { 0 } else { room.page }, ..room };
            let prefix = day_prefix(&id, date);
            write_day(&prefix, day, tenant.windows.days.get_mut(&date), [entities, room], &mut changes);
            let are_known = !tenant.unread.contains_key(&date);
            summary::write(&prefix, day, self.residency.takes(day), are_known, self.hash_cut, &mut changes);
            self.residency.renew(&id, date, day);
        }
        self.write_ids(dirty.ids, &mut changes);
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
            removed_kinds: self.removed_kinds(),
        };
        changes.put.push((META_KEY.to_vec(), encode(&meta)));
        if !self.dirty.removed.is_empty() {
            // A new tenant may have used such a key again.
            let put: BTreeSet<&[u8]> = changes.put.iter().map(|(key, _)| key.as_slice()).collect();
            self.dirty.removed.retain(|key| !put.contains(key.as_slice()));
            self.write_waiting(&mut changes);
        }
        changes
    }

    /// The same state, which stores pages of more than so many bytes apart from their day's head, instead of
    /// [`SMALL_PAGE_BYTES`]: for tests, whose days are small.
    pub fn with_small_pages(self, bytes: usize) -> Self {
        Self { small_page_bytes: bytes, ..self }
    }

    /// The same state, which cuts the hashes of a day's entities into small rows: for tests, whose days are small.
    pub fn with_small_summaries(self) -> Self {
        Self { hash_cut: summary::SMALL_HASH_CUT, ..self }
    }

    /// Forgets what changed: for machines of which no checkpoint is made and no digest kept, so that it does not gather.
    pub fn forget_changes(&mut self) {
        self.dirty = Dirty::default();
    }
}

/// How many bytes a page in a day's head may have, and how many all that are still to come.
#[derive(Clone, Copy)]
struct Room {
    page: usize,
    head: usize,
}

/// There is `room` in the head for the page of entities, and for all pages.
fn write_day(prefix: &[u8], day: &mut Day, views: Option<&mut Views>, room: [Room; 2], changes: &mut Changes) {
    let [mut of_entities, mut room] = room;
    let entities =
        write_pages(&mut day.entities, |page| entity_key(prefix, page), Stored::hashed, &mut of_entities, changes);
    room.head = of_entities.head;
    let (mut rows, mut pages) = (BTreeMap::new(), BTreeMap::new());
    for (name, window) in views.into_iter().flatten() {
        let page =
            write_pages(&mut window.groups, |page| view_key(prefix, name, page), Stored::sized, &mut room, changes);
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
    know: fn(&[u8], &[u8]) -> Stored,
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
    pages.take_dirty(|page, rows| put(key(page), &rows, know, changes));
    None
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

/// The key of a page of a day's entities.
pub(crate) fn page_key(tenant: &TenantId, date: Date, page: u32) -> Vec<u8> {
    entity_key(&day_prefix(tenant, date), page)
}

fn view_key(prefix: &[u8], view: &Name, page: u32) -> Vec<u8> {
    [prefix, b"v", view.as_str().as_bytes(), b"\0", &page.to_be_bytes()].concat()
}

/// Puts a page, and returns what is to be known of its row.
fn put(key: Vec<u8>, rows: &impl Serialize, know: fn(&[u8], &[u8]) -> Stored, changes: &mut Changes) -> Stored {
    let bytes = encode(rows);
    let stored = know(&key, &bytes);
    changes.put.push((key, bytes));
    stored
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    let mut bytes = rmp_serde::to_vec(row).expect("stored rows hold nothing that MessagePack cannot");
    // All that changed is held until it is committed.
    bytes.shrink_to_fit();
    bytes
}
