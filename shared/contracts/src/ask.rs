//! Questions and answers: `daybook.query.<tenant>.<view>` for clients, and what query asks of the shards for them.
//!
//! - [`DaySelector`]: which days; [`Query`]: what of a view, with [`Pieces`] of time, [`Order`] and ranks;
//! - [`ShardQuestion`]: what query asks of a shard;
//! - [`Answer`] and [`Days`]: what comes back, or [`AskError`].

mod answer;
mod days;
mod error;
mod order;
mod pieces;
mod query;
mod shard;

pub use self::answer::{Answer, AsOf, DayAccount, DayState, Days, Feed, Position};
pub use self::days::{DaySelector, DaysError};
pub use self::error::{AskError, AskErrorCode, Asked};
pub use self::order::{Order, OrderError};
pub use self::pieces::Pieces;
pub use self::query::{Numbers, Query, RankQuery};
pub use self::shard::{Backfilling, ShardQuestion, ViewProgress};

/// The reserved view name under which a tenant's days and their accounts are asked for.
pub const DAYS_VIEW: &str = "~days";
/// The reserved view name under which is asked how far the figures of a tenant reach.
pub const POSITION_VIEW: &str = "~position";
/// Most rows in one answer, and the limit where a question has none. The rest is on further pages.
pub const MAX_ANSWER_ROWS: usize = 10_000;
/// Most bytes of rows in one answer, below the broker's payload limit.
pub const MAX_ANSWER_BYTES: usize = 768 * 1024;
/// Most business days in one question.
pub const MAX_RANGE_DAYS: i32 = 400;
/// Most neighbours on either side of a member.
pub const MAX_AROUND: u32 = 500;
