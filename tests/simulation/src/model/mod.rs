//! The naive model: from the list of what INBOX acknowledged, in its order, it works out what must be in the log, what
//! becomes of every event, and what every figure is, each time anew. It shares wire types with the product, and no rule.
//!
//! [`Model`] takes the messages of one partition and judges each event once ([`judge`], [`rates`]); [`figures`] sums up
//! the rows of `groups`, and `ranks` orders.

pub mod figures;
mod groups;
pub mod judge;
mod ranks;
pub mod rates;

use crate::broker::{Stored, source_of};
use crate::producer::{Intent, Message, Row};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::report::Account;
use daybook_domain::calendar::{BusinessDay, CalendarTable};
use daybook_domain::catalogue::{Definition, Kind, Removal, Tenant, View};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Date;
use rates::Metered;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// How long days are kept; the model's own copy of the rule.
pub const KEEP_DAYS: i32 = 35;

/// What the log must hold for a message of INBOX.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    Event {
        inbox: u64,
        index: u32,
        date: Date,
    },
    /// With how many events it stands for.
    Reject {
        inbox: u64,
        index: u32,
        events: u64,
    },
    Marker(String),
    Define(String),
}

/// Which account an event stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Counted,
    Pending,
    Duplicate,
    Stale,
    Carried,
    Rejected,
}

/// What a change does to views of a late policy: rows put in, or taken out, on a day.
#[derive(Clone, Debug)]
pub struct Posting {
    pub date: Date,
    pub sign: i64,
    pub row: Rc<Row>,
}

/// What became of an event.
#[derive(Clone, Debug)]
pub struct Fate {
    pub tenant: String,
    pub kind: String,
    pub index: u32,
    /// How many events it stands for: more than one where they were refused unread.
    pub events: u64,
    /// On whose day's account it stands; none for tenants that do not exist.
    pub booked: Option<Date>,
    pub disposition: Disposition,
    /// Whether the producer is told of it as rejected.
    pub is_told: bool,
    /// The content that took effect, with the entity's id.
    pub accepted: Option<(Option<String>, Rc<Row>)>,
    /// What it does to views that carry late changes forward.
    pub carried: Vec<Posting>,
    /// What it does to views that restate.
    pub restated: Vec<Posting>,
    /// What it does to views that reject late changes.
    pub held: Vec<Posting>,
    /// Whether views that reject late changes refuse it.
    pub is_refused: bool,
    /// How many groups the tenant's views may make of it.
    pub groups: Option<u64>,
}

/// A message of INBOX, judged.
#[derive(Debug)]
pub struct Entry {
    pub inbox: u64,
    pub items: Vec<Item>,
    pub fates: Vec<Fate>,
    /// A day that closed here, and before which date days are gone since.
    pub closed: Option<(String, Date, Date)>,
    pub opened: Option<(String, Date)>,
}

/// What is known of a tenant at the end of the list.
#[derive(Clone, Debug)]
pub struct TenantModel {
    /// Its id with its generation: the key under which it is known, and by which fates name it.
    pub key: String,
    pub definition: Tenant,
    /// Behind how many entries it is there, and behind how many no more.
    pub there: std::ops::Range<usize>,
    pub open_day: Option<Date>,
    pub closed: BTreeSet<Date>,
    pub markers: BTreeMap<Date, DayMarker>,
    pub expired_before: Date,
    pub has_events: bool,
    /// From which entry on there may be a quota of groups.
    pub bound_at: Option<usize>,
    entities: BTreeMap<(String, String), judge::Known>,
    /// The days of ids that are remembered, by kind and id.
    remembered: BTreeMap<(String, String), Date>,
}

/// A view that is in force from an entry on, and until which.
#[derive(Clone, Debug)]
pub struct InForce {
    pub view: View,
    pub from: usize,
    pub until: usize,
    /// By key of a tenant that had it before, from which entry on quotas of groups bind it; others from the same as it is in force: what
    /// it was made of before is whole.
    capped_from: BTreeMap<String, usize>,
    /// By key of a tenant for which it was made of a trimmed log, what was left of that.
    pub made_of: BTreeMap<String, Left>,
}

impl InForce {
    /// From which entry on quotas of groups bind it for a tenant.
    pub fn capped_from(&self, tenant: &str) -> usize {
        self.capped_from.get(tenant).copied().unwrap_or(self.from)
    }
}

/// What was left of the log when a view was made.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// From which position on batches were read.
    pub since: LogSeq,
    /// How many entries stood before.
    pub before: usize,
}

