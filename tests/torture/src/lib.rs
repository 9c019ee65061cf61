//! Kills a process that commits checkpoints, at random moments, and looks at what it leaves.
//!
//! The process ([`victim`]) is this package's own binary. The rows of checkpoint *n* are a function of *n* and the seed
//! ([`rows`]), and most of them are rows of the checkpoints before it too, so that any mixture of two is noticed. The
//! victim says on its standard output which checkpoint is committed; [`kills`] kills it, opens the store as a shard does,
//! and expects every row of one checkpoint, no older than the last one that was told. [`full`] has the disk full instead.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

pub mod full;
pub mod kills;
pub mod rows;
pub mod victim;
