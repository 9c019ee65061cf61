//! Single flight: identical questions at the same time are asked once, and everyone gets the answer.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What a caller had to do with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightRole {
    /// It was asked for this caller.
    Asked,
    /// It had been asked for another already.
    Joined,
}

type UnderWay<T> = Arc<Mutex<HashMap<String, watch::Receiver<Option<T>>>>>;

/// Questions under way, by their text. There are at most as many as callers, unless callers go away: what they asked
/// is then answered all the same, in the time that the asking itself is bound to.
pub struct Flights<T> {
    under_way: UnderWay<T>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { under_way: UnderWay::default() }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The outcome of `ask`, or of the same question if that is under way. `None` when the asking panicked.
    ///
    /// Cancel safe: the asking is the caller's own, without another task to be woken, and becomes a task that goes on for the
    /// others when the caller is dropped.
    pub async fn share<F>(&self, key: String, ask: impl FnOnce() -> F) -> (Option<T>, FlightRole)
    where
        F: Future<Output = T> + Send + 'static,
    {
        match self.join_or_begin(key) {
            Boarding::Joined(mut joined) => {
                let outcome = joined.wait_for(Option::is_some).await;
                (outcome.ok().and_then(|outcome| outcome.clone()), FlightRole::Joined)
            }
            Boarding::First(landing, sender) => {
                let asking = AssertUnwindSafe(ask()).catch_unwind();
                let flight = async move {
                    let outcome = asking.await.ok();
                    // Whoever comes from now on asks anew.
                    drop(landing);
                    sender.send_replace(outcome.clone());
                    outcome
                };
                (Flight(Some(flight.boxed())).await, FlightRole::Asked)
            }
        }
    }

    fn join_or_begin(&self, key: String) -> Boarding<T> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&key) {
            return Boarding::Joined(outcome.clone());
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(key.clone(), receiver);
        Boarding::First(Landing { under_way: self.under_way.clone(), key }, sender)
    }
}

/// Where a caller comes in.
enum Boarding<T> {
    /// It is under way, and told here.
    Joined(watch::Receiver<Option<T>>),
    /// It is to be asked, and its outcome told there.
    First(Landing<T>, watch::Sender<Option<T>>),
}

/// An asking, which goes on when it is dropped.
struct Flight<T: Send + 'static>(Option<BoxFuture<'static, Option<T>>>);

impl<T: Send + 'static> Future for Flight<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(asking) = &mut self.0 else { return Poll::Ready(None) };
        let outcome = ready!(asking.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Flight<T> {
    fn drop(&mut self) {
        // Where there is no runtime any more nobody waits.
        if let Some(asking) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(asking);
        }
    }
}

/// Takes a question off those under way, also when its asking panics.
struct Landing<T> {
    under_way: UnderWay<T>,
    key: String,
}

impl<T> Drop for Landing<T> {
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
        assert_eq!(first, (Some(7), FlightRole::Asked));
        assert_eq!(others, vec![(Some(7), FlightRole::Joined); 10]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // When it has landed, it is asked again.
        assert_eq!(flights.share("q".into(), || async { 8 }).await, (Some(8), FlightRole::Asked));
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn other_questions_do_not_wait() {
        let (flights, asked) = (Flights::default(), Arc::new(AtomicU32::new(0)));
        let (_answer, waiting) = oneshot::channel();
        let held = flights.share("q".into(), slow(&asked, waiting));
        tokio::pin!(held);
        assert!(futures::poll!(&mut held).is_pending());
        assert_eq!(flights.share("r".into(), || async { 1 }).await, (Some(1), FlightRole::Asked));
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
        assert_eq!(other.await, (Some(7), FlightRole::Joined));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_forgotten() {
        let flights: Flights<u32> = Flights::default();
        let (outcome, _) = flights.share("q".into(), || async { panic!("on purpose") }).await;
        assert_eq!(outcome, None);
        assert_eq!(flights.share("q".into(), || async { 1 }).await, (Some(1), FlightRole::Asked));
    }
}
