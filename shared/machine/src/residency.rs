//! Which pages of closed days are in memory. This is no part of the state: no figure, digest, report or order depends on it.
//!
//! Entities of closed days are needed for corrections only, and most of them never again. So where memory is limited
//! ([`PartitionState::limit_closed`]), pages that are stored leave memory ([`PartitionState::evict`]), those of the days first that
//! changed or came back longest ago. What stays of a page is how many rows it has and what they sum up to; what stays of an
//! entity is which day may hold it.
//!
//! Before a batch is applied, [`PartitionState::needs`] tells which pages must come back, and [`PartitionState::supply`] takes
//! them. Applying asserts that they are here. A page that is out is the same in the store: only what is stored goes
//! ([`PartitionState::stored`]), and only what is here changes.

use super::PartitionState;
use super::checkpoint::{RestoreError, hash_row_key, id_page_key, page_key, page_of_keys, stored_page};
use super::day::Day;
use super::entity::KindId;
use super::pages::{Residence, stable_hash};
use super::remembered::{SMALL_CUT, Spot};
use super::tenant::TenantState;
use super::{KEEP_DAYS, soundness};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Batch, Event, Record};
use daybook_contracts::rows::RowSum;
use daybook_domain::catalogue::{Definition, Removal};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of hashes that come back at once, beyond the first row: half a million of them or so.
const HASHES_AT_ONCE: u64 = 4 << 20;

/// A page that may be on disk only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageId {
    /// Of a day's entities.
    Entities { tenant: TenantId, date: Date, page: u32 },
    /// Of hashes of a day's entities: a row by itself, which stays in memory in another form.
    Hashes { tenant: TenantId, date: Date, part: u32 },
    /// Of remembered ids.
    Ids { tenant: TenantId, kind: KindId, spot: Spot },
}

/// What is in memory of closed days, and in which order it leaves.
#[derive(Debug, Default)]
pub struct Residency {
    /// About how many bytes entities of closed days may take; without it they all stay.
    limit: Option<u64>,
    /// How many they take, as of the last look at each.
    bytes: u64,
    /// Pages that are out.
    out: usize,
    /// Closed days that may have something to evict, with the checkpoint at which each was stored or came back last.
    queue: BTreeSet<(u64, Date, TenantId)>,
    /// Checkpoints so far.
    round: u64,
    /// Open days leave like closed ones.
    has_open: bool,
    /// Something that was handed out to be stored may not be on disk yet.
    is_storing: bool,
    /// Remembered ids may be on disk only.
    pub(super) lacks_ids: bool,
    /// Hashes of entities may have to be read.
    pub(super) lacks_hashes: bool,
    /// Pages of remembered ids that came back: they leave again when the batch has been applied.
    ids_here: Vec<PageId>,
    /// Runs of remembered ids that were handed out to be stored, by tenant, kind, bucket and number: their pages leave when they are.
    ids_stored: Vec<(TenantId, KindId, u32, u32)>,
}

/// What is counted of a day.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    residence: Residence,
    /// Where in the queue it is, if it is there.
    round: Option<u64>,
}

impl Residency {
    /// Counts anew what the day takes.
    fn count(&mut self, day: &mut Day) {
        let (before, after) = (day.counted.residence, day.entities.residence());
        day.counted.residence = after;
        self.bytes = self.bytes - before.bytes + after.bytes;
        self.out = self.out - before.out as usize + after.out as usize;
    }

    /// A closed day was stored, or some of it came back: it leaves behind those of which that was earlier.
    pub(super) fn renew(&mut self, tenant: &TenantId, date: Date, day: &mut Day) {
        let takes = self.takes(day);
        if takes || !day.entities.is_here() {
            self.count(day);
        }
        if takes {
            self.put_behind(tenant, date, day);
        }
    }

