//! [`Store`]: an engine and its ledger, opened, checked, committed to, opened anew after a failure, and rebuilt.

use super::ledger::{self, Checking, Ledger, Stored};
use super::watch::{watched, watched_items};
use super::{
    Backend, Changes, Engine, EngineError, Pass, Passed, Row, RowSum, Rows, StoreError, batch, doubt, marker, remove,
    room,
};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long opening, or reading the next rows, may take before the store counts as damaged.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a commit may take before it is given up. Engines halt writers while they tidy up, and disks stall.
const COMMIT_DEADLINE: Duration = Duration::from_secs(60);
/// How long an engine that was dropped gets to let go of its files: its threads end after it.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const RELEASE_POLL: Duration = Duration::from_millis(5);
/// Rows after which reading says that it is under way.
const ROWS_PER_BEAT: usize = 100;
/// Rows that a rebuild commits at once.
const REBUILD_ROWS: usize = 2_000;
/// Bytes on disk for a byte of rows beyond which a store is bloated: engines keep a few old versions, sled loses track.
pub const BLOATED_RATIO: u64 = 15;
/// Bytes on disk up to which no store is bloated: a journal or a segment of an engine's is that large by itself.
pub const BLOATED_BYTES: u64 = 64 << 20;

/// How long reading some rows may take before the store counts as damaged: it may have to wait for a commit.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// In [`StoreError::Hung`].
pub(super) const COMMITTING: &str = "committing";
pub(super) const ASKING: &str = "asking the disk for room";
const OPENING: &str = "opening or reading it";
const READING: &str = "reading some of its rows";
const REBUILDING: &str = "rebuilding it";
/// In [`StoreError::Damaged`].
const NOT_COMMITTED: &str = "a row is not what was committed";

/// Which rows are read when a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of them.
    Whole,
    /// Those that no other row speaks for.
    Passing,
}

/// The checkpoint store of one partition. Clones are the same store. One at a time may commit.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` while a commit is under way and after one that failed; the next one opens it anew.
    open: Option<Open>,
    /// The same for those who read rows, also while a commit is under way and after one that failed: what is read is no row
    /// that such a commit changes. `None` only while the files are exchanged or opened anew.
    reading: Option<Open>,
    /// The ledgers before and after the last commit. One of them must be there when the store is opened anew: a folder
    /// that was lost or exchanged meanwhile must not get the changes alone.
    known: [Stored; 2],
}

impl State {
    fn of(open: Open) -> Self {
        let known = [open.ledger().stored(); 2];
        Self { reading: Some(open.clone()), open: Some(open), known }
    }

    /// Lets go of the engine, and tells what its rows were.
    fn close(&mut self) -> Option<Stored> {
        self.reading = None;
        self.open.take().map(|open| open.ledger().stored())
    }
}

/// An engine, and what its rows are known to be.
#[derive(Clone)]
struct Open {
    engine: Arc<dyn Engine>,
    ledger: Arc<Mutex<Ledger>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes the store in the folder `path`, reads every row, in order of keys, and makes sure that they are
    /// those of one commit. Blocking.
    ///
    /// # Errors
    /// When it is in use or there is no room; otherwise it is damaged or another backend's: [wipe](super::wipe) it then.
    pub fn open(backend: Backend, path: &Path) -> Result<(Self, Vec<Row>), StoreError> {
        Self::open_with(backend, path, |rows| Ok(rows.collect()))
    }

    /// As [`Self::open`], but hands the rows to `read` as they come, so that they need not be in memory together. What it makes of
    /// them counts only if this succeeds. It may take its time for each.
    ///
    /// # Errors
    /// As [`Self::open`], and when `read` says that they cannot be used.
    pub fn open_with<T>(
        backend: Backend,
        path: &Path,
        read: impl FnOnce(&mut dyn Iterator<Item = Row>) -> Result<T, String>,
    ) -> Result<(Self, T), StoreError> {
        Self::opened(backend, path, None, |rows, _| read(rows))
    }

