//! Chaos on the real thing: separate processes on a cluster of three brokers, under load, while faults strike.
//!
//! A [`run`](mod@run) starts a [`cluster`], whose brokers reach each other through [`link`]s that can be cut, and a
//! [`fleet`] of two processes of each service. Producers ([`load`]) publish [`event`]s for some [`tenants`], readers
//! ([`reading`]) ask, and a clock that is driven closes days. Meanwhile [`strike`] does the [`fault`]s that a seed
//! drew, and a tenant is [`hostile`]. In the end [`check`] compares everything with the naive [`model`], and
//! [`summary`] tells what happened.

#![allow(clippy::missing_panics_doc, reason = "what the tests' processes panic about ends the run, as it should")]

pub mod check;
pub mod cluster;
pub mod event;
pub mod fault;
pub mod fleet;
pub mod hostile;
pub mod link;
pub mod load;
pub mod model;
pub mod reading;
pub mod run;
pub mod strike;
pub mod summary;
pub mod tenants;
