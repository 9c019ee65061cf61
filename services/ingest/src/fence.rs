//! What the end of the log tells the owner of a partition: what became of an append that the broker did not confirm, and
//! behind what to append next.

use daybook_domain::ids::LogSeq;
use daybook_runtime::log::{End, Logged};
use daybook_runtime::written::NotWritten;

/// Behind what a batch is appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The partition's last batch, 0 for none: the next one follows it.
    pub(crate) batch: LogSeq,
    /// The last message on the partition's subject, 0 for none: the condition of the append. Behind the last batch when someone
    /// else wrote there.
    pub(crate) end: u64,
}

impl Tip {
    /// The tip when the batch at `position` was stored.
    pub(crate) fn at(position: u64) -> Self {
        Self { batch: LogSeq(position), end: position }
    }
}

impl From<&End> for Tip {
    fn from(end: &End) -> Self {
        Self { batch: end.position(), end: end.sequence }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendFate {
    /// It is not there, and no other batch is: append it behind this tip.
    Absent(Tip),
    /// It is there, and this is the tip now.
    Stored(Tip),
    /// Another owner's batch stands where it should be: begin again from the log.
    Lost,
}

/// What became of a batch that was to be appended behind `tip`, as the last message on the partition's subject tells by its
/// sequence alone (`None` when there is none). `None` when messages stand behind the tip: then [`behind`] looks at each.
pub(crate) fn at_end(tip: Tip, last: Option<u64>) -> Option<AppendFate> {
    match last.unwrap_or(0) {
        last if last == tip.end => Some(AppendFate::Absent(tip)),
        // A log that ends before what was known is another log.
        last if last < tip.end => Some(AppendFate::Lost),
        _ => None,
    }
}

/// What the first message behind `tip`, at `sequence`, makes of the append of `payload`.
///
/// The same payload is not enough to know a batch by: of an owner that slept while INBOX was trimmed, the next batch can look
/// like that of another one, though it has not seen the definitions in the batches between.
pub(crate) fn behind(
    tip: Tip,
    payload: &[u8],
    sequence: u64,
    stored: &[u8],
    read: &Result<Logged, NotWritten>,
) -> AppendFate {
    match read {
        // Someone else's message: the log goes on behind it.
        Err(NotWritten::Foreign(_)) => AppendFate::Absent(Tip { end: sequence, ..tip }),
        Ok(logged) if stored == payload && logged.follows == tip.batch => AppendFate::Stored(Tip::at(sequence)),
        Ok(_) | Err(NotWritten::Unreadable(_)) => AppendFate::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::log::{Batch, FORMAT, Marks};

    fn tip(batch: u64, end: u64) -> Tip {
        Tip { batch: LogSeq(batch), end }
    }

    fn logged(follows: u64) -> Result<Logged, NotWritten> {
        let batch = Batch { format: FORMAT, through: Default::default(), records: vec![] };
        Ok(Logged { follows: LogSeq(follows), marks: Marks::default(), batch })
    }

    #[test]
    fn a_log_that_ends_where_it_did_has_not_the_batch() {
        assert_eq!(at_end(tip(0, 0), None), Some(AppendFate::Absent(tip(0, 0))));
        assert_eq!(at_end(tip(4, 5), Some(5)), Some(AppendFate::Absent(tip(4, 5))));
        assert_eq!(at_end(tip(4, 5), Some(6)), None);
        // A log that ends before what was known is another log.
        assert_eq!(at_end(tip(4, 4), None), Some(AppendFate::Lost));
        assert_eq!(at_end(tip(4, 4), Some(3)), Some(AppendFate::Lost));
    }

    #[test]
    fn what_stands_behind_the_tip_tells_what_became_of_an_append() {
        assert_eq!(behind(tip(4, 4), b"a", 6, b"a", &logged(4)), AppendFate::Stored(tip(6, 6)));
        assert_eq!(behind(tip(4, 5), b"a", 6, b"a", &logged(4)), AppendFate::Stored(tip(6, 6)));
        assert_eq!(behind(tip(0, 0), b"a", 6, b"b", &logged(0)), AppendFate::Lost);
        // It looks the same, but another owner's batch stands between.
        assert_eq!(behind(tip(4, 4), b"a", 6, b"a", &logged(5)), AppendFate::Lost);
    }

    #[test]
    fn a_batch_is_appended_behind_what_someone_else_wrote() {
        let foreign = Err(NotWritten::Foreign("".into()));
        assert_eq!(behind(tip(4, 4), b"a", 6, b"a", &foreign), AppendFate::Absent(tip(4, 6)));
        // A newer ingest has taken over.
        let newer = Err(NotWritten::Unreadable(String::new()));
        assert_eq!(behind(tip(4, 4), b"a", 6, b"a", &newer), AppendFate::Lost);
    }
}
