//! Watches backfills: which partitions do not have the newest revision of a view in force yet, and when they are ready.
//!
//! [`Backfills`] is pure: it says whom to ask, and judges the answers. [`watch`] asks the shards, beside the manager, so
//! that a shard that is away holds up nothing but its own views. Only the manager publishes.

use crate::messages::Message;
use crate::shards;
use daybook_contracts::ask::{ShardQuestion, ViewProgress};
use daybook_domain::catalogue::Activation;
use daybook_domain::ids::{Name, Partition};
use daybook_runtime::connection::Connection;
use daybook_runtime::membership::Membership;
use futures::future::join_all;
use ractor::ActorRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::{MissedTickBehavior, interval};

/// How often shards are asked while there is something to wait for: a backfill takes effect about so long after it is
/// complete.
const LOOK: Duration = Duration::from_millis(250);
/// How long a shard may take to answer. It counts as away then, and is asked again.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Where the newest revisions of views are not known to be in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfills {
    partitions: u16,
    revisions: BTreeMap<Name, u64>,
    /// By partition and view: whether it has been found ready to be activated.
    waiting: BTreeMap<Partition, BTreeMap<Name, bool>>,
}

impl Backfills {
    /// Of a Daybook with so many partitions, and no views yet.
    pub fn new(partitions: u16) -> Self {
        Self { partitions, ..Self::default() }
    }

    /// Takes the newest revision of each view. One that is news is waited for in every partition; views that are missing were
    /// removed.
    pub fn define(&mut self, revisions: &BTreeMap<Name, u64>) {
        self.revisions.retain(|view, _| revisions.contains_key(view));
        self.waiting.retain(|_, views| {
            views.retain(|view, _| revisions.contains_key(view));
            !views.is_empty()
        });
        for (view, revision) in revisions {
            if self.revisions.insert(view.clone(), *revision) == Some(*revision) {
                continue;
            }
            for partition in Partition::all(self.partitions) {
                self.waiting.entry(partition).or_default().insert(view.clone(), false);
            }
        }
    }

    /// The partitions to ask; none when everything is in force.
    pub fn to_ask(&self) -> Vec<Partition> {
        self.waiting.keys().copied().collect()
    }

    /// Judges a partition's answer: what can be activated there now. Each is told once; the partition is asked on until
    /// it says that the revision is in force.
    pub fn answered(&mut self, partition: Partition, answer: &[ViewProgress]) -> Vec<Activation> {
        let Some(waiting) = self.waiting.get_mut(&partition) else { return Vec::new() };
        let mut ready = Vec::new();
        for progress in answer {
            let (Some(told), Some(newest)) = (waiting.get_mut(&progress.view), self.revisions.get(&progress.view))
            else {
                continue;
            };
            if progress.active >= *newest {
                waiting.remove(&progress.view);
            } else if let Some(pending) = &progress.pending
                && pending.ready
                && pending.revision == *newest
                && !std::mem::replace(told, true)
            {
                ready.push(Activation { view: progress.view.clone(), revision: *newest, since: pending.since });
            }
        }
        if waiting.is_empty() {
            self.waiting.remove(&partition);
        }
        ready
    }
}

/// Asks the shards while anything is pending, and tells the manager what is ready, until the manager is gone.
/// `revisions` are the newest of each view. Of several day-managers only the one that leads asks.
pub async fn watch(
    connection: Connection,
    membership: Arc<Membership>,
    mut revisions: Receiver<BTreeMap<Name, u64>>,
    manager: ActorRef<Message>,
) {
    let mut backfills = Backfills::new(connection.partitions);
    let mut looks = interval(LOOK);
    // A slow answer makes no burst of questions.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        backfills.define(&revisions.borrow_and_update());
        let partitions = backfills.to_ask();
        if partitions.is_empty() {
            if revisions.changed().await.is_err() {
                return;
            }
            continue;
        }
        looks.tick().await;
        if !membership.leads() {
            continue;
        }
        let mut ready = Vec::new();
        for (partition, answer) in ask(&connection, partitions).await {
            let activations = backfills.answered(partition, &answer.unwrap_or_default());
            ready.extend(activations.into_iter().map(|activation| (partition, activation)));
        }
        if !ready.is_empty() && manager.cast(Message::Activate(ready)).is_err() {
            return;
        }
    }
}

