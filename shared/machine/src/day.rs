//! One business day of one tenant: its entities and the account of its events. Its figures are in the tenant's
//! [`Windows`](super::window::Windows).

use super::checkpoint::Summary;
use super::entity::{Entity, EntityKey, KindId};
use super::pages::Pages;
use super::residency::Counted;
use daybook_contracts::ask::DayState;
use daybook_contracts::day::DayMarker;
use daybook_contracts::report::{Account, Change};
use daybook_domain::ids::LogSeq;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A sealed version of the day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub version: u32,
    pub hash: String,
    /// What it says became of the day's events: what changes no figure is not sealed anew when it comes.
    pub account: Account,
}

/// The day.
#[derive(Clone, Debug)]
pub struct Day {
    pub state: DayState,
    /// From its opening marker; a day that only early events know of has none yet.
    pub marker: Option<DayMarker>,
    pub account: Account,
    pub entities: Pages<EntityKey, Entity>,
    /// How many of them are of each kind, for those that are not in memory too. Made anew on restoring.
    pub kinds: Kinds,
    /// The first batch that touched it.
    pub from: LogSeq,
    pub sealed: Option<Sealed>,
    /// Late changes that the next report version is to name.
    pub changes: Vec<Change>,
    pub changes_omitted: u64,
    /// Late events have changed its figures, and the next version of its report waits for a mark in the log.
    pub is_restating: bool,
    /// What it puts into the state's digest, with its windows, when that was taken last. Not part of the state.
    pub digest: u128,
    /// What is counted of it where memory is limited. Not part of the state.
    pub counted: Counted,
    /// It is among what changed since the last checkpoint. Not part of the state.
    pub is_noted: bool,
    /// Of its entities, where the store has one. Not part of the state.
    pub summary: Option<Box<Summary>>,
}

impl Day {
    pub fn new(from: LogSeq) -> Self {
        Self {
            state: DayState::Upcoming,
            marker: None,
            account: Account::default(),
            entities: Pages::default(),
            kinds: Kinds::default(),
            from,
            sealed: None,
            changes: Vec::new(),
            changes_omitted: 0,
            is_restating: false,
            digest: 0,
            counted: Counted::default(),
            is_noted: false,
            summary: None,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state == DayState::Closed
    }

    /// Notes a late change.
    pub fn note(&mut self, change: Change) {
        if self.changes.len() < daybook_contracts::report::MAX_CHANGES {
            self.changes.push(change);
        } else {
            self.changes_omitted += 1;
        }
    }
}

/// How many entities there are of a kind, and what their ids [sum up to](super::remembered::id_sum).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfKind {
    pub kind: KindId,
    pub count: u64,
    pub sum: u128,
}

/// The same by kind. Most tenants have one.
#[derive(Clone, Debug, Default)]
pub struct Kinds(SmallVec<[OfKind; 1]>);

impl Kinds {
    /// Adds an entity, whose id adds so much to the sum.
    pub fn add(&mut self, kind: KindId, sum: u128) {
        match self.0.iter_mut().find(|of| of.kind == kind) {
            Some(of) => (of.count, of.sum) = (of.count + 1, of.sum.wrapping_add(sum)),
            None => self.0.push(OfKind { kind, count: 1, sum }),
        }
    }

    /// Puts a kind in, of which there are some; false, and nothing done, if it is there.
    pub fn put(&mut self, of: OfKind) -> bool {
        let is_new = of.count > 0 && !self.has(of.kind);
        self.0.extend(is_new.then_some(of));
        is_new
    }

    /// How many entities there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|of| of.count).fold(0, u64::saturating_add)
    }

    /// Takes one away that was added.
    pub fn remove(&mut self, kind: KindId, sum: u128) {
        let at = self.0.iter().position(|of| of.kind == kind).expect("an entity of a kind that is counted");
        let of = &mut self.0[at];
        (of.count, of.sum) = (of.count - 1, of.sum.wrapping_sub(sum));
        if of.count == 0 {
            self.0.swap_remove(at);
        }
    }

    pub fn has(&self, kind: KindId) -> bool {
        self.0.iter().any(|of| of.kind == kind)
    }

    /// Those that there are any of, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = OfKind> {
        self.0.iter().copied()
    }

    /// Whether both count and sum up to the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.iter().all(|of| other.0.contains(&of))
    }
}
