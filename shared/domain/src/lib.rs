//! The vocabulary of Daybook, with no I/O, no clock and no randomness.
//!
//! Read in this order:
//! - [`ids`]: tenants, names, partitions and the two kinds of log position;
//! - [`time`]: instants and business dates;
//! - [`calendar`]: a calendar as a table of instants, and looking a day up in it;
//! - [`value`]: exact numbers, and how they are written;
//! - [`catalogue`]: kinds, views and tenants as users define them;
//! - [`alerts`]: what a tenant wants to be told of;
//! - [`mapping`]: rules that make events out of foreign records, as users define them;
//! - [`expression`]: the language of `where` and of metrics;
//! - [`quotas`]: how much one tenant may take;
//! - [`nearest`]: which word was meant;
//! - [`plan`]: a view compiled against its kind;
//! - [`accumulator`]: the group elements that figures are made of, exact and approximate;
//! - `rounding`: reading variances and ratios off them, rounded once.

pub mod accumulator;
pub mod alerts;
pub mod calendar;
pub mod catalogue;
pub mod expression;
pub mod ids;
pub mod mapping;
pub mod nearest;
pub mod plan;
pub mod quotas;
mod rounding;
pub mod time;
pub mod value;
