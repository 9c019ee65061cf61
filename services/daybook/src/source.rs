//! Where recorded events come from: a file, plain or compressed, or standard input; one JSON object a line.

use anyhow::Context as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Longest line, in bytes; a longer one ends the replay with an error.
pub const MAX_LINE_BYTES: u64 = 8 << 20;

/// Lines read ahead of the one that is being published.
const LINES_AHEAD: usize = 1_024;

/// Lines of a file, and how much of the file has been read.
pub struct Source {
    reader: Box<dyn BufRead + Send>,
    read: Arc<AtomicU64>,
    /// Length of the file as it lies on disk; unknown for standard input.
    pub length: Option<u64>,
    number: u64,
}

impl Source {
    /// Opens `path`; `-` is standard input. `.zst` and `.gz` are decompressed.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::new(Box::new(std::io::stdin()), None, ""));
        }
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = file.metadata().ok().map(|metadata| metadata.len());
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        Ok(Self::new(Box::new(file), length, ending))
    }

    /// Reads bytes that are compressed as a file with that `ending` would be.
    pub fn of_bytes(bytes: &'static [u8], ending: &str) -> Self {
        Self::new(Box::new(bytes), Some(bytes.len() as u64), ending)
    }

    fn new(input: Box<dyn Read + Send>, length: Option<u64>, ending: &str) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, read: read.clone() };
        let reader: Box<dyn BufRead + Send> = match ending {
            // A damaged header shows when the first line is read.
            "zst" => match zstd::stream::read::Decoder::new(counted) {
                Ok(decoder) => Box::new(BufReader::with_capacity(1 << 20, decoder)),
                Err(error) => Box::new(BufReader::new(Failing(Some(error)))),
            },
            "gz" => Box::new(BufReader::with_capacity(1 << 20, flate2::read::MultiGzDecoder::new(counted))),
            _ => Box::new(BufReader::with_capacity(1 << 20, counted)),
        };
        Self { reader, read, length, number: 0 }
    }

    /// The next line that is not empty, and its number from 1.
    ///
    /// # Errors
    /// When the file cannot be read on or a line is longer than [`MAX_LINE_BYTES`].
    pub fn next_line(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let mut line = Vec::new();
            let number = self.number + 1;
            let count = (&mut self.reader)
                .take(MAX_LINE_BYTES + 1)
                .read_until(b'\n', &mut line)
                .with_context(|| format!("cannot read line {number}"))?;
            if count == 0 {
                return Ok(None);
            }
            self.number = number;
            anyhow::ensure!(line.len() as u64 <= MAX_LINE_BYTES, "line {number} is longer than {MAX_LINE_BYTES} bytes");
            let end = line.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
            line.truncate(end);
            if !line.is_empty() {
                return Ok(Some((number, line)));
            }
        }
    }

    /// Bytes of the file that have been read.
    pub fn position(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Reads on a thread of its own, some lines ahead: standard input may keep it waiting, and nobody else.
    pub fn into_lines(mut self) -> Lines {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        let read = self.read.clone();
        std::thread::spawn(move || {
            while let Some(line) = self.next_line().transpose() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Lines { receiver, read }
    }
}

/// The lines of a [`Source`], as they are read.
pub struct Lines {
    receiver: mpsc::Receiver<anyhow::Result<(u64, Vec<u8>)>>,
    read: Arc<AtomicU64>,
}

impl Lines {
    /// The next line and its number.
    ///
    /// # Errors
    /// As [`Source::next_line`].
    pub async fn next(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        self.receiver.recv().await.transpose()
    }

    /// Bytes of the file that have been read.
    pub fn position(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

struct Failing(Option<std::io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn plain_and_compressed_files_give_the_same_lines() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"{\"a\":1}\n\n  \n{\"a\":2}\r\n{\"a\":3}";
        let plain = folder.path().join("x.ndjson");
        std::fs::write(&plain, text).unwrap();
        let gz = folder.path().join("x.ndjson.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap();
        let zst = folder.path().join("x.ndjson.zst");
        std::fs::write(&zst, zstd::encode_all(&text[..], 1).unwrap()).unwrap();
        for path in [plain, gz, zst] {
            let mut source = Source::open(&path).unwrap();
            let mut lines = Vec::new();
            while let Some((number, line)) = source.next_line().unwrap() {
                lines.push((number, String::from_utf8(line).unwrap()));
            }
            assert_eq!(lines, [(1, "{\"a\":1}".into()), (4, "{\"a\":2}".into()), (5, "{\"a\":3}".into())]);
            assert_eq!(Some(source.position()), source.length);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        assert!(Source::of_bytes(b"not zstd", "zst").next_line().is_err());
        assert!(Source::of_bytes(b"not gzip", "gz").next_line().is_err());
        assert!(Source::open(Path::new("/nowhere/x")).is_err());
    }
}