    /// A page of the day came back, and takes so many bytes.
    fn came_back(&mut self, tenant: &TenantId, date: Date, day: &mut Day, bytes: u64) {
        let counted = &mut day.counted.residence;
        (counted.out, counted.bytes) = (counted.out - 1, counted.bytes + bytes);
        (self.out, self.bytes) = (self.out - 1, self.bytes + bytes);
        if self.takes(day) {
            self.put_behind(tenant, date, day);
        }
    }

    /// Has the day leave behind those whose round is earlier.
    fn put_behind(&mut self, tenant: &TenantId, date: Date, day: &mut Day) {
        if day.counted.round == Some(self.round) {
            return;
        }
        if let Some(round) = day.counted.round.replace(self.round) {
            self.queue.remove(&(round, date, tenant.clone()));
        }
        self.queue.insert((self.round, date, tenant.clone()));
    }

    /// The day is no longer part of the state.
    pub(super) fn forget(&mut self, tenant: &TenantId, date: Date, counted: &Counted) {
        self.bytes -= counted.residence.bytes;
        self.out -= counted.residence.out as usize;
        if let Some(round) = counted.round {
            self.queue.remove(&(round, date, tenant.clone()));
        }
    }

    /// Whether pages of the day may have to leave.
    pub(super) fn takes(&self, day: &Day) -> bool {
        self.limit.is_some() && (self.has_open || day.is_closed())
    }

    /// Changes are handed out to be stored.
    pub(super) fn begin_storing(&mut self) {
        self.is_storing = true;
        self.round += 1;
    }

    /// A run of remembered ids is handed out to be stored.
    pub(super) fn stores_run(&mut self, tenant: &TenantId, kind: KindId, start: u32, number: u32) {
        if self.is_limited() {
            self.ids_stored.push((tenant.clone(), kind, start, number));
        }
    }

    /// Whether anything leaves memory.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.bytes > limit)
    }
}

impl PartitionState {
    /// Limits how many bytes entities of closed days may take in memory, about; `None` for no limit. What is beyond it goes when
    /// [`PartitionState::evict`] is called.
    pub fn limit_closed(&mut self, bytes: Option<u64>) {
        let was_limited = self.residency.limit.is_some();
        self.residency.limit = bytes;
        if was_limited || bytes.is_none() {
            return;
        }
        for (id, tenant) in &mut self.tenants {
            for (date, day) in &mut tenant.days {
                self.residency.renew(id, *date, day);
            }
            for (kind, ids) in &tenant.remembered {
                let runs = ids.runs().filter(|(_, run)| run.is_handed_out);
                runs.for_each(|(start, run)| self.residency.stores_run(id, *kind, start, run.number));
            }
        }
    }

    /// The same state, which cuts remembered ids into small pieces: for tests, whose days are small.
    pub fn with_small_ids(mut self) -> Self {
        self.id_cut = SMALL_CUT;
        let ids = self.tenants.values_mut().flat_map(|tenant| tenant.remembered.values_mut());
        ids.for_each(|ids| ids.set_cut(SMALL_CUT));
        self
    }

    /// The same state, of which open days leave memory like closed ones: for tests, in which few days close.
    pub fn with_open_days_limited(mut self) -> Self {
        self.residency.has_open = true;
        self
    }

    /// Everything that checkpoints have handed out so far is on disk.
    pub fn stored(&mut self) {
        self.residency.is_storing = false;
    }

    /// Evicts stored pages of closed days until they take no more than their limit, or until about so many rows have gone. Returns how
    /// many rows went. While a checkpoint is [not on disk](PartitionState::stored), only pages of remembered ids go that came back: those are there.
    pub fn evict(&mut self, rows: usize) -> usize {
        self.evict_ids_here();
        if self.residency.is_storing {
            return 0;
        }
        let mut gone = self.evict_ids();
        while gone < rows
            && self.residency.is_over()
            && let Some((round, date, id)) = self.residency.queue.pop_first()
        {
            let day = self.tenants.get_mut(&id).and_then(|tenant| tenant.days.get_mut(&date));
            let day = day.expect("days that go leave the queue");
            gone += day.entities.evict(rows - gone);
            self.residency.count(day);
            // What could not go has changed, and the day comes back here when that is stored.
            day.counted.round = None;
            if gone >= rows {
                day.counted.round = Some(round);
                self.residency.queue.insert((round, date, id));
            }
        }
        gone
    }

