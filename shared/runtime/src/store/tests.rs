//! What must hold for every backend.

use super::handle::{BLOATED_BYTES, wait_until_released};
use super::*;
use std::sync::Arc;

/// Opens a store that was just dropped: until the engine's threads have let go it is in use.
fn reopen(backend: Backend, path: &Path) -> Result<(Store, Vec<Row>), StoreError> {
    wait_until_released(backend, path);
    Store::open(backend, path)
}

fn put(rows: &[(&[u8], &[u8])]) -> Arc<Changes> {
    Arc::new(Changes { put: rows.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect(), remove: vec![] })
}

fn scan(store: &Store) -> Vec<Row> {
    store.scan().unwrap().collect::<Result<_, _>>().unwrap()
}

/// Two checkpoints over the same rows, by which a row of the first among those of the second is told.
fn two_checkpoints() -> [Vec<Row>; 2] {
    [1_u8, 2].map(|n| (0..2_000_u32).map(|key| (key.to_be_bytes().to_vec(), vec![n ^ key as u8; 100])).collect())
}

fn committed(backend: Backend, path: &Path) -> [Vec<Row>; 2] {
    let checkpoints = two_checkpoints();
    let (store, rows) = Store::open(backend, path).unwrap();
    assert!(rows.is_empty());
    for put in &checkpoints {
        store.commit(Arc::new(Changes { put: put.clone(), remove: vec![] })).unwrap();
    }
    drop(store);
    wait_until_released(backend, path);
    checkpoints
}

/// Every file of the engine's that holds anything.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
        match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => files.extend(self::files(&entry.path())),
            metadata if metadata.len() > 0 => files.push(entry.path()),
            _ => {}
        }
    }
    files.sort();
    files
}

/// Does `damage` to each file in turn, and makes sure that what is read afterwards is one checkpoint or none.
fn damage_each_file(backend: Backend, damage: impl Fn(&mut Vec<u8>)) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let [first, second] = committed(backend, &model);
    for number in 0..files(&model).len() {
        let path = folder.path().join(format!("p{number}"));
        committed(backend, &path);
        let file = files(&path)[number].clone();
        let mut bytes = std::fs::read(&file).unwrap();
        damage(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
        match Store::open(backend, &path) {
            Ok((_, rows)) => assert!(rows == second || rows == first || rows.is_empty(), "{file:?}: {}", rows.len()),
            Err(error) => assert!(!error.may_pass(), "{file:?}: {error}"),
        }
        wait_until_released(backend, &path);
        wipe(&path).unwrap();
        assert_eq!(Store::open(backend, &path).unwrap().1, []);
    }
}

fn for_each(test: impl Fn(Backend, &Path)) {
    for backend in Backend::ALL {
        let folder = tempfile::tempdir().unwrap();
        test(backend, &folder.path().join("p0"));
    }
}

#[test]
fn commits_survive_reopening() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        store.commit(put(&[(b"a", b"1"), (b"b", b"2")])).unwrap();
        store
            .commit(Arc::new(Changes { put: vec![(b"a".to_vec(), b"3".to_vec())], remove: vec![b"b".to_vec()] }))
            .unwrap();
        assert_eq!(scan(&store), [(b"a".to_vec(), b"3".to_vec())]);
        assert_eq!(store.live_bytes(), Some(2));
        drop(store);
        let (store, rows) = reopen(backend, path).unwrap();
        assert_eq!(rows, [(b"a".to_vec(), b"3".to_vec())]);
        drop(store);
        wait_until_released(backend, path);
        wipe(path).unwrap();
        wipe(path).unwrap();
        assert!(Store::open(backend, path).unwrap().1.is_empty());
    });
}

#[test]
fn rows_are_read_one_by_one_unless_they_are_not_what_was_committed() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        let keys = |keys: &[&str]| keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>();
        store.commit(put(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4")])).unwrap();
        store.commit(put(&[(b"b", b"5")])).unwrap();
        assert_eq!(store.read(keys(&["c", "b"])).unwrap(), [b"3".to_vec(), b"5".to_vec()]);
        // The row of an earlier commit, one that is gone, and one that never was.
        store.tamper(b"b", Some(b"2"));
        store.tamper(b"d", None);
        for gone in ["b", "d", "e"] {
            let error = store.read(keys(&["a", gone])).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{gone}: {error}");
        }
        assert_eq!(store.read(keys(&["a"])).unwrap(), [b"1".to_vec()]);
        store.commit(put(&[(b"b", b"6"), (b"d", b"6")])).unwrap();
        store.rebuild().unwrap();
        assert_eq!(store.read(keys(&["a", "b", "d"])).unwrap(), [b"1", b"6", b"6"].map(|value| value.to_vec()));
        store.close();
        assert!(store.read(keys(&["a"])).unwrap_err().is_locked());
        store.commit(put(&[(b"e", b"7")])).unwrap();
        assert_eq!(store.read(keys(&["e", "a"])).unwrap(), [b"7".to_vec(), b"1".to_vec()]);
    });
}

