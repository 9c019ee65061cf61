//! API keys: a file that holds their hashes, and the tenants and scopes of each.

use super::grant::{Grant, MAX_TENANTS, Scope, Tenants};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_domain::time::Instant;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Largest file of keys, in bytes: some 50,000 keys.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Begins every key, so that a leaked one is recognised.
const PREFIX: &str = "daybook_";
/// Random bytes of a secret. Nobody guesses so many, so a fast hash is enough.
const SECRET_BYTES: usize = 32;
/// Random bytes of an id.
const ID_BYTES: usize = 6;

/// A key as the file has it. The key itself is in no file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// The public part of the key; also names it for `daybook key revoke`.
    pub id: String,
    /// BLAKE3 of the whole key, in hex.
    pub hash: String,
    /// For people: whose key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub tenants: Tenants,
    pub scopes: BTreeSet<Scope>,
    pub created_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
}

/// The file of API keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    pub keys: Vec<StoredKey>,
}

/// A file of keys that cannot be used. Nothing of the file is repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read the API keys in {path:?}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write the API keys to {path:?}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the file of API keys {path:?} has {bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("the file of API keys {path:?} is wrong at line {line}, column {column}: {what}")]
    Form { path: PathBuf, line: usize, column: usize, what: &'static str },
    #[error("the key {id} in {path:?} has a hash that is none, or its id is there twice")]
    Key { path: PathBuf, id: String },
    #[error("the key {id} names {tenants} tenants; name 1 to {MAX_TENANTS}, or make a key for all tenants")]
    Tenants { id: String, tenants: usize },
    #[error(
        "with this change the file of API keys {path:?} would have {bytes} bytes; at most {MAX_FILE_BYTES} are read. Revoke keys first"
    )]
    Full { path: PathBuf, bytes: usize },
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or has another form.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(KeyFileError::TooLarge { path: path.to_owned(), bytes });
        }
        let text = std::fs::read(path).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|error| KeyFileError::Form {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            what: match error.classify() {
                serde_json::error::Category::Data => "a field is missing, unknown or has a wrong value",
                _ => "it is not JSON",
            },
        })
    }

    /// Reads the file, changes it, and writes it in one step. Others who change it wait meanwhile. A new file is readable by its
    /// owner alone; one that was there keeps its owner and mode. Without the file, `change` begins with no keys.
    ///
    /// # Errors
    /// When it cannot be read or written, or the error of `change`, and then the file is as it was.
    pub fn change<T, E: From<KeyFileError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |source| KeyFileError::Write { path: path.to_owned(), source };
        // The file itself is replaced, so the lock is on one beside it, which stays. It is released when this one is closed.
        let options = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let lock = options.open(beside(path, ".lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut file = if path.exists() { Self::read(path)? } else { Self::default() };
        let changed = change(&mut file)?;
        file.write(path)?;
        Ok(changed)
    }

    /// Writes the file in one step, readable by its owner alone, or with the owner and mode of the one that it replaces.
    ///
    /// # Errors
    /// When it cannot be written, or not for that owner, or could not be read again; then the file is as it was.
    pub fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let text = self.text(path)?;
        let written = || -> std::io::Result<()> {
            let new = beside(path, ".new");
            let _ = std::fs::remove_file(&new);
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            if let Ok(old) = std::fs::metadata(path) {
                let own = file.metadata()?;
                if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                    std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
                file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o777))?;
            }
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        written().map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
    }

    /// The text of the file, if it can be read again.
    fn text(&self, path: &Path) -> Result<String, KeyFileError> {
        for key in &self.keys {
            if let Tenants::These(tenants) = &key.tenants
                && !(1..=MAX_TENANTS).contains(&tenants.len())
            {
                return Err(KeyFileError::Tenants { id: key.id.clone(), tenants: tenants.len() });
            }
        }
        let text = serde_json::to_string_pretty(self).expect("keys are plain values") + "\n";
        match text.len() {
            bytes if bytes as u64 > MAX_FILE_BYTES => Err(KeyFileError::Full { path: path.to_owned(), bytes }),
            _ => Ok(text),
        }
    }
}

/// The path with a further ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    PathBuf::from(beside)
}

/// A new key: the text for its holder, which is shown once, and what is stored of it.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_key(
    name: Option<String>,
    tenants: Tenants,
    scopes: BTreeSet<Scope>,
    created_at: Instant,
    expires_at: Option<Instant>,
) -> Result<(String, StoredKey), ring::error::Unspecified> {
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    random.fill(&mut id)?;
    random.fill(&mut secret)?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    Ok((text, StoredKey { id, hash, name, tenants, scopes, created_at, expires_at }))
}

