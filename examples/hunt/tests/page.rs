//! The script of the pages, on a page of its own: when it opens streams.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// `look/run.sh` looks at whole pages in a browser; this runs where there is none.
#[test]
fn pages_follow_again_what_was_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = folder.join("look/follow.mjs");
    match Command::new("node").arg(script).arg(folder.join("src/web/hunt.js")).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => eprintln!("skipped: there is no node"),
        Err(error) => panic!("{error}"),
    }
}
