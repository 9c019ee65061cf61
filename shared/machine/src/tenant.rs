//! One tenant: its days, where each entity is, and its figures.

use super::Model;
use super::backfill::Job;
use super::day::Day;
use super::digest::TenantDigest;
use super::entity::{Entity, EntityKey, KindId, event_json};
use super::late;
use super::pages::PageKey;
use super::remembered::leaving::Leaving;
use super::remembered::{Remembered, id_sum};
use super::verdict::{self, Verdict};
use super::whereabouts::Whereabouts;
use super::window::{Cap, Contribution, Windows};
use compact_str::{CompactString, format_compact};
use daybook_contracts::log::Event;
use daybook_contracts::reject::{Code, Original, Reject};
use daybook_contracts::report::{Account, Change};
use daybook_domain::calendar::{CalendarTable, DayClock};
use daybook_domain::catalogue::{LatePolicy, Mode, Season, Status, Tenant};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::{Date, Instant};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a tenant.
#[derive(Clone, Debug)]
pub struct TenantState {
    pub definition: Tenant,
    /// In boxes, for a tree's node has room for eleven, and most tenants have a day or two.
    pub days: BTreeMap<Date, Box<Day>>,
    pub windows: Windows,
    /// The seasons whose windows hold all that they should. Others are being made.
    pub complete_seasons: BTreeSet<Name>,
    /// The first business day as it was when the first day opened or the first event came, whichever was earlier. Later
    /// definitions do not move it, so that a scratch, which knows only the newest, takes the events of old as they were taken.
    pub first_day: Date,
    /// The newest day that has opened.
    pub open_day: Option<Date>,
    /// Days before this one are gone.
    pub expired_before: Date,
    /// The latest time of any event so far; [`Instant::MIN`] when there was none.
    pub latest_at: Instant,
    /// How many entities of each kind are kept. Made anew on restoring.
    kept: Vec<u64>,
    /// Which day holds an entity. Made anew on restoring.
    whereabouts: Whereabouts,
    /// The rows of hashes that are to be read before `whereabouts` are asked, by day and number.
    pub(super) unread: BTreeMap<Date, BTreeSet<u32>>,
    /// Ids of days that can no longer be corrected, by kind.
    pub remembered: BTreeMap<KindId, Remembered>,
    /// Days whose ids are remembered and still on disk as they were there. It is not state which these are.
    pub leaving: BTreeMap<Date, Leaving>,
    /// What it puts into the state's digest, when that was taken last. Not part of the state.
    pub digest: TenantDigest,
}

/// Where an event stands, and what it is seen by.
pub struct Place<'a> {
    pub tenant: &'a TenantId,
    pub position: LogSeq,
    pub inbox: InboxSeq,
    pub model: &'a Model,
    pub kind: KindId,
    /// The tenant's calendar, if it has been recorded.
    pub table: Option<&'a CalendarTable>,
}

/// What taking events in did.
#[derive(Debug, Default)]
pub struct Taken {
    /// The days that changed in any way: an event's, the one its entity left, the one that rejecting views left, the one
    /// to which it was carried.
    pub touched: SmallVec<[Date; 4]>,
    /// Those of them that were sealed before and need a new version.
    pub reseal: BTreeSet<Date>,
    /// The seasons that changed.
    pub seasons: BTreeSet<Name>,
    pub rejects: Vec<Reject>,
    /// How many windows reached the tenant's quota of groups.
    pub filled: u64,
}

impl Taken {
    fn touch(&mut self, date: Date) {
        // Most events are of the day of the one before.
        if self.touched.last() != Some(&date) && !self.touched.contains(&date) {
            self.touched.push(date);
        }
    }

    /// Takes note of what came after.
    pub fn add(&mut self, later: Self) {
        later.touched.into_iter().for_each(|date| self.touch(date));
        self.reseal.extend(later.reseal);
        self.seasons.extend(later.seasons);
        self.rejects.extend(later.rejects);
        self.filled += later.filled;
    }
}

/// The late policies that the views have for a day.
#[derive(Clone, Copy, Debug, Default)]
struct Policies {
    restate: bool,
    carry_forward: bool,
    reject: bool,
}

