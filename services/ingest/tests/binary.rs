//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingest");
const OWN: (&str, &str) = ("linger_ms", "DAYBOOK_LINGER_MS");
const VALUES: [&str; 3] = ["7", "8", "9"];

include!("../../../tests/src/binary_checks.rs");