    /// As [`Self::open_with`], but skips the rows that `pass` returns for the row before them. The ledger counts each skipped row by
    /// the length and hash in that row, and checks it when it is [read](Self::read). A [doubted](Self::doubt) store is read whole.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open_passing<T>(
        backend: Backend,
        path: &Path,
        pass: Pass,
        read: impl FnOnce(&mut dyn Iterator<Item = Row>, Reading) -> Result<T, String>,
    ) -> Result<(Self, T), StoreError> {
        Self::opened(backend, path, Some(pass), read)
    }

    fn opened<T>(
        backend: Backend,
        path: &Path,
        pass: Option<Pass>,
        read: impl FnOnce(&mut dyn Iterator<Item = Row>, Reading) -> Result<T, String>,
    ) -> Result<(Self, T), StoreError> {
        finish_rebuild(path)?;
        let pass = pass.filter(|_| !doubt::is_there(path));
        let reading = if pass.is_some() { Reading::Passing } else { Reading::Whole };
        let (open, made) = Open::read(backend, path, pass, |rows| read(rows, reading))?;
        if reading == Reading::Whole {
            doubt::end(path);
        }
        let state = Arc::new(Mutex::new(State::of(open)));
        Ok((Self { backend, path: path.to_owned(), state }, made))
    }

    /// Marks the store as possibly damaged, because a row could not be read or is not what was committed. From now on every
    /// opening reads all rows, until one finds them all sound. Blocking.
    pub fn doubt(&self) {
        doubt::begin(&self.path);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits all changes or none, and puts them on disk. After a commit that failed this opens the store anew. Blocking.
    ///
    /// # Errors
    /// When the store cannot be opened any more or the disk is full. What was on disk before is there still, or else
    /// these changes are; the same changes may be committed again, with later ones, if the error
    /// [may pass](StoreError::may_pass).
    pub fn commit(&self, changes: Arc<Changes>) -> Result<(), StoreError> {
        if self.lock().open.as_ref().is_some_and(|open| open.ledger().holds(&batch(&changes))) {
            // Nothing changes, and sled may wait for ever for the write of nothing.
            return Ok(());
        }
        self.ensure_room(changes.bytes())?;
        let open = self.lock().open.take();
        let open = match open {
            Some(open) => open,
            None => self.open_anew()?,
        };
        let (before, after) = {
            let mut ledger = open.ledger();
            let before = ledger.stored();
            ledger.apply(&batch(&changes));
            (before, ledger.stored())
        };
        self.lock().known = [before, after];
        let outcome = watched(COMMIT_DEADLINE, move |_| {
            let mut batch = batch(&changes);
            batch.insert(ledger::KEY, Some(&after));
            open.engine.commit(&batch)?;
            Ok(open)
        });
        match outcome {
            Some(Ok(open)) => {
                self.lock().open = Some(open);
                Ok(())
            }
            Some(Err(error)) => Err(StoreError::Commit(error)),
            None => Err(StoreError::Hung { path: self.path.clone(), doing: COMMITTING }),
        }
    }

    /// Makes sure that so many bytes can be committed. Disks that are no more keep who asks them waiting, too.
    fn ensure_room(&self, bytes: usize) -> Result<(), StoreError> {
        let path = self.path.clone();
        match watched(COMMIT_DEADLINE, move |_| room::ensure(&path, bytes)) {
            Some(outcome) => outcome.map_err(|source| StoreError::NoRoom { path: self.path.clone(), source }),
            None => Err(StoreError::Hung { path: self.path.clone(), doing: ASKING }),
        }
    }

    /// Opens it for a commit, and for those who read.
    fn open_anew(&self) -> Result<Open, StoreError> {
        self.lock().reading = None;
        self.wait_until_released();
        let (open, ()) = Open::read(self.backend, &self.path, None, |rows| {
            rows.for_each(drop);
            Ok(())
        })?;
        let mut state = self.lock();
        if !state.known.contains(&open.ledger().stored()) {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                why: "it is not what was committed".to_owned(),
            });
        }
        state.reading = Some(open.clone());
        Ok(open)
    }

    /// As after a commit that failed.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.lock().close();
        self.wait_until_released();
    }

    /// Writes a row behind the back of the ledger.
    #[cfg(test)]
    pub(super) fn tamper(&self, key: &[u8], value: Option<&[u8]>) {
        let open = self.lock().open.clone().expect("it is open");
        open.engine.commit(&[(key, value)].into()).expect("a commit");
    }

    /// The values of these keys, in their order, each as it was committed last. None of them may be changed by a commit that is under
    /// way or failed. Blocking.
    ///
    /// # Errors
    /// When a row is missing or differs from what was committed, or when the engine fails or hangs: the store is then
    /// [doubted](Self::doubt). While the store is being opened again or replaced it is [locked](StoreError::is_locked).
    pub fn read(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, StoreError> {
        let open = self.lock().reading.clone().ok_or_else(|| StoreError::Locked(self.path.clone()))?;
        let path = self.path.clone();
        let read = watched(READ_DEADLINE, move |pulse| {
            let mut values = Vec::with_capacity(keys.len());
            for (index, key) in keys.iter().enumerate() {
                if index.is_multiple_of(ROWS_PER_BEAT) {
                    pulse.beat();
                }
                let damaged = |why: String| StoreError::Damaged { path: path.clone(), why };
                let value = open.engine.get(key).map_err(|error| damaged(error.to_string()))?;
                let value = value.filter(|value| open.ledger().has(key, value));
                values.push(value.ok_or_else(|| damaged(NOT_COMMITTED.to_owned()))?);
            }
            Ok(values)
        });
        let read = read.unwrap_or_else(|| Err(StoreError::Hung { path: self.path.clone(), doing: READING }));
        read.inspect_err(|_| self.doubt())
    }

    /// Every row in order of keys, as of the last commit if none is made meanwhile. Blocking.
    ///
    /// # Errors
    /// When the store is not open; its rows may be errors too. The last item is an error when the engine hangs or panics, and when rows
    /// are missing at the end. A row that differs from what was committed is an error: the scan may be the first to read it. The store
    /// is then [doubted](Self::doubt).
    pub fn scan(&self) -> Result<impl Iterator<Item = Result<Row, StoreError>> + use<>, StoreError> {
        let path = self.path.clone();
        let open = self.lock().open.clone().ok_or_else(|| StoreError::Locked(path.clone()))?;
        let is_own = |row: &Result<Row, EngineError>| matches!(row, Ok((key, _)) if key == ledger::KEY);
        let engine = open.engine.clone();
        let rows = watched_items(OPEN_DEADLINE, move || engine.scan(&[]).filter(move |row| !is_own(row)));
        let (mut rows, mut lacking, mut has_failed) = (rows, open.ledger().rows(), false);
        Ok(std::iter::from_fn(move || {
            let damaged = |why: String| StoreError::Damaged { path: path.clone(), why };
            let row = match rows.next() {
                Some(Some(Ok((key, value)))) if !open.ledger().has(&key, &value) => {
                    Err(damaged(NOT_COMMITTED.to_owned()))
                }
                Some(Some(row)) => row.map_err(|error| damaged(error.to_string())),
                Some(None) => Err(StoreError::Hung { path: path.clone(), doing: OPENING }),
                // Each of them is of the ledger, and none comes twice.
                None if has_failed || lacking == 0 => return None,
                None => Err(damaged(format!("{lacking} rows are missing"))),
            };
            match &row {
                Ok(_) => lacking = lacking.saturating_sub(1),
                Err(_) => {
                    has_failed = true;
                    doubt::begin(&path);
                }
            }
            Some(row)
        }))
    }

    /// Bytes that its files take on disk. Blocking.
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.path)
    }

    /// Bytes of keys and values; `None` while it is not open.
    pub fn live_bytes(&self) -> Option<u64> {
        self.lock().open.as_ref().map(|open| open.ledger().bytes())
    }

    /// Whether the files have become so much larger than what they hold that it should be [rebuilt](Self::rebuild).
    /// Blocking.
    pub fn is_bloated(&self) -> bool {
        self.live_bytes().is_some_and(|live| is_bloated(self.disk_bytes(), live))
    }

    /// Writes every row into a new store, which takes the place of this one. Blocking.
    ///
    /// # Errors
    /// When the rows cannot be read or there is no room for them twice: the store is as before then. When it cannot be
    /// opened afterwards, the next commit tries again.
    pub fn rebuild(&self) -> Result<(), StoreError> {
        let beside = rebuilt(&self.path);
        let built = self.build(&beside, self.scan()?);
        if built.is_err() {
            let _ = remove(&beside);
            return built;
        }
        self.lock().close();
        self.wait_until_released();
        put_in_place(&self.path)?;
        let open = self.open_anew()?;
        self.lock().open = Some(open);
        Ok(())
    }

    /// An empty store beside the one in the folder `path`, to [take its place](Self::take_place) once it is complete. Until then
    /// it goes when that one is opened. Blocking.
    ///
    /// # Errors
    /// When it cannot be made, or there is no room.
    pub fn beside(backend: Backend, path: &Path) -> Result<Self, StoreError> {
        let folder = |source| StoreError::Folder { path: path.to_owned(), source };
        // Where there is no folder, what is beside it counts as complete.
        std::fs::create_dir_all(path).and_then(|()| remove(&rebuilt(path))).map_err(folder)?;
        Ok(Self::open(backend, &rebuilt(path))?.0)
    }

    /// Puts this store, made [beside](Self::beside) the folder `path`, in the place of the one there, whatever that is; every
    /// handle of either must have been dropped. Blocking.
    ///
    /// # Errors
    /// When the folders cannot be moved, or the store not opened there.
    pub fn take_place(self, path: &Path) -> Result<Self, StoreError> {
        assert_eq!(self.path, rebuilt(path), "a store that was made beside the other");
        let known = self.lock().known;
        self.lock().close();
        self.wait_until_released();
        wait_until_released(self.backend, path);
        put_in_place(path)?;
        let moved = Self {
            path: path.to_owned(),
            state: Arc::new(Mutex::new(State { open: None, reading: None, known })),
            ..self
        };
        let open = moved.open_anew()?;
        moved.lock().open = Some(open);
        Ok(moved)
    }

    /// Makes a store of these rows, and lets go of it.
    fn build(&self, path: &Path, rows: impl Iterator<Item = Result<Row, StoreError>>) -> Result<(), StoreError> {
        remove(path).map_err(|source| StoreError::Folder { path: path.to_owned(), source })?;
        let (store, _) = Self::open(self.backend, path)?;
        let before = self.lock().open.as_ref().map(|open| open.ledger().stored());
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let put = rows.by_ref().take(REBUILD_ROWS).collect::<Result<_, _>>()?;
            store.commit(Arc::new(Changes { put, remove: Vec::new() }))?;
        }
        let after = store.lock().close();
        store.wait_until_released();
        match before == after {
            true => Ok(()),
            false => Err(StoreError::Damaged {
                path: self.path.clone(),
                why: format!("other rows were read while {REBUILDING}"),
            }),
        }
    }

    /// Waits until an engine that was dropped has let go of the files, for a while.
    fn wait_until_released(&self) {
        wait_until_released(self.backend, &self.path);
    }
}

