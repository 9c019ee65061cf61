//! How a target stands in this process: in metrics, in heartbeats, and in the log when that changes.

use super::consumers::{ReadTrouble, TargetProgress};
use super::retries::{TryEnding, TryOutcome};
use compact_str::CompactString;
use daybook_contracts::alert::Alert;
use daybook_contracts::members::{MAX_NAME_BYTES, WEBHOOK_FAILURES, WebhookRefusal, WebhookTries};
use daybook_domain::ids::Name;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use daybook_runtime::membership::Board;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is told of one target. Cheap to clone.
#[derive(Clone)]
pub(super) struct TargetTeller {
    /// The label of its metrics.
    label: Arc<str>,
    /// Where the other processes learn of it.
    board: Board,
    standing: Arc<Mutex<TargetStanding>>,
}

/// Pure: says what has changed, and leaves the telling to others.
#[derive(Debug, Default)]
struct TargetStanding {
    tries: WebhookTries,
    /// Alerts that waited on the broker, when that was looked at last.
    waiting: u64,
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
    fn tried(&mut self, outcome: &TryOutcome, now: Instant) -> Option<StandingChange> {
        if *outcome == TryOutcome::Taken {
            let was_failing = self.is_failing();
            let since = self.tries.failing_since.take().filter(|_| was_failing);
            (self.tries.failures, self.tries.taken_at) = (0, Some(now));
            return since.map(|since| StandingChange::Recovers(now.since(since)));
        }
        self.tries.refusal = Some(WebhookRefusal { at: now, why: shortened(&outcome.why()) });
        self.tries.failures = self.tries.failures.saturating_add(1);
        self.tries.failing_since.get_or_insert(now);
        (self.tries.failures == WEBHOOK_FAILURES).then_some(StandingChange::Fails)
    }

    fn is_failing(&self) -> bool {
        self.tries.is_held_off()
    }

    /// Notes how many alerts wait. While there are none, nobody knows whether the target would fail.
    fn waits(&mut self, waiting: u64) {
        self.waiting = waiting;
        if waiting == 0 {
            (self.tries.failures, self.tries.failing_since) = (0, None);
        }
    }

    /// Whether others should hear of it.
    fn is_worth_telling(&self) -> bool {
        self.waiting > 0 || self.tries.refusal.is_some()
    }
}

/// As much of a text as a heartbeat takes.
fn shortened(text: &str) -> CompactString {
    let end = (0..=MAX_NAME_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].into()
}

impl TargetTeller {
    pub(super) fn begin(name: &Name, board: Board) -> Self {
        let tries = WebhookTries { name: name.as_str().into(), ..WebhookTries::default() };
        let standing = TargetStanding { tries, ..TargetStanding::default() };
        let teller = Self { label: name.as_str().into(), board, standing: Arc::new(Mutex::new(standing)) };
        teller.show(&teller.lock());
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
        match standing.tried(outcome, clock::now()) {
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
        self.show(&standing);
    }

    /// Counts a delivery that this version of the gateway cannot read. It says nothing of the target.
    pub(super) fn unreadable(&self, sequence: u64, why: &str, is_first: bool) {
        let webhook = &*self.label;
        metrics::counter!("daybook_webhook_unreadable_total", "target" => self.label.clone()).increment(1);
        if is_first {
            tracing::warn!(webhook, sequence, why, "an alert cannot be read, and waits for a gateway that can");
        }
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
        standing.waits(progress.waiting);
        self.show(&standing);
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
        self.board.forget_webhook(&self.label);
        for name in ["daybook_webhook_failing", "daybook_webhook_waiting_alerts"] {
            metrics::gauge!(name, "target" => self.label.clone()).set(0.0);
        }
    }

    /// Shows how it stands, under the lock: so the newest word is the last one.
    fn show(&self, standing: &TargetStanding) {
        match standing.is_worth_telling() {
            true => self.board.tell_webhook(standing.tries.clone()),
            false => self.board.forget_webhook(&self.label),
        }
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

    fn refused() -> TryOutcome {
        TryOutcome::Unanswered("no answer".to_owned())
    }

    #[test]
    fn only_changes_are_told() {
        let (mut standing, now) = (TargetStanding::default(), Instant::from_millis(7_000));
        let (later, refused, taken) = (Instant::from_millis(67_000), refused(), TryOutcome::Taken);
        assert_eq!(standing.tried(&taken, now), None);
        assert_eq!([&refused, &refused, &taken].map(|outcome| standing.tried(outcome, now)), [None; 3]);
        assert_eq!([standing.tried(&refused, now), standing.tried(&refused, later)], [None; 2]);
        assert_eq!(standing.tried(&refused, later), Some(StandingChange::Fails));
        assert_eq!(standing.tried(&refused, later), None);
        assert_eq!(standing.tried(&taken, later), Some(StandingChange::Recovers(Duration::from_secs(60))));
        assert_eq!(standing.tried(&taken, later), None);
        let fails =
            |standing: &mut TargetStanding| [(); WEBHOOK_FAILURES as usize].map(|()| standing.tried(&refused, now));
        assert_eq!(fails(&mut standing), [None, None, Some(StandingChange::Fails)]);
        standing.waits(0);
        assert!(!standing.is_failing());
        assert_eq!(fails(&mut standing), [None, None, Some(StandingChange::Fails)], "it is told once more");
    }

    #[test]
    fn others_hear_of_a_target_that_waits_or_was_refused() {
        let (mut standing, now) = (TargetStanding::default(), Instant::from_millis(7_000));
        standing.tried(&TryOutcome::Taken, now);
        assert!(!standing.is_worth_telling());
        standing.waits(1);
        assert!(standing.is_worth_telling());
        standing.waits(0);
        standing.tried(&TryOutcome::Unanswered("é".repeat(MAX_NAME_BYTES)), now);
        let WebhookTries { failures, failing_since, taken_at, refusal, .. } = &standing.tries;
        assert_eq!((*failures, *failing_since, *taken_at), (1, Some(now), Some(now)));
        assert_eq!(refusal.as_ref().map(|refusal| refusal.why.len()), Some(MAX_NAME_BYTES));
        standing.waits(0);
        assert!(standing.is_worth_telling(), "the refusal is still the newest one");
    }
}
