//! Who asks, and what they may do.
//!
//! - [`Grant`]: what a token allows; [`keys`]: API keys, stored hashed; [`jwt`]: signed tokens, and [`jwks`] the keys that
//!   sign them; [`spki`]: public keys in PEM;
//! - [`doorkeeper`]: finds the grant of a request; [`permit`]: whether what it began may go on; [`fetching`]: keys from a URL;
//!   [`watching`]: loads the keys, and follows those that change; [`caller`]: who may ask without a token;
//! - [`meter`]: how often a token may ask, and how many requests of a tenant may be under way.

mod caller;
pub(crate) mod doorkeeper;
mod fetching;
mod grant;
mod jwks;
mod jwt;
pub mod keys;
mod meter;
mod permit;
mod spki;
pub(crate) mod watching;

pub(crate) use caller::check_caller;
pub use caller::is_local;
pub use grant::{Grant, Scope, ScopeError, Tenants};
pub(crate) use meter::{Meter, Rate, Turn, UnderWay, Use};
pub(crate) use permit::Permit;
