//! Times of repeated measurements: the processor time of each, and the one that counts.

use std::time::Duration;

/// What `work` made, and the processor time that this thread spent on it: other programs do not count.
pub fn measured<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let began = now();
    let made = work();
    (now() - began, made)
}

/// The middle one.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
