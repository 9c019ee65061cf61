//! Snapshots on the broker. A manifest is refused, or is written as it was read. What an earlier build put, all rows in one,
//! is refused or has rows, and these a state or none.

use super::checkpoints::{framed, restore};
use crate::world::{Rows, world};
use aggregator_shard::pieces::{Manifest, Piece, PieceName, read_file};

pub fn run(data: &[u8]) {
    if let Some(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode(), data);
        assert!(manifest.pieces.iter().all(|piece| piece.unpack(data, data).is_none()), "no manifest has its own hash");
    }
    let mut rows = Rows::new();
    let whole = read_file(data, &mut |row: (Vec<u8>, Vec<u8>)| {
        rows.insert(row.0, row.1);
        Ok(())
    });
    if whole.is_ok() {
        restore(&rows);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let compressed = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("memory is no broken pipe");
    let pieces = [&framed(&world().rows)[..], b"rows"].map(|piece| Piece::pack(piece).expect("there is memory").0);
    let of_base = Piece { name: PieceName { base: Some(pieces[0].name.id), ..pieces[1].name }, ..pieces[1] };
    vec![
        Manifest { pieces: vec![pieces[0], pieces[1], of_base] }.encode(),
        compressed(&framed(&world().rows)),
        compressed(&framed(&Rows::new())),
        zstd::bulk::compress(b"", 1).expect("nothing"),
    ]
}
