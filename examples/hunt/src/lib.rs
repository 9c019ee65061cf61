//! A treasure hunt: an application that people use, on Daybook's public doors.
//!
//! Read it in this order: [`rules`] (what organisers write), [`game`] (what follows from it, pure), [`node`] (processes that run it,
//! exactly), [`lifecycle`] (a hunt from its first rules to its removal), [`web`] (its doors and pages), [`play`] (people at play, and
//! a plain recomputation), [`cli`]. `docs/HUNT.md` is for organisers.

pub mod broker;
pub mod cli;
pub mod game;
pub mod lifecycle;
pub mod node;
pub mod play;
pub mod rules;
pub mod web;
