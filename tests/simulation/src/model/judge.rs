//! What becomes of an event, from what came before it.

use super::rates::Metered;
use super::{Disposition, Entry, Fate, Item, Model, Posting, Row, Taking, TenantModel, is_sound};
use crate::broker::Stored;
use crate::producer::{Intent, Message, Sound};
use daybook_domain::catalogue::{LatePolicy, Mode, Status};
use daybook_domain::time::{Date, Instant};
use std::rc::Rc;

/// What is known of an entity.
#[derive(Clone, Debug)]
pub struct Known {
    pub version: u64,
    pub row: Rc<Row>,
    /// What views hold that reject late changes.
    pub held: Option<Rc<Row>>,
}

/// Where an event's time falls.
enum Place {
    Day(Date),
    Nowhere,
}

impl Model {
    /// Whether a message is over its tenant's rates. Those that follow each other in a batch are told of as one, whatever their
    /// kinds and the quotas that they are over.
    pub(super) fn refuses(
        &mut self,
        stored: &Stored,
        message: &Message,
        taking: &mut Taking,
        entry: &mut Entry,
    ) -> bool {
        let Some(key) = self.keys.get(&message.tenant).cloned() else { return false };
        let tenant = &self.tenants[&key];
        let events = message.count;
        let published = self.published.entry(key.clone()).or_default();
        let quotas = &tenant.definition.quotas;
        let mut metered = Metered::new(stored.sequence, stored.stored_at, quotas, events, stored.payload.len());
        let over = metered.over(published, taking.begun);
        metered.is_taken = over.is_none();
        published.push(metered);
        if over.is_none() {
            taking.refused.remove(&key);
            return false;
        }
        if let Some(place) = taking.refused.get(&key) {
            let first = &mut self.entries[*place];
            first.fates[0].events += events;
            if let Item::Reject { events: of_item, .. } = &mut first.items[0] {
                *of_item += events;
            }
            return true;
        }
        taking.refused.insert(key.clone(), self.entries.len());
        entry.items.push(Item::Reject { inbox: stored.sequence, index: 0, events });
        let booked = Some(current_day(tenant));
        entry.fates.push(Fate { events, ..fate((&key, message), 0, booked, Disposition::Rejected, true) });
        true
    }

    pub(super) fn judge(&mut self, inbox: u64, message: &Message, entry: &mut Entry) {
        let known_kind = self.kinds.contains_key(&message.kind);
        let Some(key) = self.keys.get(&message.tenant).cloned() else {
            let reject = |index, booked| fate((&message.tenant, message), index, booked, Disposition::Rejected, true);
            entry.items.push(Item::Reject { inbox, index: 0, events: 1 });
            entry.fates.push(reject(0, None));
            return;
        };
        let reject =
            |index: u32, booked: Option<Date>| fate((&key, message), index, booked, Disposition::Rejected, true);
        let tenant = &self.tenants[&key];
        if !known_kind || message.events.is_none() {
            entry.items.push(Item::Reject { inbox, index: 0, events: 1 });
            entry.fates.push(reject(0, Some(current_day(tenant))));
            return;
        }
        let events = message.events.as_ref().expect("seen above");
        for (index, intent) in events.iter().enumerate() {
            let index = index as u32;
            let tenant = &self.tenants[&key];
            let sound = match intent {
                Intent::Sound(sound) if is_sound(intent) => sound,
                _ => {
                    entry.items.push(Item::Reject { inbox, index, events: 1 });
                    entry.fates.push(reject(index, Some(current_day(tenant))));
                    continue;
                }
            };
            match self.place(tenant, sound.at) {
                Place::Nowhere => {
                    entry.items.push(Item::Reject { inbox, index, events: 1 });
                    entry.fates.push(reject(index, Some(current_day(tenant))));
                }
                Place::Day(date) => {
                    entry.items.push(Item::Event { inbox, index, date });
                    let fate = self.judge_one((&key, message), sound, date, index);
                    entry.fates.push(fate);
                }
            }
        }
    }

    fn place(&self, tenant: &TenantModel, at: Instant) -> Place {
        let table = tenant.definition.table.as_ref().and_then(|name| self.tables.get(name.as_str()));
        let Some(table) = table else { return Place::Nowhere };
        // The last date that opened by then; where dates do not exist, the last of equal ones.
        let opened = table.cutoffs.iter().filter(|cutoff| **cutoff <= at).count();
        if opened == 0 || opened == table.cutoffs.len() {
            return Place::Nowhere;
        }
        // From where a day was ended by hand, the next date that opens later.
        let mut index = opened - 1;
        loop {
            let date = table.first.plus(index as i32);
            let ended = tenant.definition.boundaries.iter().any(|boundary| boundary.date == date && boundary.at <= at);
            if !ended {
                break;
            }
            let Some(next) = table.cutoffs.iter().rposition(|cutoff| *cutoff == table.cutoffs[index + 1]) else {
                break;
            };
            if next + 1 >= table.cutoffs.len() {
                return Place::Nowhere;
            }
            index = next;
        }
        let date = table.first.plus(index as i32);
        if date < tenant.definition.first_day { Place::Nowhere } else { Place::Day(date) }
    }

