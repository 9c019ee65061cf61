//! Bounds on the questions of one tenant and of one partition that are under way, so that a tenant that asks more than can be
//! answered, and a shard that does not answer, hold up nobody else. Whatever is beyond them is refused at once.
//!
//! Two of these count: one the askers, however many ask the same, and one what is asked, where identical questions are one.

use daybook_contracts::ask::{AskError, AskErrorCode};
use daybook_domain::ids::Partition;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The questions under way, counted.
#[derive(Debug)]
pub struct Turns {
    most: usize,
    most_of_a_tenant: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    all: usize,
    /// There are no more tenants in it than questions under way.
    tenants: HashMap<String, usize>,
    partitions: Vec<usize>,
}

/// One question under way; it counts until this is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    tenant: String,
    partition: Partition,
}

impl Turns {
    /// At most `most` questions of tenants in so many partitions, and `most_of_a_tenant` of each tenant.
    pub fn new(most: usize, most_of_a_tenant: usize, partitions: u16) -> Arc<Self> {
        let partitions = vec![0; usize::from(partitions)];
        let under_way = UnderWay { all: 0, tenants: HashMap::new(), partitions };
        Arc::new(Self { most, most_of_a_tenant, under_way: Mutex::new(under_way) })
    }

    /// Begins a question of the tenant, whether there is one of that name or not. A tenant may have fewer under way than its
    /// partition has left, and a partition no more than all have left: however many tenants flood and however many shards do not
    /// answer, something is left for another.
    ///
    /// # Errors
    /// [`AskErrorCode::Busy`] when as many are under way as may be.
    pub fn begin(self: &Arc<Self>, tenant: &str) -> Result<Turn, AskError> {
        let mut under_way = self.lock();
        let partition = Partition::of(tenant, under_way.partitions.len() as u16);
        let busy = |count: usize, of: &str| {
            let message = format!("{count} questions of the {of} are under way, as many as may be");
            Err(AskError::new(AskErrorCode::Busy, message).hint("wait for answers before asking more"))
        };
        if under_way.tenants.get(tenant).is_some_and(|count| *count >= self.most_of_a_tenant) {
            return busy(self.most_of_a_tenant, "tenant");
        }
        let of_partition = under_way.partitions[usize::from(partition.0)];
        let of_tenant = under_way.tenants.get(tenant).copied().unwrap_or_default();
        let left = (self.most - under_way.all).saturating_sub(of_partition);
        if of_tenant >= left {
            return busy(of_partition, "tenant's partition");
        }
        under_way.all += 1;
        under_way.partitions[usize::from(partition.0)] += 1;
        match under_way.tenants.get_mut(tenant) {
            Some(count) => *count += 1,
            None => {
                under_way.tenants.insert(tenant.to_owned(), 1);
            }
        }
        Ok(Turn { turns: self.clone(), tenant: tenant.to_owned(), partition })
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.turns.lock();
        under_way.all -= 1;
        under_way.partitions[usize::from(self.partition.0)] -= 1;
        if let Some(count) = under_way.tenants.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                under_way.tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_asks_too_much_holds_up_nobody_else() {
        let turns = Turns::new(100, 2, 4);
        let first = turns.begin("greedy").unwrap();
        let _second = turns.begin("greedy").unwrap();
        let refused = turns.begin("greedy").unwrap_err();
        assert_eq!((refused.code, refused.code.number()), (AskErrorCode::Busy, 429));
        assert!(refused.hint.is_some());
        let modest = turns.begin("modest").unwrap();
        drop(first);
        let third = turns.begin("greedy").unwrap();
        assert!(turns.begin("greedy").is_err());
        drop((third, modest));
        assert_eq!(turns.lock().tenants.len(), 1, "who asks nothing takes no room");
    }

    #[test]
    fn however_many_tenants_flood_another_finds_room() {
        let turns = Turns::new(1_024, 256, 4);
        let same = |tenant: &String| Partition::of(tenant, 4) == Partition(0);
        let tenants: Vec<String> = (0..).map(|number| format!("tenant-{number}")).filter(same).take(20).collect();
        let (modest, floods) = tenants.split_first().unwrap();
        for count in 1..=floods.len() {
            // They flood together, until nobody gets any further.
            let mut under_way = Vec::new();
            loop {
                let taken = under_way.len();
                under_way.extend(floods[..count].iter().filter_map(|flood| turns.begin(flood).ok()));
                if under_way.len() == taken {
                    break;
                }
            }
            assert!(under_way.len() >= 256, "there is room for {count} floods");
            assert!(turns.begin(modest).is_ok(), "beside {count} floods");
        }
    }

    #[test]
    fn partitions_without_answers_leave_room_for_the_others() {
        let turns = Turns::new(120, 50, 4);
        let of = |partition| {
            let tenants = (0..).map(|number| format!("tenant-{number}"));
            tenants.filter(move |tenant| Partition::of(tenant, 4) == Partition(partition))
        };
        // All that one partition is given, asked for by many tenants.
        let fill = |partition| of(partition).take(200).flat_map(|tenant| turns.begin(&tenant)).collect::<Vec<_>>();
        let first = fill(0);
        assert_eq!(first.len(), 60);
        let refused = turns.begin(&of(0).next().unwrap()).unwrap_err();
        assert!(refused.code == AskErrorCode::Busy && refused.message.contains("partition"), "{refused}");
        let (second, third) = (fill(1), fill(2));
        assert_eq!((second.len(), third.len()), (30, 15));
        assert!(turns.begin(&of(3).next().unwrap()).is_ok());
        drop((second, third));
        assert!(turns.begin(&of(0).next().unwrap()).is_err());
        drop(first);
        assert_eq!(turns.lock().all, 0);
        assert_eq!(fill(0).len(), 60);
    }
}
