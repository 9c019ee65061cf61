//! Brings a state back from what was stored, day by day: of closed days only as much stays in memory as is to.

use super::ids::{OfRun, leaving_key};
use super::summary::Summarized;
use super::{
    Canonical, DayRow, Dirty, FORMAT, META_KEY, MetaRow, RestoreError, TenantRow, ViewRow, page_key, tenant_key,
};
use crate::day::Day;
use crate::entity::{Entity, EntityKey, KindId};
use crate::pages::{PageKey, Pages, Stored, StoredPage, page_of};
use crate::remembered::leaving::LeavingRow;
use crate::remembered::restore::Restoring;
use crate::remembered::{Cut, id_sum};
use crate::tenant::TenantState;
use crate::whereabouts::Whereabouts;
use crate::window::{Group, GroupKey, Views, Windows};
use crate::{Model, PartitionState, soundness};
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
            window.fired = row.fired;
        }
    }

    fn is_whole(&self) -> bool {
        self.windows.len() == self.groups.len()
            && self.windows.iter().all(|(name, window)| {
                window.groups.is_sound() && self.groups.get(name).copied() == Some(window.groups.len() as u64)
            })
    }
}

/// Remembered ids being read back.
#[derive(Default)]
struct LooseIds {
    ids: BTreeMap<(TenantId, KindId), Restoring>,
    /// What the rows of their tenants say of them.
    sums: BTreeMap<(TenantId, KindId), (u64, u128)>,
    cut: Cut,
    /// Pages stay in memory.
    keeps: bool,
    /// Of runs that have a summary, no pages come.
    passes: bool,
}

impl LooseIds {
    /// Takes in the next row of ids; `rest` is its key without the first byte.
    fn row(&mut self, key: &[u8], rest: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let bad = || damaged(key, "a key of ids");
        let (tenant, rest) = split_name(rest).ok_or_else(bad)?;
        let (kind, rest) = rest.split_first_chunk::<2>().ok_or_else(bad)?;
        let kind = KindId::from_be_bytes(*kind);
        let of = (TenantId::new(tenant).map_err(|_| bad())?, kind);
        let (cut, keeps, passes) = (self.cut, self.keeps, self.passes);
        let ids = self.ids.entry(of).or_insert_with(|| Restoring::new(kind, cut, keeps));
        let taken = match rest.split_first().ok_or_else(bad)? {
            (b'd', _) => ids.days(decode(key, value)?),
            (b'h', []) => ids.divisions(&decode::<ByteBuf>(key, value)?),
            (b'p', rest) => match OfRun::read(rest).ok_or_else(bad)? {
                OfRun::Page(spot) => ids.page(spot, key, value),
                OfRun::Summary { start, run } => ids.summary(start, run, value, passes),
            },
            _ => return Err(bad()),
        };
        taken.map_err(|what| damaged(key, what))
    }

    /// Puts all ids into the state, and those of days that were being converted with them.
    fn finish(
        self,
        leaving: BTreeMap<(Date, TenantId), (LeavingRow, Vec<EntityKey>)>,
        state: &mut PartitionState,
    ) -> Result<(), RestoreError> {
        let Self { mut ids, mut sums, keeps, .. } = self;
        let unsound = |id: &TenantId, what: &str| RestoreError::Unsound(format!("tenant {id}: {what}"));
        for ((id, _), ids) in &mut ids {
            ids.end_pages().map_err(|what| unsound(id, what))?;
        }
        for ((date, id), (row, keys)) in leaving {
            for ((_, kind), ids) in ids.range_mut((id.clone(), 0)..=(id.clone(), KindId::MAX)) {
                ids.leaving(date, &keys);
                state.dirty.ids(&id, *kind);
            }
            removed_leaving(&mut state.dirty, &id, date, &row);
        }
        state.residency.lacks_ids |= !keeps;
        for ((id, kind), ids) in ids {
            let sums = sums.remove(&(id.clone(), kind)).ok_or_else(|| unsound(&id, "ids that it does not have"))?;
            let ids = ids.finish(sums).map_err(|what| unsound(&id, what))?;
            let tenant = state.tenants.get_mut(&id).ok_or_else(|| unsound(&id, "ids of nobody"))?;
            tenant.remembered.insert(kind, ids);
            state.agenda.merges(&id, kind);
        }
        match sums.into_iter().find(|(_, (count, _))| *count > 0) {
            Some(((id, _), _)) => Err(unsound(&id, "its ids are missing")),
            None => Ok(()),
        }
    }
}

