//! The log of a partition, as it stands in EVENTS: what one of its batches is, where it begins and ends. Every batch names
//! the one that it follows, so a log that was trimmed from below, or while it was read, shows it. Messages that no service
//! wrote may stand between batches: the log goes on behind them.

use crate::append::{Found, Stored, last_written, next_message};
use crate::connection::Connection;
use crate::written::{Message, NotWritten, Origin, header_number};
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook_contracts::headers;
use daybook_contracts::log::{Batch, DecodeError, Marks, Through};
use daybook_domain::ids::{InboxSeq, LogSeq, Partition};
use daybook_domain::time::Instant;

/// A batch as it stands in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The batch before it, 0 for none.
    pub follows: LogSeq,
    pub marks: Marks,
    pub batch: Batch,
}

impl Logged {
    /// Reads a message of a partition's subject.
    ///
    /// # Errors
    /// [`NotWritten::Foreign`] when ingest did not write it there; [`NotWritten::Unreadable`] when it did, in a form that this
    /// version cannot read.
    pub fn read(message: Message<'_>) -> Result<Self, NotWritten> {
        let origin = Origin::of(message)?;
        let not_a_batch = || NotWritten::Foreign("it has not the headers of a batch".into());
        let follows = follows(message.headers).ok_or_else(not_a_batch)?;
        let marks = marks(message.headers).ok_or_else(not_a_batch)?;
        let batch = Batch::decode(message.payload).map_err(|error| match error {
            DecodeError::Format(_) => NotWritten::Unreadable(error.to_string()),
            DecodeError::Malformed(_) => origin.unreadable(error),
        })?;
        if batch.through != marks.through {
            return Err(NotWritten::Foreign("its headers and its content are of different batches".into()));
        }
        Ok(Self { follows, marks, batch })
    }
}

/// The headers of a batch: which one it follows (0 for none), and how far the log reaches with it.
pub fn headers_of(follows: LogSeq, marks: Marks) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::FOLLOWS, follows.to_string());
    map.insert(headers::INBOX_SEQ, marks.through.inbox.to_string());
    map.insert(headers::INBOX_EVENTS, marks.through.events.to_string());
    map.insert(headers::CATALOG_SEQ, marks.catalog.to_string());
    map.insert(headers::DAYS_SEQ, marks.days.to_string());
    if marks.restating {
        map.insert(headers::RESTATING, "1");
    }
    map
}

/// The batch before the one with these headers. Earlier builds told it by the condition of the append only.
fn follows(map: &HeaderMap) -> Option<LogSeq> {
    let told = header_number(map, headers::FOLLOWS);
    told.or_else(|| header_number(map, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref())).map(LogSeq)
}

/// How far the log reaches with the batch that has these headers.
fn marks(map: &HeaderMap) -> Option<Marks> {
    let number = |name| header_number(map, name);
    let events = u32::try_from(number(headers::INBOX_EVENTS).unwrap_or(0)).ok()?;
    let through = Through { inbox: InboxSeq(number(headers::INBOX_SEQ)?), events };
    let (catalog, days) = (number(headers::CATALOG_SEQ).unwrap_or(0), number(headers::DAYS_SEQ).unwrap_or(0));
    let restating = map.get(headers::RESTATING).is_some();
    Some(Marks { through, catalog, days, restating })
}

/// How a partition's subject ends.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// The last message of the subject, 0 for none; behind the last batch when someone else wrote there.
    pub sequence: u64,
    /// The last batch.
    pub last: Option<Found<Logged>>,
}

impl End {
    /// The position of the last batch, 0 for none.
    pub fn position(&self) -> LogSeq {
        self.last.as_ref().map_or(LogSeq(0), |last| LogSeq(last.sequence))
    }

    /// How far the log reaches.
    pub fn marks(&self) -> Marks {
        self.last.as_ref().map_or_else(Marks::default, |last| last.value.marks)
    }
}

/// How the partition's log ends now, as the leader of EVENTS has it. Tries until the broker answers.
///
/// # Errors
/// When the last batch is of a form that this version cannot read.
pub async fn end(connection: &Connection, partition: Partition) -> Result<End, NotWritten> {
    let subjects = &connection.subjects;
    let (stream, subject) = (subjects.events_stream(), subjects.events(partition));
    let newest = last_written(connection, &stream, &subject, Logged::read).await?;
    Ok(End { sequence: newest.end, last: newest.found })
}

/// How far into INBOX the log reaches with the partition's batch at `position`; `None` when there is none. Tries until the
/// broker answers.
pub async fn through_at(connection: &Connection, partition: Partition, position: LogSeq) -> Option<Through> {
    let subjects = &connection.subjects;
    let found = next_message(connection, &subjects.events_stream(), &subjects.events(partition), position.0).await?;
    let logged = Logged::read((&found).into()).ok().filter(|_| found.sequence == position.0)?;
    Some(logged.marks.through)
}

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

/// Where the partition's log begins now; `None` when it is empty. Tries until the broker answers.
pub async fn beginning(connection: &Connection, partition: Partition) -> Option<Beginning> {
    let subjects = &connection.subjects;
    let (stream, subject) = (subjects.events_stream(), subjects.events(partition));
    let mut from = 1;
    loop {
        let first = next_message(connection, &stream, &subject, from).await?;
        match beginning_at(&first) {
            Ok(beginning) => return Some(beginning),
            Err(why) => connection.foreign.note(&stream, first.sequence, &subject, &why),
        }
        from = first.sequence + 1;
    }
}

/// A batch of another format has a beginning too: which one it follows stands in its headers.
fn beginning_at(first: &Stored) -> Result<Beginning, NotWritten> {
    let follows = match Logged::read(first.into()) {
        Ok(logged) => logged.follows,
        Err(NotWritten::Unreadable(_)) => follows(&first.headers).unwrap_or_default(),
        Err(foreign) => return Err(foreign),
    };
    Ok(Beginning { position: LogSeq(first.sequence), follows, stored_at: first.stored_at })
}
