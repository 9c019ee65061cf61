//! A file in each store's folder that says who made it. An engine that opens another's files may do anything.

use super::{Backend, StoreError};
use std::io::ErrorKind;
use std::path::Path;

/// Beside the engine's files; none of theirs has this name.
const FILE: &str = "daybook-store";
/// Version of what this module and the ledger write, whatever the engine.
const VERSION: u8 = 1;

fn text(backend: Backend) -> String {
    format!("{} {VERSION}", backend.name())
}

/// Makes sure that the folder is `backend`'s; one that is not there or is empty becomes so.
///
/// # Errors
/// [`StoreError::Format`] when it is another's, or of an earlier version.
pub(super) fn claim(backend: Backend, path: &Path) -> Result<(), StoreError> {
    let folder = |source| StoreError::Folder { path: path.to_owned(), source };
    let expected = text(backend);
    let found = match std::fs::read(path.join(FILE)) {
        Ok(found) if found == expected.as_bytes() => return Ok(()),
        Ok(found) => String::from_utf8_lossy(&found).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(path).map_err(folder)?;
            if std::fs::read_dir(path).map_err(folder)?.next().is_none() {
                return std::fs::write(path.join(FILE), expected).map_err(folder);
            }
            "an earlier version".to_owned()
        }
        Err(error) => return Err(folder(error)),
    };
    Err(StoreError::Format { path: path.to_owned(), found, expected })
}
