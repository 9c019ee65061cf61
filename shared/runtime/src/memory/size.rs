//! Amounts of memory as settings and people write them.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The units, the largest first, in bytes.
const UNITS: [(char, u64); 3] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10)];
/// A process needs about as much before it has anything to do.
const MIN_BYTES: u64 = 64 << 20;

/// A memory limit, 64 MiB or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit(u64);

impl MemoryLimit {
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// The text is no memory limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a memory limit is a number of bytes from 64m on, with k, m or g for units of 1024, such as 512m or 2g")]
pub struct MemoryLimitError;

impl FromStr for MemoryLimit {
    type Err = MemoryLimitError;
    fn from_str(text: &str) -> Result<Self, MemoryLimitError> {
        let unit = text.chars().next_back().ok_or(MemoryLimitError)?.to_ascii_lowercase();
        let known = UNITS.into_iter().find(|(name, _)| *name == unit);
        let (digits, unit) = known.map_or((text, 1), |(_, bytes)| (&text[..text.len() - 1], bytes));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MemoryLimitError);
        }
        let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).ok_or(MemoryLimitError)?;
        if bytes < MIN_BYTES { Err(MemoryLimitError) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.into_iter().find(|(_, unit)| self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Such as `1234 MiB`.
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written() {
        for (text, bytes, written) in [
            ("64m", 64 << 20, "64m"),
            ("512M", 512 << 20, "512m"),
            ("2g", 2 << 30, "2g"),
            ("2048m", 2 << 30, "2g"),
            ("67108865", (64 << 20) + 1, "67108865"),
            ("1048577k", (1 << 30) + 1024, "1048577k"),
        ] {
            let limit: MemoryLimit = text.parse().unwrap();
            assert_eq!((limit.bytes(), limit.to_string().as_str()), (bytes, written), "{text}");
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
        for text in ["", "m", "63m", "0", "-1g", "1.5g", "2 g", "2t", "99999999999999999999g", "1µ", "17179869185g"] {
            assert_eq!(text.parse::<MemoryLimit>(), Err(MemoryLimitError), "{text}");
        }
    }
}