impl Policies {
    fn of<'p>(plans: impl Iterator<Item = &'p Plan>, date: Date) -> Self {
        let mut policies = Self::default();
        for plan in plans {
            match plan.view.late_on(date) {
                LatePolicy::Restate => policies.restate = true,
                LatePolicy::CarryForward => policies.carry_forward = true,
                LatePolicy::Reject => policies.reject = true,
            }
        }
        // Where no view looks at them, events still change the account of their day.
        policies.restate |= !policies.carry_forward && !policies.reject;
        policies
    }

    fn only_reject(self) -> bool {
        !self.restate && !self.carry_forward
    }
}

impl TenantState {
    pub fn new(definition: Tenant) -> Self {
        let first_day = definition.first_day;
        Self::since(first_day, definition)
    }

    /// A tenant without events whose days begin with `first_day`, whatever its present definition says.
    pub fn since(first_day: Date, definition: Tenant) -> Self {
        // Nothing has happened yet: every season is complete.
        let complete_seasons = definition.seasons.iter().map(|season| season.name.clone()).collect();
        Self {
            definition,
            days: BTreeMap::new(),
            windows: Windows::default(),
            complete_seasons,
            first_day,
            open_day: None,
            expired_before: first_day,
            latest_at: Instant::MIN,
            kept: Vec::new(),
            whereabouts: Whereabouts::default(),
            unread: BTreeMap::new(),
            remembered: BTreeMap::new(),
            leaving: BTreeMap::new(),
            digest: TenantDigest::default(),
        }
    }

    /// Takes a newer definition, and returns the windows of seasons that are no more. A season that is new, or another
    /// than before, is complete only if no event so far can be in it.
    pub fn redefine(&mut self, definition: Tenant) -> Windows {
        let old = std::mem::replace(&mut self.definition, definition);
        self.move_first_day();
        let stays = |season: &&Season| old.seasons.contains(season);
        let complete = |season: &&Season| match stays(season) {
            true => self.complete_seasons.contains(&season.name),
            false => season.from > self.latest_at,
        };
        let seasons = &self.definition.seasons;
        let complete: BTreeSet<Name> = seasons.iter().filter(complete).map(|season| season.name.clone()).collect();
        let same: BTreeSet<Name> = seasons.iter().filter(stays).map(|season| season.name.clone()).collect();
        self.complete_seasons = complete;
        let windows = std::mem::take(&mut self.windows.seasons);
        let (kept, gone) = windows.into_iter().partition(|(name, _)| same.contains(name));
        self.windows.seasons = kept;
        Windows { seasons: gone, ..Windows::default() }
    }

    /// Begins with the first day of the definition, as long as no day has opened. Days that are known already, by rejects or by
    /// an event that came while the definition was on its way, stay.
    fn move_first_day(&mut self) {
        if self.open_day.is_none() && self.days.values().all(|day| day.marker.is_none()) {
            let known = self.days.keys().next().copied();
            self.first_day = known.map_or(self.definition.first_day, |known| known.min(self.definition.first_day));
            self.expired_before = self.first_day;
        }
    }

    /// Whether a season waits for a backfill.
    pub fn is_unfinished(&self) -> bool {
        self.complete_seasons.len() < self.definition.seasons.len()
    }

    /// Takes back that a season is complete, and returns its windows.
    pub fn reopen_season(&mut self, season: &Name) -> Windows {
        self.complete_seasons.remove(season);
        Windows { seasons: self.windows.seasons.remove_entry(season).into_iter().collect(), ..Windows::default() }
    }

    /// The closed days whose next report version waits for a mark.
    pub fn restating(&self) -> impl Iterator<Item = Date> {
        self.days.iter().filter(|(_, day)| day.is_restating).map(|(date, _)| *date)
    }

    /// The newest open day, or the first one before any has opened.
    pub fn current_day(&self) -> Date {
        self.open_day.unwrap_or(self.first_day)
    }

    /// The day that takes what comes too late for its own: the newest one that opened, or, should that have closed, the
    /// next.
    fn carrying_day(&self) -> Date {
        let mut date = self.current_day().max(self.expired_before);
        while self.has_closed(date) {
            date = date.next();
        }
        date
    }

