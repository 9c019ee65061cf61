//! How much of the log and which snapshots are kept: the log is trimmed below a snapshot that is on the broker, so that a
//! shard that has lost its folder always finds a state and everything after it. See docs/decisions/0015-retention.md.

use crate::reclaim::{Patience, Reclaiming};
use crate::snapshots::{self, Snapshot, SnapshotError};
use crate::sweep::SWEEP_DEADLINE;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_runtime::append::stream_handle;
use daybook_runtime::connection::Connection;
use daybook_runtime::log::beginning;
use daybook_runtime::retention::Retention;
use std::time::Duration;
use tokio::sync::Mutex;

/// Into how many parts the retention is divided by snapshots: the log reaches back for as long as the retention and one
/// of them, and a partition has two snapshots more than this.
const PARTS: u32 = 4;

/// What is to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The snapshot that the log is trimmed to: its own batch stays.
    pub floor: Option<LogSeq>,
    /// Positions of snapshots that nobody needs.
    pub superseded: Vec<LogSeq>,
}

impl Plan {
    /// What is to go when there are these `snapshots`, in order of their positions.
    pub fn of(snapshots: &[Snapshot], retention: Retention) -> Self {
        let Some((newest, older)) = snapshots.split_last() else { return Self::default() };
        let Some(age) = retention.age() else {
            let superseded = older.iter().map(|snapshot| snapshot.position).collect();
            return Self { floor: None, superseded };
        };
        // What a backfill reads must not be trimmed while a view or season waits for it: snapshots of before do not tell.
        let is_floor = |snapshot: &&Snapshot| newest.is_whole && snapshot.is_whole && snapshot.age >= age;
        let floor = snapshots.iter().rev().find(is_floor).map(|snapshot| snapshot.position);
        let mut superseded = Vec::new();
        let mut kept: Option<Duration> = None;
        for snapshot in older {
            let is_below = floor.is_some_and(|floor| snapshot.position < floor);
            let is_close = kept.is_some_and(|kept| kept.saturating_sub(snapshot.age) < age / PARTS);
            if Some(snapshot.position) == floor || !is_below && !is_close && snapshot.is_whole {
                kept = Some(snapshot.age);
            } else {
                superseded.push(snapshot.position);
            }
        }
        debug_assert!(!superseded.contains(&newest.position) && floor.is_none_or(|floor| !superseded.contains(&floor)));
        Self { floor, superseded }
    }

    /// The one of the `snapshots` that must be complete before anything goes: the floor, or else the newest one.
    pub fn relies_on(&self, snapshots: &[Snapshot]) -> Option<LogSeq> {
        let newest = snapshots.last().filter(|_| !self.superseded.is_empty());
        self.floor.or(newest.map(|snapshot| snapshot.position))
    }
}

/// Removes what is over its retention, unless that is `None`, and the pieces that no snapshot names any more. What fails is tried
/// again the next time.
pub(crate) async fn tidy(
    connection: &Connection,
    partition: Partition,
    retention: Option<Retention>,
    reclaiming: &Mutex<Reclaiming>,
) {
    if let Some(retention) = retention
        && let Err(error) = apply(connection, partition, retention).await
    {
        tracing::warn!(%partition, %error, "what is over its retention was not removed");
    }
    let mut reclaiming = reclaiming.lock().await;
    let reclaims = reclaiming.reclaim(connection, partition, Patience::USUAL);
    match tokio::time::timeout(SWEEP_DEADLINE, reclaims).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%partition, %error, "pieces that no snapshot names were not removed"),
        Err(_) => tracing::debug!(%partition, "pieces that no snapshot names were not removed in time"),
    }
}

/// Removes snapshots that nobody needs, and of the log what is older than `retention` and below a snapshot. Any number of
/// shards may do it at once: what is removed is below the newest snapshot that each of them sees, and newer ones only
/// come. Only a snapshot of which every piece has been seen to be there is relied on: one that cannot be read is passed over as if it
/// were not there, and goes once it is below another.
///
/// # Errors
/// When the broker does not answer, or refuses: what is left is removed the next time.
pub async fn apply(connection: &Connection, partition: Partition, retention: Retention) -> Result<(), SnapshotError> {
    let mut there = snapshots::list(connection, partition).await?;
    let begins = beginning(connection, partition).await;
    let plan = loop {
        let plan = Plan::of(&there, retention);
        let Some(relied_on) = plan.relies_on(&there) else { break plan };
        let is_trimmed = plan.floor.is_none_or(|floor| begins.is_some_and(|begins| begins.position >= floor));
        // To look for all pieces of a snapshot would be for nothing.
        if is_trimmed && plan.superseded.is_empty() {
            break plan;
        }
        match snapshots::is_complete(connection, partition, relied_on).await {
            Ok(true) => break plan,
            Ok(false) => tracing::warn!(%partition, %relied_on, "a snapshot is not complete"),
            Err(error) => tracing::warn!(%partition, %relied_on, %error, "a snapshot cannot be read"),
        }
        there.retain(|snapshot| snapshot.position != relied_on);
    };
    // The log first: between the two there is a snapshot too many, never one too few.
    if let Some(floor) = plan.floor {
        trim(connection, partition, floor).await?;
    }
    for position in plan.superseded {
        snapshots::remove(connection, partition, position).await?;
    }
    Ok(())
}

