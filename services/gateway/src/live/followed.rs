//! What a listener follows: the feed of a view, or a question that is repeated.

use bytes::Bytes;
use daybook_domain::ids::{Name, TenantId};

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Followed {
    pub(super) tenant: TenantId,
    pub(super) view: Name,
    /// A question that is repeated, as it is sent; empty for the view's feed.
    pub(super) question: Bytes,
}