/// A row under `s` speaks for the row under `t` that it is of.
fn pass_one((key, value): &Row) -> Option<Passed> {
    let of = key.strip_prefix(b"s")?;
    let passed = [b"t", of].concat();
    let row = RowSum::from_bytes(value.as_slice().try_into().ok()?);
    Some(Passed { rows: vec![(passed.clone(), row)], next: [&passed[..], b"\0"].concat() })
}

/// What speaks for a row.
fn speaking_for(key: &[u8], value: &[u8]) -> Row {
    ([b"s", &key[1..]].concat(), RowSum::of(key, value).to_bytes().to_vec())
}

fn open_passing(backend: Backend, path: &Path) -> Result<(Store, (Vec<Row>, Reading)), StoreError> {
    wait_until_released(backend, path);
    Store::open_passing(backend, path, pass_one, |rows, reading| Ok((rows.collect(), reading)))
}

#[test]
fn rows_that_others_speak_for_are_passed_and_checked_when_they_are_read() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
        let read = [row(b"a", b"1"), speaking_for(b"t1", b"one"), row(b"t3", b"3"), row(b"u", b"4")];
        let passed = row(b"t1", b"one");
        let all = Changes { put: read.iter().chain([&passed]).cloned().collect(), remove: vec![] };
        store.commit(Arc::new(all)).unwrap();
        let live = store.live_bytes();
        drop(store);

        let (store, (rows, reading)) = open_passing(backend, path).unwrap();
        assert_eq!((rows, reading, store.live_bytes()), (read.to_vec(), Reading::Passing, live));
        assert_eq!(store.read(vec![b"t1".to_vec(), b"t3".to_vec()]).unwrap(), [b"one".to_vec(), b"3".to_vec()]);
        assert_eq!(scan(&store).len(), 5);
        store.commit(put(&[(b"u", b"5")])).unwrap();
        store.tamper(b"t1", Some(b"two"));
        drop(store);

        // It is not looked at, but neither given out.
        let (store, (_, reading)) = open_passing(backend, path).unwrap();
        assert_eq!(reading, Reading::Passing);
        let scanned: Vec<_> = store.scan().unwrap().collect();
        assert_eq!(scanned.iter().filter(|row| matches!(row, Err(StoreError::Damaged { .. }))).count(), 1);
        store.tamper(b"t1", None);
        let scanned: Vec<_> = store.scan().unwrap().collect();
        let (last, others) = scanned.split_last().unwrap();
        assert!(
            others.iter().all(Result::is_ok) && matches!(last, Err(StoreError::Damaged { .. })),
            "a row is missing"
        );
        assert!(matches!(store.read(vec![b"t1".to_vec()]), Err(StoreError::Damaged { .. })));
        drop(store);

        // From now on the store is read whole, until it is what it should be.
        let error = open_passing(backend, path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        wait_until_released(backend, path);
        wipe(path).unwrap();
        let (store, (rows, reading)) = open_passing(backend, path).unwrap();
        assert_eq!((rows, reading), (vec![], Reading::Passing));
        store.doubt();
        store.commit(put(&[(b"a", b"1")])).unwrap();
        drop(store);
        for reading in [Reading::Whole, Reading::Passing] {
            let (_, (_, how)) = open_passing(backend, path).unwrap();
            assert_eq!(how, reading);
        }
    });
}

#[test]
fn a_row_that_speaks_for_another_than_is_there_is_damage() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        let (key, value) = speaking_for(b"t1", b"two");
        store.commit(put(&[(&key, &value), (b"t1", b"one")])).unwrap();
        drop(store);
        let error = open_passing(backend, path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(reopen(backend, path).unwrap().1.len(), 2);
    });
}

#[test]
fn rows_that_cannot_be_used_leave_the_store_as_it_is() {
    for_each(|backend, path| {
        let [_, stored] = committed(backend, path);
        let error = Store::open_with(backend, path, |rows| match rows.nth(100) {
            Some(_) => Err::<(), _>("no".to_owned()),
            None => Ok(()),
        });
        assert!(matches!(error.unwrap_err(), StoreError::Unusable { why, .. } if why == "no"));
        // What is not taken counts all the same.
        wait_until_released(backend, path);
        let (_, first) = Store::open_with(backend, path, |rows| Ok(rows.next())).unwrap();
        assert_eq!(first.as_ref(), stored.first());
        assert_eq!(reopen(backend, path).unwrap().1, stored);
    });
}

