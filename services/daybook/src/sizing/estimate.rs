//! The arithmetic.

use super::load::{Installation, KindLoad, SizingLoad, ViewLoad};
use super::rules;
use daybook_machine::KEEP_DAYS;
use daybook_runtime::store::Backend;
use serde::Serialize;

/// Days of which everything is kept: the open one, and those that can be corrected.
const KEPT_DAYS: u64 = 1 + KEEP_DAYS as u64;
/// Most partitions of an installation.
const MAX_PARTITIONS: u64 = 256;
const DAYS_OF_YEAR: u64 = 365;

/// What an installation needs. Bytes are of one copy, unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizingEstimate {
    /// What the state of all partitions takes in memory.
    pub memory: Vec<SizingItem>,
    pub state_bytes: u64,
    pub shards: ShardNeed,
    pub ids: RememberedIds,
    /// Folders of the shards.
    pub store_bytes: u64,
    pub broker: BrokerNeed,
}

/// Things of one sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizingItem {
    pub what: &'static str,
    pub count: u64,
    pub bytes: u64,
}

/// Shard processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShardNeed {
    /// Of one partition, with what waits for it.
    pub partition_bytes: u64,
    /// Partitions that fit into one process.
    pub partitions_of_process: u64,
    /// Processes for all replicas; absent when a process is too small for one partition.
    pub processes: Option<u64>,
    /// Least limit of a process that is large enough for one partition.
    pub least_memory: u64,
    /// Fewest partitions of which one fits into a process; absent when there can be no such number.
    pub least_partitions: Option<u64>,
}

/// Ids of days that can no longer be corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RememberedIds {
    pub count: u64,
    pub memory_bytes: u64,
    /// Of one replica's store.
    pub disk_bytes: u64,
}

/// What the broker keeps on disk, of one copy of each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerNeed {
    pub log_day_bytes: u64,
    /// Of a year, or of the time for which the log is kept and a quarter.
    pub log_bytes: u64,
    pub log_days: u64,
    pub snapshot_bytes: u64,
    /// INBOX, REJECTS and ALERTS when they are full.
    pub bounded_bytes: u64,
}

impl BrokerNeed {
    pub fn total(&self) -> u64 {
        self.log_bytes.saturating_add(self.snapshot_bytes).saturating_add(self.bounded_bytes)
    }
}

/// Works out what the load needs.
pub fn estimate(load: &SizingLoad) -> SizingEstimate {
    let Installation { store, id_bytes, .. } = load.installation;
    let sum = |of: fn(&KindLoad) -> u64| load.kinds.iter().map(of).fold(0, u64::saturating_add);
    let entities = sum(|kind| kind.entities);
    let ids = remembered(load, id_bytes);
    let memory = memory(load, entities, store, &ids);
    let state_bytes = memory.iter().map(|item| item.bytes).fold(0, u64::saturating_add);
    let kept = entities.saturating_mul(KEPT_DAYS);
    let store_bytes = kept.saturating_mul(rules::ENTITY_IN_FOLDER).saturating_add(ids.disk_bytes);
    SizingEstimate {
        shards: shards(load, state_bytes),
        state_bytes,
        memory,
        ids,
        store_bytes,
        broker: broker(load, kept, &ids),
    }
}

fn memory(load: &SizingLoad, entities: u64, store: Backend, ids: &RememberedIds) -> Vec<SizingItem> {
    let (least, most) = rules::ENTITY_IN_MEMORY;
    let on_disk = match store {
        Backend::Sled => rules::ENTITY_ON_DISK_SLED,
        Backend::Fjall => rules::ENTITY_ON_DISK_FJALL,
    };
    let item = |what, count: u64, bytes: u64| SizingItem { what, count, bytes: count.saturating_mul(bytes) };
    let groups = |view: &ViewLoad| view.tenants.saturating_mul(view.groups_of_tenant).saturating_mul(KEPT_DAYS);
    let group_bytes = |view: &ViewLoad| {
        groups(view).saturating_mul(rules::GROUP + rules::ACCUMULATOR.saturating_mul(view.accumulators))
    };
    let of_views = |of: &dyn Fn(&ViewLoad) -> u64| load.views.iter().map(of).fold(0, u64::saturating_add);
    vec![
        item("entities of the open day", entities, least.midpoint(most)),
        item("entities of closed days, on disk", entities.saturating_mul(KEPT_DAYS - 1), on_disk),
        SizingItem { what: "groups of views", count: of_views(&groups), bytes: of_views(&group_bytes) },
        item(
            "values that metrics hold, at most",
            of_views(&|view| view.values).saturating_mul(KEPT_DAYS),
            rules::HELD_VALUE,
        ),
        SizingItem { what: "remembered ids", count: ids.count, bytes: ids.memory_bytes },
        item("tenants", load.tenants, rules::TENANT),
    ]
}

