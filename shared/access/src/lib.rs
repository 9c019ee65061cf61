//! Who may do what on the broker, as data. Pure: it reads no clock and no file, and talks to nobody.
//!
//! NATS keeps *accounts* apart: a message leaves one only where the account exports its subject and another imports it.
//! Daybook uses three sorts of them:
//! - the **services' account** (`DAYBOOK`) holds JetStream, the four services and the operator;
//! - an **account for each tenant** imports that tenant's own subjects and nothing else;
//! - the **system account** is for whoever runs the servers.
//!
//! Read in this order:
//! - [`permissions`]: a list of subjects to publish and to subscribe to; [`services`] has one for each service and the
//!   operator, [`tenants`] those of a tenant;
//! - [`sharing`]: what the services' account exports and a tenant's account imports;
//! - [`limits`]: bounds of a tenant's account, and its share of INBOX;
//! - [`keys`]: every account's key, made from one seed; [`jwt`] and [`claims`]: what the operator signs with them;
//!   [`credentials`]: the file that a client connects with;
//! - [`tokens`]: the ledger of what was given out;
//! - [`config`]: a whole nats-server configuration.

pub mod claims;
pub mod config;
pub mod credentials;
pub mod jwt;
pub mod keys;
pub mod limits;
pub mod permissions;
pub mod services;
pub mod sharing;
pub mod tenants;
pub mod tokens;
