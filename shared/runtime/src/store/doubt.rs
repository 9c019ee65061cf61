//! A file in a store's folder that says that some row of it was not what was committed. Rows that are passed when a store is opened
//! are looked at when they are needed: without this, a store with a damaged one would be opened again and again.

use std::io::ErrorKind;
use std::path::Path;

/// Beside the engine's files; none of theirs has this name.
const FILE: &str = "daybook-doubt";

/// Whether there are doubts. Where that cannot be told there are.
pub(super) fn is_there(path: &Path) -> bool {
    path.join(FILE).try_exists().unwrap_or(true)
}

/// Has the store be read whole when it is opened next.
pub(super) fn begin(path: &Path) {
    if let Err(error) = std::fs::write(path.join(FILE), "") {
        tracing::warn!(?path, %error, "a damaged checkpoint store cannot be marked");
    }
}

/// All of it was read and is whole.
pub(super) fn end(path: &Path) {
    if let Err(error) = std::fs::remove_file(path.join(FILE))
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(?path, %error, "a checkpoint store stays marked as damaged");
    }
}
