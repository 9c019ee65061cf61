//! The tenants' accounts, where an operator signs them: NATS servers are told of each tenant that is applied, and of each
//! token that is revoked, without a reload.
//!
//! [`book`] is pure: what is known, and the account that follows from it; [`facts`] is where that stands. [`keeper`] is the
//! actor; it follows CATALOG and ACCESS, answers servers that ask for an account, and sends them those that changed. [`servers`] talks to them;
//! [`revoking`] stores what is revoked.
//!
//! An account is a function of facts that stand in streams: so every day-manager makes the same bytes, servers pass over
//! what they have already, and it does no harm that several send it.

pub mod book;
pub mod facts;
pub mod keeper;
pub mod revoking;
pub mod servers;

pub use keeper::{AccountsHandle, spawn};

use clap::ValueEnum;
use daybook_access::keys::AccessSeed;
use daybook_access::limits::InboxBounds;
use daybook_runtime::connection::Connection;
use serde::Serialize;
use std::path::PathBuf;

/// Settings of the tenants' accounts; without a seed day-manager makes none.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
#[command(next_help_heading = "Accounts of tenants")]
pub struct AccountOptions {
    /// File with the operator's seed, from `daybook nats config`: makes and sends the tenants' NATS accounts
    #[arg(long, env = "DAYBOOK_ACCOUNT_SEED", value_name = "FILE", requires = "account_credentials")]
    pub account_seed: Option<PathBuf>,
    /// File with credentials of the system user that may send accounts to NATS servers
    #[arg(long, env = "DAYBOOK_ACCOUNT_CREDENTIALS", value_name = "FILE", requires = "account_seed")]
    pub account_credentials: Option<PathBuf>,
    /// How NATS servers keep accounts: all of them in full, or those they have asked for
    #[arg(long, env = "DAYBOOK_ACCOUNT_RESOLVER", value_enum, default_value_t)]
    pub account_resolver: Resolver,
    /// Most bytes of a tenant's message; by default as many as keep each tenant within half of INBOX [1024..=1048576]
    #[arg(long, env = "DAYBOOK_TENANT_PAYLOAD_BYTES", value_parser = clap::value_parser!(u64).range(1024..=1 << 20))]
    pub tenant_payload_bytes: Option<u64>,
}

/// How NATS servers keep the tenants' accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolver {
    /// All of them, on disk.
    #[default]
    Full,
    /// Those that clients have come for.
    Cache,
}

/// The accounts cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    #[error("cannot read the operator's seed {path:?} (--account-seed)")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path:?} (--account-seed) holds no seed")]
    Seed {
        path: PathBuf,
        #[source]
        source: daybook_access::keys::KeyError,
    },
}

/// What the keeper works with.
#[derive(Clone)]
pub struct Accounts {
    seed: AccessSeed,
    resolver: Resolver,
    bounds: InboxBounds,
    payload_bytes: Option<u64>,
    credentials: PathBuf,
}

impl Accounts {
    /// Reads the seed. `None` when there is none to be read.
    ///
    /// # Errors
    /// When the file cannot be read, or is no seed.
    pub fn open(options: &AccountOptions, connection: &Connection) -> Result<Option<Self>, AccountsError> {
        let (Some(path), Some(credentials)) = (&options.account_seed, &options.account_credentials) else {
            return Ok(None);
        };
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| AccountsError::Read { path: path.clone(), source })?;
        let seed = AccessSeed::parse(&text).map_err(|source| AccountsError::Seed { path: path.clone(), source })?;
        let [max_bytes, max_messages_per_kind] =
            [connection.options.inbox_max_bytes, connection.options.inbox_max_messages_per_kind]
                .map(|bound| u64::try_from(bound).unwrap_or_default());
        let bounds = InboxBounds { max_bytes, max_messages_per_kind };
        let (resolver, payload_bytes) = (options.account_resolver, options.tenant_payload_bytes);
        Ok(Some(Self { seed, resolver, bounds, payload_bytes, credentials: credentials.clone() }))
    }
}
