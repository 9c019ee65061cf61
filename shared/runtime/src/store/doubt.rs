//! A file in a store's folder that says that a row may not be what was committed. An opening that skips rows checks them only when
//! they are needed. Without this file it would open a store with a damaged row again and again.

use std::io::ErrorKind;
use std::path::Path;

/// Beside the engine's files; none of theirs has this name.
const FILE: &str = "daybook-doubt";

/// Whether there are doubts. Where that cannot be told there are.
pub(super) fn is_there(path: &Path) -> bool {
    path.join(FILE).try_exists().unwrap_or(true)
}

/// Makes the next opening of the store read all of its rows.
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