/// Removes the partition's batches before the one at `floor`, which stays: so the last batch, which the fence needs, does.
async fn trim(connection: &Connection, partition: Partition, floor: LogSeq) -> Result<(), SnapshotError> {
    let failed = |error: async_nats::Error| SnapshotError::Broker(error.to_string());
    let subjects = &connection.subjects;
    let stream = stream_handle(connection, &subjects.events_stream()).await.map_err(failed)?;
    let purged = stream.purge().filter(subjects.events(partition)).sequence(floor.0).await;
    let purged = purged.map_err(|error| SnapshotError::Trim(error.to_string()))?;
    if purged.purged > 0 {
        metrics::counter!("daybook_log_batches_trimmed_total").increment(purged.purged);
        tracing::debug!(%partition, %floor, batches = purged.purged, "trimmed the log");
    }
    metrics::gauge!("daybook_log_trimmed_below", "partition" => partition.to_string()).set(floor.0 as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(position: u64, age: u64) -> Snapshot {
        Snapshot { position: LogSeq(position), age: Duration::from_secs(age), is_whole: true }
    }

    fn plan(snapshots: &[Snapshot], retention: &str) -> (Option<u64>, Vec<u64>) {
        let Plan { floor, superseded } = Plan::of(snapshots, retention.parse().unwrap());
        (floor.map(|floor| floor.0), superseded.into_iter().map(|position| position.0).collect())
    }

    #[test]
    fn for_ever_keeps_the_newest_snapshot_and_all_of_the_log() {
        assert_eq!(plan(&[], "0"), (None, vec![]));
        assert_eq!(plan(&[snapshot(3, 9), snapshot(7, 5)], "0"), (None, vec![3]));
    }

    #[test]
    fn the_log_is_trimmed_to_the_newest_snapshot_that_is_old_enough() {
        let all = [snapshot(1, 300), snapshot(2, 200), snapshot(3, 100), snapshot(4, 70), snapshot(5, 10)];
        assert_eq!(plan(&all, "100s"), (Some(3), vec![1, 2]));
        assert_eq!(plan(&all, "90s"), (Some(3), vec![1, 2]));
        assert_eq!(plan(&all, "400s"), (None, vec![4]), "4 is within a quarter of 3");
        assert_eq!(plan(&all, "1s"), (Some(5), vec![1, 2, 3, 4]));
        assert_eq!(plan(&[snapshot(5, 1)], "2s"), (None, vec![]));
    }

    #[test]
    fn a_snapshot_that_waits_for_a_backfill_is_no_floor() {
        let waits = Snapshot { is_whole: false, ..snapshot(3, 100) };
        assert_eq!(plan(&[snapshot(2, 200), waits, snapshot(4, 10)], "50s"), (Some(2), vec![3]));
        assert_eq!(plan(&[snapshot(2, 200), waits], "50s"), (None, vec![]), "it goes on waiting");
        assert_eq!(plan(&[waits, snapshot(4, 10)], "50s"), (None, vec![3]));
    }

    #[test]
    fn a_partition_has_few_snapshots_whatever_the_interval() {
        let retention = 1_000;
        let mut kept: Vec<(u64, u64)> = Vec::new();
        for now in 0..10_000 {
            kept.push((now + 1, now));
            let snapshots: Vec<_> = kept.iter().map(|(position, at)| snapshot(*position, now - at)).collect();
            let (floor, superseded) = plan(&snapshots, "1000s");
            kept.retain(|(position, _)| !superseded.contains(position));
            assert!(kept.len() <= PARTS as usize + 2, "{kept:?}");
            // From then on the log reaches back as far as was asked for, and not much farther.
            assert_eq!(floor.is_some(), now >= retention);
            if let Some(floor) = floor {
                let age = now - (floor - 1);
                assert!((retention..=retention + retention / u64::from(PARTS)).contains(&age), "{age}");
            }
        }
    }
}
