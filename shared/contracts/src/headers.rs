//! NATS headers that Daybook sets or reads. Trace context travels in the W3C header `traceparent`.

/// On a batch of EVENTS: the last INBOX sequence it covers.
pub const INBOX_SEQ: &str = "Daybook-Inbox-Seq";
/// On a batch of EVENTS: how many events of that INBOX message it covers, when not all.
pub const INBOX_EVENTS: &str = "Daybook-Inbox-Events";
/// On a batch of EVENTS: the last sequence of CATALOG that it and its predecessors have taken in.
pub const CATALOG_SEQ: &str = "Daybook-Catalog-Seq";
/// On a batch of EVENTS: the last sequence of DAYS that it and its predecessors have taken in.
pub const DAYS_SEQ: &str = "Daybook-Days-Seq";
/// On a batch of EVENTS, with any value: a mark is still to come that restates days which events up to it may have changed.
pub const RESTATING: &str = "Daybook-Restating";
/// On a batch of EVENTS: the sequence of the partition's batch before it, 0 for none.
pub const FOLLOWS: &str = "Daybook-Follows";
/// On everything that a service stores: the subject that it was written to. A copy elsewhere shows by it.
pub const SUBJECT: &str = "Daybook-Subject";
/// On outputs: where the message stands in its subject's own order, so that nothing is written twice.
pub const POSITION: &str = "Daybook-Position";
/// On the answer with the newest report, with any value: late events have changed the day, and a further version will come.
pub const RESTATEMENT_PENDING: &str = "Daybook-Restatement-Pending";
/// On a report: BLAKE3 of the payload, in hex.
pub const HASH: &str = "Daybook-Hash";
/// Says how a payload is written: see [`is_msgpack`]; anything else is JSON.
pub const CONTENT_TYPE: &str = "Content-Type";
/// The value of [`CONTENT_TYPE`] for MessagePack.
pub const MSGPACK: &str = "application/msgpack";
/// What MessagePack is called: as it is registered, and as it was called before that.
const MSGPACK_NAMES: [&str; 5] = [
    "application/vnd.msgpack",
    MSGPACK,
    "application/x-msgpack",
    "application/messagepack",
    "application/x-messagepack",
];
/// The value of [`CONTENT_TYPE`] for JSON, where it is told.
pub const JSON: &str = "application/json";
/// On a message of `daybook.in.…`: its payload is a foreign record that no mapping could make an event of, and this is why,
/// as a [`Problem`](crate::event::Problem) in JSON. It is rejected for that, with the payload as the original.
pub const UNMAPPED: &str = "Daybook-Unmapped";
/// Set by the broker on a sourced message: `<stream> <sequence> …`.
pub const STREAM_SOURCE: &str = "Nats-Stream-Source";

/// Where the broker sourced a message from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    pub stream: &'a str,
    /// The sequence in that stream.
    pub sequence: u64,
}

impl<'a> Source<'a> {
    /// Reads the value of [`STREAM_SOURCE`].
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split(' ');
        Some(Self { stream: words.next()?, sequence: words.next()?.parse().ok()? })
    }
}

/// Whether a content type is one of MessagePack. Case and parameters, as in `application/vnd.msgpack; version=5`, do not count.
pub fn is_msgpack(content_type: &str) -> bool {
    let name = content_type.split(';').next().unwrap_or("").trim();
    MSGPACK_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The content type among headers, whose names may be written in any case. Of several the first in the order of their names
/// counts, since a map of headers keeps no order of its own.
pub fn content_type<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    headers.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE)).min().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messagepack_is_known_by_every_name_in_use() {
        for (name, value) in [
            ("Content-Type", "application/msgpack"),
            ("content-type", "application/x-msgpack"),
            ("CONTENT-TYPE", "Application/vnd.MsgPack; version=5"),
        ] {
            let found = content_type([("Nats-Msg-Id", "1"), (name, value)]).unwrap();
            assert!(is_msgpack(found), "{name}: {value}");
        }
        for value in ["application/json", "", "msgpack", "application/msgpack+json", "text/plain; application/msgpack"]
        {
            assert!(!is_msgpack(value), "{value}");
        }
        assert_eq!(content_type([("Accept", "application/msgpack")]), None);
    }
}
