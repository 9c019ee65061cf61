//! What a replica does with batches that change nothing: the simulation has the others.

use super::*;
use daybook_contracts::log::{FORMAT, Through};
use std::path::PathBuf;

const PACE: Pace = Pace { checkpoint: Duration::from_secs(4), snapshot: Duration::from_secs(60) };

fn at(seconds: u64) -> Moment {
    Moment { now: Duration::from_secs(seconds), closed_bytes: None, is_ample: true, is_full: false }
}

fn replica() -> Replica {
    let settings = Settings { pace: PACE, patience: Duration::from_secs(120), rows_at_once: 10, slack: 0 };
    let state = PartitionState::new(Partition(0));
    Replica::new(Partition(0), Subjects::new("daybook").unwrap(), state, 0, settings, Duration::ZERO)
}

fn fed(position: u64, pending: u64) -> Input {
    let batch = Batch { format: FORMAT, through: Through::default(), records: Vec::new() };
    Input::Fed(Ok(Fed { position: LogSeq(position), stored_at: Instant::MIN, batch, pending }))
}

/// What it does when it hears something; batches are applied.
fn heard(replica: &mut Replica, input: Input, moment: Moment) -> Vec<String> {
    replica.handle(input, moment).unwrap();
    let mut done = Vec::new();
    while let Some(action) = replica.next(moment).unwrap() {
        done.push(match action {
            Action::Apply(fed) => {
                let position = fed.position;
                assert!(replica.apply(fed, moment.now).is_empty());
                format!("apply {position}")
            }
            Action::BeginCheckpoint => "begin a checkpoint".to_owned(),
            Action::Reached => "reached".to_owned(),
            Action::Tell => "tell".to_owned(),
            action => panic!("{action:?}"),
        });
    }
    done
}

fn saved(checkpoint: Checkpoint, outcome: Result<(), StoreError>) -> Input {
    let Checkpoint { position, changes, .. } = checkpoint;
    Input::Saved(Saved { position, changes, outcome, snapshot: None })
}

#[test]
fn it_is_level_when_nothing_stands_behind_the_last_batch() {
    let mut replica = replica();
    assert_eq!(heard(&mut replica, fed(3, 1), at(1)), ["apply 3", "tell"]);
    assert!(!replica.has_been_level() && replica.pending() == 1);
    assert_eq!(heard(&mut replica, fed(5, 0), at(2)), ["apply 5", "reached", "tell"]);
    assert!(replica.is_level() && replica.since_level(at(5).now) == Some(Duration::from_secs(3)));
    assert_eq!(heard(&mut replica, Input::PassedOver { pending: 2 }, at(6)), ["tell"]);
    assert!(!replica.is_level() && replica.has_been_level());
    assert_eq!(heard(&mut replica, Input::PassedOver { pending: 0 }, at(7)), ["tell"]);
    assert_eq!(replica.since_level(at(7).now), Some(Duration::ZERO));
}

#[test]
fn it_ends_at_a_batch_that_cannot_be_read_when_those_before_are_applied() {
    let mut replica = replica();
    replica.handle(fed(1, 1), at(0)).unwrap();
    replica.handle(Input::Fed(Err(NotWritten::Unreadable("of the future".to_owned()))), at(0)).unwrap();
    let Some(Action::Apply(first)) = replica.next(at(0)).unwrap() else { panic!("the first can be applied") };
    replica.apply(first, Duration::ZERO);
    assert!(matches!(replica.next(at(0)), Ok(Some(Action::Tell))));
    assert!(matches!(replica.next(at(0)), Err(Stop::Unreadable(_))));
}

#[test]
fn a_checkpoint_is_made_of_what_is_new_and_again_when_it_failed() {
    let turn = || Input::Turn { is_early: false };
    let mut replica = replica();
    assert!(heard(&mut replica, turn(), at(1)).is_empty() && !replica.has_unsaved());
    heard(&mut replica, fed(3, 0), at(2));
    assert_eq!(heard(&mut replica, turn(), at(4)), ["begin a checkpoint"]);
    // There was no memory for it.
    assert_eq!(heard(&mut replica, turn(), at(8)), ["begin a checkpoint"]);
    let first = replica.begin_checkpoint(at(8).now);
    assert!(first.position == LogSeq(3) && first.snapshot.is_none() && first.changes.rows() > 0);
    heard(&mut replica, fed(4, 0), at(9));
    assert!(heard(&mut replica, turn(), at(12)).is_empty(), "one at a time");
    heard(&mut replica, saved(first, Err(StoreError::Locked(PathBuf::new()))), at(13));
    assert!(heard(&mut replica, turn(), at(16)).is_empty(), "it is too early for another try");
    assert_eq!(heard(&mut replica, turn(), at(17)), ["begin a checkpoint"]);
    let second = replica.begin_checkpoint(at(17).now);
    assert!(second.position == LogSeq(4) && second.changes.rows() > 0);
    heard(&mut replica, Input::Committed, at(18));
    heard(&mut replica, saved(second, Ok(())), at(18));
    assert_eq!(replica.saving().position(), LogSeq(4));
    assert!(heard(&mut replica, turn(), at(20)).is_empty());
    // A snapshot of it is due, though nothing comes any more.
    assert_eq!(heard(&mut replica, turn(), at(60)), ["begin a checkpoint"]);
    assert!(replica.begin_checkpoint(at(60).now).snapshot.is_some_and(|due| due.is_whole));
}

#[test]
fn it_ends_when_its_store_is_damaged() {
    let mut replica = replica();
    heard(&mut replica, fed(1, 0), at(1));
    let damaged = StoreError::Damaged { path: PathBuf::new(), why: String::new() };
    let checkpoint = replica.begin_checkpoint(at(4).now);
    assert!(matches!(replica.handle(saved(checkpoint, Err(damaged)), at(5)), Err(Stop::Store(_))));
}
