//! A treasure hunt: an application that people use, on Daybook's public doors.
//!
//! Read it in this order: [`rules`] (what organisers write), [`game`] (what follows from it, pure), [`node`] (processes that run it,
//! exactly), [`web`] (its doors and pages), [`play`] (people at play, and a plain recomputation). `docs/HUNT.md` is for organisers.

pub mod cli;
pub mod game;
pub mod node;
pub mod play;
pub mod rules;
pub mod web;
