//! Takes what has fired out of stored rows of days, or an entity out of their summaries, whatever else is in them: for mutations.

use daybook_contracts::rows::Changes;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A value of MessagePack, as far as stored rows have them.
enum Value {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// Where a row of a day has its views, and a view what has fired.
const VIEWS: usize = 8;
const FIRED: usize = 4;

/// Rows of days without the marks of what has fired.
pub(crate) fn forget(changes: &mut Changes) {
    for (key, row) in &mut changes.put {
        if key.first() == Some(&b'd') && key.ends_with(b"\0h") {
            *row = without_marks(row);
        }
    }
}

/// Where a summary has the hashes that are in no row of their own, and bytes of a hash.
const MORE: usize = 4;
const HASH_BYTES: usize = 6;

/// Summaries without the hash of the entity that came last.
pub(crate) fn forget_hash(changes: &mut Changes) {
    for (key, row) in &mut changes.put {
        if key.first() == Some(&b'd') && key.ends_with(b"\0c") {
            let mut summary: Value = rmp_serde::from_slice(row).expect("a stored row");
            if let Value::List(fields) = &mut summary
                && let Some(Value::Bytes(more)) = fields.get_mut(MORE)
            {
                more.truncate(more.len().saturating_sub(HASH_BYTES));
            }
            *row = rmp_serde::to_vec(&summary).expect("it was MessagePack before");
        }
    }
}

fn without_marks(row: &[u8]) -> Vec<u8> {
    let mut day: Value = rmp_serde::from_slice(row).expect("a stored row");
    if let Value::List(fields) = &mut day
        && let Some(Value::Map(views)) = fields.get_mut(VIEWS)
    {
        for (_, view) in views {
            if let Value::List(fields) = view {
                fields.truncate(FIRED);
            }
        }
    }
    rmp_serde::to_vec(&day).expect("it was MessagePack before")
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
