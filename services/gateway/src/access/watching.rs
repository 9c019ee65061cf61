//! Keys that change while the gateway runs: files are read again when they change, a URL every few minutes.

use super::doorkeeper::{DoorError, Doorkeeper};
use crate::options::DoorOptions;
use crate::outgoing::Outgoing;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often a URL is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// How soon a URL is asked again when a token names a key that is not known, or the URL did not answer.
const ASK_SOON: Duration = Duration::from_secs(15);

/// A doorkeeper with the keys that the options name, which are kept current until `stop`. A URL that does not answer is asked again
/// later.
///
/// # Errors
/// When a file cannot be used.
pub(crate) async fn load(
    options: &DoorOptions,
    outgoing: Outgoing,
    stop: CancellationToken,
) -> Result<Arc<Doorkeeper>, DoorError> {
    let door = Arc::new(Doorkeeper::new(options, outgoing));
    let seen = SeenFiles::of(&door);
    door.read_api_keys().await?;
    match door.read_jwt_keys().await {
        Err(error) if door.has_url() => tracing::warn!(%error, "no JWT is valid until they come"),
        read => drop(read?),
    }
    tokio::spawn(watch(door.clone(), seen, stop));
    Ok(door)
}

/// Keeps the keys of `door` as its files and its URL have them. What cannot be read leaves the keys as they are, and is read again
/// each time until it can be.
async fn watch(door: Arc<Doorkeeper>, mut seen: SeenFiles, stop: CancellationToken) {
    let mut asked = Instant::now();
    while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
        // Noted before it is read: a change meanwhile is seen the next time.
        let now = SeenFiles::of(&door);
        if now.api_keys.differs(&seen.api_keys) {
            let read = door.read_api_keys().await.map_err(|error| error.to_string());
            seen.api_keys.note(now.api_keys, "API keys", read);
        }
        if now.jwt_keys.differs(&seen.jwt_keys) {
            let read = door.read_jwt_keys().await.map_err(|error| error.to_string());
            seen.jwt_keys.note(now.jwt_keys, "keys of JWTs", read);
        }
        let is_due = asked.elapsed() >= if door.misses_a_key() { ASK_SOON } else { ASK_AGAIN };
        if door.has_url() && is_due {
            asked = Instant::now();
            if let Err(error) = door.read_jwt_keys().await {
                tracing::warn!(%error, "the keys of JWTs stay as they were");
            }
        }
    }
}

/// The files of keys as they were before they were read last.
struct SeenFiles {
    api_keys: Seen,
    jwt_keys: Seen,
}

impl SeenFiles {
    fn of(door: &Doorkeeper) -> Self {
        Self { api_keys: Seen::of(door.api_keys_file()), jwt_keys: Seen::of(door.jwt_keys_file()) }
    }
}

/// What tells two states of a file apart: its device and inode, its length, and the times of its content and of its inode in
/// nanoseconds. `None` when there is no such file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// How a file was when its content was last taken over.
#[derive(Clone, Debug, Default)]
struct Seen {
    mark: Option<Mark>,
    /// The state that could not be read, so that it is told only once.
    told: Option<Mark>,
}

impl Seen {
    fn of(file: Option<&Path>) -> Self {
        let data = file.and_then(|file| std::fs::metadata(file).ok());
        let mark = data.map(|data| Mark {
            inode: (data.dev(), data.ino()),
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        });
        Self { mark, told: None }
    }

    /// Whether there is a file now that has not been taken over.
    fn differs(&self, before: &Self) -> bool {
        self.mark.is_some() && self.mark != before.mark
    }

    /// Takes the outcome of reading the state `now` in, and logs it.
    fn note(&mut self, now: Self, what: &str, read: Result<usize, String>) {
        match read {
            Ok(keys) => {
                *self = now;
                tracing::info!(keys, "{what} were read again");
            }
            Err(_) if self.told == now.mark => {}
            Err(error) => {
                self.told = now.mark;
                tracing::error!(error, "{what} stay as they were; they are read again until they can be used");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_read_is_read_again_and_any_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let look = || Seen::of(Some(&path));
        std::fs::write(&path, "one").unwrap();
        let mut seen = look();
        assert!(!look().differs(&seen));
        // The same length and time, but another file.
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let beside = folder.path().join("beside");
        std::fs::write(&beside, "two").unwrap();
        std::fs::File::options().write(true).open(&beside).unwrap().set_modified(time).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        let now = look();
        assert!(now.differs(&seen));
        seen.note(now, "keys", Err("no".to_owned()));
        assert!(look().differs(&seen), "it is not taken over yet");
        seen.note(look(), "keys", Ok(1));
        assert!(!look().differs(&seen));
        std::fs::remove_file(&path).unwrap();
        assert!(!look().differs(&seen), "the keys stay while there is no file");
    }
}
