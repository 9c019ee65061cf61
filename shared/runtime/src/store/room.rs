//! Whether there is room on the disk, asked before an engine is: sled may never return from a write that found none, and
//! keeps a lock of the whole process while it waits (docs/decisions/0013).

use super::is_full;
use std::fs::File;
use std::io;
use std::path::Path;

/// What an engine may write for a byte of a commit: it writes neighbours anew.
const AMPLIFICATION: u64 = 4;
/// And for the least of commits, in bytes.
const SPARE_BYTES: u64 = 1 << 20;

/// Makes sure that `bytes` can be committed to the store in the folder `path`: as much as that may take is reserved for a
/// moment, in a file beside it. Where that cannot be tried out there counts as room. Blocking.
///
/// # Errors
/// The disk is full, or the file would be larger than is allowed.
pub(super) fn ensure(path: &Path, bytes: usize) -> io::Result<()> {
    let bytes = (bytes as u64).saturating_mul(AMPLIFICATION).saturating_add(SPARE_BYTES);
    match reserve(&path.with_extension("room"), bytes) {
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
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}
