//! Files that a command writes: each is replaced whole, and one command at a time uses a folder.

use anyhow::Context as _;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Permissions of a file that only its owner reads.
pub const PRIVATE: u32 = 0o600;
/// Permissions of any other file, as far as the process allows them.
pub const SHARED: u32 = 0o666;

/// Puts what `write` writes in the place of a file: whole, or not at all. It is written beside the file under a name that begins with a
/// point, which readers of a folder pass over. `write` brings it to the disk.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, mode: u32, write: impl FnOnce(File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let scratch = path.with_file_name(name);
    // One that an earlier command left behind may have other permissions.
    let _ = fs::remove_file(&scratch);
    let open = OpenOptions::new().create_new(true).write(true).mode(mode).open(&scratch);
    let replaced = open.map_err(anyhow::Error::from).and_then(write).and_then(|()| Ok(fs::rename(&scratch, path)?));
    if replaced.is_err() {
        let _ = fs::remove_file(&scratch);
    }
    replaced.with_context(|| format!("cannot write {}", path.display()))
}

/// Locks a file of a folder, for as long as what is returned is there; `None` while another command has it.
///
/// # Errors
/// When it cannot be opened or locked.
pub fn lock(path: &Path) -> anyhow::Result<Option<File>> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
