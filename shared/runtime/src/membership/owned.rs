//! Runs the partitions that are this process's, as members come and go.

use super::assignment::owners;
use super::{Board, Members, Membership, staying};
use crate::http::Health;
use crate::supervisor::{Child, run_wanted};
use daybook_contracts::members::HEARTBEAT;
use daybook_domain::ids::Partition;
use ractor::SpawnErr;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a partition that has been handed over is served on: what was sent here before word of it came round still
/// arrives.
const LINGER: Duration = Duration::from_millis(150);

/// How partitions are shared out.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    pub partitions: u16,
    /// How many members run each partition.
    pub replicas: usize,
    /// Go on running a partition that belongs to others now until all of them are ready to serve it.
    pub hand_over: bool,
}

/// Runs of the first `partitions` children those that are this member's, and of the others all, and says farewell when they
/// have ended: at once when `stop` is cancelled; when `leave` is, as soon as others are ready to serve each of them, if
/// partitions are handed over. `leave` is also what tells `membership` to say so. A child of a partition is labelled as
/// its part of `health`, which takes the place of one named after the service.
///
/// # Errors
/// When the supervisor cannot be started.
pub async fn run_owned(
    children: Vec<Child>,
    sharing: Sharing,
    membership: Membership,
    board: Board,
    health: Health,
    leave: CancellationToken,
    stop: CancellationToken,
) -> Result<(), SpawnErr> {
    let labels: Vec<String> = children.iter().map(|child| child.label.clone()).collect();
    let mut members = membership.members();
    let first = wanted(&BTreeSet::new(), labels.len(), sharing, &membership.instance, &members.borrow_and_update());
    let partitions = usize::from(sharing.partitions);
    let own = |indices: &mut dyn Iterator<Item = &usize>| {
        for index in indices.filter(|index| **index < partitions) {
            board.own(&health, Partition(*index as u16), &labels[*index]);
        }
    };
    own(&mut first.iter());
    // There may be no partition for this member.
    health.remove(membership.service);
    let (sender, receiver) = watch::channel(first);
    let deciding = async {
        loop {
            tokio::select! {
                () = news(&mut members) => {}
                () = leave.cancelled(), if !sharing.hand_over => return,
            }
            let before = sender.borrow().clone();
            let now = wanted(&before, labels.len(), sharing, &membership.instance, &members.borrow_and_update());
            own(&mut now.difference(&before));
            for index in before.difference(&now).filter(|index| **index < partitions) {
                board.disown(&health, Partition(*index as u16));
            }
            let partitions = now.range(..partitions).count();
            if now != before {
                let members = members.borrow().len();
                tracing::info!(members, partitions, "partitions are shared out anew");
                if sharing.hand_over && !now.is_superset(&before) && members > 1 {
                    sender.send_replace(now.union(&before).copied().collect());
                    tokio::time::sleep(LINGER).await;
                }
                sender.send_replace(now);
            }
            // What was decided has to rest on its leaving.
            let is_leaving = members.borrow().get(&membership.instance).is_some_and(|own| own.leaving);
            if is_leaving && partitions == 0 {
                return;
            }
        }
    };
    let ended = stop.child_token();
    let running = run_wanted(children, receiver, ended.clone());
    tokio::pin!(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        () = deciding => {
            ended.cancel();
            running.await
        }
    };
    membership.farewell().await;
    outcome
}

/// Waits for news of the members, for a heartbeat at most; for as long when nobody is left who could tell any.
async fn news(members: &mut watch::Receiver<Members>) {
    let heartbeat = Instant::now() + HEARTBEAT;
    if let Ok(Err(_)) = tokio::time::timeout_at(heartbeat, members.changed()).await {
        tokio::time::sleep_until(heartbeat).await;
    }
}

