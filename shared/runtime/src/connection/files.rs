//! Small files that settings name: read within bounds, and told of by name when they cannot be used.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most bytes that a file with a secret, key or certificate may have. Credentials have about 1.5 KB, a bundle of all
/// public authorities 250 KB.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How long reading a small file may take; a pipe or a dead network folder takes for ever.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// A file that a setting names and that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file {path:?} ({setting}) {problem}")]
pub struct FileError {
    pub setting: &'static str,
    pub path: PathBuf,
    pub problem: FileProblem,
}

/// What is wrong with a file. No message quotes what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("cannot be read within {} s", READ_LIMIT.as_secs())]
    Slow,
    #[error("is larger than {MAX_FILE_BYTES} bytes; is it the right one?")]
    TooLarge,
    #[error("is not text")]
    NotText,
    #[error("is empty")]
    Empty,
    #[error("has more than one line; it must hold the secret alone")]
    ManyLines,
    #[error("holds no NATS user credentials: a JWT between lines of dashes, and a seed likewise")]
    NoCredentials,
    #[error("holds no seed of a user's nkey, a line that begins with SU")]
    NoSeed,
    #[error("holds no certificate in PEM form that can be used")]
    NoCertificate,
    #[error("holds no private key in PEM form that can be used; it must not be encrypted")]
    NoKey,
    #[error("holds another key than that of the certificate in {certificate:?}")]
    OtherKey { certificate: PathBuf },
}

/// Reads a file that is text.
pub(super) async fn read_text(setting: &'static str, path: &Path) -> Result<String, FileError> {
    let bytes = read_file(setting, path).await?;
    String::from_utf8(bytes).map_err(|_| FileError { setting, path: path.to_owned(), problem: FileProblem::NotText })
}

/// Reads a small file, within bounds of size and time.
pub(super) async fn read_file(setting: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, (read, outcome)) = (path.to_owned(), oneshot::channel());
    // Not a task of the runtime: that waits for those when it ends, and nobody may ever write into a pipe.
    std::thread::spawn(move || {
        let _ = read.send(read_at_most(&file));
    });
    let problem = match tokio::time::timeout(READ_LIMIT, outcome).await {
        Ok(Ok(Ok(bytes))) if bytes.len() as u64 > MAX_FILE_BYTES => FileProblem::TooLarge,
        Ok(Ok(Ok(bytes))) => return Ok(bytes),
        Ok(Ok(Err(error))) => FileProblem::Unreadable(error.to_string()),
        Ok(Err(_)) => FileProblem::Unreadable("reading it panicked".to_owned()),
        Err(_) => FileProblem::Slow,
    };
    Err(FileError { setting, path: path.to_owned(), problem })
}

/// Reads one byte more than a file may have, at most.
fn read_at_most(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn files_are_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_text("--nats-token-file", &folder.path().join("none")).await.unwrap_err();
        assert!(missing.to_string().contains("--nats-token-file") && missing.to_string().contains("none"), "{missing}");
        let large = folder.path().join("large");
        fs::write(&large, vec![b'x'; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert_eq!(read_text("s", &large).await.unwrap_err().problem, FileProblem::TooLarge);
        fs::write(&large, [0xff]).unwrap();
        assert_eq!(read_text("s", &large).await.unwrap_err().problem, FileProblem::NotText);
        assert!(matches!(read_text("s", folder.path()).await.unwrap_err().problem, FileProblem::Unreadable(_)));
    }
}
