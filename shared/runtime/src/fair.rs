//! A queue that is fair among tenants: they take turns, so a flood of one waits behind itself.
//!
//! It decides only, and knows neither time nor tasks: whoever owns it says what an item cost.

use daybook_contracts::ask::{AskError, AskErrorCode};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Items of one tenant that wait at most.
    pub waiting_of_a_tenant: usize,
    /// Items of all tenants that wait at most. A tenant may have no more than are left for the others, so that each finds room.
    pub waiting: usize,
    /// Items of one tenant that run at most.
    pub running_of_a_tenant: usize,
    /// Items of all tenants that run at most.
    pub running: usize,
    /// The cost of one turn. An item that costs more uses up further turns of its tenant, as long as others have items waiting.
    pub quantum: u64,
}

/// Turns that one item uses up at most: after those the others have had enough, and a clock that jumped does no harm.
const MAX_TURNS_OF_AN_ITEM: u64 = 64;

/// As many items of the tenant wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    pub waiting: usize,
}

impl Full {
    /// The answer to an asker whose question does not fit.
    pub fn busy(self) -> AskError {
        let message = format!("{} questions of the tenant wait, as many as may", self.waiting);
        AskError::new(AskErrorCode::Busy, message).hint("wait for answers before asking more")
    }
}

/// Items that wait, by tenant, and how many run.
///
/// # Invariants
/// `turns` names each tenant that has an item waiting, once. Items of one tenant begin in the order in which they came. Between two
/// items of a tenant that may run and owes no turns, every other tenant begins one item at most.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    bounds: Bounds,
    /// Those that have items here. Nothing depends on their order.
    tenants: HashMap<K, Tenant<T>>,
    /// Whose turn is next, first.
    turns: VecDeque<K>,
    waiting: usize,
    running: usize,
}

#[derive(Debug)]
struct Tenant<T> {
    waiting: VecDeque<T>,
    running: usize,
    /// Cost beyond the turns that it had. Forgotten with its last item here.
    owed: u64,
}

impl<T> Default for Tenant<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: 0, owed: 0 }
    }
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    /// # Panics
    /// When a bound is 0.
    pub fn new(bounds: Bounds) -> Self {
        let Bounds { waiting_of_a_tenant, waiting, running_of_a_tenant, running, quantum } = bounds;
        let least = waiting_of_a_tenant.min(waiting).min(running_of_a_tenant).min(running);
        assert!(least > 0 && quantum > 0, "a queue has room: {bounds:?}");
        Self { bounds, tenants: HashMap::new(), turns: VecDeque::new(), waiting: 0, running: 0 }
    }

    /// The items that wait, of all tenants.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The items that run, of all tenants.
    pub fn running(&self) -> usize {
        self.running
    }

    /// About how many items begin before one does that the tenant puts here now.
    pub fn ahead_of(&self, key: &K) -> usize {
        let of_tenant = self.tenants.get(key).map_or(0, |tenant| tenant.waiting.len());
        let others = self.turns.len() - usize::from(of_tenant > 0);
        of_tenant + (of_tenant + 1) * others
    }

    /// Puts an item of the tenant behind its others.
    ///
    /// # Errors
    /// When as many of the tenant wait as may.
    pub fn push(&mut self, key: K, item: T) -> Result<(), Full> {
        let of_tenant = self.tenants.get(&key).map_or(0, |tenant| tenant.waiting.len());
        let left = self.bounds.waiting - self.waiting;
        if of_tenant >= self.bounds.waiting_of_a_tenant.min(left) {
            return Err(Full { waiting: of_tenant });
        }
        if of_tenant == 0 {
            self.turns.push_back(key.clone());
        }
        self.tenants.entry(key).or_default().waiting.push_back(item);
        self.waiting += 1;
        Ok(())
    }

    /// The item that runs next, if one may; [`done`](Self::done) ends it.
    pub fn begin(&mut self) -> Option<(K, T)> {
        if self.running >= self.bounds.running {
            return None;
        }
        let place = self.next_in_turn()?;
        let key = self.turns.remove(place).expect("the place was found a moment ago");
        let tenant = self.tenants.get_mut(&key).expect("whoever has a turn is known");
        let item = tenant.waiting.pop_front().expect("whoever has a turn has an item waiting");
        tenant.running += 1;
        if !tenant.waiting.is_empty() {
            self.turns.push_back(key.clone());
        }
        self.waiting -= 1;
        self.running += 1;
        Some((key, item))
    }

    /// Ends an item of the tenant that [`begin`](Self::begin) gave.
    pub fn done(&mut self, key: &K, cost: u64) {
        let quantum = self.bounds.quantum;
        let tenant = self.tenants.get_mut(key).expect("a tenant is known while an item of it runs");
        let beyond = cost.saturating_sub(quantum).min(quantum.saturating_mul(MAX_TURNS_OF_AN_ITEM));
        tenant.owed = tenant.owed.saturating_add(beyond);
        tenant.running -= 1;
        self.running -= 1;
        if tenant.running == 0 && tenant.waiting.is_empty() {
            self.tenants.remove(key);
        }
    }

    /// The place in `turns` of the tenant that runs next. Those before it that owe a turn give this one.
    fn next_in_turn(&mut self) -> Option<usize> {
        let Bounds { running_of_a_tenant, quantum, .. } = self.bounds;
        let mut place = 0;
        for _ in 0..self.turns.len() {
            let key = &self.turns[place];
            let tenant = self.tenants.get_mut(key).expect("whoever has a turn is known");
            if tenant.running >= running_of_a_tenant {
                // Keeps its place until an item of it ends.
                place += 1;
            } else if tenant.owed < quantum {
                return Some(place);
            } else {
                tenant.owed -= quantum;
                let key = self.turns.remove(place).expect("the place is one of them");
                self.turns.push_back(key);
            }
        }
        // All that may run owe turns: nobody else is kept waiting by the one that owes least.
        let owed = |key: &K| (self.tenants[key].running < running_of_a_tenant).then_some(self.tenants[key].owed);
        let places = self.turns.iter().enumerate();
        places.filter_map(|(place, key)| Some((owed(key)?, place))).min().map(|(_, place)| place)
    }
}

#[cfg(test)]
mod tests;