/// All ids of a day that was being converted are in runs, or gone.
fn removed_leaving(dirty: &mut Dirty, tenant: &TenantId, date: Date, row: &LeavingRow) {
    dirty.removed.push(leaving_key(tenant, date));
    dirty.removed.extend(row.pages.iter().map(|page| page_key(tenant, date, *page)));
}

/// A day being read back, and what its head says about its pages.
struct Loose {
    day: Day,
    entities: u64,
    views: LooseViews,
    summary: Option<LooseSummary>,
}

/// The summary of a day that is being read back.
struct LooseSummary {
    says: Summarized,
    /// The rows of hashes that were read, and the hashes.
    parts: u32,
    hashes: Vec<u64>,
}

impl Loose {
    fn is_whole(&self) -> bool {
        let entities = &self.day.entities;
        entities.is_sound() && entities.len() as u64 == self.entities && self.views.is_whole()
    }
}

/// Days being read back. The rows of a day come together.
#[derive(Default)]
struct LooseDays {
    days: BTreeMap<(Date, TenantId), Loose>,
    /// The one that is being read.
    reading: Option<(Date, TenantId)>,
    /// By tenant, of all days that were read.
    whereabouts: BTreeMap<TenantId, Whereabouts>,
    /// About how many bytes entities of closed days may take; without it they all stay in memory.
    limit: Option<u64>,
    /// How many they take.
    bytes: u64,
    /// Closed days with entities in memory, the oldest first.
    here: VecDeque<(Date, TenantId)>,
    /// Days that were being converted: what is stored of each, and the ids of its pages so far.
    leaving: BTreeMap<(Date, TenantId), (LeavingRow, Vec<EntityKey>)>,
    /// Of days that have a summary, neither pages nor hashes come.
    passes: bool,
    /// The rows of hashes that are still to be read.
    unread: BTreeMap<TenantId, BTreeMap<Date, BTreeSet<u32>>>,
}

impl LooseDays {
    /// Takes in the next row of a day.
    fn row(&mut self, key: &[u8], rest: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let bad = || damaged(key, "a day's key");
        let (date, rest) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        let date = Date::from_days((u32::from_be_bytes(*date) ^ 0x8000_0000) as i32);
        let (tenant, rest) = split_name(rest).ok_or_else(bad)?;
        let day = (date, TenantId::new(tenant).map_err(|_| bad())?);
        if rest == b"a" {
            self.finish()?;
            self.leaving.insert(day, (decode(key, value)?, Vec::new()));
            return Ok(());
        }
        if let Some((row, keys)) = self.leaving.get_mut(&day) {
            return leaving_page(&day, row, keys, rest, value).map_err(|what| damaged(key, &what));
        }
        if self.reading.as_ref() != Some(&day) {
            self.finish()?;
            if self.days.contains_key(&day) {
                return Err(damaged(key, "rows of a day that are apart from each other"));
            }
            self.reading = Some(day.clone());
        }
        let loose = self.days.entry(day).or_insert_with(|| Loose {
            day: Day::new(LogSeq(0)),
            // Until the head is read, more than there can be.
            entities: u64::MAX,
            views: LooseViews::default(),
            summary: None,
        });
        loose.row(key, rest, value, self.passes, self.limit.is_some())
    }

    /// No more rows come of the day that is being read.
    fn finish(&mut self) -> Result<(), RestoreError> {
        let Some(name) = self.reading.take() else { return Ok(()) };
        let (date, tenant) = &name;
        let loose = self.days.get_mut(&name).filter(|loose| loose.is_whole());
        let loose = loose.ok_or_else(|| damaged(tenant.as_str().as_bytes(), "rows of a day are missing"))?;
        let (day, summary) = (&mut loose.day, loose.summary.take());
        let unsound = |what: String| RestoreError::Unsound(format!("tenant {tenant}: {date}: {what}"));
        let whereabouts = self.whereabouts.entry(tenant.clone()).or_default();
        match summary {
            Some(LooseSummary { says: Summarized { kinds, summary, .. }, .. }) if self.passes => {
                if kinds.count() != loose.entities || uncounted_drafts(day) > 0 {
                    return Err(unsound("its summary".to_owned()));
                }
                day.kinds = kinds;
                summary.more().iter().for_each(|hash| whereabouts.add(*hash, *date));
                if summary.parts() > 0 {
                    self.unread.entry(tenant.clone()).or_default().insert(*date, (0..summary.parts()).collect());
                }
                day.summary = Some(Box::new(summary));
            }
            summary => {
                day.entities.iter().try_for_each(soundness::check_entity).map_err(unsound)?;
                count_drafts(day);
                for (key, _) in day.entities.iter() {
                    let hash = key.page_hash();
                    day.kinds.add(key.kind, id_sum(hash, *date));
                    whereabouts.add(hash, *date);
                }
                if let Some(LooseSummary { says, parts, hashes }) = summary {
                    if parts != says.summary.parts() || !says.is_of(day, hashes) {
                        return Err(unsound("its summary".to_owned()));
                    }
                    day.summary = Some(Box::new(says.summary));
                }
            }
        }
        if self.limit.is_some() && day.is_closed() {
            self.bytes += day.entities.residence().bytes;
            self.here.push_back(name);
        }
        self.evict();
        Ok(())
    }