#[test]
fn a_key_that_is_put_and_removed_is_put() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        store.commit(put(&[(b"a", b"1")])).unwrap();
        store
            .commit(Arc::new(Changes { put: vec![(b"a".to_vec(), b"2".to_vec())], remove: vec![b"a".to_vec()] }))
            .unwrap();
        drop(store);
        assert_eq!(reopen(backend, path).unwrap().1, [(b"a".to_vec(), b"2".to_vec())]);
    });
}

#[test]
fn changes_one_after_the_other_are_as_good_as_both() {
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let mut changes =
        Changes { put: vec![row(b"a", b"1"), row(b"b", b"1"), row(b"c", b"1")], remove: vec![b"d".to_vec()] };
    changes.then(Changes { put: vec![row(b"a", b"2"), row(b"d", b"2")], remove: vec![b"b".to_vec()] });
    let batch = batch(&changes);
    let expected: [(&[u8], Option<&[u8]>); 4] =
        [(b"a", Some(b"2")), (b"b", None), (b"c", Some(b"1")), (b"d", Some(b"2"))];
    assert_eq!(batch, Batch::from(expected));
}

#[test]
fn a_store_in_use_is_told_from_a_damaged_one() {
    for_each(|backend, path| {
        let held = Store::open(backend, path).unwrap();
        let error = Store::open(backend, path).unwrap_err();
        assert!(error.is_locked() && error.may_pass(), "{error}");
        drop(held);
        reopen(backend, path).unwrap();
    });
}

#[test]
fn a_store_that_was_lost_meanwhile_does_not_get_the_changes_alone() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        store.commit(put(&[(b"a", b"1"), (b"b", b"1")])).unwrap();
        store.close();
        store.commit(put(&[(b"b", b"2")])).unwrap();
        assert_eq!(scan(&store), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
        store.close();
        wipe(path).unwrap();
        let error = store.commit(put(&[(b"b", b"3")])).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }) && !error.may_pass(), "{error}");
    });
}

#[test]
fn damage_in_the_middle_never_mixes_checkpoints() {
    for backend in Backend::ALL {
        damage_each_file(backend, |bytes| {
            // fjall's journal is longer than what it holds.
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default() + 1;
            let from = end / 2;
            bytes[from..end.min(from + 4_096)].fill(0xa5);
        });
    }
}

#[test]
fn a_file_cut_short_never_mixes_checkpoints() {
    for backend in Backend::ALL {
        damage_each_file(backend, |bytes| {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default() + 1;
            bytes.truncate(end * 3 / 4);
        });
    }
}

#[test]
fn an_empty_file_never_mixes_checkpoints() {
    for backend in Backend::ALL {
        damage_each_file(backend, Vec::clear);
    }
}

#[test]
fn a_folder_of_the_other_backend_or_of_an_earlier_version_is_of_unknown_format() {
    for (backend, other) in [(Backend::Sled, Backend::Fjall), (Backend::Fjall, Backend::Sled)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p0");
        committed(other, &path);
        let error = Store::open(backend, &path).unwrap_err();
        assert!(matches!(error, StoreError::Format { .. }) && !error.may_pass(), "{error}");
        // Nothing was touched.
        assert_eq!(Store::open(other, &path).unwrap().1.len(), 2_000);
        wait_until_released(other, &path);
        std::fs::remove_file(path.join("daybook-store")).unwrap();
        let error = Store::open(other, &path).unwrap_err();
        assert!(error.to_string().contains("an earlier version"), "{error}");
    }
}

#[test]
fn a_row_of_an_earlier_commit_or_an_unknown_ledger_is_damage() {
    let value = |ledger: &ledger::Ledger| ledger.stored().to_vec();
    let rows = || vec![(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), b"2".to_vec())];
    let good = check(&mut rows_with(rows(), vec![])).unwrap_err();
    assert_eq!(good, "its rows do not add up to its ledger");
    let mut ledger = ledger::Ledger::default();
    ledger.apply(&batch(&put(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"1")])));
    ledger.apply(&batch(&Changes { put: vec![(b"a".to_vec(), b"2".to_vec())], remove: vec![b"c".to_vec()] }));
    let mut whole = rows_with(rows(), value(&ledger));
    assert_eq!(check(&mut whole).unwrap().bytes(), 4);
    assert_eq!(whole, rows());
    let mut stale = rows_with(vec![(b"a".to_vec(), b"1".to_vec()), rows()[1].clone()], value(&ledger));
    assert_eq!(check(&mut stale).unwrap_err(), "its rows do not add up to its ledger");
    let mut missing = rows_with(rows()[1..].to_vec(), value(&ledger));
    assert!(check(&mut missing).is_err());
    let mut unknown = value(&ledger);
    unknown[0] = 2;
    assert_eq!(check(&mut rows_with(rows(), unknown)).unwrap_err(), "its ledger has an unknown format");
    assert_eq!(check(&mut rows()).unwrap_err(), "it has rows without a ledger");
}