    /// Evicts the pages of remembered ids that came back.
    fn evict_ids_here(&mut self) {
        if !self.residency.is_limited() {
            return;
        }
        for page in std::mem::take(&mut self.residency.ids_here) {
            match page {
                PageId::Entities { tenant, date, page } => {
                    let tenant = self.tenants.get_mut(&tenant);
                    tenant.and_then(|tenant| tenant.leaving.get_mut(&date)).into_iter().for_each(|of| of.evict(page));
                }
                PageId::Ids { tenant, kind, spot } => {
                    let tenant = self.tenants.get_mut(&tenant);
                    let ids = tenant.and_then(|tenant| tenant.remembered.get_mut(&kind));
                    ids.into_iter().for_each(|ids| ids.evict_page(spot));
                }
                PageId::Hashes { .. } => unreachable!("hashes stay"),
            }
        }
    }

    /// Evicts the runs of remembered ids that are stored now, and returns how many rows that is worth: an id is much less than a row.
    fn evict_ids(&mut self) -> usize {
        const IDS_OF_A_ROW: u64 = 16;
        if !self.residency.is_limited() {
            return 0;
        }
        let mut gone = 0;
        for (id, kind, start, number) in std::mem::take(&mut self.residency.ids_stored) {
            let tenant = self.tenants.get_mut(&id);
            let ids = tenant.and_then(|tenant| tenant.remembered.get_mut(&kind));
            gone += ids.map_or(0, |ids| ids.evict_run(start, number));
            self.residency.lacks_ids = true;
        }
        (gone / IDS_OF_A_ROW) as usize
    }

    /// How many ids are remembered, and about how many bytes of memory they take.
    pub fn remembered(&self) -> (u64, u64) {
        let ids = || self.tenants.values().flat_map(|tenant| tenant.remembered.values());
        (ids().map(|ids| ids.days.sums().0).sum(), ids().map(|ids| ids.bytes().1).sum())
    }

    /// How many pages of closed days are out, and about how many bytes the others take; without a limit nothing is counted.
    pub fn closed_residence(&self) -> (usize, u64) {
        (self.residency.out, self.residency.bytes)
    }

    /// The pages that must come back before the batch is applied, which is to be the next one. When they have come it may need others:
    /// hashes tell which pages of entities these are.
    pub fn needs(&self, batch: &Batch) -> BTreeSet<PageId> {
        let mut needs = Needs::default();
        if self.residency.out == 0 && !self.residency.lacks_ids && !self.residency.lacks_hashes {
            return needs.pages;
        }
        // A kind that is defined in this batch may get any of the next numbers, or keep the one it has.
        let changes_kinds = |record: &&Record| {
            matches!(record, Record::Define(Definition::Kind(_) | Definition::Removal(Removal::Kind { .. })))
        };
        let changes = batch.records.iter().filter(changes_kinds).count();
        let coming = (self.models.len()..).map_while(|number| KindId::try_from(number).ok()).take(changes);
        let coming: Vec<KindId> = coming.collect();
        for record in &batch.records {
            match record {
                Record::Events(events) => {
                    let Some(tenant) = self.tenants.get(&events.tenant) else { continue };
                    if !tenant.unread.is_empty() && events.events.iter().any(|event| event.id.is_some()) {
                        needs.hashes(&events.tenant, tenant, Date::MAX);
                        continue;
                    }
                    let known = self.kind_id(&events.kind);
                    let kinds: Vec<KindId> = known.into_iter().chain(coming.iter().copied()).collect();
                    needs.events(&events.tenant, tenant, &kinds, &events.events);
                }
                Record::Define(Definition::Removal(Removal::Kind { name, .. })) => self.needs_of_kind(name, &mut needs),
                Record::Day(marker) if marker.edge == Edge::Closed => {
                    if let Some(tenant) = self.tenants.get(&marker.tenant) {
                        // Ids of days that leave correction are looked up where they were.
                        needs.hashes(&marker.tenant, tenant, marker.day.date.plus(-KEEP_DAYS));
                    }
                }
                Record::Rejected(_) | Record::Day(_) | Record::Define(_) | Record::Restate(_) => {}
            }
        }
        if needs.hash_bytes > 0 {
            // Pages would have to come back once more.
            needs.pages.retain(|page| matches!(page, PageId::Hashes { .. }));
            return needs.pages;
        }
        needs.pages_that_grow(self)
    }

