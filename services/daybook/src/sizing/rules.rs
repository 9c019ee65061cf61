//! What each thing takes, as it was measured, and where that stands. `deploy/README.md` has the same rules, and a test compares them.

/// Bytes of an entity, or of a fact with an id, in memory: the least and the most that were measured.
pub const ENTITY_IN_MEMORY: (u64, u64) = (200, 300);
/// Bytes in memory of an entity of a closed day that is on disk, with its place in the table of ids, the store's own memory and small
/// figures: measured with 7.2 M orders.
pub const ENTITY_ON_DISK_FJALL: u64 = 40;
/// The same with sled.
pub const ENTITY_ON_DISK_SLED: u64 = 65;
/// Bytes of a group of a view without its accumulators: its key, and its place in a page.
pub const GROUP: u64 = 100;
/// Bytes of an accumulator of a group: four words.
pub const ACCUMULATOR: u64 = 32;
/// Bytes of a value in an accumulator that holds every value, such as an exact `distinct` or `quantile`.
pub const HELD_VALUE: u64 = 50;
/// Most values that an approximate metric holds in a group: its registers, or its buckets.
pub const APPROXIMATE_VALUES: u64 = 4_096;
/// Bytes of a tenant with its days, without entities and groups.
pub const TENANT: u64 = 5_600;
/// Bytes in memory of ten ids of days that can no longer be corrected.
pub const TEN_REMEMBERED_IDS: u64 = 15;
/// Bytes in memory of a day with such ids, for each tenant and kind.
pub const REMEMBERED_DAY: u64 = 32;
/// Bytes on disk, and in each snapshot, of such an id besides its own length.
pub const REMEMBERED_ID_ON_DISK: u64 = 3;
/// Bytes of a process that has nothing to do.
pub const PROCESS: u64 = 64 << 20;
/// Bytes of batches of a partition that were read and wait.
pub const PARTITION: u64 = 2 << 20;
/// Percent of its limit that the state of a process should take at most. Shards slow down from 85 % on, and took a third more than their
/// state while events came in.
pub const USABLE_PERCENT: u64 = 63;
/// Bytes of an entity in a shard's folder, which holds several versions of its rows.
pub const ENTITY_IN_FOLDER: u64 = 270;
/// Bytes of an entity in a snapshot, which is compressed.
pub const ENTITY_IN_SNAPSHOT: u64 = 19;
/// Snapshots of a partition on the broker while the log is trimmed; otherwise one.
pub const SNAPSHOTS_OF_TRIMMED_LOG: u64 = 6;
/// Bytes of an event in the log, in a message of its own, with three columns.
pub const EVENT_IN_LOG: u64 = 68;
/// Columns of such an event.
pub const COLUMNS: u64 = 3;
/// Bytes of each column beyond these.
pub const COLUMN_IN_LOG: u64 = 8;
/// Bytes of the streams INBOX, REJECTS and ALERTS together, each at its default bound.
pub const BOUNDED_STREAMS: u64 = 3 << 30;
/// Values of a dimension, where nobody says how many groups a view has.
pub const ASSUMED_VALUES: u64 = 20;

/// A rule for people.
pub struct SizingRule {
    pub what: &'static str,
    pub takes: String,
    pub source: &'static str,
}

