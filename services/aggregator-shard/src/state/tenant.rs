//! One tenant: its days, and where each entity is.

use super::Model;
use super::day::Day;
use super::entity::{Entity, EntityKey, KindId, event_json};
use super::pages::PageKey;
use compact_str::{CompactString, format_compact};
use daybook_contracts::log::Event;
use daybook_contracts::reject::{Code, Original, Reject};
use daybook_contracts::report::Change;
use daybook_domain::accumulator::Sign;
use daybook_domain::catalogue::{Mode, Status, Tenant};
use daybook_domain::ids::{InboxSeq, LogSeq, TenantId};
use daybook_domain::time::Date;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// What is known of a tenant.
#[derive(Clone, Debug)]
pub struct TenantState {
    pub definition: Tenant,
    pub days: BTreeMap<Date, Day>,
    /// The newest day that has opened.
    pub open_day: Option<Date>,
    /// Days before this one are gone.
    pub expired_before: Date,
    /// By an entity's hash, the day of one entity with that hash and how many have it. Made anew on restoring.
    index: HashMap<u64, (Date, u32), foldhash::fast::FixedState>,
}

/// Where an event stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub tenant: &'a TenantId,
    pub position: LogSeq,
    pub inbox: InboxSeq,
}

/// What taking an event in did.
#[derive(Debug, Default)]
pub struct Taken {
    /// The days that changed in any way: the event's, and the one its entity left.
    pub touched: [Option<Date>; 2],
    /// Those of them that were sealed before and need a new version.
    pub reseal: [Option<Date>; 2],
    pub reject: Option<Box<Reject>>,
}

/// What becomes of an event, seen against what is known of its entity.
enum Verdict {
    Accept { version: u64 },
    Duplicate,
    Stale { known: u64 },
    Conflict { version: u64 },
}

impl TenantState {
    pub fn new(definition: Tenant) -> Self {
        let expired_before = definition.first_day;
        Self { definition, days: BTreeMap::new(), open_day: None, expired_before, index: HashMap::default() }
    }

    /// The newest open day, or the first one before any has opened.
    pub fn current_day(&self) -> Date {
        self.open_day.unwrap_or(self.definition.first_day)
    }

    /// The day of that date, made if it is not there.
    pub fn day(&mut self, date: Date, position: LogSeq) -> &mut Day {
        self.days.entry(date).or_insert_with(|| Day::new(position))
    }

    /// Takes one valid event in: exactly one disposition is counted for it.
    pub fn take(&mut self, place: Place<'_>, kind_id: KindId, model: &Model, event: Event) -> Taken {
        if event.date < self.expired_before {
            return self.refuse_expired(place, model, &event);
        }
        let date = event.date;
        let day = self.days.entry(date).or_insert_with(|| Day::new(place.position));
        day.account.published += 1;
        let touched = [Some(date), None];
        let Some(id) = event.id.clone() else {
            day.account.counted += 1;
            let change = change(place, model, &event, "late fact");
            day.contribute(&model.plans, Sign::Add, &Entity::new(event, 0));
            let reseal = [note_if_closed(day, date, change), None];
            return Taken { touched, reseal, reject: None };
        };
        let key = EntityKey { kind: kind_id, id };
        let known_on = self.find(&key);
        let known = known_on.and_then(|on| self.days[&on].entities.get(&key));
        match judge(model.kind.mode, known, &event) {
            Verdict::Accept { version } => self.accept(place, model, key, known_on, event, version),
            Verdict::Duplicate => {
                self.account(date).duplicate += 1;
                Taken { touched, ..Taken::default() }
            }
            Verdict::Stale { known } => {
                self.account(date).stale += 1;
                let reason = format!(
                    "version {} of {:?} came after version {known}; the newer one stays",
                    event.version.unwrap_or_default(),
                    key.id
                );
                let reject = reject(place, model, &event, Code::StaleVersion, reason);
                Taken { touched, reject: Some(reject), ..Taken::default() }
            }
            Verdict::Conflict { version } => {
                self.account(date).rejected += 1;
                let reason = format!(
                    "version {version} of {:?} is known with other content; publish a correction with a higher version",
                    key.id
                );
                let reject = reject(place, model, &event, Code::VersionConflict, reason);
                Taken { touched, reject: Some(reject), ..Taken::default() }
            }
        }
    }

