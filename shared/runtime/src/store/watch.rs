//! Running what may hang or panic: on a thread of its own that is left behind when it is silent for too long.

use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::Duration;

/// Items that are handed over at once, for the work of handing over to be nothing beside theirs.
const ITEMS_AT_ONCE: usize = 256;

enum Beat<T> {
    Alive,
    Done(T),
}

/// By which work says that it is under way.
pub(super) struct Pulse<T>(Sender<Beat<T>>);

impl<T> Pulse<T> {
    pub(super) fn beat(&self) {
        // Nobody listens any more: the work was given up, and its outcome will not be missed.
        let _ = self.0.send(Beat::Alive);
    }
}

/// What `work` returns, or `None` when it panicked or has been silent for so long. A thread that hangs is left behind:
/// nothing can end it.
pub(super) fn watched<T: Send + 'static>(
    silence: Duration,
    work: impl FnOnce(&Pulse<T>) -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = channel();
    let pulse = Pulse(sender);
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
        let outcome = work(&pulse);
        let _ = pulse.0.send(Beat::Done(outcome));
    });
    thread.ok()?;
    loop {
        match receiver.recv_timeout(silence) {
            Ok(Beat::Alive) => {}
            Ok(Beat::Done(outcome)) => return Some(outcome),
            Err(_) => return None,
        }
    }
}

/// The items that `items` makes; `None` and no more when making them panicked or has been silent for so long. What is not
/// taken is not made, but for a few.
pub(super) fn watched_items<T: Send + 'static, I: Iterator<Item = T>>(
    silence: Duration,
    items: impl FnOnce() -> I + Send + 'static,
) -> impl Iterator<Item = Option<T>> {
    let (sender, receiver) = sync_channel(1);
    // Without a thread there is no sender either, which shows below.
    let _ = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
        let mut items = items();
        loop {
            let some: Vec<T> = items.by_ref().take(ITEMS_AT_ONCE).collect();
            let is_end = some.is_empty();
            if sender.send(some).is_err() || is_end {
                return;
            }
        }
    });
    let mut some = Vec::new().into_iter();
    let mut is_over = false;
    std::iter::from_fn(move || {
        if let Some(item) = some.next() {
            return Some(Some(item));
        }
        if is_over {
            return None;
        }
        match receiver.recv_timeout(silence) {
            Ok(next) => {
                is_over = next.is_empty();
                some = next.into_iter();
                some.next().map(Some)
            }
            Err(_) => {
                is_over = true;
                Some(None)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_beats_may_take_long_and_silent_work_may_not() {
        let silence = Duration::from_millis(300);
        let (release, held) = channel::<()>();
        let beating = watched(silence, move |pulse| {
            let began = std::time::Instant::now();
            while began.elapsed() < silence * 2 {
                pulse.beat();
                std::thread::yield_now();
            }
            7
        });
        assert_eq!(beating, Some(7));
        assert_eq!(watched(silence, move |_| held.recv().is_ok()), None);
        drop(release);
        assert_eq!(watched(silence, |_| -> u32 { panic!("as engines do") }), None);
    }

    #[test]
    fn items_come_through_until_making_them_hangs_or_panics() {
        let silence = Duration::from_millis(300);
        let all: Vec<_> = watched_items(silence, || 0..1_000).collect();
        assert_eq!(all, (0..1_000).map(Some).collect::<Vec<_>>());
        let (release, held) = channel::<()>();
        let hangs = watched_items(silence, move || {
            (0..1_000).inspect(move |item| {
                if *item == 700 {
                    let _ = held.recv();
                }
            })
        });
        let mut hangs = hangs.skip_while(Option::is_some);
        assert_eq!((hangs.next(), hangs.next()), (Some(None), None));
        drop(release);
        let panics = watched_items(silence, || (0..1_000).inspect(|item| assert!(*item < 700, "as engines do")));
        assert_eq!(panics.last(), Some(None));
    }
}
