//! Events of one JSON array, or one after the other, over any number of lines. No more than one of them is held at a time.

use super::line_number::{LineNumber, is_line_end};
use super::{MAX_RECORD_BYTES, Record, too_long};
use anyhow::Context as _;
use std::io::BufRead;

/// Finds where a JSON value ends, without taking it apart.
pub(super) struct Value {
    /// Brackets of either kind that are open.
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    /// Neither an object nor an array nor a string: it has no end of its own.
    is_bare: bool,
}

impl Value {
    /// A value that begins with `first`, which is not passed yet.
    fn new(first: u8) -> Self {
        Self { depth: 0, in_string: false, is_escaped: false, is_bare: !matches!(first, b'{' | b'[' | b'"') }
    }

    /// Whether `text` is one value, as far as its brackets tell.
    pub(super) fn is_one(text: &[u8]) -> bool {
        let Some(first) = text.first() else { return false };
        Self::new(*first).end(text, true) == Some(text.len())
    }

    /// How many bytes of `chunk` belong to the value; `None` when all of them do and it goes on. `begins`: the chunk is its first.
    fn end(&mut self, chunk: &[u8], begins: bool) -> Option<usize> {
        for (at, byte) in chunk.iter().enumerate() {
            let is_first = begins && at == 0;
            if self.is_bare {
                let is_over =
                    byte.is_ascii_whitespace() || is_line_end(*byte) || matches!(byte, b',' | b']' | b'{' | b'[');
                if is_over && !is_first {
                    return Some(at);
                }
            } else if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                if !self.in_string && self.depth == 0 {
                    return Some(at + 1);
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                if !self.in_string && self.depth == 0 {
                    return Some(at + 1);
                }
            }
        }
        None
    }
}

/// The values of a text: those of its arrays, and those that stand by themselves.
pub(super) struct Values<R> {
    input: R,
    number: LineNumber,
    /// The line on which an array began that is open.
    array: Option<u64>,
}

impl<R: BufRead> Values<R> {
    /// The values of a text that begins on `line`.
    pub(super) fn new(input: R, line: u64) -> Self {
        Self { input, number: LineNumber::new(line), array: None }
    }

    /// The next value and the line on which it begins.
    ///
    /// # Errors
    /// When the text cannot be read on.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        let Some(first) = self.skip()? else {
            // Told once.
            let unclosed = self.array.take().map(|began| {
                let reason = format!("the array that begins on line {began} is not closed: the file is cut off");
                Record { line: self.number.now, content: Err(reason) }
            });
            return Ok(unclosed);
        };
        let line = self.number.now;
        let (mut value, mut text, mut is_whole, mut begins) = (Value::new(first), Vec::new(), true, true);
        loop {
            let chunk = self.input.fill_buf().with_context(|| format!("cannot read line {}", self.number.now))?;
            if chunk.is_empty() {
                self.array = None;
                let content = if value.is_bare { Ok(text) } else { Err(cut_off()) };
                return Ok(Some(Record { line, content }));
            }
            let end = value.end(chunk, begins);
            begins = false;
            let used = end.unwrap_or(chunk.len());
            is_whole &= text.len() + used <= MAX_RECORD_BYTES;
            if is_whole {
                text.extend_from_slice(&chunk[..used]);
            } else {
                text = Vec::new();
            }
            self.number.pass(&chunk[..used]);
            self.input.consume(used);
            if end.is_some() {
                text.shrink_to_fit();
                return Ok(Some(Record { line, content: if is_whole { Ok(text) } else { Err(too_long()) } }));
            }
        }
    }

    /// Goes past what is between values; returns the first byte of the next one.
    fn skip(&mut self) -> anyhow::Result<Option<u8>> {
        loop {
            let chunk = self.input.fill_buf().with_context(|| format!("cannot read line {}", self.number.now))?;
            let Some(byte) = chunk.first().copied() else { return Ok(None) };
            match byte {
                b'[' if self.array.is_none() => self.array = Some(self.number.now),
                b']' if self.array.is_some() => self.array = None,
                b',' => {}
                byte if byte.is_ascii_whitespace() || is_line_end(byte) => {}
                byte => return Ok(Some(byte)),
            }
            self.number.pass(&[byte]);
            self.input.consume(1);
        }
    }
}

fn cut_off() -> String {
    "the file ends within this event: it is cut off, or a bracket or quote is not closed".to_owned()
}
