//! Whether other replicas hold the same state: what they tell of their digests is compared with what this one tells.

use compact_str::CompactString;
use daybook_contracts::members::Divergence;
use daybook_runtime::membership::Members;
use std::collections::BTreeSet;
use tokio::sync::watch::Receiver;

/// Compares with every heartbeat, and raises an alarm on a difference. Ends with the membership.
pub async fn watch(mut members: Receiver<Members>, instance: CompactString) {
    let mut alarms = Alarms::default();
    loop {
        for Divergence { partition, log, instance, other } in alarms.new_ones(&members.borrow_and_update(), &instance) {
            tracing::error!(
                %partition, position = %log, %instance, %other,
                "replicas hold different states; one of them answers and reports what is wrong"
            );
            metrics::counter!("daybook_replica_divergence_total").increment(1);
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}

/// What was told already: heartbeats say the same again.
#[derive(Default)]
struct Alarms {
    raised: BTreeSet<Divergence>,
}

impl Alarms {
    /// The differences between `instance` and others that no alarm was raised for yet.
    fn new_ones(&mut self, members: &Members, instance: &CompactString) -> Vec<Divergence> {
        let Some(own) = members.get(instance) else { return Vec::new() };
        let others = members.values().filter(|member| member.instance != *instance);
        let found: BTreeSet<Divergence> = others.flat_map(|other| own.divergences(other)).collect();
        // No more is remembered than heartbeats show.
        let raised = std::mem::replace(&mut self.raised, found);
        self.raised.difference(&raised).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::{DIGEST_FORMAT, Heartbeat, Part, StateDigest};
    use daybook_domain::ids::{LogSeq, Partition};

    fn member(instance: &str, digests: &[(u64, &str)]) -> Heartbeat {
        let digest = |&(log, state): &(u64, &str)| StateDigest {
            log: LogSeq(log),
            format: DIGEST_FORMAT,
            state: state.into(),
            seasons: None,
        };
        let part = Part { digests: digests.iter().map(digest).collect(), ..Part::default() };
        Heartbeat { parts: [(Partition(2), part)].into(), ..Heartbeat::of("aggregator-shard", instance) }
    }

    fn members(of: &[Heartbeat]) -> Members {
        of.iter().map(|member| (member.instance.clone(), member.clone())).collect()
    }

    #[test]
    fn each_difference_is_told_once_by_those_whom_it_concerns() {
        let all = members(&[
            member("a", &[(10, "x"), (20, "y")]),
            member("b", &[(20, "z"), (30, "z")]),
            member("c", &[(10, "x")]),
        ]);
        let mut alarms = Alarms::default();
        let told: Vec<_> = alarms
            .new_ones(&all, &"a".into())
            .into_iter()
            .map(|found| (found.partition.0, found.log.0, found.other))
            .collect();
        assert_eq!(told, [(2, 20, "b".into())]);
        assert_eq!(alarms.new_ones(&all, &"a".into()), []);
        assert_eq!(Alarms::default().new_ones(&all, &"c".into()), []);
        assert_eq!(Alarms::default().new_ones(&all, &"unknown".into()), []);
        // The next position is another one.
        let later = members(&[member("a", &[(20, "y"), (30, "y")]), member("b", &[(20, "z"), (30, "z")])]);
        assert_eq!(alarms.new_ones(&later, &"a".into()).iter().map(|found| found.log.0).collect::<Vec<_>>(), [30]);
    }
}
