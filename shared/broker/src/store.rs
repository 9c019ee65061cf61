//! The directory of a server, owned by one program at a time.
//!
//! ```text
//! lock              held by this program and by the server it started
//! server.conf       rewritten at every start
//! nats-server.log   the server's output
//! ports/            where the server tells its ports
//! jetstream/        the streams
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::backoff::delays;
use crate::error::file;

/// When a program dies its server follows within milliseconds, and only then is the lock free: wait that out rather
/// than refuse a program that is started again at once.
const LOCK_LIMIT: Duration = Duration::from_secs(1);

/// A log that has grown beyond this is moved to `<name>.old` at the next start, in place of the one before.
const LOG_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// What is shown of the log in an error: the last bytes, in whole lines.
const TAIL_BYTES: u64 = 2048;

/// A locked store directory.
pub(crate) struct Store {
    /// Absolute.
    directory: PathBuf,
    log: PathBuf,
    lock: File,
}

impl Store {
    /// Creates the directory if it is missing and locks it.
    pub(crate) async fn open(directory: &Path, log: Option<&Path>) -> Result<Self, Error> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(file("resolve", path));
        let directory = absolute(directory)?;
        let ports = directory.join("ports");
        fs::create_dir_all(&ports).map_err(file("create", &ports))?;
        let log = match log {
            Some(log) => absolute(log)?,
            None => directory.join("nats-server.log"),
        };
        let lock = lock(&directory).await?;
        Ok(Self { directory, log, lock })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    /// The lock once more, for the server to hold: it then lasts until both have ended.
    pub(crate) fn shared_lock(&self) -> Result<File, Error> {
        let path = self.directory.join("lock");
        self.lock.try_clone().map_err(file("share the lock", path))
    }

    /// Writes the configuration file for the owner's eyes alone: it may hold passwords.
    pub(crate) fn write_config(&self, text: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join("server.conf");
        // A file that is there would keep its mode.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(file("replace", &path)(error)),
            _ => {}
        }
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        open.and_then(|mut config| config.write_all(text.as_bytes())).map_err(file("write", &path))?;
        Ok(path)
    }

    /// The directory for the ports file, emptied: a server that was killed leaves its file behind.
    pub(crate) fn fresh_ports_directory(&self) -> Result<PathBuf, Error> {
        let path = self.directory.join("ports");
        for entry in fs::read_dir(&path).map_err(file("read", &path))? {
            let stale = entry.map_err(file("read", &path))?.path();
            fs::remove_file(&stale).map_err(file("remove", &stale))?;
        }
        Ok(path)
    }

    /// The log, opened for appending, and its length so far.
    pub(crate) fn open_log(&self) -> Result<(File, u64), Error> {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        if length(&self.log) > LOG_LIMIT_BYTES {
            let mut old = self.log.clone().into_os_string();
            old.push(".old");
            fs::rename(&self.log, &old).map_err(file("rename", &self.log))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(file("open", &self.log))?;
        Ok((log, length(&self.log)))
    }

    /// The last lines of the log after position `from`. Best effort: it only ever goes into an error.
    pub(crate) fn log_tail(&self, from: u64) -> String {
        let read = || {
            let mut log = File::open(&self.log)?;
            let end = log.seek(SeekFrom::End(0))?;
            let start = from.max(end.saturating_sub(TAIL_BYTES)).min(end);
            log.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            log.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            std::io::Result::Ok(match text.split_once('\n') {
                Some((_cut_off, rest)) if start > from => rest.to_owned(),
                _ => text,
            })
        };
        read().unwrap_or_else(|error| format!("(unreadable: {error})"))
    }
}

async fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(file("open", &path))?;
    let mut pauses = delays(LOCK_LIMIT);
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(file("lock", path)(source)),
            Err(TryLockError::WouldBlock) => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    return Err(Error::StoreInUse {
                        path: directory.to_owned(),
                        holder: fs::read_to_string(&path)
                            .ok()
                            .filter(|holder| !holder.is_empty())
                            .unwrap_or_else(|| "another program".to_owned()),
                    });
                }
            },
        }
    }
    // Whoever is refused is told who we are.
    lock.set_len(0)
        .and_then(|()| lock.write_all(format!("process {}", std::process::id()).as_bytes()))
        .map_err(file("write", &path))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_owner_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = Store::open(root.path(), None).await.unwrap();
        let error = Store::open(root.path(), None).await.err().unwrap();
        let holder = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        let shared = first.shared_lock().unwrap();
        drop(first);
        assert!(Store::open(root.path(), None).await.is_err(), "the server still holds it");
        drop(shared);
        Store::open(root.path(), None).await.unwrap();
    }

    #[tokio::test]
    async fn the_configuration_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), None).await.unwrap();
        fs::write(root.path().join("server.conf"), "from an earlier version, for everyone").unwrap();
        for text in ["one", "two"] {
            let path = store.write_config(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn the_tail_is_whole_lines_of_this_start() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), None).await.unwrap();
        fs::write(store.log_path(), "earlier\n").unwrap();
        let (mut log, from) = store.open_log().unwrap();
        log.write_all(b"now\n").unwrap();
        assert_eq!(store.log_tail(from), "now\n");
        log.write_all("a line\n".repeat(1000).as_bytes()).unwrap();
        let tail = store.log_tail(from);
        assert!(tail.len() > 2000 && tail.lines().all(|line| line == "a line"));
    }

    #[tokio::test]
    async fn a_large_log_is_moved_aside() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), None).await.unwrap();
        let large = File::create(store.log_path()).unwrap();
        large.set_len(LOG_LIMIT_BYTES + 1).unwrap();
        assert_eq!(store.open_log().unwrap().1, 0);
        assert!(root.path().join("nats-server.log.old").exists());
    }
}
