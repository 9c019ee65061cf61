//! Where a line ends, and which line one is on.

/// The record separator of JSON text sequences.
const RECORD_SEPARATOR: u8 = 0x1e;

/// Whether a line ends with this byte.
pub(super) fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | RECORD_SEPARATOR)
}

/// Counts lines, however they end.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineNumber {
    pub now: u64,
    is_after_return: bool,
}

impl LineNumber {
    pub(super) fn new(now: u64) -> Self {
        Self { now, is_after_return: false }
    }

    /// Goes past `bytes`.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let ends = *byte == b'\r' || (*byte == b'\n' && !self.is_after_return);
            self.now += u64::from(ends);
            self.is_after_return = *byte == b'\r';
        }
    }
}
