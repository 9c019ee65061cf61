//! Fills a page from the messages of a subject: from the newest one back, or from a place on.

use super::Budget;
use super::reject_page::{ALL, Page, PageEdge};
use super::subject::{Link, SubjectReader};
use daybook_contracts::subjects::Subjects;
use daybook_runtime::append::Stored;
use daybook_runtime::written::NotWritten;
use serde::Serialize;

/// Most messages that one page reads: each holds at least one row, unless no service wrote it.
const MAX_MESSAGES: usize = 256;

/// The ends of a page.
pub(super) struct Ended {
    pub(super) next: Option<PageEdge>,
    pub(super) newer: PageEdge,
    pub(super) missed: bool,
}

/// The messages of a subject, and what is in each.
pub(super) struct Walk<'a, T> {
    pub(super) reader: SubjectReader<'a>,
    pub(super) read: fn(&Subjects, &Stored) -> Result<Vec<T>, NotWritten>,
}

impl<T: Serialize> Walk<'_, T> {
    /// Fills the page from a place; from the newest message back when there is none.
    pub(super) async fn fill(&self, page: &mut Page<T>, place: Option<PageEdge>) -> Ended {
        match place {
            None => match self.reader.last().await {
                Some(last) => self.older(page, last, ALL).await,
                None => Ended { next: None, newer: PageEdge::Behind(0, ALL), missed: false },
            },
            Some(PageEdge::Before(sequence, count)) => {
                match self.reader.next(sequence).await.filter(|message| message.sequence == sequence) {
                    Some(message) => self.older(page, message, count).await,
                    // The stream has dropped it, and everything older too.
                    None => Ended { next: None, newer: PageEdge::Behind(sequence, count), missed: false },
                }
            }
            Some(PageEdge::Behind(sequence, count)) => self.newer(page, sequence, count).await,
        }
    }

    fn rows(&self, message: &Stored) -> Vec<T> {
        self.reader.read(message, self.read).unwrap_or_default()
    }

    /// Fills the page from the first `count` rows of a message, and from messages before it.
    async fn older(&self, page: &mut Page<T>, mut message: Stored, mut count: u32) -> Ended {
        let newer = PageEdge::Behind(message.sequence, count);
        let mut budget = Budget::new();
        for looked in 1.. {
            budget.spend(message.payload.len());
            let left = page.take_last(&mut self.rows(&message), count);
            if left > 0 {
                return Ended { next: Some(PageEdge::Before(message.sequence, left)), newer, missed: false };
            }
            if page.is_full() || looked == MAX_MESSAGES || budget.is_spent() {
                let may_follow = Link::of(&message.headers, message.sequence) != Link::First;
                let next = may_follow.then_some(PageEdge::Before(message.sequence, 0));
                return Ended { next, newer, missed: false };
            }
            match self.reader.before(&message).await {
                Some(before) => (message, count) = (before, ALL),
                None => break,
            }
        }
        Ended { next: None, newer, missed: false }
    }

    /// Fills the page with the rows after the first `count` ones of the message at `sequence`.
    async fn newer(&self, page: &mut Page<T>, sequence: u64, mut count: u32) -> Ended {
        let mut place = PageEdge::Behind(sequence, count);
        let mut missed = false;
        let mut budget = Budget::new();
        let mut from = if count == ALL { sequence.saturating_add(1) } else { sequence };
        for looked in 1..=MAX_MESSAGES {
            let Some(message) = self.reader.next(from).await else {
                return Ended { next: None, newer: place, missed };
            };
            if message.sequence != sequence {
                if looked == 1 {
                    missed = were_dropped(&message, sequence, count);
                }
                count = 0;
            }
            budget.spend(message.payload.len());
            let taken = page.take_first(self.rows(&message), count);
            place = PageEdge::Behind(message.sequence, taken);
            if page.is_full() || budget.is_spent() {
                break;
            }
            from = message.sequence + 1;
        }
        Ended { next: Some(place), newer: place, missed }
    }
}

/// Returns true if the stream may have dropped rows between the first `count` ones of the message at `sequence` and
/// `first`, the next message that is left.
fn were_dropped(first: &Stored, sequence: u64, count: u32) -> bool {
    match Link::of(&first.headers, first.sequence) {
        Link::To(before) => before != sequence || count != ALL,
        Link::First => sequence > 0,
        Link::Unknown => false,
    }
}
