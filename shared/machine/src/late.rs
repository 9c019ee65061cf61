//! What a change to an entity does to a view, by the view's late policy.
//!
//! A change takes the old version of an entity (if any) out of the day it was in, and puts the new one into its own.
//! It is **late** when its day has closed, or when it takes more than a draft out of a day that has. Then, by the policy that the view
//! has for the day in question
//!
//! - `restate` does so all the same;
//! - `carry_forward` leaves closed days alone, and takes out of, and puts into, the open day instead;
//! - `reject` does nothing: such views go on holding what they held. What that is, where it is not the newest version,
//!   is kept with the entity ([`Held`]). So it does not depend on which views there are, and a view that is defined later
//!   finds what one from the start would have.

use super::entity::{Entity, Held, Version};
use daybook_domain::accumulator::Sign;
use daybook_domain::catalogue::{LatePolicy, Status, View};
use daybook_domain::time::Date;

/// A change to one entity, or a new fact.
#[derive(Clone, Copy, Debug)]
pub struct Change<'e> {
    /// The version before, and the day that holds it.
    pub old: Option<(Date, &'e Entity)>,
    pub new: (Date, Version<'e>),
    /// Whether the old version's day has closed.
    pub from_closed: bool,
    /// Whether the new version's day has closed.
    pub into_closed: bool,
    /// Whether the day of what rejecting views hold has closed.
    pub held_closed: bool,
    /// The open day, to which changes are carried forward.
    pub open: Date,
}

/// One row that is put into a day, or taken out of it.
#[derive(Clone, Copy, Debug)]
pub struct Posting<'e> {
    pub sign: Sign,
    pub date: Date,
    pub row: Version<'e>,
    /// Posted to another day than its own, because that has closed.
    pub is_adjustment: bool,
}

impl<'e> Change<'e> {
    /// A version that comes to a day that is not closed, and before which there was none.
    pub fn in_time(date: Date, version: Version<'e>) -> Self {
        let new = (date, version);
        Self { old: None, new, from_closed: false, into_closed: false, held_closed: false, open: date }
    }

    /// Whether the change comes too late for one of its days.
    pub fn is_late(&self) -> bool {
        self.into_closed || (self.from_closed && self.old.is_some_and(|(_, old)| old.status != Status::Draft))
    }

    /// What rejecting views hold before the change.
    fn held(&self) -> Option<(Date, &'e Entity)> {
        match self.old {
            Some((date, old)) => match &old.held {
                None => Some((date, old)),
                Some(held) => held.version.as_ref().map(|(date, row)| (*date, row)),
            },
            None => None,
        }
    }

    /// Whether rejecting views refuse the change.
    pub fn is_refused(&self) -> bool {
        // A draft is not counted yet: that it moves on leaves a closed day's figures as they are.
        self.into_closed || (self.held_closed && self.held().is_some_and(|(_, held)| held.status != Status::Draft))
    }

    /// What rejecting views hold after the change, when that is not the new version.
    pub fn held_after(&self) -> Option<Box<Held>> {
        let version =
            || self.held().map(|(date, row)| (date, Entity { held: None, is_set_aside: false, ..row.clone() }));
        self.is_refused().then(|| Box::new(Held { version: version() }))
    }

    /// What the change does to a view's days, at most two things, each by the view's policy for the day of the row.
    pub fn postings(&self, view: &View) -> [Option<Posting<'e>>; 2] {
        let posting = |sign, (date, row): (Date, Version<'e>), is_adjustment| {
            Some(Posting { sign, date: if is_adjustment { self.open } else { date }, row, is_adjustment })
        };
        let taken_out =
            |(date, row): (Date, &'e Entity), is_adjustment| posting(Sign::Retract, (date, row.into()), is_adjustment);
        // A view that rejects does so for all of its days.
        if view.late == LatePolicy::Reject {
            return match self.is_refused() {
                true => [None, None],
                false => [
                    self.held().filter(|_| !self.held_closed).and_then(|held| taken_out(held, false)),
                    posting(Sign::Add, self.new, false),
                ],
            };
        }
        let is_carried = |date: Date, is_closed: bool| is_closed && view.late_on(date) == LatePolicy::CarryForward;
        [
            self.old.and_then(|old| taken_out(old, is_carried(old.0, self.from_closed))),
            posting(Sign::Add, self.new, is_carried(self.new.0, self.into_closed)),
        ]
    }

    /// What the change does to seasons, which never close: the rows taken out and put in, by the policy.
    pub fn season_rows(&self, policy: LatePolicy) -> [Option<(Sign, Version<'e>)>; 2] {
        let old = match policy {
            LatePolicy::Reject if self.is_refused() => return [None, None],
            LatePolicy::Reject => self.held(),
            LatePolicy::Restate | LatePolicy::CarryForward => self.old,
        };
        [old.map(|(_, row)| (Sign::Retract, row.into())), Some((Sign::Add, self.new.1))]
    }
}
