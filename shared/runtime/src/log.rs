//! Where the log of a partition begins. Every batch says which one it follows, so a log that was trimmed from below,
//! or while it was read, shows it.

use crate::append::{header_number, next_message};
use crate::connection::Connection;
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook_contracts::headers;
use daybook_contracts::log::Through;
use daybook_domain::ids::{InboxSeq, LogSeq, Partition};
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

/// How far into INBOX the log reaches with the batch that carries these headers. `None` for what is no batch of ingest's.
pub fn through(map: &HeaderMap) -> Option<Through> {
    let inbox = InboxSeq(header_number(map, headers::INBOX_SEQ)?);
    Some(Through { inbox, events: header_number(map, headers::INBOX_EVENTS).unwrap_or(0) as u32 })
}

/// How far into INBOX the log reaches with the partition's batch at `position`; `None` when there is none. Tries until the
/// broker answers.
pub async fn through_at(connection: &Connection, partition: Partition, position: LogSeq) -> Option<Through> {
    let subjects = &connection.subjects;
    let found = next_message(connection, &subjects.events_stream(), &subjects.events(partition), position.0).await?;
    through(&found.headers).filter(|_| found.sequence == position.0)
}

/// Where the partition's log begins now; `None` when it is empty. Tries until the broker answers.
pub async fn beginning(connection: &Connection, partition: Partition) -> Option<Beginning> {
    let subjects = &connection.subjects;
    let first = next_message(connection, &subjects.events_stream(), &subjects.events(partition), 1).await?;
    let (position, follows) = (LogSeq(first.sequence), follows(&first.headers).unwrap_or_default());
    Some(Beginning { position, follows, stored_at: first.stored_at })
}