    /// Lets go of the oldest pages that are too many, as [`PartitionState::evict`] does later.
    fn evict(&mut self) {
        while self.limit.is_some_and(|limit| self.bytes > limit)
            && let Some(day) = self.here.pop_front()
        {
            let entities = &mut self.days.get_mut(&day).expect("a day that was read").day.entities;
            self.bytes -= entities.residence().bytes;
            entities.evict(usize::MAX);
        }
    }
}

/// Takes in a page of a day that was being converted; `rest` is what its key has behind the day.
fn leaving_page(
    (date, tenant): &(Date, TenantId),
    row: &LeavingRow,
    keys: &mut Vec<EntityKey>,
    rest: &[u8],
    value: &[u8],
) -> Result<(), String> {
    let page = rest.strip_prefix(b"e").and_then(|page| <[u8; 4]>::try_from(page).ok()).map(u32::from_be_bytes);
    let page = page.filter(|page| row.pages.contains(page)).ok_or("a row of a day that has left")?;
    keys.extend(page_of_keys(tenant, *date, page, row.count, value).map_err(|error| error.to_string())?);
    Ok(())
}

impl Loose {
    /// Takes in a row of the day; `rest` is what the key has behind the day. The row of a page is to be known later if `knows`.
    fn row(&mut self, key: &[u8], rest: &[u8], value: &[u8], passes: bool, knows: bool) -> Result<(), RestoreError> {
        let bad = || damaged(key, "a day's key");
        let day = &mut self.day;
        match rest.split_first().ok_or_else(bad)? {
            (b'c', []) => {
                let says = Summarized::decode(key, value)?;
                if passes && !day.entities.restore_out(&says.pages) {
                    return Err(damaged(key, "a summary"));
                }
                self.summary = Some(LooseSummary { says, parts: 0, hashes: Vec::new() });
            }
            (b'd' | b'e', _) if passes && self.summary.is_some() => {
                return Err(damaged(key, "a row of which a summary does not know"));
            }
            (b'd', part) => {
                let summary = self.summary.as_mut().ok_or_else(bad)?;
                let is_next = part == summary.parts.to_be_bytes();
                let hashes = summary.says.summary.read(summary.parts, key, value).filter(|_| is_next);
                summary.hashes.extend(hashes.ok_or_else(|| damaged(key, "hashes of which a summary does not know"))?);
                summary.parts += 1;
            }
            (b'h', []) => {
                let row: DayRow = decode(key, value)?;
                (day.state, day.is_restating) = row.state.parts();
                day.marker = row.marker;
                day.account = row.account;
                day.from = row.from;
                day.sealed = row.sealed;
                day.changes = row.changes;
                day.changes_omitted = row.changes_omitted;
                self.entities = row.entities;
                self.views.head(row.views);
                let mut are_whole = match row.small.entities {
                    None => true,
                    Some(page) => day.entities.restore_together(decode(key, &page)?),
                };
                for (name, page) in row.small.views {
                    let window = self.views.windows.entry(name).or_default();
                    are_whole &= window.groups.restore_together(decode(key, &page)?);
                }
                if !are_whole {
                    return Err(damaged(key, "a page that is there twice"));
                }
            }
            (b'e', page) => {
                let is_known = knows || self.summary.is_some();
                let stored = if is_known { Stored::hashed(key, value) } else { Stored::sized(key, value) };
                restore_page::<EntityKey, Entity>(&mut day.entities, key, page, value, stored)?;
            }
            (b'v', rest) => read_view_page(key, rest, value, &mut self.views)?,
            _ => return Err(bad()),
        }
        Ok(())
    }
}