/// The keys of a file, ready to be looked up.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<String, (blake3::Hash, StoredKey)>);

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or a key has no sound hash or an id that another one has.
    pub(super) fn read(path: &Path) -> Result<Self, KeyFileError> {
        let mut keys = HashMap::new();
        for key in KeyFile::read(path)?.keys {
            let wrong = KeyFileError::Key { path: path.to_owned(), id: key.id.chars().take(64).collect() };
            let Ok(hash) = blake3::Hash::from_hex(&key.hash) else { return Err(wrong) };
            if keys.insert(key.id.clone(), (hash, key)).is_some() {
                return Err(wrong);
            }
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a token has the form of an API key.
    pub(super) fn is_one(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// What the key allows at `now`, if it is one of these. Hashes are compared in constant time.
    pub(super) fn grant(&self, token: &str, now: Instant) -> Option<Grant> {
        let (id, _) = token.strip_prefix(PREFIX)?.split_once('_')?;
        let (hash, key) = self.0.get(id)?;
        let is_same = *hash == blake3::hash(token.as_bytes());
        let is_valid = key.expires_at.is_none_or(|end| now < end);
        (is_same && is_valid).then(|| Grant {
            holder: format!("key {id}"),
            tenants: key.tenants.clone(),
            scopes: key.scopes.clone(),
            expires_at: key.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::TenantId;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn acme() -> Tenants {
        Tenants::These([TenantId::new("acme").unwrap()].into())
    }

    #[test]
    fn a_key_is_stored_hashed_and_known_again_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let (now, end): (Instant, Instant) = (NOW.parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());
        let (text, stored) = new_key(Some("till 7".into()), acme(), [Scope::Publish].into(), now, Some(end)).unwrap();
        let (other, _) = new_key(None, acme(), Scope::ALL.into(), now, None).unwrap();
        KeyFile { keys: vec![stored] }.write(&path).unwrap();
        let file = std::fs::read_to_string(&path).unwrap();
        let secret = text.splitn(3, '_').nth(2).unwrap();
        assert!(!file.contains(secret) && secret.len() == 43, "{file}");
        let keys = Keys::read(&path).unwrap();
        let grant = keys.grant(&text, now).unwrap();
        assert!(grant.tenants.contain(&TenantId::new("acme").unwrap()));
        assert!(!grant.tenants.contain(&TenantId::new("other").unwrap()));
        assert_eq!(grant.scopes, BTreeSet::from([Scope::Publish]));
        assert!(keys.grant(&text, end).is_none(), "it has ended");
        let mut forged = text.clone();
        forged.pop();
        for wrong in [&forged, &other, &format!("{text}x"), &text.to_uppercase(), "daybook_", "daybook__", ""] {
            assert!(keys.grant(wrong, now).is_none(), "{wrong}");
        }
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept_and_so_is_the_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let add = || {
            let (_, key) = new_key(None, acme(), Scope::ALL.into(), NOW.parse().unwrap(), None).unwrap();
            KeyFile::change(&path, |file| {
                file.keys.push(key);
                Ok::<_, KeyFileError>(())
            })
            .unwrap();
        };
        add();
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..4).for_each(|_| add()));
            }
        });
        assert_eq!((Keys::read(&path).unwrap().len(), mode()), (33, 0o640));
        let refused = KeyFile::change(&path, |file| {
            file.keys.clear();
            Err::<(), _>(KeyFileError::TooLarge { path: path.clone(), bytes: 1 })
        });
        assert!(refused.is_err());
        assert_eq!(Keys::read(&path).unwrap().len(), 33, "a change that is refused changes nothing");
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let of = |tenants: usize, name: usize| {
            let tenants = (0..tenants).map(|number| TenantId::new(&number.to_string()).unwrap()).collect();
            new_key(Some("n".repeat(name)), Tenants::These(tenants), Scope::ALL.into(), NOW.parse().unwrap(), None)
                .unwrap()
                .1
        };
        let good = of(MAX_TENANTS, 1);
        KeyFile { keys: vec![good.clone()] }.write(&path).unwrap();
        for bad in [of(MAX_TENANTS + 1, 1), of(0, 1), of(1, MAX_FILE_BYTES as usize)] {
            let written = KeyFile { keys: vec![good.clone(), bad] }.write(&path);
            assert!(matches!(written, Err(KeyFileError::Tenants { .. } | KeyFileError::Full { .. })), "{written:?}");
            assert_eq!(Keys::read(&path).unwrap().len(), 1, "the file is as it was");
        }
    }

    #[test]
    fn a_wrong_file_is_told_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let key =
            r#"{"id":"a","hash":"hunter2","tenants":["acme"],"scopes":["query"],"created_at":"2026-01-01T00:00:00Z"}"#;
        let good = key.replace("hunter2", &"ab".repeat(32));
        for (text, is_good) in [
            (format!(r#"{{"keys":[{good}]}}"#), true),
            (format!(r#"{{"keys":[{key}]}}"#), false),
            (format!(r#"{{"keys":[{good},{good}]}}"#), false),
            (r#"{"keys":[{"id":"hunter2"}]}"#.to_owned(), false),
            ("hunter2".to_owned(), false),
            (format!(r#"{{"keys":[{}]}}"#, good.replace(r#"["acme"]"#, "[]")), false),
            (format!(r#"{{"keys":[{}]}}"#, good.replace(r#"["acme"]"#, r#""*""#)), true),
            (format!(r#"{{"keys":[{}]}}"#, good.replace(r#"["acme"]"#, r#""hunter2""#)), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            match Keys::read(&path) {
                Ok(_) => assert!(is_good, "{text}"),
                Err(error) => assert!(!is_good && !error.to_string().contains("hunter2"), "{text}: {error}"),
            }
        }
    }
}