fn remembered(load: &SizingLoad, id_bytes: u64) -> RememberedIds {
    let (mut count, mut days) = (0_u64, 0_u64);
    for kind in load.kinds.iter().filter(|kind| kind.entities > 0) {
        let beyond = kind.remember.saturating_sub(KEEP_DAYS as u64);
        count = count.saturating_add(kind.entities.saturating_mul(beyond));
        days = days.saturating_add(load.tenants.saturating_mul(beyond));
    }
    let filters = count.saturating_mul(rules::TEN_REMEMBERED_IDS).div_ceil(10);
    RememberedIds {
        count,
        memory_bytes: filters.saturating_add(days.saturating_mul(rules::REMEMBERED_DAY)),
        disk_bytes: count.saturating_mul(id_bytes + rules::REMEMBERED_ID_ON_DISK),
    }
}

fn shards(load: &SizingLoad, state_bytes: u64) -> ShardNeed {
    let installation = &load.installation;
    let partitions = u64::from(installation.partitions.max(1));
    let usable = usable(installation.shard_memory);
    // A tenant lives in one partition.
    let filled = |partitions: u64| partitions.min(load.tenants.max(1));
    let of_partition = |partitions: u64| state_bytes.div_ceil(filled(partitions)).saturating_add(rules::PARTITION);
    let partition_bytes = of_partition(partitions);
    let partitions_of_process = (usable / partition_bytes).min(partitions);
    let replicas = u64::from(installation.replicas.max(1));
    let processes =
        filled(partitions).checked_mul(replicas).zip(Some(partitions_of_process)).filter(|(_, fit)| *fit > 0);
    ShardNeed {
        partition_bytes,
        partitions_of_process,
        // Each process holds whole partitions, and each partition once.
        processes: processes.map(|(all, fit)| all.div_ceil(fit).max(replicas)),
        least_memory: partition_bytes
            .saturating_add(rules::PROCESS)
            .saturating_mul(100)
            .div_ceil(rules::USABLE_PERCENT),
        least_partitions: (1..=MAX_PARTITIONS).find(|partitions| of_partition(*partitions) <= usable),
    }
}

/// What the state of a process with this limit may take.
fn usable(limit: u64) -> u64 {
    let share = u128::from(limit) * u128::from(rules::USABLE_PERCENT) / 100;
    u64::try_from(share).unwrap_or(u64::MAX).saturating_sub(rules::PROCESS)
}

