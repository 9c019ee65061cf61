//! The messages of one subject in a stream, one by one and in both directions, without a consumer.
//!
//! The broker finds the first message at or after a sequence, but nothing backwards. Backwards goes by a link: a service
//! appends a message on the condition that the last one of its subject has a certain sequence, the broker checks that, and
//! stores the condition in a header. Where a message has no such link, the one before it is found by bisection.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook_contracts::subjects::Subjects;
use daybook_runtime::append::{Stored, last_message_for_certain, next_message, stream_handle};
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::written::{NotWritten, header_number};

/// The broker compares the expected sequence with this subject instead of the message's own, where it is set.
const EXPECTED_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// The link from a message to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is the first of its subject, or the stream had dropped all before it.
    First,
    /// The one before it has this sequence.
    To(u64),
    /// It has no link.
    Unknown,
}

impl Link {
    /// The link of the message at `sequence`.
    pub fn of(headers: &HeaderMap, sequence: u64) -> Self {
        match header_number(headers, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref()) {
            _ if headers.get(EXPECTED_OF_SUBJECT).is_some() => Self::Unknown,
            Some(0) => Self::First,
            Some(before) if before < sequence => Self::To(before),
            _ => Self::Unknown,
        }
    }
}

/// One subject of a stream. Every method tries until the broker answers: the caller sets the deadline.
pub struct SubjectReader<'a> {
    connection: &'a Connection,
    stream: String,
    subject: String,
}

impl<'a> SubjectReader<'a> {
    pub fn new(connection: &'a Connection, stream: String, subject: String) -> Self {
        Self { connection, stream, subject }
    }

    /// What `read` makes of a message of the subject; `None` when no service wrote it, which is noted.
    pub fn read<T>(
        &self,
        message: &Stored,
        read: impl FnOnce(&Subjects, &Stored) -> Result<T, NotWritten>,
    ) -> Option<T> {
        read(&self.connection.subjects, message)
            .inspect_err(|why| self.connection.foreign.note(&self.stream, message.sequence, &self.subject, why))
            .ok()
    }

    /// The newest message. `None` comes from the stream's leader.
    pub async fn last(&self) -> Option<Stored> {
        last_message_for_certain(self.connection, &self.stream, &self.subject).await
    }

    /// The newest message as some replica has it, which may lack the newest of all.
    pub async fn last_of_any_replica(&self) -> Option<Stored> {
        let handle = stream_handle(self.connection, &self.stream).await.ok()?;
        let message = handle.direct_get_last_for_subject(self.subject.as_str()).await.ok()?;
        Some(stored(message))
    }

    /// The first message at or after a sequence. `None` comes from the stream's leader.
    pub async fn next(&self, from: u64) -> Option<Stored> {
        // Any replica will do if it has a message: it never lacks one before that.
        if let Ok(handle) = stream_handle(self.connection, &self.stream).await
            && let Ok(message) = handle.direct_get_next_for_subject(self.subject.as_str(), Some(from)).await
        {
            return Some(stored(message));
        }
        next_message(self.connection, &self.stream, &self.subject, from).await
    }

    /// The message before another one of the subject.
    pub async fn before(&self, message: &Stored) -> Option<Stored> {
        let before = match Link::of(&message.headers, message.sequence) {
            Link::First => return None,
            Link::To(before) => before,
            Link::Unknown => return self.search_below(message.sequence).await,
        };
        self.next(before).await.filter(|found| found.sequence < message.sequence)
    }

    async fn search_below(&self, limit: u64) -> Option<Stored> {
        let (mut search, mut last) = (Search::below(limit), None);
        while let Some(from) = search.probe() {
            let found = self.next(from).await.filter(|found| found.sequence < limit);
            search.note(from, found.as_ref().map(|found| found.sequence));
            last = found.or(last);
        }
        last
    }
}

/// The search for the last message below a sequence. The broker only finds the first at or after one, so the search takes
/// wider and wider steps back until it finds one, and then bisects the last step. It takes at most 130 looks.
struct Search {
    limit: u64,
    /// The last message that is known.
    found: Option<u64>,
    /// No message is from here to the limit.
    none_from: u64,
    step: u64,
}

impl Search {
    fn below(limit: u64) -> Self {
        Self { limit, found: None, none_from: limit, step: 1 }
    }

    /// The sequence to look from next; `None` when the search has ended.
    fn probe(&self) -> Option<u64> {
        match self.found {
            None => (self.none_from > 1).then(|| self.limit.saturating_sub(self.step).max(1)),
            Some(found) if found + 1 < self.none_from => Some(found + 1 + (self.none_from - found - 1) / 2),
            Some(_) => None,
        }
    }

    /// Takes in what was found at or after `from` and below the limit.
    fn note(&mut self, from: u64, found: Option<u64>) {
        match found {
            Some(found) => self.found = Some(found),
            None => (self.none_from, self.step) = (from, self.step.saturating_mul(2)),
        }
    }
}

fn stored(message: async_nats::jetstream::message::StreamMessage) -> Stored {
    Stored {
        subject: message.subject.to_string(),
        sequence: message.sequence,
        stored_at: clock::from_nanos(message.time.unix_timestamp_nanos()),
        headers: message.headers,
        payload: message.payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_link_is_what_the_broker_has_checked() {
        let link = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| map.insert(*name, *value));
            Link::of(&map, 9)
        };
        let expected = "Nats-Expected-Last-Subject-Sequence";
        assert_eq!(link(&[(expected, "7")]), Link::To(7));
        assert_eq!(link(&[(expected, "0")]), Link::First);
        for other in [&[][..], &[(expected, "9")], &[(expected, "-1")], &[(expected, "7"), (EXPECTED_OF_SUBJECT, "x")]]
        {
            assert_eq!(link(other), Link::Unknown, "{other:?}");
        }
    }

    #[test]
    fn the_last_one_below_is_found_in_few_steps() {
        let find = |sequences: &BTreeSet<u64>, limit: u64| {
            let (mut search, mut steps) = (Search::below(limit), 0);
            while let Some(from) = search.probe() {
                steps += 1;
                search.note(from, sequences.range(from..limit).next().copied());
            }
            (search.found, steps)
        };
        for pattern in 0..1_u32 << 10 {
            let sequences: BTreeSet<u64> = (1..=10).filter(|bit| pattern & 1 << (bit - 1) != 0).collect();
            for limit in 1..=11 {
                let expected = sequences.range(..limit).next_back().copied();
                assert_eq!(find(&sequences, limit).0, expected, "below {limit} of {sequences:?}");
            }
        }
        for limit in [1 << 20, u64::MAX] {
            for only in [1, 2, 1_000, limit / 2, limit - 1] {
                let (found, steps) = find(&BTreeSet::from([only]), limit);
                assert_eq!(found, Some(only));
                assert!(steps <= 130, "{steps} steps to {only} below {limit}");
            }
        }
    }
}
