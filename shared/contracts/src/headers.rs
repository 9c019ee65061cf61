//! NATS headers that Daybook sets or reads. Trace context travels in the W3C header `traceparent`.

/// On a batch of EVENTS: the last INBOX sequence it covers.
pub const INBOX_SEQ: &str = "Daybook-Inbox-Seq";
/// On a batch of EVENTS: how many events of that INBOX message it covers, when not all.
pub const INBOX_EVENTS: &str = "Daybook-Inbox-Events";
/// On a batch of EVENTS: the last sequence of CATALOG that it and its predecessors have taken in.
pub const CATALOG_SEQ: &str = "Daybook-Catalog-Seq";
/// On a batch of EVENTS: the last sequence of DAYS that it and its predecessors have taken in.
pub const DAYS_SEQ: &str = "Daybook-Days-Seq";
/// On a batch of EVENTS: the sequence of the partition's batch before it, 0 for none.
pub const FOLLOWS: &str = "Daybook-Follows";
/// On everything that a service stores: the subject that it was written to. A copy elsewhere shows by it.
pub const SUBJECT: &str = "Daybook-Subject";
/// On outputs: where the message stands in its subject's own order, so that nothing is written twice.
pub const POSITION: &str = "Daybook-Position";
/// On a report: BLAKE3 of the payload, in hex.
pub const HASH: &str = "Daybook-Hash";
/// `application/msgpack` marks a MessagePack payload; anything else is JSON.
pub const CONTENT_TYPE: &str = "Content-Type";
/// The value of [`CONTENT_TYPE`] for MessagePack.
pub const MSGPACK: &str = "application/msgpack";
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
