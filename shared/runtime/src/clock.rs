//! The one place where the system clock is read.

use daybook_domain::time::Instant;

/// The present instant by the system clock.
#[allow(clippy::disallowed_methods, reason = "the one place where it is allowed")]
pub fn now() -> Instant {
    Instant::from(jiff::Timestamp::now())
}
