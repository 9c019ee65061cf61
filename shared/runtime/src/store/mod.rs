//! The checkpoint store: rows by key, replaced atomically. It is a disposable cache of `state at position`; the log is
//! the truth. Whatever is wrong with it, it is wiped and made again from a snapshot or the log.
//!
//! [`Store`] is what a shard holds. Beneath it lies an [`Engine`], [`sled`] or [`fjall`], chosen by a [`Backend`]; a
//! folder's [`marker`] says whose it is. An engine is trusted with little: it is opened, read and written behind a
//! [`watch`] that outlasts hangs and panics, asked to write only where there is [`room`], and the [`ledger`] that goes with
//! every commit tells whether the rows that come back are those of one commit.

mod doubt;
mod fjall;
mod handle;
pub mod ledger;
mod marker;
mod room;
mod sled;
#[cfg(test)]
mod tests;
mod watch;

pub use daybook_contracts::rows::{Changes, Pass, Passed, Row, RowSum};
pub use handle::{BLOATED_BYTES, BLOATED_RATIO, Reading, Store};

use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Whose code keeps the rows on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[default]
    Sled,
    Fjall,
}

impl Backend {
    pub const ALL: [Self; 2] = [Self::Sled, Self::Fjall];

    /// Its name in settings and on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => sled::NAME,
            Self::Fjall => fjall::NAME,
        }
    }

    /// The file in its folder that it holds a lock on while it is open.
    fn lock_file(self) -> &'static str {
        match self {
            Self::Sled => sled::LOCK_FILE,
            Self::Fjall => fjall::LOCK_FILE,
        }
    }

    fn open(self, path: &Path) -> Result<Box<dyn Engine>, EngineError> {
        match self {
            Self::Sled => Ok(Box::new(sled::Sled::open(path)?)),
            Self::Fjall => Ok(Box::new(fjall::Fjall::open(path)?)),
        }
    }
}

/// What one commit does to each key: the new value, or none.
pub type Batch<'a> = BTreeMap<&'a [u8], Option<&'a [u8]>>;
type Rows = Box<dyn Iterator<Item = Result<Row, EngineError>>>;

/// What keeps rows on disk. Every call blocks, may panic, and may never return.
trait Engine: Send + Sync {
    /// Makes all the changes or none, also over a kill; on return they are on disk.
    fn commit(&self, batch: &Batch) -> Result<(), EngineError>;

    /// The value of a key, as of a commit that has returned; commits may be under way.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Every row from that key on, in order of keys.
    fn scan(&self, from: &[u8]) -> Rows;
}

/// By key, each once: engines differ in what they make of a key that is there twice. Keys that are the store's own are
/// passed over.
pub fn batch(changes: &Changes) -> Batch<'_> {
    let removed = changes.remove.iter().map(|key| (key.as_slice(), None));
    let put = changes.put.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
    removed.chain(put).filter(|(key, _)| *key != ledger::KEY).collect()
}

/// An engine's own error.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Sled(#[from] ::sled::Error),
    #[error(transparent)]
    Fjall(#[from] ::fjall::Error),
}

impl EngineError {
    fn is_locked(&self) -> bool {
        match self {
            Self::Sled(error) => sled::is_locked(error),
            Self::Fjall(error) => matches!(error, ::fjall::Error::Locked),
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Sled(::sled::Error::Io(io)) => is_full(io.kind()),
            Self::Sled(_) => false,
            Self::Fjall(::fjall::Error::Io(io)) => is_full(io.kind()),
            Self::Fjall(error) => std::iter::successors(std::error::Error::source(error), |error| error.source())
                .filter_map(|error| error.downcast_ref::<io::Error>())
                .any(|io| is_full(io.kind())),
        }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The store failed. [`StoreError::may_pass`] tells whether it is worth another try; if not, [`wipe`] it and begin again
/// from a snapshot or the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("checkpoint store {path:?} cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: EngineError,
    },
    #[error("checkpoint store {0:?} is in use")]
    Locked(PathBuf),
    #[error("checkpoint store {path:?} was made by {found:?}, and this is {expected:?}")]
    Format { path: PathBuf, found: String, expected: String },
    #[error("checkpoint store {path:?} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error("checkpoint store {path:?} hung or panicked while {doing}")]
    Hung { path: PathBuf, doing: &'static str },
    #[error("opening the checkpoint store {path:?} was given up: nobody waits for it any more")]
    GivenUp { path: PathBuf },
    #[error("what the checkpoint store {path:?} holds cannot be used: {why}")]
    Unusable { path: PathBuf, why: String },
    #[error("no room for a commit to the checkpoint store {path:?}")]
    NoRoom {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a commit to the checkpoint store failed")]
    Commit(#[source] EngineError),
    #[error("the folder of checkpoint store {path:?}")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Whether someone else has the store open, which is no damage.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked(_))
    }

    /// Whether there is no room, which is no damage either.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Commit(source) => source.is_full(),
            Self::NoRoom { .. } => true,
            Self::Folder { source, .. } => is_full(source.kind()),
            _ => false,
        }
    }

    /// Whether the same changes may be committed at another time: the store on disk is taken to be whole.
    pub fn may_pass(&self) -> bool {
        self.is_locked()
            || self.is_full()
            || matches!(self, Self::Commit(_) | Self::Hung { doing: handle::COMMITTING | handle::ASKING, .. })
    }
}

/// Removes a store from disk, and first what is beside it, which would count as complete without it. Blocking.
///
/// # Errors
/// When a folder cannot be removed.
pub fn wipe(path: &Path) -> io::Result<()> {
    remove(&handle::rebuilt(path)).and_then(|()| remove(&handle::retired(path))).and_then(|()| remove(path))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
