//! A few seconds of torture for each backend; `just torture` is the long one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use daybook_runtime::store::Backend;
use daybook_torture::kills::torture;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_torture");
/// How long one backend is tortured.
const DURATION: Duration = Duration::from_secs(4);
/// Kills that there must have been in that time, even where the machine is busy.
const FEWEST_KILLS: u64 = 3;

fn survives_kills(backend: Backend) {
    let began = Instant::now();
    let outcome = torture(Path::new(BINARY), backend, 7, |kills| kills < FEWEST_KILLS || began.elapsed() < DURATION);
    assert!(outcome.is_sound(), "{outcome:?}");
    assert!(outcome.checkpoints > outcome.kills, "{outcome:?}");
}

#[test]
fn sled_survives_kills() {
    survives_kills(Backend::Sled);
}

#[test]
fn fjall_survives_kills() {
    survives_kills(Backend::Fjall);
}

fn survives_a_full_disk(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    // The signal ends who does not ignore it, and what is ignored stays so.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY, "full", "--seed", "3", "--store", backend.name()])
        .arg("--folder")
        .arg(folder.path().join("p0"))
        .output()
        .unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.ends_with("whole\n"), "{}\n{told}\n{errors}", output.status);
}

#[test]
fn sled_survives_a_full_disk() {
    survives_a_full_disk(Backend::Sled);
}

#[test]
fn fjall_survives_a_full_disk() {
    survives_a_full_disk(Backend::Fjall);
}
