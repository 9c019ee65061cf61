//! What Daybook's benchmarks are made of: [`work`] to be done, the [`bare`] loop that bounds it, the [`system`] that does
//! it, also with a shard [`apart`], the measurements ([`apply`], [`durable`], [`live`], [`reading`], [`listeners`],
//! [`tenants`]), and the [`report`] of them.

pub mod apart;
pub mod apply;
pub mod bare;
pub mod durable;
pub mod hops;
pub mod listeners;
pub mod live;
pub mod load;
pub mod process;
pub mod reading;
pub mod report;
pub mod subscribers;
pub mod system;
pub mod tenants;
pub mod work;
