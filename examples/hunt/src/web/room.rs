//! How much the door does at once. What watchers take is not what submissions need: each has places of its own.

use crate::game::Refusal;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Streams of boards and rankings at once.
const MAX_BOARDS: usize = 6_000;
/// Streams of players' pages at once: the players of a process, each with one page in view.
const MAX_PLAYERS: usize = 14_000;
/// Streams of organisers' pages at once.
const MAX_ORGANISERS: usize = 100;
/// Most streams of all sorts.
pub const MAX_STREAMS: usize = MAX_BOARDS + MAX_PLAYERS + MAX_ORGANISERS;
/// Submissions, joins and hints under way.
const MAX_ASKS: usize = 4_096;
/// What organisers do at once, and how many files of rules are taken in at once: up to 800 KiB each.
const MAX_ORGANISING: usize = 64;
const MAX_RULES: usize = 2;

/// What somebody wants a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Board,
    Player,
    Organiser,
    Ask,
    Organising,
    Rules,
}

/// The places.
#[derive(Clone)]
pub struct Room {
    boards: Arc<Semaphore>,
    players: Arc<Semaphore>,
    organisers: Arc<Semaphore>,
    asks: Arc<Semaphore>,
    organising: Arc<Semaphore>,
    rules: Arc<Semaphore>,
    /// Pages in the making: one processor is always left for other work, where there are two.
    pages: Arc<Semaphore>,
}

impl Room {
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            boards: places(MAX_BOARDS),
            players: places(MAX_PLAYERS),
            organisers: places(MAX_ORGANISERS),
            asks: places(MAX_ASKS),
            organising: places(MAX_ORGANISING),
            rules: places(MAX_RULES),
            pages: places((processors - 1).max(1)),
        }
    }

    /// A place, kept as long as it is used.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when all places of this use are taken.
    pub fn take(&self, what: Use) -> Result<OwnedSemaphorePermit, Refusal> {
        let places = match what {
            Use::Board => &self.boards,
            Use::Player => &self.players,
            Use::Organiser => &self.organisers,
            Use::Ask => &self.asks,
            Use::Organising => &self.organising,
            Use::Rules => &self.rules,
        };
        places.clone().try_acquire_owned().map_err(|_| Refusal::Busy)
    }

    /// Makes a page when it is its turn.
    pub async fn make<T>(&self, page: impl FnOnce() -> T) -> T {
        // It is never closed.
        let _turn = self.pages.acquire().await;
        page()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_leave_the_places_of_submissions() {
        let room = Room::new();
        let taken: Vec<_> = std::iter::from_fn(|| room.take(Use::Board).ok()).collect();
        assert_eq!((taken.len(), room.take(Use::Board).map(drop)), (MAX_BOARDS, Err(Refusal::Busy)));
        let pages: Vec<_> = std::iter::from_fn(|| room.take(Use::Player).ok()).collect();
        assert_eq!(pages.len(), MAX_PLAYERS);
        for what in [Use::Ask, Use::Organiser, Use::Organising, Use::Rules] {
            assert!(room.take(what).is_ok(), "{what:?}");
        }
        drop(taken);
        assert!(room.take(Use::Board).is_ok());
    }
}
