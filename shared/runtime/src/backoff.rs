//! Pauses between attempts at what fails: each is twice as long as the one before, up to a longest. Everything in Daybook that is tried
//! again until it succeeds waits by this; what is paused is in the caller's words, with the reasons for its first and longest pause.

use std::time::Duration;

/// The pauses between attempts at one thing. Pure: it waits for nothing itself.
///
/// ```
/// # use daybook_runtime::backoff::Backoff;
/// # use std::time::Duration;
/// let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(50));
/// assert_eq!([(); 4].map(|()| backoff.next_pause().as_millis()), [20, 40, 50, 50]);
/// backoff.reset();
/// assert_eq!(backoff.next_pause().as_millis(), 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Begins again with the first pause: the last attempt has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Pauses while the broker does not answer.
const UNANSWERED: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
/// Shortest pause that is logged: a healthy broker answers again before.
const WORTH_TELLING: Duration = Duration::from_millis(300);

/// Repeats `attempt` until it succeeds; says so once the pauses are long.
pub async fn retry<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, async_nats::Error>>,
{
    let mut backoff = UNANSWERED;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                let pause = backoff.next_pause();
                if pause >= WORTH_TELLING {
                    tracing::warn!(what, error = %error, "the broker does not answer; trying again");
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}
