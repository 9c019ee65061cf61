//! JSON (RFC 8259), checked byte by byte without making anything of it.

use crate::wanted::{Node, Slots};
use std::fmt;

/// Deepest nesting, as that of `serde_json`: values are read by recursion.
const MAX_NESTING: usize = 127;

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// Bytes from the start of the text.
    position: usize,
    message: String,
    /// Whether it is JSON, and only too long.
    pub(crate) is_length: bool,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.position)
    }
}

/// A place in a text.
pub(crate) struct Scanner<'r> {
    text: &'r str,
    bytes: &'r [u8],
    at: usize,
}

impl<'r> Scanner<'r> {
    pub(crate) fn new(text: &'r str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> ReadError {
        ReadError { position: self.at, message: message.into(), is_length: false }
    }

    fn expected(&self, what: &str) -> ReadError {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => self.error(format!("expected {what}, found {found:?}")),
            None => self.error(format!("expected {what}, found the end")),
        }
    }

    /// Where the next value begins.
    pub(crate) fn begin(&mut self) -> usize {
        self.pass_space();
        self.at
    }

    pub(crate) fn back_to(&mut self, start: usize) {
        self.at = start;
    }

    pub(crate) fn since(&self, start: usize) -> &'r str {
        &self.text[start..self.at]
    }

    /// Goes into an array; whether there is an element.
    pub(crate) fn open_array(&mut self) -> Result<bool, ReadError> {
        self.pass_space();
        if !self.accept(b'[') {
            return Err(self.expected("an array"));
        }
        self.pass_space();
        Ok(!self.accept(b']'))
    }

    /// Goes on behind an element; whether there is another.
    pub(crate) fn next_element(&mut self) -> Result<bool, ReadError> {
        self.pass_space();
        match (self.accept(b','), self.accept(b']')) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => Err(self.expected("\",\" or \"]\"")),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), ReadError> {
        self.pass_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.expected("the end")) }
    }

    /// Reads a value, and notes what of it `node` wants.
    pub(crate) fn value(&mut self, node: Option<&Node>, slots: &mut Slots<'r>, depth: usize) -> Result<(), ReadError> {
        self.pass_space();
        let start = self.at;
        let inner = node.filter(|node| !node.is_leaf());
        match self.bytes.get(self.at) {
            Some(b'{' | b'[') if depth >= MAX_NESTING => {
                return Err(self.error(format!("nested more than {MAX_NESTING} deep")));
            }
            Some(b'{') => self.object(inner, slots, depth + 1)?,
            Some(b'[') => self.array(inner, slots, depth + 1)?,
            Some(b'"') => drop(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            _ => return Err(self.expected("a value")),
        }
        if let Some(slot) = node.and_then(|node| node.slot) {
            slots.values[slots.base + slot] = Some(self.since(start));
        }
        Ok(())
    }

    fn object(&mut self, node: Option<&Node>, slots: &mut Slots<'r>, depth: usize) -> Result<(), ReadError> {
        self.at += 1;
        self.pass_space();
        if self.accept(b'}') {
            return Ok(());
        }
        loop {
            self.pass_space();
            let start = self.at;
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let is_escaped = self.string()?;
            let child = node.and_then(|node| self.child(node, start, is_escaped));
            if let Some(child) = child
                && std::mem::replace(&mut slots.seen[child.ordinal], true)
            {
                let key = self.since(start);
                return Err(self.error(format!("the key {key} stands twice in one object")));
            }
            self.pass_space();
            if !self.accept(b':') {
                return Err(self.expected("\":\""));
            }
            self.value(child, slots, depth)?;
            self.pass_space();
            if self.accept(b'}') {
                return Ok(());
            }
            if !self.accept(b',') {
                return Err(self.expected("\",\" or \"}\""));
            }
        }
    }

    /// The child of the key that was written from `start` to here.
    fn child<'n>(&self, node: &'n Node, start: usize, is_escaped: bool) -> Option<&'n Node> {
        match is_escaped {
            false => node.by_key(&self.bytes[start + 1..self.at - 1]),
            true => {
                let key: String = serde_json::from_str(self.since(start)).ok()?;
                node.by_key(key.as_bytes())
            }
        }
    }

    fn array(&mut self, node: Option<&Node>, slots: &mut Slots<'r>, depth: usize) -> Result<(), ReadError> {
        let mut more = self.open_array()?;
        let mut index = 0;
        while more {
            self.value(node.and_then(|node| node.by_index(index)), slots, depth)?;
            index += 1;
            more = self.next_element()?;
        }
        Ok(())
    }

    /// Passes over a text; whether it has escapes.
    fn string(&mut self) -> Result<bool, ReadError> {
        self.at += 1;
        let mut is_escaped = false;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            self.at += plain.unwrap_or(rest.len());
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.error("a control character in a text")),
                None => return Err(self.error("a text has no end")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ReadError> {
        let length = match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                match digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    true => 6,
                    false => return Err(self.error("an escape \\u without four hexadecimal digits")),
                }
            }
            _ => return Err(self.error("an unknown escape in a text")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), ReadError> {
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            if !self.accept(b'+') {
                self.accept(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Passes over one digit or more.
    fn digits(&mut self) -> Result<(), ReadError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.expected("a digit")) }
    }

    fn word(&mut self, word: &str) -> Result<(), ReadError> {
        match self.bytes[self.at..].starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => Err(self.expected("a value")),
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn pass_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }
}
