//! What became of bad input: one reject an event, with a stable code, the reason, the position and the original. What is
//! over a quota is refused by whole messages, with one reject for all that follow each other.

mod alike;

pub use alike::{Alike, Told, gather};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daybook_domain::ids::{InboxSeq, LogSeq};
use daybook_domain::time::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Most bytes of an original that a reject keeps; a longer one is cut and its length told.
pub const MAX_ORIGINAL_BYTES: usize = 64 * 1024;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why an event was not counted. The texts are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// The payload is not JSON, or not MessagePack where the header says so.
    Malformed = "malformed",
    /// The payload is not UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// An event is longer than allowed.
    TooLarge = "too_large",
    /// A batch holds more events than allowed, or none.
    BatchSize = "batch_size",
    /// The tenant in the subject is not a valid id.
    InvalidTenant = "invalid_tenant",
    /// No such tenant.
    UnknownTenant = "unknown_tenant",
    /// No such kind.
    UnknownKind = "unknown_kind",
    /// The payload names another tenant or kind than its subject.
    SubjectMismatch = "subject_mismatch",
    /// A required field is absent.
    MissingField = "missing_field",
    /// A field has the wrong type.
    WrongType = "wrong_type",
    /// A dimension or measure that the kind does not have.
    UnknownField = "unknown_field",
    /// A text is longer than allowed, or an id is empty.
    InvalidText = "invalid_text",
    /// The time is not RFC 3339.
    InvalidTime = "invalid_time",
    /// A decimal has more digits than its measure keeps.
    TooManyDigits = "too_many_digits",
    /// A number does not fit.
    Overflow = "overflow",
    /// The time is before the tenant's first business day.
    BeforeFirstDay = "before_first_day",
    /// The time is beyond the days published so far.
    TooFarAhead = "too_far_ahead",
    /// The business day has closed, and no view takes late changes in.
    Late = "late",
    /// The business day is older than corrections reach back.
    DayExpired = "day_expired",
    /// An older version than the one already known.
    StaleVersion = "stale_version",
    /// The same id and version with other content.
    VersionConflict = "version_conflict",
    /// The tenant has published more events than its quota, for now.
    QuotaEvents = "quota_events",
    /// The tenant has published more bytes than its quota, for now.
    QuotaBytes = "quota_bytes",
    /// The tenant has as many entities of the kind as its quota allows, and this would be another one.
    QuotaEntities = "quota_entities",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event that was not counted, or, with a [`Span`], several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    pub code: Code,
    /// For people: what is wrong, where, and what to do.
    pub reason: String,
    /// The subject's own tokens, as the publisher wrote them.
    pub tenant: String,
    pub kind: String,
    /// The PubAck sequence of the message it came in.
    pub inbox: InboxSeq,
    /// Its place in that message, from 0.
    pub index: u32,
    /// The field at fault, such as `measures.arr_delay`.
    #[serde(default)]
    pub field: Option<String>,
    /// The business day, where it could be told.
    #[serde(default)]
    pub date: Option<Date>,
    pub original: Original,
    /// Set where one reject stands for several events. The last field: a reject without it is as it was before there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Reject {
    /// How many events it stands for.
    pub fn events(&self) -> u64 {
        self.span.map_or(1, |span| span.events)
    }
}

/// What one reject stands for. It has no original, so that refusing costs much less than taking in.
///
/// Over a quota it stands for every message that the tenant published from `inbox` to `last`, of whichever kind and over
/// whichever quota, and has the kind and the code of the first. Else `last` is `inbox`: it stands for so many events of that
/// one message, from `index` on, that were refused with this code; see [`Alike`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How many events the messages hold.
    pub events: u64,
    /// The PubAck sequence of the last of them.
    pub last: InboxSeq,
}

/// The event as it came, at most [`MAX_ORIGINAL_BYTES`] of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Original {
    bytes: Vec<u8>,
    total: u64,
}

impl Original {
    pub fn new(bytes: &[u8]) -> Self {
        let kept = &bytes[..bytes.len().min(MAX_ORIGINAL_BYTES)];
        Self { bytes: kept.to_vec(), total: bytes.len() as u64 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How long the original was, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn is_cut(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.bytes))
    }
}

/// Whether a text takes no more bytes as a JSON string than in base64; one of control characters takes six times its own.
fn is_short_in_json(text: &str) -> bool {
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    escapes <= text.len() / 3
}

/// In JSON: `text` where it is UTF-8 and not mostly characters that JSON escapes, else `base64`; in MessagePack bytes.
#[derive(Serialize, Deserialize)]
struct OriginalText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    bytes: u64,
    cut: bool,
}

impl Serialize for Original {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (serde_bytes_ref(&self.bytes), self.total).serialize(serializer);
        }
        let text = std::str::from_utf8(&self.bytes).ok().filter(|text| is_short_in_json(text)).map(str::to_owned);
        let base64 = text.is_none().then(|| STANDARD.encode(&self.bytes));
        OriginalText { text, base64, bytes: self.total, cut: self.is_cut() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Original {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let (bytes, total) = <(bytes::Bytes, u64)>::deserialize(deserializer)?;
            return Ok(Self { bytes: bytes.to_vec(), total });
        }
        let read = OriginalText::deserialize(deserializer)?;
        let bytes = match (read.text, read.base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).map_err(de::Error::custom)?,
            (None, None) => Vec::new(),
        };
        Ok(Self { bytes, total: read.bytes })
    }
}

fn serde_bytes_ref(bytes: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}

/// A message of `daybook.rejects.<tenant>`, in JSON: rejects of one batch of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejects {
    /// Where in EVENTS they are recorded.
    pub log: LogSeq,
    pub rejects: Vec<Reject>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn originals_survive_both_encodings() {
        for bytes in [&[1; 100][..], &b"{\"a\":1}"[..], &b"\xff\xfe"[..], &[7_u8; MAX_ORIGINAL_BYTES + 1][..]] {
            let original = Original::new(bytes);
            let json = serde_json::to_vec(&original).unwrap();
            assert_eq!(serde_json::from_slice::<Original>(&json).unwrap(), original);
            let packed = rmp_serde::to_vec(&original).unwrap();
            assert_eq!(rmp_serde::from_slice::<Original>(&packed).unwrap(), original);
        }
        assert!(Original::new(&[7; MAX_ORIGINAL_BYTES + 1]).is_cut());
    }
}
