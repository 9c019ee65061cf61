//! What one user may publish and subscribe to.

use daybook_contracts::subjects::Subjects;

/// Inboxes of every NATS client that is not told otherwise: replies to requests arrive here.
pub const INBOXES: &str = "_INBOX.>";

/// Subjects that a user may use. Everything else is refused by the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// May be published to; with wildcards.
    pub publish: Vec<String>,
    /// May be subscribed to; with wildcards.
    pub subscribe: Vec<String>,
    /// Whether one reply may be sent to each request that arrives, wherever that reply goes.
    pub may_respond: bool,
}

impl Permissions {
    /// Permissions to receive replies, and nothing else.
    pub fn with_inbox() -> Self {
        Self { subscribe: vec![INBOXES.to_owned()], ..Self::default() }
    }

    /// Allows to publish to these as well.
    pub fn publish(mut self, subjects: impl IntoIterator<Item = String>) -> Self {
        for subject in subjects {
            if !self.publish.contains(&subject) {
                self.publish.push(subject);
            }
        }
        self
    }

    /// Allows to subscribe to these as well.
    pub fn subscribe(mut self, subjects: impl IntoIterator<Item = String>) -> Self {
        self.subscribe.extend(subjects);
        self
    }

    /// Allows one reply to each request that arrives.
    pub fn respond(mut self) -> Self {
        self.may_respond = true;
        self
    }

    /// Whether `subject`, without wildcards, may be published to.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish.iter().any(|pattern| matches(pattern, subject))
    }

    /// Whether `subject`, without wildcards, may be listened to.
    pub fn may_hear(&self, subject: &str) -> bool {
        self.subscribe.iter().any(|pattern| matches(pattern, subject))
    }
}

/// Whether a NATS pattern matches a subject: `*` is one token, a last `>` is one or more.
///
/// ```
/// use daybook_access::permissions::matches;
/// assert!(matches("daybook.in.acme.*", "daybook.in.acme.order"));
/// assert!(!matches("daybook.in.acme.*", "daybook.in.acme"));
/// assert!(matches("_INBOX.>", "_INBOX.a.b"));
/// ```
pub fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) => return pattern.next().is_none(),
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether some subject matches both patterns.
///
/// ```
/// use daybook_access::permissions::overlap;
/// assert!(overlap("a.*.c", "a.b.>"));
/// assert!(!overlap("a.b", "a.c"));
/// ```
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == "*" || b == "*" || a == b => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Subjects of the JetStream API, stream by stream.
pub(crate) struct JetStreamApi<'a> {
    pub(crate) stream: &'a str,
}

impl JetStreamApi<'_> {
    /// Configuration and state of the stream.
    pub(crate) fn look(&self) -> Vec<String> {
        vec![self.verb("STREAM.INFO")]
    }

    /// Making the stream when it is missing.
    pub(crate) fn make(&self) -> Vec<String> {
        vec![self.verb("STREAM.INFO"), self.verb("STREAM.CREATE")]
    }

    /// Changing bounds and retention.
    pub(crate) fn change(&self) -> Vec<String> {
        vec![self.verb("STREAM.UPDATE")]
    }

    /// Single messages, by the stream's leader or any replica.
    pub(crate) fn get(&self) -> Vec<String> {
        let direct = self.verb("DIRECT.GET");
        vec![self.verb("STREAM.MSG.GET"), format!("{direct}.>"), direct]
    }

    /// Everything, in order, by consumers that need no acknowledgement.
    pub(crate) fn read(&self) -> Vec<String> {
        let consumer = |verb: &str| format!("{}.>", self.verb(&format!("CONSUMER.{verb}")));
        let mut subjects = self.get();
        // Some clients make a consumer without a name.
        subjects.push(self.verb("CONSUMER.CREATE"));
        subjects.extend(["CREATE", "MSG.NEXT", "DELETE", "INFO"].map(consumer));
        subjects
    }

    /// Everything, in order, by durable consumers whose messages are acknowledged, and their names.
    pub(crate) fn consume(&self) -> Vec<String> {
        let mut subjects = self.read();
        subjects.push(self.verb("CONSUMER.NAMES"));
        subjects.push(format!("$JS.ACK.{}.>", self.stream));
        subjects
    }

    /// Seeing how far every consumer is.
    pub(crate) fn list(&self) -> Vec<String> {
        vec![self.verb("CONSUMER.LIST")]
    }

    /// Having another server lead the stream.
    pub(crate) fn elect(&self) -> Vec<String> {
        vec![self.verb("STREAM.LEADER.STEPDOWN")]
    }

    /// Removing messages.
    pub(crate) fn purge(&self) -> Vec<String> {
        vec![self.verb("STREAM.PURGE")]
    }

    fn verb(&self, verb: &str) -> String {
        format!("$JS.API.{verb}.{}", self.stream)
    }
}

/// The streams that every service makes when they are missing.
pub(crate) fn streams(subjects: &Subjects) -> [String; 9] {
    [
        subjects.catalog_stream(),
        subjects.days_stream(),
        subjects.clocks_stream(),
        subjects.inbox_stream(),
        subjects.events_stream(),
        subjects.reports_stream(),
        subjects.figures_stream(),
        subjects.rejects_stream(),
        subjects.alerts_stream(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_token_by_token() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            (">", "a", true),
            ("a.*.c", "a.b.d", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn patterns_overlap_where_a_subject_matches_both() {
        for (one, other, expected) in [
            ("a.*", "*.b", true),
            ("a.>", "*.*.c", true),
            ("a.>", "a", false),
            ("a", "a.>", false),
            ("a.b.*", "a.c.*", false),
            ("a.*", "a.b.c", false),
            (">", "x.y", true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }
}