impl Open {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        backend: Backend,
        path: &Path,
        pass: Option<Pass>,
        read: impl FnOnce(&mut dyn Iterator<Item = Row>) -> Result<T, String>,
    ) -> Result<(Self, T), StoreError> {
        marker::claim(backend, path)?;
        let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
        let hung = || StoreError::Hung { path: path.to_owned(), doing: OPENING };
        let folder = path.to_owned();
        let engine = watched(OPEN_DEADLINE, move |_| backend.open(&folder)).ok_or_else(hung)?;
        let engine: Arc<dyn Engine> = engine.map(Arc::from).map_err(|source| match source.is_locked() {
            true => StoreError::Locked(path.to_owned()),
            false => StoreError::Open { path: path.to_owned(), source },
        })?;
        let scanned = engine.clone();
        let rows = watched_items(OPEN_DEADLINE, move || Scan::new(scanned, pass));
        let (mut checking, mut failure) = (Checking::default(), None);
        let mut rows = rows
            .map_while(|row| {
                match row.map_or_else(|| Err(hung()), |row| row.map_err(|error| damaged(error.to_string()))) {
                    Ok(row) => Some(row),
                    Err(error) => {
                        failure = Some(error);
                        None
                    }
                }
            })
            .filter_map(|scanned| match scanned {
                Scanned::Row(row) => checking.take(row),
                Scanned::Passed(rows) => {
                    rows.iter().for_each(|(key, row)| checking.pass(key, *row));
                    None
                }
            });
        let made = read(&mut rows);
        if made.is_ok() {
            rows.by_ref().for_each(drop);
        }
        drop(rows);
        // Rows that are missing for it are none of what was read.
        if let Some(error) = failure {
            return Err(error);
        }
        let made = made.map_err(|why| StoreError::Unusable { path: path.to_owned(), why })?;
        let ledger = checking.finish().map_err(|why| damaged(why.to_owned()))?;
        Ok((Self { engine, ledger: Arc::new(Mutex::new(ledger)) }, made))
    }
}

