//! Where the log of a partition begins. Every batch says which one it follows, so a log that was trimmed from below,
//! or while it was read, shows it.

use crate::append::{header_number, next_message};
use crate::connection::Connection;
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;

/// The first batch that is left of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub position: LogSeq,
    /// The batch before it, 0 for none: a state at this position or a later one can go on with this log.
    pub follows: LogSeq,
    /// When the broker stored it.
    pub stored_at: Instant,
}

impl Beginning {
    /// Whether batches stood before the first one that is left.
    pub fn is_trimmed(&self) -> bool {
        self.follows > LogSeq(0)
    }
}

/// The position of the batch before the one with these headers, 0 for none. `None` when it does not tell, as no batch of
/// ingest's.
pub fn follows(headers: &HeaderMap) -> Option<LogSeq> {
    header_number(headers, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref()).map(LogSeq)
}

/// Where the partition's log begins now; `None` when it is empty. Tries until the broker answers.
pub async fn beginning(connection: &Connection, partition: Partition) -> Option<Beginning> {
    let subjects = &connection.subjects;
    let first = next_message(connection, &subjects.events_stream(), &subjects.events(partition), 1).await?;
    let (position, follows) = (LogSeq(first.sequence), follows(&first.headers).unwrap_or_default());
    Some(Beginning { position, follows, stored_at: first.stored_at })
}
