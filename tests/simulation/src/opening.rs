//! How a replica begins: with its store, with a snapshot on the broker, or with the beginning of the log. What
//! `aggregator_shard::checkpoints::open` does, written once more; what is worth fetching, and whether stored rows can be used,
//! is said by its own code.

use crate::broker::Broker;
use crate::mutation::Mutation;
use crate::settings::{Place, Shell, Violation};
use crate::snapshots;
use crate::store::Store;
use aggregator_shard::checkpoints::is_worth_it;
use aggregator_shard::snapshots::Snapshot;
use daybook_contracts::log::Through;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_runtime::store::Reading;

/// The part of the log that is there.
#[derive(Clone, Copy)]
pub struct Reach {
    /// The batch before the first one that is left, 0 for none.
    pub follows: LogSeq,
    /// The last batch, 0 for none.
    pub end: LogSeq,
}

impl Reach {
    pub fn of(broker: &Broker, partition: Partition) -> Self {
        let first = broker.next_batch(partition, 1);
        let follows = first.map_or(LogSeq(0), |(_, first)| first.follows);
        Self { follows, end: broker.log_end(partition).position() }
    }

    /// Whether it is there from that position on.
    pub fn reaches(&self, position: LogSeq) -> bool {
        (self.follows..=self.end).contains(&position)
    }

    pub fn is_trimmed(&self) -> bool {
        self.follows > LogSeq(0)
    }

    /// Whether a state can go on with it: the batch that it has applied last stands there, or did right before the first one.
    fn continues(&self, broker: &Broker, partition: Partition, position: LogSeq, through: Through) -> bool {
        let there = broker.next_batch(partition, position.0.max(1)).filter(|(at, _)| *at == position);
        position == self.follows || there.map(|(_, logged)| logged.marks.through) == Some(through)
    }
}

/// The state that a replica begins with, which its store then holds, with so many bytes of closed days in memory; `None` when the
/// partition is refused.
///
/// # Errors
/// When the store is not what a commit left, and does not say so.
pub fn open(
    shell: &mut Shell,
    partition: Partition,
    name: &str,
    store: &mut Store,
    closed_bytes: Option<u64>,
) -> Result<Option<PartitionState>, Violation> {
    let found = stored(shell, partition, name, store, closed_bytes)?;
    let local = found.as_ref().map_or(LogSeq(0), PartitionState::position);
    let reach = Reach::of(&shell.broker, partition);
    let goes_on = |state: &PartitionState| {
        reach.continues(&shell.broker, partition, state.position(), state.through())
            || shell.breaks(Mutation::FeedOverGap) && state.position() <= reach.end
    };
    let found = found.filter(goes_on);
    let there = snapshots::try_list(shell, partition);
    let needs_it = found.is_none() && reach.is_trimmed();
    let mut there: Vec<Snapshot> = match there {
        None if needs_it => return Ok(refused(shell, name, "the broker does not tell of snapshots")),
        there => there.unwrap_or_default(),
    };
    there.retain(|snapshot| reach.reaches(snapshot.position));
    if there.is_empty() && needs_it {
        return Ok(refused(shell, name, "no state reaches to the beginning of the log"));
    }
    if let Some(state) = &found
        && !is_worth_it(local, state.needs_history(), there.last(), reach.is_trimmed())
    {
        return Ok(found);
    }
    for Snapshot { position, .. } in there.into_iter().rev() {
        match snapshots::fetch(shell, partition, position) {
            Ok((rows, state)) => {
                shell.reach(if found.is_some() && local > LogSeq(0) { Place::Replaced } else { Place::TookOver });
                shell.trace.note(|| format!("replica {name}: takes over the snapshot at {position}, was at {local}"));
                store.replace(rows);
                return Ok(Some(state));
            }
            Err(why) => {
                shell.reach(Place::Unusable);
                shell.trace.note(|| format!("replica {name}: cannot use the snapshot at {position}: {why}"));
            }
        }
    }
    if needs_it {
        // What the store has is left as it is.
        return Ok(refused(shell, name, "its snapshots cannot be used"));
    }
    Ok(Some(found.unwrap_or_else(|| {
        store.wipe();
        PartitionState::new(partition)
    })))
}

fn refused(shell: &mut Shell, name: &str, why: &str) -> Option<PartitionState> {
    shell.reach(Place::Refused);
    shell.trace.note(|| format!("replica {name}: the partition is refused: {why}"));
    None
}

/// What the store holds, the empty state if that is nothing; `None` when it cannot be used.
fn stored(
    shell: &mut Shell,
    partition: Partition,
    name: &str,
    store: &mut Store,
    closed_bytes: Option<u64>,
) -> Result<Option<PartitionState>, Violation> {
    let Some((rows, reading)) = store.open(shell, name, closed_bytes.is_some())? else { return Ok(None) };
    let restored = match (reading, closed_bytes) {
        (Reading::Passing, Some(bytes)) => PartitionState::restore_passing(partition, rows, bytes),
        _ => PartitionState::restore_limited(partition, rows, closed_bytes),
    };
    match restored {
        Ok(state) => Ok(Some(state.unwrap_or_else(|| PartitionState::new(partition)))),
        Err(error) => {
            shell.trace.note(|| format!("replica {name}: its store cannot be used: {error}"));
            Ok(None)
        }
    }
}
