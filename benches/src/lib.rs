//! What Daybook's benchmarks are made of: [`work`] to be done, the [`bare`] loop that bounds it, the measurements, and
//! the [`report`] of them.

pub mod apply;
pub mod backfill;
pub mod bare;
pub mod day_end;
pub mod durable;
pub mod fleet;
pub mod probe;
pub mod recovery;
pub mod report;
pub mod system;
pub mod work;
