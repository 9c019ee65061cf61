//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

const PROGRAM: &str = env!("CARGO_BIN_EXE_query");
const OWN: (&str, &str) = ("shard_timeout_ms", "DAYBOOK_SHARD_TIMEOUT_MS");
const VALUES: [&str; 3] = ["70", "80", "90"];

include!("../../../tests/src/binary_checks.rs");
