//! The routes: one table, from which the router and the OpenAPI document are made.
//!
//! - [`table`]: the routes; [`route`]: what it says of each; [`inputs`]: the parameters that they take; [`schemas`]: bodies and answers,
//!   for the document; [`answers`]: the problems of a route;
//! - [`dispatch`]: everything between a connection and a handler: origins, tokens, rates, methods, errors;
//! - [`openapi`] and [`page`]: the document, and a page to read it; [`documents`]: both as they are served.

mod answers;
mod dispatch;
mod documents;
mod inputs;
mod openapi;
mod page;
mod route;
mod schemas;
mod table;

pub(crate) use dispatch::router;
pub(crate) use inputs::QUESTION;
pub use openapi::document;
