//! Connections: bounded in number, in time and in size, before anything of a request is believed.

mod connections;
mod sending;
mod tls;

pub(crate) use connections::{Bounds, Server};
pub use tls::TlsError;
pub(crate) use tls::TlsFiles;
