//! One event a line. A line ends with LF, CR LF or CR, or with the separator of JSON text sequences (RFC 7464): JSON holds
//! none of them but between its tokens.

use super::json::Values;
use super::line_number::{LineNumber, is_line_end};
use super::{MAX_RECORD_BYTES, Record, too_long};
use anyhow::Context as _;
use std::collections::VecDeque;
use std::io::BufRead;

/// The events of a text, one a line.
pub(super) struct Lines<R> {
    input: R,
    number: LineNumber,
    buffer: Vec<u8>,
    /// Events of a line that is an array of them.
    waiting: VecDeque<Record>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: LineNumber::new(1), buffer: Vec::new(), waiting: VecDeque::new() }
    }

    /// The next line that is not blank; of an array its events, one after the other.
    ///
    /// # Errors
    /// When the text cannot be read on.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Ok(Some(record));
            }
            let line = self.number.now;
            let Some(is_whole) = self.read_line()? else { return Ok(None) };
            if !is_whole {
                return Ok(Some(Record { line, content: Err(too_long()) }));
            }
            let text = self.buffer.trim_ascii();
            match text.first() {
                None => {}
                Some(b'[') => {
                    let mut values = Values::new(text, line);
                    while let Some(record) = values.next()? {
                        self.waiting.push_back(record);
                    }
                }
                Some(_) => return Ok(Some(Record { line, content: Ok(text.to_vec()) })),
            }
        }
    }

    /// Reads a line into the buffer, without its end. `Some(false)` when it is too long to be kept; `None` at the end.
    fn read_line(&mut self) -> anyhow::Result<Option<bool>> {
        self.buffer.clear();
        let (mut has_begun, mut is_whole) = (false, true);
        loop {
            let line = self.number.now;
            let chunk = self.input.fill_buf().with_context(|| format!("cannot read line {line}"))?;
            if chunk.is_empty() {
                return Ok(has_begun.then_some(is_whole));
            }
            has_begun = true;
            let end = chunk.iter().position(|byte| is_line_end(*byte));
            let text = &chunk[..end.unwrap_or(chunk.len())];
            is_whole &= self.buffer.len() + text.len() <= MAX_RECORD_BYTES;
            if is_whole {
                self.buffer.extend_from_slice(text);
            }
            let used = end.map_or(chunk.len(), |end| end + 1);
            // Only the end of a line matters, and what is right before it.
            self.number.pass(&text[text.len().saturating_sub(1)..]);
            self.number.pass(&chunk[text.len()..used]);
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(is_whole));
            }
        }
    }
}
