//! Rejects: made of what is wrong and where the event came from, and recorded.

use super::Sequencer;
use daybook_contracts::event::Problem;
use daybook_contracts::log::Record;
use daybook_contracts::reject::{Original, Reject, Told};
use daybook_domain::ids::InboxSeq;

/// Where a rejected event came from.
pub(super) struct Origin<'a> {
    pub(super) tenant: &'a str,
    pub(super) kind: &'a str,
    pub(super) inbox: InboxSeq,
}

impl Origin<'_> {
    /// The reject of an event there.
    pub(super) fn reject(&self, index: u32, original: &[u8], problem: Problem) -> Reject {
        Reject {
            code: problem.code,
            reason: problem.reason,
            tenant: self.tenant.chars().take(256).collect(),
            kind: self.kind.chars().take(256).collect(),
            inbox: self.inbox,
            index,
            field: problem.field,
            // Refused before a day could be stamped.
            date: None,
            original: Original::new(original),
            span: None,
        }
    }
}

impl Sequencer {
    /// Records a reject of the message at hand, by itself or with others.
    pub(super) fn push_alike(&mut self, reject: Reject) {
        *self.rejected.entry(reject.code).or_default() += 1;
        match self.alike.tell(reject, self.records.len()) {
            Told::Stored(reject) => self.record_reject(reject),
            Told::With(place) => match &mut self.records[place] {
                Record::Rejected(reject) => reject.extend(),
                record => unreachable!("a reject stands at its place, not {record:?}"),
            },
        }
    }

    pub(super) fn push_reject(&mut self, reject: Reject) {
        *self.rejected.entry(reject.code).or_default() += 1;
        self.record_reject(reject);
    }

    pub(super) fn record_reject(&mut self, reject: Reject) {
        let texts = [&reject.reason, &reject.tenant, &reject.kind].map(String::len).iter().sum::<usize>();
        let bytes = 200 + texts + reject.field.as_ref().map_or(0, String::len) + reject.original.bytes().len();
        self.push(Record::Rejected(reject), bytes);
    }
}