fn broker(load: &SizingLoad, kept: u64, ids: &RememberedIds) -> BrokerNeed {
    let bytes_of = |kind: &KindLoad| {
        rules::EVENT_IN_LOG + kind.columns.saturating_sub(rules::COLUMNS).saturating_mul(rules::COLUMN_IN_LOG)
    };
    let log_day_bytes =
        load.kinds.iter().map(|kind| kind.events.saturating_mul(bytes_of(kind))).fold(0, u64::saturating_add);
    // The log is kept up to a quarter longer than asked.
    let log_days = load.installation.log_days.map_or(DAYS_OF_YEAR, |days| days.saturating_add(days.div_ceil(4)));
    let snapshots = if load.installation.log_days.is_some() { rules::SNAPSHOTS_OF_TRIMMED_LOG } else { 1 };
    let snapshot = kept.saturating_mul(rules::ENTITY_IN_SNAPSHOT).saturating_add(ids.disk_bytes);
    BrokerNeed {
        log_day_bytes,
        log_bytes: log_day_bytes.saturating_mul(log_days),
        log_days,
        snapshot_bytes: snapshot.saturating_mul(snapshots),
        bounded_bytes: rules::BOUNDED_STREAMS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::catalogue::Mode;

    fn load(orders: u64) -> SizingLoad {
        let kind = KindLoad {
            name: "order".to_owned(),
            mode: Mode::Entity,
            events: orders,
            rows: orders,
            entities: orders,
            columns: 3,
            remember: 400,
        };
        let view =
            ViewLoad { name: "sales".to_owned(), tenants: 100, groups_of_tenant: 20, accumulators: 2, values: 0 };
        let installation = Installation {
            partitions: 8,
            replicas: 2,
            stream_replicas: 3,
            shard_memory: 2 << 30,
            store: Backend::Fjall,
            log_days: None,
            id_bytes: 16,
        };
        SizingLoad { tenants: 100, kinds: vec![kind], views: vec![view], installation }
    }

    fn bytes(estimate: &SizingEstimate, what: &str) -> u64 {
        estimate.memory.iter().find(|item| item.what == what).unwrap().bytes
    }

    /// Three million orders a day, of which decision 30 says 4 to 7 GB in memory beyond the open day.
    #[test]
    fn a_month_of_orders_takes_what_was_measured() {
        let found = estimate(&load(3_000_000));
        assert_eq!(bytes(&found, "entities of the open day"), 750_000_000);
        assert_eq!(bytes(&found, "entities of closed days, on disk"), 3_000_000 * 35 * 40);
        assert_eq!(bytes(&found, "groups of views"), 100 * 20 * 36 * 164);
        assert_eq!((found.ids.count, bytes(&found, "tenants")), (3_000_000 * 365, 560_000));
        let ids = 3_000_000 * 365 * 3 / 2 + 100 * 365 * 32;
        assert_eq!((found.ids.memory_bytes, bytes(&found, "remembered ids")), (ids, ids));
        assert_eq!(found.state_bytes, found.memory.iter().map(|item| item.bytes).sum::<u64>());
        assert_eq!(found.store_bytes, 3_000_000 * 36 * 270 + found.ids.count * 19);
        assert_eq!((found.broker.log_day_bytes, found.broker.log_days), (3_000_000 * 68, 365));
        assert_eq!(found.broker.snapshot_bytes, 3_000_000 * 36 * 19 + found.ids.count * 19);
    }

    #[test]
    fn processes_hold_whole_partitions() {
        let found = estimate(&load(3_000_000)).shards;
        let usable = (2_u64 << 30) * 63 / 100 - (64 << 20);
        let fit = usable / found.partition_bytes;
        assert_eq!((found.partitions_of_process, found.processes), (fit, Some(16_u64.div_ceil(fit))));
        let small = estimate(&load(1_000)).shards;
        assert_eq!((small.partitions_of_process, small.processes), (8, Some(2)), "one for each replica");
        let large = estimate(&load(30_000_000)).shards;
        assert_eq!((large.partitions_of_process, large.processes), (0, None));
        let mut more = load(30_000_000);
        more.installation.shard_memory = large.least_memory;
        assert_eq!(estimate(&more).shards.processes, Some(16), "a partition each");
        let mut more = load(30_000_000);
        more.installation.partitions = u16::try_from(large.least_partitions.unwrap()).unwrap();
        assert!(estimate(&more).shards.processes.is_some());
        more.tenants = 2;
        let few = estimate(&more).shards;
        assert!(few.partition_bytes > found.partition_bytes && few.processes.is_none(), "a tenant is in one partition");
        more.tenants = 100;
        more.installation.partitions -= 1;
        assert!(estimate(&more).shards.processes.is_none(), "they are the fewest");
    }

    #[test]
    fn what_is_not_kept_takes_nothing() {
        let mut facts = load(1_000_000);
        (facts.kinds[0].mode, facts.kinds[0].entities) = (Mode::Fact, 0);
        let found = estimate(&facts);
        assert_eq!((found.ids.count, found.store_bytes, bytes(&found, "entities of the open day")), (0, 0, 0));
        assert!(found.broker.log_day_bytes > 0);
        let mut brief = load(1_000_000);
        brief.kinds[0].remember = 35;
        assert_eq!(estimate(&brief).ids, RememberedIds { count: 0, memory_bytes: 0, disk_bytes: 0 });
        brief.installation.log_days = Some(90);
        let broker = estimate(&brief).broker;
        assert_eq!((broker.log_days, broker.snapshot_bytes), (90 + 23, 6 * 1_000_000 * 36 * 19));
    }

    #[test]
    fn no_number_is_too_large() {
        let found = estimate(&load(u64::MAX));
        assert_eq!((found.state_bytes, found.shards.processes), (u64::MAX, None));
    }
}
