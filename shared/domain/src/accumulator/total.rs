//! A sum with the alignment of a word: an `i128` would make every accumulator half as large again, and there are millions.

use serde::{Deserialize, Serialize};

/// A sum of 64-bit integers; 2^64 of them do not overflow it. Stored as the integer it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i128", into = "i128")]
#[repr(Rust, packed(8))]
pub struct Total(i128);

impl Total {
    pub fn get(self) -> i128 {
        self.0
    }

    pub(super) fn add(&mut self, more: i128) {
        self.0 += more;
    }

    pub(super) fn is_zero(self) -> bool {
        self.get() == 0
    }
}

impl From<i128> for Total {
    fn from(sum: i128) -> Self {
        Self(sum)
    }
}

impl From<Total> for i128 {
    fn from(total: Total) -> Self {
        total.get()
    }
}
