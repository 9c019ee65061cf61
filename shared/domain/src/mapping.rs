//! Mappings as users define them: rules that make events of a kind out of JSON of any shape. Plain data; the crate
//! `daybook-mapping` compiles and runs them.
//!
//! ```yaml
//! mappings:
//!   - name: shop_order
//!     when: "financial_status != 'pending'"
//!     tenant: { path: /shop/domain, map: { east.example: acme } }
//!     explode: { path: /line_items }
//!     id: [/id, ./id]
//!     version: { path: /updated_at, as: rfc3339 }
//!     at: { path: /created, as: epoch_s }
//!     status: { path: /financial_status, map: { paid: final, refunded: void }, else: draft }
//!     dims: { store: { path: /location_id, text: true }, channel: { const: web } }
//!     measures: { total: ./price, cents: { path: /amount, shift: -2 } }
//! ```

use crate::ids::Name;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// Most mappings of a kind.
pub const MAX_MAPPINGS: usize = 32;
/// Most bytes of all mappings of a kind as JSON: a definition must fit a message of the broker many times over.
pub const MAX_MAPPINGS_BYTES: usize = 256 * 1024;

/// A rule that makes events of its kind out of foreign records.
///
/// Paths are JSON Pointers (RFC 6901): `/a/b` from the record, `./b` from the item of `explode` or the row of `rows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    pub name: Name,
    /// A condition over paths, in the language of `where`: which records, or items of them, are events of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The tenant's id; absent where the door that takes the record knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Pick>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explode: Option<Explode>,
    /// Paths of which the first that holds an object is where `./` begins, such as `/after` and `/before`. Not with `explode`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
    /// The parts of the id, which are joined; none for a fact without an id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<Pick>,
    /// Absent: the last event to arrive wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Pick>,
    /// Required; optional here so that a mistake can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Pick>,
    /// Absent: every event is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Pick>,
    /// By dimension of the kind; those that are absent are null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dims: BTreeMap<Name, Pick>,
    /// By measure of the kind; those that are absent are null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<Name, Pick>,
}

impl Mapping {
    /// A mapping that says nothing yet.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            when: None,
            tenant: None,
            explode: None,
            rows: Vec::new(),
            id: Vec::new(),
            version: None,
            at: None,
            status: None,
            dims: BTreeMap::new(),
            measures: BTreeMap::new(),
        }
    }
}

/// Most slots of an array: every record makes as many events.
pub const MAX_SLOTS: u16 = 500;

/// An array of the record that gives an event for each of its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explode {
    pub path: String,
    /// Reserved: whether items that a later record of the same parent lacks become void by their own ids. It is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub complete: bool,
    /// Makes so many events of every record, known by their index: those beyond the items are void. So items that a later
    /// record lacks are gone, whatever comes first. A record with more items is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u16>,
}

/// Where a value comes from, and what is made of it. Exactly one of `path`, `header`, `token`, `const` and `take` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Further paths: the first of all that holds something other than null counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<String>,
    /// The name of a header of the message, in any letter case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A token of the message's subject; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u8>,
    #[serde(rename = "const", default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<Take>,
    /// How a time is written; of several, the first that fits counts. Each is `rfc3339`, `epoch_s`, `epoch_ms`, `epoch_us`,
    /// `epoch_ns`, `epoch_days` (a local date), `local` (RFC 3339 without its offset), or a pattern such as `%Y-%m-%d %H:%M:%S`.
    #[serde(rename = "as", default, skip_serializing_if = "Vec::is_empty")]
    pub form: Vec<String>,
    /// The zone of a local time; the tenant's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What stands for which text of the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, String>,
    /// What stands for a value that `map` lacks, and for none unless there is a `default`.
    #[serde(rename = "else", default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// What stands for a value that is absent or null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Takes numbers with a fraction as text too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub text: bool,
    /// Moves the decimal point of a number: −2 makes 12990 cents 129.90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<i8>,
    /// How far to move it, where that differs between records: a value with a map of numbers, such as one for each currency. Not
    /// together with `shift`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_by: Option<Box<Pick>>,
    /// Divides a number, which then usually needs `round`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divide: Option<u64>,
    /// Rounds a number to the digits that its measure keeps; without it, more digits are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
}

impl Pick {
    /// The value at a path.
    pub fn path(path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }
}

/// A value that is not in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// When the record arrived at the door that maps it.
    Arrival,
    /// The sequence of the message in its stream, or the number of the record in its file.
    Sequence,
    /// The place of an item in its array, from 0.
    Index,
}

impl Take {
    pub const ALL: [Self; 3] = [Self::Arrival, Self::Sequence, Self::Index];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Sequence => "sequence",
            Self::Index => "index",
        }
    }
}

/// What becomes of digits that a measure does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Round {
    /// To the nearest, and from the middle to the even digit.
    HalfEven,
    /// To the nearest, and from the middle away from zero.
    HalfUp,
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
    /// To the next lower number.
    Floor,
    /// To the next higher number.
    Ceiling,
}