/// The model of one partition.
pub struct Model {
    partition: Partition,
    pub entries: Vec<Entry>,
    /// Every tenant there ever was, by key.
    pub tenants: BTreeMap<String, TenantModel>,
    /// By id, the key of the tenant that has it now.
    keys: BTreeMap<String, String>,
    kinds: BTreeMap<String, (Kind, bool)>,
    tables: BTreeMap<String, CalendarTable>,
    pub in_force: Vec<InForce>,
    pub pending: BTreeMap<String, View>,
    /// The last sequences of CATALOG and DAYS that took effect.
    taken: BTreeMap<String, u64>,
    /// What INBOX holds and the log does not yet.
    waiting: VecDeque<Rc<Stored>>,
    /// By position of each batch, how many entries there are with it.
    batches: BTreeMap<LogSeq, usize>,
    /// What each tenant has published, as rates look at it.
    published: BTreeMap<String, Vec<Metered>>,
}

/// A batch that is taken in.
#[derive(Default)]
struct Taking {
    /// Where in INBOX its owner began to read.
    begun: u64,
    /// By tenant whose last message was refused unread, where the entry is that stands for it.
    refused: BTreeMap<String, usize>,
}

impl Model {
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            entries: Vec::new(),
            tenants: BTreeMap::new(),
            keys: BTreeMap::new(),
            kinds: BTreeMap::new(),
            tables: BTreeMap::new(),
            in_force: Vec::new(),
            pending: BTreeMap::new(),
            taken: BTreeMap::new(),
            waiting: VecDeque::new(),
            batches: BTreeMap::new(),
            published: BTreeMap::new(),
        }
    }

    /// How many entries are at or before an INBOX sequence.
    pub fn upto(&self, inbox: u64) -> usize {
        self.entries.partition_point(|entry| entry.inbox <= inbox)
    }

    /// Keeps the next message of INBOX until it is in the log; those of other partitions are passed over.
    pub fn push(&mut self, message: &Rc<Stored>) {
        if message.partition == self.partition {
            self.waiting.push_back(message.clone());
        }
    }

    /// Judges what the batch at `position` holds, which reaches so far into INBOX and is of an owner that `begun` to read
    /// there.
    pub fn take_in(&mut self, position: u64, through: u64, begun: u64, messages: &[Message]) {
        let mut taking = Taking { begun, ..Taking::default() };
        let behind = self.waiting.partition_point(|message| message.sequence <= through);
        for message in self.waiting.drain(..behind).collect::<Vec<_>>() {
            self.take(&message, messages, &mut taking);
        }
        self.batches.insert(LogSeq(position), self.entries.len());
    }

    fn take(&mut self, message: &Stored, messages: &[Message], taking: &mut Taking) {
        let mut entry =
            Entry { inbox: message.sequence, items: Vec::new(), fates: Vec::new(), closed: None, opened: None };
        if let Some(source) = source_of(message) {
            // What was taken in once is not taken in again.
            let taken = self.taken.entry(source.stream.to_owned()).or_default();
            if source.sequence > *taken {
                *taken = source.sequence;
                match serde_json::from_slice::<DayMarker>(&message.payload) {
                    Ok(marker) => self.mark(marker, &mut entry),
                    Err(_) => {
                        let definition = serde_json::from_slice(&message.payload).expect("a marker or a definition");
                        self.define(definition, &mut entry);
                    }
                }
            }
        } else {
            let tag = message.tag.expect("everything else is of a producer");
            if !self.refuses(message, &messages[tag], taking, &mut entry) {
                self.judge(message.sequence, &messages[tag], &mut entry);
            }
        }
        self.entries.push(entry);
    }

    fn mark(&mut self, marker: DayMarker, entry: &mut Entry) {
        let date = marker.day.date;
        entry.items.push(Item::Marker(marker_text(&marker)));
        let id = key_of(marker.tenant.as_str(), marker.generation);
        // One of a tenant that was removed says nothing.
        let is_there = self.keys.get(marker.tenant.as_str()) == Some(&id);
        let Some(tenant) = self.tenants.get_mut(&id).filter(|_| is_there) else { return };
        if date < tenant.expired_before {
            return;
        }
        match marker.edge {
            Edge::Opened if !tenant.markers.contains_key(&date) => {
                tenant.open_day = tenant.open_day.max(Some(date));
                tenant.markers.insert(date, marker);
                entry.opened = Some((id, date));
            }
            Edge::Closed if tenant.closed.insert(date) => {
                tenant.markers.insert(date, marker);
                tenant.expired_before = tenant.expired_before.max(Date::from_days(date.as_days() - KEEP_DAYS));
                let gone = tenant.expired_before;
                let left = tenant.entities.iter().filter(|(_, known)| known.row.date < gone);
                tenant.remembered.extend(left.map(|(key, known)| (key.clone(), known.row.date)));
                tenant.entities.retain(|_, known| known.row.date >= gone);
                let kinds = &self.kinds;
                tenant.remembered.retain(|(kind, _), date| *date >= gone.plus(KEEP_DAYS - remember_days(kinds, kind)));
                entry.closed = Some((id, date, gone));
            }
            _ => {}
        }
    }

    fn define(&mut self, definition: Definition, entry: &mut Entry) {
        entry.items.push(Item::Define(definition_text(&definition)));
        match definition {
            Definition::Kind(kind) => {
                let had_events = self.kinds.get(kind.name.as_str()).is_some_and(|(_, had)| *had);
                let name = kind.name.to_string();
                self.kinds.insert(name.clone(), (kind, had_events));
                let days = KEEP_DAYS - remember_days(&self.kinds, &name);
                for tenant in self.tenants.values_mut() {
                    let from = tenant.expired_before.plus(days);
                    tenant.remembered.retain(|(kind, _), date| *kind != name || *date >= from);
                }
            }
            Definition::Calendar(table) => {
                self.tables.insert(table.name.to_string(), table);
            }
            Definition::Tenant(definition) => {
                let key = key_of(definition.id.as_str(), definition.generation);
                self.keys.insert(definition.id.to_string(), key.clone());
                let (first_day, behind) = (definition.first_day, self.entries.len() + 1);
                let tenant = self.tenants.entry(key.clone()).or_insert_with(|| TenantModel {
                    key,
                    there: behind..usize::MAX,
                    definition: definition.clone(),
                    open_day: None,
                    closed: BTreeSet::new(),
                    markers: BTreeMap::new(),
                    expired_before: first_day,
                    has_events: false,
                    bound_at: None,
                    entities: BTreeMap::new(),
                    remembered: BTreeMap::new(),
                });
                if definition.quotas.groups.is_some() {
                    tenant.bound_at = tenant.bound_at.or(Some(self.entries.len()));
                }
                tenant.definition = definition;
            }
            Definition::View(view) => {
                self.pending.remove(view.name.as_str());
                if self.misses_nothing(&view) {
                    self.put_into_force(view, None, true);
                } else {
                    self.follow_late_of(&view);
                    self.pending.insert(view.name.to_string(), view);
                }
            }
            Definition::Removal(Removal::Tenant { id, .. }) => {
                let behind = self.entries.len() + 1;
                if let Some(key) = self.keys.remove(id.as_str()) {
                    self.tenants.get_mut(&key).expect("every key has its tenant").there.end = behind;
                }
            }
            Definition::Removal(Removal::View { name, .. }) => {
                self.pending.remove(name.as_str());
                let behind = self.entries.len() + 1;
                let of_name = |each: &&mut InForce| each.until == usize::MAX && each.view.name == name;
                self.in_force.iter_mut().filter(of_name).for_each(|each| each.until = behind);
            }
            Definition::Removal(Removal::Kind { .. }) => unreachable!("the simulation removes no kinds"),
            Definition::Group(_) | Definition::Removal(Removal::Group { .. }) => {
                unreachable!("no log has groups of tenants")
            }
            Definition::Activation(activation) => {
                let name = activation.view.as_str();
                if self.pending.get(name).is_some_and(|view| view.revision == activation.revision) {
                    let view = self.pending.remove(name).expect("just seen");
                    self.put_into_force(view, activation.since, false);
                }
            }
        }
    }

    /// Whether every event so far that belongs into the view is in it already.
    fn misses_nothing(&self, view: &View) -> bool {
        let (_, had_events) = &self.kinds[view.kind.as_str()];
        if !had_events {
            return true;
        }
        let Some(active) = self.active(view.name.as_str()) else { return false };
        let same = same_but_tenants(active, view) || self.is_other_for_open_days_only(active, view);
        let newcomers =
            self.present().filter(|tenant| view.is_for(&tenant.definition.id) && !active.is_for(&tenant.definition.id));
        same && newcomers.into_iter().all(|tenant| !tenant.has_events)
    }

    /// Days that close before the pending view is in force are late by its policies, unless others that closed were not. All views
    /// of the simulation whose policies change add up.
    fn follow_late_of(&mut self, pending: &View) {
        let Some(active) = self.active(pending.name.as_str()) else { return };
        let agrees =
            |tenant: &TenantModel| tenant.closed.iter().all(|date| active.late_on(*date) == pending.late_on(*date));
        if !self.present().filter(|tenant| active.is_for(&tenant.definition.id)).all(agrees) {
            return;
        }
        let is_active = |each: &&mut InForce| each.until == usize::MAX && each.view.name == pending.name;
        if let Some(each) = self.in_force.iter_mut().find(is_active) {
            (each.view.late, each.view.late_changes) = (pending.late, pending.late_changes.clone());
        }
    }

    /// Whether a view differs from its revision in force in late policies alone, and those for days that have not closed.
    fn is_other_for_open_days_only(&self, active: &View, view: &View) -> bool {
        let with_late = View { late: view.late, late_changes: view.late_changes.clone(), ..active.clone() };
        let is_dated = !(active.late_changes.is_empty() && view.late_changes.is_empty());
        let is_unused =
            |tenant: &TenantModel| tenant.closed.iter().all(|date| active.late_on(*date) == view.late_on(*date));
        let mut tenants = self.present().filter(|tenant| view.is_for(&tenant.definition.id));
        is_dated && same_but_tenants(&with_late, view) && tenants.all(is_unused)
    }

    /// The tenant that has an id now.
    pub fn tenant(&self, id: &str) -> Option<&TenantModel> {
        self.tenants.get(self.keys.get(id)?)
    }

    /// Tenants that are there now.
    fn present(&self) -> impl Iterator<Item = &TenantModel> {
        self.keys.values().map(|key| &self.tenants[key])
    }

    fn active(&self, name: &str) -> Option<&View> {
        self.in_force.iter().find(|each| each.until == usize::MAX && each.view.name.as_str() == name).map(|at| &at.view)
    }

    fn put_into_force(&mut self, view: View, since: Option<LogSeq>, is_at_once: bool) {
        // In force behind the entry that is being taken in.
        let from = self.entries.len() + 1;
        let mut capped_from = BTreeMap::new();
        let mut made_of = self.made_of(&view, since);
        // What is made by a backfill is made whole, but for other tenants.
        let goes_on = is_at_once
            && self.active(view.name.as_str()).is_some_and(|active| self.is_other_for_open_days_only(active, &view));
        for each in self.in_force.iter_mut().filter(|each| each.until == usize::MAX && each.view.name == view.name) {
            each.until = from;
            // The same for other tenants goes on with what there is.
            if same_but_tenants(&each.view, &view) || goes_on {
                let present = || self.keys.values().map(|key| &self.tenants[key]);
                let had = present().filter(|tenant| each.view.is_for(&tenant.definition.id));
                capped_from = had.map(|tenant| (tenant.key.clone(), each.capped_from(&tenant.key))).collect();
                let is_for = |view: &View, key: &String| view.is_for(&self.tenants[key].definition.id);
                made_of.retain(|key, _| !is_for(&each.view, key));
                let stays = each.made_of.iter().filter(|(key, _)| is_for(&view, key));
                made_of.extend(stays.map(|(key, left)| (key.clone(), *left)));
            }
        }
        self.in_force.push(InForce { view, from, until: usize::MAX, capped_from, made_of });
    }

    /// Of what a view is made for each of its tenants, where the log had been trimmed and was read from `since` on.
    fn made_of(&self, view: &View, since: Option<LogSeq>) -> BTreeMap<String, Left> {
        let Some(since) = since else { return BTreeMap::new() };
        let before = self.batches.range(..since).next_back().map_or(0, |(_, entries)| *entries);
        let tenants = self.present().filter(|tenant| view.is_for(&tenant.definition.id));
        tenants.map(|tenant| (tenant.key.clone(), Left { since, before })).collect()
    }

    /// The views of a tenant that are in force when so many entries are taken in.
    pub fn views<'m>(&'m self, tenant: &'m Tenant, upto: usize) -> impl Iterator<Item = &'m InForce> {
        let is_in_force = move |each: &&InForce| each.from <= upto && upto < each.until;
        self.in_force.iter().filter(is_in_force).filter(|each| each.view.is_for(&tenant.id))
    }

    /// The interval of a tenant's day.
    pub fn interval(&self, tenant: &TenantModel, date: Date) -> Option<BusinessDay> {
        if let Some(marker) = tenant.markers.get(&date) {
            return Some(marker.day);
        }
        let table = self.tables.get(tenant.definition.table.as_ref()?.as_str())?;
        let index = usize::try_from(date.days_since(table.first)).ok()?;
        let (opens_at, closes_at) = (*table.cutoffs.get(index)?, *table.cutoffs.get(index + 1)?);
        Some(BusinessDay { date, opens_at, closes_at })
    }

    /// The account of a tenant-day when so many entries are taken in.
    pub fn account(&self, tenant: &str, date: Date, upto: usize) -> Account {
        let mut account = Account::default();
        // The entities of the day whose newest version is a draft.
        let mut open = BTreeSet::new();
        let fates = self.entries[..upto].iter().flat_map(|entry| &entry.fates);
        for fate in fates.filter(|fate| fate.tenant == tenant) {
            let is_pending = fate.booked == Some(date) && fate.disposition == Disposition::Pending;
            if let Some((Some(id), _)) = &fate.accepted {
                if open.remove(&(&fate.kind, id)) {
                    account.pending -= 1;
                    account.counted += 1;
                }
                if is_pending {
                    open.insert((&fate.kind, id));
                }
            }
            account.drafts += u64::from(is_pending);
            if fate.booked != Some(date) {
                continue;
            }
            account.published += fate.events;
            *match fate.disposition {
                Disposition::Counted => &mut account.counted,
                Disposition::Pending => &mut account.pending,
                Disposition::Duplicate => &mut account.duplicate,
                Disposition::Stale => &mut account.stale,
                Disposition::Carried => &mut account.carried,
                Disposition::Rejected => &mut account.rejected,
            } += fate.events;
        }
        let is_gone = |entry: &Entry| entry.closed.as_ref().is_some_and(|(of, _, gone)| of == tenant && *gone > date);
        if self.entries[..upto].iter().any(is_gone) {
            // Nothing can follow its drafts.
            account.counted += account.pending;
            account.pending = 0;
        }
        account
    }

    /// Before which date a tenant's days are gone when so many entries are taken in.
    pub fn expired_before(&self, tenant: &TenantModel, upto: usize) -> Date {
        let id = tenant.key.as_str();
        let gone = self.entries[..upto].iter().filter_map(|entry| entry.closed.as_ref());
        gone.filter(|(of, ..)| of == id).map(|(.., gone)| *gone).max().unwrap_or(tenant.definition.first_day)
    }

    /// The days of a tenant that something happened on, and are kept, with whether they are closed.
    pub fn days(&self, tenant: &TenantModel, upto: usize) -> BTreeMap<Date, bool> {
        let id = tenant.key.as_str();
        let mut days = BTreeMap::new();
        for entry in &self.entries[..upto] {
            for fate in entry.fates.iter().filter(|fate| fate.tenant == id) {
                let touched = fate.booked.into_iter().chain(fate.carried.iter().map(|posting| posting.date));
                for date in touched {
                    days.entry(date).or_insert(false);
                }
            }
            if let Some((_, date)) = entry.opened.as_ref().filter(|(of, _)| of == id) {
                days.entry(*date).or_insert(false);
            }
            if let Some((_, date, gone)) = entry.closed.as_ref().filter(|(of, ..)| of == id) {
                days.insert(*date, true);
                days.retain(|date, _| date >= gone);
            }
        }
        days
    }
}

