//! The bodies of the fuzz targets: one for every parser of bytes from outside, with what must hold whatever the bytes.
//!
//! `fuzz/` runs them under libFuzzer; the tests of this package run them over their seeds and some thousand mutations
//! of these ([`mutation`]), so that they stay true without it. [`world`] is what they work on. See docs/FUZZING.md.

pub mod edit;
pub mod mutation;
pub mod targets;
pub mod world;

use std::path::{Path, PathBuf};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the file in `fuzz/fuzz_targets` is called, and the folder of its regressions in `fuzz/corpus-seeds`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// The target called `name`.
    pub fn find(name: &str) -> Option<Self> {
        targets::ALL.into_iter().find(|target| target.name == name)
    }

    /// Inputs that once failed, by file.
    ///
    /// # Errors
    /// When they cannot be read. A target without a folder has none.
    pub fn regressions(&self) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus-seeds").join(self.name);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut paths = std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        paths.into_iter().map(|path| std::fs::read(&path).map(|bytes| (path, bytes))).collect()
    }
}
