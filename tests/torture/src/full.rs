//! A disk that is full during a commit, and then is not. Files are kept from growing by a limit of the process's own,
//! which needs no rights and no other disk; the signal that comes with it must be ignored by whoever starts this.

use crate::rows::{Model, NUMBER, changes, number};
use daybook_runtime::store::{Backend, Changes, Store};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Checkpoints before the disk is full.
const BEFORE: u64 = 20;
/// Checkpoints by which a full disk must have been noticed; engines have some room within their files.
const UNTIL_NOTICED: u64 = 500;
/// Tries without room for a single byte, each with one checkpoint more: when a store is opened anew, what it finds free
/// within its files would otherwise do for a while.
const TRIES: u64 = 3;

/// A size of files that leaves room for a checkpoint by what is asked beforehand, and none in sled's file as it is by then.
const SMALL: u64 = 4 << 20;
/// Rows that sled puts into files of their own, and bytes of each.
const LARGE_ROWS: u8 = 20;
const LARGE_BYTES: usize = 150_000;
/// How long an answer may take that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Commits until the disk is full, tries some more, and goes on when it is not; panics when anything is lost, or hangs.
pub fn run(backend: Backend, folder: &Path, seed: u64) {
    small(backend, folder, seed);
    large(backend, &folder.with_extension("large"));
    println!("{}: whole", backend.name());
}

fn small(backend: Backend, folder: &Path, seed: u64) {
    let (store, _) = Store::open(backend, folder).unwrap();
    let mut model = Model::new(seed);
    for number in 1..=BEFORE {
        store.commit(Arc::new(changes(seed, number))).unwrap();
    }
    // They change nothing; sled would write that down, and wait for it for ever.
    limit(Some(SMALL));
    let began = Instant::now();
    store.commit(Arc::new(Changes::default())).unwrap();
    let same = (NUMBER.to_vec(), BEFORE.to_be_bytes().to_vec());
    store.commit(Arc::new(Changes { put: vec![same], remove: vec![] })).unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let largest = std::fs::metadata(folder.join("db")).map_or(64 << 20, |file| file.len());
    limit(Some(largest));
    let mut stored = BEFORE;
    let mut next = BEFORE + 1;
    let mut error = loop {
        match store.commit(Arc::new(changes(seed, next))) {
            Ok(()) => (stored, next) = (next, next + 1),
            Err(error) => break error,
        }
        assert!(next < UNTIL_NOTICED, "the disk was never full");
    };
    // What failed is kept, and tried again with what came meanwhile: as a shard does.
    let mut unsaved = changes(seed, next);
    limit(Some(0));
    for _ in 0..TRIES {
        eprintln!("{}: {error}: {:?}", backend.name(), std::error::Error::source(&error).map(ToString::to_string));
        assert!(error.may_pass(), "{error}");
        next += 1;
        unsaved.then(changes(seed, next));
        error = match store.commit(Arc::new(unsaved.clone())) {
            Ok(()) => panic!("the disk is full, and it was committed"),
            Err(error) => error,
        };
    }
    assert!(error.may_pass(), "{error}");
    limit(None);
    store.commit(Arc::new(unsaved)).unwrap();
    next += 1;
    store.commit(Arc::new(changes(seed, next))).unwrap();
    let rows: Vec<_> = store.scan().unwrap().map(Result::unwrap).collect();
    model.go_to(next);
    assert!(number(&rows) == next && model.is(&rows), "{stored} was stored, {} is there", number(&rows));
    store.commit(Arc::new(Changes::default())).unwrap();
}

/// As [`small`], with rows that are too large for a page.
fn large(backend: Backend, folder: &Path) {
    let changes = |version: u8| {
        let put = (0..LARGE_ROWS).map(|row| (vec![b'l', row], vec![version; LARGE_BYTES])).collect();
        Arc::new(Changes { put, remove: vec![] })
    };
    let (store, _) = Store::open(backend, folder).unwrap();
    store.commit(changes(1)).unwrap();
    limit(Some(LARGE_BYTES as u64 / 2));
    let began = Instant::now();
    let error = store.commit(changes(2)).unwrap_err();
    assert!(error.is_full() && began.elapsed() < AT_ONCE, "{error}: {:?}", began.elapsed());
    limit(None);
    store.commit(changes(2)).unwrap();
    let rows: Vec<_> = store.scan().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, changes(2).put);
}

/// The largest size of files that this process writes, in bytes.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}
