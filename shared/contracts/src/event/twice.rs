//! Finds keys that an object has twice. RFC 8259 leaves open which one counts; RFC 7493 (I-JSON) forbids it.

use super::scalar::Scalar;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Names that are compared one by one. Further names go into a set, which costs more for few.
const FEW: usize = 16;

/// The keys of one object.
#[derive(Default)]
pub(super) struct Names<'de> {
    few: SmallVec<[Cow<'de, str>; 8]>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.few.iter().any(|known| known == name) || (!self.many.is_empty() && self.many.contains(name))
    }

    pub(super) fn add(&mut self, name: Cow<'de, str>) {
        if self.few.len() < FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
    }
}

/// The columns of an event that were read, by number.
pub(super) struct Columns(SmallVec<[u64; 1]>);

impl Columns {
    pub(super) fn new(count: usize) -> Self {
        Self(smallvec::smallvec![0; count.div_ceil(64)])
    }

    /// Notes a column; false when it was there.
    pub(super) fn add(&mut self, column: usize) -> bool {
        let (word, bit) = (&mut self.0[column / 64], 1 << (column % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// Skips a value that nobody reads. Returns the first key that one of its objects has twice.
pub(super) struct Unread;

impl<'de> DeserializeSeed<'de> for Unread {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unread {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // An extension of MessagePack: a type and bytes.
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut twice = None;
        while let Some(found) = seq.next_element_seed(Unread)? {
            twice = twice.or(found);
        }
        Ok(twice)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut names, mut twice) = (Names::default(), None);
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            let name = match key {
                Scalar::Text(name) => Some(name),
                // Arrays and objects, which MessagePack allows as keys, are not told apart.
                Scalar::Compound => None,
                // Other keys that are no text equal none of the texts.
                other => Some(Cow::Owned(format!("\0{other}"))),
            };
            if let Some(name) = name {
                if twice.is_none() && names.has(&name) {
                    twice = Some(name.trim_start_matches('\0').chars().take(64).collect());
                }
                names.add(name);
            }
            let found = map.next_value_seed(Unread)?;
            twice = twice.or(found);
        }
        Ok(twice)
    }
}
