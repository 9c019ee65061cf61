//! Room for the tries of all targets of this process.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tries under way at a time in this process. Each has a connection, and so takes a file handle that the gateway's door cannot have.
pub(crate) const MAX_TRIES: u32 = 256;
/// How many of them may be of targets that fail: those take as long as receivers may, and others need not wait for them.
const MAX_FAILING: u32 = MAX_TRIES / 2;

/// Lets only so many tries begin. Those that wait have their turns in the order in which they came. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct TryRoom {
    all: Arc<Semaphore>,
    failing: Arc<Semaphore>,
}

/// A try under way. Room for another one when it is dropped.
#[derive(Debug)]
pub(super) struct TryPass {
    _failing: Option<OwnedSemaphorePermit>,
    _one: OwnedSemaphorePermit,
}

impl Default for TryRoom {
    fn default() -> Self {
        Self::of(MAX_TRIES, MAX_FAILING)
    }
}

impl TryRoom {
    fn of(all: u32, failing: u32) -> Self {
        let room = |size: u32| Arc::new(Semaphore::new(size as usize));
        Self { all: room(all), failing: room(failing) }
    }

    /// Waits until there is room for one more try, of a target that fails or not.
    pub(super) async fn enter(&self, is_failing: bool) -> TryPass {
        let one = |room: &Arc<Semaphore>| room.clone().acquire_owned();
        let failing = match is_failing {
            true => Some(one(&self.failing).await.expect("it is never closed")),
            false => None,
        };
        TryPass { _failing: failing, _one: one(&self.all).await.expect("it is never closed") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn tries_are_bounded_and_those_of_failing_targets_leave_room_for_others() {
        let room = TryRoom::of(4, 2);
        let failing = [room.enter(true).await, room.enter(true).await];
        assert!(room.enter(true).now_or_never().is_none());
        let sound = [room.enter(false).await, room.enter(false).await];
        assert!(room.enter(false).now_or_never().is_none());
        let mut waiting = Box::pin(room.enter(true));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(sound);
        assert!(room.enter(false).now_or_never().is_some() && futures::poll!(&mut waiting).is_pending());
        drop(failing);
        assert!(waiting.now_or_never().is_some());
    }
}