    /// Whether nothing of that day may change without being late.
    pub fn has_closed(&self, date: Date) -> bool {
        date < self.expired_before || self.days.get(&date).is_some_and(|day| day.is_closed())
    }

    /// The day of that date, made if it is not there.
    pub fn day(&mut self, date: Date, position: LogSeq) -> &mut Day {
        self.days.entry(date).or_insert_with(|| Box::new(Day::new(position)))
    }

    /// Whether it is a fact without an id, of a day that is neither closed nor, where that is limited, ahead of the open one.
    /// Such an event has no earlier version, and is neither late nor refused.
    pub fn is_plain(&self, event: &Event) -> bool {
        event.id.is_none() && !self.has_closed(event.date) && !(self.limits_ahead() && event.date > self.current_day())
    }

    /// Whether the open day limits how far ahead events may be. For the system clock the time of publishing does, and ingest
    /// has judged that.
    fn limits_ahead(&self) -> bool {
        self.definition.max_ahead_ms.is_some() && !self.definition.is_by_system_clock()
    }

    /// The end of the open day and the latest time of an event then, where that is limited.
    fn furthest(&self, table: Option<&CalendarTable>) -> Option<(Instant, Instant)> {
        let open = self.open_day.filter(|_| self.limits_ahead())?;
        let closes_at = self.opens_at(open.next(), table)?;
        Some((closes_at, closes_at.after(self.definition.max_ahead()?)))
    }

    /// Takes events of one day in that are [plain](TenantState::is_plain): as [`TenantState::take`] does one by one, but
    /// view after view, each of which adds them to one window.
    pub fn take_plain(&mut self, place: &Place<'_>, jobs: &mut [Job], events: &[Event], taken: &mut Taken) {
        let date = events[0].date;
        let drafts = events.iter().filter(|event| event.status == Status::Draft).count() as u64;
        let account = &mut self.day(date, place.position).account;
        account.published += events.len() as u64;
        account.open_drafts(drafts);
        account.counted += events.len() as u64 - drafts;
        self.latest_at = events.iter().fold(self.latest_at, |latest, event| latest.max(event.at));
        taken.touch(date);

        let clock = |date| day_clock(&self.days, place.table, date);
        let cap = self.definition.quotas.groups.map(|groups| Cap { groups, position: place.position });
        let complete = self.definition.seasons.iter().filter(|season| self.complete_seasons.contains(&season.name));
        let changes = || events.iter().map(|event| late::Change::in_time(date, event.into()));
        for plan in place.model.plans().filter(|plan| plan.view.is_for(place.tenant)) {
            taken.filled += u64::from(self.windows.add_to_day(plan, date, events, clock, cap));
            if !self.complete_seasons.is_empty() {
                for change in changes() {
                    let touched = self.windows.change_seasons(plan, &change, complete.clone());
                    taken.seasons.extend(touched.into_iter().cloned());
                }
            }
        }
        for job in jobs {
            changes().for_each(|change| job.change(place.tenant, &place.model.kind.name, &change, clock));
        }
    }

