//! The naive model: the list of everything that happened, from which each answer is worked out anew. It shares no
//! code with the state machine but the wire types; what views mean is in [`super::specs`].

use super::fixtures::*;
use super::specs::{Cells, Contribution, Spec, channel_spec, dimension, measure, specs};
use crate::KEEP_DAYS;
use daybook_contracts::ask::DayState;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Event, Record};
use daybook_contracts::report::Account;
use daybook_domain::catalogue::{Activation, Definition, LatePolicy, Season, Status, Tenant, View};
use daybook_domain::ids::TenantId;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// One thing that happened, at a place in the log.
#[derive(Clone, Debug)]
struct Entry {
    inbox: u64,
    what: Happening,
}

#[derive(Clone, Debug)]
enum Happening {
    Event {
        tenant: TenantId,
        kind: String,
        event: Event,
    },
    Reject {
        tenant: String,
        date: Option<Date>,
    },
    Marker(DayMarker),
    Tenant(Tenant),
    /// For how long its ids are remembered.
    Kind {
        kind: String,
        remember: Option<u16>,
    },
    View(View),
    Activation(Activation),
    Restate(Option<TenantId>),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Counted,
    Pending,
    Duplicate,
    Stale,
    Carried,
    Rejected,
}

/// An event put into a day, or taken out of it.
#[derive(Clone, Copy, Debug)]
struct Posting {
    sign: i64,
    entry: usize,
    date: Date,
    is_adjustment: bool,
}

/// What an event that was accepted did.
#[derive(Clone, Debug, Default)]
struct Deed {
    /// By policy, in the order of [`LatePolicy::ALL`].
    days: [Vec<Posting>; 3],
    /// The events put into, and taken out of, seasons.
    seasons: [Vec<(i64, usize)>; 3],
    /// What rejecting views hold of its entity from then on.
    held: Option<usize>,
    /// Closed days of which it makes a new version, and what is noted of it with any day's next version.
    changed: Vec<Date>,
    notes: Vec<(Date, Note)>,
    /// The day to which any view's figures were carried.
    carried_to: Option<Date>,
}

/// What became of an entry.
#[derive(Clone, Debug)]
struct Fate {
    /// The day on whose account it stands.
    booked: Date,
    disposition: Disposition,
    version: u64,
    /// If the event was accepted.
    deed: Option<Deed>,
}

/// What a report says about a late event: from which day it was carried, if it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Changed,
    CarriedFrom(Date),
}

/// A report version that the rules demand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) tenant: TenantId,
    pub(super) date: Date,
    /// How many entries its figures rest on.
    pub(super) entries: usize,
    pub(super) account: Account,
    /// INBOX sequence and index of the events that it names, and how.
    pub(super) changes: Vec<(u64, u32, Note)>,
}

/// A day as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelDay {
    pub(super) state: DayState,
    pub(super) account: Account,
}

/// The views as they stand behind an entry.
#[derive(Clone, Debug, Default)]
struct Views {
    in_force: BTreeMap<String, Spec>,
    pending: BTreeMap<String, Spec>,
}