    /// All pages of days that hold entities of a kind.
    fn needs_of_kind(&self, name: &Name, needs: &mut Needs) {
        let Some(kind) = self.kind_id(name) else { return };
        for (id, tenant) in &self.tenants {
            let mut days = tenant.days.iter().filter(|(_, day)| day.kinds.has(kind)).peekable();
            if days.peek().is_some() {
                needs.hashes(id, tenant, Date::MAX);
            }
            days.for_each(|(date, day)| needs.whole_day(id, *date, day));
        }
    }

    /// Brings a page back, as it was stored. One that is here or no longer part of the state changes nothing.
    ///
    /// # Errors
    /// When it is not the page that went: the store is damaged.
    pub fn supply(&mut self, page: &PageId, stored: &[u8]) -> Result<(), RestoreError> {
        match page {
            PageId::Entities { tenant, date, page } => self.supply_entities(tenant, *date, *page, stored),
            PageId::Hashes { tenant: id, date, part } => {
                let tenant = self.tenants.get_mut(id);
                let is_unread = |tenant: &&mut TenantState| tenant.unread.get(date).is_some_and(|of| of.contains(part));
                let Some(tenant) = tenant.map(|tenant| &mut **tenant).filter(is_unread) else { return Ok(()) };
                let summary = tenant.days.get(date).and_then(|day| day.summary.as_ref());
                let hashes = summary.and_then(|summary| summary.read(*part, &page.key(), stored));
                let hashes = hashes.ok_or_else(|| {
                    RestoreError::Row(format!(
                        "row {part} of hashes of {id}'s day {date} is not the one that was stored"
                    ))
                })?;
                tenant.read_hashes(*date, *part, hashes.into_iter());
                Ok(())
            }
            PageId::Ids { tenant: id, kind, spot } => {
                let tenant = self.tenants.get_mut(id);
                let ids = tenant.and_then(|tenant| tenant.remembered.get_mut(kind));
                if !ids.is_none_or(|ids| ids.supply(*spot, stored)) {
                    let what = format!("page {spot:?} of {id}'s ids is not the one that was stored");
                    return Err(RestoreError::Row(what));
                }
                self.residency.ids_here.push(page.clone());
                Ok(())
            }
        }
    }

    fn supply_entities(&mut self, id: &TenantId, date: Date, page: u32, stored: &[u8]) -> Result<(), RestoreError> {
        let Some(tenant) = self.tenants.get_mut(id) else { return Ok(()) };
        if let Some(leaving) = tenant.leaving.get_mut(&date).filter(|leaving| leaving.is_out(page)) {
            leaving.supply(page, page_of_keys(id, date, page, leaving.count(), stored)?);
            self.residency.ids_here.push(PageId::Entities { tenant: id.clone(), date, page });
            return Ok(());
        }
        let day = tenant.days.get_mut(&date);
        let Some(day) = day.filter(|day| day.entities.is_out(page)) else { return Ok(()) };
        let rows = stored_page(id, date, page, stored)?;
        let unsound = |what| RestoreError::Unsound(format!("tenant {id}: {date}: {what}"));
        rows.rows().try_for_each(soundness::check_entity).map_err(unsound)?;
        if !day.entities.supply(page, rows, RowSum::of(&page_key(id, date, page), stored)) {
            return Err(RestoreError::Row(format!("page {page} of {id}'s day {date} is not the one that was stored")));
        }
        let bytes = day.entities.bytes_of(page);
        self.residency.came_back(id, date, day, bytes);
        Ok(())
    }
}

