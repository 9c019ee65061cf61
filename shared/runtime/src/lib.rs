//! What every service stands on: the broker connection and its streams, reading and appending with exact positions,
//! the checkpoint store, supervision of actors, configuration, health, metrics and traces.
//!
//! - [`connection`] and [`streams`]: reaching the broker and finding (or making) the streams; [`joining`]: both, for a service;
//! - [`reader`]: a subject of a stream from a given position on, without gaps;
//! - [`append`]: compare-and-append, the fence of the log; [`outbox`]: outputs that are written exactly once;
//! - [`written`]: what a service wrote, told from what anyone else put into a stream; [`foreign`]: what of that was met;
//! - [`definitions`]: the catalogue, for whoever serves all partitions; [`inbox`]: why INBOX did not take a message;
//! - [`fair`]: a queue in which tenants take turns;
//! - [`log`]: where the log of a partition begins; [`retention`]: for how long something is kept; [`usage`]: what it takes;
//! - [`webhooks`]: what waits for the receivers of alerts, and why;
//! - [`store`]: the disposable checkpoint `state at position`;
//! - [`membership`]: who else runs a service, and which partitions are whose;
//! - [`memory`]: how near the process is to its limit, and what may be taken in;
//! - [`supervisor`]: restarts actors that fail; [`backoff`]: pauses between attempts at anything;
//! - [`config`], [`process`], [`http`], [`telemetry`], [`clock`]: what a process needs around its service; [`followed_file`]: files that it
//!   follows while it runs.

/// The allocator of every process: the state of a partition is millions of small pieces that come and go, for which the
/// system's takes a quarter of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod append;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod connection;
pub mod definitions;
pub mod fair;
pub mod followed_file;
pub mod foreign;
pub mod http;
pub mod inbox;
pub mod joining;
pub mod kept;
pub mod log;
pub mod membership;
pub mod memory;
pub mod outbox;
pub mod process;
pub mod reader;
pub mod retention;
pub mod store;
pub mod streams;
pub mod supervisor;
pub mod telemetry;
pub mod usage;
pub mod webhooks;
pub mod written;
