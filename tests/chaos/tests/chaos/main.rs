//! A whole Daybook over three brokers, and faults. One program: its tests wait more than they compute, so they run beside each other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod brokers;
mod minute;
