//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

const PROGRAM: &str = env!("CARGO_BIN_EXE_day-manager");
const OWN: (&str, &str) = ("tick_interval_ms", "DAYBOOK_TICK_INTERVAL_MS");
const VALUES: [&str; 3] = ["70", "80", "90"];

include!("../../../tests/src/binary_checks.rs");
