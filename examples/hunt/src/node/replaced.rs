//! A stream of the hunt that no longer holds the log with which the hunt began, and what organisers can do about it.

/// A log that is not the one with which the hunt began. Events in Daybook follow from positions of the log, so another log would give
/// wrong figures.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Replaced {
    #[error(
        "the stream HUNT_{hunt} was deleted and made again: it is not the log with which the hunt {hunt} began. Restore the stream \
         from a backup, or run the hunt under another id; `hunt remove {hunt}` makes this one free"
    )]
    Another { hunt: String },
    #[error(
        "the stream HUNT_{hunt} was deleted, and Daybook still counts what it held. Restore the stream from a backup, or run the hunt \
         under another id; `hunt remove {hunt}` makes this one free"
    )]
    Gone { hunt: String },
    #[error(
        "the log of the hunt {hunt} ends at {end}, and records up to {known} were known before: its end is lost. Restore a newer backup \
         of the stream HUNT_{hunt}, or run the hunt under another id; `hunt remove {hunt}` makes this one free"
    )]
    Shortened { hunt: String, end: u64, known: u64 },
    #[error(
        "Daybook counts events of an earlier hunt {hunt}, whose log is gone. Take another id for this hunt, or remove \
         what is left of that one: hunt remove {hunt} --yes"
    )]
    Counted { hunt: String },
}
