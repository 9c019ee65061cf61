//! Decides what follows from a try. Pure: the caller tells the age of the alert, and how it spreads the pauses.

use axum::http::{HeaderMap, StatusCode, header};
use daybook_domain::time::Instant;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Pauses behind the first tries that failed; behind each further one comes [`LAST_PAUSE`].
const PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), MINUTE.saturating_mul(2), MINUTE.saturating_mul(10)];
const LAST_PAUSE: Duration = HOUR;
/// No try begins when an alert is older than this, unless it has had too few.
pub(super) const MAX_AGE: Duration = HOUR.saturating_mul(3 * 24);
/// Fewest tries of an alert, however old it was before the first one: those of a little more than an hour.
pub(super) const MIN_TRIES: u64 = 6;
/// Longest pause that a receiver may ask for.
const MAX_ASKED_PAUSE: Duration = HOUR.saturating_mul(24);
/// By how much a pause may be longer than it is meant to be: one part in so many. Alerts that failed together spread.
const SPREAD: u32 = 5;

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TryOutcome {
    /// The receiver has the alert.
    Taken,
    /// It answered with another status than 2xx.
    Refused {
        status: StatusCode,
        /// How long it asks to be left alone.
        pause: Option<Duration>,
    },
    /// There was no answer; the text says why.
    Unanswered(String),
}

/// What follows from a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TryVerdict {
    Delivered,
    /// The next try is due after this pause.
    Again(Duration),
    /// There is no further try.
    Ended(TryEnding),
}

/// Why an alert is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TryEnding {
    /// The receiver answered 410 Gone.
    Gone,
    /// All tries failed.
    Exhausted,
}

impl TryEnding {
    /// As a metric's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
        }
    }
}

impl TryOutcome {
    /// What an answer with this status and these headers means; `now` is when it came.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, now: Instant) -> Self {
        if status.is_success() {
            return Self::Taken;
        }
        let may_ask = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let asked = headers.get(header::RETRY_AFTER).filter(|_| may_ask).and_then(|value| value.to_str().ok());
        Self::Refused { status, pause: asked.and_then(|text| asked_pause(text, now)) }
    }

    /// As a metric's label.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Taken => "delivered",
            Self::Refused { .. } => "refused",
            Self::Unanswered(_) => "unanswered",
        }
    }

    /// Why the alert was not taken, for people.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Taken => "the receiver took it".to_owned(),
            Self::Refused { status, .. } if status.is_redirection() => {
                format!("the receiver answered {status}; redirects are not followed, so write the final URL")
            }
            Self::Refused { status, .. } => format!("the receiver answered {status}"),
            Self::Unanswered(why) => why.clone(),
        }
    }
}

/// The value of `Retry-After`: seconds, or a date in the form of RFC 9110.
fn asked_pause(text: &str, now: Instant) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(date - now.as_millis()).unwrap_or_default()))
}

/// What follows from the try number `tries` (from 1) of an alert of this age. `spread` is any number, another one for each try.
pub(super) fn judge(outcome: &TryOutcome, tries: u64, age: Duration, spread: u64) -> TryVerdict {
    let asked = match outcome {
        TryOutcome::Taken => return TryVerdict::Delivered,
        TryOutcome::Refused { status: StatusCode::GONE, .. } => return TryVerdict::Ended(TryEnding::Gone),
        TryOutcome::Refused { pause, .. } => pause.unwrap_or_default().min(MAX_ASKED_PAUSE),
        TryOutcome::Unanswered(_) => Duration::ZERO,
    };
    let index = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = PAUSES.get(index).copied().unwrap_or(LAST_PAUSE);
    let pause = (pause + spread_of(pause, spread)).max(asked);
    if tries >= MIN_TRIES && age + pause > MAX_AGE {
        return TryVerdict::Ended(TryEnding::Exhausted);
    }
    TryVerdict::Again(pause)
}

