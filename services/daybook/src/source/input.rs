//! The bytes of a file: decompressed, recognised as text, and without a byte order mark.

use super::detect;
use super::format::Format;
use anyhow::{Context as _, bail};
use std::io::{BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at a time: large enough that decompression and the disk cost more than the calls.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of a file that are looked at to tell its format, at most: twice the longest event, so that a first line fits.
const MAX_HEAD_BYTES: usize = 128 << 10;
/// Bytes by which a compressed file is known.
const MAGIC_BYTES: usize = 6;

const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b];
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
/// What other files begin with, and what to do with them.
const OTHERS: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a ZIP archive or a workbook; unpack it, or save the sheet as CSV"),
    (b"PAR1", "a Parquet file; convert it to NDJSON or CSV"),
    (b"BZh", "compressed by bzip2; decompress it, or compress it by gzip or zstd"),
    (b"\xfd7zXZ", "compressed by xz; decompress it, or compress it by gzip or zstd"),
    (b"\xff\xfe", "UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16; save it as UTF-8"),
];

/// Text of a file, from its first byte behind a byte order mark.
pub(super) type Text = Chain<Cursor<Vec<u8>>, Box<dyn BufRead + Send>>;

/// What is known of a file when its text begins.
pub(super) struct Begun {
    pub text: Text,
    pub format: Format,
    /// The beginning of the text: at least its first line that is not blank, where that is not too long.
    pub head: Vec<u8>,
}

/// Reads enough of `input` to tell how it is compressed and which format it has. `ending` is that of the file's name without
/// one of compression, `compression` is that one.
///
/// # Errors
/// When the file cannot be read or is no text.
pub(super) fn begin(
    input: Box<dyn Read + Send>,
    compression: &str,
    ending: &str,
    wanted: Format,
) -> anyhow::Result<Begun> {
    let mut reader = decompressed(input, compression)?;
    let mut head = Vec::new();
    loop {
        let is_end = grow(&mut reader, &mut head)? == 0 || head.len() >= MAX_HEAD_BYTES;
        if head.len() < MAGIC_BYTES && !is_end {
            continue;
        }
        check_text(&head)?;
        let text = head.strip_prefix(UTF8_MARK).unwrap_or(&head);
        if let Some(format) = detect::format(text, is_end, ending, wanted) {
            let head = text.to_vec();
            return Ok(Begun { text: Cursor::new(head.clone()).chain(reader), format, head });
        }
    }
}

/// Decompresses what begins as gzip or zstd do, whatever the file is called.
fn decompressed(mut input: Box<dyn Read + Send>, compression: &str) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let mut magic = Vec::new();
    while magic.len() < MAGIC_BYTES && grow(&mut input, &mut magic)? > 0 {}
    // Skippable frames, with which some tools begin, have sixteen numbers.
    let is_skippable = magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == [0x2a, 0x4d, 0x18];
    let (is_zstd, is_gzip) = (magic.starts_with(ZSTD) || is_skippable, magic.starts_with(GZIP));
    let whole = Cursor::new(magic).chain(input);
    Ok(match compression {
        _ if is_zstd => {
            Box::new(buffered(zstd::stream::read::Decoder::new(whole).context("the zstd file is damaged")?))
        }
        _ if is_gzip => Box::new(buffered(flate2::read::MultiGzDecoder::new(whole))),
        "zst" => bail!("the file is named .zst but is not compressed by zstd; rename it, or make it again"),
        "gz" => bail!("the file is named .gz but is not compressed by gzip; rename it, or make it again"),
        _ => Box::new(buffered(whole)),
    })
}

fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER_BYTES, reader)
}

/// Appends what one read gives: a pipe may keep the rest waiting. Returns how many bytes that is; 0 at the end.
fn grow(reader: &mut (impl Read + ?Sized), to: &mut Vec<u8>) -> anyhow::Result<usize> {
    let mut chunk = [0; 8 << 10];
    loop {
        match reader.read(&mut chunk) {
            Ok(count) => {
                to.extend_from_slice(&chunk[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read the beginning of the file"),
        }
    }
}

/// Refuses what is no UTF-8 text by its first bytes.
fn check_text(head: &[u8]) -> anyhow::Result<()> {
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        bail!("the file is {what}");
    }
    if let Some(at) = head.iter().position(|byte| *byte == 0) {
        bail!("byte {at} of the file is 0: it is binary, or UTF-16 without a mark; save it as UTF-8 text");
    }
    Ok(())
}

/// Counts the bytes that are read of a file.
pub(super) struct Counted<R> {
    pub input: R,
    pub read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
