//! Which events of a replay were rejected, and on which lines they stand.

use crate::acknowledged::Acknowledged;
use crate::client::Client;
use daybook_contracts::reject::{Code, Reject, Rejects};
use daybook_runtime::append::last_message;
use daybook_runtime::reader::Reader;
use serde::Serialize;
use std::collections::BTreeMap;

/// Rejected events that are shown with their lines.
const MAX_SHOWN: usize = 10;

/// The rejects of one replay.
#[derive(Clone, Debug, Default)]
pub struct Rejected {
    /// Rejected and stale events, by code.
    pub by_code: BTreeMap<String, u64>,
    /// Events that were rejected; a stale version is none of them, for a newer one of the same entity counts.
    pub events: u64,
    /// The first of them.
    pub shown: Vec<RejectedLine>,
    /// Older rejects have made way for newer ones: there are more than are counted here.
    pub has_more: bool,
}

/// One rejected event, or the first of several that one reject stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// `None` where too many others published meanwhile to tell.
    pub line: Option<u64>,
    pub code: Code,
    pub reason: String,
}

/// The newest position in REJECTS.
pub async fn newest(client: &Client) -> u64 {
    let subjects = &client.connection.subjects;
    let last = last_message(&client.connection, &subjects.rejects_stream(), &subjects.rejects("*")).await;
    last.map_or(0, |message| message.sequence)
}

/// Reads what was rejected since a position in REJECTS of the events that were `acknowledged`; rejects of other publishers
/// are passed over.
pub async fn since(client: &Client, since: u64, acknowledged: &Acknowledged) -> Rejected {
    let mut rejected = Rejected::default();
    let end = newest(client).await;
    let subjects = &client.connection.subjects;
    let mut reader = Reader::new(&client.connection, subjects.rejects_stream(), subjects.rejects("*"), since + 1);
    let mut read = 0;
    while reader.position() <= end {
        let message = reader.next().await;
        read += u64::from(message.sequence <= end);
        if let Ok(rejects) = serde_json::from_slice::<Rejects>(&message.payload) {
            rejected.add(&rejects.rejects, acknowledged);
        }
    }
    rejected.has_more = read < end.saturating_sub(since);
    rejected
}

impl Rejected {
    fn add(&mut self, rejects: &[Reject], acknowledged: &Acknowledged) {
        for reject in rejects {
            let last = reject.span.map_or(reject.inbox, |span| span.last);
            let ours = acknowledged.count(reject.inbox, last);
            // A span over several messages has one event of ours in each; one message may hold many of another publisher.
            let events = if last == reject.inbox { reject.events() * ours } else { reject.events().min(ours) };
            if events == 0 {
                continue;
            }
            *self.by_code.entry(reject.code.to_string()).or_default() += events;
            if reject.code == Code::StaleVersion {
                continue;
            }
            self.events += events;
            if self.shown.len() < MAX_SHOWN {
                let line = acknowledged.first_line(reject.inbox, last);
                self.shown.push(RejectedLine { line, code: reject.code, reason: reject.reason.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::reject::{Original, Span};
    use daybook_domain::ids::InboxSeq;

    fn reject(code: Code, inbox: u64, span: Option<(u64, u64)>) -> Reject {
        Reject {
            code,
            reason: "r".into(),
            tenant: "acme".into(),
            kind: "order".into(),
            inbox: InboxSeq(inbox),
            index: 0,
            field: None,
            date: None,
            original: Original::new(b""),
            span: span.map(|(events, last)| Span { events, last: InboxSeq(last) }),
        }
    }

    #[test]
    fn only_the_replays_own_events_count_and_a_span_counts_as_so_many() {
        let mut acknowledged = Acknowledged::default();
        for (sequence, line) in [(11, 1), (12, 2), (14, 3), (15, 4), (16, 5)] {
            acknowledged.add(InboxSeq(sequence), line);
        }
        let mut rejected = Rejected::default();
        rejected.add(&[reject(Code::Malformed, 12, None), reject(Code::Malformed, 13, None)], &acknowledged);
        rejected.add(&[reject(Code::QuotaEvents, 13, Some((50_000, 15)))], &acknowledged);
        rejected
            .add(&[reject(Code::QuotaBytes, 17, Some((9, 20))), reject(Code::StaleVersion, 16, None)], &acknowledged);
        let by_code = [("malformed", 1), ("quota_events", 2), ("stale_version", 1)];
        assert_eq!(rejected.by_code, by_code.map(|(code, count)| (code.to_owned(), count)).into());
        assert_eq!(rejected.events, 3);
        let lines: Vec<_> = rejected.shown.iter().map(|shown| (shown.line, shown.code)).collect();
        assert_eq!(lines, [(Some(2), Code::Malformed), (Some(3), Code::QuotaEvents)]);
    }
}