/// The rows of an engine, but for those that are passed.
struct Scan {
    engine: Arc<dyn Engine>,
    pass: Option<Pass>,
    rows: Rows,
    passed: Option<Passed>,
}

enum Scanned {
    Row(Row),
    Passed(Vec<(Vec<u8>, RowSum)>),
}

impl Scan {
    fn new(engine: Arc<dyn Engine>, pass: Option<Pass>) -> Self {
        Self { rows: engine.scan(&[]), engine, pass, passed: None }
    }
}

impl Iterator for Scan {
    type Item = Result<Scanned, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(Passed { rows, next }) = self.passed.take() {
            self.rows = self.engine.scan(&next);
            return Some(Ok(Scanned::Passed(rows)));
        }
        let row = self.rows.next()?;
        self.passed = row.as_ref().ok().and_then(|row| self.pass?(row));
        Some(row.map(Scanned::Row))
    }
}

pub(super) fn is_bloated(disk: u64, live: u64) -> bool {
    disk > BLOATED_BYTES && disk > live.saturating_mul(BLOATED_RATIO)
}

/// Where a rebuild makes the new store.
pub(super) fn rebuilt(path: &Path) -> PathBuf {
    path.with_extension("rebuilt")
}

/// Where a rebuild puts the old one.
pub(super) fn retired(path: &Path) -> PathBuf {
    path.with_extension("retired")
}