/// Everything that happened. All tenants begin with day 0.
pub(super) struct Model {
    specs: Vec<Spec>,
    entries: Vec<Entry>,
    fates: Vec<Option<Fate>>,
    views: Vec<Rc<Views>>,
    /// Days that are there because a view came into force that has figures on them.
    made: Vec<(TenantId, Date)>,
    /// Seasons that were complete when they were defined, as far as no view came into force since.
    complete: BTreeSet<(TenantId, String)>,
    /// How many entries stood below each day's last version.
    sealed: BTreeMap<(TenantId, Date), usize>,
    /// Closed days that have changed and wait for a mark.
    waiting: BTreeSet<(TenantId, Date)>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            specs: [specs(), vec![channel_spec()]].concat(),
            entries: Vec::new(),
            fates: Vec::new(),
            views: Vec::new(),
            made: Vec::new(),
            complete: BTreeSet::new(),
            sealed: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// The names of all views that a history may have.
    pub(super) fn every_view() -> BTreeSet<String> {
        Self::new().specs.iter().map(|spec| spec.view.name.to_string()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn standing(&self, upto: usize) -> Rc<Views> {
        upto.checked_sub(1).map(|last| self.views[last].clone()).unwrap_or_default()
    }

    /// The views that are in force for the tenant behind the first `upto` entries.
    pub(super) fn views(&self, tenant: &TenantId, upto: usize) -> Vec<Spec> {
        let views = self.standing(upto);
        views.in_force.values().filter(|spec| spec.view.is_for(tenant)).cloned().collect()
    }

    /// Revisions in force and pending, by view.
    pub(super) fn revisions(&self) -> BTreeMap<String, (u64, Option<u64>)> {
        let views = self.standing(self.len());
        let names = views.in_force.keys().chain(views.pending.keys());
        let revision = |spec: &Spec| spec.view.revision;
        names
            .map(|name| {
                let active = views.in_force.get(name).map_or(0, revision);
                (name.clone(), (active, views.pending.get(name).map(revision)))
            })
            .collect()
    }

    pub(super) fn is_pending_for(&self, view: &str, tenant: &TenantId) -> bool {
        self.standing(self.len()).pending.get(view).is_some_and(|spec| spec.view.is_for(tenant))
    }

    pub(super) fn push(&mut self, record: &Record) {
        let happenings: Vec<(u64, Happening)> = match record {
            Record::Events(run) => {
                let happening = |event: &Event| Happening::Event {
                    tenant: run.tenant.clone(),
                    kind: run.kind.to_string(),
                    event: event.clone(),
                };
                run.events.iter().map(|event| (run.inbox.0, happening(event))).collect()
            }
            Record::Rejected(reject) => {
                vec![(reject.inbox.0, Happening::Reject { tenant: reject.tenant.clone(), date: reject.date })]
            }
            Record::Day(marker) => vec![(0, Happening::Marker(marker.clone()))],
            Record::Define(Definition::View(view)) => vec![(0, Happening::View(view.clone()))],
            Record::Define(Definition::Tenant(tenant)) => vec![(0, Happening::Tenant(tenant.clone()))],
            Record::Define(Definition::Kind(kind)) => {
                vec![(0, Happening::Kind { kind: kind.name.to_string(), remember: kind.remember })]
            }
            Record::Define(Definition::Activation(activation)) => vec![(0, Happening::Activation(activation.clone()))],
            Record::Define(_) => vec![(0, Happening::Other)],
            Record::Restate(mark) => vec![(0, Happening::Restate(mark.tenant.clone()))],
        };
        for (inbox, what) in happenings {
            let index = self.entries.len();
            self.define_seasons(&what);
            self.entries.push(Entry { inbox, what });
            let fate = self.fate(index);
            self.fates.push(fate);
            let views = self.views_behind(index);
            self.views.push(views);
            self.note_activation(index);
        }
    }

    // --- definitions ---

    /// The views behind an entry, by those before it.
    fn views_behind(&self, index: usize) -> Rc<Views> {
        let before = self.standing(index);
        let mut views = Views::clone(&before);
        match &self.entries[index].what {
            Happening::View(view) => {
                let mut spec =
                    self.specs.iter().find(|spec| spec.view.computes_as(view)).expect("a known view").clone();
                spec.view = view.clone();
                let text = view.name.to_string();
                views.pending.remove(&text);
                let active = before.in_force.get(&text);
                if !self.had_events_of(view.kind.as_str(), index)
                    || active.is_some_and(|active| self.only_adds_idle_tenants(&active.view, view, index))
                {
                    views.in_force.insert(text, spec);
                } else {
                    // Days that close until then are late by the policies of what is to come.
                    let may_follow =
                        active.is_some_and(|active| self.agrees_on_days_over(&active.view, view, &active.view, index));
                    if let Some(active) = views.in_force.get_mut(&text).filter(|_| may_follow) {
                        (active.view.late, active.view.late_changes) = (view.late, view.late_changes.clone());
                    }
                    views.pending.insert(text, spec);
                }
            }
            Happening::Activation(activation) => {
                let text = activation.view.to_string();
                match views.pending.remove(&text) {
                    Some(spec) if spec.view.revision == activation.revision => {
                        views.in_force.insert(text, spec);
                    }
                    Some(other) => {
                        views.pending.insert(text, other);
                    }
                    None => {}
                }
            }
            _ => return before,
        }
        Rc::new(views)
    }

    fn had_events_of(&self, kind: &str, upto: usize) -> bool {
        self.entries[..upto].iter().any(|entry| matches!(&entry.what, Happening::Event { kind: of, .. } if of == kind))
    }

    fn only_adds_idle_tenants(&self, active: &View, new: &View, upto: usize) -> bool {
        let mut tenants = self.entries[..upto].iter().filter_map(|entry| match &entry.what {
            Happening::Tenant(tenant) => Some(&tenant.id),
            _ => None,
        });
        // Another policy for days that have not closed is none yet.
        let with_late = View { late: new.late, late_changes: new.late_changes.clone(), ..active.clone() };
        let is_dated = !active.late_changes.is_empty() || !new.late_changes.is_empty();
        let is_unused = self.agrees_on_days_over(active, new, new, upto);
        (active.computes_as(new) || is_dated && is_unused && with_late.computes_as(new))
            && tenants.all(|id| !new.is_for(id) || active.is_for(id) || self.latest_at(id, upto).is_none())
    }

    /// Whether two views treat what is late for days that are over alike, for the tenants of `whose`.
    fn agrees_on_days_over(&self, active: &View, new: &View, whose: &View, upto: usize) -> bool {
        let mut known = self.entries[..upto].iter().filter_map(|entry| match &entry.what {
            Happening::Tenant(tenant) => Some(&tenant.id),
            _ => None,
        });
        known.all(|id| {
            let mut over = (0..400).map(date).filter(|date| self.is_over(id, *date, upto));
            !whose.is_for(id) || over.all(|date| active.late_on(date) == new.late_on(date))
        })
    }

    /// The latest time of any of the tenant's events that were of a day that was kept.
    fn latest_at(&self, tenant: &TenantId, upto: usize) -> Option<Instant> {
        let at = |(index, entry): (usize, &Entry)| match &entry.what {
            Happening::Event { tenant: of, event, .. } if of == tenant => {
                (event.date >= self.expired_before(tenant, index)).then_some(event.at)
            }
            _ => None,
        };
        self.entries[..upto].iter().enumerate().filter_map(at).max()
    }

    pub(super) fn seasons(&self, tenant: &TenantId) -> Vec<Season> {
        let of = |entry: &Entry| match &entry.what {
            Happening::Tenant(definition) if definition.id == *tenant => Some(definition.seasons.clone()),
            _ => None,
        };
        self.entries.iter().rev().find_map(of).unwrap_or_default()
    }

    fn define_seasons(&mut self, what: &Happening) {
        let Happening::Tenant(tenant) = what else { return };
        let (known, latest_at) = (self.seasons(&tenant.id), self.latest_at(&tenant.id, self.len()));
        for season in tenant.seasons.iter().filter(|season| !known.contains(season)) {
            let key = (tenant.id.clone(), season.name.to_string());
            match latest_at.is_none_or(|latest_at| season.from > latest_at) {
                true => self.complete.insert(key),
                false => self.complete.remove(&key),
            };
        }
    }

    /// Whether the season was complete from its definition on.
    pub(super) fn is_complete(&self, tenant: &TenantId, season: &Season) -> bool {
        self.complete.contains(&(tenant.clone(), season.name.to_string()))
    }

    /// The days that a view brings with it when it comes into force.
    fn note_activation(&mut self, index: usize) {
        let Happening::Activation(Activation { view, .. }) = &self.entries[index].what else { return };
        let revision = |upto: usize| self.standing(upto).in_force.get(view.as_str()).map(|spec| spec.view.revision);
        if revision(index) == revision(index + 1) {
            return;
        }
        let spec = self.standing(index + 1).in_force[view.as_str()].clone();
        let mut made = Vec::new();
        for tenant in ["ABQ", "JFK"].map(tenant_id) {
            let dates: BTreeSet<Date> = self.postings(&spec, &tenant, index).map(|posting| posting.date).collect();
            for date in dates.into_iter().filter(|_| spec.view.is_for(&tenant)) {
                let has_rows =
                    !spec.view.group_by.is_empty() && !self.rows(&spec, &tenant, &[date], true, index).is_empty();
                let has_total = spec.view.group_by.is_empty() && self.has_any(&spec, &tenant, date, index);
                if has_rows || has_total || self.adjustments(&spec, &tenant, date, index) > 0 {
                    made.push((tenant.clone(), date));
                }
            }
        }
        self.made.extend(made);
        self.complete.clear();
    }

    /// Whether anything is left of what was put into the view on that day.
    fn has_any(&self, spec: &Spec, tenant: &TenantId, date: Date, upto: usize) -> bool {
        let mut net: BTreeMap<usize, i64> = BTreeMap::new();
        for posting in self.postings(spec, tenant, upto).filter(|posting| posting.date == date) {
            if spec.takes(self.event(posting.entry).1) {
                *net.entry(posting.entry).or_default() += posting.sign;
            }
        }
        net.values().any(|net| *net != 0)
    }

    // --- events ---

    fn fate(&self, index: usize) -> Option<Fate> {
        let plain = |booked, disposition| Some(Fate { booked, disposition, version: 0, deed: None });
        let (tenant, kind, event) = match &self.entries[index].what {
            Happening::Event { tenant, kind, event } => (tenant, kind, event),
            Happening::Reject { tenant, date } => {
                let tenant = TenantId::new(tenant).ok().filter(|tenant| ["ABQ", "JFK"].contains(&tenant.as_str()))?;
                let booked = date.unwrap_or_else(|| self.current_day(&tenant, index));
                return plain(booked.max(self.expired_before(&tenant, index)), Disposition::Rejected);
            }
            _ => return None,
        };
        let expired_before = self.expired_before(tenant, index);
        if event.date < expired_before {
            return plain(self.current_day(tenant, index).max(expired_before), Disposition::Rejected);
        }
        let Some(known) = self.known(index, tenant, kind, event) else {
            if self.is_remembered(index, tenant, kind, event) {
                return plain(event.date, Disposition::Rejected);
            }
            let quota = self.quotas(tenant, index).entities.filter(|_| event.id.is_some());
            if quota.is_some_and(|quota| self.kept(index, tenant, kind) >= quota) {
                return plain(event.date, Disposition::Rejected);
            }
            return Some(self.accept(index, None, event.version.unwrap_or(0)));
        };
        let (_, old) = self.event(known);
        let known_version = self.fates[known].as_ref().expect("an accepted event").version;
        let same = says_the_same(old, event);
        let is_newer = event.version.is_none_or(|version| version > known_version);
        let is_older = event.version.is_some_and(|version| version < known_version);
        let disposition = match (kind == "click", same) {
            (true, true) => Disposition::Duplicate,
            (true, false) => Disposition::Rejected,
            (false, true) if event.version.is_none() => Disposition::Duplicate,
            (false, _) if is_newer => {
                return Some(self.accept(index, Some(known), event.version.unwrap_or(known_version + 1)));
            }
            (false, _) if is_older => Disposition::Stale,
            (false, true) => Disposition::Duplicate,
            (false, false) => Disposition::Rejected,
        };
        plain(event.date, disposition)
    }

    fn quotas(&self, tenant: &TenantId, upto: usize) -> Quotas {
        let of = |entry: &Entry| match &entry.what {
            Happening::Tenant(definition) if definition.id == *tenant => Some(definition.quotas),
            _ => None,
        };
        self.entries[..upto].iter().rev().find_map(of).unwrap_or_default()
    }

    /// How many entities of the kind are on days that are kept.
    fn kept(&self, upto: usize, tenant: &TenantId, kind: &str) -> u64 {
        let mut days: BTreeMap<&str, Date> = BTreeMap::new();
        for (entry, fate) in self.entries[..upto].iter().zip(&self.fates) {
            let Happening::Event { tenant: of, kind: of_kind, event } = &entry.what else { continue };
            let is_accepted = fate.as_ref().is_some_and(|fate| fate.deed.is_some());
            if let Some(id) = event.id.as_ref().filter(|_| of == tenant && of_kind == kind && is_accepted) {
                days.insert(id, event.date);
            }
        }
        days.values().filter(|date| **date >= self.expired_before(tenant, upto)).count() as u64
    }

    /// What comes of an event that is the first, or the newest, version of its entity.
    fn accept(&self, index: usize, old: Option<usize>, version: u64) -> Fate {
        let (tenant, event) = self.event(index);
        let kind = self.kind_of(index);
        let date_of = |entry: usize| self.event(entry).1.date;
        let is_draft = |entry: usize| self.event(entry).1.status == Status::Draft;
        let is_over = |entry: usize| self.is_over(tenant, date_of(entry), index);
        let into_closed = is_over(index);
        let from_closed = old.is_some_and(is_over);
        let is_late = into_closed || (from_closed && old.is_some_and(|old| !is_draft(old)));

        let carrying_day = self.carrying_day(tenant, index);
        let post = |sign, entry, is_adjustment| Posting {
            sign,
            entry,
            date: if is_adjustment { carrying_day } else { date_of(entry) },
            is_adjustment,
        };
        let restate: Vec<Posting> =
            old.map(|old| post(-1, old, false)).into_iter().chain([post(1, index, false)]).collect();
        let carry: Vec<Posting> =
            old.map(|old| post(-1, old, from_closed)).into_iter().chain([post(1, index, into_closed)]).collect();
        let held = old.and_then(|old| self.fates[old].as_ref().and_then(|fate| fate.deed.as_ref()?.held));
        let is_refused = into_closed || held.is_some_and(|held| is_over(held) && !is_draft(held));
        let firm: Vec<Posting> = match is_refused {
            true => Vec::new(),
            // On a closed day a draft stays frozen.
            false => {
                let left = held.filter(|held| !is_over(*held)).map(|held| post(-1, held, false));
                left.into_iter().chain([post(1, index, false)]).collect()
            }
        };
        let newest: Vec<(i64, usize)> = old.map(|old| (-1, old)).into_iter().chain([(1, index)]).collect();
        let firm_seasons = match is_refused {
            true => Vec::new(),
            false => held.map(|held| (-1, held)).into_iter().chain([(1, index)]).collect(),
        };

        let views: Vec<Spec> =
            self.views(tenant, index).into_iter().filter(|spec| spec.view.kind.as_str() == kind).collect();
        let late_for = if into_closed { event.date } else { old.map_or(event.date, date_of) };
        let has = |policy: LatePolicy| views.iter().any(|spec| spec.view.late_on(late_for) == policy);
        let restates = has(LatePolicy::Restate) || views.is_empty();
        let takes = |policy: LatePolicy, entry: usize| {
            let is_late = |spec: &Spec| spec.view.late_on(date_of(entry)) == policy;
            views.iter().any(|spec| is_late(spec) && spec.takes(self.event(entry).1))
        };
        let mut changed: Vec<Date> = (into_closed && restates).then_some(event.date).into_iter().collect();
        let left = old.filter(|old| from_closed && takes(LatePolicy::Restate, *old)).map(date_of);
        changed.extend(left.filter(|left| *left != event.date));
        let mut notes: Vec<(Date, Note)> = changed.iter().map(|date| (*date, Note::Changed)).collect();
        let is_carried =
            carry.iter().any(|posting| posting.is_adjustment && takes(LatePolicy::CarryForward, posting.entry));
        if is_carried {
            let from = if into_closed { event.date } else { old.map_or(event.date, date_of) };
            notes.push((carrying_day, Note::CarriedFrom(from)));
        }
        let carries = has(LatePolicy::CarryForward);
        let disposition = match event.status {
            _ if !restates && carries && is_late => Disposition::Carried,
            _ if !restates && !carries && is_refused => Disposition::Rejected,
            Status::Draft => Disposition::Pending,
            Status::Final | Status::Void => Disposition::Counted,
        };
        let deed = Deed {
            days: [restate, carry, firm],
            seasons: [newest.clone(), newest, firm_seasons],
            held: if is_refused { held } else { Some(index) },
            changed,
            notes,
            carried_to: is_carried.then_some(carrying_day),
        };
        Fate { booked: event.date, disposition, version, deed: Some(deed) }
    }

    /// The day to which changes are carried: the newest that opened, or the first one behind it that is not closed.
    fn carrying_day(&self, tenant: &TenantId, upto: usize) -> Date {
        let mut date = self.current_day(tenant, upto);
        while self.is_over(tenant, date, upto) {
            date = date.plus(1);
        }
        date
    }

    /// Whether the day is closed, or gone.
    fn is_over(&self, tenant: &TenantId, date: Date, upto: usize) -> bool {
        date < self.expired_before(tenant, upto) || self.is_closed(tenant, date, upto)
    }

    fn event(&self, index: usize) -> (&TenantId, &Event) {
        match &self.entries[index].what {
            Happening::Event { tenant, event, .. } => (tenant, event),
            other => panic!("{other:?} is no event"),
        }
    }

    /// The accepted version of the event's entity before `index`, if its day is kept.
    fn known(&self, index: usize, tenant: &TenantId, kind: &str, event: &Event) -> Option<usize> {
        let newest = self.newest(index, tenant, kind, event)?;
        (self.event(newest).1.date >= self.expired_before(tenant, index)).then_some(newest)
    }

    /// Whether the event's id belongs to a day that is no longer kept and was never too long ago to be remembered.
    fn is_remembered(&self, index: usize, tenant: &TenantId, kind: &str, event: &Event) -> bool {
        let Some(newest) = self.newest(index, tenant, kind, event) else { return false };
        let date = self.event(newest).1.date;
        (newest..=index).all(|upto| {
            let days = self.remember(kind, upto).map_or(0, |days| i32::from(days) - KEEP_DAYS);
            date >= self.expired_before(tenant, upto).plus(-days)
        })
    }

    fn remember(&self, kind: &str, upto: usize) -> Option<u16> {
        let of = |entry: &Entry| match &entry.what {
            Happening::Kind { kind: of, remember } if of == kind => Some(*remember),
            _ => None,
        };
        self.entries[..upto].iter().rev().find_map(of).flatten()
    }

    /// Whether any id of the day is of a kind that is remembered.
    fn has_remembered(&self, tenant: &TenantId, date: Date, upto: usize) -> bool {
        let mut newest: BTreeMap<(&str, &str), Date> = BTreeMap::new();
        for (entry, fate) in self.entries[..upto].iter().zip(&self.fates) {
            let Happening::Event { tenant: of, kind, event } = &entry.what else { continue };
            let is_accepted = fate.as_ref().is_some_and(|fate| fate.deed.is_some());
            if let Some(id) = event.id.as_ref().filter(|_| of == tenant && is_accepted) {
                newest.insert((kind, id), event.date);
            }
        }
        newest.into_iter().any(|((kind, _), on)| on == date && self.remember(kind, upto).is_some())
    }

    /// The account of a day that is sealed; where it `goes`, without drafts that are open.
    fn sealed_account(&self, tenant: &TenantId, date: Date, upto: usize, goes: bool) -> Account {
        let mut account = self.days(tenant, upto)[&date].account;
        if goes && self.has_remembered(tenant, date, upto) {
            account.counted += account.pending;
            account.pending = 0;
        }
        account
    }

    /// The accepted version of the event's entity before `index`.
    fn newest(&self, index: usize, tenant: &TenantId, kind: &str, event: &Event) -> Option<usize> {
        event.id.as_ref()?;
        (0..index).rev().find(|before| match &self.entries[*before].what {
            Happening::Event { tenant: t, kind: k, event: e } => {
                t == tenant
                    && k == kind
                    && e.id == event.id
                    && self.fates[*before].as_ref().is_some_and(|fate| fate.deed.is_some())
            }
            _ => false,
        })
    }

    fn markers<'a>(&'a self, tenant: &'a TenantId, upto: usize) -> impl Iterator<Item = (usize, Edge, Date)> + 'a {
        self.entries[..upto].iter().enumerate().filter_map(move |(index, entry)| match &entry.what {
            Happening::Marker(marker) if marker.tenant == *tenant => Some((index, marker.edge, marker.day.date)),
            _ => None,
        })
    }

    pub(super) fn expired_before(&self, tenant: &TenantId, upto: usize) -> Date {
        let closed = self.markers(tenant, upto).filter(|(_, edge, _)| *edge == Edge::Closed);
        closed.map(|(_, _, date)| date.plus(-KEEP_DAYS)).max().unwrap_or(date(0)).max(date(0))
    }

    /// The first marker of its edge and day, of a day that was kept then.
    fn takes_effect(&self, tenant: &TenantId, index: usize, edge: Edge, date: Date) -> bool {
        let mut before = self.markers(tenant, index).filter(|(_, _, other)| *other == date);
        let stale = match edge {
            Edge::Opened => before.next().is_some(),
            Edge::Closed => before.any(|(_, edge, _)| edge == Edge::Closed),
        };
        !stale && date >= self.expired_before(tenant, index)
    }

    fn current_day(&self, tenant: &TenantId, upto: usize) -> Date {
        let opened = self
            .markers(tenant, upto)
            .filter(|(index, edge, date)| *edge == Edge::Opened && self.takes_effect(tenant, *index, *edge, *date));
        opened.map(|(_, _, date)| date).max().unwrap_or(date(0))
    }

    fn is_closed(&self, tenant: &TenantId, date: Date, upto: usize) -> bool {
        date >= self.expired_before(tenant, upto)
            && self.markers(tenant, upto).any(|(index, edge, marked)| {
                edge == Edge::Closed && marked == date && self.takes_effect(tenant, index, edge, date)
            })
    }

    /// The days that are kept, as of the first `upto` entries.
    pub(super) fn days(&self, tenant: &TenantId, upto: usize) -> BTreeMap<Date, ModelDay> {
        let expired_before = self.expired_before(tenant, upto);
        let mut accounts: BTreeMap<Date, Account> = BTreeMap::new();
        // The day of each entity's draft that is open.
        let mut open: BTreeMap<(&str, &str), Date> = BTreeMap::new();
        for index in 0..upto {
            let (date, disposition) = match (&self.entries[index].what, &self.fates[index]) {
                (Happening::Event { tenant: of, .. }, Some(fate)) if of == tenant => (fate.booked, fate.disposition),
                (Happening::Reject { tenant: of, .. }, Some(fate)) if of == tenant.as_str() => {
                    (fate.booked, fate.disposition)
                }
                _ => continue,
            };
            if let (Happening::Event { kind, event, .. }, Some(Fate { deed: Some(_), .. })) =
                (&self.entries[index].what, &self.fates[index])
                && let Some(id) = &event.id
            {
                if let Some(closed) = open.remove(&(kind.as_str(), id.as_str())) {
                    let account = accounts.entry(closed).or_default();
                    account.pending -= 1;
                    account.counted += 1;
                }
                if disposition == Disposition::Pending {
                    open.insert((kind, id), date);
                }
            }
            let account = accounts.entry(date).or_default();
            account.published += 1;
            match disposition {
                Disposition::Counted => account.counted += 1,
                Disposition::Pending => {
                    account.pending += 1;
                    account.drafts += 1;
                }
                Disposition::Duplicate => account.duplicate += 1,
                Disposition::Stale => account.stale += 1,
                Disposition::Carried => account.carried += 1,
                Disposition::Rejected => account.rejected += 1,
            }
        }
        let carried = self.fates[..upto].iter().zip(&self.entries).filter_map(|(fate, entry)| match &entry.what {
            Happening::Event { tenant: of, .. } if of == tenant => fate.as_ref()?.deed.as_ref()?.carried_to,
            _ => None,
        });
        let made = self.made.iter().filter(|(of, _)| of == tenant).map(|(_, date)| *date);
        for date in carried.chain(made) {
            accounts.entry(date).or_default();
        }
        let mut opened = BTreeSet::new();
        for (index, edge, date) in self.markers(tenant, upto) {
            if self.takes_effect(tenant, index, edge, date) {
                accounts.entry(date).or_default();
                opened.insert(date);
            }
        }
        let day = |(date, account): (Date, Account)| {
            let state = match (self.is_closed(tenant, date, upto), opened.contains(&date)) {
                (true, _) => DayState::Closed,
                (false, true) => DayState::Open,
                (false, false) => DayState::Upcoming,
            };
            (date, ModelDay { state, account })
        };
        accounts.into_iter().filter(|(date, _)| *date >= expired_before).map(day).collect()
    }

    /// What the tenant's events did to the days of a view, each row by the view's policy for the day of its event.
    fn postings<'m>(
        &'m self,
        spec: &Spec,
        tenant: &'m TenantId,
        upto: usize,
    ) -> impl Iterator<Item = Posting> + use<'m> {
        let (kind, view) = (spec.view.kind.to_string(), spec.view.clone());
        let of = move |index: &usize| match &self.entries[*index].what {
            Happening::Event { tenant: of, kind: of_kind, .. } => of == tenant && *of_kind == kind,
            _ => false,
        };
        let deeds = (0..upto).filter(of).filter_map(|index| self.fates[index].as_ref()?.deed.as_ref());
        deeds.flat_map(move |deed| {
            if view.late == LatePolicy::Reject {
                return deed.days[place_of(LatePolicy::Reject)].clone();
            }
            // The same rows by either of the other two.
            let [restated, carried] =
                [LatePolicy::Restate, LatePolicy::CarryForward].map(|late| &deed.days[place_of(late)]);
            let pairs = restated.iter().zip(carried);
            let by_policy = pairs.map(|(restated, carried)| match view.late_on(restated.date) {
                LatePolicy::CarryForward => *carried,
                _ => *restated,
            });
            by_policy.collect()
        })
    }

