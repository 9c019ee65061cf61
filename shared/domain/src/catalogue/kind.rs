//! Kinds: types of events, with what their events have.

use crate::ids::Name;
use crate::mapping::Mapping;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// Most dimensions, and most measures, of a kind.
pub const MAX_COLUMNS: usize = 64;
/// Most digits after the point of a decimal measure.
pub const MAX_SCALE: u8 = 12;

/// The default of `remember`: a year, the 35 days in which a day can be corrected, and a day more or less.
pub const DEFAULT_REMEMBER_DAYS: u16 = 400;
/// The least `remember`: ids are known for as long as their days can be corrected anyway.
pub const LEAST_REMEMBER_DAYS: u16 = 35;
/// The largest `remember`: nearly eleven years. Each day that has ids takes some bytes of memory by itself.
pub const LARGEST_REMEMBER_DAYS: u16 = 4_000;

/// Whether events of a kind are upserts of something with an id, or occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Has an id; the newest version wins and its old contribution is retracted.
    Entity,
    /// Append-only.
    Fact,
}

/// Where an entity stands in its life. Facts are always [`Status::Final`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Known, but not counted yet.
    Draft,
    #[default]
    Final,
    /// Cancelled, withdrawn, taken back.
    Void,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Draft, Self::Final, Self::Void];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Final => "final",
            Self::Void => "void",
        }
    }
}

/// A type of event with its semantic model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kind {
    pub name: Name,
    pub mode: Mode,
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
    #[serde(default)]
    pub measures: Vec<Measure>,
    /// Grows by one with every change; 0 until day-manager has accepted it.
    #[serde(default)]
    pub revision: u64,
    /// Rules that make events out of foreign records; names differ. They stand in CATALOG and never in the log.
    #[serde(default, with = "crate::mapping::stored")]
    pub mappings: Vec<Mapping>,
    /// For how many business days after its own an id is known, [`LEAST_REMEMBER_DAYS`] to [`LARGEST_REMEMBER_DAYS`]. An event whose id
    /// belongs to a day that can no longer be corrected is a reject for so long. Absent, as in definitions from before there was this
    /// field: only for as long as days can be corrected. Left out when it is absent.
    #[serde(default)]
    pub remember: Option<u16>,
}

/// A `remember` that no kind may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("remember is {LEAST_REMEMBER_DAYS} to {LARGEST_REMEMBER_DAYS} days, found {0}")]
pub struct RememberError(u16);

/// The last fields are left out when they are empty. By position a field can be left out only together with all that follow it.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_positional = !serializer.is_human_readable();
        let has_mappings = !self.mappings.is_empty() || (is_positional && self.remember.is_some());
        let fields = 5 + usize::from(has_mappings) + usize::from(self.remember.is_some());
        let mut kind = serializer.serialize_struct("Kind", fields)?;
        kind.serialize_field("name", &self.name)?;
        kind.serialize_field("mode", &self.mode)?;
        kind.serialize_field("dimensions", &self.dimensions)?;
        kind.serialize_field("measures", &self.measures)?;
        kind.serialize_field("revision", &self.revision)?;
        match has_mappings {
            true => kind.serialize_field("mappings", &crate::mapping::StoredMappings(&self.mappings))?,
            false => kind.skip_field("mappings")?,
        }
        match self.remember {
            Some(days) => kind.serialize_field("remember", &days)?,
            None => kind.skip_field("remember")?,
        }
        kind.end()
    }
}

impl Kind {
    /// Whether `remember` is one that a kind may have.
    ///
    /// # Errors
    /// Says what it may be.
    pub fn check_remember(days: u16) -> Result<(), RememberError> {
        match (LEAST_REMEMBER_DAYS..=LARGEST_REMEMBER_DAYS).contains(&days) {
            true => Ok(()),
            false => Err(RememberError(days)),
        }
    }

    pub fn dimension(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|d| d.name.as_str() == name)
    }

    pub fn measure(&self, name: &str) -> Option<usize> {
        self.measures.iter().position(|m| m.name.as_str() == name)
    }
}

/// An attribute to group and filter by; its values are texts or null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    pub name: Name,
    /// The event's own top-level field that holds it (such as `event`); otherwise it is in the event's `dims`.
    #[serde(default)]
    pub field: Option<Name>,
}

/// A number that events carry: exact, in the range of an `i64` after scaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    pub name: Name,
    /// Digits after the decimal point, 0 to [`MAX_SCALE`]; 0 is an integer.
    #[serde(default)]
    pub scale: u8,
}
