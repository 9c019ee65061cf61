//! What keeps a request from being carried out, what its asker is told, and when the next one is tried.

use daybook_contracts::admin::AdminError;
use daybook_runtime::written::NotWritten;
use std::time::{Duration, Instant};

/// How long nothing is tried after a failure. Those who wait already are answered alike meanwhile: what they ask for would
/// fail one after the other, each after a time-out of its own.
pub const PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row from which on this day-manager does not say that it is well: one alone is over with the next attempt.
const LASTING: u32 = 2;

/// Why something was not published, or it is not known whether it was: read everything anew.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("another day-manager published on {0}")]
    Conflict(String),
    #[error("the broker did not confirm a message on {subject}")]
    Unclear {
        subject: String,
        #[source]
        source: async_nats::jetstream::context::PublishError,
    },
    #[error("a message was published, but did not come through to {0} in time")]
    NotArrived(String),
}

/// Something was not done, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("the broker does not say how {stream} stands")]
    Look {
        stream: String,
        #[source]
        source: async_nats::Error,
    },
    #[error("the broker does not tell in {0:?} what is in its streams")]
    Reading(Duration),
    #[error("what is published cannot be read: {0}")]
    Unreadable(#[from] NotWritten),
    #[error("a definition that was published cannot be used: {0}")]
    Unusable(String),
}

impl Failure {
    /// Whether another day-manager came in between, so that the same may be begun again at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Publish(PublishError::Conflict(_)))
    }

    /// What happened and what to do, for whoever asked for it.
    fn told(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(" ({cause})")).unwrap_or_default();
        let more = match self {
            Self::Publish(PublishError::NotArrived(_)) => ": INBOX may be full, for ingest is away or slow",
            _ => "",
        };
        format!(
            "{self}{cause}{more}; what was asked for may be done, in part, or not at all: ask again in a moment, which is safe"
        )
    }
}

/// Why an asker has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be done as it was asked for. Nothing was.
    AsItStands(AdminError),
    /// It can be asked for again.
    ForNow(String),
}

impl From<AdminError> for Refused {
    fn from(error: AdminError) -> Self {
        Self::AsItStands(error)
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Trouble {
    failures: u32,
    /// When the last one was, and what its asker was told.
    last: Option<(Instant, String)>,
}

impl Trouble {
    /// Takes note of a failure; returns what its asker is told.
    pub fn failed(&mut self, failure: &Failure, now: Instant) -> Refused {
        self.failures += 1;
        let told = failure.told();
        self.last = Some((now, told.clone()));
        Refused::ForNow(told)
    }

    /// They are over: something has succeeded.
    pub fn ended(&mut self) {
        *self = Self::default();
    }

    /// Whether the last attempt failed.
    pub fn is_there(&self) -> bool {
        self.failures > 0
    }

    /// Whether it is more than a hiccup.
    pub fn is_lasting(&self) -> bool {
        self.failures >= LASTING
    }

    /// The refusal of what is not even tried, because something has just failed.
    pub fn refuses(&self, now: Instant) -> Option<Refused> {
        let (_, told) = self.last.as_ref().filter(|(at, _)| now.duration_since(*at) < PAUSE)?;
        Some(Refused::ForNow(format!("nothing was tried, for a moment ago {told}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_arrived() -> Failure {
        PublishError::NotArrived("daybook.inbox.3.acme.tenant".to_owned()).into()
    }

    fn text(refused: Refused) -> String {
        match refused {
            Refused::ForNow(text) => text,
            Refused::AsItStands(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn an_asker_is_told_what_happened_and_what_to_do() {
        let now = Instant::now();
        let told = |failure: Failure| text(Trouble::default().failed(&failure, now));
        let arrival = told(not_arrived());
        assert!(arrival.contains("daybook.inbox.3.acme.tenant") && arrival.contains("INBOX may be full"), "{arrival}");
        let source = async_nats::jetstream::context::PublishErrorKind::TimedOut.into();
        let unclear = told(PublishError::Unclear { subject: "daybook.days.acme.opened".to_owned(), source }.into());
        assert!(unclear.contains("daybook.days.acme.opened") && unclear.contains("timed out"), "{unclear}");
        let look = told(Failure::Look { stream: "DAYS".to_owned(), source: "no route".into() });
        assert!(look.contains("DAYS") && look.contains("no route"), "{look}");
        assert!([arrival, unclear, look].iter().all(|text| text.ends_with("ask again in a moment, which is safe")));
    }

    #[test]
    fn after_a_failure_nothing_is_tried_for_a_moment() {
        let (now, mut trouble) = (Instant::now(), Trouble::default());
        assert_eq!(trouble.refuses(now), None);
        let told = text(trouble.failed(&not_arrived(), now));
        let refusal = text(trouble.refuses(now + PAUSE - Duration::from_millis(1)).unwrap());
        assert!(refusal.contains("nothing was tried") && refusal.ends_with(&told), "{refusal}");
        assert_eq!(trouble.refuses(now + PAUSE), None);
    }

    #[test]
    fn one_failure_is_a_hiccup() {
        let (now, mut trouble) = (Instant::now(), Trouble::default());
        trouble.failed(&not_arrived(), now);
        assert!(trouble.is_there() && !trouble.is_lasting());
        trouble.failed(&not_arrived(), now);
        assert!(trouble.is_lasting());
        trouble.ended();
        assert!(!trouble.is_there() && !trouble.is_lasting() && trouble.refuses(now).is_none());
    }
}
