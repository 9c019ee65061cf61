//! The process that is killed: opens the store and commits one checkpoint after the other.

use crate::rows::{changes, number};
use daybook_runtime::store::{Backend, Store};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to open a store that is in use.
const POLL: Duration = Duration::from_millis(2);

/// Commits for ever, and says each checkpoint's number when it is committed, and how many rows it had.
pub fn run(backend: Backend, folder: &Path, seed: u64) {
    let (store, rows) = loop {
        match Store::open(backend, folder) {
            Ok(opened) => break opened,
            // Whoever looked at it last is still letting go of it; who started this waits no longer than its own test.
            Err(error) => assert!(error.is_locked(), "{error}"),
        }
        std::thread::sleep(POLL);
    };
    let mut number = number(&rows);
    drop(rows);
    let mut out = std::io::stdout();
    loop {
        number += 1;
        let changes = Arc::new(changes(seed, number));
        store.commit(changes.clone()).unwrap();
        writeln!(out, "{number} {}", changes.rows()).unwrap();
        out.flush().unwrap();
    }
}
