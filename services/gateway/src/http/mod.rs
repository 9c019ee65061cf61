//! The protocol: how a request is read, and how a reply is written.
//!
//! - [`query`]: the query of a URL; [`parameters`]: its parameters, and those of the path, each of a form;
//! - [`call`]: a request as a handler has it, and its reply; [`negotiation`]: formats and compression;
//! - [`response`]: a reply on its way out; [`fixed`]: documents that stay as they are.

mod call;
mod fixed;
mod negotiation;
pub(crate) mod parameters;
mod query;
mod response;

pub(crate) use call::{Call, Reply};
pub(crate) use fixed::Fixed;
pub(crate) use negotiation::Format;
pub(crate) use query::pieces;
pub(crate) use response::{finish, respond};
