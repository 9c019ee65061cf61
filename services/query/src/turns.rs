//! How many questions of one tenant may be under way, so that a tenant that asks more than can be answered holds up nobody
//! but itself: what is beyond that is refused at once.

use daybook_contracts::ask::{AskError, AskErrorCode};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The questions under way, counted by tenant. There are no more tenants in it than questions under way.
#[derive(Debug)]
pub struct Turns {
    most: usize,
    under_way: Mutex<HashMap<String, usize>>,
}

/// One question under way; it counts until this is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    tenant: String,
}

impl Turns {
    /// At most `most` questions of each tenant.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, under_way: Mutex::default() })
    }

    /// Begins a question of the tenant, whether there is one of that name or not.
    ///
    /// # Errors
    /// [`AskErrorCode::Busy`] when as many are under way as may be.
    pub fn begin(self: &Arc<Self>, tenant: &str) -> Result<Turn, AskError> {
        let mut under_way = self.lock();
        match under_way.get_mut(tenant) {
            Some(count) if *count >= self.most => {
                let message = format!("{} questions of the tenant are under way, as many as may be", self.most);
                return Err(AskError::new(AskErrorCode::Busy, message).hint("wait for answers before asking more"));
            }
            Some(count) => *count += 1,
            None => {
                under_way.insert(tenant.to_owned(), 1);
            }
        }
        Ok(Turn { turns: self.clone(), tenant: tenant.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.turns.lock();
        if let Some(count) = under_way.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_asks_too_much_holds_up_nobody_else() {
        let turns = Turns::new(2);
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
        assert_eq!(turns.lock().len(), 1, "who asks nothing takes no room");
    }
}
