//! Whether there is room on the disk, asked before an engine is: sled may never return from a write that found none, and
//! keeps a lock of the whole process while it waits (docs/decisions/0013).

use super::is_full;
use std::fs::File;
use std::io;
use std::path::Path;

/// What an engine usually writes for a byte of a commit: it writes neighbours anew.
const USUAL: u64 = 4;
/// And for the least of commits, in bytes.
const USUAL_SPARE: u64 = 1 << 20;
/// What it writes at most: sled writes a page anew that holds sixteen rows, when one of them changes for the tenth time.
const MOST: u64 = 20;
/// What must be left beside that, in bytes, for others that are writing.
const MOST_SPARE: u64 = 16 << 20;

/// Makes sure that `bytes` can be committed to the store in the folder `path`: the disk has as much left as that may take at most,
/// and as much as it usually takes can be reserved for a moment, in a file beside it, for a disk does not tell of quotas and
/// limits. What is reserved is a fifth of what is left, so that it is nobody else's last. Where that cannot be tried out there
/// counts as room. Blocking.
///
/// # Errors
/// The disk is full, or the file would be larger than is allowed.
pub(super) fn ensure(path: &Path, bytes: usize) -> io::Result<()> {
    let bytes = bytes as u64;
    let most = bytes.saturating_mul(MOST).saturating_add(MOST_SPARE);
    let usual = bytes.saturating_mul(USUAL).saturating_add(USUAL_SPARE);
    if let Some(left) = path.parent().and_then(left_on_disk).filter(|left| *left < most) {
        let reason = format!("the disk has {left} bytes left, and writing {bytes} may take {most}");
        return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
    }
    match reserve(&path.with_extension("room"), usual) {
        Err(error) if is_full(error.kind()) => Err(error),
        _ => Ok(()),
    }
}

fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    // First, so that nothing is left of it whenever this ends.
    std::fs::remove_file(path)?;
    allocate(&file, bytes)
}

#[cfg(target_os = "linux")]
fn left_on_disk(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(target_os = "linux"))]
fn left_on_disk(_: &Path) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_fits_and_nothing_is_left_of_asking() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("0");
        ensure(&store, 1_000).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = ensure(&store, 1 << 60).unwrap_err();
        assert!(is_full(error.kind()) && error.to_string().contains("bytes left"), "{error}");
    }
}
