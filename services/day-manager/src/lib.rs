//! The day-manager service: it owns the catalogue and decides when business days open and close.
//!
//! The cores decide, without I/O. [`registrar`] takes requests, and says for each what to publish and what to wait for.
//! [`publication`] knows the subjects, and [`assembly`] what follows from what was published. [`registry`] holds what is defined and
//! checks changes, with [`seasons`]. [`schedule`] knows which marker is due when. [`calendar`] converts time zones into tables of
//! instants, the only place that does. [`failure`] says what an asker is told when the broker does not do its part.
//!
//! Around them, `manager` is the actor that carries out what the registrar says, with `publishing` and `loading`; `messages` says what
//! it is sent. [`activation`] watches views being backfilled, for the manager to put them into force; `counting` asks shards what they
//! have counted; `admin` is the face to the outside, a NATS micro service. [`sources`] sees that what is published comes through
//! to INBOX. [`accounts`] makes the tenants' NATS accounts, where an operator signs them.

pub mod accounts;
pub mod activation;
mod admin;
pub mod assembly;
pub mod calendar;
mod counting;
pub mod failure;
mod holdings;
mod loading;
mod manager;
mod messages;
pub mod publication;
mod publishing;
pub mod registrar;
pub mod registry;
pub mod schedule;
pub mod seasons;
mod shards;
pub mod sources;

use accounts::{Accounts, AccountsHandle};
use daybook_runtime::membership::{Membership, watch_all};
use daybook_runtime::process::Context;
use daybook_runtime::supervisor::{self, Child};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Settings of day-manager.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Day manager")]
pub struct Options {
    /// Milliseconds between two looks at the system clock [10..=60000]
    #[arg(long, env = "DAYBOOK_TICK_INTERVAL_MS", default_value_t = Self::default().tick_interval_ms, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub tick_interval_ms: u64,
    #[command(flatten)]
    #[serde(flatten)]
    pub accounts: accounts::AccountOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self { tick_interval_ms: 100, accounts: Default::default() }
    }
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the actors cannot be started at all, or the settings of accounts are wrong.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tick = Duration::from_millis(options.tick_interval_ms);
    context.health.set("day-manager", false);
    let (connection, board, leave) = (&context.connection, context.board.clone(), context.leave.clone());
    // With the word that this one leaves, another takes the lead.
    let membership = Membership::join(connection, "day-manager", env!("CARGO_PKG_VERSION"), board, leave).await?;
    let membership = Arc::new(membership);
    let (handle, requests) = AccountsHandle::new();
    let accounts = Accounts::open(&options.accounts, connection)?;
    let revoking = accounts.is_some().then_some(handle);
    let (managing, leading) = (context.clone(), membership.clone());
    let mut children = vec![Child::new("day-manager", move |supervisor| {
        manager::spawn(managing.clone(), leading.clone(), tick, revoking.clone(), supervisor)
    })];
    if let Some(accounts) = accounts {
        let (keeping, leading) = (context.clone(), membership.clone());
        children.push(Child::new("accounts", move |supervisor| {
            let (accounts, requests) = (accounts.clone(), requests.clone());
            accounts::spawn(keeping.clone(), leading.clone(), accounts, requests, supervisor)
        }));
    }
    let watching = tokio::spawn(watch_all(context.connection.clone(), context.board.clone()));
    let leading = membership.clone();
    let sources = tokio::spawn(sources::watch(context.connection.clone(), move || leading.leads()));
    let ended = supervisor::run(children, context.leave).await;
    watching.abort();
    sources.abort();
    ended?;
    membership.farewell().await;
    Ok(())
}