    /// Takes one valid event in: exactly one disposition is counted for it.
    pub fn take(&mut self, place: &Place<'_>, jobs: &mut [Job], event: &Event, taken: &mut Taken) {
        if event.date < self.expired_before {
            return self.refuse_expired(place, event, taken);
        }
        if let Some((closes_at, furthest)) = self.furthest(place.table)
            && event.at > furthest
        {
            return self.refuse_ahead(place, event, closes_at, taken);
        }
        let date = event.date;
        self.latest_at = self.latest_at.max(event.at);
        let day = self.day(date, place.position);
        day.account.published += 1;
        let is_closed = day.is_closed();
        taken.touch(date);
        let Some(id) = event.id.clone() else {
            return self.accept(place, jobs, None, event, (0, is_closed), taken);
        };
        let key = EntityKey { kind: place.kind, id };
        let hash = key.page_hash();
        let known = self.find(hash, &key);
        if known.is_none()
            && let Some(on) = self.remembered_on(hash, &key)
        {
            return self.refuse_remembered(place, event, on, taken);
        }
        if let Some(quota) = self.definition.quotas.entities
            && known.is_none()
            && self.kept(key.kind) >= quota
        {
            return self.refuse_another(place, event, quota, taken);
        }
        let known_on = known.map(|(date, _)| date);
        match verdict::judge(place.model.kind.mode, known.map(|(_, entity)| entity), event) {
            Verdict::Accept { version } => {
                self.accept(place, jobs, Some((key, hash, known_on)), event, (version, is_closed), taken);
            }
            Verdict::Duplicate => self.account(date).duplicate += 1,
            Verdict::Stale { known } => {
                self.account(date).stale += 1;
                let reason = format!(
                    "version {} of {:?} came after version {known}; the newer one stays",
                    event.version.unwrap_or_default(),
                    key.id
                );
                taken.rejects.push(reject(place, event, Code::StaleVersion, reason));
            }
            Verdict::Conflict { version } => {
                self.account(date).rejected += 1;
                let reason = verdict::conflict(place.model.kind.mode, &key.id, version);
                taken.rejects.push(reject(place, event, Code::VersionConflict, reason));
            }
        }
    }

    /// Puts a fact, or the new version of an entity, with its hash and the day it has been in, into the figures. The day of
    /// the event may have closed.
    fn accept(
        &mut self,
        place: &Place<'_>,
        jobs: &mut [Job],
        entity: Option<(EntityKey, u64, Option<Date>)>,
        event: &Event,
        (version, into_closed): (u64, bool),
        taken: &mut Taken,
    ) {
        let known_on = entity.as_ref().and_then(|(_, _, known_on)| *known_on);
        let date = event.date;
        let old = entity.as_ref().and_then(|(key, hash, known_on)| {
            let day = &self.days[known_on.as_ref()?];
            let old = day.entities.find(*hash, |known| known == key);
            Some(((*known_on)?, old.expect("the index names the day that holds it")))
        });
        let held_on = old.and_then(|(on, old)| match &old.held {
            None => Some(on),
            Some(held) => held.version.as_ref().map(|(date, _)| *date),
        });
        let from_closed = known_on.is_some_and(|on| self.has_closed(on));
        let change = late::Change {
            old,
            new: (date, event.into()),
            from_closed,
            into_closed,
            held_closed: held_on.is_some_and(|on| self.has_closed(on)),
            // Nothing is carried into it otherwise.
            open: if from_closed || into_closed { self.carrying_day() } else { date },
        };
        let plans = || place.model.plans().filter(|plan| plan.view.is_for(place.tenant));
        // An event that comes late for its own day has the disposition that its views give it there.
        let late_for = if into_closed { date } else { known_on.unwrap_or(date) };
        let policies = Policies::of(plans(), late_for);
        // What is held may be on a day that is gone.
        let held_on = held_on.filter(|on| self.days.contains_key(on));
        known_on.into_iter().chain(held_on).for_each(|on| taken.touch(on));

        // The figures.
        let (days, table) = (&self.days, place.table);
        let clock = |date| day_clock(days, table, date);
        let cap = self.definition.quotas.groups.map(|groups| Cap { groups, position: place.position });
        let mut left_figures = false;
        let mut carried = false;
        for plan in plans() {
            let contributions = self.windows.change_days(plan, &change, clock, cap);
            taken.filled += contributions.iter().filter(|did| **did == Contribution::Filled).count() as u64;
            let [left, entered] = contributions.map(|did| did != Contribution::None);
            let is_carried = |on: Date| plan.view.late_on(on) == LatePolicy::CarryForward;
            let from = known_on.unwrap_or(date);
            left_figures |= left && plan.view.late_on(from) == LatePolicy::Restate;
            carried |= left && change.from_closed && is_carried(from);
            carried |= entered && change.into_closed && is_carried(date);
            if !self.complete_seasons.is_empty() {
                let complete = &self.complete_seasons;
                let seasons = self.definition.seasons.iter().filter(|season| complete.contains(&season.name));
                taken.seasons.extend(self.windows.change_seasons(plan, &change, seasons).into_iter().cloned());
            }
        }
        for job in jobs {
            job.change(place.tenant, &place.model.kind.name, &change, clock);
        }

        // The account, and what must be told.
        let (is_late, is_refused, open) = (change.is_late(), change.is_refused(), change.open);
        let held = change.held_after();
        let closed_draft = old.filter(|(_, old)| old.is_pending()).map(|(on, _)| on);
        let mut is_set_aside = false;
        let day = self.days.get_mut(&date).expect("made when the event was taken");
        let account = &mut day.account;
        match (is_late, policies) {
            (_, policies) if policies.only_reject() && is_refused => {
                account.rejected += 1;
                is_set_aside = event.status == Status::Draft;
                let what = if into_closed { date } else { known_on.unwrap_or(date) };
                let reason = format!(
                    "business day {what} has closed, and the views of {} do not take late changes; publish the difference as an event \
                     of its own, with another id and a time of the open day {open}",
                    place.model.kind.name
                );
                taken.rejects.push(reject(place, event, Code::Late, reason));
            }
            (true, Policies { restate: false, carry_forward: true, .. }) => {
                account.carried += 1;
                is_set_aside = event.status == Status::Draft;
            }
            _ if event.status == Status::Draft => account.open_drafts(1),
            _ => account.counted += 1,
        }
        if into_closed && policies.restate {
            let what = if entity.is_some() { event.status.as_str() } else { "fact" };
            day.note(note(place, event, &format_compact!("late {what}")));
            taken.reseal.insert(date);
        }
        if let Some(on) = known_on.filter(|on| *on != date && from_closed && left_figures) {
            let old_day = self.days.get_mut(&on).expect("the index names days that are kept");
            old_day.note(note(place, event, &format_compact!("moved to {date}")));
            taken.reseal.insert(on);
        }
        if carried {
            let from = if into_closed { date } else { known_on.unwrap_or(date) };
            self.day(open, place.position).note(note(place, event, &format_compact!("carried from {from}")));
            taken.touch(open);
        }

        if let Some(on) = closed_draft {
            self.account(on).close_draft();
        }

        // Where the entity is now.
        if let Some((key, hash, _)) = entity {
            if let Some(on) = known_on.filter(|on| *on != date) {
                let left = self.days.get_mut(&on).expect("the index names days that are kept");
                left.entities.take(hash, |known| *known == key);
                self.forget(place.kind, hash, on);
            }
            let day = self.days.get_mut(&date).expect("made when the event was taken");
            day.entities.put(hash, key, Entity { held, is_set_aside, ..Entity::of(event, version) });
            if known_on != Some(date) {
                self.remember(place.kind, hash, date);
            }
        }
    }

