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
    /// Items of all tenants that wait at most. A tenant may have fewer than are left for the others, so that each finds room.
    pub waiting: usize,
    /// Items of one tenant that run at most.
    pub running_of_a_tenant: usize,
    /// Items of all tenants that run at most.
    pub running: usize,
    /// The cost that a tenant may cause in one turn. After an item that costs more it passes its next turns until that is made up
    /// for, unless nobody else has anything to run.
    pub quantum: u64,
}

/// Turns that a tenant passes at most after an item that costs a lot: the others have had enough of the processor by then.
const MAX_PASSED_TURNS: u64 = 64;

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
/// `turns` holds each tenant that has an item waiting exactly once. Items of one tenant run in the order in which they came. Between
/// two turns of a tenant that may run, every other has one turn at most.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    bounds: Bounds,
    tenants: HashMap<K, Tenant<T>>,
    /// Those that have something waiting, whose turn is next first. Tenants never come in the order of `tenants`.
    turns: VecDeque<K>,
    waiting: usize,
    running: usize,
}

#[derive(Debug)]
struct Tenant<T> {
    waiting: VecDeque<T>,
    running: usize,
    /// What it may still cost in this turn; less than nothing after more than its share. Forgotten with the tenant: one that has
    /// nothing here keeps nobody waiting.
    credit: i64,
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, tenants: HashMap::new(), turns: VecDeque::new(), waiting: 0, running: 0 }
    }

    /// Items that wait, of all tenants.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Items that run, of all tenants.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Puts an item of the tenant behind its others.
    ///
    /// # Errors
    /// When as many of the tenant wait as may.
    pub fn push(&mut self, tenant: K, item: T) -> Result<(), Full> {
        let of_tenant = self.tenants.get(&tenant).map_or(0, |tenant| tenant.waiting.len());
        let left = self.bounds.waiting - self.waiting;
        if of_tenant >= self.bounds.waiting_of_a_tenant.min(left) {
            return Err(Full { waiting: of_tenant });
        }
        let quantum = self.quantum();
        let known = self
            .tenants
            .entry(tenant.clone())
            .or_insert_with(|| Tenant { waiting: VecDeque::new(), running: 0, credit: quantum });
        if known.waiting.is_empty() {
            self.turns.push_back(tenant);
        }
        known.waiting.push_back(item);
        self.waiting += 1;
        Ok(())
    }

    /// The item that runs next, if one may; [`done`](Self::done) ends it.
    pub fn begin(&mut self) -> Option<(K, T)> {
        if self.running >= self.bounds.running {
            return None;
        }
        // In the first round a tenant may be passed for what it cost before; then the nearest of those is let on.
        let index = self.next_in_turn()?;
        let key = self.turns.remove(index).expect("the turn that was found is there");
        let tenant = self.tenants.get_mut(&key).expect("whoever has a turn is known");
        let item = tenant.waiting.pop_front().expect("whoever has a turn has an item waiting");
        tenant.running += 1;
        self.waiting -= 1;
        self.running += 1;
        if !tenant.waiting.is_empty() {
            self.turns.push_back(key.clone());
        }
        Some((key, item))
    }

    /// Ends an item of the tenant that [`begin`](Self::begin) gave, which cost so much.
    pub fn done(&mut self, key: &K, cost: u64) {
        let quantum = self.quantum();
        let tenant = self.tenants.get_mut(key).expect("a tenant is known while something of it runs");
        tenant.running -= 1;
        self.running -= 1;
        let debt = quantum.saturating_mul(MAX_PASSED_TURNS as i64);
        tenant.credit = tenant.credit.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX)).max(-debt);
        if tenant.running == 0 && tenant.waiting.is_empty() {
            self.tenants.remove(key);
        }
    }

    /// The place among `turns` of the tenant that runs next. Each that is passed for its debts gains a quantum.
    fn next_in_turn(&mut self) -> Option<usize> {
        let (quantum, most) = (self.quantum(), self.bounds.running_of_a_tenant);
        let mut nearest: Option<(i64, usize)> = None;
        for (index, key) in self.turns.iter().enumerate() {
            let tenant = self.tenants.get_mut(key).expect("whoever has a turn is known");
            if tenant.running >= most {
                continue;
            }
            if tenant.credit <= 0 {
                tenant.credit = tenant.credit.saturating_add(quantum).min(quantum);
            } else {
                self.pass(index);
                return Some(0);
            }
            if nearest.is_none_or(|(credit, _)| tenant.credit > credit) {
                nearest = Some((tenant.credit, index));
            }
        }
        nearest.map(|(_, index)| index)
    }

    /// Moves the first `count` tenants to the end: their turn is over.
    fn pass(&mut self, count: usize) {
        self.turns.rotate_left(count);
    }

    fn quantum(&self) -> i64 {
        i64::try_from(self.bounds.quantum).unwrap_or(i64::MAX).max(1)
    }
}
