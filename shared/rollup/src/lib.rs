//! From the groups of a view to the rows of an answer: pure, and the same for live days (aggregator-shard) and for
//! sealed ones (query).

pub mod ranked;

pub use ranked::RankedSet;
