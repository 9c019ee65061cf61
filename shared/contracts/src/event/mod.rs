//! What producers publish on `daybook.in.<tenant>.<kind>`: one event, or an array of them, in JSON or MessagePack.
//!
//! ```json
//! {"id": "2013-03-08-B6-725", "status": "final", "version": 3, "at": "2013-03-08T13:12:00Z",
//!  "dims": {"carrier": "B6", "tailnum": null}, "measures": {"arr_delay": -4}}
//! ```
//! `tenant` and `kind` may be given and must then agree with the subject. Other top-level fields are ignored unless
//! the kind takes a dimension from them; one that has the name of a column is a mistake. Names in `dims` and `measures`
//! must be the kind's; absent ones are null. No object may have a key twice.
//!
//! [`read`] turns a payload into events, each valid by itself or a [`Problem`]; it knows no calendar and no state.

mod fields;
mod scalar;
mod split;
mod twice;

use crate::log::{Dims, Measures};
use crate::reject::Code;
use compact_str::CompactString;
use daybook_domain::catalogue::{Kind, Status};
use daybook_domain::time::Instant;
use serde::{Deserialize, Serialize};

/// Longest single event, in bytes.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;
/// Most events in one message.
pub const MAX_MESSAGE_EVENTS: usize = 10_000;
/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Longest dimension value, in bytes.
pub const MAX_DIMENSION_BYTES: usize = 512;

/// Longest name of a field at fault, in characters.
pub const MAX_FIELD_CHARS: usize = 96;
/// Longest reason of a reject, in characters.
pub const MAX_REASON_CHARS: usize = 512;

/// How a payload is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    MessagePack,
}

/// An event whose fields are sound. Whether its day exists, and what it changes, is decided further on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidEvent {
    pub at: Instant,
    pub id: Option<CompactString>,
    pub version: Option<u64>,
    pub status: Status,
    pub dims: Dims,
    pub measures: Measures,
}

/// What is wrong with an event, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: Code,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub reason: String,
}

impl Problem {
    /// `field` and `reason` are cut to [`MAX_FIELD_CHARS`] and [`MAX_REASON_CHARS`]: both may quote what was published.
    pub fn new(code: Code, field: Option<&str>, reason: impl Into<String>) -> Self {
        let cut = |text: &str, chars: usize| text.chars().take(chars).collect();
        Self {
            code,
            field: field.map(|field| cut(field, MAX_FIELD_CHARS)),
            reason: cut(&reason.into(), MAX_REASON_CHARS),
        }
    }
}

/// One event of a message: its own bytes, and what they mean.
#[derive(Debug)]
pub struct Read<'a> {
    pub original: &'a [u8],
    pub outcome: Result<ValidEvent, Problem>,
}

/// A message cut into its events, which have not been read yet.
pub struct Message<'a> {
    payload: &'a [u8],
    encoding: Encoding,
    parts: Result<Vec<&'a [u8]>, Problem>,
}

impl<'a> Message<'a> {
    /// Finds where each event begins and ends: much cheaper than to read them.
    pub fn split(payload: &'a [u8], encoding: Encoding) -> Self {
        Self { payload, encoding, parts: split::split(payload, encoding) }
    }

    /// A message that a door refused, in place of an event that it could not make of a foreign record: one event, which is
    /// rejected. `why` is the text of [`UNMAPPED`](crate::headers::UNMAPPED).
    pub fn unmapped(payload: &'a [u8], why: &str) -> Self {
        let problem = serde_json::from_str::<Problem>(why)
            .map(|problem| Problem::new(problem.code, problem.field.as_deref(), problem.reason))
            .unwrap_or_else(|error| {
                let reason = format!("the header {} cannot be read: {error}", crate::headers::UNMAPPED);
                Problem::new(Code::Malformed, None, reason)
            });
        Self { payload, encoding: Encoding::Json, parts: Err(problem) }
    }

    /// Why it cannot be split into events, if it cannot.
    pub fn problem(&self) -> Option<&Problem> {
        self.parts.as_ref().err()
    }

    /// How many events are in it; a message that cannot be split counts as one.
    pub fn events(&self) -> u64 {
        self.parts.as_ref().map_or(1, |parts| parts.len() as u64)
    }

    /// Reads the events, each when its turn comes. A message that cannot be split is one problem.
    pub fn read<'k>(self, tenant: &'k str, kind: &'k Kind) -> impl Iterator<Item = Read<'a>> + use<'a, 'k> {
        let Self { payload, encoding, parts } = self;
        let (parts, whole) = match parts {
            Ok(parts) => (parts, None),
            Err(problem) => (Vec::new(), Some(Read { original: payload, outcome: Err(problem) })),
        };
        let read = move |original| Read { original, outcome: read_one(original, encoding, tenant, kind) };
        parts.into_iter().map(read).chain(whole)
    }
}

/// Reads the events of one message. A message that cannot be split into events is one problem.
pub fn read<'a>(payload: &'a [u8], encoding: Encoding, tenant: &str, kind: &Kind) -> Vec<Read<'a>> {
    Message::split(payload, encoding).read(tenant, kind).collect()
}

fn read_one(bytes: &[u8], encoding: Encoding, tenant: &str, kind: &Kind) -> Result<ValidEvent, Problem> {
    if bytes.len() > MAX_EVENT_BYTES {
        let reason = format!("the event is {} bytes long; at most {MAX_EVENT_BYTES} are allowed", bytes.len());
        return Err(Problem::new(Code::TooLarge, None, reason));
    }
    fields::read_fields(bytes, encoding, tenant, kind)
}

#[cfg(test)]
mod tests;
