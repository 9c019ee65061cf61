//! Where recorded events come from: a file or standard input, plain or compressed, in any of the formats that tools write.
//!
//! [`EventSource`] gives one event after the other as JSON. However large a file is, and however well it is compressed, no more
//! than one event of [`MAX_RECORD_BYTES`] is held here, and [`Records`] reads no more than [`BYTES_AHEAD`] ahead.

mod ahead;
mod csv;
mod detect;
mod format;
mod input;
mod json;
mod line_number;
mod lines;
#[cfg(test)]
mod tests;

pub use ahead::{BYTES_AHEAD, Records};
pub use csv::Columns;
pub use format::Format;

use anyhow::Context as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest event as it is written, in bytes: what Daybook's streams take. A longer one is passed over and reported.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// An event as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The event in JSON, or why there is none.
    pub content: Result<Vec<u8>, String>,
}

/// Events of a file, and how much of the file has been read.
pub struct EventSource {
    origin: Origin,
    read: Arc<AtomicU64>,
    /// Length of the file as it lies on disk; unknown for what is no plain file, such as standard input.
    pub length: Option<u64>,
    format: Format,
    columns: Columns,
    state: State,
}

/// Where the bytes come from.
#[derive(Clone)]
enum Origin {
    File(PathBuf),
    Bytes(&'static [u8]),
    /// What can be read once only.
    Pipe,
}

enum State {
    /// Nothing has been read: a pipe may keep the reader waiting.
    New {
        input: Box<dyn Read + Send>,
        compression: String,
        ending: String,
    },
    Lines(lines::Lines<input::Text>),
    Json(json::Values<input::Text>),
    Csv(Box<csv::Rows>),
    /// It could not be begun.
    Failed,
}

impl EventSource {
    /// Opens `path`; `-` is standard input. What is compressed by gzip or zstd is decompressed, whatever its name.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::new(Box::new(std::io::stdin()), Origin::Pipe, None, Path::new("")));
        }
        let cannot = || format!("cannot open {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        let (origin, length) = match metadata.is_file() {
            true => (Origin::File(path.to_owned()), Some(metadata.len())),
            false => (Origin::Pipe, None),
        };
        Ok(Self::new(Box::new(file), origin, length, path))
    }

    /// Reads bytes as those of a file with that `name`.
    pub fn of_bytes(bytes: &'static [u8], name: &str) -> Self {
        Self::new(Box::new(bytes), Origin::Bytes(bytes), Some(bytes.len() as u64), Path::new(name))
    }

    fn new(input: Box<dyn Read + Send>, origin: Origin, length: Option<u64>, name: &Path) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let input = Box::new(input::Counted { input, read: read.clone() });
        let ending_of =
            |name: &Path| name.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_owned();
        let last = ending_of(name);
        let (compression, ending) = match last.as_str() {
            "gz" | "zst" => (last, ending_of(Path::new(name.file_stem().unwrap_or_default()))),
            _ => (String::new(), last),
        };
        let state = State::New { input, compression, ending };
        Self { origin, read, length, format: Format::Auto, columns: Columns::default(), state }
    }

    /// The same, in this format.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The same; in a CSV file `columns` says what its columns mean.
    #[must_use]
    pub fn with_columns(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// The hash of the whole file as it lies on disk; `None` for what can be read once only. Reads all of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn content_hash(&self) -> anyhow::Result<Option<[u8; 32]>> {
        let mut hasher = blake3::Hasher::new();
        match &self.origin {
            Origin::File(path) => {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                hasher.update_reader(file).with_context(|| format!("cannot read {}", path.display()))?;
            }
            Origin::Bytes(bytes) => {
                hasher.update(bytes);
            }
            Origin::Pipe => return Ok(None),
        }
        Ok(Some(*hasher.finalize().as_bytes()))
    }

    /// The next event.
    ///
    /// # Errors
    /// When the file cannot be read on, or is none of events.
    pub fn next_record(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            match &mut self.state {
                State::Lines(lines) => return lines.next(),
                State::Json(values) => return values.next(),
                State::Csv(rows) => return rows.next(),
                State::New { .. } => self.begin()?,
                State::Failed => return Ok(None),
            }
        }
    }

    /// The next event, and its line. For files that are known to be sound.
    ///
    /// # Errors
    /// As [`EventSource::next_record`], and when the event cannot be read.
    pub fn next_line(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        let Some(Record { line, content }) = self.next_record()? else { return Ok(None) };
        let text = content.map_err(|reason| anyhow::anyhow!("line {line}: {reason}"))?;
        Ok(Some((line, text)))
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        if let State::New { input, compression, ending } = std::mem::replace(&mut self.state, State::Failed) {
            let input::Begun { text, format, head } = input::begin(input, &compression, &ending, self.format)?;
            self.state = match format {
                Format::Json => State::Json(json::Values::new(text, 1)),
                Format::Csv => State::Csv(Box::new(csv::Rows::new(text, &head, std::mem::take(&mut self.columns))?)),
                Format::Auto | Format::Ndjson => State::Lines(lines::Lines::new(text)),
            };
        }
        Ok(())
    }

    /// Bytes of the file that have been read.
    pub fn position(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

fn too_long() -> String {
    format!("it is longer than {MAX_RECORD_BYTES} bytes, the most that Daybook takes")
}
