//! sled 0.34.7, as measured: one tree and one `apply_batch` a checkpoint is atomic over `kill -9`; each batch pins
//! crossbeam-epoch once, so after it the collector is pumped or memory grows without end; opening a damaged file can
//! panic or hang.

use super::{Batch, Engine, EngineError, Rows};
use std::fs::File;
use std::path::{Path, PathBuf};

pub(super) const NAME: &str = "sled";
/// The database file itself.
pub(super) const LOCK_FILE: &str = "db";
/// sled's page cache for one partition, in bytes. Rows are read when a shard starts, and pages of closed days when late events need them.
const CACHE_BYTES: u64 = 8 << 20;
/// A pump of the collector for so many rows, and a few more.
const ROWS_PER_PUMP: usize = 64;
const PUMPS_AT_LEAST: usize = 4;

pub(super) struct Sled {
    db: sled::Db,
    file: PathBuf,
}

impl Sled {
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Written when a checkpoint is committed; a timer would write halves of none.
            .flush_every_ms(None);
        Ok(Self { db: config.open()?, file: path.join(LOCK_FILE) })
    }
}

/// sled has no name for this error.
pub(super) fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

impl Engine for Sled {
    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(*key, *value),
                None => changes.remove(*key),
            }
        }
        self.db.apply_batch(changes)?;
        self.db.flush()?;
        for _ in 0..batch.len() / ROWS_PER_PUMP + PUMPS_AT_LEAST {
            crossbeam_epoch::pin().flush();
        }
        // sled's flush hands the bytes to the operating system and does not wait for the disk.
        File::open(&self.file).and_then(|file| file.sync_data()).map_err(sled::Error::from)?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8]) -> Rows {
        Box::new(self.db.range(from.to_vec()..).map(|row| {
            let (key, value) = row?;
            Ok((key.to_vec(), value.to_vec()))
        }))
    }
}
