//! What this process has met in streams that no service wrote, and requests that ask for their answer where none may go:
//! counted by stream or door, named in the log and in heartbeats.

use crate::written::NotWritten;
use compact_str::ToCompactString;
use daybook_contracts::members::{Foreign, MAX_FOREIGN, MAX_NAME_BYTES};
use daybook_contracts::subjects::Subjects;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most sequences of one stream that are remembered: a message that is read again, after a restart of an actor say, is not
/// counted again.
const MAX_REMEMBERED: usize = 4_096;

/// Where a service takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Query,
    Admin,
    Shard,
}

impl Door {
    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Admin => "admin",
            Self::Shard => "shard",
        }
    }
}

/// Foreign messages by stream or door. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    streams: Arc<Mutex<BTreeMap<String, Seen>>>,
}

#[derive(Debug, Default)]
struct Seen {
    messages: u64,
    /// The newest of them: sequence, subject and why it is foreign.
    newest: (u64, String, String),
    remembered: VecDeque<u64>,
}

impl Ledger {
    /// Takes note of the message at `sequence` of `stream`. The first of a stream is logged, and then each time that their number
    /// has doubled.
    pub fn note(&self, stream: &str, sequence: u64, subject: &str, why: &NotWritten) {
        let Some(messages) = self.count(stream, Some(sequence), subject, &why.to_string()) else { return };
        metrics::counter!("daybook_foreign_messages_total", "stream" => stream.to_owned()).increment(1);
        if messages.is_power_of_two() {
            tracing::warn!(
                stream,
                sequence,
                subject = cut(subject),
                why = %why,
                messages,
                "passed over a message that no service wrote; see docs/SECURITY.md"
            );
        }
    }

    /// Whether the request on `subject` may be answered on `reply`. Takes note of one that may not, like [`note`](Self::note)
    /// does.
    pub fn admits(&self, door: Door, subjects: &Subjects, subject: &str, reply: &str) -> bool {
        let Err(why) = subjects.check_reply(reply) else { return true };
        metrics::counter!("daybook_refused_replies_total", "door" => door.as_str()).increment(1);
        let (place, told) = (format!("requests to {}", door.as_str()), format!("{why}: {reply}"));
        if let Some(requests) = self.count(&place, None, subject, &told)
            && requests.is_power_of_two()
        {
            let (subject, reply) = (cut(subject), cut(reply));
            tracing::warn!(door = door.as_str(), subject, reply, %why, requests, "refused to answer; see docs/SECURITY.md");
        }
        false
    }

    /// Counts a message of `place`, which has a sequence or is never read again. Returns how many there are now, unless this one
    /// is counted already or there are too many places.
    fn count(&self, place: &str, sequence: Option<u64>, subject: &str, why: &str) -> Option<u64> {
        let mut streams = self.lock();
        if !streams.contains_key(place) && streams.len() >= MAX_FOREIGN {
            return None;
        }
        let seen = streams.entry(place.to_owned()).or_default();
        if let Some(sequence) = sequence {
            if seen.remembered.contains(&sequence) {
                return None;
            }
            if seen.remembered.len() == MAX_REMEMBERED {
                seen.remembered.pop_front();
            }
            seen.remembered.push_back(sequence);
        }
        seen.messages += 1;
        seen.newest = (sequence.unwrap_or(seen.messages), cut(subject), cut(why));
        Some(seen.messages)
    }

    /// What was met so far, for heartbeats.
    pub fn told(&self) -> Vec<Foreign> {
        let told = |(stream, seen): (&String, &Seen)| {
            let (sequence, subject, why) = &seen.newest;
            Foreign {
                stream: stream.to_compact_string(),
                messages: seen.messages,
                sequence: *sequence,
                subject: subject.to_compact_string(),
                why: why.to_compact_string(),
            }
        };
        self.lock().iter().map(told).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text at the length that a heartbeat takes, without control characters.
fn cut(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if shown.len() + character.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_once_however_often_it_is_read() {
        let ledger = Ledger::default();
        let why = NotWritten::Foreign("it was not appended on a condition".into());
        for sequence in [7, 9, 7, 9] {
            ledger.note("EVENTS", sequence, "daybook.events.1", &why);
        }
        ledger.note("REPORTS", 1, &"é\n".repeat(MAX_NAME_BYTES), &why);
        let told = ledger.told();
        assert_eq!((told[0].stream.as_str(), told[0].messages, told[0].sequence), ("EVENTS", 2, 9));
        assert!(told[1].subject.len() <= MAX_NAME_BYTES && told[1].subject.starts_with("é?é?"));
    }

    #[test]
    fn requests_that_want_their_answer_in_a_stream_are_counted_by_door() {
        let (ledger, subjects) = (Ledger::default(), Subjects::new("daybook").unwrap());
        let admits = |reply: &str| ledger.admits(Door::Query, &subjects, "daybook.query.acme.orders", reply);
        assert!(admits("_INBOX.a.1"));
        assert!(ledger.told().is_empty());
        for _ in 0..3 {
            assert!(!admits("daybook.events.7"));
        }
        assert!(!admits("$JS.API.STREAM.DELETE.X"));
        assert!(!ledger.admits(Door::Admin, &subjects, "daybook.admin.apply", "daybook.clocks.x"));
        let told = ledger.told();
        let shown: Vec<_> = told.iter().map(|told| (told.stream.as_str(), told.messages, told.sequence)).collect();
        assert_eq!(shown, [("requests to admin", 1, 1), ("requests to query", 4, 4)]);
        assert!(told[1].why.ends_with("$JS.API.STREAM.DELETE.X"), "{}", told[1].why);
    }

    #[test]
    fn what_is_remembered_has_bounds() {
        let ledger = Ledger::default();
        let why = NotWritten::Foreign("".into());
        for sequence in 0..2 * MAX_REMEMBERED as u64 {
            ledger.note("EVENTS", sequence, "s", &why);
        }
        assert_eq!(ledger.lock()["EVENTS"].remembered.len(), MAX_REMEMBERED);
        for stream in 0..2 * MAX_FOREIGN {
            ledger.note(&format!("S{stream}"), 1, "s", &why);
        }
        assert_eq!(ledger.told().len(), MAX_FOREIGN);
    }
}
