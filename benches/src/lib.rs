//! What Daybook's benchmarks are made of: [`work`] to be done, the [`bare`] loop that bounds it, the [`system`] that does
//! it, also with a shard [`apart`] as [`services`] with identities of their own, or as a [`fleet`] of processes, the measurements ([`apply`], [`durable`], [`live`],
//! [`reading`], [`askers`], [`listeners`], [`tenants`], [`day_end`], [`recovery`], [`backfill`], [`secured`], [`fairness`], [`peers`]), and the [`report`] of them.

pub mod apart;
pub mod apply;
pub mod askers;
pub mod backfill;
pub mod bare;
pub mod check;
pub mod day_end;
pub mod durable;
pub mod export;
pub mod fairness;
pub mod fleet;
pub mod hops;
pub mod listeners;
pub mod live;
pub mod load;
pub mod month;
pub mod peers;
pub mod probe;
pub mod process;
pub mod reading;
pub mod recovery;
pub mod report;
pub mod secured;
pub mod services;
pub mod subscribers;
pub mod system;
pub mod tenants;
pub mod timing;
pub mod work;
