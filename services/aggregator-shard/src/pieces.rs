//! The stored form of snapshots. Rows in order of their keys are one stream of bytes, which is cut into pieces. A piece is
//! named by the hash of its bytes, and a snapshot is a [`Manifest`]: the list of its pieces. So what has not changed since
//! the snapshot before has the names that it had then, and is not stored again. Of a piece that changed a little, only what differs
//! from the earlier one is stored. Nothing here does input or output.
//!
//! Where a piece ends is decided by each row alone, by its key and its length: a change moves no boundary but its own. Long
//! rows end a piece more often than short ones, so pieces are about equally large whatever the rows are.

mod reuse;

pub use reuse::{Cut, Found, Known, NewPiece};

use crate::snapshots::error::SnapshotError;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, Read};
use std::str::FromStr;

/// Longest key of a snapshot, in bytes: the longest of a store, with three names, has some two hundred.
const MAX_KEY_BYTES: u32 = 1 << 10;
/// Largest row of a snapshot, in bytes: a page of a store is far below.
const MAX_ROW_BYTES: u32 = 1 << 30;
/// Stands in place of a key's length behind the last row; the number of rows follows.
const END: u32 = u32::MAX;
/// Zstandard's level: a snapshot is made beside the live work.
const LEVEL: i32 = 1;
/// The same for what differs from another piece: the first two levels do not find all that is alike in a piece of 100 kB.
const LEVEL_OF_DIFFERENCE: i32 = 3;
/// Length of a hash.
const HASH_BYTES: usize = 32;
/// Version of the form of a manifest.
const FORMAT: u8 = 1;
/// Largest piece as it is stored: one that does not shrink becomes a little longer.
const MAX_STORED_BYTES: u32 = (1 << 18) + (1 << 12);
/// Longest manifest, in bytes: that of a store of a hundred gigabytes. Longer ones are neither written nor read.
pub const MAX_MANIFEST_BYTES: usize = 1 << 26;

/// How large pieces are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// On average.
    pub usual: usize,
    /// At most. A longer row is divided, and no other one is.
    pub most: usize,
}

impl Sizes {
    /// Those of snapshots on the broker. Smaller pieces cost a longer manifest, larger ones more bytes for a row that changes. The
    /// largest is a quarter of the longest message that brokers accept unless told otherwise.
    pub const STORED: Self = Self { usual: 1 << 16, most: 1 << 18 };

    /// Whether a piece ends behind a row that takes so many bytes.
    fn end_behind(self, key: &[u8], bytes: usize) -> bool {
        let hash = blake3::hash(key);
        let drawn = u32::from_be_bytes(hash.as_bytes()[..4].try_into().expect("four bytes of 32"));
        (u128::from(drawn) * self.usual as u128) >> 32 < bytes as u128
    }
}

/// The BLAKE3 hash of the bytes of a piece, before they are compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceId([u8; HASH_BYTES]);

impl PieceId {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for PieceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PieceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PieceId {
    type Err = NoPieceName;

    /// Reads what [`fmt::Display`] writes. Upper case would be a second name of the same piece.
    fn from_str(text: &str) -> Result<Self, NoPieceName> {
        match blake3::Hash::from_hex(text) {
            Ok(hash) if !text.bytes().any(|byte| byte.is_ascii_uppercase()) => Ok(Self(*hash.as_bytes())),
            _ => Err(NoPieceName),
        }
    }
}

/// A text that names no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a piece is one or two hashes in lower case")]
pub struct NoPieceName;

/// The name under which a piece is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceName {
    pub id: PieceId,
    /// The piece that it is to be read with, if only what differs from that is stored. That one is stored as a whole.
    pub base: Option<PieceId>,
}

impl PieceName {
    /// That of a piece which is stored as a whole.
    pub fn whole(id: PieceId) -> Self {
        Self { id, base: None }
    }
}

impl fmt::Display for PieceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            None => self.id.fmt(f),
            Some(base) => write!(f, "{}-{base}", self.id),
        }
    }
}

impl FromStr for PieceName {
    type Err = NoPieceName;
    fn from_str(text: &str) -> Result<Self, NoPieceName> {
        match text.split_once('-') {
            None => Ok(Self::whole(text.parse()?)),
            Some((id, base)) => Ok(Self { id: id.parse()?, base: Some(base.parse()?) }),
        }
    }
}