impl PageId {
    /// The key of the row that the page is stored in.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Entities { tenant, date, page } => page_key(tenant, *date, *page),
            Self::Hashes { tenant, date, part } => hash_row_key(tenant, *date, *part),
            Self::Ids { tenant, kind, spot } => id_page_key(tenant, *kind, *spot),
        }
    }
}

/// Pages that must come back.
#[derive(Debug, Default)]
struct Needs {
    pages: BTreeSet<PageId>,
    /// Of rows of hashes among them.
    hash_bytes: u64,
    /// How many entities at most come to days some of whose pages are out.
    coming: BTreeMap<(TenantId, Date), usize>,
}

impl Needs {
    /// Those of events of one kind, whose number is one of these: where the entity may be, and where it goes to.
    fn events(&mut self, id: &TenantId, tenant: &TenantState, kinds: &[KindId], events: &[Event]) {
        for event in events {
            let Some(entity) = &event.id else { continue };
            let is_out = tenant.days.get(&event.date).is_some_and(|day| !day.entities.is_here());
            for kind in kinds {
                let hash = stable_hash(u64::from(*kind), entity.as_bytes());
                for date in tenant.days_of(hash).chain(is_out.then_some(event.date)) {
                    self.page(id, tenant, date, hash);
                }
                if let Some(ids) = tenant.remembered.get(kind) {
                    let page = |spot| PageId::Ids { tenant: id.clone(), kind: *kind, spot };
                    ids.needs(hash, |spot| self.pages.extend([page(spot)]));
                }
            }
            if !is_out {
                continue;
            }
            *self.coming.entry((id.clone(), event.date)).or_default() += 1;
        }
    }

    /// The page of a hash on a day, if it is out.
    fn page(&mut self, id: &TenantId, tenant: &TenantState, date: Date, hash: u64) {
        let of_day = || tenant.days.get(&date)?.entities.out_page(hash);
        let of_leaving = || tenant.leaving.get(&date)?.out_page(hash);
        if let Some(page) = of_day().or_else(of_leaving) {
            self.pages.insert(PageId::Entities { tenant: id.clone(), date, page });
        }
    }

    /// The hashes of days before `before` that are to be read, or the first of them.
    fn hashes(&mut self, id: &TenantId, tenant: &TenantState, before: Date) {
        for (date, parts) in tenant.unread.range(..before) {
            let summary =
                tenant.days[date].summary.as_ref().expect("a day with hashes that are to be read has a summary");
            for part in parts {
                if self.hash_bytes >= HASHES_AT_ONCE {
                    return;
                }
                self.hash_bytes += summary.bytes_of(*part);
                self.pages.insert(PageId::Hashes { tenant: id.clone(), date: *date, part: *part });
            }
        }
    }

    fn whole_day(&mut self, id: &TenantId, date: Date, day: &Day) {
        self.pages.extend(day.entities.out_pages().map(|page| PageId::Entities { tenant: id.clone(), date, page }));
    }

    /// All of them, with every page of the days that may have more pages after the batch.
    fn pages_that_grow(mut self, state: &PartitionState) -> BTreeSet<PageId> {
        for ((id, date), count) in std::mem::take(&mut self.coming) {
            let day = &state.tenants[&id].days[&date];
            if day.entities.may_grow(count) {
                self.whole_day(&id, date, day);
            }
        }
        self.pages
    }
}
