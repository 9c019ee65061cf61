//! The sum of all rows, kept with them in every commit. Rows that come back from disk must add up to it, or they are not
//! those of one commit: one is missing, or is that of an earlier commit.

use super::{Batch, Row, RowSum};
use daybook_contracts::rows::HASH_BYTES;
use std::collections::HashMap;

/// Where a store keeps its ledger. Callers' keys never begin with a zero byte.
pub const KEY: &[u8] = b"\0ledger";
/// Version of the ledger's stored form.
const FORMAT: u8 = 1;
/// Format, rows, bytes and digest.
const STORED_BYTES: usize = 1 + 8 + 8 + 16;

/// A ledger as it is stored.
pub type Stored = [u8; STORED_BYTES];

/// What is known of the rows without holding them: some 60 bytes for each, however long its key is.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// By the hash of the key.
    rows: HashMap<[u8; HASH_BYTES], RowSum>,
    /// Of keys and values.
    bytes: u64,
    /// The sum of the rows' hashes; addition makes their order meaningless, and a row can be taken out again.
    digest: u128,
}

/// By which a row is found.
fn id_of(key: &[u8]) -> [u8; HASH_BYTES] {
    *blake3::hash(key).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

fn digest_of(row: &RowSum) -> u128 {
    u128::from_be_bytes(row.hash)
}

impl Ledger {
    /// Whether this is the row that was committed last under that key.
    pub fn has(&self, key: &[u8], value: &[u8]) -> bool {
        self.rows.get(&id_of(key)) == Some(&RowSum::of(key, value))
    }

    /// Whether the commit changes nothing.
    pub fn holds(&self, batch: &Batch) -> bool {
        batch.iter().all(|(key, value)| {
            let new = value.map(|value| RowSum::of(key, value));
            self.rows.get(&id_of(key)).copied() == new
        })
    }

    /// Takes a commit in.
    pub fn apply(&mut self, batch: &Batch) {
        batch.iter().for_each(|(key, value)| self.set(key, *value));
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.set_sum(key, value.map(|value| RowSum::of(key, value)));
    }

    fn set_sum(&mut self, key: &[u8], row: Option<RowSum>) {
        let id = id_of(key);
        let before = match row {
            Some(row) => self.rows.insert(id, row),
            None => self.rows.remove(&id),
        };
        if let Some(before) = before {
            self.bytes -= u64::from(before.bytes);
            self.digest = self.digest.wrapping_sub(digest_of(&before));
        }
        if let Some(row) = row {
            self.bytes += u64::from(row.bytes);
            self.digest = self.digest.wrapping_add(digest_of(&row));
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What goes with the commit, under [`KEY`].
    pub fn stored(&self) -> Stored {
        let mut stored = [0; STORED_BYTES];
        stored[0] = FORMAT;
        stored[1..9].copy_from_slice(&(self.rows.len() as u64).to_be_bytes());
        stored[9..17].copy_from_slice(&self.bytes.to_be_bytes());
        stored[17..].copy_from_slice(&self.digest.to_be_bytes());
        stored
    }
}

/// A ledger that is made while rows are read, so that they need not be in memory together.
#[derive(Debug, Default)]
pub struct Checking {
    ledger: Ledger,
    stored: Option<Vec<u8>>,
}

impl Checking {
    /// Takes note of the next row and returns it, unless it is the ledger's own.
    pub fn take(&mut self, row: Row) -> Option<Row> {
        if row.0 == KEY {
            self.stored = Some(row.1);
            return None;
        }
        self.ledger.set(&row.0, Some(&row.1));
        Some(row)
    }

    /// Takes note of a row that is not read, of which another row says what it is.
    pub fn pass(&mut self, key: &[u8], row: RowSum) {
        self.ledger.set_sum(key, Some(row));
    }

    /// The ledger of all rows.
    ///
    /// # Errors
    /// Why they are not those of one commit.
    pub fn finish(self) -> Result<Ledger, &'static str> {
        let Self { ledger, stored } = self;
        match stored {
            Some(stored) if stored == ledger.stored() => Ok(ledger),
            None if ledger.rows.is_empty() => Ok(ledger),
            Some(stored) if stored.first() != Some(&FORMAT) => Err("its ledger has an unknown format"),
            Some(_) => Err("its rows do not add up to its ledger"),
            None => Err("it has rows without a ledger"),
        }
    }
}
