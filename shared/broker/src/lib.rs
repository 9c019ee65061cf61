//! A private `nats-server`: found on this machine or fetched, then run as a child process.
//!
//! Daybook needs a broker to show anything at all. Production points at a cluster somebody operates; a laptop, a test
//! and a demo get one from here, without installing anything by hand.
//!
//! Read in this order:
//! - [`locate`](mod@locate): which binary is used, and in which order places are looked at;
//! - [`version`]: asking a binary for its version, and the oldest one accepted;
//! - [`fetch`](mod@fetch): the pinned download into Daybook's own cache, with [`pin`] holding the pinned hashes;
//! - [`config`]: what can be set, and the configuration file made from it;
//! - [`server`]: the running server, [`Broker`]: start, restart, kill, stop;
//! - `store`: its directory, locked so that two programs never share one;
//! - `child`: the process itself, which never outlives this program;
//! - `ports`: how the server tells which ports it took.
//!
//! ```no_run
//! # async fn example() -> Result<(), daybook_broker::Error> {
//! let binary = daybook_broker::locate(None, &|progress| eprintln!("{progress}"))?;
//! let broker = daybook_broker::Broker::start(daybook_broker::Options::new(binary, ".daybook/broker")).await?;
//! println!("{}", broker.client_url());
//! broker.stop().await
//! # }
//! ```
//!
//! Unix only: it relies on process groups, signals and `/bin/sh`.

mod backoff;
mod child;
mod command;
pub mod config;
mod directory;
mod error;
pub mod fetch;
pub mod locate;
pub mod pin;
mod ports;
pub mod server;
mod store;
pub mod version;

pub use config::{
    ClusterOptions, Options, Port, ServerSettings, SyncInterval, TlsOptions, WebSocketOptions, WebSocketToken,
};
pub use directory::cache_directory;
pub use error::Error;
pub use fetch::{Progress, fetch};
pub use locate::locate;
pub use server::Broker;
pub use version::{MIN_VERSION, SAFE_VERSION, Version};
