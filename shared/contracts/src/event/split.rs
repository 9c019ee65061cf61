//! Cuts a message into the bytes of its events, so that one bad event does not take the others with it.

use super::{Encoding, MAX_MESSAGE_EVENTS, Problem};
use crate::reject::Code;
use serde_json::value::RawValue;

/// The bytes of each event of a message.
///
/// # Errors
/// When the message as a whole cannot be read, is empty or holds more than [`MAX_MESSAGE_EVENTS`].
pub(super) fn split(payload: &[u8], encoding: Encoding) -> Result<Vec<&[u8]>, Problem> {
    let parts = match encoding {
        Encoding::Json => split_json(payload)?,
        Encoding::MessagePack => split_messagepack(payload)?,
    };
    if parts.is_empty() || parts.len() > MAX_MESSAGE_EVENTS {
        let reason = format!("the message holds {} events; send 1 to {MAX_MESSAGE_EVENTS}", parts.len());
        return Err(Problem::new(Code::BatchSize, None, reason));
    }
    Ok(parts)
}

fn split_json(payload: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        let reason = format!("byte {} is not UTF-8; JSON must be", error.valid_up_to());
        Problem::new(Code::InvalidUtf8, None, reason)
    })?;
    if !text.trim_start().starts_with('[') {
        return Ok(vec![payload]);
    }
    let events: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| Problem::new(Code::Malformed, None, format!("not a JSON array of events: {error}")))?;
    Ok(events.into_iter().map(|event| event.get().as_bytes()).collect())
}

fn split_messagepack(payload: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let malformed = |at: usize| {
        Problem::new(Code::Malformed, None, format!("not MessagePack: the value at byte {at} is cut short or unknown"))
    };
    let (count, mut at) = match *payload {
        [head @ 0x90..=0x9f, ..] => (usize::from(head & 0x0f), 1),
        [0xdc, a, b, ..] => (usize::from(u16::from_be_bytes([a, b])), 3),
        [0xdd, a, b, c, d, ..] => (u32::from_be_bytes([a, b, c, d]) as usize, 5),
        _ => (1, 0),
    };
    if count > MAX_MESSAGE_EVENTS {
        let reason = format!("the message holds {count} events; send 1 to {MAX_MESSAGE_EVENTS}");
        return Err(Problem::new(Code::BatchSize, None, reason));
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let length = messagepack_length(&payload[at..]).ok_or_else(|| malformed(at))?;
        parts.push(&payload[at..at + length]);
        at += length;
    }
    if at != payload.len() {
        let reason = format!("{} bytes follow the MessagePack value", payload.len() - at);
        return Err(Problem::new(Code::Malformed, None, reason));
    }
    Ok(parts)
}

/// How many bytes the first MessagePack value takes; `None` when it is cut short or has an unknown marker.
/// Iterative, so that nesting cannot exhaust the stack.
fn messagepack_length(bytes: &[u8]) -> Option<usize> {
    let unsigned = |at: usize, width: usize| -> Option<usize> {
        let field = bytes.get(at..at + width)?;
        Some(field.iter().fold(0_usize, |n, b| (n << 8) | usize::from(*b)))
    };
    let mut at = 0_usize;
    let mut pending = 1_usize;
    while pending > 0 {
        pending -= 1;
        let marker = *bytes.get(at)?;
        at += 1;
        let (skip, children) = match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            0x80..=0x8f => (0, 2 * usize::from(marker & 0x0f)),
            0x90..=0x9f => (0, usize::from(marker & 0x0f)),
            0xa0..=0xbf => (usize::from(marker & 0x1f), 0),
            0xc4 | 0xd9 => (1 + unsigned(at, 1)?, 0),
            0xc5 | 0xda => (2 + unsigned(at, 2)?, 0),
            0xc6 | 0xdb => (4 + unsigned(at, 4)?, 0),
            0xc7 => (2 + unsigned(at, 1)?, 0),
            0xc8 => (3 + unsigned(at, 2)?, 0),
            0xc9 => (5 + unsigned(at, 4)?, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xd4 => (2, 0),
            0xd5 => (3, 0),
            0xd6 => (5, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (2, unsigned(at, 2)?),
            0xdd => (4, unsigned(at, 4)?),
            0xde => (2, 2 * unsigned(at, 2)?),
            0xdf => (4, 2 * unsigned(at, 4)?),
            0xc1 => return None,
        };
        at = at.checked_add(skip)?;
        pending = pending.checked_add(children)?;
        // Every value takes at least a byte, so more of them than bytes left means it is cut short.
        if at > bytes.len() || pending > bytes.len() - at {
            return None;
        }
    }
    Some(at)
}
