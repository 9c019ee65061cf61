//! What this process has met in streams that no service wrote: counted by stream, named in the log and in heartbeats.

use crate::written::NotWritten;
use compact_str::ToCompactString;
use daybook_contracts::members::{Foreign, MAX_FOREIGN, MAX_NAME_BYTES};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most sequences of one stream that are remembered: a message that is read again, after a restart of an actor say, is not
/// counted again.
const MAX_REMEMBERED: usize = 4_096;

/// Foreign messages by stream. Cheap to clone.
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
        let mut streams = self.lock();
        if !streams.contains_key(stream) && streams.len() >= MAX_FOREIGN {
            return;
        }
        let seen = streams.entry(stream.to_owned()).or_default();
        if seen.remembered.contains(&sequence) {
            return;
        }
        if seen.remembered.len() == MAX_REMEMBERED {
            seen.remembered.pop_front();
        }
        seen.remembered.push_back(sequence);
        seen.messages += 1;
        let messages = seen.messages;
        seen.newest = (sequence, cut(subject), cut(&why.to_string()));
        drop(streams);
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
