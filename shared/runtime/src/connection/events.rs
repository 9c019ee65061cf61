//! What the broker and the client library report once a connection stands: logged clearly, and within bounds.

use super::error::Reason;
use super::waiting::WaitLog;
use async_nats::{Event, ServerError};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most refused subjects that are logged by name. A service has a few dozen; more come of subjects with a tenant in them.
const MAX_SUBJECTS: usize = 200;

/// What is to be logged of an event.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    Violation {
        action: &'static str,
        subject: String,
    },
    /// There are more refused subjects than are named.
    ManyViolations,
    Lost,
    Back,
    LameDuck,
    SlowConsumer,
    /// The broker ends the connection because the credentials do not hold any more.
    Expired,
    /// Something else that the broker says.
    Says(String),
    /// The broker does not let this user in any more.
    Refused,
    /// An attempt to connect again failed.
    Failed(String),
}

/// Keeps what was reported, and logs it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    reported: Mutex<Reported>,
    /// Told at every connection that comes about.
    pub(super) connected: Notify,
}

#[derive(Debug, Default)]
struct Reported {
    /// Nobody uses the connection any more.
    is_closed: bool,
    was_connected: bool,
    violations: BTreeSet<(&'static str, String)>,
    last_violation: Option<(&'static str, String)>,
    repeated: WaitLog,
}

impl Journal {
    /// Takes an event of the client library.
    pub(super) fn take(&self, event: &Event) {
        let note = self.reported.lock().unwrap_or_else(PoisonError::into_inner).note(event, Instant::now());
        if let Some(note) = note {
            log(note);
        }
        if *event == Event::Connected {
            self.connected.notify_one();
        }
    }

    /// Logs nothing from now on.
    pub(super) fn close(&self) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
    }

    /// The refusal that the broker reported last, as a reason.
    pub(super) fn last_violation(&self) -> Option<Reason> {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let (action, subject) = reported.last_violation.clone()?;
        Some(Reason::NotPermitted { action, subject })
    }
}

impl Reported {
    fn note(&mut self, event: &Event, now: Instant) -> Option<Notice> {
        if self.is_closed {
            return None;
        }
        match event {
            // The first one is told by whoever connects.
            Event::Connected => std::mem::replace(&mut self.was_connected, true).then_some(Notice::Back),
            Event::Disconnected => Some(Notice::Lost),
            Event::LameDuckMode => Some(Notice::LameDuck),
            Event::SlowConsumer(_) => self.if_news("slow consumer", Notice::SlowConsumer, now),
            Event::ServerError(ServerError::SlowConsumer(_)) => {
                self.if_news("slow consumer", Notice::SlowConsumer, now)
            }
            Event::ServerError(ServerError::Other(text)) => match violation(text) {
                Some((action, subject)) => self.violated(action, subject),
                None if is_expiry(text) => self.if_news(text, Notice::Expired, now),
                None => self.if_news(text, Notice::Says(text.clone()), now),
            },
            Event::ServerError(ServerError::AuthorizationViolation) => self.if_news("refused", Notice::Refused, now),
            Event::ClientError(error) => match error.to_string() {
                text if text.contains("authorization violation") => self.if_news("refused", Notice::Refused, now),
                text => self.if_news(&text, Notice::Failed(text.clone()), now),
            },
            Event::Draining | Event::Closed => None,
        }
    }

    fn if_news(&mut self, what: &str, note: Notice, now: Instant) -> Option<Notice> {
        self.repeated.is_news(what, now).then_some(note)
    }

