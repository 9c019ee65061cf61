//! How a partition begins: with what its folder holds, with a snapshot on the broker, or with the beginning of the log. Pure:
//! [`crate::checkpoints`] looks at what is there and carries out what follows.

use crate::snapshots::Snapshot;
use daybook_contracts::log::Through;
use daybook_domain::ids::LogSeq;
use daybook_machine::PartitionState;
use daybook_runtime::log::Beginning;

/// How many messages of the log a snapshot must be ahead of the local store to be worth fetching.
const WORTH_FETCHING: u64 = 20_000;

/// The part of the log that is there.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub beginning: Option<Beginning>,
    /// The last message, 0 for none.
    pub end: LogSeq,
}

impl Reach {
    /// Whether the log still has every batch after `position`, which must be a position of this log.
    pub fn reaches(&self, position: LogSeq) -> bool {
        self.beginning.is_none_or(|beginning| beginning.follows <= position) && position <= self.end
    }

    /// Whether the first batch that is left follows that position.
    pub fn begins_behind(&self, position: LogSeq) -> bool {
        position == self.beginning.map_or(LogSeq(0), |beginning| beginning.follows)
    }

    /// The place where it begins, if that is not where it once began.
    pub fn trimmed(&self) -> Option<Beginning> {
        self.beginning.filter(Beginning::is_trimmed)
    }
}

/// A state in the folder that can be used.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub position: LogSeq,
    pub through: Through,
    /// It waits for a backfill.
    pub needs_history: bool,
}

impl Held {
    pub fn of(state: &PartitionState) -> Self {
        Self { position: state.position(), through: state.through(), needs_history: state.needs_history() }
    }
}

/// How a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The first of these snapshots that can be used takes the place of what is in the folder.
    pub snapshots: Vec<LogSeq>,
    /// What is done where none can be used.
    pub otherwise: Otherwise,
}

/// How a partition begins without a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It goes on with what the folder holds.
    GoOn,
    /// The folder is wiped, and the log read from its beginning.
    Begin,
    /// It does not. The folder stays as it is: it may be of use with the other backend, or with a log that is put back.
    Refuse(Refusal),
}

/// Why a partition cannot be begun. Going on would give wrong figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No state reaches to the beginning of the log.
    Unreachable,
    /// The broker does not tell of snapshots.
    Untold,
    /// None of the snapshots can be used.
    Unusable,
}

impl Opening {
    /// `held` is what the folder holds, if the log goes on from there; `snapshots` are those on the broker, in order of their positions,
    /// and `None` if the broker does not tell.
    pub fn of(held: Option<Held>, reach: Reach, snapshots: Option<&[Snapshot]>) -> Self {
        let is_trimmed = reach.trimmed().is_some();
        let is_wanted = |snapshot: &&Snapshot| {
            reach.reaches(snapshot.position) && held.is_none_or(|held| is_worth_it(held, snapshot, is_trimmed))
        };
        let wanted = snapshots.unwrap_or_default().iter().rev().filter(is_wanted);
        let wanted: Vec<LogSeq> = wanted.map(|snapshot| snapshot.position).collect();
        let otherwise = match (held, is_trimmed) {
            (Some(_), _) => Otherwise::GoOn,
            (None, false) => Otherwise::Begin,
            (None, true) if snapshots.is_none() => Otherwise::Refuse(Refusal::Untold),
            (None, true) if wanted.is_empty() => Otherwise::Refuse(Refusal::Unreachable),
            (None, true) => Otherwise::Refuse(Refusal::Unusable),
        };
        Self { snapshots: wanted, otherwise }
    }
}

/// Whether a snapshot replaces a usable state in the folder. Over a trimmed log that happens only when the state waits for a backfill and
/// the snapshot does not: the rest of the log might give the view other figures than the snapshot has.
fn is_worth_it(held: Held, snapshot: &Snapshot, is_trimmed: bool) -> bool {
    let ahead = snapshot.position.0.saturating_sub(held.position.0);
    match is_trimmed {
        true => ahead > 0 && held.needs_history && snapshot.is_whole,
        false => ahead > WORTH_FETCHING || ahead > 0 && held.position == LogSeq(0),
    }
}