/// A piece of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub name: PieceName,
    /// How many bytes it has.
    pub bytes: u32,
    /// How many it takes where it is stored.
    pub stored: u32,
}

impl Piece {
    /// Compresses the bytes of a piece.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn pack(bytes: &[u8]) -> std::io::Result<(Self, Vec<u8>)> {
        let packed = zstd::bulk::compress(bytes, LEVEL)?;
        let name = PieceName::whole(PieceId::of(bytes));
        Ok((Self { name, bytes: bytes.len() as u32, stored: packed.len() as u32 }, packed))
    }

    /// How many bytes it takes in a [`Manifest`].
    fn listed_bytes(&self) -> usize {
        HASH_BYTES + 4 + 4 + 1 + self.name.base.map_or(0, |_| HASH_BYTES)
    }

    /// What differs in this piece, of which these are the bytes, from the bytes of another one. `None` unless that takes less than
    /// half of the whole.
    pub fn pack_against(&self, bytes: &[u8], base: PieceId, of_base: &[u8]) -> Option<(Self, Vec<u8>)> {
        let packed =
            zstd::bulk::Compressor::with_dictionary(LEVEL_OF_DIFFERENCE, of_base).ok()?.compress(bytes).ok()?;
        let name = PieceName { base: Some(base), ..self.name };
        let piece = Self { name, stored: packed.len() as u32, ..*self };
        (piece.stored < self.stored / 2).then_some((piece, packed))
    }

    /// The bytes of this piece, with those of its base if it has one; `None` when what is stored is something else.
    pub fn unpack(&self, packed: &[u8], of_base: &[u8]) -> Option<Vec<u8>> {
        let length = self.bytes as usize;
        let bytes = match self.name.base {
            None => zstd::bulk::decompress(packed, length).ok()?,
            Some(_) => zstd::bulk::Decompressor::with_dictionary(of_base).ok()?.decompress(packed, length).ok()?,
        };
        (PieceId::of(&bytes) == self.name.id).then_some(bytes)
    }
}

/// The list of a snapshot's pieces: their bytes, one after the other, are its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub pieces: Vec<Piece>,
}

impl Manifest {
    /// Of each piece its hash, its two lengths, how many bases it has, and the hash of that.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        for Piece { name, bytes: length, stored } in &self.pieces {
            bytes.extend_from_slice(&name.id.0);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&stored.to_be_bytes());
            bytes.push(name.base.is_some().into());
            bytes.extend(name.base.iter().flat_map(|base| base.0));
        }
        bytes
    }

    /// `None` when the bytes are no manifest, or one of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[FORMAT])?;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let id = PieceId(*take_first(&mut rest)?);
            let [bytes, stored] = [take_first(&mut rest)?, take_first(&mut rest)?].map(|it| u32::from_be_bytes(*it));
            let base = match take_first(&mut rest)? {
                [0] => None,
                [1] => Some(PieceId(*take_first(&mut rest)?)),
                _ => return None,
            };
            if !(1..=Sizes::STORED.most as u32).contains(&bytes) || stored > MAX_STORED_BYTES {
                return None;
            }
            pieces.push(Piece { name: PieceName { id, base }, bytes, stored });
        }
        (!pieces.is_empty()).then_some(Self { pieces })
    }

    /// Whether everything that it needs is among what is `there`.
    pub fn is_complete(&self, there: &BTreeSet<PieceName>) -> bool {
        self.names().all(|name| there.contains(&name))
    }

    /// The names of everything that must be stored for it to be read; some may come more than once.
    pub fn names(&self) -> impl Iterator<Item = PieceName> {
        let bases = self.pieces.iter().filter_map(|piece| piece.name.base).map(PieceName::whole);
        self.pieces.iter().map(|piece| piece.name).chain(bases)
    }

    /// How many bytes its pieces take where they are stored, without the bases of some.
    pub fn stored_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.stored)).sum()
    }
}

/// A manifest that is being made, no longer than readers take.
#[derive(Debug)]
pub struct Listing {
    manifest: Manifest,
    bytes: usize,
    most: usize,
}

