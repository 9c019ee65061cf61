//! What of the newest snapshot the next one is made of.

use super::{Manifest, Piece, PieceId, PieceName};
use std::collections::{BTreeMap, BTreeSet};

/// The pieces of the newest snapshot, for the next one to be made of.
#[derive(Debug, Default)]
pub struct Known {
    pieces: Vec<Piece>,
    by_id: BTreeMap<PieceId, usize>,
    there: BTreeSet<PieceName>,
    /// Behind the one that was found last: pieces come in the order of their rows.
    next: usize,
}

/// What is known of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It need not be stored again.
    There(Piece),
    /// It is new. At its place there was something that it may be like, which is stored as a whole.
    New { like: Option<PieceId> },
}

impl Known {
    /// Of a manifest, as much of which can be read as is `there`.
    pub fn new(manifest: Manifest, there: BTreeSet<PieceName>) -> Self {
        let by_id = manifest.pieces.iter().enumerate().map(|(index, piece)| (piece.name.id, index)).collect();
        Self { pieces: manifest.pieces, by_id, there, next: 0 }
    }

    /// What is known of the next piece.
    pub fn find(&mut self, id: PieceId) -> Found {
        let is_there = |name: PieceName| {
            self.there.contains(&name) && name.base.is_none_or(|base| self.there.contains(&PieceName::whole(base)))
        };
        if let Some(index) = self.by_id.get(&id) {
            self.next = index + 1;
            let piece = self.pieces[*index];
            return if is_there(piece.name) { Found::There(piece) } else { Found::New { like: None } };
        }
        let like = self.pieces.get(self.next).map(|piece| piece.name.base.unwrap_or(piece.name.id));
        self.next += 1;
        Found::New { like: like.filter(|like| is_there(PieceName::whole(*like))) }
    }
}

/// A piece of the rows, on its way to be stored.
#[derive(Debug)]
pub enum Cut {
    /// It is stored already.
    There(Piece),
    /// It is to be stored.
    New(NewPiece),
}

/// A piece that is to be stored.
#[derive(Debug)]
pub struct NewPiece {
    pub piece: Piece,
    pub bytes: Vec<u8>,
    /// The same, compressed.
    pub packed: Vec<u8>,
    /// It may be like this one, which is stored as a whole.
    pub like: Option<PieceId>,
}

impl Cut {
    /// What becomes of the next piece of the rows.
    ///
    /// # Errors
    /// When there is no memory to compress it.
    pub fn of(bytes: &[u8], known: &mut Known) -> std::io::Result<Self> {
        Ok(match known.find(PieceId::of(bytes)) {
            Found::There(piece) => Self::There(piece),
            Found::New { like } => {
                let (piece, packed) = Piece::pack(bytes)?;
                Self::New(NewPiece { piece, bytes: bytes.to_vec(), packed, like })
            }
        })
    }
}

impl NewPiece {
    /// What is stored of it, once the bytes of what it may be like are known: what differs, or else all of it.
    pub fn settle(self, of_like: Option<&[u8]>) -> (Piece, Vec<u8>) {
        let smaller =
            self.like.zip(of_like).and_then(|(like, of_like)| self.piece.pack_against(&self.bytes, like, of_like));
        smaller.unwrap_or((self.piece, self.packed))
    }
}
