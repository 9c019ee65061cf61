//! Decides when closed days are restated: pure, by the clock that its owner hands in.
//!
//! Late events come one by one, and each may change a closed day. A report version for each would be of use to nobody. So ingest
//! writes marks into the log ([`Restate`]), and shards seal the days that wait at such a mark only. A mark of a tenant is due when
//! nothing more came for [`QUIET`], or at the latest when its interval has passed since the first event that waits; and never
//! before the interval has passed since the mark before.
//!
//! ingest does not know which entities lie on a closed day. It assumes that every event that may change a closed day does; a mark
//! without anything to restate has no effect. Nothing here is stored: each batch says whether a mark is still to come
//! ([`Marks::restating`](daybook_contracts::log::Marks::restating)), and an owner that begins behind such a batch writes one for
//! all tenants.

use daybook_contracts::log::Restate;
use daybook_domain::ids::TenantId;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long no event comes before a day counts as quiet: longer than the pauses of a program that catches up, and short enough for
/// a person who waits for a single correction.
pub const QUIET: Duration = Duration::from_secs(1);

/// What waits for a mark, and when marks were written last.
#[derive(Debug, Default)]
pub struct Restating {
    waiting: BTreeMap<TenantId, Waiting>,
    /// What an earlier owner left waiting, of whichever tenant.
    inherited: Option<Waiting>,
    /// Tenants with a mark that is not older than their interval, and when it was written.
    marked: BTreeMap<TenantId, Duration>,
}

/// Events that wait for a mark.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Some came since the clock was looked at last.
    is_new: bool,
    first: Option<Duration>,
    last: Duration,
}

impl Waiting {
    const NEW: Self = Self { is_new: true, first: None, last: Duration::ZERO };

    /// When a mark is due: `interval` is the longest wait.
    fn due(&mut self, now: Duration, interval: Duration) -> Duration {
        if std::mem::take(&mut self.is_new) {
            self.last = now;
        }
        let first = *self.first.get_or_insert(now);
        (self.last + QUIET.min(interval)).min(first + interval)
    }
}

impl Restating {
    /// Behind a batch that says whether a mark `is_due`.
    pub fn behind(is_due: bool) -> Self {
        Self { inherited: is_due.then_some(Waiting::NEW), ..Self::default() }
    }

    /// Takes note of an event of the tenant that may have changed a closed day.
    pub fn note(&mut self, tenant: &TenantId) {
        match self.waiting.get_mut(tenant) {
            Some(waiting) => waiting.is_new = true,
            None => {
                self.waiting.insert(tenant.clone(), Waiting::NEW);
            }
        }
    }

    /// Drops what waits of a tenant that is removed.
    pub fn forget(&mut self, tenant: &TenantId) {
        self.waiting.remove(tenant);
        self.marked.remove(tenant);
    }

    /// Whether a mark is still to come.
    pub fn is_waiting(&self) -> bool {
        self.inherited.is_some() || !self.waiting.is_empty()
    }

    /// The marks that are due at `now`, which never goes back. `interval` is that of a tenant; `None` if its days are restated
    /// without marks.
    pub fn due(&mut self, now: Duration, interval: impl Fn(&TenantId) -> Option<Duration>) -> Vec<Restate> {
        let mut marks = Vec::new();
        // Whose they are is not known: none waits longer than the quiet takes.
        if self.inherited.as_mut().is_some_and(|waiting| waiting.due(now, QUIET) <= now) {
            self.inherited = None;
            marks.push(Restate { tenant: None });
        }
        let is_recent = |tenant: &TenantId, at: Duration| interval(tenant).is_some_and(|interval| at + interval > now);
        self.marked.retain(|tenant, at| is_recent(tenant, *at));
        let marked = &mut self.marked;
        self.waiting.retain(|tenant, waiting| {
            let due = waiting.due(now, interval(tenant).unwrap_or_default());
            let is_due = due <= now && !marked.contains_key(tenant);
            if is_due {
                marked.insert(tenant.clone(), now);
                marks.push(Restate { tenant: Some(tenant.clone()) });
            }
            !is_due
        });
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> TenantId {
        TenantId::new("ABQ").unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// When marks are written if the clock is looked at every 100 ms, and events come at these instants.
    fn marks(events: &[Duration], interval: Duration, until: Duration) -> Vec<Duration> {
        let mut restating = Restating::default();
        let (mut now, mut found, mut events) = (Duration::ZERO, Vec::new(), events.iter().peekable());
        while now <= until {
            while events.next_if(|at| **at <= now).is_some() {
                restating.note(&id());
            }
            found.extend(restating.due(now, |_| Some(interval)).iter().map(|_| now));
            now += SECOND / 10;
        }
        assert!(!restating.is_waiting());
        found
    }

    #[test]
    fn one_correction_is_restated_when_it_has_been_quiet() {
        assert_eq!(marks(&[SECOND], MINUTE, 3 * MINUTE), [2 * SECOND]);
    }

    #[test]
    fn three_hundred_make_few_marks() {
        let storm: Vec<Duration> = (0..300).map(|n| n * SECOND / 100).collect();
        assert_eq!(marks(&storm, MINUTE, 3 * MINUTE), [4 * SECOND]);
        // So slowly that it is never quiet, nor sealed more than once an interval.
        let slow: Vec<Duration> = (0..300).map(|n| n * SECOND / 2).collect();
        let half = SECOND / 2;
        assert_eq!(marks(&slow, MINUTE, 5 * MINUTE), [MINUTE, 2 * MINUTE + half, 3 * MINUTE + half]);
        let apart: Vec<Duration> = (0..30).map(|n| n * SECOND * 5).collect();
        assert_eq!(
            marks(&apart, MINUTE, 5 * MINUTE),
            [SECOND, SECOND + MINUTE, SECOND + 2 * MINUTE, SECOND + 3 * MINUTE]
        );
    }

    #[test]
    fn without_an_interval_what_waits_is_due_at_once() {
        let mut restating = Restating::default();
        restating.note(&id());
        assert_eq!(restating.due(SECOND, |_| None).len(), 1);
        assert!(!restating.is_waiting());
    }

    #[test]
    fn what_an_earlier_owner_left_is_restated_for_every_tenant() {
        let mut restating = Restating::behind(true);
        assert_eq!((restating.is_waiting(), restating.due(MINUTE, |_| Some(MINUTE))), (true, vec![]));
        assert_eq!(restating.due(MINUTE + QUIET, |_| Some(MINUTE)), [Restate { tenant: None }]);
        assert!(!restating.is_waiting() && !Restating::behind(false).is_waiting());
    }

    proptest! {
        /// Between two marks passes the interval, no event waits for longer than two, and none is without a mark behind it.
        #[test]
        fn marks_keep_their_distance_and_none_is_late(
            gaps in prop::collection::vec(0_u32..40_000, 0..60),
            interval in 1_u64..30_000,
        ) {
            let interval = Duration::from_millis(interval);
            let mut at = Duration::ZERO;
            let events: Vec<Duration> = gaps.iter().map(|gap| { at += Duration::from_millis((*gap).into()); at }).collect();
            let tick = SECOND / 10;
            let found = marks(&events, interval, at + 3 * interval + 3 * SECOND);
            prop_assert!(found.windows(2).all(|pair| pair[1] - pair[0] >= interval), "{:?}", found);
            for event in &events {
                let mark = found.iter().find(|mark| **mark >= *event);
                prop_assert!(mark.is_some_and(|mark| *mark <= *event + interval + interval + 2 * tick), "{event:?} {found:?}");
            }
        }
    }
}
