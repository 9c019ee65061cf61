//! How a target stands in this process: in metrics, and in the log when that changes.

use super::consumers::{ReadTrouble, TargetProgress};
use super::retries::{TryEnding, TryOutcome};
use daybook_contracts::alert::Alert;
use daybook_domain::ids::Name;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Tries in a row that fail before the target is said to fail: a receiver that dislikes some alerts takes others.
const FAILURES: u32 = 3;

/// What is told of one target. Cheap to clone.
#[derive(Clone)]
pub(super) struct TargetTeller {
    /// The label of its metrics.
    label: Arc<str>,
    standing: Arc<Mutex<TargetStanding>>,
}

/// Pure: says what has changed, and leaves the telling to others.
#[derive(Debug, Default)]
struct TargetStanding {
    /// Tries that failed since one was taken, and when the first of them did.
    failures: u32,
    failed_first: Option<Instant>,
    /// Why alerts cannot be read from the broker.
    trouble: Option<ReadTrouble>,
}

/// A change that a person wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StandingChange {
    Fails,
    /// It takes alerts again, after so long.
    Recovers(Duration),
}

impl TargetStanding {
    fn tried(&mut self, is_taken: bool, now: Instant) -> Option<StandingChange> {
        if is_taken {
            let was_failing = self.is_failing();
            let since = self.failed_first.take().filter(|_| was_failing);
            self.failures = 0;
            return since.map(|since| StandingChange::Recovers(now.saturating_duration_since(since)));
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_first.get_or_insert(now);
        (self.failures == FAILURES).then_some(StandingChange::Fails)
    }

    fn is_failing(&self) -> bool {
        self.failures >= FAILURES
    }

    /// Nothing waits for the target on the broker, so whether it fails is not known any more.
    fn rests(&mut self) {
        (self.failures, self.failed_first) = (0, None);
    }
}

impl TargetTeller {
    pub(super) fn begin(name: &Name) -> Self {
        let teller = Self { label: name.as_str().into(), standing: Arc::default() };
        teller.gauges(&teller.lock());
        teller
    }

    /// Whether the last tries that this process made failed.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().is_failing()
    }

    /// Counts a try. `delay` is the age of the alert when its receiver had it.
    pub(super) fn tried(&self, place: &str, outcome: &TryOutcome, delay: Duration) {
        let webhook = &*self.label;
        metrics::counter!("daybook_webhook_tries_total", "target" => self.label.clone(), "outcome" => outcome.as_str())
            .increment(1);
        let is_taken = *outcome == TryOutcome::Taken;
        if is_taken {
            metrics::histogram!("daybook_webhook_delay_seconds").record(delay.as_secs_f64());
        }
        let mut standing = self.lock();
        match standing.tried(is_taken, Instant::now()) {
            Some(StandingChange::Fails) => {
                tracing::warn!(
                    webhook,
                    place,
                    why = outcome.why(),
                    "a webhook fails; its alerts are tried again, for three days each"
                );
            }
            Some(StandingChange::Recovers(after)) => {
                tracing::info!(webhook, place, failed_for = ?after, "a webhook takes alerts again");
            }
            None => {}
        }
        self.gauges(&standing);
    }

    /// An alert has no further try.
    pub(super) fn gave_up(&self, alert: &Alert, outcome: &TryOutcome, ending: TryEnding) {
        let webhook = &*self.label;
        metrics::counter!("daybook_webhook_given_up_total", "target" => self.label.clone(), "why" => ending.as_str())
            .increment(1);
        tracing::warn!(webhook, id = alert.id, alert = %alert.alert, tenant = %alert.tenant, why = outcome.why(),
            "an alert is given up; its receiver does not have it");
    }

    /// How many alerts wait on the broker, for all processes.
    pub(super) fn progress(&self, progress: TargetProgress) {
        metrics::gauge!("daybook_webhook_waiting_alerts", "target" => self.label.clone()).set(progress.waiting as f64);
        let mut standing = self.lock();
        if progress.waiting == 0 {
            standing.rests();
        }
        self.gauges(&standing);
    }

    /// Alerts cannot be read from the broker at the moment.
    pub(super) fn trouble(&self, trouble: ReadTrouble) {
        let mut standing = self.lock();
        if standing.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(webhook = &*self.label, %trouble, "the alerts of a webhook cannot be read");
            standing.trouble = Some(trouble);
        }
    }

    /// They can.
    pub(super) fn reads(&self) {
        if self.lock().trouble.take().is_some() {
            tracing::info!(webhook = &*self.label, "the alerts of a webhook are read again");
        }
    }

    /// The target is not this process's any more.
    pub(super) fn end(&self) {
        for name in ["daybook_webhook_failing", "daybook_webhook_waiting_alerts"] {
            metrics::gauge!(name, "target" => self.label.clone()).set(0.0);
        }
    }

    fn gauges(&self, standing: &TargetStanding) {
        let failing = f64::from(u8::from(standing.is_failing()));
        metrics::gauge!("daybook_webhook_failing", "target" => self.label.clone()).set(failing);
    }

    fn lock(&self) -> MutexGuard<'_, TargetStanding> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let (mut standing, now) = (TargetStanding::default(), Instant::now());
        let later = now + Duration::from_secs(60);
        assert_eq!(standing.tried(true, now), None);
        assert_eq!([false, false, true].map(|is_taken| standing.tried(is_taken, now)), [None; 3]);
        assert_eq!([standing.tried(false, now), standing.tried(false, later)], [None; 2]);
        assert_eq!(standing.tried(false, later), Some(StandingChange::Fails));
        assert_eq!(standing.tried(false, later), None);
        assert_eq!(standing.tried(true, later), Some(StandingChange::Recovers(Duration::from_secs(60))));
        assert_eq!(standing.tried(true, later), None);
        let fails = |standing: &mut TargetStanding| [(); FAILURES as usize].map(|()| standing.tried(false, now));
        assert_eq!(fails(&mut standing), [None, None, Some(StandingChange::Fails)]);
        standing.rests();
        assert!(!standing.is_failing());
        assert_eq!(fails(&mut standing), [None, None, Some(StandingChange::Fails)], "it is told once more");
    }
}
