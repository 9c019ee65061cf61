//! The checkpoint store: rows by key, replaced atomically. It is a disposable cache of `state at position`; the log is
//! the truth. Whatever is wrong with it, it is wiped and made again from the log.
//!
//! sled 0.34.7, as measured: one tree and one `apply_batch` a checkpoint is atomic over `kill -9`; each batch pins
//! crossbeam-epoch once, so after it the collector is pumped or memory grows without end; opening a damaged file can
//! panic or hang, so it happens on a thread of its own with a deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long opening may take before the store counts as damaged.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// sled's page cache for one partition, in bytes. Rows are read once, when a shard starts.
const CACHE_BYTES: u64 = 8 << 20;

/// What a checkpoint changes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    pub remove: Vec<Vec<u8>>,
}

impl Changes {
    pub fn rows(&self) -> usize {
        self.put.len() + self.remove.len()
    }

    pub fn bytes(&self) -> usize {
        self.put.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
            + self.remove.iter().map(Vec::len).sum::<usize>()
    }
}

/// The store failed. The remedy is always the same: [`wipe`] it and begin again from the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("checkpoint store {path:?} cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: sled::Error,
    },
    #[error("checkpoint store {0:?} did not open within {OPEN_DEADLINE:?} or panicked")]
    Hung(PathBuf),
    #[error("checkpoint store failed")]
    Failed(#[from] sled::Error),
}

impl StoreError {
    /// Whether someone else has the store open, which is no damage.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Open { source: sled::Error::Io(io), .. } if io.to_string().contains("could not acquire lock"))
    }
}

/// The checkpoint store of one partition, on sled.
#[derive(Debug, Clone)]
pub struct Store {
    db: sled::Db,
}

impl Store {
    /// Opens or makes the store in the folder `path`. Blocking.
    ///
    /// # Errors
    /// When it is damaged; [`wipe`] it then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Written when a checkpoint is committed; a timer would write halves of none.
            .flush_every_ms(None);
        // A thread that hangs in here is left behind: nothing can end it.
        std::thread::Builder::new()
            .name("store-open".to_owned())
            .spawn(move || {
                let _ = sender.send(config.open());
            })
            .map_err(|source| StoreError::Open { path: path.to_owned(), source: source.into() })?;
        match receiver.recv_timeout(OPEN_DEADLINE) {
            Ok(Ok(db)) => Ok(Self { db }),
            Ok(Err(source)) => Err(StoreError::Open { path: path.to_owned(), source }),
            Err(_) => Err(StoreError::Hung(path.to_owned())),
        }
    }

    /// Commits all changes or none, and puts them on disk. Blocking.
    ///
    /// # Errors
    /// When the store is damaged or the disk full.
    pub fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        let rows = changes.rows();
        let mut batch = sled::Batch::default();
        for key in changes.remove {
            batch.remove(key);
        }
        for (key, value) in changes.put {
            batch.insert(key, value);
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        for _ in 0..rows / 64 + 4 {
            crossbeam_epoch::pin().flush();
        }
        Ok(())
    }

    /// Every row in order of keys. Blocking.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn scan(&self) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> {
        self.db.iter().map(|row| row.map_err(StoreError::from))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

/// Removes a store from disk. Blocking.
///
/// # Errors
/// When the folder cannot be removed.
pub fn wipe(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
        store.scan().map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect()
    }

    /// Opens a store that was just dropped: sled lets go on a thread of its own, and until then it is in use.
    fn reopen(path: &Path) -> Store {
        let deadline = std::time::Instant::now() + OPEN_DEADLINE;
        loop {
            match Store::open(path) {
                Ok(store) => return store,
                Err(error) => assert!(error.is_locked() && std::time::Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn commits_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p0");
        let store = Store::open(&path).unwrap();
        store
            .commit(Changes {
                put: vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())],
                remove: vec![],
            })
            .unwrap();
        store.commit(Changes { put: vec![(b"a".to_vec(), b"3".to_vec())], remove: vec![b"b".to_vec()] }).unwrap();
        drop(store);
        let store = reopen(&path);
        assert_eq!(rows(&store), [(b"a".to_vec(), b"3".to_vec())]);
        drop(store);
        wipe(&path).unwrap();
        wipe(&path).unwrap();
        assert!(rows(&Store::open(&path).unwrap()).is_empty());
    }

    #[test]
    fn a_store_in_use_is_told_from_a_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p0");
        let held = Store::open(&path).unwrap();
        assert!(Store::open(&path).unwrap_err().is_locked());
        drop(held);
        reopen(&path);
    }

    #[test]
    fn a_damaged_store_never_gives_other_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p0");
        let store = Store::open(&path).unwrap();
        let put: Vec<_> = (0..2_000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 100])).collect();
        store.commit(Changes { put: put.clone(), remove: vec![] }).unwrap();
        drop(store);
        let db = path.join("db");
        let mut bytes = std::fs::read(&db).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4_096].fill(0xa5);
        std::fs::write(&db, bytes).unwrap();
        // An error, or fewer rows, which the reader of the rows notices by their counts; never rows that were not put.
        if let Ok(store) = Store::open(&path) {
            for (key, value) in store.scan().map_while(Result::ok) {
                assert!(put.contains(&(key.to_vec(), value.to_vec())));
            }
        }
    }
}