impl Default for Listing {
    fn default() -> Self {
        Self::within(MAX_MANIFEST_BYTES)
    }
}

impl Listing {
    /// Of at most so many bytes.
    fn within(most: usize) -> Self {
        Self { manifest: Manifest::default(), bytes: 1, most }
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// When the list would become too long.
    pub fn add(&mut self, piece: Piece) -> Result<(), SnapshotError> {
        self.bytes += piece.listed_bytes();
        if self.bytes > self.most {
            return Err(SnapshotError::TooLarge { pieces: self.manifest.pieces.len(), most: self.most });
        }
        self.manifest.pieces.push(piece);
        Ok(())
    }

    /// The list of all that was added.
    pub fn finish(self) -> Manifest {
        self.manifest
    }
}

/// Takes so many bytes off the beginning.
fn take_first<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (first, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(first)
}

/// Hands `take` the bytes of the rows piece by piece. Of each row they are the lengths of key and value in four bytes each, then
/// both; at the end stands how many rows there are.
///
/// # Errors
/// Those of `rows` and of `take`.
pub fn cut<K: AsRef<[u8]>, V: AsRef<[u8]>, E>(
    rows: impl Iterator<Item = Result<(K, V), E>>,
    sizes: Sizes,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut piece = Vec::with_capacity(sizes.most);
    let mut count: u32 = 0;
    for row in rows {
        let (key, value) = row?;
        let (key, value) = (key.as_ref(), value.as_ref());
        let bytes = 8 + key.len() + value.len();
        if !piece.is_empty() && piece.len() + bytes > sizes.most {
            take(&piece)?;
            piece.clear();
        }
        count += 1;
        piece.extend_from_slice(&(key.len() as u32).to_be_bytes());
        piece.extend_from_slice(&(value.len() as u32).to_be_bytes());
        piece.extend_from_slice(key);
        piece.extend_from_slice(value);
        while piece.len() > sizes.most {
            take(&piece[..sizes.most])?;
            piece.drain(..sizes.most);
        }
        if sizes.end_behind(key, bytes) {
            take(&piece)?;
            piece.clear();
        }
    }
    if piece.len() + 8 > sizes.most {
        take(&piece)?;
        piece.clear();
    }
    piece.extend_from_slice(&END.to_be_bytes());
    piece.extend_from_slice(&count.to_be_bytes());
    take(&piece)
}

/// What takes the rows of a snapshot, one after the other.
pub type Take<'t> = &'t mut dyn FnMut((Vec<u8>, Vec<u8>)) -> Result<(), SnapshotError>;

/// Hands the rows of a snapshot to `take`. Some may have been taken when it fails.
///
/// # Errors
/// When the bytes are not those that [`cut`] makes of rows, and those of `take`.
pub fn read_rows(mut reader: impl Read, take: Take<'_>) -> Result<(), SnapshotError> {
    let invalid = || SnapshotError::File(std::io::ErrorKind::InvalidData.into());
    let mut head = [0; 8];
    let mut rows: u32 = 0;
    loop {
        reader.read_exact(&mut head)?;
        let length = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes of eight"));
        let (key, value) = (length(&head[..4]), length(&head[4..]));
        if key == END {
            return if value == rows { Ok(()) } else { Err(invalid()) };
        }
        rows += 1;
        if key > MAX_KEY_BYTES || value > MAX_ROW_BYTES {
            return Err(invalid());
        }
        // Memory is taken for what is there, not for what the lengths say.
        let mut part = |length: u32| {
            let mut bytes = Vec::new();
            match reader.by_ref().take(length.into()).read_to_end(&mut bytes)? {
                read if read == length as usize => Ok(bytes),
                _ => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            }
        };
        take((part(key)?, part(value)?))?;
    }
}

/// As [`read_rows`], of a snapshot as earlier builds stored it: all of its bytes in one, compressed.
///
/// # Errors
/// As [`read_rows`], and when the bytes are not compressed ones.
pub fn read_file(file: impl BufRead, take: Take<'_>) -> Result<(), SnapshotError> {
    read_rows(zstd::stream::read::Decoder::with_buffer(file)?, take)
}

#[cfg(test)]
mod tests;