    /// Rejects an event whose day can no longer be corrected.
    fn refuse_expired(&mut self, place: &Place<'_>, event: &Event, taken: &mut Taken) {
        let reason = format!(
            "business day {} takes no corrections any more: they reach back {} days, to {}; publish the difference as an event of its \
             own, with another id and a time of the open day {}. For history, define a tenant with a clock of its own, replay the \
             history by that clock, then change to `clock: system`",
            event.date,
            super::KEEP_DAYS,
            self.expired_before,
            self.carrying_day()
        );
        self.refuse(place, event, Code::DayExpired, reason, taken);
    }

    /// Rejects an event whose id belongs to a day that can no longer be corrected.
    fn refuse_remembered(&mut self, place: &Place<'_>, event: &Event, on: Date, taken: &mut Taken) {
        self.account(event.date).rejected += 1;
        let reason = format!(
            "{:?} is of business day {on}, which takes no corrections any more: they reach back {} days, to {}; publish the difference as \
             an event of its own, with another id and a time of the open day {}",
            event.id.as_deref().unwrap_or_default(),
            super::KEEP_DAYS,
            self.expired_before,
            self.carrying_day()
        );
        let reject = reject(place, event, Code::DayExpired, reason);
        taken.rejects.push(Reject { field: Some("id".to_owned()), ..reject });
    }