impl Round {
    pub const ALL: [Self; 6] = [Self::HalfEven, Self::HalfUp, Self::Down, Self::Up, Self::Floor, Self::Ceiling];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::HalfEven => "half_even",
            Self::HalfUp => "half_up",
            Self::Down => "down",
            Self::Up => "up",
            Self::Floor => "floor",
            Self::Ceiling => "ceiling",
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The mappings of a kind: structured in JSON, and texts of JSON in MessagePack, whose structs are read by position and
/// could not leave out what is empty.
/// Mappings as they stand in their kind.
pub(crate) struct StoredMappings<'m>(pub &'m [Mapping]);

impl Serialize for StoredMappings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        stored::serialize(self.0, serializer)
    }
}

pub(crate) mod stored {
    use super::Mapping;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    pub(crate) fn serialize<S: Serializer>(mappings: &[Mapping], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return mappings.serialize(serializer);
        }
        let texts: Result<Vec<String>, _> = mappings.iter().map(serde_json::to_string).collect();
        texts.map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mapping>, D::Error> {
        if deserializer.is_human_readable() {
            return Vec::deserialize(deserializer);
        }
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Kind, Mode};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn kind(mappings: Vec<Mapping>) -> Kind {
        let (dimensions, measures) = (Vec::new(), Vec::new());
        Kind { name: name("k"), mode: Mode::Fact, dimensions, measures, revision: 1, mappings, remember: None }
    }

    #[test]
    fn a_kind_without_mappings_is_stored_as_before() {
        let json = r#"{"name":"k","mode":"fact","dimensions":[],"measures":[],"revision":1}"#;
        assert_eq!(serde_json::to_string(&kind(Vec::new())).unwrap(), json);
        assert_eq!(serde_json::from_str::<Kind>(json).unwrap(), kind(Vec::new()));
        let packed = [0x95, 0xa1, b'k', 0xa4, b'f', b'a', b'c', b't', 0x90, 0x90, 1];
        assert_eq!(rmp_serde::to_vec(&kind(Vec::new())).unwrap(), packed);
        assert_eq!(rmp_serde::from_slice::<Kind>(&packed).unwrap(), kind(Vec::new()));
    }

    #[test]
    fn how_long_ids_are_remembered_is_stored_behind_the_mappings() {
        let kind = |mappings: Vec<Mapping>| Kind { remember: Some(400), ..kind(mappings) };
        let json = r#"{"name":"k","mode":"fact","dimensions":[],"measures":[],"revision":1,"remember":400}"#;
        assert_eq!(serde_json::to_string(&kind(Vec::new())).unwrap(), json);
        let packed = [&[0x97, 0xa1, b'k', 0xa4][..], b"fact", &[0x90, 0x90, 1, 0x90, 0xcd, 0x01, 0x90]].concat();
        assert_eq!(rmp_serde::to_vec(&kind(Vec::new())).unwrap(), packed);
        for kind in [kind(Vec::new()), kind(vec![Mapping::new(name("shop"))])] {
            assert_eq!(serde_json::from_str::<Kind>(&serde_json::to_string(&kind).unwrap()).unwrap(), kind);
            assert_eq!(rmp_serde::from_slice::<Kind>(&rmp_serde::to_vec(&kind).unwrap()).unwrap(), kind);
        }
    }

    #[test]
    fn mappings_survive_both_encodings() {
        let at = Pick { form: vec!["epoch_s".into()], default: Some("0".into()), ..Pick::path("/t") };
        let by = Pick { map: [("JPY".to_owned(), "0".to_owned())].into(), ..Pick::path("/c") };
        let other = Pick { or: vec!["/o".into()], shift_by: Some(by.into()), ..Pick::path("/m") };
        let amount = Pick { shift: Some(-2), divide: Some(3), round: Some(Round::HalfEven), ..Pick::path("./a~1b") };
        let mapping = Mapping {
            when: Some("a = 'x'".into()),
            tenant: Some(Pick { token: Some(2), ..Pick::default() }),
            explode: Some(Explode { path: "/lines".into(), complete: false, slots: Some(9) }),
            id: vec![Pick::path("/id"), Pick { take: Some(Take::Index), ..Pick::default() }],
            at: Some(at),
            dims: [(name("d"), Pick { constant: Some("web".into()), text: true, ..Pick::default() })].into(),
            measures: [(name("m"), amount), (name("o"), other)].into(),
            ..Mapping::new(name("shop"))
        };
        let kind = kind(vec![mapping.clone(), Mapping::new(name("other"))]);
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(serde_json::from_str::<Kind>(&json).unwrap(), kind);
        let packed = rmp_serde::to_vec(&kind).unwrap();
        assert_eq!(rmp_serde::from_slice::<Kind>(&packed).unwrap(), kind);
        assert_eq!(
            serde_json::to_string(&mapping).unwrap(),
            concat!(
                r#"{"name":"shop","when":"a = 'x'","tenant":{"token":2},"explode":{"path":"/lines","slots":9},"#,
                r#""id":[{"path":"/id"},{"take":"index"}],"at":{"path":"/t","as":["epoch_s"],"default":"0"},"#,
                r#""dims":{"d":{"const":"web","text":true}},"#,
                r#""measures":{"m":{"path":"./a~1b","shift":-2,"divide":3,"round":"half_even"},"#,
                r#""o":{"path":"/m","or":["/o"],"shift_by":{"path":"/c","map":{"JPY":"0"}}}}}"#
            )
        );
    }
}
