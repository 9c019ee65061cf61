//! Runs the partitions that are this process's, as members come and go.

use super::assignment::owners;
use super::{Board, Members, Membership};
use crate::http::Health;
use crate::supervisor::{Child, run_wanted};
use daybook_contracts::members::HEARTBEAT;
use daybook_domain::ids::Partition;
use ractor::SpawnErr;
use std::collections::BTreeSet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How partitions are shared out.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    pub partitions: u16,
    /// How many members run each partition.
    pub replicas: usize,
    /// Go on running a partition that belongs to others now until all of them are ready to serve it.
    pub hand_over: bool,
}

/// Runs of the first `partitions` children those that are this member's, and of the others all, until `stop` is
/// cancelled. A child of a partition is labelled as its part of `health`.
///
/// # Errors
/// When the supervisor cannot be started.
pub async fn run_owned(
    children: Vec<Child>,
    sharing: Sharing,
    membership: Membership,
    board: Board,
    health: Health,
    stop: CancellationToken,
) -> Result<(), SpawnErr> {
    let labels: Vec<String> = children.iter().map(|child| child.label.clone()).collect();
    let mut members = membership.members();
    let first = wanted(&BTreeSet::new(), labels.len(), sharing, &membership.instance, &members.borrow_and_update());
    let partitions = usize::from(sharing.partitions);
    // Not ready before each of them says so.
    let begun = |indices: &mut dyn Iterator<Item = &usize>| {
        indices.filter(|index| **index < partitions).for_each(|index| health.set(&labels[*index], false));
    };
    begun(&mut first.iter());
    let (sender, receiver) = watch::channel(first);
    let deciding = async {
        loop {
            // Also without news: what ended here meanwhile may have left its mark on board and health.
            let _ = tokio::time::timeout(HEARTBEAT, members.changed()).await;
            let before = sender.borrow().clone();
            let now = wanted(&before, labels.len(), sharing, &membership.instance, &members.borrow_and_update());
            begun(&mut now.difference(&before));
            for index in (0..partitions).filter(|index| !now.contains(index)) {
                health.remove(&labels[index]);
                board.remove(Partition(index as u16));
            }
            if now != before {
                tracing::info!(
                    members = members.borrow().len(),
                    partitions = now.len(),
                    "partitions are shared out anew"
                );
                sender.send_replace(now);
            }
        }
    };
    tokio::select! {
        () = deciding => unreachable!("it goes on for ever"),
        ended = run_wanted(children, receiver, stop) => ended,
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
    let names: Vec<&str> = members.keys().map(|name| name.as_str()).collect();
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
mod tests {
    use super::*;
    use daybook_contracts::members::{Heartbeat, Part};
    use daybook_domain::time::Instant;

    fn members(parts: &[(&str, &[u16])]) -> Members {
        let heartbeat = |name: &str, ready: &[u16]| Heartbeat {
            service: "aggregator-shard".into(),
            instance: name.into(),
            version: "1".into(),
            host: "h".into(),
            pid: 1,
            started_at: Instant::from_millis(0),
            joining: false,
            leaving: false,
            parts: ready.iter().map(|p| (Partition(*p), Part { ready: true, ..Part::default() })).collect(),
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
    fn what_is_nobody_elses_is_taken_over() {
        let left: BTreeSet<usize> = [0].into();
        assert_eq!(wanted(&left, 4, SHARING, "a", &members(&[("a", &[0])])), (0..4).collect());
    }
}
