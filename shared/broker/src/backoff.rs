//! Polling with growing pauses up to a bound.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// The pauses of a poll: 1 ms, doubling up to 50 ms, until they add up to `limit`.
///
/// Counting pauses instead of reading a clock keeps this crate free of one; a loaded machine waits a little longer.
pub(crate) fn delays(limit: Duration) -> impl Iterator<Item = Duration> + Send {
    let mut left = limit;
    let mut next = FIRST;
    std::iter::from_fn(move || {
        let delay = next.min(left);
        left -= delay;
        next = (next * 2).min(LONGEST);
        (!delay.is_zero()).then_some(delay)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_add_up_to_the_limit() {
        let pauses: Vec<u128> = delays(Duration::from_millis(200)).map(|delay| delay.as_millis()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 50, 50, 37]);
        assert_eq!(delays(Duration::ZERO).count(), 0);
    }
}
