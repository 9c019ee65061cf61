//! The binary itself: its settings by flag, environment and file.
#![allow(clippy::unwrap_used)]

const PROGRAM: &str = env!("CARGO_BIN_EXE_connect");
const OWN: (&str, &str) = ("sources", "DAYBOOK_SOURCES");
const VALUES: [&str; 3] = ["/a.yaml", "/b.yaml", "/c.yaml"];

include!("../../../tests/src/binary_checks.rs");
