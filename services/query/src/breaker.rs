//! A circuit breaker: while a partition's shard is away, nobody waits for it but one question now and then that tries.
//!
//! Closed lets everything through. [`MAX_FAILURES`] questions in a row without a reply open it; then questions are
//! refused at once, and served without the shard. After a pause one question, the probe, goes through (half-open), which
//! query asks by itself when nobody else does: a reply closes the breaker, silence opens it again for twice as long. A replica that has come to serve the partition since
//! it opened ends the pause.
//!
//! What counts is silence, not bad news: a shard that replies "unknown view", or that it is catching up with its log, has
//! replied in good time, and asking it costs no waiting. Pure: the caller passes the clock in.

use compact_str::CompactString;
use daybook_runtime::backoff::Backoff;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Questions in a row without a reply until it opens: one may be lost with a connection, three are no accident.
pub const MAX_FAILURES: u32 = 3;
/// First pause before a probe: about as long as a shard takes to start again.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: how late it is seen at most that a shard is back.
pub const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerPosition {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerPosition {
    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Whether a question may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Ask,
    /// It decides whether the breaker closes: its outcome must be told.
    Probe,
    Refuse,
}

/// The breaker of one partition.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// In a row, while closed.
    failures: u32,
    /// How long the next openings last.
    pauses: Backoff,
    /// The replicas that told that they serve the partition, when a question was last lost or wanted to be asked.
    serving: BTreeSet<CompactString>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            failures: 0,
            pauses: Backoff::new(FIRST_PAUSE, MAX_PAUSE),
            serving: BTreeSet::new(),
        }
    }
}

impl Breaker {
    pub fn position(&self) -> BreakerPosition {
        match self.state {
            State::Closed => BreakerPosition::Closed,
            State::Open { .. } => BreakerPosition::Open,
            State::HalfOpen => BreakerPosition::HalfOpen,
        }
    }

    /// Whether a question may be asked now. An [`Admission::Probe`] has half-opened the breaker.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Ask,
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen;
                Admission::Probe
            }
            State::Open { .. } | State::HalfOpen => Admission::Refuse,
        }
    }

    /// These replicas tell that they serve the partition, or did before they crashed. One that has come since the breaker
    /// opened is worth a question at once.
    pub fn served_by(&mut self, serving: BTreeSet<CompactString>, now: Instant) {
        if let State::Open { until } = &mut self.state
            && !serving.is_subset(&self.serving)
        {
            *until = now.min(*until);
        }
        self.serving = serving;
    }

    /// The shard replied, whatever it said. Closes the breaker, also by a question from before it opened.
    pub fn replied(&mut self) {
        *self = Self::default();
    }

    /// No reply to a question that was so admitted.
    pub fn silent(&mut self, admission: Admission, now: Instant) {
        match (&self.state, admission) {
            (State::Closed, _) => {
                self.failures += 1;
                if self.failures >= MAX_FAILURES {
                    self.open(now);
                }
            }
            (State::HalfOpen, Admission::Probe) => self.open(now),
            // A question from before the breaker opened says nothing new.
            (State::Open { .. } | State::HalfOpen, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open { until: now + self.pauses.next_pause() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..MAX_FAILURES {
            assert_eq!(breaker.admit(now), Admission::Ask);
            breaker.silent(Admission::Ask, now);
        }
        assert_eq!(breaker.position(), BreakerPosition::Open);
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.silent(Admission::Ask, now);
            breaker.silent(Admission::Ask, now);
            breaker.replied();
        }
        assert_eq!((breaker.position(), breaker.admit(now)), (BreakerPosition::Closed, Admission::Ask));
        opened(now);
    }

    #[test]
    fn one_probe_goes_through_after_the_pause() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + FIRST_PAUSE - Duration::from_millis(1)), Admission::Refuse);
        assert_eq!(breaker.admit(now + FIRST_PAUSE), Admission::Probe);
        assert_eq!(breaker.position(), BreakerPosition::HalfOpen);
        assert_eq!(breaker.admit(now + MAX_PAUSE), Admission::Refuse, "while the probe is under way");
        breaker.replied();
        assert_eq!((breaker.position(), breaker.admit(now + FIRST_PAUSE)), (BreakerPosition::Closed, Admission::Ask));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_reply() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for pause in [1, 2, 4, 8, 15, 15] {
            assert_eq!(breaker.admit(now + Duration::from_secs(pause) - Duration::from_millis(1)), Admission::Refuse);
            now += Duration::from_secs(pause);
            assert_eq!(breaker.admit(now), Admission::Probe);
            breaker.silent(Admission::Probe, now);
            assert_eq!(breaker.position(), BreakerPosition::Open);
        }
        assert_eq!(breaker.admit(now + MAX_PAUSE), Admission::Probe);
        breaker.replied();
        for _ in 0..MAX_FAILURES {
            breaker.silent(Admission::Ask, now);
        }
        assert_eq!(breaker.admit(now + FIRST_PAUSE), Admission::Probe);
    }

    #[test]
    fn a_replica_that_has_come_ends_the_pause_once() {
        let now = Instant::now();
        let serving = |names: &[&str]| names.iter().map(|name| CompactString::from(*name)).collect::<BTreeSet<_>>();
        let mut breaker = Breaker::default();
        breaker.served_by(serving(&["crashed"]), now);
        for _ in 0..MAX_FAILURES {
            breaker.silent(Admission::Ask, now);
        }
        breaker.served_by(serving(&["crashed"]), now);
        assert_eq!(breaker.admit(now), Admission::Refuse, "it served before");
        breaker.served_by(serving(&[]), now);
        assert_eq!(breaker.admit(now), Admission::Refuse, "it is taken for gone");
        breaker.served_by(serving(&["new"]), now);
        assert_eq!(breaker.admit(now), Admission::Probe);
        breaker.silent(Admission::Probe, now);
        breaker.served_by(serving(&["new"]), now);
        assert_eq!(breaker.admit(now), Admission::Refuse, "it had its chance");
        breaker.served_by(serving(&[]), now);
        breaker.served_by(serving(&["new"]), now);
        assert_eq!(breaker.admit(now), Admission::Probe, "it was away");
    }

    #[test]
    fn questions_from_before_it_opened_change_nothing_but_by_a_reply() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.silent(Admission::Ask, now + Duration::from_millis(900));
        assert_eq!(breaker.admit(now + FIRST_PAUSE), Admission::Probe, "the pause is not longer for it");
        breaker.silent(Admission::Ask, now + FIRST_PAUSE);
        assert_eq!(breaker.position(), BreakerPosition::HalfOpen, "the probe decides");
        breaker.replied();
        assert_eq!(breaker.position(), BreakerPosition::Closed);
        let mut breaker = opened(now);
        breaker.replied();
        assert_eq!((breaker.position(), breaker.failures), (BreakerPosition::Closed, 0));
    }
}
