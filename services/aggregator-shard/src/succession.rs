//! Reads the log of a partition batch by batch, and sees where one is missing: each batch names the one before it. Pure.

use daybook_contracts::log::Batch;
use daybook_domain::ids::LogSeq;
use daybook_runtime::log::Logged;
use daybook_runtime::written::{Message, NotWritten};

/// What a message of the log is to someone who has read it up to another batch.
#[derive(Debug)]
pub enum Succession {
    /// The next batch.
    Next(Batch),
    /// No batch: ingest did not write it.
    Foreign(NotWritten),
    /// Batches between that one and this are gone, or it is another log that was made in the place of this.
    Gap { follows: LogSeq },
    /// A batch that this version cannot read.
    Unreadable(NotWritten),
}

impl Succession {
    /// Of a message behind the batch at `last`.
    pub fn of(message: Message<'_>, last: LogSeq) -> Self {
        match Logged::read(message) {
            Ok(Logged { follows, .. }) if follows != last => Self::Gap { follows },
            Ok(logged) => Self::Next(logged.batch),
            Err(why @ NotWritten::Foreign(_)) => Self::Foreign(why),
            Err(why @ NotWritten::Unreadable(_)) => Self::Unreadable(why),
        }
    }
}
