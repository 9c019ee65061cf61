//! Bounds of a tenant's account.

/// The largest message that any client may send, in bytes. INBOX and EVENTS take no larger ones.
pub const MAX_PAYLOAD_BYTES: u64 = 1 << 20;
/// Below this, batches of events hardly fit into a message: worth a warning.
pub const SMALL_PAYLOAD_BYTES: u64 = 16 << 10;
/// What the broker stores of a message beside its payload, in bytes: a longest subject and the record's frame.
const FRAME_BYTES: u64 = 256;
/// Connections of one tenant at once: its programs and a few dashboards. Each costs the broker some 30 KiB.
const CONNECTIONS: i64 = 50;
/// Subscriptions of one connection: a live view each, with room.
const SUBSCRIPTIONS: i64 = 500;

/// What the broker grants a tenant's account at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Connections at once.
    pub connections: i64,
    /// Subscriptions of each connection.
    pub subscriptions: i64,
    /// Bytes of a message, headers included.
    pub payload_bytes: u64,
}

impl TenantLimits {
    /// The usual limits, with this bound of a message.
    pub fn with_payload(payload_bytes: u64) -> Self {
        Self { connections: CONNECTIONS, subscriptions: SUBSCRIPTIONS, payload_bytes }
    }
}

/// Bounds of the buffer that all tenants share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxBounds {
    /// Bytes that INBOX holds.
    pub max_bytes: u64,
    /// Messages of one tenant and one kind that INBOX holds.
    pub max_messages_per_kind: u64,
}

impl Default for InboxBounds {
    fn default() -> Self {
        Self { max_bytes: 4 << 30, max_messages_per_kind: 16_384 }
    }
}

/// How large a tenant's messages may be so that this tenant alone never fills the shared buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadShare {
    /// Bytes of a message, headers included.
    pub payload_bytes: u64,
    /// What the tenant can have in INBOX with all its kinds, in bytes.
    pub share_bytes: u64,
}

impl PayloadShare {
    /// The largest payload with which `kinds` kinds take at most half of INBOX: kinds × messages × (payload + frame).
    ///
    /// ```
    /// use daybook_access::limits::{InboxBounds, PayloadShare};
    /// let share = PayloadShare::of(InboxBounds::default(), 2);
    /// assert_eq!(share.payload_bytes, 64 * 1024 - 256);
    /// assert!(share.share_bytes <= 2 << 30);
    /// ```
    pub fn of(bounds: InboxBounds, kinds: usize) -> Self {
        let messages = bounds.max_messages_per_kind.max(1).saturating_mul(kinds.max(1) as u64);
        let each = bounds.max_bytes / 2 / messages;
        let payload_bytes = each.saturating_sub(FRAME_BYTES).clamp(1, MAX_PAYLOAD_BYTES);
        Self { payload_bytes, share_bytes: messages.saturating_mul(payload_bytes + FRAME_BYTES) }
    }

    /// Whether little more than single events fits into a message.
    pub fn is_small(self) -> bool {
        self.payload_bytes < SMALL_PAYLOAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_kinds_mean_smaller_messages() {
        let bounds = InboxBounds::default();
        let payloads = [0, 1, 4, 8, 9, 1_000_000].map(|kinds| PayloadShare::of(bounds, kinds).payload_bytes);
        assert_eq!(payloads, [130_816, 130_816, 32_512, 16_128, 14_307, 1]);
        assert!(!PayloadShare::of(bounds, 7).is_small() && PayloadShare::of(bounds, 8).is_small());
        let few = InboxBounds { max_messages_per_kind: 1, ..bounds };
        assert_eq!(PayloadShare::of(few, 1).payload_bytes, MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn a_tenant_has_at_most_half() {
        for kinds in 1..200 {
            let share = PayloadShare::of(InboxBounds::default(), kinds);
            assert!(share.share_bytes <= 2 << 30, "{kinds}: {share:?}");
        }
    }
}
