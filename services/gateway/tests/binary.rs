//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway");
const OWN: (&str, &str) = ("max_connections", "DAYBOOK_MAX_CONNECTIONS");
const VALUES: [&str; 3] = ["70", "80", "90"];

include!("../../../tests/src/binary_checks.rs");