/// How the views stand in partitions, of which there are at most 256: all are asked at once. `None` where no shard
/// answers within a second, or it is still catching up with its log.
pub async fn ask(
    connection: &Connection,
    partitions: impl IntoIterator<Item = Partition>,
) -> Vec<(Partition, Option<Vec<ViewProgress>>)> {
    let asked = partitions.into_iter().map(|partition| async move {
        (partition, shards::ask(connection, partition, &ShardQuestion::Views, ANSWER_DEADLINE).await)
    });
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::Backfilling;
    use daybook_contracts::report::Coverage;
    use daybook_domain::ids::LogSeq;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn defined(backfills: &mut Backfills, revisions: &[(&str, u64)]) {
        backfills.define(&revisions.iter().map(|(view, revision)| (name(view), *revision)).collect());
    }

    fn progress(view: &str, active: u64, pending: Option<(u64, bool)>) -> ViewProgress {
        let pending = pending.map(|(revision, ready)| Backfilling {
            revision,
            percent: if ready { 100 } else { 40 },
            ready,
            since: Some(LogSeq(7)),
        });
        ViewProgress { view: name(view), active, pending, coverage: Coverage::Complete }
    }

    fn activation(view: &str, revision: u64) -> Activation {
        Activation { view: name(view), revision, since: Some(LogSeq(7)) }
    }

    #[test]
    fn nobody_is_asked_when_everything_is_in_force() {
        let mut backfills = Backfills::new(2);
        assert_eq!(backfills.to_ask(), []);
        defined(&mut backfills, &[("a", 3), ("b", 1)]);
        assert_eq!(backfills.to_ask(), [Partition(0), Partition(1)]);
        assert_eq!(backfills.answered(Partition(0), &[progress("a", 3, None), progress("b", 1, None)]), []);
        assert_eq!(backfills.to_ask(), [Partition(1)]);
        // A shard that has not read the definition yet, and one that is away.
        assert_eq!(backfills.answered(Partition(1), &[progress("a", 3, None)]), []);
        assert_eq!(backfills.answered(Partition(1), &[]), []);
        assert_eq!(backfills.to_ask(), [Partition(1)]);
        assert_eq!(backfills.answered(Partition(1), &[progress("b", 1, None)]), []);
        assert_eq!(backfills.to_ask(), []);
        defined(&mut backfills, &[("a", 3), ("b", 1)]);
        assert_eq!(backfills.to_ask(), []);
        defined(&mut backfills, &[("a", 4), ("b", 1)]);
        assert_eq!(backfills.to_ask().len(), 2);
    }

    #[test]
    fn what_is_ready_is_told_once_and_watched_until_it_is_in_force() {
        let (mut backfills, here) = (Backfills::new(1), Partition(0));
        defined(&mut backfills, &[("a", 2)]);
        assert_eq!(backfills.answered(here, &[progress("a", 1, Some((2, false)))]), []);
        let ready = [progress("a", 1, Some((2, true)))];
        assert_eq!(backfills.answered(here, &ready), [activation("a", 2)]);
        assert_eq!(backfills.answered(here, &ready), []);
        assert_eq!(backfills.to_ask(), [here]);
        assert_eq!(backfills.answered(here, &[progress("a", 2, None)]), []);
        assert_eq!(backfills.to_ask(), []);
        assert_eq!(backfills.answered(here, &ready), []);
    }

    #[test]
    fn a_revision_that_was_overtaken_is_not_activated() {
        let (mut backfills, here) = (Backfills::new(1), Partition(0));
        defined(&mut backfills, &[("a", 2)]);
        assert_eq!(backfills.answered(here, &[progress("a", 1, Some((2, true)))]), [activation("a", 2)]);
        defined(&mut backfills, &[("a", 3)]);
        assert_eq!(backfills.answered(here, &[progress("a", 2, Some((2, true)))]), []);
        assert_eq!(backfills.answered(here, &[progress("a", 2, Some((3, true)))]), [activation("a", 3)]);
        // The shard may know of one that this day-manager has not read.
        assert_eq!(backfills.answered(here, &[progress("a", 3, Some((4, true)))]), []);
        assert_eq!(backfills.to_ask(), []);
        assert_eq!(backfills.answered(here, &[progress("unknown", 0, Some((1, true)))]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Shards that put one revision after another into force, and answer now and then.
        #[test]
        fn every_view_comes_into_force_everywhere(steps in prop::collection::vec((0..2_u16, 0..3_usize, 0..4_u8), 0..80)) {
            let views = ["a", "b", "c"];
            let mut newest = [1_u64; 3];
            // By partition and view: the revision in force, and the one whose backfill is complete.
            let mut shards = [[(0_u64, 0_u64); 3]; 2];
            let mut backfills = Backfills::new(2);
            let define = |backfills: &mut Backfills, newest: &[u64; 3]| {
                defined(backfills, &views.iter().copied().zip(newest.iter().copied()).collect::<Vec<_>>());
            };
            define(&mut backfills, &newest);
            let answer = |backfills: &mut Backfills, partition: u16, shards: &mut [[(u64, u64); 3]; 2], newest: &[u64; 3]| {
                let shard = &mut shards[usize::from(partition)];
                let answer: Vec<_> = (0..3).map(|v| {
                    let (active, complete) = shard[v];
                    let pending = (active < newest[v]).then(|| (newest[v], complete == newest[v]));
                    progress(views[v], active, pending)
                }).collect();
                let activations = backfills.answered(Partition(partition), &answer);
                for activation in &activations {
                    let v = views.iter().position(|view| *view == activation.view.as_str()).unwrap();
                    prop_assert_eq!(activation.revision, newest[v]);
                    prop_assert_eq!(shard[v].1, newest[v]);
                    prop_assert!(shard[v].0 < newest[v]);
                    shard[v].0 = newest[v];
                }
                Ok(())
            };
            for (partition, view, what) in steps {
                match what {
                    0 => {
                        newest[view] += 1;
                        define(&mut backfills, &newest);
                    }
                    1 | 2 => shards[usize::from(partition)][view].1 = newest[view],
                    _ => answer(&mut backfills, partition, &mut shards, &newest)?,
                }
            }
            for partition in 0..2 {
                shards[usize::from(partition)].iter_mut().zip(newest).for_each(|(view, newest)| view.1 = newest);
                answer(&mut backfills, partition, &mut shards, &newest)?;
                answer(&mut backfills, partition, &mut shards, &newest)?;
            }
            prop_assert!(shards.iter().all(|shard| shard.iter().zip(newest).all(|(view, newest)| view.0 == newest)));
            prop_assert_eq!(backfills.to_ask(), []);
        }
    }
}
