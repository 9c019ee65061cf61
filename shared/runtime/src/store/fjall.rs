//! fjall 3.1: a log-structured tree with a journal. A batch is one record of the journal, between a start and an end
//! with a checksum; one without its end is cut off when the store is opened. With `SyncData` it returns after
//! `fdatasync`. After any failed write a database refuses all further ones until it is opened anew.

use super::{Batch, Engine, EngineError, Rows};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

pub(super) const NAME: &str = "fjall";
pub(super) const LOCK_FILE: &str = "lock";
const KEYSPACE: &str = "rows";
/// Block cache for one partition, in bytes. Rows are read when a shard starts, and pages of closed days when late events need them.
const CACHE_BYTES: u64 = 8 << 20;
/// Bytes of rows that are kept in memory until they become a table; the default of 64 MiB is too much for each partition.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Bytes of journals that may lie about, fjall's least.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Threads for each partition that make tables and merge them: a checkpoint is seldom in a hurry.
const WORKERS: usize = 1;

pub(super) struct Fjall {
    db: Database,
    rows: Keyspace,
}

impl Fjall {
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let db = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKERS)
            .open()?;
        let rows = db.keyspace(KEYSPACE, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES))?;
        Ok(Self { db, rows })
    }
}

impl Engine for Fjall {
    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut changes = self.db.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(&self.rows, *key, *value),
                None => changes.remove(&self.rows, *key),
            }
        }
        Ok(changes.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.rows.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8]) -> Rows {
        // Only one of all rows is of one moment.
        let rows = if from.is_empty() { self.rows.iter() } else { self.rows.range(from.to_vec()..) };
        Box::new(rows.map(|row| {
            let (key, value) = row.into_inner()?;
            Ok((key.to_vec(), value.to_vec()))
        }))
    }
}