    /// The rows of a view over days that are kept, as of the first `upto` entries.
    pub(super) fn rows(
        &self,
        spec: &Spec,
        tenant: &TenantId,
        dates: &[Date],
        as_finely: bool,
        upto: usize,
    ) -> Vec<Cells> {
        let postings = self.postings(spec, tenant, upto).filter(|posting| dates.contains(&posting.date));
        let contribution = |posting: Posting| Contribution {
            entry: posting.entry,
            event: self.event(posting.entry).1,
            sign: posting.sign,
            date: posting.date,
        };
        spec.rows(&postings.map(contribution).collect::<Vec<_>>(), as_finely)
    }

    /// How many late changes that touched a figure were posted to the day.
    pub(super) fn adjustments(&self, spec: &Spec, tenant: &TenantId, date: Date, upto: usize) -> u64 {
        let adjusts = |posting: &Posting| {
            posting.date == date && posting.is_adjustment && spec.takes(self.event(posting.entry).1)
        };
        self.postings(spec, tenant, upto).filter(adjusts).count() as u64
    }

    /// The rows of a view over a season, as of now.
    pub(super) fn season_rows(&self, spec: &Spec, tenant: &TenantId, season: &Season) -> Vec<Cells> {
        let mut contributions = Vec::new();
        for index in 0..self.len() {
            let Happening::Event { tenant: of, kind, .. } = &self.entries[index].what else { continue };
            let deed = self.fates[index].as_ref().and_then(|fate| fate.deed.as_ref());
            let Some(deed) = deed.filter(|_| of == tenant && *kind == spec.view.kind.as_str()) else { continue };
            for (sign, entry) in &deed.seasons[place_of(spec.view.late)] {
                let event = self.event(*entry).1;
                if season.from <= event.at && event.at < season.to {
                    contributions.push(Contribution { entry: *entry, event, sign: *sign, date: event.date });
                }
            }
        }
        spec.rows(&contributions, false)
    }

