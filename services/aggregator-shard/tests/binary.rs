//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

const PROGRAM: &str = env!("CARGO_BIN_EXE_aggregator-shard");
const OWN: (&str, &str) = ("data", "DAYBOOK_SHARD_DATA");
const VALUES: [&str; 3] = ["/data/a", "/data/b", "/data/c"];

include!("../../../tests/src/binary_checks.rs");
