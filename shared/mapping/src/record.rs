//! What goes into a mapping, and what comes out.

use daybook_contracts::event::{Problem, ValidEvent};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use std::ops::Range;

/// Longest record, in bytes; doors have lower bounds of their own.
pub const MAX_RECORD_BYTES: usize = 8 << 20;

/// Most outcomes of one record. An array of records that makes more is refused as a whole.
pub const MAX_OUTCOMES: usize = 50_000;

/// Bytes that the outcomes of one record take at most beyond its own length: the texts of events, 8 bytes for each of their columns,
/// and the reasons of rejects. A record that makes more is refused as a whole.
pub const MAX_SPARE_BYTES: usize = 8 << 20;

/// A foreign record, as it came through a door.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'r> {
    /// One JSON value. An array is taken for several records, unless the mapping explodes the whole of it.
    pub body: &'r [u8],
    /// The tenant, where the door knows it; it goes before what the mapping says.
    pub tenant: Option<&'r TenantId>,
    /// The subject of the message; empty where there was none.
    pub subject: &'r str,
    pub headers: &'r [(&'r str, &'r str)],
    /// The sequence of the message in its stream, or the number of the record in its file.
    pub sequence: Option<u64>,
    /// When it arrived at the door.
    pub arrived: Option<Instant>,
}

impl<'r> Record<'r> {
    /// A record of which only the body is known.
    pub fn of(body: &'r [u8]) -> Self {
        Self { body, ..Self::default() }
    }

    /// The first header of that name, in any letter case.
    pub(crate) fn header(&self, name: &str) -> Option<&'r str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// What became of a record, or of one of its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Event(MappedEvent),
    /// It should be an event and cannot be one.
    Unmapped(Unmapped),
    /// It is no event of this mapping: its `when` does not hold, or the array has no items.
    PassedOver(PassedOver),
}

/// An event that a mapping made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedEvent {
    pub tenant: TenantId,
    pub event: ValidEvent,
    /// The place of its item in the array that was exploded.
    pub item: Option<u32>,
}

/// Why there is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Code, path and reason, which holds the value.
    pub problem: Problem,
    /// Who it was for, where that could still be told.
    pub tenant: Option<TenantId>,
    pub item: Option<u32>,
    /// Where in the record's bytes the piece stands that should be the event: the record, or an item of it.
    pub piece: Range<usize>,
}

/// Why there need be no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// The condition `when` does not hold.
    When { item: Option<u32> },
    /// The array to explode is there and empty.
    NoItems,
}
