//! The process that is killed: opens the store and commits one checkpoint after the other.

use crate::rows::{PASS, Summaries, changes, number};
use daybook_runtime::store::{Backend, Row, Store};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries to open a store that is in use.
const POLL: Duration = Duration::from_millis(2);

/// Commits for ever, and says each checkpoint's number when it is committed, and how many rows it had.
pub fn run(backend: Backend, folder: &Path, seed: u64) {
    let (store, rows): (_, Vec<Row>) = loop {
        match Store::open_passing(backend, folder, PASS, |rows, _| Ok(rows.collect())) {
            Ok(opened) => break opened,
            // Whoever looked at it last is still letting go of it; who started this waits no longer than its own test.
            Err(error) => assert!(error.is_locked(), "{error}"),
        }
        std::thread::sleep(POLL);
    };
    let (mut number, mut summaries) = (number(&rows), Summaries::of(&rows));
    drop(rows);
    let mut out = std::io::stdout();
    loop {
        number += 1;
        let mut changes = changes(seed, number);
        summaries.add_to(&mut changes);
        let changes = Arc::new(changes);
        store.commit(changes.clone()).unwrap();
        writeln!(out, "{number} {}", changes.rows()).unwrap();
        out.flush().unwrap();
    }
}
