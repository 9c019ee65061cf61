//! What the manager is sent.

use crate::failure::Refused;
use crate::registrar::{Reply, Request};
use daybook_domain::catalogue::Activation;
use daybook_domain::ids::Partition;
use ractor::RpcReplyPort;

/// What the actor is sent.
pub enum Message {
    /// Look at the system clock, now and again after a while.
    Tick,
    /// Look at the system clock once more.
    More,
    Ask(Request, RpcReplyPort<Result<Reply, Refused>>),
    /// These views have been backfilled in these partitions.
    Activate(Vec<(Partition, Activation)>),
}
