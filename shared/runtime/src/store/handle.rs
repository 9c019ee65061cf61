//! [`Store`]: an engine and its ledger, opened, checked, committed to, opened anew after a failure, and rebuilt.

use super::ledger::{self, Ledger, Stored};
use super::watch::{Pulse, watched, watched_items};
use super::{Backend, Changes, Engine, EngineError, Row, StoreError, marker, remove, room};
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
const ROWS_PER_BEAT: usize = 1_000;
/// Rows that a rebuild commits at once.
const REBUILD_ROWS: usize = 2_000;
/// Bytes on disk for a byte of rows beyond which a store is bloated: engines keep a few old versions, sled loses track.
pub const BLOATED_RATIO: u64 = 15;
/// Bytes on disk up to which no store is bloated: a journal or a segment of an engine's is that large by itself.
pub const BLOATED_BYTES: u64 = 64 << 20;

/// In [`StoreError::Hung`].
pub(super) const COMMITTING: &str = "committing";
pub(super) const ASKING: &str = "asking the disk for room";
const OPENING: &str = "opening or reading it";
const REBUILDING: &str = "rebuilding it";

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
    /// The ledgers before and after the last commit. One of them must be there when the store is opened anew: a folder
    /// that was lost or exchanged meanwhile must not get the changes alone.
    known: [Stored; 2],
}

/// An engine, and what its rows are known to be.
struct Open {
    engine: Arc<dyn Engine>,
    ledger: Ledger,
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
        finish_rebuild(path)?;
        let (open, rows) = Open::read(backend, path)?;
        let known = [open.ledger.stored(); 2];
        let state = Arc::new(Mutex::new(State { open: Some(open), known }));
        Ok((Self { backend, path: path.to_owned(), state }, rows))
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
        if self.lock().open.as_ref().is_some_and(|open| open.ledger.holds(&changes.batch())) {
            // Nothing changes, and sled may wait for ever for the write of nothing.
            return Ok(());
        }
        self.ensure_room(changes.bytes())?;
        let open = self.lock().open.take();
        let mut open = match open {
            Some(open) => open,
            None => self.open_anew()?,
        };
        let before = open.ledger.stored();
        open.ledger.apply(&changes.batch());
        let after = open.ledger.stored();
        self.lock().known = [before, after];
        let outcome = watched(COMMIT_DEADLINE, move |_| {
            let mut batch = changes.batch();
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

    fn open_anew(&self) -> Result<Open, StoreError> {
        self.wait_until_released();
        let (open, _) = Open::read(self.backend, &self.path)?;
        match self.lock().known.contains(&open.ledger.stored()) {
            true => Ok(open),
            false => {
                Err(StoreError::Damaged { path: self.path.clone(), why: "it is not what was committed".to_owned() })
            }
        }
    }

    /// As after a commit that failed.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.lock().open = None;
        self.wait_until_released();
    }

    /// Every row in order of keys, as of the last commit if none is made meanwhile. Blocking.
    ///
    /// # Errors
    /// When the store is not open; its rows may be errors too, the last one if the engine hangs or panics.
    pub fn scan(&self) -> Result<impl Iterator<Item = Result<Row, StoreError>> + use<>, StoreError> {
        let path = self.path.clone();
        let engine = self.lock().open.as_ref().map(|open| open.engine.clone());
        let engine = engine.ok_or_else(|| StoreError::Locked(path.clone()))?;
        let is_own = |row: &Result<Row, EngineError>| matches!(row, Ok((key, _)) if key == ledger::KEY);
        let rows = watched_items(OPEN_DEADLINE, move || engine.scan().filter(move |row| !is_own(row)));
        Ok(rows.map(move |row| match row {
            Some(row) => row.map_err(|error| StoreError::Damaged { path: path.clone(), why: error.to_string() }),
            None => Err(StoreError::Hung { path: path.clone(), doing: OPENING }),
        }))
    }

    /// Bytes that its files take on disk. Blocking.
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.path)
    }

    /// Bytes of keys and values; `None` while it is not open.
    pub fn live_bytes(&self) -> Option<u64> {
        self.lock().open.as_ref().map(|open| open.ledger.bytes())
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
        let rows: Vec<Row> = self.scan()?.collect::<Result<_, _>>()?;
        let beside = rebuilt(&self.path);
        let built = self.build(&beside, rows);
        if built.is_err() {
            let _ = remove(&beside);
            return built;
        }
        drop(self.lock().open.take());
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
        drop(self.lock().open.take());
        self.wait_until_released();
        wait_until_released(self.backend, path);
        put_in_place(path)?;
        let moved = Self { path: path.to_owned(), state: Arc::new(Mutex::new(State { open: None, known })), ..self };
        let open = moved.open_anew()?;
        moved.lock().open = Some(open);
        Ok(moved)
    }

    /// Makes a store of these rows, and lets go of it.
    fn build(&self, path: &Path, rows: Vec<Row>) -> Result<(), StoreError> {
        remove(path).map_err(|source| StoreError::Folder { path: path.to_owned(), source })?;
        let (store, _) = Self::open(self.backend, path)?;
        let before = self.lock().open.as_ref().map(|open| open.ledger.stored());
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let put = rows.by_ref().take(REBUILD_ROWS).collect();
            store.commit(Arc::new(Changes { put, remove: Vec::new() }))?;
        }
        let after = store.lock().open.take().map(|open| open.ledger.stored());
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
    fn read(backend: Backend, path: &Path) -> Result<(Self, Vec<Row>), StoreError> {
        marker::claim(backend, path)?;
        let folder = path.to_owned();
        let outcome = watched(OPEN_DEADLINE, move |pulse| Self::open_and_read(backend, &folder, pulse));
        outcome.unwrap_or_else(|| Err(StoreError::Hung { path: path.to_owned(), doing: OPENING }))
    }

    fn open_and_read(backend: Backend, path: &Path, pulse: &Pulse<Opened>) -> Opened {
        let engine = backend.open(path).map_err(|source| match source.is_locked() {
            true => StoreError::Locked(path.to_owned()),
            false => StoreError::Open { path: path.to_owned(), source },
        })?;
        let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
        let mut rows = Vec::new();
        for row in engine.scan() {
            if rows.len().is_multiple_of(ROWS_PER_BEAT) {
                pulse.beat();
            }
            rows.push(row.map_err(|error| damaged(error.to_string()))?);
        }
        let ledger = Ledger::check(&mut rows).map_err(|why| damaged(why.to_owned()))?;
        Ok((Self { engine: engine.into(), ledger }, rows))
    }
}

type Opened = Result<(Open, Vec<Row>), StoreError>;

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
