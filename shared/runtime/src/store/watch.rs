//! Running what may hang or panic: on a thread of its own that is left behind when it is silent for too long.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

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
}
