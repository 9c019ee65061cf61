//! What query leaves undone while a shard is behind or has too many questions: freshness. Answers are given again for longer
//! than usual, to those who accept that; `freshness_ms` says how old they are.

use daybook_contracts::members::Heartbeat;
use daybook_domain::ids::Partition;
use std::time::Duration;

/// Questions that would be answered before one of the tenant, from which on the shards of its partition are taken for strained.
pub const STRAINED_QUESTIONS: usize = 64;
/// Batches that every replica of a partition is behind from which on they are taken for strained: where shards stop to push
/// live updates, too.
pub const STRAINED_BATCHES: u64 = 64;
/// How many times as long as usual an answer is given again then.
pub const STALENESS_FACTOR: u32 = 25;
/// For how long at most, unless more is usual.
pub const MAX_SHED_STALENESS: Duration = Duration::from_secs(2);

/// For how long an answer is given again while its shard is strained. Where answers are never given again, not then either.
pub fn shed_staleness(usual: Duration) -> Duration {
    (usual * STALENESS_FACTOR).min(MAX_SHED_STALENESS).max(usual)
}

/// Whether every replica that serves the partition is far behind, by what they tell of themselves.
pub fn are_behind<'m>(members: impl Iterator<Item = &'m Heartbeat>, partition: Partition) -> bool {
    let serving = members.filter_map(|member| member.parts.get(&partition)).filter(|part| part.ready);
    serving.map(|part| part.lag).min().is_some_and(|least| least > STRAINED_BATCHES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::Part;

    #[test]
    fn staleness_is_a_multiple_up_to_a_bound() {
        let shed = |ms| shed_staleness(Duration::from_millis(ms)).as_millis();
        assert_eq!([shed(0), shed(20), shed(80), shed(500), shed(60_000)], [0, 500, 2_000, 2_000, 60_000]);
    }

    #[test]
    fn a_partition_is_behind_when_every_replica_is() {
        let member = |lag, ready| Heartbeat {
            parts: [(Partition(1), Part { ready, lag, ..Part::default() })].into(),
            ..heartbeat()
        };
        let behind = |members: &[Heartbeat]| are_behind(members.iter(), Partition(1));
        assert!(!behind(&[]), "it is not known");
        assert!(!behind(&[member(64, true)]));
        assert!(behind(&[member(65, true), member(900, true)]));
        assert!(!behind(&[member(65, true), member(0, true)]));
        assert!(behind(&[member(65, true), member(0, false)]), "one that does not serve does not count");
        assert!(!are_behind([member(65, true)].iter(), Partition(2)));
    }

    fn heartbeat() -> Heartbeat {
        Heartbeat::of("aggregator-shard", "one")
    }
}
