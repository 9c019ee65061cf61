use super::fetching::{Arriving, fill, fill_from_file};
use super::sending::cut_store;
use super::*;
use crate::pieces::{Sizes, cut};
use daybook_runtime::store::{Backend, Changes, Row, Store};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

fn store(path: &Path, put: Vec<Row>) -> Store {
    let (store, _) = Store::open(Backend::default(), path).unwrap();
    store.commit(Arc::new(Changes { put, remove: vec![] })).unwrap();
    store
}

/// The manifest of a store's rows, and the pieces that are not `known`.
fn pieces(store: Store, known: BTreeMap<PieceId, u32>) -> (Manifest, Vec<(PieceId, Vec<u8>)>) {
    let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let cutting = std::thread::spawn(move || cut_store(&store, &known, &sender));
    let sent = std::iter::from_fn(|| receiver.blocking_recv()).collect();
    (cutting.join().unwrap().unwrap(), sent)
}

fn rows(store: &Store) -> Vec<Row> {
    store.scan().unwrap().map(Result::unwrap).collect()
}

#[test]
fn snapshots_are_told_apart_by_partition() {
    for name in [object_name, earlier_name] {
        assert_eq!(position_of(Partition(1), &name(Partition(1), LogSeq(7))), Some(LogSeq(7)));
        assert_eq!(position_of(Partition(1), &name(Partition(11), LogSeq(7))), None);
    }
    assert_eq!(position_of(Partition(1), "partition-1"), None, "of an earlier build");
    assert_eq!(manifest_of(&object_name(Partition(11), LogSeq(7))), Some((Partition(11), LogSeq(7))));
    assert_eq!(manifest_of(&earlier_name(Partition(11), LogSeq(7))), None);
}

#[test]
fn rows_come_back_as_they_were_whatever_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let put: Vec<_> = (0..5_000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; n as usize % 500])).collect();
    let (manifest, sent) = pieces(store(&folder.path().join("one"), put.clone()), BTreeMap::new());
    assert!(sent.len() > 5 && sent.len() == manifest.pieces.len());
    let stored: BTreeMap<_, _> = sent.into_iter().collect();
    for backend in Backend::ALL {
        let (other, _) = Store::open(backend, &folder.path().join(backend.name())).unwrap();
        let (sender, receiver) = mpsc::channel(manifest.pieces.len());
        for piece in &manifest.pieces {
            sender.try_send(piece.unpack(&stored[&piece.id]).unwrap().into()).unwrap();
        }
        drop(sender);
        fill(&other, Arriving { receiver, piece: Bytes::new() }).unwrap();
        assert_eq!(rows(&other), put);
    }
}

#[test]
fn what_is_known_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut put: Vec<_> = (0..50_000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 100])).collect();
    let (before, _) = pieces(store(&folder.path().join("one"), put.clone()), BTreeMap::new());
    put[25_000].1 = vec![7; 120];
    let known = before.pieces.iter().map(|piece| (piece.id, piece.stored)).collect();
    let (after, sent) = pieces(store(&folder.path().join("two"), put), known);
    assert!((1..=3).contains(&sent.len()) && before.pieces.len() > 40, "{} of {}", sent.len(), before.pieces.len());
    let new: Vec<_> = after.pieces.iter().filter(|piece| !before.pieces.contains(piece)).map(|it| it.id).collect();
    assert_eq!(new, sent.iter().map(|(id, _)| *id).collect::<Vec<_>>());
}

#[test]
fn a_snapshot_of_an_earlier_build_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let put: Vec<_> = (0..500_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; n as usize])).collect();
    let mut bytes = Vec::new();
    let all = put.iter().map(|(key, value)| Ok::<_, SnapshotError>((key, value)));
    cut(all, Sizes::STORED, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    let file = folder.path().join("snapshot");
    let mut compressed = zstd::stream::encode_all(bytes.as_slice(), 1).unwrap();
    std::fs::write(&file, &compressed).unwrap();
    let one = store(&folder.path().join("one"), vec![]);
    fill_from_file(&one, &file).unwrap();
    assert_eq!(rows(&one), put);
    compressed.truncate(compressed.len() - 3);
    std::fs::write(&file, compressed).unwrap();
    assert!(fill_from_file(&store(&folder.path().join("two"), vec![]), &file).is_err());
}
