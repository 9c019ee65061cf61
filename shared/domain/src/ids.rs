//! Tenants, names, partitions and log positions.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest tenant id or definition name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("is empty; use 1 to {MAX_NAME_BYTES} characters out of A-Z a-z 0-9 _ -")]
    Empty,
    #[error("is {0} bytes long; at most {MAX_NAME_BYTES} are allowed")]
    TooLong(usize),
    #[error("contains {0:?}; only A-Z a-z 0-9 _ - are allowed")]
    Character(char),
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || *c == '-')) {
        return Err(NameError::Character(bad));
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "CompactString", into = "CompactString")]
        pub struct $name(CompactString);

        impl $name {
            /// # Errors
            /// When the text is empty, longer than [`MAX_NAME_BYTES`] or holds another character than `A-Z a-z 0-9 _ -`.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(CompactString::new(text)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<CompactString> for $name {
            type Error = NameError;
            fn try_from(text: CompactString) -> Result<Self, NameError> {
                check_name(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for CompactString {
            fn from(name: $name) -> CompactString {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name_type! {
    /// A customer whose data is isolated: `[A-Za-z0-9_-]{1,64}`.
    TenantId
}
name_type! {
    /// The name of a kind, view, dimension, measure, metric or clock: `[A-Za-z0-9_-]{1,64}`.
    Name
}

/// One of the `P` disjoint sets that tenants are divided into; `0..P`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u16);

impl Partition {
    /// The partition of a tenant: `fnv1a32(tenant) mod count`, as the broker's `partition()` transform computes it.
    ///
    /// ```
    /// use daybook_domain::ids::Partition;
    /// assert!(Partition::of("ABQ", 8).0 < 8);
    /// assert_eq!(Partition::of("ABQ", 1).0, 0);
    /// ```
    pub fn of(tenant: &str, count: u16) -> Self {
        let hash =
            tenant.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self((hash % u32::from(count.max(1))) as u16)
    }

    /// Every partition of a cluster with `count` of them.
    pub fn all(count: u16) -> impl Iterator<Item = Self> {
        (0..count).map(Self)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! sequence_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

sequence_type! {
    /// A position in INBOX: the sequence of a publisher's PubAck. 0 stands before the first message.
    InboxSeq
}
sequence_type! {
    /// A position in EVENTS, the log of record. 0 stands before the first batch.
    LogSeq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        assert!(TenantId::new("ABQ").is_ok());
        assert!(TenantId::new(&"x".repeat(64)).is_ok());
        assert_eq!(TenantId::new(&"x".repeat(65)), Err(NameError::TooLong(65)));
        assert_eq!(TenantId::new(""), Err(NameError::Empty));
        for bad in ["a.b", "*", "a>b", "a b", "é"] {
            assert!(matches!(TenantId::new(bad), Err(NameError::Character(_))), "{bad}");
        }
    }

    #[test]
    fn partition_is_fnv1a() {
        // FNV-1a 32-bit of "a" is 0xe40c292c.
        assert_eq!(u32::from(Partition::of("a", 1000).0), 0xe40c_292c % 1000);
    }
}
