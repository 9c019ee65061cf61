//! The one place where the system clock is read.

use daybook_domain::time::Instant;

/// An instant as the broker tells it, in nanoseconds since 1970, to the millisecond.
pub fn from_nanos(nanos: i128) -> Instant {
    Instant::from_millis(i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or_default())
}

/// The present instant by the system clock.
#[allow(clippy::disallowed_methods, reason = "the one place where it is allowed")]
pub fn now() -> Instant {
    Instant::from(jiff::Timestamp::now())
}
