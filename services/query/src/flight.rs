//! Single flight: identical questions at the same time are asked once, and everyone gets the answer.

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

/// What a caller had to do with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was asked for this caller.
    Asked,
    /// It had been asked for another already.
    Joined,
}

/// What everybody who asks the same waits for: whoever is there drives it. `None` when it panicked.
type Flight<T> = BoxFuture<'static, Option<T>>;
type UnderWay<T> = Arc<Mutex<HashMap<String, WeakShared<Flight<T>>>>>;

/// Questions under way, by their text. There are at most as many as callers: what all of them have gone away from is
/// given up.
pub struct Flights<T: Clone> {
    under_way: UnderWay<T>,
}

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self { under_way: UnderWay::default() }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The outcome of `ask`, or of the same question if that is under way. `None` when the asking panicked.
    ///
    /// Cancel safe: when a caller is dropped, the asking goes on for the others.
    pub async fn share<F>(&self, key: String, ask: impl FnOnce() -> F) -> (Option<T>, Part)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (flight, part) = self.join_or_begin(key, ask);
        (flight.await, part)
    }

    fn join_or_begin<F>(&self, key: String, ask: impl FnOnce() -> F) -> (Shared<Flight<T>>, Part)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&key).and_then(WeakShared::upgrade) {
            return (flight, Part::Joined);
        }
        let landing = Landing { under_way: self.under_way.clone(), key: key.clone() };
        let asking = AssertUnwindSafe(ask()).catch_unwind();
        let flight = async move {
            let outcome = asking.await.ok();
            // Whoever comes from now on asks anew.
            drop(landing);
            outcome
        };
        let flight = flight.boxed().shared();
        under_way.insert(key, flight.downgrade().expect("it has not begun"));
        (flight, Part::Asked)
    }
}

/// Takes a question off those under way, also when it is given up.
struct Landing<T: Clone> {
    under_way: UnderWay<T>,
    key: String,
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::oneshot;

    /// Asks when it is let to, and counts.
    fn slow(
        asked: &Arc<AtomicU32>,
        answer: oneshot::Receiver<u32>,
    ) -> impl FnOnce() -> futures::future::BoxFuture<'static, u32> {
        let asked = asked.clone();
        move || {
            Box::pin(async move {
                asked.fetch_add(1, Ordering::SeqCst);
                answer.await.unwrap()
            })
        }
    }

    fn must_not_ask() -> std::future::Ready<u32> {
        panic!("this is under way")
    }

    #[tokio::test]
    async fn the_same_question_is_asked_once() {
        let (flights, asked) = (Flights::default(), Arc::new(AtomicU32::new(0)));
        let (answer, waiting) = oneshot::channel();
        let first = flights.share("q".into(), slow(&asked, waiting));
        let others = (0..10).map(|_| flights.share("q".into(), must_not_ask));
        let all = async { tokio::join!(first, futures::future::join_all(others)) };
        let let_go = async {
            tokio::task::yield_now().await;
            answer.send(7).unwrap();
        };
        let ((first, others), ()) = tokio::join!(all, let_go);
        assert_eq!(first, (Some(7), Part::Asked));
        assert_eq!(others, vec![(Some(7), Part::Joined); 10]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // When it has landed, it is asked again.
        assert_eq!(flights.share("q".into(), || async { 8 }).await, (Some(8), Part::Asked));
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn other_questions_do_not_wait() {
        let (flights, asked) = (Flights::default(), Arc::new(AtomicU32::new(0)));
        let (_answer, waiting) = oneshot::channel();
        let held = flights.share("q".into(), slow(&asked, waiting));
        tokio::pin!(held);
        assert!(futures::poll!(&mut held).is_pending());
        assert_eq!(flights.share("r".into(), || async { 1 }).await, (Some(1), Part::Asked));
    }

    #[tokio::test]
    async fn the_others_are_answered_when_the_asker_goes_away() {
        let (flights, asked) = (Flights::default(), Arc::new(AtomicU32::new(0)));
        let (answer, waiting) = oneshot::channel();
        let mut first = Box::pin(flights.share("q".into(), slow(&asked, waiting)));
        assert!(futures::poll!(&mut first).is_pending());
        let mut other = Box::pin(flights.share("q".into(), must_not_ask));
        assert!(futures::poll!(&mut other).is_pending());
        drop(first);
        answer.send(7).unwrap();
        assert_eq!(other.await, (Some(7), Part::Joined));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_forgotten() {
        let flights: Flights<u32> = Flights::default();
        let (outcome, _) = flights.share("q".into(), || async { panic!("on purpose") }).await;
        assert_eq!(outcome, None);
        assert_eq!(flights.share("q".into(), || async { 1 }).await, (Some(1), Part::Asked));
    }
}