    /// Rejects an event that is too far ahead of the open day.
    fn refuse_ahead(&mut self, place: &Place<'_>, event: &Event, closes_at: Instant, taken: &mut Taken) {
        let reason = format!(
            "{} is more than {} s ahead of {closes_at}, the end of the open business day; drive the clock {} on first, or raise \
             max_ahead of tenant {}",
            event.at,
            self.definition.max_ahead().unwrap_or_default().as_secs(),
            self.definition.clock,
            place.tenant
        );
        self.refuse(place, event, Code::TooFarAhead, reason, taken);
    }

    /// Rejects an event of a day that takes nothing, and counts it on the open day, so that the account does not lose it.
    fn refuse(&mut self, place: &Place<'_>, event: &Event, code: Code, reason: String, taken: &mut Taken) {
        let current = self.current_day().max(self.expired_before);
        let account = &mut self.day(current, place.position).account;
        account.published += 1;
        account.rejected += 1;
        taken.touch(current);
        taken.rejects.push(reject(place, event, code, reason));
    }

    /// It would be one entity more than the tenant may have. A scratch judges alike, for it knows the entities of the kinds
    /// that it reads, and the quotas as they came with the log.
    fn refuse_another(&mut self, place: &Place<'_>, event: &Event, quota: u64, taken: &mut Taken) {
        self.account(event.date).rejected += 1;
        let reason = format!(
            "the tenant has {quota} entities of {}, as many as its quota allows; corrections of those are taken in. \
             Wait until older days expire, or have the quota raised",
            place.model.kind.name
        );
        taken.rejects.push(reject(place, event, Code::QuotaEntities, reason));
    }

    fn account(&mut self, date: Date) -> &mut Account {
        &mut self.days.get_mut(&date).expect("made when the event was taken").account
    }

    /// When a day opens: by its marker, or by the calendar before that has come.
    pub fn opens_at(&self, date: Date, table: Option<&CalendarTable>) -> Option<Instant> {
        self.clock(date, table).map(|day| day.opens_at)
    }

    /// What the hours of a day are counted by.
    pub fn clock<'t>(&self, date: Date, table: Option<&'t CalendarTable>) -> Option<DayClock<'t>> {
        day_clock(&self.days, table, date)
    }

    /// The entity, which has that hash, and the day that holds it.
    pub fn find(&self, hash: u64, key: &EntityKey) -> Option<(Date, &Entity)> {
        let entity = |date: Date| Some((date, self.days.get(&date)?.entities.find(hash, |known| known == key)?));
        self.days_of(hash).find_map(entity)
    }

    /// The days that may hold an entity with that hash, each once.
    pub(super) fn days_of(&self, hash: u64) -> impl Iterator<Item = Date> {
        assert!(self.unread.is_empty(), "all hashes are read before anyone asks where an entity is");
        let span = || {
            let first = self.days.keys().next().into_iter().chain(self.leaving.keys().next()).min()?;
            let last = self.days.keys().next_back().into_iter().chain(self.leaving.keys().next_back()).max()?;
            Some((*first, *last))
        };
        self.whereabouts.days(hash, span)
    }

    /// How many entities of the kind are kept.
    fn kept(&self, kind: KindId) -> u64 {
        self.kept.get(usize::from(kind)).copied().unwrap_or(0)
    }

    /// Takes note that the day holds one entity more.
    fn remember(&mut self, kind: KindId, hash: u64, date: Date) {
        count_kept(&mut self.kept, kind, 1);
        self.whereabouts.add(hash, date);
        let day = self.days.get_mut(&date).expect("the day that holds it");
        day.kinds.add(kind, id_sum(hash, date));
        day.summary.iter_mut().for_each(|summary| summary.add(hash));
    }

    /// Takes the hashes of a row in, that were to be read.
    pub(super) fn read_hashes(&mut self, date: Date, part: u32, hashes: impl Iterator<Item = u64>) {
        let Some(parts) = self.unread.get_mut(&date) else { return };
        if parts.remove(&part) {
            hashes.for_each(|hash| self.whereabouts.add(hash, date));
        }
        if parts.is_empty() {
            self.unread.remove(&date);
        }
    }

    /// Takes note that the day no longer holds an entity.
    pub(super) fn forget(&mut self, kind: KindId, hash: u64, date: Date) {
        self.kept[usize::from(kind)] -= 1;
        self.whereabouts.remove(hash, date);
        self.days.get_mut(&date).expect("the day that held it").kinds.remove(kind, id_sum(hash, date));
    }

    /// Takes a day out, with its entities; its windows are the caller's to take, and what is known of where entities are.
    pub(super) fn take_day(&mut self, date: Date) -> Day {
        assert!(!self.unread.contains_key(&date), "the hashes of a day are read before it leaves correction");
        let day = self.days.remove(&date).expect("a day that is kept");
        for of in day.kinds.iter() {
            self.kept[usize::from(of.kind)] -= of.count;
        }
        *day
    }

    /// Forgets that entities are on a day that was taken out.
    pub(super) fn forget_whereabouts_of(&mut self, date: Date, day: &Day) {
        if !day.entities.is_empty() {
            self.forget_whereabouts(date);
        }
    }

    /// Forgets that entities are on a day that is no more.
    pub(super) fn forget_whereabouts(&mut self, date: Date) {
        // Where another day cannot be told from it, what is known too much does no harm.
        let mut others = self.days.keys().chain(self.leaving.keys());
        if !others.any(|other| Whereabouts::are_alike(*other, date)) {
            self.whereabouts.remove_day(date);
        }
    }

    /// Forgets that an entity with that hash is on that day.
    pub(super) fn forget_mark(&mut self, hash: u64, date: Date) {
        self.whereabouts.remove(hash, date);
    }

    /// Puts a day that was restored in, with the kinds of its entities counted. `whereabouts` of all restored days come
    /// [at once](TenantState::restore_whereabouts).
    pub(super) fn restore_day(&mut self, date: Date, day: Day) {
        day.kinds.iter().for_each(|of| count_kept(&mut self.kept, of.kind, of.count));
        self.days.insert(date, Box::new(day));
    }

    pub(super) fn restore_whereabouts(&mut self, whereabouts: Whereabouts) {
        self.whereabouts = whereabouts;
    }
}