/// All rules, in the order of the table in `deploy/README.md`.
pub fn rules() -> Vec<SizingRule> {
    let rule = |what, takes: String, source| SizingRule { what, takes, source };
    let (least, most) = ENTITY_IN_MEMORY;
    vec![
        rule("an entity, or a fact with an id, in memory", format!("{least} to {most}"), "`bench month`, decision 30"),
        rule(
            "an entity of a closed day, on disk only, with the store's own memory and small figures",
            format!("{ENTITY_ON_DISK_FJALL} with fjall, {ENTITY_ON_DISK_SLED} with sled"),
            "`bench month`, decision 30",
        ),
        rule(
            "a group of a view, for each day that is kept",
            format!("{GROUP}, and {ACCUMULATOR} for each accumulator"),
            "the types, `cargo test -p daybook-tests --test sizing`",
        ),
        rule(
            "a value of an exact `distinct`, `quantile` or the like, for each day that is kept",
            HELD_VALUE.to_string(),
            "`bench month`, decision 30: 105 for two of them",
        ),
        rule(
            "a tenant with its days",
            thousands(TENANT),
            "`bench tenants`: 15.3 KiB less 20 entities, groups and values",
        ),
        rule(
            "a remembered id",
            format!("{}.{}", TEN_REMEMBERED_IDS / 10, TEN_REMEMBERED_IDS % 10),
            "PERFORMANCE.md, Remembered ids",
        ),
        rule(
            "a day of remembered ids, for each tenant and kind",
            REMEMBERED_DAY.to_string(),
            "PERFORMANCE.md, Remembered ids",
        ),
        rule("a process with nothing to do", format!("{} MiB", PROCESS >> 20), "the least limit that `--memory` takes"),
        rule("a partition, for batches that were read", format!("{} MiB", PARTITION >> 20), "the reader's bound"),
        rule("on disk: an entity in a shard's folder", ENTITY_IN_FOLDER.to_string(), "`bench recovery`, sled"),
        rule(
            "on disk and in a snapshot: a remembered id",
            format!("its length and {REMEMBERED_ID_ON_DISK}"),
            "PERFORMANCE.md, Remembered ids",
        ),
        rule("in a snapshot: an entity", ENTITY_IN_SNAPSHOT.to_string(), "`bench recovery`"),
        rule(
            "in the log: an event with three columns",
            format!("{EVENT_IN_LOG}, and {COLUMN_IN_LOG} for each column more"),
            "`bench apply`, one event a message",
        ),
    ]
}

fn thousands(number: u64) -> String {
    crate::table::count(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::accumulator::Accumulator;

    #[test]
    fn the_page_has_the_same_rules() {
        let page = include_str!("../../../../deploy/README.md");
        for SizingRule { what, takes, source } in rules() {
            let row = format!("| {what} | {takes} | {source} |\n");
            assert!(page.contains(&row), "deploy/README.md lacks this row:\n{row}");
        }
        let (slow, more) = (85, 134);
        assert_eq!(
            USABLE_PERCENT,
            slow * 100 / more,
            "from 85 % on shards pause, and `bench tenants` saw 1,996 for 1,494 MiB"
        );
        assert!(page.contains("| from 85 % | ingest and shards pause"));
    }

    #[test]
    fn what_was_measured_stands_in_the_pages() {
        let performance = include_str!("../../../../docs/PERFORMANCE.md");
        for told in [
            "1.46 to 1.52 bytes",
            "A day with ids takes 32 bytes more",
            "an id takes its own length and 2 to 4 bytes",
            "| 100,000 tenants, a day's state | 19,284 | 1,494 | 1,996 | 15.3 |",
            "| from the local checkpoint, `aec6152`, two runs | 1,353; 1,333 | 92 |",
            "| orders, 1,000 tenants, one a message | 2,000,000 | 68 |",
        ] {
            assert!(performance.contains(told), "{told}");
        }
        let decision = include_str!("../../../../docs/decisions/0030-closed-days-leave-memory.md");
        for bytes in [ENTITY_ON_DISK_FJALL, ENTITY_ON_DISK_SLED] {
            assert!(decision.contains(&format!("| {bytes} |")), "{bytes}");
        }
        // 1,353 MB of 5,000,000 orders, 92 MB of 4,900,000.
        assert_eq!((1_353 / 5, 92_000 / 4_900 + 1), (ENTITY_IN_FOLDER, ENTITY_IN_SNAPSHOT));
        assert_eq!(size_of::<Accumulator>() as u64, ACCUMULATOR);
    }
}
