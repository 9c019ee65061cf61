//! What all requests share.

use crate::access::Meter;
use crate::access::doorkeeper::Doorkeeper;
use crate::asker::Asker;
use crate::definitions::Definitions;
use crate::live::Hub;
use crate::options::Origins;
use crate::room::Rooms;
use daybook_runtime::connection::Connection;
use std::sync::Arc;

/// What handlers share.
pub(crate) struct Gateway {
    pub connection: Connection,
    pub door: Arc<Doorkeeper>,
    pub meter: Meter,
    pub origins: Origins,
    pub definitions: Definitions,
    pub asker: Asker,
    pub hub: Hub,
    pub rooms: Rooms,
    pub max_body_bytes: usize,
    /// Most bytes of a message of events.
    pub payload_bytes: usize,
}