/// Whether a replica that lacks part of the log can begin again with the newest snapshot: it is at `position` or behind it, and nothing
/// in it waits for a backfill.
pub fn makes_up_for_the_log(newest: Option<&Snapshot>, position: LogSeq) -> bool {
    newest.is_some_and(|newest| newest.is_whole && newest.position >= position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::time::Instant;
    use std::time::Duration;

    fn reach(follows: u64, end: u64) -> Reach {
        let position = LogSeq(follows + 1);
        let beginning = Beginning { position, follows: LogSeq(follows), stored_at: Instant::MIN };
        Reach { beginning: (end > 0).then_some(beginning), end: LogSeq(end) }
    }

    fn held(position: u64) -> Option<Held> {
        Some(Held { position: LogSeq(position), through: Through::default(), needs_history: false })
    }

    fn waiting(position: u64) -> Option<Held> {
        held(position).map(|held| Held { needs_history: true, ..held })
    }

    /// What is held, the log, the snapshots that there are, and those that are taken over; and what is done otherwise.
    type Case<'c> = (Option<Held>, Reach, Option<&'c [i64]>, &'c [u64], Otherwise);

    /// Snapshots at these positions; at a negative one, it waits for a backfill.
    fn opening(held: Option<Held>, reach: Reach, snapshots: Option<&[i64]>) -> (Vec<u64>, Otherwise) {
        let snapshot = |position: &i64| Snapshot {
            position: LogSeq(position.unsigned_abs()),
            age: Duration::ZERO,
            is_whole: *position > 0,
        };
        let snapshots: Option<Vec<Snapshot>> = snapshots.map(|at| at.iter().map(snapshot).collect());
        let Opening { snapshots, otherwise } = Opening::of(held, reach, snapshots.as_deref());
        (snapshots.into_iter().map(|position| position.0).collect(), otherwise)
    }

    #[test]
    fn a_partition_begins_with_the_best_that_is_there() {
        use Otherwise::{Begin, GoOn, Refuse};
        let (whole, trimmed) = (reach(0, 80_000), reach(40, 80_000));
        let cases: &[Case<'_>] = &[
            // The folder holds nothing that can be used.
            (None, reach(0, 0), Some(&[]), &[], Begin),
            (None, whole, None, &[], Begin),
            (None, whole, Some(&[30, 70]), &[70, 30], Begin),
            (None, whole, Some(&[30, 90_000]), &[30], Begin),
            (None, trimmed, None, &[], Refuse(Refusal::Untold)),
            (None, trimmed, Some(&[]), &[], Refuse(Refusal::Unreachable)),
            (None, trimmed, Some(&[30]), &[], Refuse(Refusal::Unreachable)),
            (None, trimmed, Some(&[30, 40, -70]), &[70, 40], Refuse(Refusal::Unusable)),
            // A state goes on, unless there is a snapshot that spares much of the log.
            (held(20), whole, None, &[], GoOn),
            (held(20), whole, Some(&[20_020]), &[], GoOn),
            (held(20), whole, Some(&[10, 20_021, 60_000]), &[60_000, 20_021], GoOn),
            (held(0), whole, Some(&[1]), &[1], GoOn),
            (held(0), whole, Some(&[]), &[], GoOn),
            // Over a trimmed log it goes on, unless it waits for what a snapshot has.
            (held(50), trimmed, Some(&[60, 80_000]), &[], GoOn),
            (waiting(50), trimmed, Some(&[40, 50, 60, -70, 80]), &[80, 60], GoOn),
            (waiting(50), trimmed, None, &[], GoOn),
        ];
        for (number, (held, reach, there, snapshots, otherwise)) in cases.iter().enumerate() {
            assert_eq!(opening(*held, *reach, *there), (snapshots.to_vec(), *otherwise), "case {number}");
        }
    }

    #[test]
    fn a_snapshot_makes_up_for_the_log_if_it_waits_for_nothing() {
        let snapshot = |is_whole| Snapshot { position: LogSeq(7), age: Duration::ZERO, is_whole };
        let makes_up = |is_whole, position| makes_up_for_the_log(Some(&snapshot(is_whole)), LogSeq(position));
        assert!(makes_up(true, 7) && !makes_up(true, 8) && !makes_up(false, 7));
        assert!(!makes_up_for_the_log(None, LogSeq(0)));
    }
}