/// Puts the store that is complete beside the folder `path` in the place of the one there.
fn put_in_place(path: &Path) -> Result<(), StoreError> {
    let folder = |source| StoreError::Folder { path: path.to_owned(), source };
    std::fs::rename(path, retired(path)).map_err(folder)?;
    std::fs::rename(rebuilt(path), path).map_err(folder)?;
    remove(&retired(path)).map_err(folder)
}

/// Completes a rebuild that was cut short between its two renames, and tidies up after any other.
fn finish_rebuild(path: &Path) -> Result<(), StoreError> {
    let folder = |source| StoreError::Folder { path: path.to_owned(), source };
    if !path.exists() && rebuilt(path).exists() {
        std::fs::rename(rebuilt(path), path).map_err(folder)?;
    }
    remove(&rebuilt(path)).and_then(|()| remove(&retired(path))).map_err(folder)
}

/// Waits until nobody holds the engine's lock in the folder any more, for a while.
pub(super) fn wait_until_released(backend: Backend, path: &Path) {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    let is_held = || {
        File::open(path.join(backend.lock_file()))
            .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    };
    while is_held() && Instant::now() < deadline {
        std::thread::sleep(RELEASE_POLL);
    }
}

/// What the files of a folder take on disk: engines make files longer than they fill them.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        match metadata.is_dir() {
            true => Some(disk_bytes(&entry.path())),
            false => Some(allocated(&metadata)),
        }
    });
    bytes.sum()
}

#[cfg(unix)]
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    /// In which `st_blocks` counts, whatever the file system.
    const BLOCK_BYTES: u64 = 512;
    std::os::unix::fs::MetadataExt::blocks(metadata) * BLOCK_BYTES
}

#[cfg(not(unix))]
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}
