//! The core of a write: an output goes behind what its subject ends with, unless it is there, or was. No clock and no I/O: whoever drives it
//! does what is [next](Next) and hands in what it [`Heard`].

use super::Output;
use crate::backoff::Backoff;
use std::time::Duration;

/// Pauses before a subject is looked at when an append's fate is unclear.
const UNCLEAR: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));

/// What is known of the end of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Of its last message, 0 for none.
    pub sequence: u64,
    /// That of the last output, if there is any.
    pub position: Option<u64>,
}

/// What is to be done for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After the pause, look how the subject ends, for [`Heard::End`].
    LookUp { pause: Duration },
    /// Ask whether the stream has removed what is as old as the batch that the output follows from, for [`Heard::Kept`].
    AskWhatIsKept,
    /// Append behind this sequence, for [`Heard::Stored`], [`Heard::Conflict`] or [`Heard::Unclear`].
    Append { expected: u64 },
    /// It is written, and its subject ends so.
    Written(End),
    /// It need not be written: it is there, or was.
    Skipped(End),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub enum Heard {
    End(End),
    Kept {
        /// What was stored then is removed.
        has_let_go: bool,
    },
    Stored(u64),
    /// Something else was stored on the subject meanwhile. Nothing is written.
    Conflict,
    /// It may or may not be stored.
    Unclear,
}

/// An output on its way.
pub struct Writing {
    position: u64,
    end: End,
    /// Before the next look at an unclear fate.
    backoff: Backoff,
}

impl Writing {
    /// Begins to write an output. `known` is how its subject ends, where this outbox has written there last.
    pub fn begin(output: &Output, known: Option<End>) -> (Self, Next) {
        let nothing = End { sequence: 0, position: None };
        let writing = Self { position: output.position, end: known.unwrap_or(nothing), backoff: UNCLEAR };
        let next = match known {
            None if !output.first => Next::LookUp { pause: Duration::ZERO },
            _ => writing.judge(),
        };
        (writing, next)
    }

    /// Takes what came of the last step.
    pub fn heard(&mut self, heard: Heard) -> Next {
        match heard {
            Heard::End(end) => {
                self.end = end;
                self.judge()
            }
            Heard::Kept { has_let_go: true } => Next::Skipped(self.end),
            Heard::Kept { has_let_go: false } => self.append(),
            Heard::Stored(sequence) => Next::Written(End { sequence, position: Some(self.position) }),
            Heard::Conflict => Next::LookUp { pause: Duration::ZERO },
            Heard::Unclear => Next::LookUp { pause: self.backoff.next_pause() },
        }
    }

    fn judge(&self) -> Next {
        match self.end.position {
            Some(position) if position >= self.position => Next::Skipped(self.end),
            Some(_) => self.append(),
            None => Next::AskWhatIsKept,
        }
    }

    fn append(&self) -> Next {
        Next::Append { expected: self.end.sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;
    use bytes::Bytes;

    fn begin(first: bool, known: Option<End>) -> (Writing, Next) {
        let (stream, subject) = ("S".to_owned(), "s".to_owned());
        let (headers, payload) = (HeaderMap::new(), Bytes::new());
        Writing::begin(&Output { stream, subject, position: 7, first, headers, payload }, known)
    }

    fn end(sequence: u64, position: Option<u64>) -> End {
        End { sequence, position }
    }

    #[test]
    fn an_output_goes_behind_the_end_of_its_subject() {
        let (mut writing, next) = begin(false, None);
        assert_eq!(next, Next::LookUp { pause: Duration::ZERO });
        assert_eq!(writing.heard(Heard::End(end(4, Some(6)))), Next::Append { expected: 4 });
        assert_eq!(writing.heard(Heard::Conflict), Next::LookUp { pause: Duration::ZERO });
        assert_eq!(writing.heard(Heard::End(end(5, Some(6)))), Next::Append { expected: 5 });
        assert_eq!(writing.heard(Heard::Stored(9)), Next::Written(end(9, Some(7))));
        assert_eq!(begin(false, Some(end(3, Some(6)))).1, Next::Append { expected: 3 });
    }

    #[test]
    fn an_output_that_is_there_or_was_is_not_written_again() {
        for position in [7, 8] {
            let there = end(4, Some(position));
            assert_eq!(begin(true, Some(there)).1, Next::Skipped(there));
        }
        let (mut writing, next) = begin(true, None);
        assert_eq!(next, Next::AskWhatIsKept);
        assert_eq!(writing.heard(Heard::Kept { has_let_go: true }), Next::Skipped(end(0, None)));
        assert_eq!(writing.heard(Heard::Kept { has_let_go: false }), Next::Append { expected: 0 });
    }

    #[test]
    fn a_subject_is_looked_at_while_the_fate_of_an_append_is_unclear() {
        let (mut writing, _) = begin(true, None);
        let pauses = [(); 9].map(|()| match writing.heard(Heard::Unclear) {
            Next::LookUp { pause } => pause.as_millis(),
            next => panic!("{next:?}"),
        });
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000]);
        assert_eq!(writing.heard(Heard::End(end(3, Some(7)))), Next::Skipped(end(3, Some(7))));
    }
}