    fn judge_one(&mut self, (key, message): (&str, &Message), sound: &Sound, date: Date, index: u32) -> Fate {
        let (kind, had_events) = self.kinds.get_mut(&message.kind).expect("a known kind");
        *had_events = true;
        let mode = kind.mode;
        let policies = self.policies_by_day(key, message);
        let tenant = self.tenants.get_mut(key).expect("a known tenant");
        let fate = |booked, disposition, is_told| fate((key, message), index, Some(booked), disposition, is_told);
        if date < tenant.expired_before {
            return fate(current_day(tenant), Disposition::Rejected, true);
        }
        tenant.has_events = true;
        let row = Rc::new(sound.row(date));
        let key = sound.id.clone().map(|id| (message.kind.clone(), id));
        let known = key.as_ref().and_then(|key| tenant.entities.get(key)).cloned();
        if key.as_ref().is_some_and(|key| tenant.remembered.contains_key(key)) {
            return fate(date, Disposition::Rejected, true);
        }
        if known.is_none() && key.is_some() {
            let kept = tenant.entities.keys().filter(|(kind, _)| *kind == message.kind).count() as u64;
            if tenant.definition.quotas.entities.is_some_and(|quota| kept >= quota) {
                return fate(date, Disposition::Rejected, true);
            }
        }
        let mut version = sound.version.unwrap_or(0);
        if let Some(known) = &known {
            let same = Row { date, ..(*known.row).clone() } == *row;
            match (mode, sound.version) {
                _ if same && (mode == Mode::Fact || sound.version.is_none_or(|it| it == known.version)) => {
                    return fate(date, Disposition::Duplicate, false);
                }
                (Mode::Fact, _) => return fate(date, Disposition::Rejected, true),
                (Mode::Entity, None) => version = known.version + 1,
                (Mode::Entity, Some(it)) if it < known.version => return fate(date, Disposition::Stale, true),
                (Mode::Entity, Some(it)) if it == known.version => return fate(date, Disposition::Rejected, true),
                (Mode::Entity, Some(_)) => {}
            }
        }
        let into_closed = has_closed(tenant, date);
        let old_in_closed = known.as_ref().filter(|known| has_closed(tenant, known.row.date));
        let is_late = into_closed || old_in_closed.is_some_and(|known| known.row.status != Status::Draft);
        let held_on_closed = known.as_ref().and_then(|known| known.held.as_ref());
        let is_refused = into_closed
            || held_on_closed.is_some_and(|held| has_closed(tenant, held.date) && held.status != Status::Draft);
        let late_for = if into_closed { date } else { old_in_closed.map_or(date, |known| known.row.date) };
        let mut fate = match (is_late, policies(late_for)) {
            (_, [false, false, true]) if is_refused => fate(date, Disposition::Rejected, true),
            (true, [false, true, _]) => fate(date, Disposition::Carried, false),
            _ if row.status == Status::Draft => fate(date, Disposition::Pending, false),
            _ => fate(date, Disposition::Counted, false),
        };
        // Carried forward: what would change a closed day changes the first one that has not closed.
        let mut open = current_day(tenant);
        while has_closed(tenant, open) {
            open = open.next();
        }
        let post = |row: &Rc<Row>, sign| Posting {
            date: if has_closed(tenant, row.date) { open } else { row.date },
            sign,
            row: row.clone(),
        };
        fate.carried.extend(known.as_ref().map(|known| post(&known.row, -1)));
        fate.carried.push(post(&row, 1));
        let own = |row: &Rc<Row>, sign| Posting { date: row.date, sign, row: row.clone() };
        fate.restated.extend(known.as_ref().map(|known| own(&known.row, -1)));
        fate.restated.push(own(&row, 1));
        // Held: a closed day neither takes a row nor gives one that counts away.
        let held = known.as_ref().and_then(|known| known.held.clone());
        fate.is_refused = is_refused;
        if !fate.is_refused {
            fate.held.extend(held.iter().filter(|held| !has_closed(tenant, held.date)).map(|held| own(held, -1)));
            fate.held.push(own(&row, 1));
        }
        fate.groups = tenant.definition.quotas.groups;
        let held = if fate.is_refused { held } else { Some(row.clone()) };
        fate.accepted = Some((sound.id.clone(), row.clone()));
        if let Some(key) = key {
            tenant.entities.insert(key, Known { version, row, held });
        }
        fate
    }

    /// Whether views of the event's kind restate a day, carry forward from it and reject; where there are none, days are restated.
    fn policies_by_day(&self, key: &str, message: &Message) -> impl Fn(Date) -> [bool; 3] + use<> {
        let tenant = &self.tenants[key];
        let views: Vec<_> = self
            .views(&tenant.definition, self.entries.len())
            .map(|each| each.view.clone())
            .filter(|view| view.kind.as_str() == message.kind)
            .collect();
        move |date| {
            let has = |policy| views.iter().any(|view| view.late_on(date) == policy);
            let [restate, carry, reject] = [LatePolicy::Restate, LatePolicy::CarryForward, LatePolicy::Reject].map(has);
            [restate || !(carry || reject), carry, reject]
        }
    }
}

/// What becomes of an event that does nothing to any view.
fn fate(
    (key, message): (&str, &Message),
    index: u32,
    booked: Option<Date>,
    disposition: Disposition,
    is_told: bool,
) -> Fate {
    Fate {
        tenant: key.to_owned(),
        kind: message.kind.clone(),
        index,
        events: 1,
        booked,
        disposition,
        is_told,
        accepted: None,
        carried: Vec::new(),
        restated: Vec::new(),
        held: Vec::new(),
        is_refused: false,
        groups: None,
    }
}

/// The newest day that opened, or the first.
fn current_day(tenant: &TenantModel) -> Date {
    tenant.open_day.unwrap_or(tenant.definition.first_day).max(tenant.expired_before)
}

fn has_closed(tenant: &TenantModel, date: Date) -> bool {
    date < tenant.expired_before || tenant.closed.contains(&date)
}
