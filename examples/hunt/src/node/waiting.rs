//! The bound of asks that wait: for each team the same, whichever way they come and whoever carries them out.

use crate::game::Refusal;
use crate::game::ask::MAX_TEAMS;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Asks of a team that wait at once in a process; more are refused.
pub const MAX_WAITING: usize = 64;

/// The places of all teams.
#[derive(Default)]
pub struct Places(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Places {
    /// A place for an ask of a team, kept as long as the ask is under way.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when all are taken.
    pub fn take(&self, team: &str) -> Result<OwnedSemaphorePermit, Refusal> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.contains_key(team) {
            // Only an organiser can name teams that do not exist. Those without asks are forgotten.
            if places.len() >= 2 * MAX_TEAMS {
                places.retain(|_, free| free.available_permits() < MAX_WAITING);
            }
            places.insert(team.to_owned(), Arc::new(Semaphore::new(MAX_WAITING)));
        }
        places[team].clone().try_acquire_owned().map_err(|_| Refusal::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_team_has_so_many_places() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..MAX_WAITING).map(|_| places.take("red").unwrap()).collect();
        assert_eq!(places.take("red").map(drop), Err(Refusal::Busy));
        let _other = places.take("blue").unwrap();
        taken.pop();
        taken.push(places.take("red").unwrap());
        // Those of teams without asks are not kept for ever.
        for number in 0..3 * MAX_TEAMS {
            drop(places.take(&number.to_string()).unwrap());
        }
        assert!(places.0.lock().unwrap().len() <= 2 * MAX_TEAMS);
        assert_eq!(places.take("red").map(drop), Err(Refusal::Busy));
    }
}
