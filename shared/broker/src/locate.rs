//! Which `nats-server` is used: the user's, the machine's, or Daybook's own.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::directory::variable;
use crate::fetch::Progress;
use crate::version::{MIN_VERSION, SAFE_VERSION, probe};
use crate::{Error, fetch};

/// Finds a server, fetching one if need be. The first that applies:
///
/// 1. `explicit`, else the variable `DAYBOOK_NATS_SERVER`: used if at least [`MIN_VERSION`], else refused, never skipped;
/// 2. `nats-server` on `PATH`, if at least [`SAFE_VERSION`];
/// 3. Daybook's cache, if intact: `nats-server-<version>/nats-server` below `$DAYBOOK_CACHE_DIR`, else
///    `$XDG_CACHE_HOME/daybook`, else `~/.cache/daybook`;
/// 4. a download into that cache, see [`fetch`](crate::fetch()).
///
/// Blocks, for minutes on a slow network; call it before the async runtime starts or from `spawn_blocking`.
///
/// # Errors
/// The user's server cannot be used or is too old, or none is there and fetching one fails.
pub fn locate(explicit: Option<&Path>, progress: &dyn Fn(Progress)) -> Result<PathBuf, Error> {
    let search = Search {
        explicit: explicit.map(Path::to_owned).or_else(|| variable("DAYBOOK_NATS_SERVER").map(PathBuf::from)),
        path: env::var_os("PATH"),
    };
    match search.installed()? {
        Some(binary) => Ok(binary),
        None => fetch::fetch(progress),
    }
}

/// The places outside the cache, as values, so that tests need not touch the environment.
struct Search {
    explicit: Option<PathBuf>,
    path: Option<OsString>,
}

impl Search {
    fn installed(&self) -> Result<Option<PathBuf>, Error> {
        match &self.explicit {
            Some(path) => explicit(path).map(Some),
            None => Ok(self.on_path()),
        }
    }

    /// The first `nats-server` on `PATH`, if new enough. Later ones are not tried: `nats-server` in the user's shell
    /// and the server Daybook runs are the same, or Daybook's own.
    fn on_path(&self) -> Option<PathBuf> {
        let binary = env::split_paths(self.path.as_ref()?)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("nats-server"))
            .find(|binary| binary.is_file())?;
        match probe(&binary) {
            Ok(version) if version >= SAFE_VERSION => Some(binary),
            Ok(version) => {
                tracing::info!(binary = %binary.display(), %version, "nats-server on PATH is too old");
                None
            }
            Err(error) => {
                tracing::info!(binary = %binary.display(), %error, "nats-server on PATH cannot be used");
                None
            }
        }
    }
}

fn explicit(path: &Path) -> Result<PathBuf, Error> {
    // Absolute, or a bare name would be searched for on PATH.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match probe(&path) {
        Ok(found) if found < MIN_VERSION => Err(Error::TooOld { path, found }),
        Ok(_) => Ok(path),
        Err(source) => Err(Error::Unusable { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in `directory` that says it is `nats-server` of that version.
    fn fake_server(directory: &Path, version: &str) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join("nats-server");
        fs::write(&path, format!("#!/bin/sh\necho 'nats-server: v{version}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn search(explicit: Option<&Path>, path: &[&Path]) -> Result<Option<PathBuf>, Error> {
        let search = Search { explicit: explicit.map(Path::to_owned), path: Some(env::join_paths(path).unwrap()) };
        search.installed()
    }

    #[test]
    fn the_users_server_comes_first() {
        let root = tempfile::tempdir().unwrap();
        let mine = fake_server(&root.path().join("mine"), "2.12.0");
        let path = fake_server(&root.path().join("path"), "2.99.0");
        let directory = path.parent().unwrap();
        assert_eq!(search(Some(&mine), &[directory]).unwrap().unwrap(), mine);
        assert_eq!(search(None, &[directory]).unwrap().unwrap(), path);
    }

    #[test]
    fn the_users_server_is_never_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let path = fake_server(&root.path().join("path"), "2.99.0");
        let directory = path.parent().unwrap();
        let old = fake_server(&root.path().join("old"), "2.11.9");
        let missing = root.path().join("missing");
        let error = search(Some(&old), &[directory]).unwrap_err();
        assert!(matches!(error, Error::TooOld { .. }), "{error}");
        let error = search(Some(&missing), &[directory]).unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }), "{error}");
    }

    #[test]
    fn an_old_or_broken_server_on_path_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let old = fake_server(&root.path().join("old"), "2.14.9");
        assert_eq!(search(None, &[old.parent().unwrap()]).unwrap(), None);
        let broken = root.path().join("broken");
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join("nats-server"), "not a program").unwrap();
        assert_eq!(search(None, &[&broken]).unwrap(), None);
        assert_eq!(search(None, &[root.path()]).unwrap(), None);
    }
}
