//! Which line of a replay stands where in INBOX: rejects name a position there, people want the line.

use daybook_domain::ids::InboxSeq;

/// Runs kept, at most: 24 MiB. A replay beside which nobody publishes takes one for all its lines that follow each other.
const MAX_RUNS: usize = 1 << 20;

/// Positions of a replay's events in INBOX.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    /// In order, none over another.
    runs: Vec<Run>,
}

/// Events that follow each other both in INBOX and in the file.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    /// The line of the first; `None` where too much is between its events to tell lines, or whose they are.
    line: Option<u64>,
}

impl Acknowledged {
    /// Notes that the event on `line` stands at `sequence`, behind all others.
    pub fn add(&mut self, sequence: InboxSeq, line: u64) {
        let sequence = sequence.0;
        let is_full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut() {
            Some(run) if sequence <= run.last => {}
            Some(run)
                if run.last + 1 == sequence && run.line.is_some_and(|first| first + (sequence - run.first) == line) =>
            {
                run.last = sequence;
            }
            Some(run) if is_full => *run = Run { last: sequence, line: None, ..*run },
            _ => self.runs.push(Run { first: sequence, last: sequence, line: Some(line) }),
        }
    }

    /// How many of its events stand from `first` to `last`.
    pub fn count(&self, first: InboxSeq, last: InboxSeq) -> u64 {
        let begin = self.runs.partition_point(|run| run.last < first.0);
        let within = self.runs[begin..].iter().take_while(|run| run.first <= last.0);
        within.map(|run| run.last.min(last.0) + 1 - run.first.max(first.0)).sum()
    }

    /// The first of its events from `first` to `last`: its line, where that is known.
    pub fn first_line(&self, first: InboxSeq, last: InboxSeq) -> Option<u64> {
        let run =
            self.runs.get(self.runs.partition_point(|run| run.last < first.0)).filter(|run| run.first <= last.0)?;
        run.line.map(|line| line + first.0.saturating_sub(run.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_tells_the_line() {
        let mut acknowledged = Acknowledged::default();
        // Lines 3 to 5, another publisher's event, line 6; a blank line; lines 8 and 9, then line 6 again.
        for (sequence, line) in [(10, 3), (11, 4), (12, 5), (14, 6), (15, 8), (16, 9), (20, 6)] {
            acknowledged.add(InboxSeq(sequence), line);
        }
        let line = |sequence| acknowledged.first_line(InboxSeq(sequence), InboxSeq(sequence));
        assert_eq!(
            [9, 10, 12, 13, 14, 15, 16, 17, 20, 21].map(line),
            [None, Some(3), Some(5), None, Some(6), Some(8), Some(9), None, Some(6), None]
        );
        assert_eq!(acknowledged.runs.len(), 4);
        let count = |first, last| acknowledged.count(InboxSeq(first), InboxSeq(last));
        assert_eq!([count(1, 9), count(11, 15), count(13, 13), count(1, 99)], [0, 4, 0, 7]);
        let first = |first, last| acknowledged.first_line(InboxSeq(first), InboxSeq(last));
        assert_eq!([first(11, 99), first(13, 99), first(17, 19)], [Some(4), Some(6), None]);
    }

    #[test]
    fn runs_are_bounded_and_what_is_beyond_is_still_known_to_be_ours() {
        let mut acknowledged = Acknowledged::default();
        for number in 0..(MAX_RUNS as u64 + 10) {
            acknowledged.add(InboxSeq(2 * number + 1), number);
        }
        assert_eq!(acknowledged.runs.len(), MAX_RUNS);
        let there = |sequence| {
            let sequence = InboxSeq(sequence);
            (acknowledged.count(sequence, sequence), acknowledged.first_line(sequence, sequence))
        };
        assert_eq!(there(1), (1, Some(0)));
        assert_eq!(there(2 * MAX_RUNS as u64 + 19), (1, None));
    }
}