fn count_kept(kept: &mut Vec<u64>, kind: KindId, count: u64) {
    let kind = usize::from(kind);
    if kept.len() <= kind {
        kept.resize(kind + 1, 0);
    }
    kept[kind] += count;
}

fn day_clock<'t>(
    days: &BTreeMap<Date, Box<Day>>,
    table: Option<&'t CalendarTable>,
    date: Date,
) -> Option<DayClock<'t>> {
    let marked = days.get(&date).and_then(|day| day.marker.as_ref()).map(|marker| marker.day);
    let opens_at = marked.or_else(|| table?.day(date))?.opens_at;
    Some(DayClock { date, opens_at, offsets: table.map_or(&[], |table| &table.offsets) })
}

fn note(place: &Place<'_>, event: &Event, what: &str) -> Change {
    Change {
        kind: place.model.kind.name.clone(),
        id: event.id.clone(),
        inbox: place.inbox,
        index: event.index,
        what: CompactString::new(what),
    }
}

/// The field that a reject of the shard is about.
fn field_at_fault(code: Code, mode: Mode) -> Option<&'static str> {
    match (code, mode) {
        (Code::StaleVersion, _) | (Code::VersionConflict, Mode::Entity) => Some("version"),
        // A fact has no versions: its id is known with other content.
        (Code::VersionConflict, Mode::Fact) | (Code::QuotaEntities, _) => Some("id"),
        (Code::Late | Code::DayExpired | Code::TooFarAhead, _) => Some("at"),
        _ => None,
    }
}

fn reject(place: &Place<'_>, event: &Event, code: Code, reason: String) -> Reject {
    Reject {
        code,
        reason,
        tenant: place.tenant.to_string(),
        kind: place.model.kind.name.to_string(),
        inbox: place.inbox,
        index: event.index,
        field: field_at_fault(code, place.model.kind.mode).map(str::to_owned),
        date: Some(event.date),
        original: Original::new(&event_json(event, &place.model.kind)),
        span: None,
    }
}
