//! Who is there: every process tells on `daybook.members.<service>` that it lives and what it runs. Whoever listens for
//! a while knows all of them; nothing of this is stored, and nothing but comfort rests on it.

use compact_str::CompactString;
use daybook_domain::ids::{InboxSeq, LogSeq, Partition};
use daybook_domain::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a process tells of itself.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// A process that has not been heard of for so long is taken for gone: five heartbeats.
pub const LOSS: Duration = Duration::from_millis(2_500);

/// What a process tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// `ingest`, `aggregator-shard`, `query` or `day-manager`.
    pub service: CompactString,
    /// Unlike that of any other process and run.
    pub instance: CompactString,
    pub version: CompactString,
    pub host: CompactString,
    pub pid: u32,
    pub started_at: Instant,
    /// It has just come, and listens who is there: the others answer at once, so that it need not wait for their next
    /// heartbeat, and leave it nothing yet.
    pub joining: bool,
    /// It was told to end: it is given nothing any more, and goes on with its parts until others are ready for them.
    pub leaving: bool,
    /// It runs nothing any more and ends now.
    #[serde(default)]
    pub gone: bool,
    pub parts: BTreeMap<Partition, Part>,
}

/// A partition that a process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Level with the log at least once: it can serve.
    pub ready: bool,
    /// The last batch of the log that was applied or appended.
    pub log: LogSeq,
    /// The last INBOX sequence that was taken in.
    pub inbox: InboxSeq,
    /// Messages that wait to be read, when they were looked at last.
    pub lag: u64,
    /// Milliseconds since it was level with what it reads.
    pub lag_ms: u64,
    /// The position of the last checkpoint; 0 for none.
    pub checkpoint: LogSeq,
    /// Bytes of the checkpoint store on disk, as of the last checkpoint interval.
    #[serde(default)]
    pub store_bytes: u64,
}
