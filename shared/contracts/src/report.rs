//! A sealed day report: figures and manifest. Published as JSON on `daybook.reports.<tenant>.<date>`; its hash is
//! BLAKE3 of exactly those bytes, in the header `Daybook-Hash`, so anyone can check it with `b3sum`.

use compact_str::CompactString;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::LatePolicy;
use daybook_domain::ids::{InboxSeq, LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_domain::value::Number;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Most changes that a report version names; more are counted in [`Report::changes_omitted`].
pub const MAX_CHANGES: usize = 100;
/// Most bytes of rows in one report; the rest of a view's rows is left out and [`ViewRows::total`] tells how many there are.
pub const MAX_REPORT_ROW_BYTES: usize = 512 * 1024;

/// What became of the events published for a tenant-day. [`Account::published`] is the sum of the others, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub published: u64,
    /// Took effect: final, void, or a draft that a newer version of its entity has followed.
    pub counted: u64,
    /// Took effect as a draft that is open: no newer version of its entity has followed.
    pub pending: u64,
    /// Said again what was known.
    pub duplicate: u64,
    /// Older than what was known.
    pub stale: u64,
    /// Late, and posted to the open day instead.
    pub carried: u64,
    /// Refused; see `daybook.rejects.<tenant>`.
    pub rejected: u64,
    /// The drafts that took effect, open or not: those in `pending` and some of those in `counted`. Not a part of the sum, and
    /// left out when it is 0. Earlier builds did not write it, and counted all of them in `pending`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drafts: u64,
}

impl Account {
    pub fn balances(&self) -> bool {
        self.published == self.counted + self.pending + self.duplicate + self.stale + self.carried + self.rejected
    }

    /// Takes in drafts that took effect.
    pub fn open_drafts(&mut self, count: u64) {
        self.drafts += count;
        self.pending += count;
    }

    /// Takes in that a newer version has followed a draft.
    pub fn close_draft(&mut self) {
        // Of a state that an earlier build stored, not every draft is known to be pending.
        if let Some(others) = self.pending.checked_sub(1) {
            self.pending = others;
            self.counted += 1;
        }
    }

    /// Takes in that no version can follow the drafts that are open.
    pub fn close_drafts(&mut self) {
        self.counted += std::mem::take(&mut self.pending);
    }

    /// The counts with their names, in the order in which they are shown.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("published", self.published),
            ("counted", self.counted),
            ("pending", self.pending),
            ("duplicate", self.duplicate),
            ("stale", self.stale),
            ("carried", self.carried),
            ("rejected", self.rejected),
            ("drafts", self.drafts),
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.counted += other.counted;
        self.pending += other.pending;
        self.duplicate += other.duplicate;
        self.stale += other.stale;
        self.carried += other.carried;
        self.rejected += other.rejected;
        self.drafts += other.drafts;
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One cell of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    Null,
    Number(Number),
    Text(CompactString),
}

impl Figure {
    pub fn integer(value: impl Into<i128>) -> Self {
        Self::Number(Number::integer(value.into()))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.pad(""),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.pad(text),
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if !deserializer.is_human_readable() {
            return Err(D::Error::custom("figures are read back from JSON only"));
        }
        let raw = <Box<serde_json::value::RawValue>>::deserialize(deserializer)?;
        match raw.get().as_bytes().first() {
            Some(b'n') => Ok(Self::Null),
            Some(b'"') => Ok(Self::Text(serde_json::from_str(raw.get()).map_err(D::Error::custom)?)),
            _ => Number::parse_as_shown(raw.get()).map(Self::Number).map_err(D::Error::custom),
        }
    }
}

/// Dimensions and metrics by name, in the view's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(pub Vec<(Name, Figure)>);

impl Row {
    pub fn get(&self, name: &str) -> Option<&Figure> {
        self.0.iter().find(|(n, _)| n.as_str() == name).map(|(_, figure)| figure)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, figure) in &self.0 {
            map.serialize_entry(name, figure)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowVisitor;
        impl<'de> Visitor<'de> for RowVisitor {
            type Value = Row;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a row")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(Row(cells))
            }
        }
        deserializer.deserialize_map(RowVisitor)
    }
}

/// The rows of one view, ordered by time and dimensions, or by its ranking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRows {
    pub rows: Vec<Row>,
    /// How many rows there are; more than `rows` holds when they would not fit a message.
    pub total: u64,
    /// How many groups are behind the rows. If there are any, they are published as [`crate::figures`], unless they are
    /// too many for a message.
    #[serde(default)]
    pub groups: u64,
    /// What the view does with changes to closed days.
    #[serde(default)]
    pub late_policy: LatePolicy,
    /// How many late changes to earlier, closed days were posted to this day.
    #[serde(default)]
    pub adjustments: u64,
}

/// Whether an answer rests on everything that was published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    #[default]
    Complete,
    /// Only what was recorded after this position in the log.
    Partial { from: LogSeq, reason: String },
    /// Groups that were new after this position in the log are left out; those that there are are whole.
    Capped { from: LogSeq, reason: String },
    /// Only in answers about a group of tenants: without the figures of these, or without some of them, each with the reason.
    Missing { tenants: BTreeMap<TenantId, String> },
}

/// A late event: why this version exists, or what of it was posted to this day from one that had closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: Name,
    pub id: Option<CompactString>,
    pub inbox: InboxSeq,
    pub index: u32,
    /// What the event did to this day, in a few words.
    pub what: CompactString,
}

/// The report version that this one takes the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supersedes {
    pub version: u32,
    pub hash: String,
}

/// Which definitions the figures were made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    pub tenant: u64,
    pub kinds: BTreeMap<Name, u64>,
    pub views: BTreeMap<Name, u64>,
    pub calendar: Option<Name>,
    pub calendar_revision: u64,
    pub tzdb: String,
}

/// The part of the log that the figures rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRange {
    pub partition: Partition,
    /// The first batch that touched the day.
    pub from: LogSeq,
    /// The batch that sealed this version.
    pub through: LogSeq,
    /// The INBOX sequence of the last record taken in.
    pub inbox_through: InboxSeq,
}

/// One version of a tenant's day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub tenant: TenantId,
    pub date: Date,
    pub version: u32,
    pub day: BusinessDay,
    pub dispositions: Account,
    pub coverage: Coverage,
    pub views: BTreeMap<Name, ViewRows>,
    pub definitions: Definitions,
    pub log: LogRange,
    pub supersedes: Option<Supersedes>,
    /// At most [`MAX_CHANGES`].
    pub changes: Vec<Change>,
    pub changes_omitted: u64,
    /// That of the tenant. Left out when it is 0.
    #[serde(default, skip_serializing_if = "crate::day::is_first")]
    pub generation: u32,
    /// The day was ended by hand then, and later events belong to the next one. Left out else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Instant>,
}

/// Where a version of a report, and the figures behind it, stand in the order of their subject: behind every version of an earlier
/// generation of the tenant.
pub fn report_position(generation: u32, version: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(version)
}

/// The generation of the tenant whose report or figures have that position.
pub fn generation_at(position: u64) -> u32 {
    (position >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_order_and_exact_numbers() {
        let row = Row(vec![
            (Name::new("carrier").unwrap(), Figure::Text("B6".into())),
            (Name::new("avg").unwrap(), Figure::Number(Number::new(-35, 1))),
            (Name::new("min").unwrap(), Figure::Null),
        ]);
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"carrier":"B6","avg":-3.5,"min":null}"#);
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row);
    }
}
