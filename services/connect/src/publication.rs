//! Messages for INBOX: batches of events, and rejects. Pure.

use bytes::Bytes;
use daybook_contracts::reject::MAX_ORIGINAL_BYTES;
use daybook_domain::ids::{Name, TenantId};
use daybook_mapping::Refused;
use std::collections::VecDeque;

/// Size of a batch of events at most, in bytes. One longer event goes by itself.
pub const BATCH_BYTES: usize = 256 * 1024;
/// Most events of a batch. INBOX counts and acknowledges messages, so large batches are cheap. A tenant over its quota loses whole
/// messages, so they are smaller than they could be.
pub const BATCH_EVENTS: usize = 500;

/// One message for INBOX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The tenant's token of the subject.
    pub tenant: String,
    pub kind: Name,
    /// Why no event could be made of the content, as in the header
    /// [`UNMAPPED`](daybook_contracts::headers::UNMAPPED); `None` for events.
    pub unmapped: Option<String>,
    /// Events with commas between them, or the original of a reject.
    content: Vec<u8>,
    /// How many events there are.
    events: usize,
}

impl Publication {
    /// A batch of one event.
    pub fn event(tenant: &TenantId, kind: &Name, event: Vec<u8>) -> Self {
        Self { tenant: tenant.to_string(), kind: kind.clone(), unmapped: None, content: event, events: 1 }
    }

    /// The size of its content in bytes.
    pub fn bytes(&self) -> usize {
        self.content.len()
    }

    /// What is published.
    pub fn payload(&self) -> Bytes {
        match self.events {
            0 | 1 => Bytes::copy_from_slice(&self.content),
            _ => [b"[", &self.content[..], b"]"].concat().into(),
        }
    }

    /// Makes it small enough for the broker, which found it too large: events become a reject for the reason `why`, and a reject loses
    /// its original.
    pub fn shorten(&mut self, why: String) {
        let kept = if self.unmapped.is_none() { MAX_ORIGINAL_BYTES + 1 } else { 0 };
        self.content.truncate(kept);
        self.events = 0;
        self.unmapped.get_or_insert(why);
    }

    /// Appends the events of another batch, or returns that one: it is of another tenant or kind, a reject, or too much.
    fn join(&mut self, other: Self) -> Result<(), Self> {
        let is_alike = self.unmapped.is_none()
            && other.unmapped.is_none()
            && (&self.tenant, &self.kind) == (&other.tenant, &other.kind);
        let has_room = self.events + other.events <= BATCH_EVENTS && self.bytes() + other.bytes() < BATCH_BYTES;
        if !is_alike || !has_room {
            return Err(other);
        }
        self.content.push(b',');
        self.content.extend_from_slice(&other.content);
        self.events += other.events;
        Ok(())
    }
}

impl From<Refused> for Publication {
    fn from(Refused { tenant, kind, piece, why }: Refused) -> Self {
        Self { tenant, kind, unmapped: Some(why), content: piece, events: 0 }
    }
}

/// Puts a publication behind the others, into the batch of the last one where that can be. All events keep their order.
pub fn push(queue: &mut VecDeque<Publication>, publication: Publication) {
    let left = match queue.back_mut() {
        Some(last) => last.join(publication),
        None => Err(publication),
    };
    queue.extend(left.err());
}
