//! Replays the log with the machine that the shards run, to prove sealed reports and to tell what became of an entity.
//!
//! [`replay`] reads one partition from its beginning. [`stored`] holds what REPORTS has, [`verify`] compares both, and
//! [`paths`] names the place where two reports differ. [`audit`] follows one entity.
//!
//! Only the log is trusted: no service is asked for a figure, and no checkpoint is read. Where the log is trimmed, a replay
//! has to begin with the oldest snapshot on the broker instead, and says so.

pub mod audit;
pub mod difference;
pub mod paths;
pub mod replay;
pub mod stored;
pub mod verify;
