//! Rows of a store, and what a checkpoint does to them: what the machine gives, and a store keeps.

use std::collections::BTreeSet;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Bytes of a row's hash.
pub const HASH_BYTES: usize = 16;

/// Bytes of a stored [`RowSum`].
pub const ROW_SUM_BYTES: usize = size_of::<u32>() + HASH_BYTES;

/// A row is known by this without its being held: one that has it is that row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSum {
    /// Of key and value; of a row that is larger than this number can tell, the largest number.
    pub bytes: u32,
    /// 128 bits of BLAKE3. As bytes, for a number would have to be aligned.
    pub hash: [u8; HASH_BYTES],
}

impl RowSum {
    pub fn of(key: &[u8], value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_be_bytes()).update(key).update(value);
        let hash = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
        Self { bytes: u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX), hash }
    }

    /// As it is stored: the number, and the hash.
    pub fn to_bytes(self) -> [u8; ROW_SUM_BYTES] {
        let mut packed = [0; ROW_SUM_BYTES];
        let (bytes, hash) = packed.split_at_mut(size_of::<u32>());
        bytes.copy_from_slice(&self.bytes.to_be_bytes());
        hash.copy_from_slice(&self.hash);
        packed
    }

    pub fn from_bytes(packed: &[u8; ROW_SUM_BYTES]) -> Self {
        let [a, b, c, d, hash @ ..] = *packed;
        Self { bytes: u32::from_be_bytes([a, b, c, d]), hash }
    }
}

/// Rows that need not be read when a store is opened, because the row before them says what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub rows: Vec<(Vec<u8>, RowSum)>,
    /// No other row is before this key.
    pub next: Vec<u8>,
}

/// Tells which rows behind a row need not be read.
pub type Pass = fn(&Row) -> Option<Passed>;

/// What a checkpoint changes. A key that is both put and removed is put.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    pub put: Vec<Row>,
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

    /// These changes and then `later` ones, as one.
    pub fn then(&mut self, later: Self) {
        let put = later.put.iter().map(|(key, _)| key.as_slice());
        let touched: BTreeSet<&[u8]> = put.chain(later.remove.iter().map(Vec::as_slice)).collect();
        self.put.retain(|(key, _)| !touched.contains(key.as_slice()));
        self.put.extend(later.put);
        self.remove.extend(later.remove);
    }
}
