//! The queues for reading from the broker: one reading per tenant at a time, and a bounded number of all tenants together.
//! A tenant that floods waits behind its own requests only.

use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::ids::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Readings of all tenants at once: enough to keep a broker busy, and few enough that their messages, of 1 MiB at most,
/// take little memory.
const MAX_READINGS: usize = 16;
/// Requests of one tenant that wait for their turn, the one under way included: half of the questions that a tenant may have
/// under way by default, so that some are left for figures. Those beyond are refused at once.
const MAX_WAITING: usize = 128;

/// The readings under way and those that wait.
pub struct Lanes {
    room: Arc<Semaphore>,
    /// Holds only tenants that have requests.
    tenants: Mutex<HashMap<TenantId, Lane>>,
}

struct Lane {
    turn: Arc<Semaphore>,
    requests: usize,
}

/// A place in a tenant's lane; it is left when this is dropped.
pub struct LanePlace {
    lanes: Arc<Lanes>,
    tenant: TenantId,
    turn: Arc<Semaphore>,
}

/// The right to read. It ends when this is dropped.
pub struct Reading {
    _turn: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(MAX_READINGS)), tenants: Mutex::default() }
    }
}

impl Lanes {
    /// Takes a place in the tenant's lane.
    ///
    /// # Errors
    /// [`AskErrorCode::Busy`] when as many requests of the tenant wait as may.
    pub fn enter(self: &Arc<Self>, tenant: &TenantId) -> Asked<LanePlace> {
        let mut tenants = self.lock();
        let lane = match tenants.get_mut(tenant) {
            Some(lane) => lane,
            None => {
                let lane = Lane { turn: Arc::new(Semaphore::new(1)), requests: 0 };
                tenants.entry(tenant.clone()).or_insert(lane)
            }
        };
        if lane.requests >= MAX_WAITING {
            let message = format!("{MAX_WAITING} requests for lists and reports of the tenant are under way already");
            return Err(AskError::new(AskErrorCode::Busy, message).hint("wait for answers before asking for more"));
        }
        lane.requests += 1;
        Ok(LanePlace { lanes: self.clone(), tenant: tenant.clone(), turn: lane.turn.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Lane>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LanePlace {
    /// Waits until it is this request's turn. Requests of a tenant come in the order in which they entered.
    pub async fn turn(&self) -> Reading {
        // First the tenant's own turn: so of each tenant one request at most waits for the room of all.
        let turn = self.turn.clone().acquire_owned().await.expect("a lane is never closed");
        let room = self.lanes.room.clone().acquire_owned().await.expect("the room is never closed");
        Reading { _turn: turn, _room: room }
    }
}

impl Drop for LanePlace {
    fn drop(&mut self) {
        let mut tenants = self.lanes.lock();
        if let Some(lane) = tenants.get_mut(&self.tenant) {
            lane.requests -= 1;
            if lane.requests == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    #[tokio::test]
    async fn a_flood_of_one_tenant_waits_for_itself() {
        let lanes = Arc::new(Lanes::default());
        let places: Vec<LanePlace> = (0..MAX_WAITING).map(|_| lanes.enter(&tenant("greedy")).unwrap()).collect();
        let refused = lanes.enter(&tenant("greedy")).err().unwrap();
        assert_eq!((refused.code, refused.hint.is_some()), (AskErrorCode::Busy, true));
        let first = places[0].turn().await;
        let mut second = Box::pin(places[1].turn());
        assert!(futures::poll!(&mut second).is_pending());
        let modest = lanes.enter(&tenant("modest")).unwrap();
        let reading = modest.turn().await;
        drop(first);
        drop(second.await);
        drop((reading, modest, places));
        assert!(lanes.lock().is_empty(), "a tenant that asks nothing takes no room");
    }

    #[tokio::test]
    async fn all_tenants_together_have_bounded_room() {
        let lanes = Arc::new(Lanes::default());
        let places: Vec<LanePlace> =
            (0..=MAX_READINGS).map(|n| lanes.enter(&tenant(&format!("t{n}"))).unwrap()).collect();
        let mut readings = Vec::new();
        for place in &places[..MAX_READINGS] {
            readings.push(place.turn().await);
        }
        let mut last = Box::pin(places[MAX_READINGS].turn());
        assert!(futures::poll!(&mut last).is_pending());
        readings.pop();
        last.await;
    }
}
