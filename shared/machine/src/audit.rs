//! Follows one entity through the log: what each of its events met, and what became of it. An audit is not part
//! of the state and changes nothing of it.
//!
//! The disposition is read off the accounts of the tenant's days before and after the event, so it is what reports count,
//! not a second opinion about it.

use super::PartitionState;
use super::pages::PageKey;
use super::tenant::{Place, Taken, TenantState};
use crate::entity::EntityKey;
use compact_str::CompactString;
use daybook_contracts::log::Event;
use daybook_contracts::reject::Code;
use daybook_contracts::report::Account;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{InboxSeq, LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::Serialize;
use std::collections::BTreeMap;

/// Which entity is followed, and what was seen of it and not taken yet.
#[derive(Debug)]
pub struct Audit {
    tenant: TenantId,
    /// `None`: the id in every kind.
    kind: Option<Name>,
    id: CompactString,
    sightings: Vec<Sighting>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    Counted,
    Pending,
    Duplicate,
    Stale,
    Carried,
    Rejected,
}

impl Disposition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Pending => "pending",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Carried => "carried",
            Self::Rejected => "rejected",
        }
    }

    /// Which of the account's figures grew.
    fn between(before: &Account, after: &Account) -> Option<Self> {
        let figures = [
            (Self::Pending, before.drafts, after.drafts),
            (Self::Duplicate, before.duplicate, after.duplicate),
            (Self::Stale, before.stale, after.stale),
            (Self::Carried, before.carried, after.carried),
            (Self::Rejected, before.rejected, after.rejected),
            // The last, for it also grows by the draft that the event follows.
            (Self::Counted, before.counted, after.counted),
        ];
        if after.published == before.published {
            return None;
        }
        figures.into_iter().find(|(_, before, after)| after > before).map(|(disposition, ..)| disposition)
    }
}

/// What is known of an entity at some position: its newest version, and the day that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Known {
    pub date: Date,
    pub version: u64,
    pub status: Status,
    pub at: Instant,
}

/// A day whose report tells of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedDay {
    pub date: Date,
    /// Whether the day had closed.
    pub closed: bool,
    /// The first version of the day's report that holds the event's effect; it may not be sealed yet.
    pub version: u32,
}

/// One event of the followed entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    pub position: LogSeq,
    pub inbox: InboxSeq,
    pub kind: Name,
    pub event: Event,
    pub disposition: Disposition,
    /// The day whose account has it: the event's own, or the open one when that is over for good.
    pub counted_on: Date,
    pub before: Option<Known>,
    pub after: Option<Known>,
    /// The days whose figures it changed, in order of their dates; none when it was not taken in.
    pub changed: Vec<ChangedDay>,
    pub reject: Option<(Code, String)>,
}

/// What stood before an event.
pub(super) struct Before {
    event: Event,
    accounts: BTreeMap<Date, Account>,
    known: Option<Known>,
}

impl Before {
    fn of(tenant: &TenantState, place: &Place<'_>, event: &Event) -> Self {
        Self { event: event.clone(), accounts: accounts(tenant), known: known(tenant, place, event) }
    }
}

impl Audit {
    /// What stands before the event, if it is one of the followed entity.
    pub(super) fn before(&self, tenant: &TenantState, place: &Place<'_>, event: &Event) -> Option<Before> {
        let is_followed = event.id.as_ref() == Some(&self.id)
            && *place.tenant == self.tenant
            && self.kind.as_ref().is_none_or(|kind| *kind == place.model.kind.name);
        is_followed.then(|| Before::of(tenant, place, event))
    }

    /// Notes what the event did.
    pub(super) fn note(&mut self, before: Before, tenant: &TenantState, place: &Place<'_>, taken: &Taken) {
        let Before { event, accounts: accounts_before, known: known_before } = before;
        let (counted_on, disposition) = accounts(tenant)
            .into_iter()
            .find_map(|(date, after)| {
                let before = accounts_before.get(&date).copied().unwrap_or_default();
                Some((date, Disposition::between(&before, &after)?))
            })
            .expect("every event has exactly one disposition");
        let is_taken = matches!(disposition, Disposition::Counted | Disposition::Pending | Disposition::Carried);
        let mut changed: Vec<ChangedDay> = taken
            .touched
            .iter()
            .chain(&taken.reseal)
            .copied()
            .filter(|_| is_taken)
            // What a change does to a closed day makes a new version, or nothing.
            .filter(|date| !tenant.has_closed(*date) || taken.reseal.contains(date))
            .filter_map(|date| {
                let day = tenant.days.get(&date)?;
                let version = day.sealed.as_ref().map_or(1, |sealed| sealed.version + 1);
                Some(ChangedDay { date, closed: day.is_closed(), version })
            })
            .collect();
        changed.sort_by_key(|day| day.date);
        changed.dedup();
        self.sightings.push(Sighting {
            position: place.position,
            inbox: place.inbox,
            kind: place.model.kind.name.clone(),
            disposition,
            counted_on,
            before: known_before,
            after: known(tenant, place, &event),
            changed,
            reject: taken.rejects.first().map(|reject| (reject.code, reject.reason.clone())),
            event,
        });
    }
}

impl PartitionState {
    /// Follows an entity from here on, instead of the one before; of every kind unless one is named.
    pub fn audit(&mut self, tenant: TenantId, kind: Option<Name>, id: CompactString) {
        self.audit = Some(Audit { tenant, kind, id, sightings: Vec::new() });
    }

    /// What was seen since the last call, in the order of the log.
    pub fn take_sightings(&mut self) -> Vec<Sighting> {
        self.audit.as_mut().map(|audit| std::mem::take(&mut audit.sightings)).unwrap_or_default()
    }

    /// The newest version of an entity, unless its day is no longer kept.
    pub fn known(&self, tenant: &TenantId, kind: &Name, id: &str) -> Option<Known> {
        let key = EntityKey { kind: self.kind_id(kind)?, id: id.into() };
        known_as(self.tenants.get(tenant)?, &key)
    }
}

fn accounts(tenant: &TenantState) -> BTreeMap<Date, Account> {
    tenant.days.iter().map(|(date, day)| (*date, day.account)).collect()
}

fn known(tenant: &TenantState, place: &Place<'_>, event: &Event) -> Option<Known> {
    known_as(tenant, &EntityKey { kind: place.kind, id: event.id.clone()? })
}

fn known_as(tenant: &TenantState, key: &EntityKey) -> Option<Known> {
    let (date, entity) = tenant.find(key.page_hash(), key)?;
    Some(Known { date, version: entity.version, status: entity.status, at: entity.at })
}
