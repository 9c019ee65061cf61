//! Single values of an event, as they stand in JSON or MessagePack.

use daybook_domain::value::{Number, NumberError};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A single value. Numbers with a fraction stay floats here; measures in JSON are read from their text instead.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// A whole number beyond those.
    Large(u64),
    Float(f64),
    Text(Cow<'a, str>),
    /// An array, an object or bytes.
    Compound,
}

// One is made of every key and value of every event.
const _: () = assert!(size_of::<Scalar<'_>>() == 24);

impl Scalar<'_> {
    /// As a version. A whole number may be written in any way in which a measure may: `2`, `2.0`, `2e0`, `"2"`.
    ///
    /// # Errors
    /// When it is no whole number, or out of range: the largest one has no successor for an event without a version.
    pub(super) fn whole(&self) -> Result<Option<u64>, Whole> {
        let number = match self {
            Self::Null => return Ok(None),
            Self::Integer(version) => return u64::try_from(*version).map(Some).map_err(|_| Whole::Range),
            Self::Large(u64::MAX) => return Err(Whole::Range),
            Self::Large(version) => return Ok(Some(*version)),
            // Beyond that a float no longer says which whole number was meant.
            Self::Float(float) if float.abs() < 9_007_199_254_740_992.0 => Number::parse(&float.to_string()),
            Self::Text(text) => Number::parse(text),
            Self::Float(_) | Self::Bool(_) | Self::Compound => return Err(Whole::Type),
        };
        let whole = number.and_then(Number::whole).map_err(|error| match error {
            NumberError::Overflow(_) => Whole::Range,
            NumberError::Syntax(_) | NumberError::Digits { .. } => Whole::Type,
        })?;
        u64::try_from(whole).ok().filter(|version| *version < u64::MAX).map(Some).ok_or(Whole::Range)
    }

    /// As a dimension value or id: texts, and whole numbers and booleans by their text.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Integer(integer) => Some(Cow::Owned(integer.to_string())),
            Self::Large(integer) => Some(Cow::Owned(integer.to_string())),
            Self::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
            Self::Null | Self::Float(_) | Self::Compound => None,
        }
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => flag.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::Large(integer) => integer.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Text(text) => write!(f, "{:?}", text.chars().take(64).collect::<String>()),
            Self::Compound => f.write_str("an array or object"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }
            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(flag))
            }
            fn visit_i64<E>(self, integer: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Integer(integer))
            }
            fn visit_u64<E>(self, integer: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(integer).map_or(Scalar::Large(integer), Scalar::Integer))
            }
            fn visit_f32<E>(self, float: f32) -> Result<Self::Value, E> {
                // The shortest decimal that stands for it, not the digits that a wider float shows.
                Ok(Scalar::Float(float.to_string().parse().unwrap_or(f64::NAN)))
            }
            fn visit_f64<E>(self, float: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Float(float))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Self::Value, E> {
                Ok(Scalar::Compound)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Compound)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Compound)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// Why a value is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// It is no whole number.
    Type,
    /// It is one, too small or too large.
    Range,
}

/// A measure's value, exact to the last digit.
pub(super) enum Amount<'a> {
    Null,
    Integer(i128),
    Text(Cow<'a, str>),
    /// Something else: the text shows it in the reason.
    Other(String),
}

impl<'a> Amount<'a> {
    pub(super) fn of_json(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'-' | b'0'..=b'9') => Self::Text(Cow::Borrowed(raw)),
            // A number in quotes, as many producers send decimals.
            Some(b'"') if raw.len() > 2 && !raw.contains('\\') => Self::Text(Cow::Borrowed(&raw[1..raw.len() - 1])),
            _ => Self::Other(raw.chars().take(64).collect()),
        }
    }

    pub(super) fn of_scalar(value: &'a Scalar<'_>) -> Self {
        match value {
            Scalar::Null => Self::Null,
            Scalar::Integer(integer) => Self::Integer((*integer).into()),
            Scalar::Large(integer) => Self::Integer((*integer).into()),
            // The shortest decimal that stands for the float: what the producer meant.
            Scalar::Float(float) if float.is_finite() => Self::Text(Cow::Owned(float.to_string())),
            Scalar::Text(text) => Self::Text(Cow::Borrowed(text)),
            other => Self::Other(other.to_string()),
        }
    }
}
