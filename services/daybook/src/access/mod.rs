//! The folder of `daybook nats config` and `daybook token`: who may connect to the broker, on the operator's disk.
//!
//! ```text
//! README.txt         what lies where, and what to do next
//! access.json        the settings; the command may be repeated with fewer flags
//! tokens.json        the ledger of tokens, without secrets
//! operator.seed      the one secret that all accounts are made from (operator mode)
//! route.password     what servers of a cluster show each other
//! ca.key             the key of a private authority, where one was asked for
//! services/          credentials of each service, of the operator, of the system user
//! tokens/            tokens of tenants that were made
//! servers/           what goes to the machines of the NATS servers
//! ```
//!
//! - [`folder`]: the files, readable by their owner only, and one command at a time;
//! - [`settings`]: what the configuration is made from;
//! - [`issuing`]: credentials of services and tenants;
//! - [`writing`]: everything in `servers/`; [`certificates`]: a private authority, for trying things out;
//! - [`summary`]: the README.

pub mod certificates;
pub mod folder;
pub mod issuing;
pub mod settings;
pub mod summary;
pub mod writing;

pub use folder::AccessFolder;
pub use settings::AccessSettings;
