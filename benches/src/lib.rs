//! What Daybook's benchmarks are made of: [`work`] to be done, the [`bare`] loop that bounds it, the measurements, and
//! the [`report`] of them.

pub mod apply;
pub mod bare;
pub mod check;
pub mod daybook_peer;
pub mod durable;
pub mod export;
pub mod peers;
pub mod report;
pub mod system;
pub mod work;
