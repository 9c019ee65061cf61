use super::fetching::{Arriving, fill, fill_from_file, gather};
use super::sending::cut_store;
use super::*;
use crate::pieces::{Cut, Known, NewPiece, Sizes, cut};
use daybook_runtime::store::{Backend, Changes, Row, Store};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

fn store(path: &Path, put: Vec<Row>) -> Store {
    let (store, _) = Store::open(Backend::default(), path).unwrap();
    store.commit(Arc::new(Changes { put, remove: vec![] })).unwrap();
    store
}

/// The pieces of a store's rows.
fn pieces(store: Store, known: Known) -> Vec<Cut> {
    let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let cutting = std::thread::spawn(move || cut_store(&store, known, &sender));
    let pieces = std::iter::from_fn(|| receiver.blocking_recv()).collect();
    cutting.join().unwrap().unwrap();
    pieces
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
    let cut = pieces(store(&folder.path().join("one"), put.clone()), Known::default());
    assert!(cut.len() > 5, "{}", cut.len());
    for backend in Backend::ALL {
        let (other, _) = Store::open(backend, &folder.path().join(backend.name())).unwrap();
        let (sender, receiver) = mpsc::channel(cut.len());
        for cut in &cut {
            let Cut::New(NewPiece { piece, packed, like: None, .. }) = cut else { panic!("{cut:?}") };
            sender.try_send(piece.unpack(packed, b"").unwrap().into()).unwrap();
        }
        drop(sender);
        fill(&other, Arriving { receiver, piece: Bytes::new() }).unwrap();
        assert_eq!(rows(&other), put);
    }
}

#[test]
fn what_is_taken_over_is_committed_by_rows_and_by_bytes() {
    let mebibytes = |count: usize| vec![7_u8; count << 20];
    let sizes = |values: Vec<Vec<u8>>| {
        let mut committed = Vec::new();
        let read = |take: crate::pieces::Take<'_>| values.into_iter().try_for_each(|value| take((vec![1], value)));
        let commit = |changes: Changes| {
            committed.push((changes.put.len(), changes.bytes() >> 20));
            Ok(())
        };
        gather(read, commit).unwrap();
        committed
    };
    // Three rows of 3 MiB have 8 MiB and more, and so has a large one.
    let large = [3, 3, 3, 3, 20, 1].map(mebibytes).into();
    assert_eq!(sizes(large), [(3, 9), (2, 23), (1, 1)]);
    assert_eq!(sizes(vec![vec![1, 2]; 4_100]), [(2_000, 0), (2_000, 0), (100, 0)]);
}

#[test]
fn what_is_known_is_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut put: Vec<_> = (0..50_000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; 100])).collect();
    let new = |cut: &Cut| match cut {
        Cut::New(NewPiece { piece, like, .. }) => Some((*piece, *like)),
        Cut::There(_) => None,
    };
    let before = pieces(store(&folder.path().join("one"), put.clone()), Known::default());
    let manifest = Manifest { pieces: before.iter().map(|cut| new(cut).unwrap().0).collect() };
    put[25_000].1 = vec![7; 120];
    let known = Known::new(manifest.clone(), manifest.names().collect());
    let after = pieces(store(&folder.path().join("two"), put), known);
    let new: Vec<_> = after.iter().filter_map(new).collect();
    assert!((1..=3).contains(&new.len()) && before.len() > 40, "{} of {}", new.len(), before.len());
    // It is like the one that was in its place.
    let ids: BTreeSet<_> = manifest.pieces.iter().map(|piece| piece.name.id).collect();
    assert!(ids.contains(&new[0].1.unwrap()) && !ids.contains(&new[0].0.name.id));
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
