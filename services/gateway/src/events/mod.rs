//! Events by HTTP: read, checked by the rules of ingest, published, and answered once they are durable.
//!
//! - [`intake`]: pure; makes messages for the broker of what a client sends, and tells what is wrong with the rest;
//! - [`lines`]: pure; cuts NDJSON into lines, in bounded memory;
//! - [`publisher`]: publishes messages, a bounded number ahead of their confirmations;
//! - [`body`]: reads bodies, in bounded time and memory;
//! - [`post`]: the request.

pub(crate) mod body;
pub(crate) mod intake;
pub(crate) mod lines;
pub(crate) mod post;
pub(crate) mod publisher;