/// Between nothing and one part in [`SPREAD`] of the pause.
fn spread_of(pause: Duration, spread: u64) -> Duration {
    let most = u64::try_from((pause / SPREAD).as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(spread % most.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-12-01T00:00:00Z";

    fn refused(status: u16, retry_after: Option<&str>) -> TryOutcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        TryOutcome::of(StatusCode::from_u16(status).unwrap(), &headers, NOW.parse().unwrap())
    }

    fn silent() -> TryOutcome {
        TryOutcome::Unanswered("no answer".to_owned())
    }

    #[test]
    fn only_2xx_is_a_delivery() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(&refused(status, None), 1, Duration::ZERO, 0), TryVerdict::Delivered);
        }
        for status in [301, 302, 307, 400, 401, 404, 408, 429, 500, 503] {
            let outcome = refused(status, None);
            assert_eq!(judge(&outcome, 1, Duration::ZERO, 0), TryVerdict::Again(PAUSES[0]), "{status}");
            assert_eq!(outcome.why().contains("redirects are not followed"), status / 100 == 3, "{}", outcome.why());
        }
        assert_eq!(judge(&silent(), 1, Duration::ZERO, 0), TryVerdict::Again(PAUSES[0]));
        let gone = judge(&refused(410, None), 1, Duration::ZERO, 0);
        assert_eq!(gone, TryVerdict::Ended(TryEnding::Gone));
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_three_days() {
        let (mut age, mut tries, mut pauses) = (Duration::ZERO, 0, Vec::new());
        let ending = loop {
            tries += 1;
            match judge(&silent(), tries, age, 0) {
                TryVerdict::Again(pause) => {
                    age += pause;
                    pauses.push(pause.as_secs());
                }
                verdict => break verdict,
            }
        };
        assert_eq!(ending, TryVerdict::Ended(TryEnding::Exhausted));
        assert_eq!(&pauses[..6], &[5, 30, 120, 600, 3_600, 3_600]);
        assert!(pauses[4..].iter().all(|pause| *pause == 3_600));
        assert!(age <= MAX_AGE && age + LAST_PAUSE > MAX_AGE, "{age:?}");
        assert_eq!(tries, 76);
    }

    #[test]
    fn an_alert_that_waited_for_a_gateway_is_tried_all_the_same() {
        let old = 10 * MAX_AGE;
        for tries in 1..MIN_TRIES {
            assert!(matches!(judge(&silent(), tries, old, 0), TryVerdict::Again(_)), "{tries}");
        }
        assert_eq!(judge(&silent(), MIN_TRIES, old, 0), TryVerdict::Ended(TryEnding::Exhausted));
    }

    #[test]
    fn pauses_spread_by_a_fifth_at_most() {
        for (tries, pause) in [(1, 5_000), (2, 30_000), (9, 3_600_000)] {
            let spread = |spread| match judge(&silent(), tries, Duration::ZERO, spread) {
                TryVerdict::Again(pause) => u64::try_from(pause.as_millis()).unwrap(),
                verdict => panic!("{verdict:?}"),
            };
            let all: Vec<u64> = (0..10_000).map(|number| spread(number * 7_919)).collect();
            assert!(all.iter().all(|found| (pause..=pause + pause / 5).contains(found)));
            assert!(all.iter().min() < all.iter().max());
            assert_eq!(spread(u64::MAX).clamp(pause, pause + pause / 5), spread(u64::MAX));
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_and_no_shorter_one() {
        let pause = |status, value: &str| match judge(&refused(status, Some(value)), 1, Duration::ZERO, 0) {
            TryVerdict::Again(pause) => pause.as_secs(),
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(pause(429, "120"), 120);
        assert_eq!(pause(503, " 7200 "), 7_200);
        assert_eq!(pause(503, "0"), 5);
        assert_eq!(pause(503, "99999999999"), 86_400);
        assert_eq!(pause(503, "Tue, 01 Dec 2026 00:10:00 GMT"), 600);
        assert_eq!(pause(503, "Mon, 30 Nov 2026 00:10:00 GMT"), 5, "that is over");
        assert_eq!(pause(503, "soon"), 5);
        assert_eq!(pause(500, "120"), 5, "only 429 and 503 may ask");
        // It cannot keep an alert for ever.
        let late = judge(&refused(503, Some("99999999")), MIN_TRIES, MAX_AGE - HOUR, 0);
        assert_eq!(late, TryVerdict::Ended(TryEnding::Exhausted));
    }
}
