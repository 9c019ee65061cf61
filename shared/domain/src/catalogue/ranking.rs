//! Rankings: how the groups of a view compete, and who is first among equals.

use crate::ids::Name;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Most metrics that a ranking orders by.
pub const MAX_RANKED_BY: usize = 8;

/// How the groups of a view compete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranking {
    /// The first decides, the next among equals of it, and so on; 1 to [`MAX_RANKED_BY`].
    pub by: Vec<RankedBy>,
    #[serde(default)]
    pub ties: Ties,
    /// Whether the earlier ranks higher among equals.
    #[serde(default)]
    pub earliest: Earliest,
}

/// Whether the earlier ranks higher among equals, and what earlier means. In JSON and MessagePack `false`, `true` or
/// `"reached"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Earliest {
    /// Equals are equal.
    #[default]
    No,
    /// By the latest event time that the first criterion takes in, whether or not it changed anything. Only definitions that an
    /// earlier build accepted have it: its reports can be made again, and its groups read. day-manager accepts no new ones.
    LatestTime,
    /// By when each group reached its present score: the earliest event time such that what happened until then gives the
    /// present figures of all criteria.
    Reached,
}

impl Earliest {
    const REACHED: &str = "reached";
}

impl Serialize for Earliest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::LatestTime => serializer.serialize_bool(true),
            Self::Reached => serializer.serialize_str(Self::REACHED),
        }
    }
}

impl<'de> Deserialize<'de> for Earliest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl Visitor<'_> for Words {
            type Value = Earliest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "true, false or {:?}", Earliest::REACHED)
            }

            fn visit_bool<E: de::Error>(self, is_earliest: bool) -> Result<Earliest, E> {
                Ok(if is_earliest { Earliest::LatestTime } else { Earliest::No })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Earliest, E> {
                match word {
                    Earliest::REACHED => Ok(Earliest::Reached),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Words)
    }
}

/// One criterion of a ranking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankedBy {
    /// A metric of the view. Members without a figure (null) come last.
    pub metric: Name,
    #[serde(default)]
    pub direction: Direction,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Asc,
    #[default]
    Desc,
}

/// What rank equals get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ties {
    /// 1, 2, 2, 4.
    #[default]
    Competition,
    /// 1, 2, 2, 3.
    Dense,
    /// 1, 2, 3, 4: equals in the order of their dimensions.
    Ordinal,
}

impl Ties {
    pub const ALL: [Self; 3] = [Self::Competition, Self::Dense, Self::Ordinal];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Competition => "competition",
            Self::Dense => "dense",
            Self::Ordinal => "ordinal",
        }
    }
}
