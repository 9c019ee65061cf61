//! Rules broken on purpose, one at a time, to show that the simulation finds it. They are broken in the simulated
//! input and output around the real core, or in what goes into it and comes out: product code knows nothing of them.

use crate::fault::named;
use std::fmt;
use std::str::FromStr;

named! {
    /// One broken rule.
    Mutation {
        /// ingest appends whatever the log's end is.
        AppendWithoutFence = "append-without-fence",
        /// ingest takes whatever stands at the log's end for its own batch.
        AdoptRivalBatch = "adopt-rival-batch",
        /// ingest takes an append whose fate is unclear for stored.
        TrustUnclearAppend = "trust-unclear-append",
        /// ingest takes a batch for stored that the log's end shows to be missing.
        DropAbsentBatch = "drop-absent-batch",
        /// ingest begins one message before the log's end.
        ReadCoveredAgain = "read-covered-again",
        /// ingest begins one message too far.
        SkipUncovered = "skip-uncovered",
        /// ingest does not remember which definitions and markers it has taken in.
        ForgetSourceMarks = "forget-source-marks",
        /// ingest begins with all of CATALOG rather than with what the log has of it.
        DefineAhead = "define-ahead",
        /// ingest begins without knowing where days were ended by hand.
        ForgetBoundaries = "forget-boundaries",
        /// ingest goes by its own clock rather than by the broker's stamps.
        StampByOwnClock = "stamp-by-own-clock",
        /// ingest begins as if no mark of a restatement were to come.
        ForgetRestatements = "forget-restatements",
        /// ingest does not write into its batches that a mark is to come.
        HideRestatements = "hide-restatements",
        /// INBOX is trimmed on the word of one round.
        TrimAtOnce = "trim-at-once",
        /// INBOX is trimmed one message beyond what is recorded.
        TrimTooFar = "trim-too-far",
        /// The outbox does not look at the position of what is there.
        OutboxForgetsPosition = "outbox-forgets-position",
        /// The outbox believes the position of whatever stands on a subject.
        BelieveAnyPosition = "believe-any-position",
        /// A shard takes what someone else wrote for a batch without records.
        ApplyForeign = "apply-foreign",
        /// A checkpoint is committed before the outputs up to it are written.
        CheckpointBeforeOutputs = "checkpoint-before-outputs",
        /// Checkpoints do not keep which groups have fired alerts.
        ForgetMarks = "forget-marks",
        /// A checkpoint is used though its rows do not add up to its ledger.
        TrustTornCommit = "trust-torn-commit",
        /// The log is trimmed to its last batch, whatever snapshots there are.
        TrimLogTooFar = "trim-log-too-far",
        /// The broker is told of a snapshot before its pieces are there, which nobody looks for, and what was read of one is taken
        /// for all of it.
        TrustTornSnapshot = "trust-torn-snapshot",
        /// Pieces of the oldest snapshot are removed as if nothing named them.
        ReclaimNamed = "reclaim-named",
        /// A snapshot counts on whatever pieces are there, also on those that no snapshot names.
        ReuseUnnamed = "reuse-unnamed",
        /// A shard goes on behind its checkpoint, and its feed behind the last batch, wherever the log begins.
        FeedOverGap = "feed-over-gap",
        /// A scratch over a trimmed log begins with nothing rather than with a snapshot.
        BackfillFromNothing = "backfill-from-nothing",
        /// A view is taken into force though it was made of another part of the log.
        ActivateOtherHistory = "activate-other-history",
        /// A shard goes on behind the batch after its checkpoint.
        FeedSkipsBatch = "feed-skips-batch",
        /// The second replica takes the records of a batch in another order.
        ReplicaOrder = "replica-order",
        /// The second replica restates days by its own clock rather than at the log's marks.
        RestateByOwnClock = "restate-by-own-clock",
        /// Events that repeat what was said are dropped before they are accounted for.
        ForgetDuplicates = "forget-duplicates",
        /// Quotas of groups are dropped from definitions of tenants before a shard sees them.
        ForgetGroupQuotas = "forget-group-quotas",
        /// A shard judges late events by a view's newest late policy, whatever it was on their day.
        ForgetLateChanges = "forget-late-changes",
        /// A shard ranks by the latest event time among equals rather than by when each reached its score.
        RankByLatestTime = "rank-by-latest-time",
        /// A scratch stops one batch before its base.
        BackfillBaseEarly = "backfill-base-early",
        /// A scratch goes on one batch beyond its base.
        BackfillBaseLate = "backfill-base-late",
        /// An activation does not wait for the backfill.
        ActivateUnmade = "activate-unmade",
        /// day-manager publishes markers whatever has been published.
        MarkerWithoutFence = "marker-without-fence",
        /// day-manager publishes definitions whatever has been published.
        DefineWithoutFence = "define-without-fence",
        /// day-manager begins without having read DAYS.
        ForgetDays = "forget-days",
        /// A restarted day-manager publishes the close of a day with another interval.
        RewriteInterval = "rewrite-interval",
        /// day-manager does not wait for definitions to arrive in INBOX.
        DayBeforeTenant = "day-before-tenant",
        /// A day-manager does not finish what an earlier one left half published.
        SkipRepairs = "skip-repairs",
        /// A shard does not take removals of tenants in.
        KeepRemoved = "keep-removed",
        /// The outbox does not tell the reports of a tenant from those of a removed one.
        ForgetGeneration = "forget-generation",
        /// A page of a closed day comes back as an earlier commit left it.
        StalePage = "stale-page",
        /// Pages leave memory before what has changed of them is on disk.
        EvictUnstored = "evict-unstored",
        /// One of the pages that a batch needs does not come back.
        ForgetPage = "forget-page",
        /// Summaries forget on which day an entity is.
        ForgetHash = "forget-hash",
        /// What a checkpoint that failed would have changed is not in the next one.
        ForgetUnsaved = "forget-unsaved",
        /// A report is stored whatever stands before it.
        RewriteReport = "rewrite-report",
    }
}