/// Which children this member has to run, when it runs `running`.
fn wanted(
    running: &BTreeSet<usize>,
    children: usize,
    sharing: Sharing,
    instance: &str,
    members: &Members,
) -> BTreeSet<usize> {
    let names = staying(members);
    let owners = owners(&names, sharing.partitions, sharing.replicas);
    let is_wanted = |index: usize| {
        if index >= usize::from(sharing.partitions) {
            return true;
        }
        let owners = &owners[index];
        if owners.iter().any(|owner| names[*owner] == instance) {
            return true;
        }
        let partition = Partition(index as u16);
        let is_ready = |owner: &usize| members[names[*owner]].parts.get(&partition).is_some_and(|part| part.ready);
        sharing.hand_over && running.contains(&index) && !owners.iter().all(is_ready)
    };
    (0..children).filter(|index| is_wanted(*index)).collect()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::{Heartbeat, Part};

    fn members(parts: &[(&str, &[u16])]) -> Members {
        let heartbeat = |name: &str, ready: &[u16]| Heartbeat {
            parts: ready.iter().map(|p| (Partition(*p), Part { ready: true, ..Part::default() })).collect(),
            ..Heartbeat::of("aggregator-shard", name)
        };
        parts.iter().map(|(name, ready)| ((*name).into(), heartbeat(name, ready))).collect()
    }

    const SHARING: Sharing = Sharing { partitions: 4, replicas: 1, hand_over: true };

    #[test]
    fn alone_it_runs_everything_and_what_is_no_partition() {
        let all = wanted(&BTreeSet::new(), 5, SHARING, "a", &members(&[("a", &[])]));
        assert_eq!(all, (0..5).collect());
    }

    #[test]
    fn a_partition_is_left_only_when_its_owner_serves_it() {
        let running: BTreeSet<usize> = (0..4).collect();
        let kept = wanted(&running, 4, SHARING, "a", &members(&[("a", &[0, 1, 2, 3]), ("b", &[])]));
        assert_eq!(kept, running, "b serves nothing yet");
        let ready: Vec<u16> = (0..4).collect();
        let left = wanted(&running, 4, SHARING, "a", &members(&[("a", &ready), ("b", &ready)]));
        assert_eq!(left.len(), 2, "half of them are b's");
        let abrupt = Sharing { hand_over: false, ..SHARING };
        assert_eq!(wanted(&running, 4, abrupt, "a", &members(&[("a", &ready), ("b", &[])])), left);
    }

    #[test]
    fn one_that_leaves_serves_until_the_others_do_and_is_given_nothing() {
        let leaving = |mut members: Members, who: &[&str]| {
            who.iter().for_each(|name| members.get_mut(*name).unwrap().leaving = true);
            members
        };
        let running: BTreeSet<usize> = (0..4).collect();
        let of_a = |b: &[u16], who: &[&str]| {
            let members = leaving(members(&[("a", &[0, 1, 2, 3]), ("b", b)]), who);
            wanted(&running, 4, SHARING, "a", &members)
        };
        assert_eq!(of_a(&[], &["a"]), running, "b serves nothing yet");
        assert_eq!(of_a(&[1, 3], &["a"]), [0, 2].into(), "what b serves is left to it");
        assert_eq!(of_a(&[0, 1, 2, 3], &["a"]), [].into());
        assert_eq!(of_a(&[], &["a", "b"]), [].into(), "nobody is left to take anything over");
        assert_eq!(of_a(&[0, 1, 2, 3], &["b"]), running, "a takes over what b serves");
        let alone = leaving(members(&[("a", &[0, 1, 2, 3])]), &["a"]);
        assert_eq!(wanted(&running, 4, SHARING, "a", &alone), [].into(), "nor when it is alone");
        let idle = leaving(members(&[("a", &[]), ("b", &[])]), &["a"]);
        assert_eq!(wanted(&BTreeSet::new(), 4, SHARING, "a", &idle), [].into());
    }

    #[tokio::test]
    async fn news_are_waited_for_when_there_can_be_none() {
        let (sender, mut receiver) = watch::channel(members(&[]));
        sender.send_replace(members(&[("a", &[])]));
        let began = Instant::now();
        news(&mut receiver).await;
        assert!(began.elapsed() < HEARTBEAT, "there were some");
        drop(sender);
        let began = Instant::now();
        news(&mut receiver).await;
        assert!(began.elapsed() >= HEARTBEAT);
    }

    #[test]
    fn what_is_nobody_elses_is_taken_over() {
        let left: BTreeSet<usize> = [0].into();
        assert_eq!(wanted(&left, 4, SHARING, "a", &members(&[("a", &[0])])), (0..4).collect());
    }
}