impl PartitionState {
    /// The state that `rows` hold, or `None` when there are none.
    ///
    /// # Errors
    /// When the rows are damaged, incomplete, of another format or partition, or say what no log leads to. The pages of a
    /// map must come in their order, as they do in the order of keys.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        partition: Partition,
        rows: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        Self::restore_limited(partition, rows, None)
    }

    /// As [`PartitionState::restore`], with entities of closed days [limited](PartitionState::limit_closed) to so many bytes from the
    /// beginning: what is beyond that is read and let go of.
    ///
    /// # Errors
    /// As those of [`PartitionState::restore`].
    pub fn restore_limited<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        partition: Partition,
        rows: impl IntoIterator<Item = (K, V)>,
        closed_bytes: Option<u64>,
    ) -> Result<Option<Self>, RestoreError> {
        Self::restore_from(partition, rows, closed_bytes, false)
    }

    /// As [`PartitionState::restore_limited`], of rows of which those do not come that [`pass`](super::pass) tells: pages of entities
    /// are out, and come back when they are needed.
    ///
    /// # Errors
    /// As those of [`PartitionState::restore`].
    pub fn restore_passing<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        partition: Partition,
        rows: impl IntoIterator<Item = (K, V)>,
        closed_bytes: u64,
    ) -> Result<Option<Self>, RestoreError> {
        Self::restore_from(partition, rows, Some(closed_bytes), true)
    }

    fn restore_from<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        partition: Partition,
        rows: impl IntoIterator<Item = (K, V)>,
        closed_bytes: Option<u64>,
        passes: bool,
    ) -> Result<Option<Self>, RestoreError> {
        let mut state = Self::new(partition);
        let mut meta = None;
        let mut waiting: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut any = false;
        let mut loose_days = LooseDays { limit: closed_bytes, passes, ..LooseDays::default() };
        let mut loose_seasons: BTreeMap<(TenantId, Name), LooseViews> = BTreeMap::new();
        let mut loose_ids =
            LooseIds { cut: state.id_cut, keeps: closed_bytes.is_none(), passes, ..LooseIds::default() };
        for (key, value) in rows {
            any = true;
            let (key, value) = (key.as_ref(), value.as_ref());
            if waiting.contains(key) {
                continue;
            }
            match key.split_first() {
                Some((b'a', [])) => {
                    waiting = decode::<Vec<ByteBuf>>(key, value)?.into_iter().map(ByteBuf::into_vec).collect();
                    waiting.insert(key.to_vec());
                }
                Some((b'm', [])) => meta = Some(read_meta(value, partition)?),
                Some((b't', _)) => {
                    let row: TenantRow = decode(key, value)?;
                    let mut tenant = TenantState::since(row.first_day, row.definition);
                    tenant.open_day = row.open_day;
                    tenant.expired_before = row.expired_before;
                    tenant.latest_at = row.latest_at;
                    tenant.complete_seasons = row.complete_seasons;
                    let id = tenant.definition.id.clone();
                    let sums = row.remembered.into_iter().map(|(kind, count, sum)| ((id.clone(), kind), (count, sum)));
                    loose_ids.sums.extend(sums);
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
                Some((b'd', rest)) => loose_days.row(key, rest, value)?,
                Some((b'i', rest)) => loose_ids.row(key, rest, value)?,
                _ => return Err(damaged(key, "unknown key")),
            }
        }
        loose_days.finish()?;
        let LooseDays { days, whereabouts, leaving, unread, .. } = loose_days;
        let Some(meta) = meta else {
            return if any { Err(RestoreError::NoMeta) } else { Ok(None) };
        };
        state.position = meta.position;
        state.through = meta.through;
        state.models = models(meta.kinds, &meta.removed_kinds, meta.views)?;
        state.pending = meta.pending.into_iter().map(|view| (view.name.clone(), view)).collect();
        state.tables = meta.tables.into_iter().map(|table| (table.name.clone(), table)).collect();
        if (state.tenants.len() as u64, days.len() as u64) != (meta.tenants, meta.days) {
            return Err(RestoreError::Row("tenants or days are missing".to_owned()));
        }
        for ((date, id), loose) in days {
            let tenant = state.tenants.get_mut(&id);
            let tenant =
                tenant.ok_or_else(|| damaged(id.as_str().as_bytes(), "the day of a tenant that is not there"))?;
            tenant.restore_day(date, loose.day);
            tenant.windows.days.insert(date, loose.views.windows);
        }
        for (id, whereabouts) in whereabouts {
            state.tenants.get_mut(&id).expect("the tenant of a day that was put in").restore_whereabouts(whereabouts);
        }
        for (id, unread) in unread {
            state.residency.lacks_hashes = true;
            state.tenants.get_mut(&id).expect("the tenant of a day that was put in").unread = unread;
        }
        for ((id, season), loose) in loose_seasons {
            let tenant = state.tenants.get_mut(&id).filter(|_| loose.is_whole());
            let tenant = tenant.ok_or_else(|| damaged(id.as_str().as_bytes(), "rows of a season are missing"))?;
            tenant.windows.seasons.insert(season, loose.windows);
        }
        loose_ids.finish(leaving, &mut state)?;
        state.dirty.removed.extend(waiting);
        let windows = state.tenants.values().flat_map(|tenant| tenant.windows.days.values()).flatten();
        let partial = windows.filter(|(_, window)| matches!(window.coverage, Coverage::Partial { .. }));
        state.partial_views = partial.map(|(view, _)| view.clone()).collect();
        adopt(&state.models, &mut state.tenants);
        soundness::check(&state).map_err(RestoreError::Unsound)?;
        state.limit_closed(closed_bytes);
        Ok(Some(state))
    }
}

