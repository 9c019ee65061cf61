//! From the groups of a view to the rows of an answer: pure, and the same for live days (aggregator-shard) and for
//! sealed ones (query).
//!
//! A [`Query`](daybook_contracts::ask::Query) is checked against the view's plan and becomes a [`Question`]. Whoever
//! has the groups adds them to a [`Rollup`], which answers with a [`Page`]. Where a view's own ranking is asked for as
//! it stands, a [`RankIndex`] that is kept up to date gives the same page without looking at every group.
//!
//! Read in this order:
//! - [`question`]: what may be asked, and every mistake that can be made in asking;
//! - `order`: which rows come first, as sort keys, and `key`: how these are written as bytes;
//! - `cursor`: a sort key on its way to the client and back;
//! - [`rollup`]: groups merged, filtered, sorted and cut;
//! - `page`: rows, within the bounds of an answer;
//! - [`ranking`]: positions and ranks;
//! - [`ranked`]: a set that knows the place of each of a million keys, and [`index`]: a ranking kept in one.

mod cursor;
pub mod index;
mod key;
mod order;
mod page;
pub mod question;
pub mod ranked;
pub mod ranking;
pub mod rollup;
#[cfg(test)]
mod tests;

pub use cursor::{Cursor, MAX_CURSOR_BYTES};
pub use index::{RankIndex, Ranked, Start};
pub use page::Page;
pub use question::Question;
pub use ranked::RankedSet;
pub use rollup::{MAX_GROUPS, Rollup};