    /// The report versions that the batch of the entries from `begin` on demands, in order. To be asked once for every
    /// batch.
    pub(super) fn demands(&mut self, begin: usize) -> Vec<Demand> {
        let end = self.entries.len();
        let mut demands = Vec::new();
        let mut late: BTreeSet<(TenantId, Date)> = BTreeSet::new();
        for index in begin..end {
            match &self.entries[index].what {
                Happening::Marker(marker) if marker.edge == Edge::Closed => {
                    let (tenant, date) = (marker.tenant.clone(), marker.day.date);
                    if self.takes_effect(&tenant, index, Edge::Closed, date) {
                        demands.push(self.demand(tenant.clone(), date, index + 1, false));
                        let before = date.plus(-KEEP_DAYS);
                        let mut goes: BTreeSet<Date> = self.unaccounted(&tenant, before, index).into_iter().collect();
                        // What has changed is sealed while it can be.
                        for changed in [&mut late, &mut self.waiting] {
                            let gone = changed.extract_if(.., |(of, date)| *of == tenant && *date < before);
                            goes.extend(gone.map(|(_, date)| date));
                        }
                        demands.extend(goes.into_iter().map(|date| self.demand(tenant.clone(), date, index, true)));
                    }
                }
                Happening::Event { tenant, .. } => {
                    let deed = self.fates[index].as_ref().and_then(|fate| fate.deed.as_ref());
                    let changed = deed.into_iter().flat_map(|deed| &deed.changed).map(|date| (tenant.clone(), *date));
                    match self.gathers(tenant, index) {
                        true => self.waiting.extend(changed.collect::<Vec<_>>()),
                        false => late.extend(changed),
                    }
                }
                Happening::Restate(tenant) => {
                    let of = tenant.clone();
                    late.extend(self.waiting.extract_if(.., |(id, _)| of.as_ref().is_none_or(|of| of == id)));
                }
                Happening::Tenant(tenant) if tenant.restate_after().is_none() => {
                    let of = tenant.id.clone();
                    late.extend(self.waiting.extract_if(.., |(id, _)| *id == of));
                }
                _ => {}
            }
        }
        // Sealed at the end of the batch, with what came behind the mark.
        self.waiting.retain(|waiting| !late.contains(waiting));
        demands.extend(late.into_iter().map(|(tenant, date)| self.demand(tenant, date, end, false)));
        demands
    }

