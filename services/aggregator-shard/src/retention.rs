//! How much of the log and which snapshots are kept: the log is trimmed below a snapshot that is on the broker, so that a
//! shard that has lost its folder always finds a state and everything after it. See docs/decisions/0015-retention.md.
//! [`Plan`] and [`Trim`] are the core; [`apply`] carries out what it asks for.

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

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum TrimAction {
    /// List the partition's snapshots, and see where its log begins.
    List,
    /// Look whether all pieces of that snapshot are there.
    Inspect(LogSeq),
    /// Remove the log before that batch.
    Trim(LogSeq),
    /// Remove that snapshot.
    Remove(LogSeq),
    Done,
}

/// What came of an action.
#[derive(Debug)]
pub enum TrimHeard {
    Listed {
        /// In order of their positions.
        snapshots: Vec<Snapshot>,
        /// The position of the log's first batch.
        begins: Option<LogSeq>,
    },
    /// Whether they all are; not, where nobody tells.
    Inspected(bool),
    Carried,
}

/// The core of removing what is over its retention: what goes, and in which order. No clock and no I/O. It ends where an action fails:
/// what is left is removed the next time.
///
/// # Invariants
/// The log is trimmed, and snapshots are removed, only once all pieces of the one that this relies on have been seen to be there.
#[derive(Debug)]
pub struct Trim {
    retention: Retention,
    snapshots: Vec<Snapshot>,
    begins: Option<LogSeq>,
    plan: Plan,
}

impl Trim {
    pub fn begin(retention: Retention) -> (Self, TrimAction) {
        (Self { retention, snapshots: Vec::new(), begins: None, plan: Plan::default() }, TrimAction::List)
    }

    /// Takes what came of the action.
    pub fn heard(&mut self, heard: TrimHeard) -> TrimAction {
        match heard {
            TrimHeard::Listed { snapshots, begins } => {
                (self.snapshots, self.begins) = (snapshots, begins);
                self.plan()
            }
            TrimHeard::Inspected(true) => self.carry_out(),
            // It is passed over as if it were not there, and goes once it is below another.
            TrimHeard::Inspected(false) => {
                let relied_on = self.plan.relies_on(&self.snapshots);
                self.snapshots.retain(|snapshot| Some(snapshot.position) != relied_on);
                self.plan()
            }
            TrimHeard::Carried => self.next_removal(),
        }
    }

    fn plan(&mut self) -> TrimAction {
        self.plan = Plan::of(&self.snapshots, self.retention);
        let is_trimmed = self.plan.floor.is_none_or(|floor| self.begins.is_some_and(|begins| begins >= floor));
        match self.plan.relies_on(&self.snapshots) {
            // To look for all pieces of a snapshot would be for nothing.
            Some(relied_on) if !is_trimmed || !self.plan.superseded.is_empty() => TrimAction::Inspect(relied_on),
            _ => self.carry_out(),
        }
    }

    /// The log first: between the two there is a snapshot too many, never one too few.
    fn carry_out(&mut self) -> TrimAction {
        self.plan.floor.map_or_else(|| self.next_removal(), TrimAction::Trim)
    }

    fn next_removal(&mut self) -> TrimAction {
        if self.plan.superseded.is_empty() {
            return TrimAction::Done;
        }
        TrimAction::Remove(self.plan.superseded.remove(0))
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
/// come. Only a snapshot of which every piece has been seen to be there is relied on, as [`Trim`] says.
///
/// # Errors
/// When the broker does not answer, or refuses: what is left is removed the next time.
pub async fn apply(connection: &Connection, partition: Partition, retention: Retention) -> Result<(), SnapshotError> {
    let (mut core, mut action) = Trim::begin(retention);
    loop {
        let heard = match action {
            TrimAction::List => {
                let snapshots = snapshots::list(connection, partition).await?;
                let begins = beginning(connection, partition).await.map(|beginning| beginning.position);
                TrimHeard::Listed { snapshots, begins }
            }
            TrimAction::Inspect(relied_on) => TrimHeard::Inspected(is_complete(connection, partition, relied_on).await),
            TrimAction::Trim(floor) => {
                trim(connection, partition, floor).await?;
                TrimHeard::Carried
            }
            TrimAction::Remove(position) => {
                snapshots::remove(connection, partition, position).await?;
                TrimHeard::Carried
            }
            TrimAction::Done => return Ok(()),
        };
        action = core.heard(heard);
    }
}

/// Whether all pieces of a snapshot are known to be there.
async fn is_complete(connection: &Connection, partition: Partition, position: LogSeq) -> bool {
    match snapshots::is_complete(connection, partition, position).await {
        Ok(true) => return true,
        Ok(false) => tracing::warn!(%partition, %position, "a snapshot is not complete"),
        Err(error) => tracing::warn!(%partition, %position, %error, "a snapshot cannot be read"),
    }
    false
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

    /// What is done about these snapshots, of which the `broken` ones are not complete, one thing after the other.
    fn done(snapshots: &[Snapshot], begins: u64, broken: &[u64], retention: &str) -> Vec<TrimAction> {
        let (mut trim, mut action) = Trim::begin(retention.parse().unwrap());
        let mut done = Vec::new();
        loop {
            let heard = match &action {
                TrimAction::List => TrimHeard::Listed { snapshots: snapshots.to_vec(), begins: Some(LogSeq(begins)) },
                TrimAction::Inspect(position) => TrimHeard::Inspected(!broken.contains(&position.0)),
                TrimAction::Trim(_) | TrimAction::Remove(_) => TrimHeard::Carried,
                TrimAction::Done => return done,
            };
            let next = trim.heard(heard);
            done.push(std::mem::replace(&mut action, next));
        }
    }

    #[test]
    fn what_goes_is_removed_in_favour_of_a_snapshot_that_is_complete() {
        let all = [snapshot(1, 300), snapshot(2, 200), snapshot(3, 100), snapshot(4, 90), snapshot(5, 10)];
        let at = LogSeq;
        let (list, trim) = (|| TrimAction::List, |position| TrimAction::Trim(at(position)));
        let (inspect, remove) =
            (|position| TrimAction::Inspect(at(position)), |position| TrimAction::Remove(at(position)));
        assert_eq!(done(&all, 1, &[], "100s"), [list(), inspect(3), trim(3), remove(1), remove(2), remove(4)]);
        // The floor is broken, and the next one is taken; the broken one goes later, below another.
        assert_eq!(done(&all, 1, &[3], "100s"), [list(), inspect(3), inspect(2), trim(2), remove(1)]);
        assert_eq!(done(&all[4..], 1, &[5], "1s"), [list(), inspect(5)]);
        // It is trimmed already, and nothing goes.
        assert_eq!(done(&all[2..3], 3, &[3], "100s"), [list(), trim(3)]);
        assert_eq!(done(&all[3..], 1, &[], "0"), [list(), inspect(5), remove(4)]);
        assert_eq!(done(&all[3..], 1, &[5], "0"), [list(), inspect(5)]);
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
