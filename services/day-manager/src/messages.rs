//! What the manager is asked.

use crate::failure::Refused;
use daybook_contracts::admin::{
    Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, CloseReply, Remove, RemoveReply,
};
use daybook_domain::catalogue::Activation;
use daybook_domain::ids::Partition;
use ractor::RpcReplyPort;

/// What the actor is asked.
pub enum Message {
    /// Look at the system clock, now and again after a while.
    Tick,
    /// Look at the system clock once more.
    More,
    Apply(Apply, RpcReplyPort<Result<ApplyReply, Refused>>),
    Catalogue(RpcReplyPort<Result<CatalogueReply, Refused>>),
    Advance(ClockAdvance, RpcReplyPort<Result<ClockReply, Refused>>),
    Close(CloseDay, RpcReplyPort<Result<CloseReply, Refused>>),
    Remove(Remove, RpcReplyPort<Result<RemoveReply, Refused>>),
    /// These views have been backfilled in these partitions.
    Activate(Vec<(Partition, Activation)>),
}