    fn accept(
        &mut self,
        place: Place<'_>,
        model: &Model,
        key: EntityKey,
        known_on: Option<Date>,
        event: Event,
        version: u64,
    ) -> Taken {
        let date = event.date;
        let mut taken = Taken { touched: [Some(date), None], ..Taken::default() };
        // Out of where it was.
        if let Some(on) = known_on {
            let day = self.days.get_mut(&on).expect("the index names days that are kept");
            let old = if on == date { day.entities.get(&key).cloned() } else { day.entities.remove(&key) };
            let old = old.expect("the index names the day that holds it");
            let figures = day.contribute(&model.plans, Sign::Retract, &old);
            if on != date {
                taken.touched[1] = Some(on);
                if figures {
                    let what = format_compact!("moved to {date}");
                    taken.reseal[1] = note_if_closed(day, on, change(place, model, &event, &what));
                }
                self.forget(key.page_hash());
            }
        }
        // Into where it is now.
        let status = event.status;
        let change = change(place, model, &event, &format_compact!("late {}", status.as_str()));
        let entity = Entity::new(event, version);
        let day = self.days.get_mut(&date).expect("made when the event was taken");
        day.contribute(&model.plans, Sign::Add, &entity);
        match status {
            Status::Draft => day.account.pending += 1,
            Status::Final | Status::Void => day.account.counted += 1,
        }
        taken.reseal[0] = note_if_closed(day, date, change);
        let hash = key.page_hash();
        if day.entities.insert(key, entity).is_none() {
            self.remember(hash, date);
        }
        taken
    }

    /// The event's day is gone; it is counted as refused on the open day, so that it is not lost from the account.
    fn refuse_expired(&mut self, place: Place<'_>, model: &Model, event: &Event) -> Taken {
        let current = self.current_day().max(self.expired_before);
        let account = &mut self.day(current, place.position).account;
        account.published += 1;
        account.rejected += 1;
        let reason = format!(
            "business day {} is over for good: corrections reach back {} days; days before {} are sealed for ever",
            event.date,
            super::KEEP_DAYS,
            self.expired_before
        );
        let reject = reject(place, model, event, Code::DayExpired, reason);
        Taken { touched: [Some(current), None], reject: Some(reject), ..Taken::default() }
    }

    fn account(&mut self, date: Date) -> &mut daybook_contracts::report::Account {
        &mut self.days.get_mut(&date).expect("made when the event was taken").account
    }

    /// The day that holds the entity.
    fn find(&self, key: &EntityKey) -> Option<Date> {
        let (date, _) = *self.index.get(&key.page_hash())?;
        let holds = |date: &Date| self.days.get(date).is_some_and(|day| day.entities.get(key).is_some());
        if holds(&date) {
            return Some(date);
        }
        // Another entity with the same hash: rare enough to look everywhere.
        self.days.keys().rev().copied().find(holds)
    }

    fn remember(&mut self, hash: u64, date: Date) {
        let entry = self.index.entry(hash).or_insert((date, 0));
        *entry = (date, entry.1 + 1);
    }

    fn forget(&mut self, hash: u64) {
        if let Some(entry) = self.index.get_mut(&hash) {
            entry.1 -= 1;
            if entry.1 == 0 {
                self.index.remove(&hash);
            }
        }
    }

    /// Takes a day out, with its entities.
    pub fn remove_day(&mut self, date: Date) -> Day {
        let day = self.days.remove(&date).expect("a day that is kept");
        for (key, _) in day.entities.iter() {
            self.forget(key.page_hash());
        }
        day
    }

    /// Makes the index anew from the days.
    pub fn reindex(&mut self) {
        self.index.clear();
        let hashes: Vec<(u64, Date)> = self
            .days
            .iter()
            .flat_map(|(date, day)| day.entities.iter().map(|(key, _)| (key.page_hash(), *date)))
            .collect();
        for (hash, date) in hashes {
            self.remember(hash, date);
        }
    }
}

fn judge(mode: Mode, known: Option<&Entity>, event: &Event) -> Verdict {
    let Some(known) = known else {
        return Verdict::Accept { version: event.version.unwrap_or(0) };
    };
    let same = known.says_the_same(event);
    match (mode, event.version) {
        // A fact happens once; its id only tells repetitions apart.
        (Mode::Fact, _) if same => Verdict::Duplicate,
        (Mode::Fact, _) => Verdict::Conflict { version: known.version },
        (Mode::Entity, None) if same => Verdict::Duplicate,
        (Mode::Entity, None) => Verdict::Accept { version: known.version.saturating_add(1) },
        (Mode::Entity, Some(version)) if version > known.version => Verdict::Accept { version },
        (Mode::Entity, Some(version)) if version < known.version => Verdict::Stale { known: known.version },
        (Mode::Entity, Some(_)) if same => Verdict::Duplicate,
        (Mode::Entity, Some(version)) => Verdict::Conflict { version },
    }
}

fn note_if_closed(day: &mut Day, date: Date, change: Change) -> Option<Date> {
    if !day.is_closed() {
        return None;
    }
    day.note(change);
    Some(date)
}

fn change(place: Place<'_>, model: &Model, event: &Event, what: &str) -> Change {
    Change {
        kind: model.kind.name.clone(),
        id: event.id.clone(),
        inbox: place.inbox,
        index: event.index,
        what: CompactString::new(what),
    }
}

fn reject(place: Place<'_>, model: &Model, event: &Event, code: Code, reason: String) -> Box<Reject> {
    Box::new(Reject {
        code,
        reason,
        tenant: place.tenant.to_string(),
        kind: model.kind.name.to_string(),
        inbox: place.inbox,
        index: event.index,
        field: (code != Code::DayExpired).then(|| "version".to_owned()),
        date: Some(event.date),
        original: Original::new(&event_json(event, &model.kind)),
    })
}