fn check(rows: &mut Vec<Row>) -> Result<ledger::Ledger, &'static str> {
    let mut checking = ledger::Checking::default();
    *rows = std::mem::take(rows).into_iter().filter_map(|row| checking.take(row)).collect();
    checking.finish()
}

fn rows_with(rows: Vec<Row>, ledger: Vec<u8>) -> Vec<Row> {
    let ledger = if ledger.is_empty() { vec![1; 33] } else { ledger };
    std::iter::once((ledger::KEY.to_vec(), ledger)).chain(rows).collect()
}

#[test]
fn the_ledgers_stored_form_is_fixed() {
    let mut ledger = ledger::Ledger::default();
    ledger.apply(&batch(&put(&[(b"a", b"1"), (b"b", b"22")])));
    let stored: String = ledger.stored().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(stored, "0100000000000000020000000000000005ece11b6f0dc6eb552a54e627ac1700bb");
}

#[test]
fn a_rebuilt_store_holds_the_same_rows_on_less_disk() {
    for_each(|backend, path| {
        let (store, _) = Store::open(backend, path).unwrap();
        let rows: Vec<Row> = (0..500_u32).map(|key| (key.to_be_bytes().to_vec(), noise(key, 2_000))).collect();
        for round in 0..60 {
            let put = rows.iter().map(|(key, value)| (key.clone(), noise(round, value.len()))).collect();
            store.commit(Arc::new(Changes { put, remove: vec![] })).unwrap();
        }
        store.commit(Arc::new(Changes { put: rows.clone(), remove: vec![] })).unwrap();
        let (before, live) = (store.disk_bytes(), store.live_bytes());
        assert!(!store.is_bloated(), "{before}");
        store.rebuild().unwrap();
        assert!(store.disk_bytes() < before / 2, "{backend:?}: {before}, then {}", store.disk_bytes());
        assert_eq!((scan(&store), store.live_bytes()), (rows.clone(), live));
        store.commit(put(&[(b"x", b"1")])).unwrap();
        drop(store);
        assert_eq!(reopen(backend, path).unwrap().1.len(), rows.len() + 1);
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "what a rebuild needed is gone");
    });
}

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut value = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut value);
    value
}

#[test]
fn a_rebuild_cut_short_leaves_one_store_or_the_other() {
    for_each(|backend, path| {
        committed(backend, path);
        // Before the first rename: what was built so far does not count.
        committed(backend, &path.with_extension("rebuilt"));
        std::fs::remove_file(files(&path.with_extension("rebuilt")).last().unwrap()).unwrap();
        let (store, rows) = Store::open(backend, path).unwrap();
        assert_eq!((rows.len(), path.with_extension("rebuilt").exists()), (2_000, false));
        drop(store);
        wait_until_released(backend, path);
        // Between the two: the new one is complete, and takes its place.
        std::fs::rename(path, path.with_extension("rebuilt")).unwrap();
        std::fs::create_dir(path.with_extension("retired")).unwrap();
        assert_eq!(Store::open(backend, path).unwrap().1.len(), 2_000);
        assert!(!path.with_extension("retired").exists());
    });
}

#[test]
fn a_store_is_bloated_beyond_both_bounds() {
    use super::handle::is_bloated;
    assert!(!is_bloated(BLOATED_BYTES, 0));
    assert!(is_bloated(BLOATED_BYTES + 1, 0));
    let live = BLOATED_BYTES;
    assert!(!is_bloated(live * 15, live));
    assert!(is_bloated(live * 15 + 1, live));
}

#[test]
fn a_store_beside_another_takes_its_place_once_it_is_complete() {
    for_each(|backend, path| {
        let [_, stored] = committed(backend, path);
        // One that was not completed goes, and what it was to replace stays.
        let beside = Store::beside(backend, path).unwrap();
        beside.commit(put(&[(b"a", b"1")])).unwrap();
        drop(beside);
        assert_eq!(reopen(backend, path).unwrap().1, stored);

        wait_until_released(backend, path);
        let beside = Store::beside(backend, path).unwrap();
        beside.commit(put(&[(b"a", b"1")])).unwrap();
        drop(beside);
        wipe(path).unwrap();
        assert_eq!(reopen(backend, path).unwrap().1, [], "nor does it become what was wiped");

        wait_until_released(backend, path);
        let beside = Store::beside(backend, path).unwrap();
        beside.commit(put(&[(b"a", b"2")])).unwrap();
        let moved = beside.take_place(path).unwrap();
        moved.commit(put(&[(b"b", b"3")])).unwrap();
        let rows = [(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), b"3".to_vec())];
        assert_eq!(scan(&moved), rows);
        drop(moved);
        assert_eq!(reopen(backend, path).unwrap().1, rows);
    });
}
