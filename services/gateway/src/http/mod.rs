//! The protocol: one table of routes, from which the router and the OpenAPI document are made.
//!
//! - [`table`]: the routes; [`parameters`]: what they take; [`answers`]: what they answer, for the document;
//! - [`dispatch`]: everything between a connection and a handler: origins, tokens, rates, methods, errors;
//! - [`call`]: a request as a handler has it, and its reply; [`negotiation`]: formats and compression;
//! - [`openapi`] and [`page`]: the document, and a page to read it; [`fixed`]: documents that stay as they are;
//! - [`query`]: the query of a URL.

mod answers;
mod call;
mod dispatch;
mod fixed;
mod negotiation;
mod openapi;
mod page;
mod parameters;
mod query;
mod schemas;
mod table;

pub(crate) use call::{Call, Reply};
pub use dispatch::is_local;
pub(crate) use dispatch::{Gateway, finish, respond, router};
pub(crate) use fixed::Fixed;
pub(crate) use negotiation::Format;
pub use openapi::document;
pub(crate) use parameters::{Given, Parameter};
pub(crate) use query::pieces;
pub(crate) use table::QUESTION;