    fn violated(&mut self, action: &'static str, subject: String) -> Option<Notice> {
        self.last_violation = Some((action, subject.clone()));
        if self.violations.contains(&(action, subject.clone())) || self.violations.len() > MAX_SUBJECTS {
            return None;
        }
        self.violations.insert((action, subject.clone()));
        let is_named = self.violations.len() <= MAX_SUBJECTS;
        Some(if is_named { Notice::Violation { action, subject } } else { Notice::ManyViolations })
    }
}

/// Reads `Permissions Violation for Publish to "x"`, and its like for subscriptions.
fn violation(text: &str) -> Option<(&'static str, String)> {
    let (kind, quoted) = text.split_once('"')?;
    let kind = kind.to_ascii_lowercase();
    if !kind.contains("permissions violation") {
        return None;
    }
    let action = if kind.contains("subscription") { "subscribe to" } else { "publish to" };
    let subject = quoted.split_once('"').map_or(quoted, |(subject, _)| subject);
    // Of the answers to its requests every process has names of its own.
    let subject = if subject.starts_with("_INBOX.") { "_INBOX.>" } else { subject };
    Some((action, subject.to_owned()))
}

/// Whether the broker says that the user's or the account's credentials do not hold any more.
fn is_expiry(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("authentication expired") || text.contains("authentication revoked")
}

fn log(note: Notice) {
    match note {
        Notice::Violation { action, subject } => tracing::warn!(
            action,
            ?subject,
            "the broker does not permit this user to do this; add the subject to the user's permissions"
        ),
        Notice::ManyViolations => {
            tracing::warn!(named = MAX_SUBJECTS, "the broker does not permit still more subjects; they are not named")
        }
        // What lasts is told at the first attempt that fails.
        Notice::Lost => tracing::info!("the connection to the broker is lost; connecting again"),
        Notice::Back => tracing::info!("connected to the broker again"),
        Notice::LameDuck => tracing::info!("the server is being shut down; connecting to another one"),
        Notice::SlowConsumer => {
            tracing::warn!("this process takes messages more slowly than they come, and some are lost or delayed")
        }
        Notice::Expired => tracing::error!(
            "the credentials have expired or are revoked; put new ones into their file, which is read at every attempt to connect"
        ),
        Notice::Says(text) => tracing::warn!(?text, "the broker reports an error"),
        Notice::Refused => tracing::error!(
            "the broker does not accept this user any more; check its password or credentials, and the server's configuration"
        ),
        Notice::Failed(reason) => tracing::warn!(reason, "the broker cannot be reached again yet; trying on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::ClientError;
    use std::time::Duration;

    fn server(text: &str) -> Event {
        Event::ServerError(ServerError::Other(text.to_owned()))
    }

    fn violated(action: &'static str, subject: &str) -> Option<Notice> {
        Some(Notice::Violation { action, subject: subject.to_owned() })
    }

    #[test]
    fn a_violation_is_told_once_for_each_subject() {
        let mut reported = Reported::default();
        let now = Instant::now();
        let mut note = |text: &str| reported.note(&server(text), now);
        assert_eq!(note(r#"Permissions Violation for Publish to "a.b""#), violated("publish to", "a.b"));
        assert_eq!(note(r#"Permissions Violation for Publish to "a.b""#), None);
        assert_eq!(note(r#"Permissions Violation for Subscription to "a.b""#), violated("subscribe to", "a.b"));
        let queue = r#"Permissions Violation for Subscription to "a.c" using queue "q""#;
        assert_eq!(note(queue), violated("subscribe to", "a.c"));
        let inbox = r#"Permissions Violation for Subscription to "_INBOX.abc.*""#;
        assert_eq!(note(inbox), violated("subscribe to", "_INBOX.>"));
        assert_eq!(note(&inbox.replace("abc", "def")), None);
    }

    #[test]
    fn subjects_are_named_up_to_a_bound() {
        let mut reported = Reported::default();
        let now = Instant::now();
        let notes: Vec<Notice> = (0..10 * MAX_SUBJECTS)
            .filter_map(|at| reported.note(&server(&format!("Permissions Violation for Publish to \"a.{at}\"")), now))
            .collect();
        assert_eq!(notes.len(), MAX_SUBJECTS + 1);
        assert_eq!(notes.last(), Some(&Notice::ManyViolations));
        assert_eq!(reported.violations.len(), MAX_SUBJECTS + 1);
        // The newest is remembered all the same, as the reason of what fails next.
        assert_eq!(reported.last_violation.unwrap().1, format!("a.{}", 10 * MAX_SUBJECTS - 1));
    }

    #[test]
    fn what_goes_on_is_told_once_a_minute() {
        let mut reported = Reported::default();
        let start = Instant::now();
        let failed = Event::ClientError(ClientError::Other("IO error".to_owned()));
        let told = (0..600).filter(|at| reported.note(&failed, start + Duration::from_secs(*at)).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(reported.note(&server("User Authentication Expired"), start), Some(Notice::Expired));
        assert_eq!(reported.note(&server("User Authentication Expired"), start), None);
        assert_eq!(
            reported.note(&server("Stale Connection"), start),
            Some(Notice::Says("Stale Connection".to_owned()))
        );
    }

    #[test]
    fn a_connection_that_comes_back_is_told_of() {
        let mut reported = Reported::default();
        let now = Instant::now();
        assert_eq!(reported.note(&Event::Connected, now), None);
        assert_eq!(reported.note(&Event::Disconnected, now), Some(Notice::Lost));
        assert_eq!(reported.note(&Event::Connected, now), Some(Notice::Back));
    }

    #[test]
    fn a_user_that_is_removed_is_told_of_and_nothing_of_a_connection_that_nobody_uses() {
        let mut reported = Reported::default();
        let now = Instant::now();
        assert_eq!(reported.note(&Event::ServerError(ServerError::AuthorizationViolation), now), Some(Notice::Refused));
        let again = Event::ClientError(ClientError::Other("authorization violation".to_owned()));
        assert_eq!(reported.note(&again, now), None);
        assert_eq!(reported.note(&again, now + Duration::from_secs(60)), Some(Notice::Refused));
        reported.is_closed = true;
        assert_eq!(reported.note(&Event::Disconnected, now), None);
    }
}
