//! Memory that requests share. Bytes are counted while they are held, and no tenant holds more than a quarter of a room.

use crate::problem::{Code, Problem};
use daybook_domain::ids::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a request waits for room.
const WAIT: Duration = Duration::from_secs(5);
/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;
/// One tenant may take one of so many parts of whatever tenants share.
pub(crate) const SHARES: u32 = 4;
/// Least bytes for bodies that are held as a whole.
const ALL_BODIES: usize = 128 << 20;
/// Bytes for questions: 512 of the longest.
const ALL_QUESTIONS: usize = 32 << 20;
/// Bytes for streams of events.
pub(crate) const ALL_STREAMS: usize = 256 << 20;
/// Bytes for long answers that are being sent.
const ALL_ANSWERS: usize = 256 << 20;

/// The rooms of requests and answers.
pub(crate) struct Rooms {
    /// For bodies of events that are held as a whole.
    pub bodies: Room,
    /// For bodies of questions.
    pub questions: Room,
    /// For streams of events.
    pub streams: Room,
    /// For long answers.
    pub answers: Room,
}

impl Rooms {
    /// Rooms of which a tenant's share holds the longest body, of `max_body_bytes`.
    pub(crate) fn new(max_body_bytes: usize) -> Self {
        Self {
            bodies: Room::new(ALL_BODIES.max(max_body_bytes * SHARES as usize)),
            questions: Room::new(ALL_QUESTIONS),
            streams: Room::new(ALL_STREAMS),
            answers: Room::new(ALL_ANSWERS),
        }
    }
}

/// Room for a number of bytes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    /// Permits of one tenant.
    share: usize,
    tenants: Arc<Mutex<Tenants>>,
}

/// The permits that each tenant has left. Those of tenants that hold nothing are forgotten from time to time.
#[derive(Default)]
struct Tenants {
    /// `None` stands for answers about no single tenant, and for forms of whoever has no token yet.
    left: HashMap<Option<TenantId>, Weak<Semaphore>>,
    /// Twice as many as were in use when unused ones were last forgotten.
    forget_at: usize,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let permits = bytes / UNIT;
        Self { all: Arc::new(Semaphore::new(permits)), share: permits / SHARES as usize, tenants: Arc::default() }
    }

    /// A place of the tenant, which holds nothing yet.
    pub(crate) fn place(&self, tenant: Option<&TenantId>) -> HeldBytes {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let Tenants { left, forget_at } = &mut *tenants;
        let tenant = tenant.cloned();
        let known = left.get(&tenant).and_then(Weak::upgrade);
        let share = known.unwrap_or_else(|| {
            if left.len() >= *forget_at {
                left.retain(|_, share| share.strong_count() > 0);
                *forget_at = (left.len() * 2).max(64);
            }
            let share = Arc::new(Semaphore::new(self.share));
            left.insert(tenant, Arc::downgrade(&share));
            share
        });
        HeldBytes { all: self.all.clone(), share, bytes: 0, permits: 0 }
    }

    /// A place for so many bytes; waits a moment for others to leave.
    ///
    /// # Errors
    /// [`Code::Busy`].
    pub(crate) async fn take(&self, tenant: Option<&TenantId>, bytes: usize) -> Result<HeldBytes, Problem> {
        let mut place = self.place(tenant);
        place.grow(bytes).await?;
        Ok(place)
    }

    /// A place for so many bytes, if there is room at once.
    ///
    /// # Errors
    /// [`Code::Busy`].
    pub(crate) fn try_take(&self, tenant: Option<&TenantId>, bytes: usize) -> Result<HeldBytes, Problem> {
        let mut place = self.place(tenant);
        let permits = permits(bytes);
        let own = place.share.try_acquire_many(permits).map_err(|_| too_much_of_the_tenant())?;
        place.all.try_acquire_many(permits).map_err(|_| too_much())?.forget();
        own.forget();
        (place.bytes, place.permits) = (bytes, permits as usize);
        Ok(place)
    }
}

/// Bytes that are held; given back when it is dropped.
pub(crate) struct HeldBytes {
    all: Arc<Semaphore>,
    share: Arc<Semaphore>,
    bytes: usize,
    permits: usize,
}

impl HeldBytes {
    /// Takes so many bytes more; waits a moment for others to leave.
    ///
    /// # Errors
    /// [`Code::Busy`]; what was held before is held still.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = permits(self.bytes + bytes).saturating_sub(u32::try_from(self.permits).unwrap_or(u32::MAX));
        if more > 0 {
            let deadline = tokio::time::Instant::now() + WAIT;
            let own = tokio::time::timeout_at(deadline, self.share.acquire_many(more)).await;
            let own = own.ok().and_then(Result::ok).ok_or_else(too_much_of_the_tenant)?;
            let one = tokio::time::timeout_at(deadline, self.all.acquire_many(more)).await;
            one.ok().and_then(Result::ok).ok_or_else(too_much)?.forget();
            own.forget();
        }
        (self.bytes, self.permits) = (self.bytes + bytes, self.permits + more as usize);
        Ok(())
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.share.add_permits(self.permits);
        self.all.add_permits(self.permits);
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn too_much_of_the_tenant() -> Problem {
    Problem::new(Code::Busy, "large requests and answers of this tenant take all memory that one tenant may take")
        .hint("wait for some of them to end, and read answers faster")
}

fn too_much() -> Problem {
    Problem::new(Code::Busy, "too many large requests and answers are under way")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_takes_a_quarter_and_gives_it_back() {
        let (room, acme, other) = (Room::new(64 << 10), tenant("acme"), tenant("other"));
        let mut one = room.take(Some(&acme), 10 << 10).await.unwrap();
        assert!(room.take(Some(&acme), 7 << 10).await.is_err(), "more than a quarter");
        assert!(room.try_take(Some(&acme), 7 << 10).is_err());
        one.grow(6 << 10).await.unwrap();
        assert!(one.grow(1).await.is_err());
        let others: Vec<_> =
            ["b", "c"].map(|id| room.try_take(Some(&tenant(id)), 16 << 10).unwrap()).into_iter().collect();
        let last = room.try_take(Some(&other), 16 << 10).unwrap();
        assert!(room.try_take(None, 1).is_err(), "all is taken");
        drop((one, others, last));
        assert_eq!(room.all.available_permits(), 64);
        assert!(room.try_take(Some(&acme), 16 << 10).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_goes_on_when_another_leaves_and_counts_each_byte_once() {
        let (room, acme) = (Room::new(64 << 10), tenant("acme"));
        let first = room.try_take(Some(&acme), 16 << 10).unwrap();
        let waiting = tokio::spawn({
            let (room, acme) = (room.clone(), acme.clone());
            async move { room.take(Some(&acme), 1 << 10).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
        assert!(waiting.await.unwrap());
        let mut place = room.place(Some(&acme));
        for _ in 0..4_096 {
            place.grow(1).await.unwrap();
        }
        assert_eq!((place.permits, room.all.available_permits()), (4, 60));
    }

    #[test]
    fn tenants_that_hold_nothing_are_forgotten() {
        let room = Room::new(64 << 10);
        for number in 0..10_000 {
            room.place(Some(&tenant(&number.to_string())));
        }
        assert!(room.tenants.lock().unwrap().left.len() <= 64);
    }
}
