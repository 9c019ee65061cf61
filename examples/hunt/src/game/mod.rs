//! The game itself, pure: no clock, no network.
//!
//! - [`record`]: what the log holds; [`world`]: the game as a fold over the log, and the events that Daybook gets of it;
//! - [`ask`]: what players and organisers may ask for, and what becomes of it; [`moment`]: what time it is for a team.
//!
//! **Judged once.** A submission has an id of its sender's. The log has one record for it, and its verdict follows from the log
//! and the rules: whoever sends it again gets the verdict of that record.
//!
//! **Who was first** is decided by the broker: solves of all teams are in one stream, and a solve is worth what its place among the
//! earlier solves of the challenge says. No second write is needed, so no crash can come between two.

pub mod ask;
pub mod moment;
pub mod record;
pub mod world;

pub use ask::{Ask, Decision, Refusal, Reply};
pub use moment::Moment;
pub use record::{Entry, Record};
pub use world::{Event, Team, World};

#[cfg(test)]
mod tests;
