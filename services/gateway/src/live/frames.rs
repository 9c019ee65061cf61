//! Server-sent events, written once for all listeners.

use crate::problem::Problem;
use bytes::Bytes;

/// The name and identifier of an event: `snapshot` and `changes` have the feed's name and sequence as the identifier.
pub(crate) fn event(name: &str, id: Option<&str>, data: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(data.len() + 64);
    frame.extend_from_slice(b"event: ");
    frame.extend_from_slice(name.as_bytes());
    if let Some(id) = id {
        frame.extend_from_slice(b"\nid: ");
        frame.extend_from_slice(id.as_bytes());
    }
    // A line end within would end the field; in JSON it can only be a blank.
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        frame.extend_from_slice(b"\ndata: ");
        frame.extend_from_slice(line);
    }
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// The last event of a stream, and why it ends.
pub(super) fn end(problem: &Problem) -> Bytes {
    event("end", None, problem.json().as_bytes())
}

/// Whether it is the last event.
pub(super) fn is_end(frame: &[u8]) -> bool {
    frame.starts_with(b"event: end\n")
}

/// Shows that the connection lives.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");
/// When a browser connects again, in milliseconds.
pub(crate) const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// The identifier of an event.
pub(super) fn identifier(feed: &str, sequence: u64) -> String {
    format!("{feed}:{sequence}")
}

/// The feed and the sequence of an identifier.
pub(super) fn parse_identifier(text: &str) -> Option<(&str, u64)> {
    let (feed, sequence) = text.rsplit_once(':')?;
    Some((feed, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_lines_and_an_empty_one() {
        let frame = event("changes", Some("a-1:7"), b"{\"a\":\n1}");
        assert_eq!(frame, "event: changes\nid: a-1:7\ndata: {\"a\":\ndata: 1}\n\n");
        assert_eq!(parse_identifier("a:b:7"), Some(("a:b", 7)));
        assert_eq!((parse_identifier("a"), parse_identifier("a:x")), (None, None));
    }
}