/// The key of a tenant: its id, and its generation if the id was used before.
pub fn key_of(id: &str, generation: u32) -> String {
    if generation == 0 { id.to_owned() } else { format!("{id}#{generation}") }
}

fn same_but_tenants(one: &View, other: &View) -> bool {
    View { revision: other.revision, tenants: other.tenants.clone(), ..one.clone() } == *other
}

/// A marker as the log must have it.
pub fn marker_text(marker: &DayMarker) -> String {
    format!("{} {} {}", key_of(marker.tenant.as_str(), marker.generation), marker.edge.as_str(), marker.day.date)
}

/// A definition as the log must have it.
pub fn definition_text(definition: &Definition) -> String {
    let (what, name, revision) = match definition {
        Definition::Kind(kind) => ("kind", kind.name.to_string(), kind.revision),
        Definition::View(view) => ("view", view.name.to_string(), view.revision),
        Definition::Calendar(table) => ("calendar", table.name.to_string(), table.revision),
        Definition::Tenant(tenant) => ("tenant", tenant.id.to_string(), tenant.revision),
        Definition::Activation(activation) => ("activation", activation.view.to_string(), activation.revision),
        Definition::Group(group) => ("group", group.id.to_string(), group.revision),
        Definition::Removal(removal) => ("removal", definition.name().to_owned(), removal.revision()),
    };
    format!("{what} {name} {revision}")
}

/// For how many days ids of a kind are remembered.
fn remember_days(kinds: &BTreeMap<String, (Kind, bool)>, kind: &str) -> i32 {
    kinds[kind].0.remember.map_or(KEEP_DAYS, i32::from)
}

/// Whether the producer's event is sound by itself.
pub(crate) fn is_sound(intent: &Intent) -> bool {
    matches!(intent, Intent::Sound(_))
}
