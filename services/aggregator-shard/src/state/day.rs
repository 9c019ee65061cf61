//! One business day of one tenant: its entities and the account of its events. Its figures are in the tenant's
//! [`Windows`](super::window::Windows).

use super::entity::{Entity, EntityKey};
use super::pages::Pages;
use daybook_contracts::ask::DayState;
use daybook_contracts::day::DayMarker;
use daybook_contracts::report::{Account, Change};
use daybook_domain::ids::LogSeq;
use serde::{Deserialize, Serialize};

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
    /// It is among what changed since the last checkpoint. Not part of the state.
    pub is_noted: bool,
}

impl Day {
    pub fn new(from: LogSeq) -> Self {
        Self {
            state: DayState::Upcoming,
            marker: None,
            account: Account::default(),
            entities: Pages::default(),
            from,
            sealed: None,
            changes: Vec::new(),
            changes_omitted: 0,
            is_restating: false,
            digest: 0,
            is_noted: false,
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
