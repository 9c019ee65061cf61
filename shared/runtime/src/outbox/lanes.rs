//! Which outputs are written next: those of a subject one after the other, and a deletion behind all that was handed in before it. Pure.

use super::writing::End;
use super::{Deletion, Output, Task};
use daybook_domain::time::Instant;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Most subjects whose last sequence is remembered; beyond it, it is looked up again.
const MAX_REMEMBERED: usize = 100_000;

/// An output on its way.
#[derive(Debug)]
pub struct Entry {
    /// Its number among all that was handed in, from 1.
    pub ticket: u64,
    /// When the broker stored what it is made of.
    pub stored_at: Instant,
    pub output: Output,
}

/// What was handed in and is not done.
#[derive(Default)]
pub struct Lanes {
    /// The number of what was handed in last.
    ticket: u64,
    remembered: HashMap<String, End>,
    /// By subject, the outputs that wait for the one under way.
    lanes: HashMap<String, VecDeque<Entry>>,
    /// Outputs whose turn it is.
    waiting: VecDeque<Entry>,
    /// Deletions that wait for what was handed in before, with their tickets.
    deletions: VecDeque<(u64, Deletion)>,
    done: Done,
}

impl Lanes {
    /// Hands a task in.
    pub fn put(&mut self, stored_at: Instant, task: Task) {
        self.ticket += 1;
        let ticket = self.ticket;
        let output = match task {
            Task::Write(output) => output,
            Task::Delete(deletion) => return self.deletions.push_back((ticket, deletion)),
        };
        let entry = Entry { ticket, stored_at, output };
        match self.lanes.get_mut(&entry.output.subject) {
            Some(lane) => lane.push_back(entry),
            None => {
                self.lanes.insert(entry.output.subject.clone(), VecDeque::new());
                self.waiting.push_back(entry);
            }
        }
    }

    /// The next output that can be written, and how its subject ends, if that is known.
    pub fn next_write(&mut self) -> Option<(Entry, Option<End>)> {
        let entry = self.waiting.pop_front()?;
        let end = self.remembered.remove(&entry.output.subject);
        Some((entry, end))
    }

    /// The next deletion that can be carried out, with its ticket.
    pub fn next_deletion(&mut self) -> Option<(u64, Deletion)> {
        let is_due = self.deletions.front().is_some_and(|(ticket, _)| *ticket == self.done.through + 1);
        if is_due { self.deletions.pop_front() } else { None }
    }

    /// Takes note that the output with this ticket is written, and how its subject ends now.
    pub fn wrote(&mut self, ticket: u64, subject: String, end: End) {
        match self.lanes.get_mut(&subject).and_then(VecDeque::pop_front) {
            Some(next) => self.waiting.push_back(next),
            None => drop(self.lanes.remove(&subject)),
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(subject, end);
        self.done.finish(ticket);
    }

    /// Takes note that the deletion with this ticket is carried out.
    pub fn deleted(&mut self, ticket: u64) {
        self.done.finish(ticket);
    }

    /// How many of the first that were handed in are done, without a hole.
    pub fn done(&self) -> u64 {
        self.done.through
    }

    /// Whether all that was handed in is done.
    pub fn is_empty(&self) -> bool {
        self.done.through == self.ticket
    }
}

/// Counts how many of the first tickets are done without a hole.
#[derive(Default)]
struct Done {
    through: u64,
    beyond: BTreeSet<u64>,
}

impl Done {
    fn finish(&mut self, ticket: u64) {
        self.beyond.insert(ticket);
        while self.beyond.remove(&(self.through + 1)) {
            self.through += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;
    use bytes::Bytes;

    fn write(subject: &str) -> Task {
        let (stream, subject) = ("S".to_owned(), subject.to_owned());
        Task::Write(Output {
            stream,
            subject,
            position: 1,
            first: true,
            headers: HeaderMap::new(),
            payload: Bytes::new(),
        })
    }

    fn end(sequence: u64) -> End {
        End { sequence, position: Some(sequence) }
    }

    #[test]
    fn outputs_of_a_subject_are_written_one_after_the_other() {
        let mut lanes = Lanes::default();
        for subject in ["a", "b", "a"] {
            lanes.put(Instant::MIN, write(subject));
        }
        let next = |lanes: &mut Lanes| lanes.next_write().map(|(entry, end)| (entry.ticket, end));
        assert_eq!([next(&mut lanes), next(&mut lanes), next(&mut lanes)], [Some((1, None)), Some((2, None)), None]);
        lanes.wrote(2, "b".to_owned(), end(1));
        assert_eq!((lanes.done(), next(&mut lanes)), (0, None), "the first is a hole");
        lanes.wrote(1, "a".to_owned(), end(8));
        assert_eq!((lanes.done(), next(&mut lanes)), (2, Some((3, Some(end(8))))));
        lanes.wrote(3, "a".to_owned(), end(9));
        assert!(lanes.is_empty() && lanes.done() == 3);
    }

    #[test]
    fn a_deletion_waits_for_all_that_was_handed_in_before() {
        let mut lanes = Lanes::default();
        let deletion = Deletion { stream: "S".to_owned(), filter: "a".to_owned(), below: 3 };
        lanes.put(Instant::MIN, write("a"));
        lanes.put(Instant::MIN, Task::Delete(deletion.clone()));
        lanes.put(Instant::MIN, write("b"));
        assert_eq!(lanes.next_deletion(), None);
        lanes.wrote(1, "a".to_owned(), end(1));
        assert_eq!(lanes.next_deletion(), Some((2, deletion)));
        lanes.deleted(2);
        assert_eq!((lanes.next_deletion(), lanes.done()), (None, 2));
    }
}
