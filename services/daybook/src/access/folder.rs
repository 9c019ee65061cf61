//! Files that only their owner reads, each written whole or not at all.

use super::settings::AccessSettings;
use crate::own_files;
use anyhow::{Context as _, bail};
use daybook_access::keys::AccessSeed;
use daybook_access::tokens::TokenLedger;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const SETTINGS: &str = "access.json";
const LOCK: &str = "lock";
const LEDGER: &str = "tokens.json";
/// The one secret that all accounts are made from.
pub const SEED: &str = "operator.seed";
/// What goes to the machines of the NATS servers.
pub const SERVERS: &str = "servers";
/// Credentials of services.
pub const SERVICES: &str = "services";
/// Tokens of tenants.
pub const TOKENS: &str = "tokens";

/// The folder, locked against other commands until it is dropped.
pub struct AccessFolder {
    path: PathBuf,
    _lock: File,
}

impl AccessFolder {
    /// Opens a folder that `daybook nats config` has made.
    ///
    /// # Errors
    /// When it is none, or another command is at work in it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.join(SETTINGS).is_file() {
            bail!("{} holds no access settings; make them with `daybook nats config --out DIR`", path.display());
        }
        Self::lock(path)
    }

    /// Opens a folder, and makes it when it is not there. One with other things in it is left alone.
    ///
    /// # Errors
    /// When it cannot be made, or has other things in it.
    pub fn open_or_make(path: &Path) -> anyhow::Result<Self> {
        if !path.join(SETTINGS).is_file() && has_other_things(path) {
            bail!("{} is not empty and was not made by this command; choose another folder", path.display());
        }
        make_folder(path)?;
        Self::lock(path)
    }

    fn lock(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?;
        match own_files::lock(&path.join(LOCK))? {
            Some(lock) => Ok(Self { path, _lock: lock }),
            None => bail!("another command is at work in {}; try again", path.display()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The settings; `None` in a new folder.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settings(&self) -> anyhow::Result<Option<AccessSettings>> {
        let file = self.file(SETTINGS);
        match read(&file)? {
            Some(text) => Ok(Some(serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?)),
            None => Ok(None),
        }
    }

    /// # Errors
    /// When they cannot be written.
    pub fn store_settings(&self, settings: &AccessSettings) -> anyhow::Result<()> {
        self.write(SETTINGS, &format!("{}\n", serde_json::to_string_pretty(settings)?))
    }

    /// The tokens that were made; none in a new folder.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ledger(&self) -> anyhow::Result<TokenLedger> {
        let file = self.file(LEDGER);
        match read(&file)? {
            Some(text) => serde_json::from_str(&text).with_context(|| format!("{}", file.display())),
            None => Ok(TokenLedger::default()),
        }
    }

    /// # Errors
    /// When it cannot be written.
    pub fn store_ledger(&self, ledger: &TokenLedger) -> anyhow::Result<()> {
        self.write(LEDGER, &format!("{}\n", serde_json::to_string_pretty(ledger)?))
    }

    /// The seed; `None` before it is made.
    ///
    /// # Errors
    /// When the file is no seed.
    pub fn seed(&self) -> anyhow::Result<Option<AccessSeed>> {
        let file = self.file(SEED);
        match read(&file)? {
            Some(text) => Ok(Some(AccessSeed::parse(&text).with_context(|| format!("{}", file.display()))?)),
            None => Ok(None),
        }
    }

    /// The text of a file; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: impl AsRef<Path>) -> anyhow::Result<Option<String>> {
        read(&self.file(name))
    }

    /// Writes a file of the folder, and folders on the way to it.
    ///
    /// # Errors
    /// When it cannot be written; the file that was there before is still there then.
    pub fn write(&self, name: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
        let file = self.file(name);
        if let Some(folder) = file.parent() {
            make_folder(folder)?;
        }
        write_private(&file, text)
    }
}

/// Whether there is more than what a command that was refused leaves behind.
fn has_other_things(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != LOCK))
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Writes a file that only its owner reads, in the place of the one that is there.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    own_files::replace(file, own_files::PRIVATE, |mut open| {
        open.write_all(text.as_bytes())?;
        Ok(open.sync_all()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_their_owners_and_folders_are_not_taken_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("access");
        let folder = AccessFolder::open_or_make(&path).unwrap();
        folder.write("services/query.creds", "secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path.join("services/query.creds")), 0o600);
        assert_eq!((mode(&path), mode(&path.join("services"))), (0o700, 0o700));
        assert!(AccessFolder::open_or_make(&path).err().unwrap().to_string().contains("not empty"));
        assert!(AccessFolder::open(&path).is_err());
        drop(folder);
        assert_eq!(fs::read_to_string(path.join("services/query.creds")).unwrap(), "secret");
    }

    #[test]
    fn one_command_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = AccessFolder::open_or_make(root.path()).unwrap();
        fs::write(root.path().join(SETTINGS), "{}").unwrap();
        let error = AccessFolder::open(root.path()).err().unwrap().to_string();
        assert!(error.contains("another command"), "{error}");
        drop(first);
        assert!(AccessFolder::open(root.path()).is_ok());
    }
}