fn models(kinds: Vec<(Kind, u64)>, removed: &[KindId], views: Vec<View>) -> Result<Vec<Model>, RestoreError> {
    let mut models: Vec<Model> = kinds.into_iter().map(|(kind, events)| Model { events, ..Model::new(kind) }).collect();
    for kind in removed {
        let model = models.get_mut(usize::from(*kind));
        model.ok_or_else(|| RestoreError::Row(format!("removed kind {kind}")))?.is_removed = true;
    }
    for view in views {
        let model = models.iter_mut().find(|model| !model.is_removed && model.kind.name == view.kind);
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

/// Drafts of a day that an earlier build counted as pending, whatever followed.
fn uncounted_drafts(day: &Day) -> u64 {
    if day.account.drafts == 0 { day.account.pending } else { 0 }
}

/// Earlier builds counted every draft as pending for good. Now only those are that nothing newer has followed.
fn count_drafts(day: &mut Day) {
    let uncounted = uncounted_drafts(day);
    let account = &mut day.account;
    if uncounted > 0 {
        account.drafts = uncounted;
        let open = day.entities.iter().filter(|(_, entity)| entity.is_pending()).count() as u64;
        account.pending = open.min(account.drafts);
        // Saturates only for a damaged account, which is refused for its balance.
        account.counted = account.counted.saturating_add(account.drafts - account.pending);
    }
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
    let groups = &mut views.windows.entry(name).or_default().groups;
    restore_page::<GroupKey, Group>(groups, key, page, value, Stored::sized(key, value))
}

fn restore_page<K, V>(
    pages: &mut Pages<K, V>,
    key: &[u8],
    page: &[u8],
    value: &[u8],
    stored: Stored,
) -> Result<(), RestoreError>
where
    K: PageKey + DeserializeOwned,
    V: DeserializeOwned + Canonical,
{
    let page: [u8; 4] = page.try_into().map_err(|_| damaged(key, "a page number"))?;
    let rows = decode::<StoredPage<K, V>>(key, value)?;
    match pages.restore(u32::from_be_bytes(page), rows, stored) {
        true => Ok(()),
        false => Err(damaged(key, "a page whose predecessor is missing")),
    }
}

fn split_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// The ids of a page of a day's entities as it was stored, one of so many.
///
/// # Errors
/// When it is none, or another one.
pub(crate) fn page_of_keys(
    tenant: &TenantId,
    date: Date,
    page: u32,
    count: u32,
    stored: &[u8],
) -> Result<Vec<EntityKey>, RestoreError> {
    let key = page_key(tenant, date, page);
    let rows = decode::<StoredPage<EntityKey, IgnoredAny>>(&key, stored)?;
    let keys: Vec<EntityKey> = rows.into_keys().collect();
    let is_in_place =
        |key: &EntityKey| count.is_power_of_two() && page_of(key.page_hash(), count as usize) == page as usize;
    match keys.iter().all(is_in_place) {
        true => Ok(keys),
        false => Err(damaged(&key, "a page that is another one")),
    }
}

/// A page of a day's entities as it was stored.
pub(crate) fn stored_page(
    tenant: &TenantId,
    date: Date,
    page: u32,
    stored: &[u8],
) -> Result<StoredPage<EntityKey, Entity>, RestoreError> {
    decode(&page_key(tenant, date, page), stored)
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    rmp_serde::from_slice(value).map_err(|error| damaged(key, &error.to_string()))
}

pub(super) fn damaged(key: &[u8], what: &str) -> RestoreError {
    RestoreError::Row(format!("{} ({what})", String::from_utf8_lossy(key)))
}
