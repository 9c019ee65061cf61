//! How a replica begins: the simulated broker and store tell what there is, and what follows from it, which
//! `aggregator_shard::opening` decides, is carried out.

use crate::broker::{Broker, Stream};
use crate::mutation::Mutation;
use crate::settings::{Place, Violation};
use crate::shell::Shell;
use crate::snapshots;
use crate::store::Store;
use aggregator_shard::opening::{Held, Opening, Otherwise, Reach};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_machine::PartitionState;
use daybook_runtime::log::Beginning;
use daybook_runtime::store::Reading;

/// The part of the log that is there.
pub fn reach_of(broker: &Broker, partition: Partition) -> Reach {
    let first = broker.next_batch(partition, 1);
    let end = broker.newest(Stream::Events, partition).map_or(0, |last| last.sequence);
    Reach {
        beginning: first.map(|(position, first)| Beginning {
            position,
            follows: first.follows,
            stored_at: Instant::MIN,
        }),
        end: LogSeq(end),
    }
}

/// Whether the log goes on from what a store holds.
fn goes_on(shell: &Shell, partition: Partition, reach: Reach, held: Held) -> bool {
    let Held { position, through, .. } = held;
    let there = shell.broker.next_batch(partition, position.0.max(1)).filter(|(at, _)| *at == position);
    reach.begins_behind(position)
        || there.is_some_and(|(_, there)| there.marks.through == through)
        || shell.breaks(Mutation::FeedOverGap) && position <= reach.end
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
    let reach = reach_of(&shell.broker, partition);
    let held = found.as_ref().map(Held::of).filter(|held| goes_on(shell, partition, reach, *held));
    let there = snapshots::try_list(shell, partition);
    let Opening { snapshots, otherwise } = Opening::of(held, reach, there.as_deref());
    for position in snapshots {
        match snapshots::fetch(shell, partition, position) {
            Ok((rows, state)) => {
                shell.reach(if held.is_some() && local > LogSeq(0) { Place::Replaced } else { Place::TookOver });
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
    Ok(match otherwise {
        Otherwise::GoOn => found,
        Otherwise::Begin => {
            store.wipe();
            Some(PartitionState::new(partition))
        }
        Otherwise::Refuse(refusal) => {
            shell.reach(Place::Refused);
            shell.trace.note(|| format!("replica {name}: the partition is refused: {refusal:?}"));
            None
        }
    })
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