    /// Whether the tenant's restatements wait for marks.
    fn gathers(&self, tenant: &TenantId, upto: usize) -> bool {
        let of = |entry: &Entry| match &entry.what {
            Happening::Tenant(definition) if definition.id == *tenant => Some(definition.restate_after().is_some()),
            _ => None,
        };
        self.entries[..upto].iter().rev().find_map(of).unwrap_or(false)
    }

    /// Whether the day waits for a mark.
    pub(super) fn is_waiting(&self, tenant: &TenantId, date: Date) -> bool {
        self.waiting.contains(&(tenant.clone(), date))
    }

    /// The days before `before` of whose events the last report does not tell all.
    fn unaccounted(&self, tenant: &TenantId, before: Date, upto: usize) -> Vec<Date> {
        let days = self.days(tenant, upto);
        let differs = |date: Date, sealed: usize| {
            days.contains_key(&date)
                && self.sealed_account(tenant, date, upto, true) != self.days(tenant, sealed)[&date].account
        };
        let sealed = self.sealed.iter().filter(|((of, date), _)| of == tenant && *date < before);
        sealed.filter(|((_, date), sealed)| differs(*date, **sealed)).map(|((_, date), _)| *date).collect()
    }

    fn demand(&mut self, tenant: TenantId, date: Date, entries: usize, goes: bool) -> Demand {
        let account = self.sealed_account(&tenant, date, entries, goes);
        let before = self.sealed.insert((tenant.clone(), date), entries).unwrap_or(0);
        let mut changes = Vec::new();
        for index in before..entries {
            let Happening::Event { tenant: of, event, .. } = &self.entries[index].what else { continue };
            let deed = self.fates[index].as_ref().and_then(|fate| fate.deed.as_ref());
            let notes = deed.into_iter().flat_map(|deed| &deed.notes).filter(|(on, _)| *on == date && *of == tenant);
            changes.extend(notes.map(|(_, note)| (self.entries[index].inbox, event.index, *note)));
        }
        Demand { tenant, date, entries, account, changes }
    }

    fn kind_of(&self, index: usize) -> &str {
        match &self.entries[index].what {
            Happening::Event { kind, .. } => kind,
            _ => "",
        }
    }
}

fn place_of(policy: LatePolicy) -> usize {
    LatePolicy::ALL.iter().position(|other| *other == policy).expect("one of all")
}

/// Equal but for version and place, and for columns that only one of them knows and that are null there.
fn says_the_same(one: &Event, other: &Event) -> bool {
    let columns = one.dims.len().max(other.dims.len()).max(one.measures.len()).max(other.measures.len());
    one.status == other.status
        && one.at == other.at
        && (0..columns).all(|place| dimension(one, place) == dimension(other, place))
        && (0..columns).all(|place| measure(one, place) == measure(other, place))
}
